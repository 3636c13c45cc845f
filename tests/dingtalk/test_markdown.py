"""Text that is shown literally in a Markdown without escapes."""

import re

import pytest

from bot.dingtalk import markdown

LINK = re.compile(r"!?\[[^\]]*\]\s*[(\[:]")


@pytest.mark.parametrize(
    "text",
    [
        "/agenda [today|tomorrow|week]", "/call METHOD PATH [JSON] now", "Me > Settings > Security", "a -> b",
        "x[0] = y[1];",
        "[urgent] pay", "2 > 1",
    ],
)  # fmt: skip
def test_text_is_shown_as_it_is_unless_it_could_be_markup(text: str):
    assert markdown.bold(text) == f"**{text}**"
    assert markdown.escape(f"{text} .") == f"{text} ."


@pytest.mark.parametrize(
    "text",
    [
        "[a](https://evil.example)", "![a](https://evil.example)", "[a] (https://evil.example)", "[a][b]", "[a]: https://x",
        "[[a]](https://evil.example)", "[a[b]](https://evil.example)", "[a]\n(https://evil.example)", "x [a]", "[]()",
        "[a] [b](https://evil.example)", "[b] and [a](https://evil.example)", "[a]\t(https://evil.example)",
    ],
)  # fmt: skip
def test_no_text_makes_a_link(text: str):
    for shown in (
        markdown.escape(text),
        markdown.bold(text),
        f"{markdown.escape(text)}(https://evil.example)",
    ):
        assert not LINK.search(shown), shown
    assert markdown.link(text, "https://good.example").count("](") == 1


@pytest.mark.parametrize("text", ["> quoted", ">> twice", "a\n> quoted", "  > indented", "> > apart"])
def test_no_text_makes_a_quotation(text: str):
    assert not re.search(r"^\s*>", markdown.escape(text), re.MULTILINE)

"""The console's words for what is stored: every documented outcome, reason and action, in both languages."""

import re
from pathlib import Path

import pytest

from bot.core.words import console as words

PAGE = (Path(__file__).parents[2] / "docs" / "database.md").read_text(encoding="utf-8")


def documented(part: str) -> list[str]:
    """The values that a table of docs/database.md lists."""
    table = PAGE.partition(f"<!-- {part} -->")[2].partition(f"<!-- /{part} -->")[0]
    rows = [row.split(" | ") for row in table.splitlines() if row.startswith("| ")]
    cells = [row[1] if part == "outcomes" else row[0] for row in rows]
    return [value for cell in cells for value in re.findall(r"`([^`]+)`", cell)]


def is_chinese(text: str) -> bool:
    return any("\u4e00" <= character <= "\u9fff" for character in text)


@pytest.mark.parametrize("value", sorted(set(documented("outcomes"))))
def test_every_outcome_has_words_in_both_languages(value: str):
    said = words.reason(value.replace("…", "user_1061004"))
    assert said is not None
    assert is_chinese(said.zh)
    assert not is_chinese(said.en)
    assert "_" not in said.en.replace("user_1061004", "")
    assert ("1061004" in said.en and "1061004" in said.zh) == ("…" in value)


@pytest.mark.parametrize("action", sorted(documented("actions")))
def test_every_action_has_words_in_both_languages(action: str):
    said = words.ACTIONS[action]
    assert is_chinese(said.zh)
    assert "_" not in said.en


@pytest.mark.parametrize("unknown", ["", "refused", "Refused_1", "a word", "<b>", "{code}"])
def test_what_is_not_an_outcome_has_no_words(unknown: str):
    assert words.reason(unknown) is None


@pytest.mark.parametrize("code", ["{0}", "{x}", "<b>", "%s", "1061004_x"])
def test_a_code_of_the_platform_is_text(code: str):
    assert words.reason(f"refused_{code}") == words.WITH_CODE["refused_"].format(code=code)

"""Characters that nobody sees: which are removed, and which a script or an emoji needs."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.unseen_characters import escape, escape_json, one_line, tidy

SEEN = set("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd")
"""Format characters with a glyph: the Arabic number sign, for one."""


def test_no_control_or_format_character_stays_by_itself():
    for number in range(0x110000):
        character = chr(number)
        if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"} and character not in SEEN:
            assert tidy(f"a{character}b") in {"ab", "a\nb", "a\tb"}, hex(number)
            assert one_line(f"a{character}b") in {"ab", "a b"}, hex(number)
            assert escape(f"a{character}b").isascii(), hex(number)


IGNORED = (
    *(0xAD, 0x34F, 0x61C, 0x3164, 0xFEFF, 0xFFA0),
    *(*range(0x115F, 0x1161), *range(0x17B4, 0x17B6), *range(0x180B, 0x1810), *range(0x200B, 0x2010)),
    *(*range(0x202A, 0x202F), *range(0x2060, 0x2070), *range(0xFE00, 0xFE10), *range(0xFFF0, 0xFFF9)),
    *(*range(0x1BCA0, 0x1BCA4), *range(0x1D173, 0x1D17B), *range(0xE0000, 0xE1000)),
)
"""What Unicode lists as Default_Ignorable_Code_Point: shown as nothing by whatever does not know it."""


def test_no_ignored_character_makes_two_names_look_alike():
    for number in IGNORED:
        for written in (f"Ada{chr(number)}Meyer", f"{chr(number)}AdaMeyer", f"Ada{chr(number) * 3}Meyer"):
            assert one_line(written) == "AdaMeyer", hex(number)
            assert escape(written).isascii(), hex(number)


@pytest.mark.parametrize(
    "text",
    [
        "می\u200cخواهم",  # Persian, with a non-joiner
        "क\u094d\u200dष, श्री",  # Devanagari, with a joiner
        "රා\u0dca\u200dය",  # Sinhala
        "👩\u200d💻 👨🏽\u200d⚕\ufe0f ❤\ufe0f\u200d🔥 👩\u200d❤\ufe0f\u200d💋\u200d👨",
        "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",  # the flag of Scotland
        "1\ufe0f\u20e3 ☎\ufe0e ©\ufe0f 🇨🇭",
        "葛\U000e0100城市",  # a variant of an ideograph
        "ᠠ\u180eᠠ",
        "ᠤ\u180bᠯᠤ\u180fᠰ\u180c\u200dᠠ",  # variants of Mongolian letters
        "one\ntwo\tthree",
        "مرحبا، Zoë & 蓝薇 ①\u00a0„“",
    ],
)
def test_what_a_script_or_an_emoji_needs_stays(text: str):
    assert tidy(text) == text
    assert escape(text, lines=True).replace("\\t", "\t") == text
    assert escape_json(json.dumps(text, ensure_ascii=False)) == json.dumps(text, ensure_ascii=False)


@pytest.mark.parametrize(
    ("text", "tidied"),
    [
        ("\x1b[31mred\x07\x9b2J", "[31mred2J"),
        ("abc\u202etxt.exe\u202c", "abctxt.exe"),
        ("pay\u200bpal\ufeff", "paypal"),
        ("a\u200db\u200cc", "abc"),  # joiners join nothing in Latin
        ("王\u200d小\u200c明", "王小明"),
        ("👍\u200d", "👍"),
        ("\u200d👍", "👍"),
        ("می\u200c\u200cخ", "میخ"),
        ("👍\ufe0f\ufe0f\ufe01\U000e0101", "👍\ufe0f"),  # a message hidden in selectors
        ("a\ufe0f", "a"),
        ("👍\U000e0068\U000e0069", "👍"),  # a message hidden in tags
        ("\u3164\u115f\uffa0", ""),
        ("A\u180bda, ᠠ\u180b\u180c\u180f", "Ada, ᠠ\u180b"),
        ("one\r\ntwo\rthree\x0bfour\u2028five\x85six", "one\ntwo\nthree\nfour\nfive\nsix"),
        ("\ud800\ufffe\U0010ffff", ""),
    ],
)
def test_what_nobody_sees_is_removed(text: str, tidied: str):
    assert tidy(text) == tidied


ODD = "a1 \n\t\r\x1b\u200b\u200c\u200d\u202e\ufe0f\U000e0100\U000e0067\U000e007f\U0001f3f4❤👍یخ王\u180e\u180bᠠ\ud800"


@given(st.text() | st.text(st.sampled_from(ODD)))
def test_tidying_twice_changes_nothing_more(text: str):
    assert tidy(tidy(text)) == tidy(text)
    assert "\n" not in one_line(text)
    assert tidy(one_line(text)) == one_line(text)
    assert len(one_line(text, 10)) <= 10
    assert tidy(one_line(text, 10)) == one_line(text, 10)
    assert tidy(escape(text)) == escape(text)


@given(st.recursive(st.text(st.sampled_from(ODD)), lambda inner: st.dictionaries(st.text(), inner)))
def test_escaped_json_says_the_same(value: object):
    written = escape_json(json.dumps(value, ensure_ascii=False, indent=2))
    assert json.loads(written) == value
    assert tidy(written) == written

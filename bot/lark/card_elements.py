"""Elements of Card JSON 2.0: frames, buttons, links, and text that is shown literally."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime

from bot.core.api import Json
from bot.core.language import Language, Words
from bot.core.scopes import OFFLINE_ACCESS, Scope
from bot.core.unseen_characters import one_line
from bot.core.words import cards as card_words

to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


LOCALES: Mapping[str, Language] = {"en_us": "en", "zh_cn": "zh"}

MAX_BYTES = 29 * 1024
"""The platform accepts 30 KB, but does not say in which encoding, so the longer one is measured."""


def encoded_size(body: str) -> int:
    """Return the size in bytes of a message's content in a request: a JSON string inside JSON."""
    return len(to_json(body).encode(errors="replace"))


def frame(title: Words, colour: str, *elements: Json) -> Json:
    """Return a card. `update_multi` allows the card to be updated later."""
    return {
        "schema": "2.0",
        "config": {"update_multi": True, "locales": list(LOCALES)},
        "header": {"title": plain_text(title), "template": colour},
        "body": {"direction": "vertical", "elements": list(elements)},
    }


def localized(words: Words) -> Json:
    return {
        "content": words.en,
        "i18n_content": {locale: words.to(language) for locale, language in LOCALES.items()},
    }


def plain_text(words: Words) -> Json:
    return {"tag": "plain_text", **localized(words)}


def markdown(words: Words) -> Json:
    return {"tag": "markdown", **localized(words)}


def grey_note(words: Words) -> Json:
    """Return a small line in grey, as plain text."""
    return {"tag": "div", "text": {**plain_text(words), "text_size": "notation", "text_color": "grey"}}


def grey_note_with_time(words: Words, until: datetime) -> Json:
    """Like `grey_note`, with a local time in place of `{until}`. Only markdown can contain one, so the grey is markup."""
    parts = (words.en.split("{until}"), words.zh.split("{until}"))
    en, zh = (local_time(until).join(f"<font color='grey'>{part}</font>" for part in each) for each in parts)
    return {**markdown(Words(en, zh)), "text_size": "notation"}


def row(*controls: Json) -> Json:
    """Return controls side by side; they wrap onto new lines if necessary."""
    columns = [{"tag": "column", "width": "auto", "elements": [each]} for each in controls]
    return {"tag": "column_set", "flex_mode": "flow", "columns": columns}


def link_button(words: Words, url: str, kind: str = "primary") -> Json:
    return {
        "tag": "button",
        "type": kind,
        "text": plain_text(words),
        "behaviors": [{"type": "open_url", "default_url": url}],
    }


def button(words: Words, action: str, subject: str, kind: str = "default", size: str = "medium") -> Json:
    return {
        "tag": "button",
        "type": kind,
        "size": size,
        "text": plain_text(words),
        "behaviors": [{"type": "callback", "value": {"action": str(action), "subject": subject}}],
    }


MARKUP = {ord(character): f"&#{ord(character)};" for character in "&<>*~[]()`\\#!|@"} | {
    ord("\n"): " ",
    ord("\r"): " ",
}


def escape(text: str, max_length: int) -> str:
    """Return text, cut to a length, that is shown literally: no markup, mentions, links, or line breaks."""
    short = text if len(text) <= max_length else text[: max_length - 1].rstrip() + "…"
    return short.translate(MARKUP).replace("://", "&#58;//")


def escape_words(words: Words, max_length: int) -> Words:
    return Words(escape(words.en, max_length), escape(words.zh, max_length))


MAX_SHOWN_SCOPES = 4
"""Scopes that a card lists. More are collapsed, so that a card fills at most half of a phone's screen."""


def scope_list(described: Mapping[Scope, Words], scopes: Iterable[Scope], max_length: int) -> list[Json]:
    """List scopes, each on a line with its description. `offline_access` comes last, because it matters least."""
    ordered = sorted(scopes, key=lambda scope: (scope == OFFLINE_ACCESS, scope))
    entries = [scope_line(scope, described.get(scope), max_length) for scope in ordered]
    if len(entries) <= MAX_SHOWN_SCOPES:
        return [markdown_lines(entries)]
    rest = entries[MAX_SHOWN_SCOPES - 1 :]
    return [
        markdown_lines(entries[: MAX_SHOWN_SCOPES - 1]),
        {
            "tag": "collapsible_panel",
            "expanded": False,
            "header": {"title": plain_text(card_words.AND_MORE.format(number=len(rest)))},
            "elements": [markdown_lines(rest)],
        },
    ]


def markdown_lines(entries: list[Words]) -> Json:
    return markdown(Words("\n".join(line.en for line in entries), "\n".join(line.zh for line in entries)))


def scope_line(scope: Scope, described: Words | None, max_length: int) -> Words:
    name = escape(scope, 128)
    if described is None or max_length == 0 or described.en == scope:
        return Words(f"• {name}", f"• {name}")
    words = escape_words(described, max_length)
    return Words(f"• **{words.en}** · {name}", f"• **{words.zh}** · {name}")


def inline_scope(scope: Scope, described: Words, max_length: int) -> Words:
    """Return a scope with its description for use within a sentence, as plain text."""
    if max_length == 0 or described.en == scope:
        return Words(scope, scope)
    en, zh = one_line(described.en, max_length), one_line(described.zh, max_length)
    return Words(f"{en} ({scope})", f"{zh}（{scope}）")


MAX_SHOWN_COMMANDS = 6


def command_list(names: tuple[str, ...]) -> Words:
    shown = [f"**{escape(name, 130)}**" for name in names[:MAX_SHOWN_COMMANDS]]
    if len(names) > MAX_SHOWN_COMMANDS:
        return joined([Words(each, each) for each in (*shown, "…")])
    return enumeration(shown) if shown else card_words.YOUR_REQUEST


MAX_SHOWN_PEOPLE = 5

OPEN_ID = re.compile(r"ou_[A-Za-z0-9_-]{1,100}")


def mention_people(open_ids: tuple[str, ...]) -> Words:
    """Return mentions of users. Each client shows them as names that link to the user."""
    shown = [
        f"<at id={each}></at>" if OPEN_ID.fullmatch(each) else escape(each, 60)
        for each in open_ids[:MAX_SHOWN_PEOPLE]
    ]
    rest = len(open_ids) - len(shown)
    if not rest:
        # In Chinese, a space separates the last name from the text after it.
        return enumeration(shown) + Words("", " ")
    people = joined([Words(each, each) for each in shown])
    return card_words.AND_OTHERS.format(people=people, rest=rest, all=len(open_ids))


def enumeration(items: list[str]) -> Words:
    """Return items for use within a sentence."""
    *others, last = items
    en = f"{', '.join(others)} and {last}" if others else last
    return Words(en, "、".join(items))


def joined(items: list[Words]) -> Words:
    return Words(", ".join(each.en for each in items), "、".join(each.zh for each in items))


def local_time(at: datetime) -> str:
    """Return markup for a date and time that each client shows in its user's time zone and language. Markdown only.

    https://open.feishu.cn/document/feishu-cards/card-json-v2-components/content-components/rich-text
    """
    moment = int(at.timestamp() * 1000)
    return " ".join(
        f"<local_datetime millisecond='{moment}' format_type='{form}'></local_datetime>"
        for form in ("date_short", "time")
    )

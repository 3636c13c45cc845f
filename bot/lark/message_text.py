"""Reads the text of a user's message and the names of those it mentions. Rich text (posts) becomes plain text.

https://open.feishu.cn/document/server-docs/im-v1/message-content-description/message_content
https://open.feishu.cn/document/server-docs/im-v1/message-content-description/create_json
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

from bot.core.commands import EVERYONE, LONGEST_NAME, PLACEHOLDER
from bot.core.event_fields import Fields, MalformedField, optional_list, required
from bot.core.events import Mentions
from bot.core.language import Language, Words
from bot.core.strict_json import decode
from bot.core.unseen_characters import one_line, tidy


def mentioned_open_id(mention: Any) -> str | None:
    found = mention.get("id") if isinstance(mention, dict) else None
    open_id = found.get("open_id") if isinstance(found, dict) else None
    return open_id if isinstance(open_id, str) else None


@dataclass(slots=True)
class MessageMentions:
    """Who is mentioned in a message, by placeholder and by id. Reading rich text adds names."""

    names: dict[str, str]
    """Name by placeholder; empty for the bot itself."""
    keys: Mapping[str, str]
    """Placeholder by id: rich text may contain either."""
    bot_open_id: str | None


def parse_mentions(mentions: list[Any], bot_open_id: str | None) -> MessageMentions:
    names: dict[str, str] = {}
    keys: dict[str, str] = {}
    for mention in mentions:
        key, name = (mention.get("key"), mention.get("name")) if isinstance(mention, dict) else (None, None)
        if isinstance(key, str) and isinstance(name, str) and PLACEHOLDER.fullmatch(key):
            is_bot = bot_open_id is not None and mentioned_open_id(mention) == bot_open_id
            names[key] = "" if is_bot else one_line(name, LONGEST_NAME) or UNREADABLE_NAME
            ids = mention.get("id")
            for each in ids.values() if isinstance(ids, dict) else ():
                if isinstance(each, str) and each:
                    keys.setdefault(each, key)
    return MessageMentions(names, keys, bot_open_id)


UNREADABLE_NAME = "?"
"""In place of a name without visible characters."""


def message_text(
    message: Fields, mentioned: MessageMentions, language: Language | None
) -> tuple[str | None, Mentions]:
    """Return the text of a message, without the bot's own mention, and the names of its mentions by placeholder.

    The text is None for other kinds of messages.
    """
    kind = required(message, "message_type")
    if kind not in {"text", "post"}:
        return None, {}
    content = message.get("content")
    parsed = parse_content(content) if type(content) is str else None
    if parsed is None:
        raise MalformedField("content")
    names = mentioned.names
    text = parsed.get("text") if kind == "text" else post_text(parsed, mentioned, language)
    if type(text) is not str:
        raise MalformedField("content")
    if EVERYONE in text:
        names.setdefault(EVERYONE, EVERYONE_NAME.to(language or "en"))
    if names:
        text = PLACEHOLDER.sub(lambda found: found[0] if names.get(found[0], found[0]) else "", text)
    return strip_everyone(clean_text(text)), {key: name for key, name in names.items() if name}


EVERYONE_NAME = Words(en="all", zh="所有人")
"""The name for a mention of everyone that is missing from the message's mentions."""


def strip_everyone(text: str) -> str:
    """Return the text without leading mentions of everyone, which are not part of a command."""
    rest = text
    while rest.startswith(EVERYONE):
        rest = rest.removeprefix(EVERYONE).lstrip()
    return rest or text


def parse_content(content: str) -> dict[str, Any] | None:
    try:
        parsed = decode(content)
    except (ValueError, RecursionError):
        return None
    return parsed if type(parsed) is dict else None


# --- rich text

LOCALES: Mapping[Language | None, str] = {"en": "en_us", "zh": "zh_cn"}

MAX_DEPTH = 4
"""Levels of nested documents and nested elements that are read."""


def post_text(post: Fields, mentioned: MessageMentions, language: Language | None) -> str:
    """Return the text of a post, line by line. Names that only an `at` element has are added to `mentioned`.

    A post may be wrapped in locales, as it is when sent: `{"zh_cn": {"title", "content"}}`. The locale of `language`
    is preferred, then the first with any text.
    """
    found = ""
    for document in documents(post, LOCALES.get(language)):
        found = document_text(document, mentioned)
        if found.strip():
            break
    return found


DOCUMENT_FIELDS = frozenset({"title", "content", "content_v2"})


def documents(post: Fields, first: str | None, depth: int = 0) -> Iterator[Fields]:
    """Yield the post if it has content, then the posts nested in it: the one for the locale `first` before the others."""
    if not DOCUMENT_FIELDS.isdisjoint(post):
        yield post
    if depth < MAX_DEPTH:
        for name in sorted(post, key=lambda name: name != first):
            if isinstance(post[name], dict):
                yield from documents(post[name], first, depth + 1)


def document_text(document: Fields, mentioned: MessageMentions) -> str:
    title = document.get("title")
    lines = [title] if isinstance(title, str) and title else []
    rows = optional_list(document, "content") or optional_list(document, "content_v2")
    lines += ["".join(element_text(each, mentioned) for each in elements_of(row)) for row in rows]
    return "\n".join(lines)


def elements_of(row: Any) -> list[Any]:
    """Return the elements of a line. A single element may stand in place of a list."""
    return row if isinstance(row, list) else [row]


TEXT_FIELDS = ("text", "content", "title")
"""Fields with the text of an element: `text` of text, a, md and code_block, `content` of markdown."""

URL_FIELDS = ("href", "url", "link")

CHILD_FIELDS = ("text", "content", "elements", "children")
"""Fields with nested elements, such as the text object of a button."""


def element_text(element: Any, mentioned: MessageMentions, depth: int = 0) -> str:
    """Return the text of an element, with its link."""
    if isinstance(element, list) and depth < MAX_DEPTH:
        return "".join(element_text(each, mentioned, depth + 1) for each in element)
    if not isinstance(element, dict):
        return ""
    tag = element.get("tag")
    if tag == "at":
        return placeholder_of(element.get("user_id"), element.get("user_name"), mentioned)
    words = first_text(element, TEXT_FIELDS)
    if not words and depth < MAX_DEPTH:
        inner = (element.get(name) for name in CHILD_FIELDS)
        words = "".join(
            element_text(each, mentioned, depth + 1) for each in inner if not isinstance(each, str)
        )
    if tag in MARKDOWN_TAGS:
        words = MARKDOWN_MENTION.sub(lambda at: placeholder_of(at["id"], at["name"], mentioned), words)
    return as_link(words, first_text(element, URL_FIELDS))


def first_text(element: Fields, names: Iterable[str]) -> str:
    return next((value for name in names if isinstance(value := element.get(name), str) and value), "")


MARKDOWN_TAGS = frozenset({"md", "markdown", "lark_md"})

MARKDOWN_MENTION = re.compile(
    r"""<at\s+(?:user_id|id)\s*=\s*["']?(?P<id>[^"'<>\s]{1,100})["']?\s*(?:/>|>(?P<name>[^<]{0,200})</at>)"""
)


def as_link(words: str, address: str) -> str:
    """Return linked text as the platform writes links in text messages: `[text](URL)`.

    If the text is the URL itself, in full or as the client shortens it, only one of the two is returned.
    """
    name = words.strip()
    if not address or normalized_url(address) == normalized_url(name):
        return words
    if not name or TYPED_URL.match(name):
        return address
    return f"[{words}]({address})"


TYPED_URL = re.compile(r"(?:https?://|www\.)\S+$", re.IGNORECASE)


def normalized_url(address: str) -> str:
    """Return a URL without what clients add to or remove from a typed URL, for comparisons."""
    return re.sub(r"^(?:https?://|mailto:|tel:)", "", address, flags=re.IGNORECASE).rstrip("/").casefold()


def placeholder_of(named: Any, name: Any, mentioned: MessageMentions) -> str:
    """Return the placeholder of a mention in rich text. `named` is either a placeholder or an id.

    An unknown id gets a new placeholder, so that neither id nor name becomes part of the text.
    """
    names = mentioned.names
    if isinstance(named, str) and named == mentioned.bot_open_id:
        return ""
    key = known_placeholder(named, mentioned) or next(
        free for n in count(len(names) + 1) if (free := f"@_user_{n}") not in names
    )
    shown = one_line(name, LONGEST_NAME) if isinstance(name, str) else ""
    if shown or key != EVERYONE:
        names.setdefault(key, shown or UNREADABLE_NAME)
    return key


def known_placeholder(named: Any, mentioned: MessageMentions) -> str | None:
    if not isinstance(named, str):
        return None
    if PLACEHOLDER.fullmatch(named):
        return named
    return EVERYONE if named == "all" else mentioned.keys.get(named)


def clean_text(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text.strip()
    return tidy(text).replace("\u00a0", " ").strip()

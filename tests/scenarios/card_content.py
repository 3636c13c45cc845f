"""What a message or a card of the bot contains: its text, links and buttons."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from bot.sandbox.lark.tenant import Message

ACKNOWLEDGEMENTS = ("working on it", "the card above")
"""What a message says that the bot could not react to in time, before its answer."""


def text_of(value: Any) -> str:
    """Return all strings of a message's content, one a line."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return "\n".join(text_of(each) for each in value.values())
    if isinstance(value, list):
        return "\n".join(text_of(each) for each in value)
    return ""


def has_link(message: Message) -> bool:
    """Return whether a message has an authorization link, plain or inside an AppLink."""
    return bool(re.search(r"(/|%2F)authorize(/|%2F)", json.dumps(message.content)))


def values_of(content: Any) -> list[dict[str, Any]]:
    """Return the values of all callback buttons of a card."""
    if isinstance(content, list):
        return [value for each in content for value in values_of(each)]
    if not isinstance(content, dict):
        return []
    own = [content["value"]] if content.get("type") == "callback" else []
    return own + [value for each in content.values() for value in values_of(each)]


def within(content: Any) -> Iterator[dict[str, Any]]:
    """Yield every object of a card, at any depth."""
    if isinstance(content, dict):
        yield content
    inner = content.values() if isinstance(content, dict) else content if isinstance(content, list) else ()
    for each in inner:
        yield from within(each)


def value_on(card: Message, action: str) -> dict[str, Any]:
    """Return the value of the callback button that sends this action."""
    return next(value for value in values_of(card.content) if value.get("action") == action)


def kinds_of_buttons(card: Message) -> dict[str, str]:
    """Return label and type of each button of a card, except text buttons."""
    buttons = [each for each in within(card.content["body"]) if each.get("tag") == "button"]
    return {each["text"]["content"]: each["type"] for each in buttons if each["type"] != "text"}


def actions_on(card: Message) -> list[str]:
    """Return the actions of a card's callback buttons."""
    return [str(value["action"]) for value in values_of(card.content)]


def is_acknowledgement(message: Message) -> bool:
    """Whether a reply says only that the answer takes a while, or waits for a card. A busy machine may be slow."""
    return any(words in text_of(message.content) for words in ACKNOWLEDGEMENTS)


def without_acknowledgements(messages: Iterable[Message]) -> list[Message]:
    return [message for message in messages if not is_acknowledgement(message)]


def is_interim(message: Message) -> bool:
    """Whether a reply says only that the answer takes a while, or is still being tried for."""
    return "keep trying" in text_of(message.content) or is_acknowledgement(message)

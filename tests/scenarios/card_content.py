"""What a message or a card of the bot contains: its text, links and buttons."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from bot.sandbox.lark.tenant import Message


def text_of(value: Any) -> str:
    """Every string of a message's content, one after another."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return "\n".join(text_of(each) for each in value.values())
    if isinstance(value, list):
        return "\n".join(text_of(each) for each in value)
    return ""


def has_link(message: Message) -> bool:
    """Whether there is a way to authorize on it, plain or inside an AppLink."""
    return bool(re.search(r"(/|%2F)authorize(/|%2F)", json.dumps(message.content)))


def values_of(content: Any) -> list[dict[str, Any]]:
    """The values of all callback buttons of a card."""
    if isinstance(content, list):
        return [value for each in content for value in values_of(each)]
    if not isinstance(content, dict):
        return []
    own = [content["value"]] if content.get("type") == "callback" else []
    return own + [value for each in content.values() for value in values_of(each)]


def within(content: Any) -> Iterator[dict[str, Any]]:
    """Every object of a card, however deep."""
    if isinstance(content, dict):
        yield content
    inner = content.values() if isinstance(content, dict) else content if isinstance(content, list) else ()
    for each in inner:
        yield from within(each)


def value_on(card: Message, action: str) -> dict[str, Any]:
    """The value of the callback button that sends this action."""
    return next(value for value in values_of(card.content) if value.get("action") == action)


def kinds_of_buttons(card: Message) -> dict[str, str]:
    """How prominent a card's buttons are, by their words. Without those that are only text."""
    buttons = [each for each in within(card.content["body"]) if each.get("tag") == "button"]
    return {each["text"]["content"]: each["type"] for each in buttons if each["type"] != "text"}


def actions_on(card: Message) -> list[str]:
    """What its callback buttons do."""
    return [str(value["action"]) for value in values_of(card.content)]

"""Reads the fields of an event, and checks their type and length. Raises `MalformedField` for an invalid field."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeGuard

Fields = Mapping[str, Any]

MAX_ID_LENGTH = 256


class MalformedField(Exception):
    """A field is missing or of the wrong type. Its text is the name of the field."""


def is_id(value: Any) -> TypeGuard[str]:
    """Whether a value is printable and of bounded length: no NUL, which databases reject, and no forged log lines."""
    return type(value) is str and 0 < len(value) <= MAX_ID_LENGTH and value.isprintable()


def required(fields: Fields, name: str) -> str:
    """Return a text field. Raises `MalformedField` unless `is_id` accepts its value."""
    value = fields.get(name)
    # `is_id`, inlined because this is called for each field of each event.
    if type(value) is str and 0 < len(value) <= MAX_ID_LENGTH and value.isprintable():
        return value
    raise MalformedField(name)


def optional(fields: Fields, name: str) -> str | None:
    """Like `required`, but return None if the field is missing or empty."""
    value = fields.get(name)
    return None if value is None or value == "" else required(fields, name)


def required_object(fields: Fields, name: str) -> dict[str, Any]:
    value = fields.get(name)
    if type(value) is not dict:
        raise MalformedField(name)
    return value


def optional_list(fields: Fields, name: str) -> list[Any]:
    """Return a list, empty if the field is missing."""
    value = fields.get(name)
    if value is None:
        return []
    if type(value) is not list:
        raise MalformedField(name)
    return value


MAX_MILLISECONDS = 4102444800000
"""The end of the year 2099. A larger number is not in milliseconds."""


def parse_milliseconds(milliseconds: Any, name: str) -> datetime:
    """Return the time of a Unix timestamp in milliseconds, a number or text. `name` is the field to name in the error."""
    text = str(milliseconds) if type(milliseconds) is int else milliseconds
    if type(text) is not str or not (text.isascii() and text.isdigit() and len(text) <= 16):
        raise MalformedField(name)
    number = int(text)
    if number > MAX_MILLISECONDS:
        raise MalformedField(name)
    return datetime.fromtimestamp(number / 1000, UTC)

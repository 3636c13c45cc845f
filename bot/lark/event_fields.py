"""Reads the fields of an event: present, of the right type, and bounded."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeGuard

Fields = Mapping[str, Any]

MAX_ID_LENGTH = 256


class MalformedField(Exception):
    """A field is missing, or not of the kind it should be. Names the field."""


def is_id(value: Any) -> TypeGuard[str]:
    """Printable and of bounded length: no NUL that a database refuses, no line break that forges a log."""
    return type(value) is str and 0 < len(value) <= MAX_ID_LENGTH and value.isprintable()


def required(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if (
        type(value) is str and 0 < len(value) <= MAX_ID_LENGTH and value.isprintable()
    ):  # is_id, without its call
        return value
    raise MalformedField(name)


def optional(fields: Mapping[str, Any], name: str) -> str | None:
    value = fields.get(name)
    return None if value is None or value == "" else required(fields, name)


def required_object(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = fields.get(name)
    if type(value) is not dict:
        raise MalformedField(name)
    return value


def optional_list(fields: Fields, name: str) -> list[Any]:
    value = fields.get(name)
    if value is None:
        return []
    if type(value) is not list:
        raise MalformedField(name)
    return value


MAX_MILLISECONDS = 4102444800000
"""The end of the year 2099: a time beyond it is a mistake of units."""


def parse_milliseconds(milliseconds: Any, name: str) -> datetime:
    text = str(milliseconds) if type(milliseconds) is int else milliseconds
    if type(text) is not str or not (text.isascii() and text.isdigit() and len(text) <= 16):
        raise MalformedField(name)
    number = int(text)
    if number > MAX_MILLISECONDS:
        raise MalformedField(name)
    return datetime.fromtimestamp(number / 1000, UTC)

"""Column types for values of `core`. Both databases can sort them, and an operator can read them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, DateTime, Dialect, Text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.types import TypeDecorator, TypeEngine

from bot.core.people import UserKey
from bot.core.scopes import Requirement, ScopeSet


class _Tolerant:
    """Reads a malformed value as `unreadable`, so that one corrupted row does not keep others from being read.

    Values that matter are bound to a seal, which then does not open.
    """

    unreadable: Any

    def result_processor(self, dialect: Dialect, coltype: Any) -> Any:
        process = super().result_processor(dialect, coltype)  # type: ignore[misc]
        unreadable = self.unreadable

        def read(value: Any) -> Any:
            try:
                return process(value)
            except (ValueError, TypeError, AttributeError, RecursionError):
                return unreadable

        return read


class UtcDateTime(_Tolerant, TypeDecorator[datetime]):
    """An aware datetime. SQLite has none, so there it is UTC as text, `2026-01-31 09:30:00.000000`."""

    impl = DateTime(timezone=True)
    cache_ok = True
    unreadable = datetime(1970, 1, 1, tzinfo=UTC)

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("A time without a time zone cannot be stored.")
        return value.astimezone(UTC).replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


class UserKeyText(_Tolerant, TypeDecorator[UserKey]):
    impl = Text
    cache_ok = True
    unreadable = UserKey("?", "?", "?", "?")

    def process_bind_param(self, value: UserKey | None, dialect: Dialect) -> str | None:
        return None if value is None else str(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> UserKey | None:
        return None if value is None else UserKey.parse(value)


class _JsonText(_Tolerant, TypeDecorator[Any]):
    impl = Text

    def coerce_compared_value(self, op: Any, value: Any) -> TypeEngine[Any]:
        return self


def _strings(parsed: Any) -> tuple[str, ...]:
    """Return the value if it is a list of strings. Raises ValueError otherwise."""
    if not isinstance(parsed, list) or not all(isinstance(each, str) for each in parsed):
        raise ValueError("not a list of strings")
    return tuple(parsed)


class ScopeSetText(_JsonText):
    """A JSON array in alphabetical order, so that equal sets have equal texts."""

    cache_ok = True
    unreadable: ScopeSet = frozenset()

    def process_bind_param(self, value: ScopeSet | None, dialect: Dialect) -> str | None:
        return None if value is None else json.dumps(sorted(value))

    def process_result_value(self, value: str | None, dialect: Dialect) -> ScopeSet | None:
        return None if value is None else frozenset(_strings(json.loads(value)))


class RequirementText(_JsonText):
    """A JSON array of arrays: all of (any of …)."""

    cache_ok = True
    unreadable: Requirement = ()

    def process_bind_param(self, value: Requirement | None, dialect: Dialect) -> str | None:
        return None if value is None else json.dumps(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Requirement | None:
        return None if value is None else tuple(_strings(clause) for clause in json.loads(value))


class NamesText(_JsonText):
    """A JSON array of strings, whose order is kept."""

    cache_ok = True
    unreadable: tuple[str, ...] = ()

    def process_bind_param(self, value: tuple[str, ...] | None, dialect: Dialect) -> str | None:
        return None if value is None else json.dumps(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> tuple[str, ...] | None:
        return None if value is None else _strings(json.loads(value))


class AppOfUserKey(ColumnElement[str]):
    """An SQL expression: the app in the column `user_key`, which begins with platform and app id."""

    type = Text()
    inherit_cache = True


@compiles(AppOfUserKey, "postgresql")
def _on_postgresql(*_: object, **__: object) -> str:
    # In the form in which the server reports it.
    return "split_part(user_key, ':'::text, 1) || ':'::text || split_part(user_key, ':'::text, 2)"


@compiles(AppOfUserKey, "sqlite")
def _on_sqlite(*_: object, **__: object) -> str:
    second = "instr(user_key, ':') + instr(substr(user_key, instr(user_key, ':') + 1), ':')"
    return f"substr(user_key, 1, {second} - 1)"

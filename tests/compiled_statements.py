"""Lets every engine of a process use the SQL that earlier ones compiled.

Each test, and each forked process of the bot, opens its database with an engine of its own, whose cache starts empty:
compiling the same statements again would take a quarter of their processor time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, MutableMapping
from typing import Any

from sqlalchemy import Connection, Dialect, Engine, event

Key = tuple[Any, ...]
"""The dialect, and what identifies the statement."""


class SharedCache(MutableMapping[Key, Any]):
    """A cache of one kind of database. Two dialects that were built alike compile a statement to the same SQL."""

    def __init__(self) -> None:
        self._compiled: dict[Key, Any] = {}

    def __getitem__(self, key: Key) -> Any:
        return self._compiled[key[1:]]

    def __setitem__(self, key: Key, compiled: Any) -> None:
        self._compiled[key[1:]] = compiled

    def __delitem__(self, key: Key) -> None:
        del self._compiled[key[1:]]

    def __iter__(self) -> Iterator[Key]:
        return iter(self._compiled)

    def __len__(self) -> int:
        return len(self._compiled)


_caches: defaultdict[Key, SharedCache] = defaultdict(SharedCache)


def share_compiled_statements() -> None:
    """Apply to all engines of this process, and of processes that it forks."""

    @event.listens_for(Engine, "engine_connect")
    def use_shared(connection: Connection) -> None:
        connection.execution_options(compiled_cache=_caches[kind_of(connection.dialect)])


def kind_of(dialect: Dialect) -> Key:
    return (type(dialect), dialect.server_version_info, dialect.paramstyle, dialect.default_schema_name)

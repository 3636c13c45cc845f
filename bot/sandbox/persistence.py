"""Saves an emulator's state: when it is saved, how the file is replaced, and how dataclasses become JSON."""

import asyncio
import contextlib
import dataclasses
import os
import types
import typing
from collections.abc import AsyncIterator, Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from bot.sandbox.feed import Feed

SAVE_INTERVAL = 1.0
"""Seconds between a change and the save that includes it."""


@contextlib.asynccontextmanager
async def saved_continuously(feed: Feed, save: Callable[[], None]) -> AsyncIterator[None]:
    """Call `save` within `SAVE_INTERVAL` of every change, and once at the end."""

    async def follow() -> None:
        queue, unsubscribe = feed.subscribe()
        try:
            while await queue.get() is not None:
                await asyncio.sleep(SAVE_INTERVAL)
                while not queue.empty():
                    queue.get_nowait()
                save()
        finally:
            unsubscribe()

    saving = asyncio.create_task(follow())
    try:
        yield
    finally:
        saving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await saving
        save()


def replace_private_file(file: Path, text: str) -> None:
    """Replace the file atomically; only its owner can read it."""
    beside = file.with_suffix(".new")
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as opened:
        opened.write(text)
    beside.replace(file)


def to_json(value: Any) -> Any:
    """Convert dataclasses and collections to JSON. A mapping with keys other than strings becomes a list of pairs."""
    if is_dataclass(value):
        return {each.name: to_json(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, dict):
        if all(isinstance(key, str) for key in value):
            return {key: to_json(entry) for key, entry in value.items()}
        return [[to_json(key), to_json(entry)] for key, entry in value.items()]
    if isinstance(value, list | tuple | set | frozenset):
        return [to_json(entry) for entry in value]
    return value


def from_json(hint: Any, value: Any) -> Any:
    """Invert `to_json`, guided by type hints. Fields that are missing in the file keep their defaults."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        known = {each.name for each in dataclasses.fields(hint)} & value.keys()
        return typing.cast(Any, hint)(**{name: from_json(hints[name], value[name]) for name in known})
    if origin in (typing.Union, types.UnionType):
        return None if value is None else from_json(arguments[0], value)
    if origin is dict:
        pairs = value.items() if isinstance(value, dict) else value
        return {from_json(arguments[0], key): from_json(arguments[1], entry) for key, entry in pairs}
    if origin is tuple and arguments[-1] is not Ellipsis:
        return tuple(from_json(each, entry) for each, entry in zip(arguments, value, strict=True))
    if origin in (list, set, frozenset, tuple):
        return origin(from_json(arguments[0], entry) for entry in value)
    return value

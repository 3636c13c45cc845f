"""The platform's memory between two starts with the same `--data` directory: the tenant as one JSON file.

What the bot's database refers to (people, tokens, messages, tasks) is there again, and so are the addresses that its
cards lead to. Rate limits and faults are not kept.
"""

import asyncio
import contextlib
import dataclasses
import json
import os
import types
import typing
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

from bot.sandbox.credentials import Credentials
from bot.sandbox.tenant import App, Behaviour, CardToken, Change, Chat, Message, Person, PushedEvent, Tenant
from bot.sandbox.workplace import Workplace

FILE = "platform.json"
SAVE_SECONDS = 1.0
KEPT_CHANGES = 2000


@dataclass
class Memory:
    """Everything in the file. `ports` are those of the last start, so that old links still lead somewhere."""

    ports: dict[str, int] = field(default_factory=dict)
    offset: float = 0.0
    everybody_ahead: float = 0.0
    app: App | None = None
    behaviour: Behaviour = field(default_factory=Behaviour)
    people: dict[str, Person] = field(default_factory=dict)
    chats: dict[str, Chat] = field(default_factory=dict)
    messages: dict[str, Message] = field(default_factory=dict)
    credentials: Credentials = field(default_factory=Credentials)
    work: Workplace = field(default_factory=Workplace)
    sent: dict[str, tuple[float, str]] = field(default_factory=dict)
    card_tokens: dict[str, CardToken] = field(default_factory=dict)
    events: dict[str, PushedEvent] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)


OF_THE_TENANT = (
    "app", "behaviour", "people", "chats", "messages", "credentials", "work", "sent", "card_tokens", "events",
)  # fmt: skip


def recall(directory: Path) -> Memory:
    """What was saved in this directory, or an empty memory. Raises ValueError if the file is none of ours."""
    file = directory / FILE
    if not file.exists():
        return Memory()
    try:
        memory: Memory = decoded(Memory, json.loads(file.read_text()))
    except (ValueError, TypeError, KeyError, AttributeError) as problem:
        raise ValueError(f"{file} cannot be read ({problem}); remove it to start with a new tenant") from None
    for consent in memory.credentials.consents.values():
        if consent.device is not None:
            consent.device = memory.credentials.devices.get(consent.device.device_code, consent.device)
    return memory


def fill(tenant: Tenant, memory: Memory) -> None:
    """Makes the tenant what it was."""
    if memory.app is None:
        return
    for name in OF_THE_TENANT:
        setattr(tenant, name, getattr(memory, name))
    tenant.work.being_written.clear()
    tenant.clock.offset, tenant.clock.everybody_ahead = memory.offset, memory.everybody_ahead
    tenant.resume_feed(memory.changes)


@contextlib.asynccontextmanager
async def kept(tenant: Tenant, directory: Path, ports: dict[str, int]) -> AsyncIterator[None]:
    """Saves the tenant within a second of every change, and at the end."""

    async def follow() -> None:
        queue, unsubscribe = tenant.subscribe()
        try:
            while await queue.get() is not None:
                await asyncio.sleep(SAVE_SECONDS)
                while not queue.empty():
                    queue.get_nowait()
                save()
        finally:
            unsubscribe()

    def save() -> None:
        clock = tenant.clock
        memory = Memory(ports, clock.offset, clock.everybody_ahead, changes=tenant.changes[-KEPT_CHANGES:])
        for name in OF_THE_TENANT:
            setattr(memory, name, getattr(tenant, name))
        write_private(directory / FILE, json.dumps(encoded(memory), ensure_ascii=False))

    saving = asyncio.create_task(follow())
    try:
        yield
    finally:
        saving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await saving
        save()


def write_private(file: Path, text: str) -> None:
    """Replaces the file in one step; only its owner may read it."""
    beside = file.with_suffix(".new")
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as opened:
        opened.write(text)
    beside.replace(file)


# Dataclasses as JSON


def encoded(value: Any) -> Any:
    """JSON of dataclasses and collections; a mapping with keys other than strings becomes a list of pairs."""
    if is_dataclass(value):
        return {each.name: encoded(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, dict):
        if all(isinstance(key, str) for key in value):
            return {key: encoded(entry) for key, entry in value.items()}
        return [[encoded(key), encoded(entry)] for key, entry in value.items()]
    if isinstance(value, list | tuple | set | frozenset):
        return [encoded(entry) for entry in value]
    return value


def decoded(hint: Any, value: Any) -> Any:
    """The inverse of `encoded`, led by type hints. Fields that the file does not have keep their defaults."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        known = {each.name for each in dataclasses.fields(hint)} & value.keys()
        return typing.cast(Any, hint)(**{name: decoded(hints[name], value[name]) for name in known})
    if origin in (typing.Union, types.UnionType):
        return None if value is None else decoded(arguments[0], value)
    if origin is dict:
        pairs = value.items() if isinstance(value, dict) else value
        return {decoded(arguments[0], key): decoded(arguments[1], entry) for key, entry in pairs}
    if origin is tuple and arguments[-1] is not Ellipsis:
        return tuple(decoded(each, entry) for each, entry in zip(arguments, value, strict=True))
    if origin in (list, set, frozenset, tuple):
        return origin(decoded(arguments[0], entry) for entry in value)
    return value

"""The tenant as one JSON file in a `--data` directory, from which the next start continues.

The bot's database refers to people, tokens, messages and tasks, and its cards to addresses; all of them are saved.
Rate limits and faults are not. The names of the file and its fields are fixed: older files must still load.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

from bot.sandbox.feed import Change
from bot.sandbox.lark.credentials import Credentials
from bot.sandbox.lark.tenant import App, Behaviour, CardToken, Chat, Message, Person, PushedEvent, Tenant
from bot.sandbox.lark.work_data import WorkData
from bot.sandbox.persistence import from_json, replace_private_file, to_json

FILE = "platform.json"
MAX_CHANGES = 2000


@dataclass
class Snapshot:
    """The content of the file. `ports` are those of the last start, so that old links keep working."""

    ports: dict[str, int] = field(default_factory=dict)
    offset: float = 0.0
    everybody_ahead: float = 0.0
    app: App | None = None
    behaviour: Behaviour = field(default_factory=Behaviour)
    people: dict[str, Person] = field(default_factory=dict)
    chats: dict[str, Chat] = field(default_factory=dict)
    messages: dict[str, Message] = field(default_factory=dict)
    credentials: Credentials = field(default_factory=Credentials)
    work: WorkData = field(default_factory=WorkData)
    sent: dict[str, tuple[float, str]] = field(default_factory=dict)
    card_tokens: dict[str, CardToken] = field(default_factory=dict)
    events: dict[str, PushedEvent] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)


TENANT_FIELDS = (
    "app", "behaviour", "people", "chats", "messages", "credentials", "work", "sent", "card_tokens", "events",
)  # fmt: skip
"""Fields that a snapshot and a tenant have in common."""


def load_snapshot(directory: Path) -> Snapshot:
    """Return what was saved in this directory, or an empty snapshot. Raises ValueError if the file is unreadable."""
    file = directory / FILE
    if not file.exists():
        return Snapshot()
    try:
        snapshot: Snapshot = from_json(Snapshot, json.loads(file.read_text()))
    except (ValueError, TypeError, KeyError, AttributeError) as problem:
        raise ValueError(f"{file} cannot be read ({problem}); remove it to start with a new tenant") from None
    # JSON has no references: a consent's device authorization must be the object that the credentials hold.
    for consent in snapshot.credentials.consents.values():
        if consent.device is not None:
            consent.device = snapshot.credentials.devices.get(consent.device.device_code, consent.device)
    return snapshot


def restore_tenant(tenant: Tenant, snapshot: Snapshot) -> None:
    """Set the tenant's state to that of the snapshot. An empty snapshot changes nothing."""
    if snapshot.app is None:
        return
    for name in TENANT_FIELDS:
        setattr(tenant, name, getattr(snapshot, name))
    tenant.work.being_written.clear()
    tenant.clock.offset, tenant.clock.wall_offset = snapshot.offset, snapshot.everybody_ahead
    tenant.feed.restore(snapshot.changes)


def save_snapshot(tenant: Tenant, directory: Path, ports: dict[str, int]) -> None:
    """Replace the file with the tenant's state and the newest `MAX_CHANGES` changes."""
    clock = tenant.clock
    snapshot = Snapshot(ports, clock.offset, clock.wall_offset, changes=tenant.feed.changes[-MAX_CHANGES:])
    for name in TENANT_FIELDS:
        setattr(snapshot, name, getattr(tenant, name))
    replace_private_file(directory / FILE, json.dumps(to_json(snapshot), ensure_ascii=False))

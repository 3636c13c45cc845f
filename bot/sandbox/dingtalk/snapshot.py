"""The organization as one JSON file in a `--data` directory, from which the next start continues.

Rate limits and faults are not saved.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

from bot.sandbox.dingtalk.credentials import Credentials
from bot.sandbox.dingtalk.tenant import (
    App,
    Behaviour,
    CallbackRoute,
    Card,
    CardTemplate,
    Chat,
    Message,
    Organization,
    Person,
    PushedEvent,
    Session,
    Tenant,
)
from bot.sandbox.dingtalk.work_data import WorkData
from bot.sandbox.feed import Change
from bot.sandbox.persistence import from_json, replace_private_file, to_json

FILE = "dingtalk.json"
MAX_CHANGES = 2000


@dataclass
class Snapshot:
    """The content of the file. `ports` are those of the last start, so that old links keep working."""

    ports: dict[str, int] = field(default_factory=dict)
    offset: float = 0.0
    everybody_ahead: float = 0.0
    app: App | None = None
    behaviour: Behaviour = field(default_factory=Behaviour)
    organizations: dict[str, Organization] = field(default_factory=dict)
    people: dict[str, Person] = field(default_factory=dict)
    chats: dict[str, Chat] = field(default_factory=dict)
    messages: dict[str, Message] = field(default_factory=dict)
    credentials: Credentials = field(default_factory=Credentials)
    work: WorkData = field(default_factory=WorkData)
    sessions: dict[str, Session] = field(default_factory=dict)
    templates: dict[str, CardTemplate] = field(default_factory=dict)
    cards: dict[str, Card] = field(default_factory=dict)
    callback_routes: dict[str, CallbackRoute] = field(default_factory=dict)
    events: dict[str, PushedEvent] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)


TENANT_FIELDS = (
    "app", "behaviour", "organizations", "people", "chats", "messages", "credentials", "work", "sessions",
    "templates", "cards", "callback_routes", "events",
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
        raise ValueError(f"{file} cannot be read ({problem}); remove it to start over") from None
    return snapshot


def restore_tenant(tenant: Tenant, snapshot: Snapshot) -> None:
    """Set the tenant's state to that of the snapshot. An empty snapshot changes nothing."""
    if snapshot.app is None:
        return
    for name in TENANT_FIELDS:
        setattr(tenant, name, getattr(snapshot, name))
    tenant.clock.offset, tenant.clock.wall_offset = snapshot.offset, snapshot.everybody_ahead
    tenant.feed.restore(snapshot.changes)


def save_snapshot(tenant: Tenant, directory: Path, ports: dict[str, int]) -> None:
    """Replace the file with the tenant's state and the newest `MAX_CHANGES` changes."""
    clock = tenant.clock
    snapshot = Snapshot(ports, clock.offset, clock.wall_offset, changes=tenant.feed.changes[-MAX_CHANGES:])
    for name in TENANT_FIELDS:
        setattr(snapshot, name, getattr(tenant, name))
    replace_private_file(directory / FILE, json.dumps(to_json(snapshot), ensure_ascii=False))

"""A month of an app's life as rows, for tests that look at the console: people, grants, requests, calls, errors."""

from __future__ import annotations

import json
import random
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, insert

from bot.core.people import UserKey
from bot.store.ids import new_id
from bot.store.schema import (
    api_calls,
    audit_log,
    authorization_attempts,
    authorization_requests,
    cards,
    deferred_calls,
    granted_scopes,
    grants,
    outgoing_messages,
    users,
)
from tests.old_audit_rows import past_allowed

NAMES = (
    "Ada Lovelace", "陈静", "Björn Åkesson", "王小明", "Chimamanda Okafor", "María José Núñez", "李雷", "Nguyễn Thị Hạnh",
    "Olena Kovalenko", "韩梅梅", "Priya Raghunathan", "Tomás Ó Súilleabháin", "赵敏", "Zoë van der Berg", None,
)  # fmt: skip
SCOPES = {
    "agenda": "calendar:calendar:readonly",
    "tasks": "task:task:read",
    "task": "task:task:write",
    "doc": "docx:document:readonly",
    "search": "search:docs:read",
}
PATHS = {
    "agenda": "/open-apis/calendar/v4/calendars/feishu.cn_8aT0zc0RWFq1/events",
    "tasks": "/open-apis/task/v2/tasks",
    "task": "/open-apis/task/v2/tasks",
    "doc": "/open-apis/docx/v1/documents/Kx3dQ8rYt2Lm/raw_content",
    "search": "/open-apis/suite/docs-api/search/object",
}
ERRORS = (
    ("refused", 403, "1061004"),
    ("no_answer", 504, None),
    ("rate_limited", 429, "99991400"),
    ("no_answer", None, None),
)
SEAL = "v1.0a1b2c3d.x"


def lively(connection: Connection, app: str, tenant: str, now: datetime, people: int = 60) -> list[UserKey]:
    """Insert a month of rows of an app, and return its people. The same each time, but for times and ids."""
    chance = random.Random(app)
    platform, _, app_id = app.partition(":")
    keys = [
        UserKey(platform, app_id, tenant, f"ou_{number:04d}{chance.getrandbits(96):024x}")
        for number in range(people)
    ]
    rows: dict[Any, list[dict[str, Any]]] = {table: [] for table in ORDER}
    for number, key in enumerate(keys):
        add_person(rows, chance, key, number, now)
    rows[audit_log].sort(key=lambda each: each["at"])
    with past_allowed(connection):
        for table in ORDER:
            if rows[table]:
                connection.execute(insert(table).inline(), rows[table])
    return keys


ORDER = (
    users, grants, granted_scopes, authorization_requests, cards, authorization_attempts, deferred_calls, api_calls,
    outgoing_messages, audit_log,
)  # fmt: skip


def add_person(
    rows: dict[Any, list[dict[str, Any]]], chance: random.Random, key: UserKey, number: int, now: datetime
) -> None:
    joined = now - timedelta(days=chance.uniform(0.5, 29))
    name = NAMES[number % len(NAMES)]
    rows[users].append(
        {
            "user_key": key, "platform": key.platform, "app_id": key.app_id, "tenant_key": key.tenant_key,
            "open_id": key.open_id, "name": name, "language": "zh" if number % 3 == 1 else "en",
            "time_zone": "Asia/Shanghai" if number % 3 == 1 else "Europe/Berlin", "created_at": joined,
            "seen_at": now - timedelta(minutes=chance.uniform(1, 3000)),
        }
    )  # fmt: skip
    held: set[str] = set()
    for command in chance.sample(sorted(SCOPES), chance.choice((1, 2, 2, 3))):
        asked_at = min(joined + timedelta(days=chance.uniform(0, 6)), now - timedelta(hours=1))
        add_request(rows, chance, key, command, asked_at, held)
    for _ in range(chance.randrange(2, 14)):
        add_call(
            rows, chance, key, chance.choice(sorted(SCOPES)), now - timedelta(days=chance.uniform(0, 13.9))
        )
    if held:
        active = number % 9 != 4
        authorized = joined + timedelta(minutes=3)
        rows[grants].append(
            {
                "user_key": key, "status": "active" if active else "ended", "generation": 2, "oauth": "v2",
                "access_token": SEAL if active else None, "refresh_token": SEAL if active else None,
                "access_expires_at": now + timedelta(hours=1) if active else None,
                "refresh_expires_at": now + timedelta(days=5) if active else None,
                "scopes": frozenset({*held, "offline_access"}) if active else frozenset(),
                "scopes_ever": frozenset({*held, "offline_access"}), "authorized_at": authorized, "issued_at": authorized,
                "refreshed_at": now - timedelta(hours=3),
                "last_used_at": now - timedelta(minutes=chance.uniform(1, 4000)),
                "refresh_failures": 3 if number % 17 == 5 and active else 0,
                "ended_at": None if active else now - timedelta(days=1),
                "end_reason": None if active else "revoked_by_user",
            }
        )  # fmt: skip
        rows[granted_scopes] += [
            {
                "user_key": key, "scope": scope, "asked_by": tuple(c for c, s in SCOPES.items() if s == scope),
                "granted_at": authorized, "used_at": now - timedelta(hours=2), "used_by": "tasks",
            }
            for scope in held
        ]  # fmt: skip


def add_request(
    rows: dict[Any, list[dict[str, Any]]],
    chance: random.Random,
    key: UserKey,
    command: str,
    asked_at: datetime,
    held: set[str],
) -> None:
    request, scope = new_id(asked_at), SCOPES[command]
    ending = chance.choices(("granted", "declined", "expired"), (80, 8, 12))[0]
    opened = ending == "granted" or chance.random() < 0.4
    took = timedelta(seconds=chance.lognormvariate(4, 1.6))
    granted_at = asked_at + took
    settled_at = granted_at if ending == "granted" else asked_at + timedelta(hours=24)
    rows[authorization_requests].append(
        {
            "id": request, "user_key": key, "status": ending, "scopes": frozenset({scope, "offline_access"}),
            "granted": frozenset({scope}) if ending == "granted" else frozenset(), "refused": frozenset(),
            "avoided": frozenset(), "reasons": (command,), "ticket_digest": request, "ticket": SEAL,
            "created_at": asked_at, "opened_at": asked_at + took / 2 if opened else None,
            "expires_at": asked_at + timedelta(days=1), "settled_at": settled_at,
        }
    )  # fmt: skip
    rows[cards].append(
        {
            "id": request, "request_id": request, "app": key.app, "wanted": 2, "shown": 2, "due_at": asked_at,
            "sent_at": asked_at + timedelta(seconds=1), "message_id": f"om_{request[-10:]}", "seal": SEAL,
        }
    )  # fmt: skip
    if opened:
        came_back = ending == "granted" or chance.random() < 0.5
        rows[authorization_attempts].append(
            {
                "id": new_id(asked_at + took / 2), "kind": "authorization", "request_id": request, "user_key": key,
                "state_digest": request, "scopes": frozenset({scope}),
                "status": "completed" if ending == "granted" else "denied" if came_back else "expired",
                "created_at": asked_at + took / 2, "expires_at": asked_at + took / 2 + timedelta(minutes=10),
                "consumed_at": granted_at if came_back else None,
                "outcome": "granted" if ending == "granted" else "access_denied" if came_back else None,
            }
        )  # fmt: skip
    call = add_call(
        rows, chance, key, command, asked_at, request, None if ending != "granted" else granted_at, ending
    )
    note(rows, asked_at, "call_suspended", key, ("call", call), waits_for="authorization", scopes=[scope])
    note(rows, asked_at, "request_opened", key, ("request", request), command=command, scopes=[scope])
    if ending == "granted":
        held.add(scope)
        note(rows, granted_at, "request_granted", key, ("request", request), granted=[scope])
        note(rows, granted_at, "call_released", key, ("call", call), consents=1)
        note(rows, granted_at, "grant_stored", key, None, scopes=[scope, "offline_access"])


def add_call(
    rows: dict[Any, list[dict[str, Any]]],
    chance: random.Random,
    key: UserKey,
    command: str,
    asked_at: datetime,
    request: str | None = None,
    granted_at: datetime | None = None,
    ending: str = "granted",
) -> str:
    call = new_id(asked_at)
    started = granted_at or asked_at
    settled_at = started + timedelta(seconds=chance.uniform(0.4, 4))
    status = chance.choices(
        ("succeeded", "failed", "cancelled", "expired", "outcome_unknown"), (88, 5, 3, 3, 1)
    )[0]
    if ending != "granted":
        status, settled_at = (
            ("cancelled" if ending == "declined" else "expired"),
            asked_at + timedelta(hours=24),
        )
    elif request is not None:
        status = "succeeded"
    outcome = {
        "succeeded": "answered",
        "failed": chance.choice(("platform_failed", "refused_1061004")),
        "cancelled": "cancelled_by_user" if ending == "granted" else "not_now",
    }.get(status, status)
    rows[deferred_calls].append(
        {
            "id": call, "user_key": key, "chat_id": "oc_1", "chat_kind": "direct" if chance.random() < 0.8 else "group",
            "message_id": f"om_{call}", "command": command, "arguments": "", "asked_at": asked_at,
            "received_at": asked_at,
            "language": "en", "status": status, "needs": ((SCOPES[command],),) if request else (), "request_id": request,
            "consents": 1 if granted_at else 0, "attempts": 1, "runs_after": asked_at,
            "expires_at": asked_at + timedelta(days=1), "suspended_at": asked_at if request else None, "confirmed": False,
            "claim": 1, "outcome": outcome, "settled_at": settled_at, "released_at": granted_at,
        }
    )  # fmt: skip
    made: list[tuple[datetime, str, int | None, str | None]] = []
    if request is not None:
        made.append((asked_at, "insufficient_scope", 400, "99991679"))
    if ending == "granted":
        if status == "failed":
            failure, http, code = chance.choice(ERRORS)
            made += [
                (started + timedelta(seconds=each), failure, http, code)
                for each in range(chance.randrange(1, 4))
            ]
        else:
            made.append((started, "succeeded", 200, "0"))
    for step, (at, result, http, code) in enumerate(made):
        rows[api_calls].append(
            {
                "id": new_id(at), "at": at, "user_key": key, "call_id": call, "step": 0, "attempt": step + 1,
                "method": "POST" if command in {"task", "search"} else "GET", "path": PATHS[command], "status": http,
                "code": code, "log_id": f"2026{chance.getrandbits(80):020X}" if http else None,
                "milliseconds": chance.randrange(40, 900), "outcome": result,
            }
        )  # fmt: skip
    if status == "succeeded":
        rows[outgoing_messages].append(
            {
                "id": new_id(settled_at), "user_key": key, "call_id": call, "kind": "answer", "delivery_key": call,
                "private": False, "content_kind": "post", "status": "sent", "runs_after": settled_at, "claim": 1,
                "attempts": 1, "created_at": settled_at, "sent_at": settled_at + timedelta(milliseconds=300),
                "settled_at": settled_at + timedelta(milliseconds=300), "message_id": f"om_a{call}",
            }
        )  # fmt: skip
    note(rows, settled_at, f"call_{status}", key, ("call", call), command=command, outcome=outcome)
    return call


def note(
    rows: dict[Any, list[dict[str, Any]]],
    at: datetime,
    action: str,
    key: UserKey,
    subject: tuple[str, str] | None,
    **detail: Any,
) -> None:
    kind, subject_id = subject or (None, None)
    rows[audit_log].append(
        {
            "at": at, "action": action, "user_key": key, "app": key.app, "subject_kind": kind, "subject_id": subject_id,
            "detail": json.dumps(detail),
        }
    )  # fmt: skip

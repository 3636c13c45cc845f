"""The views for operators, and the page that explains the database: both are tried on both databases, with rows in."""

from __future__ import annotations

import ast
import asyncio
import json
import re
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Connection, make_url, text
from sqlalchemy.exc import DBAPIError

from bot.core.api import ApiOutcome
from bot.core.calls import CallStatus, WaitsFor
from bot.core.decisions import GiveUpReason
from bot.core.lifecycle import LIFECYCLES
from bot.core.people import UserKey
from bot.core.requests import AttemptKind
from bot.store import api_calls, schema
from bot.store.schema import MessageKind
from bot.store.transaction import Database
from tests import database_page
from tests.many_rows import fill
from tests.reused_databases import administer
from tests.sql import query
from tests.store.examples import a_made_call
from tests.store.test_migrations import as_stored, call, grant, message, request, user
from tests.store.test_plans import PAGES, STEPS, cost
from tests.store.test_statuses import KIND_OF

PAGE = database_page.PAGE.read_text(encoding="utf-8")
BOT = Path(__file__).resolve().parents[2] / "bot"
NOW = datetime.now(UTC)


def ago(**time: float) -> datetime:
    return NOW - timedelta(**time)


SOON = NOW + timedelta(days=3)
LATER = NOW + timedelta(days=20)
USERS = {
    name: f"lark:cli_1:tenant_1:ou_{name}"
    for name in ("anna", "ben", "cho", "dan", "eve", "fay", "gus", "hal")
}
TICKET = "v1.0a1b2c3d.c2VhbGVk"
USED = {"access_token": TICKET, "access_expires_at": SOON}
REFRESHABLE = {**USED, "refresh_token": TICKET, "refresh_expires_at": LATER}
SCOPES = '["offline_access", "task:task:read"]'


def asked(name: str, number: int, status: str, **more: Any) -> dict[str, Any]:
    row = request(USERS[name], number, status, scopes=SCOPES, created_at=ago(hours=5), expires_at=SOON)
    unused = ("card_ephemeral", "card_wanted", "card_shown", "card_attempts", "card_due_at")
    settled = {} if status in {"open", "redeeming"} else {"settled_at": ago(hours=1)}
    return {key: value for key, value in row.items() if key not in unused} | settled | more


def card(number: int) -> dict[str, Any]:
    return {
        "id": f"r{number}", "request_id": f"r{number}", "app": "lark:cli_1", "wanted": 1, "shown": 1,
        "due_at": ago(hours=5), "sent_at": ago(hours=4.5),
    }  # fmt: skip


def opening(number: int, of_request: int, name: str, status: str, **more: Any) -> dict[str, Any]:
    ended = {"completed": "granted", "denied": "access_denied", "failed": "error_on_page"}.get(status)
    seal = {"seal": TICKET} if status in {"live", "redeeming"} else {}
    return {
        "id": f"a{number}", "kind": "authorization", "request_id": f"r{of_request}", "user_key": USERS[name],
        "state_digest": f"state {number}", "scopes": SCOPES, "status": status, "created_at": ago(hours=4),
        "expires_at": SOON, "consumed_at": ago(hours=3) if ended else None, "outcome": ended, **seal, **more,
    }  # fmt: skip


def a_call(name: str, number: int, status: str, **more: Any) -> dict[str, Any]:
    live = status in {"queued", "running", "suspended"}
    ended = (
        {"run_seal": TICKET} if live else {"settled_at": ago(hours=1), "outcome": "answered", "arguments": ""}
    )
    common = call(USERS[name], number, status, asked_at=ago(hours=5), seal=TICKET, expires_at=SOON)
    return {**common, **ended, **more}


WAITING = {"suspended_at": ago(hours=2), "needs": '[["task:task:read", "task:task:write"]]'}
ROWS: dict[str, list[dict[str, Any]]] = {
    "users": [user(key, name=name.title()) for name, key in USERS.items()],
    "authorization_requests": [
        asked("anna", 1, "granted", granted=SCOPES, opened_at=ago(hours=4)),
        asked("ben", 2, "granted", granted='["offline_access"]', refused='["task:task:read"]', opened_at=ago(hours=4)),
        asked("cho", 3, "declined"),
        asked("dan", 4, "open", opened_at=ago(hours=4), declined_on_page_at=ago(hours=3)),
        asked("eve", 5, "open"),
        asked("fay", 6, "expired", opened_at=ago(hours=4), declined_on_page_at=ago(hours=3)),
        asked("gus", 7, "expired"),
        asked("hal", 8, "failed", failure="administrator"),
        asked("gus", 9, "granted", scopes='["a:b", "c:d"]', granted='["a:b"]', refused='["c:d"]'),
        asked("hal", 10, "granted", scopes='["offline_access"]', granted='["offline_access"]'),
        asked("hal", 11, "superseded"),
        asked("hal", 12, "failed", failure="unknown_scope"),
    ],
    "cards": [card(number) for number in (1, 2, 3, 4, 6)],
    "authorization_attempts": [
        opening(1, 1, "anna", "completed"),
        opening(2, 2, "ben", "completed"),
        opening(3, 4, "dan", "denied"),
        opening(4, 6, "fay", "denied"),
        opening(5, 1, "anna", "expired"),
    ],
    "deferred_calls": [
        a_call("anna", 1, "succeeded", request_id="r1", consents=1, released_at=ago(hours=2.9), **WAITING),
        a_call("ben", 2, "cancelled", request_id="r2"),
        a_call("dan", 3, "suspended", waits_for="authorization", request_id="r4", **WAITING),
        a_call("eve", 4, "suspended", waits_for="authorization", request_id="r5", **WAITING),
        a_call("hal", 5, "suspended", waits_for="administrator", **WAITING),
        a_call("gus", 6, "suspended", waits_for="confirmation", suspended_at=ago(hours=1)),
        a_call("anna", 7, "queued", first_failed_at=ago(minutes=5)),
        a_call("ben", 8, "running", worker="w1", runs_after=SOON),
        a_call("ben", 9, "queued", behind=True),
        a_call("hal", 10, "suspended", waits_for="administrator", **WAITING),
    ],
    "outgoing_messages": [
        message(1, "sent", call_id="c1", kind="answer", user_key=USERS["anna"], sent_at=ago(hours=2.8), settled_at=NOW),
        message(2, "sent", call_id="c2", kind="answer", user_key=USERS["ben"], sent_at=ago(hours=3), settled_at=NOW),
        message(3, "undeliverable", call_id="c7", reason="230002", settled_at=ago(hours=1)),
    ],
    "grants": [
        grant(USERS["anna"], "active", scopes=SCOPES, last_used_at=ago(days=1), **REFRESHABLE),
        grant(USERS["ben"], "active", scopes='["a:b"]', **USED),
        grant(USERS["cho"], "ended", ended_at=NOW, end_reason="revoked_by_user"),
        # Over, though nobody has noticed yet.
        grant(USERS["dan"], "active", scopes='["task:task:read"]', access_token=TICKET, access_expires_at=ago(days=1)),
        grant(
            USERS["eve"], "active", scopes='["task:task:read"]', **REFRESHABLE
            | {"access_expires_at": ago(days=1), "refresh_expires_at": ago(hours=1)},
        ),
        grant(
            USERS["fay"], "active", scopes='["task:task:read"]', refresh_failures=3, last_used_at=ago(days=30),
            **REFRESHABLE | {"access_expires_at": ago(days=1), "refresh_expires_at": SOON},
        ),
        grant(
            USERS["gus"], "active", scopes='["c:d"]', refresh_started_at=ago(hours=1), last_used_at=ago(hours=1),
            **REFRESHABLE | {"refresh_expires_at": None},
        ),
    ],
    "granted_scopes": [
        {"user_key": USERS["anna"], "scope": "task:task:read", "asked_by": '["tasks"]', "granted_at": ago(hours=3)},
    ],
    "scope_waits": [
        {"id": "s1", "platform": "lark", "app_id": "cli_1", "scopes": '["task:task:read"]', "status": "waiting",
         "created_at": ago(hours=2)},
        {"id": "s2", "platform": "lark", "app_id": "cli_1", "scopes": '["x:y"]', "status": "enabled",
         "created_at": ago(hours=9), "settled_at": NOW},
    ],
    "audit_log": [
        {"action": action, "user_key": USERS["anna"], "subject_kind": kind, "subject_id": subject,
         "detail": "{}", "app": "lark:cli_1"}
        for action, kind, subject in (
            ("call_suspended", "call", "c1"), ("request_opened", "request", "r1"), ("grant_stored", "attempt", "a1"),
            ("call_released", "call", "c1"), ("call_succeeded", "call", "c1"), ("call_suspended", "call", "c3"),
        )
    ],
}  # fmt: skip
NO_ANSWER = {"outcome": ApiOutcome.NO_ANSWER, "code": None}
MADE = [
    (
        "anna",
        "c1",
        {"outcome": ApiOutcome.INSUFFICIENT_SCOPE, "status": 400, "code": "99991679", "log_id": "L1"},
    ),
    ("anna", "c1", {"log_id": "L2"}),
    ("ben", "c8", {**NO_ANSWER, "status": 500, "method": "POST", "log_id": "L3"}),
    ("ben", "c8", {**NO_ANSWER, "status": None, "method": "POST", "log_id": None, "attempt": 2}),
    ("cho", "c99", {"outcome": ApiOutcome.REFUSED, "status": 403, "code": "1254302", "log_id": "L5"}),
    ("cho", "c99", {"outcome": ApiOutcome.RATE_LIMITED, "status": 429, "code": "99991400"}),
]


@pytest.fixture
async def filled(database: Database) -> Database:
    """A database in which every view finds something, and nearly finds more."""

    def work(c: Connection) -> None:
        insert_rows_on(c)
        for number, (name, call_id, values) in enumerate(MADE):
            made = a_made_call(
                UserKey.parse(USERS[name]), ago(minutes=60 - number), call_id=call_id, **values
            )
            api_calls.record(c, [made])

    await database.write(work)
    return database


def insert_rows_on(c: Connection) -> None:
    for table, rows in ROWS.items():
        # The audit log takes only rows of the moment, and this module may have been imported long before.
        dated = {"at": datetime.now(UTC)} if table == "audit_log" else {}
        for each in rows:
            row = each | dated
            columns = ", ".join(row)
            values = ", ".join(f":{name}" for name in row)
            c.execute(
                text(f"INSERT INTO {table} ({columns}) VALUES ({values})"),
                {name: as_stored(c, value) for name, value in row.items()},
            )


async def found(database: Database, statement: str) -> list[dict[str, Any]]:
    rows = await database.read(lambda c: c.exec_driver_sql(statement).mappings().all())
    return [dict(row) for row in rows]


# --- what they answer ------------------------------------------------------------------------------


async def test_a_request_is_granted_only_if_a_scope_came_and_who_declines_is_counted(
    filled: Database,
) -> None:
    rows = await found(filled, "SELECT request_id, outcome, granted_at, declined_at FROM consent_funnel")
    outcomes = {
        row["request_id"]: (row["outcome"], bool(row["granted_at"]), bool(row["declined_at"])) for row in rows
    }
    assert outcomes == {
        "r1": ("granted", True, False),
        "r2": ("declined", False, True),
        "r3": ("declined", False, True),
        "r4": ("declined", False, True),
        "r5": ("waiting", False, False),
        "r6": ("declined", False, True),
        "r7": ("expired", False, False),
        "r8": ("waits_for_administrator", False, False),
        "r9": ("partly_granted", True, False),
        "r10": ("granted", True, False),
        "r11": ("superseded", False, False),
        "r12": ("failed", False, False),
    }


async def test_the_funnel_has_the_time_of_each_stage_that_was_reached(filled: Database) -> None:
    stages = ("asked_at", "shown_at", "opened_at", "returned_at", "granted_at", "resumed_at", "answered_at")
    rows = await found(filled, f"SELECT request_id, {', '.join(stages)} FROM consent_funnel")
    reached = {row["request_id"]: [stage for stage in stages if row[stage]] for row in rows}
    assert reached["r1"] == list(stages)
    assert reached["r2"] == ["asked_at", "shown_at", "opened_at", "returned_at"]
    assert reached["r4"] == ["asked_at", "shown_at", "opened_at", "returned_at"]
    assert reached["r5"] == ["asked_at"]
    (first,) = [row for row in rows if row["request_id"] == "r1"]
    times = [
        str(first[stage])
        for stage in ("asked_at", "shown_at", "opened_at", "returned_at", "resumed_at", "answered_at")
    ]
    assert times == sorted(times)


async def test_only_grants_that_can_still_be_used_have_scopes(filled: Database) -> None:
    rows = await found(filled, "SELECT name, scope, expires_at, can_refresh FROM grants_by_scope")
    have = {
        (row["name"], row["scope"]): (row["expires_at"] is not None, bool(row["can_refresh"])) for row in rows
    }
    assert have == {
        ("Anna", "offline_access"): (True, True),
        ("Anna", "task:task:read"): (True, True),
        ("Ben", "a:b"): (True, False),
        ("Fay", "task:task:read"): (True, True),
        ("Gus", "c:d"): (False, True),
    }


async def test_who_waits_is_told_with_the_reason(filled: Database) -> None:
    rows = await found(filled, "SELECT call_id, why FROM who_is_waiting")
    assert {row["call_id"]: row["why"] for row in rows} == {
        "c3": "declined on the page of the platform, and not authorized since",
        "c4": "the card has not been shown yet",
        "c5": "an administrator has to enable the scopes",
        "c10": "an administrator has to enable the scopes",
        "c6": "the user has to confirm an old write",
        "c7": "the platform failed: the call is retried",
        "c8": "it is running",
        "c9": "an earlier call of the user is not finished",
    }


async def test_demand_and_refusal_are_counted_by_scope(filled: Database) -> None:
    rows = await found(filled, "SELECT * FROM scope_demand")
    numbers = ("requests", "users", "granted", "declined", "waiting", "expired")
    demand = {row["scope"]: tuple(row[each] for each in numbers) for row in rows}
    assert demand["task:task:read"] == (10, 8, 1, 4, 1, 1)
    assert demand["a:b"] == (1, 1, 1, 0, 0, 0)
    assert demand["c:d"] == (1, 1, 0, 1, 0, 0)


async def test_what_waits_for_an_administrator_names_the_calls(filled: Database) -> None:
    rows = await found(filled, "SELECT scope_wait_id, calls, users, commands FROM waiting_for_administrators")
    assert [tuple(row.values()) for row in rows] == [("s1", 2, 1, "agenda")]


async def test_errors_are_what_the_platform_did_wrong_or_refused(filled: Database) -> None:
    rows = await found(filled, "SELECT name, status, code, outcome, attempt FROM platform_errors ORDER BY at")
    assert [tuple(row.values()) for row in rows] == [
        ("Ben", 500, None, "no_answer", 1),
        ("Ben", None, None, "no_answer", 2),
        ("Cho", 403, "1254302", "refused", 1),
        ("Cho", 429, "99991400", "rate_limited", 1),
    ]


async def test_what_was_done_says_whether_it_was_done(filled: Database) -> None:
    rows = await found(filled, "SELECT name, done, command FROM done_for_user ORDER BY at")
    assert [tuple(row.values()) for row in rows] == [
        ("Anna", "no", "agenda"),
        ("Anna", "yes", "agenda"),
        ("Ben", "unknown", "agenda"),
        ("Ben", "unknown", "agenda"),
        ("Cho", "no", None),
        ("Cho", "no", None),
    ]


async def test_a_story_has_all_that_happened_to_a_call(filled: Database) -> None:
    rows = await found(filled, "SELECT what, log_id FROM call_story WHERE call_id = 'c1'")
    told = [row["what"] for row in rows]
    assert sorted(told) == sorted(
        [
            "asked", "call_suspended", "call_released", "call_succeeded", "request_opened", "card_shown",
            *["link_opened"] * 2, "came_back", *["api_call"] * 2, "message_sent",
        ]
    )  # fmt: skip
    assert {row["log_id"] for row in rows} == {None, "L1", "L2"}
    # A call that is deleted leaves what is kept longer.
    assert len(await found(filled, "SELECT * FROM call_story WHERE call_id = 'c99'")) == 2


async def test_a_story_tells_each_event_once_and_as_of_its_time(filled: Database) -> None:
    opened = text(
        "INSERT INTO audit_log (at, action, user_key, subject_kind, subject_id, detail, app) "
        "VALUES (:at, 'link_opened', :user, 'request', 'r1', '{}', 'lark:cli_1')"
    )

    def work(c: Connection) -> None:
        c.execute(opened, {"at": as_stored(c, datetime.now(UTC)), "user": USERS["anna"]})

    await filled.write(work)
    rows = await found(filled, "SELECT what, detail, result FROM call_story WHERE call_id = 'c1'")
    assert len([row for row in rows if row["what"] == "link_opened"]) == 2  # the two attempts
    (asked_row,) = [row for row in rows if row["what"] == "asked"]
    assert asked_row["result"] is None
    (shown,) = [row for row in rows if row["what"] == "card_shown"]
    assert json.loads(shown["detail"]) == {"request": "r1"}


async def test_the_health_of_refreshes_and_the_grants_that_end(filled: Database) -> None:
    rows = await found(filled, "SELECT name, health FROM refresh_health")
    assert {row["name"]: row["health"] for row in rows} == {
        "Anna": "healthy",
        "Ben": "cannot_refresh",
        "Dan": "cannot_refresh",
        "Eve": "expired",
        "Fay": "failing",
        "Gus": "in_doubt",
    }
    rows = await found(filled, "SELECT name, will_be_refreshed FROM grants_ending_soon")
    assert {row["name"]: bool(row["will_be_refreshed"]) for row in rows} == {"Ben": False, "Fay": False}


# --- comments, and the page ------------------------------------------------------------------------


async def test_each_view_and_each_of_its_columns_has_a_comment(database: Database) -> None:
    described = {name: (comment, dict(columns)) for name, comment, columns in database_page.described_views()}
    assert len(described) >= 12
    for name, (comment, columns) in described.items():
        found_columns = await database.read(
            lambda c, n=name: list(c.exec_driver_sql(f"SELECT * FROM {n} LIMIT 0").keys())
        )
        assert list(columns) == found_columns
        assert comment
        assert all(columns.values())
    if database.dialect == "postgresql":
        comments = (
            "SELECT c.relname, a.attname, col_description(c.oid, a.attnum), obj_description(c.oid) FROM pg_class c "
            "JOIN pg_attribute a ON a.attrelid = c.oid WHERE c.relkind = 'v' AND c.relnamespace = 'public'::regnamespace"
        )
        rows = await database.read(lambda c: c.exec_driver_sql(comments).all())
        assert {(view, column): (meaning, comment) for view, column, meaning, comment in rows} == {
            (view, column): (meaning, comment)
            for view, (comment, columns) in described.items()
            for column, meaning in columns.items()
        }


def test_the_generated_parts_of_the_page_are_in_step() -> None:
    assert database_page.generated(PAGE) == PAGE, "Run `python -m tests.database_page`."


def section(name: str) -> str:
    part = re.search(rf"<!-- {name} -->(.*?)<!-- /{name} -->", PAGE, re.DOTALL)
    assert part is not None
    return part[1]


def values(name: str) -> dict[str, set[str]]:
    """The documented values, by column."""
    listed: dict[str, set[str]] = {}
    column = ""
    for first, value in re.findall(r"^\| (`[a-z_.]+`)? ?\| `([a-z_…]+)` \|", section(name), re.MULTILINE):
        column = first.strip("`") or column
        listed.setdefault(column, set()).add(value)
    return listed


def test_every_status_is_explained() -> None:
    kinds: dict[str, type[StrEnum]] = {f"{table}.status": kind for table, kind in KIND_OF.items()}
    kinds |= {
        "deferred_calls.waits_for": WaitsFor,
        "authorization_attempts.kind": AttemptKind,
        "outgoing_messages.kind": MessageKind,
        "api_calls.outcome": ApiOutcome,
    }
    assert values("statuses") == {column: {each.value for each in kind} for column, kind in kinds.items()}


ENDS = {
    "settle",
    "settle_recalled",
    "cancel",
    "expire",
    "finish",
    "End",
    "failed",
    "decline",
    "cancel_and_answer",
}
ENDS |= {"drop_silently", "end_unrefreshable", "attempt_failed", "fail_attempt", "end"}
CODES = re.compile(r"[a-z]+(_[a-z]+)*")


def strings(node: ast.AST) -> set[str]:
    """The words that are written in a place, a code in an f-string as `…`."""
    if isinstance(node, ast.JoinedStr):
        parts = [str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values]
        return {re.sub("…(_…)*$", "…", "".join(parts))}
    return {node.value} if isinstance(node, ast.Constant) and isinstance(node.value, str) else set()


def sources() -> list[tuple[Path, ast.Module]]:
    return [
        (path, ast.parse(path.read_text(encoding="utf-8")))
        for path in BOT.rglob("*.py")
        if "sandbox" not in path.parts
    ]


def called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def test_every_outcome_is_explained() -> None:
    """What the flows write as the end of something is on the page, and what is on the page is written."""
    listed = set().union(*values("outcomes").values())
    written: set[str] = {reason.value for reason in GiveUpReason}
    everywhere: set[str] = set(written)
    for path, tree in sources():
        for node in ast.walk(tree):
            everywhere |= strings(node)
            # A failed sign-in is deleted.
            ends = isinstance(node, ast.Call) and "flows" in path.parts and path.name != "sign_in.py"
            if isinstance(node, ast.Call) and ends and called(node) in ENDS:
                given = [*node.args, *(each.value for each in node.keywords)]
                written |= {
                    word for each in given for word in strings(each) if CODES.fullmatch(word.rstrip("_…"))
                }
    assert {word for word in written if "_" in word or word in listed} - listed == set()
    assert listed - everywhere == set()


ACTIONS = re.compile(r"`([a-z_]+)`")
WRITERS = {"write", "entry", "_entry", "_note", "reject"}


def test_every_action_of_the_audit_log_is_explained() -> None:
    documented = {
        action
        for line in section("actions").splitlines()
        for action in ACTIONS.findall(line.split("|")[1] if "|" in line else "")
    }
    fixed, patterns = set[str](), set[str]()
    for _, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and called(node) in WRITERS:
                for word in (word for each in node.args for word in strings(each)):
                    (patterns if "…" in word else fixed).add(word)
    fixed = {word for word in fixed if re.fullmatch(r"[a-z]+(_[a-z]+)+", word)}
    patterns = {word for word in patterns if re.fullmatch(r"[a-z_]+_…", word)}
    prefixes = {word.rstrip("…") for word in patterns} | {"device_authorization_"}
    unexplained = fixed - documented - {"device_authorization_begun"}
    assert unexplained == set()
    rejected = {f"{kind}_rejected" for kind in ("call", "attempt", "message", "session")}
    by_trigger = {"user_forgotten"}
    never = {
        each for each in documented - fixed - rejected - by_trigger if not each.startswith(tuple(prefixes))
    }
    assert never == {"consent_dropped"} - fixed or never == set()
    ended = {
        f"call_{status.value}"
        for status in CallStatus
        if status.value not in {"queued", "running", "suspended"}
    }
    assert ended <= documented
    for kind, prefix in (
        ("Request", "request"),
        ("Attempt", "attempt"),
        ("Device", "device_authorization"),
        ("Revocation", "revocation"),
    ):
        (lifecycle,) = (each for key, each in LIFECYCLES.items() if key.__name__ == f"{kind}Status")
        over = {status for status in lifecycle.moves if status not in lifecycle.live}
        # A completed attempt has the entry of its grant.
        silent = {"attempt_completed"}
        assert {f"{prefix}_{status.value}" for status in over} - silent <= documented


# --- the questions ---------------------------------------------------------------------------------

QUESTIONS = re.findall(r"\*\*(.+?)\*\*.*?```sql\n(.*?)```", section("questions"), re.DOTALL)
INCIDENTS = re.findall(r"```sql\n(.*?)```", section("incidents"), re.DOTALL)


def test_there_are_ten_questions() -> None:
    assert [title.split(".")[0] for title, _ in QUESTIONS] == [str(number) for number in range(1, 11)]
    assert len(INCIDENTS) >= 5


def with_own_ids(statement: str) -> str:
    replaced = {
        "0659b1c2d3e4f5061728394a5b6c7d8e": "c1",
        "202611280930000123456789ABCDEF01": "L3",
        "om_1234": "om_7",
    }
    for example, own in replaced.items():
        statement = statement.replace(example, own)
    # The hour of an outage, from and until.
    for hour, at in (("10:00", ago(days=2)), ("11:00", NOW)):
        statement = re.sub(rf"'\d{{4}}-\d\d-\d\d {hour}'", f"'{at:%Y-%m-%d %H:%M}'", statement)
    return re.sub(r"'\d{4}-\d\d-\d\d'", f"'{ago(days=2):%Y-%m-%d}'", statement)


@pytest.mark.parametrize(
    "query", [query for _, query in QUESTIONS], ids=[title[:24] for title, _ in QUESTIONS]
)
async def test_each_question_is_answered(filled: Database, query: str) -> None:
    assert await found(filled, with_own_ids(query))


@pytest.mark.parametrize("query", INCIDENTS)
async def test_each_incident_is_explained(filled: Database, query: str) -> None:
    assert await found(filled, with_own_ids(query))


async def test_no_view_shows_a_secret(filled: Database) -> None:
    for name, _, _ in database_page.described_views():
        assert "v1." not in str(await found(filled, f"SELECT * FROM {name}"))


# --- who reads -------------------------------------------------------------------------------------


async def test_the_documented_reader_reads_everything_and_writes_nothing(postgresql_url: str) -> None:
    role = f"reader_{uuid4().hex[:8]}"
    (block,) = re.findall(r"```sql\n(.*?)```", section("reader"), re.DOTALL)
    for line in block.splitlines():
        administer(postgresql_url, re.sub(r"\breader\b", role, line.rstrip(";")))
    url = make_url(postgresql_url).set(username=role).render_as_string(hide_password=False)
    try:
        administer(postgresql_url, "CREATE VIEW of_a_later_release AS SELECT 1 AS one")
        for name in (
            *(name for name, _, _ in database_page.described_views()),
            *schema.metadata.tables,
            "of_a_later_release",
        ):
            await query(url, f"SELECT * FROM {name}")
        for forbidden in (
            "DELETE FROM users",
            "UPDATE grants SET status = 'ended'",
            "INSERT INTO replicas SELECT * FROM replicas",
            "TRUNCATE audit_log",
            "CREATE TABLE mine (id int)",
        ):
            with pytest.raises(DBAPIError, match=r"permission denied|read-only"):
                await query(url, forbidden)
        # The setting of the role is a convenience; its privileges are what protects.
        administer(postgresql_url, f"ALTER ROLE {role} RESET ALL")
        for forbidden in (
            "DELETE FROM users",
            "UPDATE grants SET status = 'ended'",
            "CREATE TABLE mine (id int)",
        ):
            with pytest.raises(DBAPIError, match="permission denied"):
                await query(url, forbidden)
    finally:
        administer(postgresql_url, f"DROP OWNED BY {role}")
        administer(postgresql_url, f"DROP ROLE {role}")


# --- quick, however much is stored -------------------------------------------------------------------

ROWS_STORED = 20_000
ONE = "lark:cli_1:t:old77"
QUICK = [
    f"SELECT * FROM grants_by_scope WHERE user_key = '{ONE}'",
    f"SELECT * FROM consent_funnel WHERE user_key = '{ONE}'",
    "SELECT * FROM consent_funnel WHERE request_id = 'r77'",
    f"SELECT * FROM who_is_waiting WHERE user_key = '{ONE}'",
    "SELECT * FROM who_is_waiting WHERE call_id = 'c81'",
    f"SELECT * FROM platform_errors WHERE user_key = '{ONE}'",
    "SELECT * FROM platform_errors WHERE call_id = 'c77'",
    "SELECT * FROM platform_errors WHERE log_id = 'log77'",
    "SELECT * FROM platform_errors WHERE app = 'lark:cli_1' AND at > '{recent}'",
    f"SELECT * FROM done_for_user WHERE user_key = '{ONE}'",
    f"SELECT * FROM done_for_user WHERE user_key = '{ONE}' AND at > '{{recent}}'",
    "SELECT * FROM done_for_user WHERE call_id = 'c77'",
    "SELECT * FROM done_for_user WHERE log_id = 'log77'",
    "SELECT * FROM done_for_user WHERE app = 'lark:cli_1' AND at > '{recent}'",
    "SELECT * FROM call_story WHERE call_id = 'c77'",
    f"SELECT * FROM refresh_health WHERE user_key = '{ONE}'",
    f"SELECT * FROM grants_overview WHERE user_key = '{ONE}'",
    f"SELECT * FROM grants_ending_soon WHERE user_key = '{ONE}'",
]


@pytest.fixture
async def crowded(database: Database) -> Database:
    """A database in which every fourth call has waited for a consent."""

    def work(c: Connection) -> None:
        fill(c, ROWS_STORED, NOW)
        c.exec_driver_sql(
            "UPDATE deferred_calls SET request_id = 'r' || substr(id, 2) WHERE id LIKE '%4' OR id LIKE '%7'"
        )
        c.exec_driver_sql("ANALYZE")

    await database.write(work)
    if database.dialect == "postgresql":
        # Each of these calls has left a former version behind.
        await asyncio.to_thread(administer, database.url, "VACUUM ANALYZE")
    return database


async def test_what_names_a_user_a_call_or_a_time_reads_no_more_because_more_is_stored(
    crowded: Database,
) -> None:
    allowed = STEPS if crowded.dialect == "sqlite" else PAGES
    recent = f"{ago(hours=1):%Y-%m-%d %H:%M}"

    async def spent(statement: str) -> int:
        return await cost(crowded, lambda c: c.exec_driver_sql(statement.replace("{recent}", recent)).all())

    costs = {statement: await spent(statement) for statement in QUICK}
    assert {statement: spent for statement, spent in costs.items() if spent > allowed} == {}
    assert await spent("SELECT count(path) FROM api_calls") > allowed, "The measure does not notice a scan."

"""Somebody who can write to the database, and has no key: nothing that they write is run, sent or honoured."""

from __future__ import annotations

import contextlib
import json
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from bot.core.oauth import digest
from bot.core.secrets import Secret
from bot.sandbox.lark.tenant import Chat, Person
from bot.store.keyring import Keyring, new_key

from .card_content import actions_on, has_link, text_of, without_acknowledgements
from .test_device import Room, can_press
from .test_sign_in import Browser, browser
from .world import World

__all__ = ["browser"]

Row = dict[str, Any]
MESSAGES = ({"path": "/open-apis/im/v1/messages"}, {"path": "/open-apis/ephemeral/"})


def at(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f")


def soon() -> str:
    return at(datetime.now(UTC) + timedelta(hours=1))


class Writer:
    """Reads and writes rows, and has no key."""

    def __init__(self, world: World) -> None:
        self.world = world

    @contextlib.contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        with contextlib.closing(sqlite3.connect(self.world.database, timeout=10)) as connection, connection:
            yield connection

    def change(self, table: str, where: str = "true", **values: Any) -> None:
        names = ", ".join(f"{name} = ?" for name in values)
        with self.connection() as connection:
            # This writer makes moves that the tests refuse to the bot.
            connection.execute(f"DROP TRIGGER IF EXISTS {table}_moves")
            changed = connection.execute(f"UPDATE {table} SET {names} WHERE {where}", [*values.values()])
            assert changed.rowcount, f"no {table}"

    def add(self, table: str, row: Row) -> None:
        """Without its app, which the database computes, except for cards."""
        row = {name: value for name, value in row.items() if name != "app" or table == "cards"}
        with self.connection() as connection:
            marks = ", ".join("?" * len(row))
            connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", [*row.values()])

    def one(self, table: str, where: str = "true") -> Row:
        return self.world.rows(f"SELECT * FROM {table} WHERE {where} ORDER BY rowid DESC LIMIT 1")[0]

    def key_of(self, person: Person) -> str:
        found: str = self.one("users", f"open_id = '{person.open_id}'")["user_key"]
        return found

    def queued(self, person: Person, chat: Chat, command: str, arguments: str = "", **more: Any) -> Row:
        """A call of a person's, as it would be recorded."""
        moment = at(datetime.now(UTC))
        return {
            "id": secrets.token_hex(16), "user_key": self.key_of(person), "chat_id": chat.chat_id,
            "chat_kind": chat.kind, "message_id": None, "command": command, "arguments": arguments,
            "asked_at": moment, "received_at": moment, "language": "en", "status": "queued", "needs": "[]",
            "consents": 0, "attempts": 0, "runs_after": moment, "expires_at": soon(), "confirmed": 0, "claim": 0,
            "behind": 0, **more,
        }  # fmt: skip


@pytest.fixture
def writer(world: World) -> Writer:
    return Writer(world)


def rejected(world: World, kind: str) -> list[Row]:
    found = world.find("audit_log", action=f"{kind}_rejected")
    assert all(row["user_key"] is None for row in found), "it may name anybody"
    return found


def says(world: World, words: str) -> bool:
    return words in (world.directory / "bot.log").read_text()


NOT_GENUINE = "a stored row is not genuine"


def called(world: World) -> int:
    """How often the bot has acted for somebody."""
    return len(world.requests("/open-apis/task/")) + len(world.requests("/open-apis/authen/v1/user_info"))


# --- calls -------------------------------------------------------------------------------------------------------


def seals(writer: Writer, kind: str) -> Row:
    """What a forger can put where the proofs are."""
    real = writer.one("deferred_calls", "seal IS NOT NULL AND run_seal IS NOT NULL")
    key_id = real["seal"].split(".")[1]
    other = Keyring([new_key()])
    match kind:
        case "copied":
            return {"seal": real["seal"], "run_seal": real["run_seal"]}
        case "made up":
            return {"seal": f"v1.{key_id}.{'A' * 38}", "run_seal": f"v1.{key_id}."}
        case "of another key":
            return {"seal": other.seal(Secret(""), "x"), "run_seal": other.seal(Secret(""), "x")}
        case _:
            token = writer.one("grants")["access_token"]
            return {"seal": token, "run_seal": token}


@pytest.mark.parametrize("kind", ["copied", "made up", "of another key", "a token"])
@pytest.mark.parametrize("status", ["queued", "running", "suspended", "overdue", "failing"])
async def test_a_call_that_somebody_writes_is_never_run_nor_answered(
    world: World, writer: Writer, kind: str, status: str
):
    """Sam has a grant. The writer wants Sam's tasks in the group, or a task made in Sam's name."""
    await world.start()
    await world.authorized(world.sam)
    await world.answer_to(await world.say(world.ada, "/help"))
    waiting = await world.say(world.wei, "/tasks")  # an unsettled row to copy from
    await world.fresh_card(world.wei, waiting)
    before, spoken = called(world), len(world.from_bot(world.group))
    late = at(datetime.now(UTC) - timedelta(minutes=1))
    states: dict[str, Row] = {
        "queued": {},
        "running": {"status": "running", "worker": "gone", "runs_after": late, "claim": 3},
        "suspended": {"status": "suspended", "waits_for": "administrator", "suspended_at": late},
        "overdue": {"status": "suspended", "waits_for": "administrator", "suspended_at": late, "expires_at": late},
        "failing": {"first_failed_at": late, "runs_after": soon()},
    }  # fmt: skip
    forged = writer.queued(world.sam, world.group, "task", "bought by the forger", **states[status])
    forged |= seals(writer, kind)
    writer.add("deferred_calls", forged)
    await world.until(
        lambda: writer.one("deferred_calls", f"id = '{forged['id']}'")["settled_at"], "its end", 30
    )
    call = writer.one("deferred_calls", f"id = '{forged['id']}'")
    assert (call["status"], call["outcome"], call["run_seal"]) == ("failed", "forged", None)
    assert [row["subject_id"] for row in rejected(world, "call")] == [forged["id"]]
    assert says(world, f"{NOT_GENUINE} row=deferred_calls:")
    # Others go on, and Sam's next command is not held up.
    await world.answer_to(await world.say(world.sam, "/help"))
    assert called(world) == before
    assert len(world.from_bot(world.group)) == spoken
    assert not any("bought by the forger" in text_of(each.content) for each in world.tenant.messages.values())


CHANGES: dict[str, Callable[[World, Writer], Row]] = {
    "another's token": lambda world, writer: {"user_key": writer.key_of(world.ada)},
    "another chat": lambda world, writer: {"chat_id": world.direct(world.ada).chat_id},
    "another kind of chat": lambda world, writer: {"chat_kind": "direct"},
    "another message": lambda world, writer: {"message_id": "om_of_somebody"},
    "another command": lambda world, writer: {"command": "call", "arguments": "GET /open-apis/task/v2/tasks"},
    "other arguments": lambda world, writer: {"arguments": "all"},
    "another time": lambda world, writer: {"asked_at": at(datetime.now(UTC) - timedelta(days=1))},
    "confirmed": lambda world, writer: {"confirmed": 1},
    "another id": lambda world, writer: {"id": secrets.token_hex(16)},
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_waiting_call_that_somebody_changes_is_not_run(world: World, writer: Writer, change: str):
    await world.start()
    await world.authorized(world.ada)
    asked = await world.say(world.sam, "/tasks", world.group)
    card = await world.fresh_card(world.sam, asked)
    spoken = len(world.from_bot(world.direct(world.ada)))
    acted = len(world.requests("/open-apis/task/"))
    writer.change("deferred_calls", "status = 'suspended'", **CHANGES[change](world, writer))
    await world.consent(world.sam, card)
    # One that the writer wakes, too.
    writer.change(
        "deferred_calls",
        "settled_at IS NULL",
        status="queued",
        waits_for=None,
        runs_after=at(datetime.now(UTC)),
    )
    call = "SELECT status, outcome FROM deferred_calls ORDER BY asked_at DESC, id"
    await world.until(lambda: rejected(world, "call"), "its end")
    assert {"status": "failed", "outcome": "forged"} in world.rows(call)
    again = await world.say(world.sam, "/help")
    await world.answer_to(again)
    assert len(world.requests("/open-apis/task/")) == acted, "nothing was asked of the platform for it"
    assert len(world.from_bot(world.direct(world.ada))) == spoken
    assert not [
        m for m in world.tenant.messages.values() if m.reply_to == asked and "Tasks" in text_of(m.content)
    ]


async def test_a_settled_call_cannot_be_run_again(world: World, writer: Writer):
    """Its task would be made once more."""
    await world.start()
    await world.authorized(world.sam, "/task once")
    made = [task["summary"] for task in world.tenant.work.tasks].count("once")
    assert made == 1
    waiting = await world.say(world.wei, "/tasks")
    await world.fresh_card(world.wei, waiting)
    proof = writer.one("deferred_calls", "run_seal IS NOT NULL")["run_seal"]
    with writer.connection() as connection:
        connection.execute("DELETE FROM call_steps")
    moment = at(datetime.now(UTC))
    writer.change(
        "deferred_calls", "command = 'task'",
        status="queued", settled_at=None, outcome=None, run_seal=proof, runs_after=moment, claim=0, behind=0,
    )  # fmt: skip
    await world.until(lambda: rejected(world, "call"), "its end")
    await world.answer_to(await world.say(world.sam, "/help"))
    assert [task["summary"] for task in world.tenant.work.tasks].count("once") == made


@pytest.mark.parametrize("change", ["arguments", "chat_id"])
async def test_a_failed_call_that_somebody_changes_is_not_tried_again(
    world: World, writer: Writer, change: str
):
    """The button under its answer repeats what was asked, and nothing else."""
    await world.start()
    asked = await world.say(world.sam, "/task mine")
    expired = await world.fresh_card(world.sam, asked)
    await world.expires(expired)
    assert "retry_expired" in actions_on(expired)
    value = {"arguments": "the forger's", "chat_id": world.direct(world.ada).chat_id}[change]
    writer.change("deferred_calls", **{change: value})
    await world.click(world.sam, expired, "retry_expired")
    await world.answer_to(await world.say(world.sam, "/help"))
    assert world.count("deferred_calls", command="task") == 1


# --- messages ----------------------------------------------------------------------------------------------------


async def unsent_answer(world: World) -> str:
    """A confidential answer, asked for in the group, is written and cannot be sent; the bot is gone."""
    await world.start()
    await world.authorized(world.sam)
    _, fault = [await world.trouble(each, "drop_before") for each in MESSAGES]
    asked = await world.say(world.sam, "/call GET /open-apis/task/v2/tasks", world.group)
    await world.until(
        lambda: world.rows("SELECT 1 FROM outgoing_messages WHERE kind = 'answer' AND status <> 'sent'"), "it"
    )
    await world.struck(fault)
    await world.kill()
    return asked


@pytest.mark.parametrize("change", ["chat", "chat and privacy", "reader", "reply", "kind"])
async def test_an_unsent_answer_whose_destination_somebody_changes_is_not_sent(
    world: World, writer: Writer, change: str
):
    asked = await unsent_answer(world)
    direct = world.direct(world.ada)
    values: dict[str, Row] = {
        "chat": {"chat_id": direct.chat_id},
        "chat and privacy": {"chat_id": direct.chat_id, "private": 0},
        "reader": {"user_key": writer.key_of(world.sam).rpartition(":")[0] + f":{world.ada.open_id}"},
        "reply": {"reply_to": asked, "private": 0},
        "kind": {"kind": "note"},
    }
    writer.change("outgoing_messages", "kind = 'answer' AND settled_at IS NULL", **values[change])
    seen = set(world.tenant.messages)
    await world.lift()
    await world.start()
    given_up = "SELECT reason FROM outgoing_messages WHERE status = 'undeliverable'"
    await world.until(lambda: world.rows(given_up), "its end", 40)
    assert len(rejected(world, "message")) == 1
    await world.answer_to(await world.say(world.sam, "/help"))
    new = [m for m in world.tenant.messages.values() if m.message_id not in seen and m.sender_type == "bot"]
    assert not [m for m in new if "GET /open-apis/task/v2/tasks" in text_of(m.content)], "the answer"
    assert not [m for m in new if m.chat_id == direct.chat_id], "nothing goes where the writer wants it"
    if change != "kind":
        await world.answer_to(asked, "The answer was lost")


@pytest.mark.parametrize(
    ("command", "in_group"),
    [("/tasks", False), ("/me", True), ("/task Buy eggs", False), ("/task Buy eggs", True)],
)
async def test_an_unsent_answer_is_not_sent_where_another_persons_call_was_asked(
    world: World, writer: Writer, command: str, in_group: bool
):
    """The writer says that it is about a call of Ada's; and its question was recalled, so that it goes elsewhere."""
    await world.start()
    await world.authorized(world.sam)
    await world.authorized(world.sam, "/task Buy milk")
    await world.answer_to(await world.say(world.ada, "/help"))
    adas = writer.one("deferred_calls", f"user_key = '{writer.key_of(world.ada)}'")["id"]
    await world.until(lambda: not world.count("outgoing_messages", settled_at=None), "all to be sent")
    fault = await world.trouble(MESSAGES[0] | {"method": "POST"}, "drop_before")
    asked = await world.say(world.sam, command, world.group if in_group else None)
    unsent = "SELECT 1 FROM outgoing_messages WHERE kind = 'answer' AND settled_at IS NULL"
    await world.until(lambda: world.rows(unsent), "the answer")
    await world.struck(fault)
    await world.kill()
    with writer.connection() as connection:
        connection.execute("DELETE FROM outgoing_messages WHERE call_id = ?", [adas])
    writer.change("outgoing_messages", "kind = 'answer' AND settled_at IS NULL", call_id=adas)
    spoken = len(world.from_bot(world.direct(world.ada)))
    world.tenant.messages[asked].recalled = True
    await world.lift()
    await world.start()
    await world.until(lambda: not world.rows(unsent), "its end", 40)
    await world.answer_to(await world.say(world.ada, "/help"))
    said = without_acknowledgements(world.from_bot(world.direct(world.ada))[spoken:])
    assert [text_of(each.content) for each in said if "Commands" not in text_of(each.content)] == []


async def test_a_message_that_somebody_writes_is_not_sent(world: World, writer: Writer):
    await unsent_answer(world)
    row = writer.one("outgoing_messages", "settled_at IS NULL")
    moment = at(datetime.now(UTC))
    forged = {
        **row, "id": secrets.token_hex(16), "delivery_key": secrets.token_hex(16), "call_id": None, "kind": "notice",
        "chat_id": world.group.chat_id, "status": "queued", "worker": None, "runs_after": moment,
    }  # fmt: skip
    spoken = len(world.from_bot(world.group))
    writer.add("outgoing_messages", forged)
    await world.lift()
    await world.start()
    ended = f"SELECT 1 FROM outgoing_messages WHERE id = '{forged['id']}' AND status = 'undeliverable'"
    await world.until(lambda: world.rows(ended), "its end", 40)
    await world.until(
        lambda: not world.count("outgoing_messages", settled_at=None),
        "the genuine one",
        40,
    )
    said = [m for m in world.from_bot(world.group)[spoken:] if "/open-apis/task" in text_of(m.content)]
    # What was asked in the group is shown there, to the one who asked.
    assert [m.ephemeral_for for m in said] == [world.sam.open_id]


# --- sessions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["written", "copied", "moved", "prolonged", "of another key"])
async def test_a_session_that_somebody_writes_signs_nobody_in(
    world: World, writer: Writer, browser: Callable[..., Browser], way: str
):
    await world.start()
    await world.authorized(world.sam)
    await world.authorized(world.ada)
    victim, thief = browser(), browser()
    await victim.sign_in(world.sam)
    session = writer.one("sessions")
    value = secrets.token_urlsafe(32)
    match way:
        case "written":
            made_up = f"v1.{session['seal'].split('.')[1]}.{'A' * 38}"
            writer.add(
                "sessions", session | {"digest": session_digest(victim, session, value), "seal": made_up}
            )
        case "copied":
            writer.add("sessions", session | {"digest": session_digest(victim, session, value)})
        case "of another key":
            other = Keyring([new_key()]).seal(Secret(""), "x")
            writer.add(
                "sessions", session | {"digest": session_digest(victim, session, value), "seal": other}
            )
        case "moved":
            await thief.sign_in(world.ada)
            value = cookie_of(thief)
            writer.change(
                "sessions", f"user_key = '{writer.key_of(world.ada)}'", user_key=writer.key_of(world.sam)
            )
        case _:
            value = cookie_of(victim)
            late = at(datetime.now(UTC) + timedelta(days=30))
            writer.change("sessions", expires_at=late, created_at=late, seen_at=late)
    thief.take_cookies({"bot_session": value})
    assert "Sam Rivera" not in await thief.permissions()
    if way != "of another key":  # for a moment another replica might have that
        assert len(rejected(world, "session")) == 1
        assert says(world, f"{NOT_GENUINE} row=sessions:seal:")
    if way in {"written", "copied"}:
        assert "Sam Rivera" in await victim.permissions(), "the real one goes on"


def cookie_of(one: Browser) -> str:
    return one.cookies()["bot_session"]


def session_digest(known: Browser, row: Row, value: str) -> str:
    """As the bot makes it: the writer can read that in its source."""
    assert digest(cookie_of(known)) == row["digest"]
    return digest(value)


# --- links and attempts ------------------------------------------------------------------------------------------


async def test_an_attempt_that_somebody_writes_or_changes_is_unknown(world: World, writer: Writer):
    """Sam opens a link; the writer makes the attempt one for more scopes, and writes another from scratch."""
    await world.start()
    asked = await world.say(world.sam, "/tasks")
    card = await world.fresh_card(world.sam, asked)
    consent = await world.open(card)
    writer.change("authorization_attempts", scopes=json.dumps(["docx:document:readonly", "task:task:read"]))
    back = await world.decide(consent, world.sam)
    status, _, page = await world.get(back)
    assert (status, "Unknown link" in page) == (400, True), page
    row = world.only("authorization_attempts")
    assert (row["status"], row["outcome"], row["code"], row["seal"]) == ("failed", "forged", None, None)
    assert len(rejected(world, "attempt")) == 1
    # Written from scratch, with a state that the writer knows, for Sam.
    await world.open(card)
    (live,) = world.find("authorization_attempts", status="live")
    state = secrets.token_urlsafe(32)
    forged = live | {"id": secrets.token_hex(16), "state_digest": digest(state), "verifier": None}
    writer.add("authorization_attempts", forged)
    code = parse_qs(urlsplit(back).query)["code"][0]
    status, _, page = await world.get(f"{world.public}/oauth/lark/callback?state={state}&code={code}")
    assert (status, "Unknown link" in page) == (400, True), page
    assert len(rejected(world, "attempt")) == 2
    assert world.count("grants") == 0
    # The person still gets through.
    await world.consent(world.sam, card)
    await world.answer_to(asked)


async def test_an_exchange_that_somebody_writes_is_not_carried_out(world: World, writer: Writer):
    """As if a worker had died with it."""
    await world.start()
    asked = await world.say(world.sam, "/tasks")
    await world.open(await world.fresh_card(world.sam, asked))
    (live,) = world.find("authorization_attempts")
    late, exchanges = at(datetime.now(UTC) - timedelta(minutes=1)), len(world.requests("oauth/token"))
    writer.add(
        "authorization_attempts",
        live
        | {"id": "x" * 32, "state_digest": "x", "status": "redeeming", "worker": "gone", "lease_until": late}
        | {"consumed_at": late, "code": live["verifier"]},
    )
    await world.until(lambda: rejected(world, "attempt"), "its end")
    assert len(world.requests("oauth/token")) == exchanges


@pytest.mark.parametrize("with_card", [True, False], ids=["with a card", "without one"])
async def test_a_request_that_somebody_writes_or_moves_gets_no_card_and_no_link(
    world: World, writer: Writer, with_card: bool
):
    await world.start()
    await world.answer_to(await world.say(world.ada, "/help"))
    asked = await world.say(world.sam, "/tasks")
    await world.fresh_card(world.sam, asked)
    real, real_card = writer.one("authorization_requests"), writer.one("cards")
    ticket = secrets.token_urlsafe(32)
    spoken = len(world.from_bot(world.direct(world.ada)))
    forged = real | {
        "id": secrets.token_hex(16), "user_key": writer.key_of(world.ada), "ticket_digest": digest(ticket),
        "reasons": json.dumps(["visit the forger"]),
    }  # fmt: skip
    writer.add("authorization_requests", forged)
    drawn = {
        "message_id": None, "seal": None, "shown": 0, "due_at": at(datetime.now(UTC)), "worker": None,
        "lease_until": None,
    }  # fmt: skip
    if with_card:
        writer.add("cards", real_card | drawn | {"id": forged["id"], "request_id": forged["id"]})
    assert (await world.get(f"{world.public}/authorize/{ticket}"))[0] == 404

    def statuses() -> list[str]:
        return world.statuses("authorization_requests", id=forged["id"])

    if with_card:
        await world.until(lambda: statuses() == ["superseded"], "its end")
    await world.answer_to(await world.say(world.ada, "/help"))
    said = world.from_bot(world.direct(world.ada))[spoken:]
    assert not any("forger" in text_of(each.content) or actions_on(each) for each in said)
    # Ada's own command gets a card of its own.
    waiting = await world.say(world.ada, "/tasks")
    await world.consent(world.ada, await world.fresh_card(world.ada, waiting))
    await world.answer_to(waiting)
    assert statuses() == ["superseded"]


WIDE = json.dumps(["contact:contact:readonly", "docx:document", "offline_access", "task:task:read"])
WIDENED: dict[str, tuple[Row, Row]] = {
    "other scopes": ({"scopes": WIDE}, {}),
    "one scope less": ({"scopes": '["offline_access"]'}, {}),
    "other commands": ({"reasons": '["help", "tasks"]'}, {}),
    "scopes, and what the call needs": (
        {"scopes": WIDE},
        {"needs": '[["task:task:read"], ["docx:document"], ["contact:contact:readonly"]]'},
    ),
    "what the call needs": ({}, {"needs": '[["docx:document"]]'}),
}


@pytest.mark.parametrize("what", WIDENED)
async def test_nobody_is_asked_for_more_than_the_bot_has_written(world: World, writer: Writer, what: str):
    """The writer changes what Sam's waiting request asks for, and for which commands."""
    await world.start()
    asked = await world.say(world.sam, "/tasks")
    card = await world.fresh_card(world.sam, asked)
    link = world.link_of(card)
    await world.until(
        lambda: writer.one("cards")["shown"] == writer.one("cards")["wanted"],
        "the card",
    )  # fmt: skip
    request, call = WIDENED[what]
    if request:
        writer.change("authorization_requests", **request)
        status, _, page = await world.get(link)
        assert status == 404, page
    if call:
        writer.change("deferred_calls", **call)
    sam = Browser(world)
    await sam.sign_in(world.sam)
    page = await sam.permissions()
    await sam.http.close()
    assert "contact:contact:readonly" not in page
    assert "docx:document" not in page
    again = await world.say(world.sam, "/tasks")
    right = {"offline_access", "task:task:read"}

    def is_shown() -> bool:
        row = writer.one("authorization_requests", "status = 'open'")
        asks = (set(json.loads(row["scopes"])), json.loads(row["reasons"]))
        card = writer.one("cards", f"id = '{row['id']}'")
        return asks == (right, ["tasks"]) and card["shown"] == card["wanted"]

    # By the old card or by another in its place.
    await world.until(is_shown, "a card that asks for no more")
    fresh = next(each for each in reversed(world.from_bot(world.direct(world.sam))) if has_link(each))
    consent = world.tenant.credentials.consents[await world.open(fresh)]
    assert set(consent.scopes) == right
    assert "docx" not in text_of(fresh.content)
    await world.get(await world.decide(consent.consent_id, world.sam))
    await world.answer_to(again)
    if not call:
        await world.answer_to(asked)
        return
    world.let_expire("deferred_calls")
    await world.until(lambda: rejected(world, "call"), "its end")
    assert not [each for each in world.tenant.messages.values() if each.reply_to == asked]


async def test_no_device_code_is_fetched_for_what_the_bot_has_not_written(world: World, writer: Writer):
    room = Room(world)
    await room.start()
    asked, card = await room.asked(world.sam, "/tasks")
    writer.change("authorization_requests", scopes=WIDE)
    clicked = await room.press(world.sam, card)
    assert clicked["toast"]["type"] == "warning"
    assert world.tenant.credentials.devices == {}
    fresh = await world.until(
        lambda: next(
            (each for each in world.from_bot(world.direct(world.sam), card.message_id) if can_press(each)),
            None,
        ),
        "a card in its place",
    )
    await room.press(world.sam, fresh)
    await room.decide(await room.link(fresh), world.sam)
    await world.answer_to(asked)
    (device,) = world.tenant.credentials.devices.values()
    assert set(device.scopes) == {"task:task:read", "offline_access"}


@pytest.mark.slow
async def test_a_card_is_drawn_only_where_the_bot_has_sent_it(world: World, writer: Writer):
    """The writer names another message of the bot's, which everybody in the group sees."""
    await world.start()
    public = await world.answer_to(await world.say(world.ada, "/help", world.group))
    shown = json.dumps(public.content)
    asked = await world.say(world.sam, "/tasks")
    card = await world.fresh_card(world.sam, asked)
    await world.until(
        lambda: writer.one("cards")["shown"] == writer.one("cards")["wanted"],
        "the card",
    )  # fmt: skip
    writer.change("cards", message_id=public.message_id)
    more = await world.say(world.sam, "/agenda")  # the card asks for more now
    # The bot sends it once more, which the platform recognizes, and draws it when that claim is over.
    await world.until(
        lambda: "calendar" in text_of(world.tenant.messages[card.message_id].content).lower(),
        "its next face",
        40,
    )
    assert json.dumps(world.tenant.messages[public.message_id].content) == shown
    await world.consent(world.sam, card)
    await world.answer_to(asked)
    await world.answer_to(more)


GRANTED = [
    "calendar:calendar:readonly",
    "docx:document",
    "offline_access",
    "task:task:read",
    "task:task:write",
]
REMEMBERED: dict[str, Row] = {
    "what was ever granted": {"scopes_ever": json.dumps(GRANTED)},
    "and what is": {"scopes_ever": json.dumps(GRANTED), "scopes": json.dumps(GRANTED)},
    "what is granted": {"scopes": json.dumps(GRANTED)},
    "without the proof": {"scopes_ever": json.dumps(GRANTED), "memory_seal": None},
}


@pytest.mark.parametrize("what", REMEMBERED)
@pytest.mark.parametrize("refreshed", [False, True])
async def test_nobody_is_asked_for_what_a_writer_says_they_granted_before(
    world: World, writer: Writer, what: str, refreshed: bool
):
    await world.start()
    await world.authorized(world.sam)
    writer.change("grants", **REMEMBERED[what])
    if refreshed:
        writer.change("grants", access_expires_at=at(datetime.now(UTC) - timedelta(minutes=1)))
        await world.answer_to(await world.say(world.sam, "/me"))
        await world.until(lambda: writer.one("grants")["refreshed_at"], "the refresh")
    for command, needed in (("/agenda", "calendar:calendar:readonly"), ("/task Buy milk", "task:task:write")):
        asked = await world.say(world.sam, command)
        card = await world.fresh_card(world.sam, asked)
        consent = world.tenant.credentials.consents[await world.open(card)]
        assert set(consent.scopes) <= {needed, "offline_access"} | ({"task:task:read"} & set(consent.scopes))
        await world.get(await world.decide(consent.consent_id, world.sam))
        await world.answer_to(asked)


# --- administrators ----------------------------------------------------------------------------------------------

UNASKED = ["contact:user.employee_id:readonly", "drive:drive"]


@pytest.mark.parametrize(
    "scopes", [UNASKED, [*UNASKED, "task:task:read"], ["drive:drive", "task:task:read", "task:task:write"]]
)
@pytest.mark.parametrize("how", ["written", "changed"])
async def test_administrators_are_asked_for_nothing_that_no_genuine_call_needs(
    world: World, writer: Writer, how: str, scopes: list[str]
):
    """The writer has Sam's command wait for more than it needs."""
    await world.start()
    for scope in ("task:task:read", "task:task:write"):
        await world.control("app-scopes", scope=scope, user=False)
    asked = await world.say(world.sam, "/tasks")
    await world.answer_to(asked, "administrator")
    wait = writer.one("scope_waits")
    forged = {"scopes": json.dumps(sorted(scopes))}
    outdated = {
        "wanted": 9, "shown": 8, "due_at": at(datetime.now(UTC)), "worker": None, "lease_until": None,
    }  # fmt: skip
    if how == "written":
        another, card = secrets.token_hex(16), writer.one("cards")
        writer.add("scope_waits", wait | forged | {"id": another})
        writer.add("cards", card | outdated | {"id": another, "scope_wait_id": another})
    else:
        writer.change("scope_waits", **forged)
        writer.change("cards", **outdated)
    await world.until(lambda: not world.rows("SELECT 1 FROM cards WHERE shown < wanted"), "the cards")
    cards = [each for each in world.from_bot(world.direct(world.ada)) if each.msg_type == "interactive"]
    shown = [json.dumps(each.content) for each in cards if "wants to use" in text_of(each.content)]
    assert not [each for each in shown if "drive:drive" in each]
    assert len(shown) == (1 if how == "written" else 0)
    for scope in ("task:task:read", "task:task:write"):
        await world.control("app-scopes", scope=scope, user=True)
    await world.consent(world.sam, await world.card_for(world.sam, "task:task:read"))
    await world.answer_to(asked, "open tasks")


# --- values that cannot be read ----------------------------------------------------------------------------------

SPOILED: dict[str, Row] = {
    "needs that are no JSON": {"needs": "nojson"},
    "needs that are a number": {"needs": "5"},
    "needs of numbers": {"needs": "[[1, null]]"},
    "no time of asking": {"asked_at": "garbage"},
    "no end of its time": {"expires_at": "garbage"},
    "no time of failing": {"first_failed_at": "x"},
    "no time to run": {"runs_after": "0000"},
    "arguments that are no text": {"arguments": b"\xff\xfe"},
    "an unknown command": {"command": "nosuch"},
    "a zone that is none": {"time_zone": "../etc/passwd"},
}


@pytest.mark.parametrize("values", SPOILED.values(), ids=SPOILED)
async def test_a_call_that_cannot_be_read_delays_nobody(world: World, writer: Writer, values: Row):
    await world.start()
    await world.authorized(world.sam)
    waiting = await world.say(world.wei, "/tasks")
    await world.fresh_card(world.wei, waiting)
    spoiled = writer.queued(world.sam, world.group, "tasks") | values | seals(writer, "copied")
    before = called(world)
    writer.add("deferred_calls", spoiled)
    await world.answer_to(await world.say(world.ada, "/help"))
    await world.until(
        lambda: writer.one("deferred_calls", f"id = '{spoiled['id']}'")["status"] in {"failed", "expired"},
        "its end",
        30,
    )
    await world.answer_to(await world.say(world.sam, "/help"))
    assert called(world) == before
    for command in ("status", "calls", "requests", "users"):
        code, _, err = await world.cli(command)
        assert (code, err) == (0, ""), (command, err)
    assert "claim failed" not in (world.directory / "bot.log").read_text()


async def test_other_rows_that_cannot_be_read_delay_nobody(world: World, writer: Writer):
    await world.start()
    await world.authorized(world.sam)
    await world.fresh_card(world.wei, await world.say(world.wei, "/tasks"))
    writer.change("grants", scopes="nojson")
    writer.change(
        "authorization_requests", "status = 'open'", scopes="[1, null]", reasons="5", created_at="x"
    )
    writer.change("granted_scopes", asked_by="nojson", granted_at="x")
    writer.change("users", created_at="garbage", seen_at="x")
    writer.change("replicas", key_ids="not json", started_at="x")
    sam = Browser(world)
    await sam.sign_in(world.sam)
    assert (await sam.get("/permissions"))[0] == 200
    await world.answer_to(await world.say(world.sam, "/help"))
    await world.answer_to(await world.say(world.ada, "/help"))
    for command in ("status", "calls", "requests", "users"):
        code, _, err = await world.cli(command)
        assert (code, err) == (0, ""), (command, err)
    log = (world.directory / "bot.log").read_text()
    assert "chore failed" not in log
    assert "request failed" not in log
    await sam.http.close()


DETAILS: list[Any] = [
    "nojson", "", "{", '{"a": 1', "[" * 100_000, b"\xff\xfe", b"\x00", 5, 1.5, "5", "null", '"text"', "[[1, null]]",
    "NaN", '{"a": {"b": [{}]}}', r'{"a": "\ud800"}', "\x1b[31mred", '{"\u202e": "x"}',
]  # fmt: skip


async def test_an_audit_row_whose_detail_cannot_be_read_is_shown_all_the_same(world: World, writer: Writer):
    await world.start()
    await world.authorized(world.sam)
    key = writer.key_of(world.sam)
    for detail in DETAILS:
        written = {"at": at(datetime.now(UTC)), "action": "odd", "user_key": key, "detail": detail}
        writer.add("audit_log", written)
    for command in (["audit"], ["explain", world.sam.open_id]):
        code, out, err = await world.cli(*command)
        assert (code, err) == (0, ""), command
        assert out.count("odd") >= len(DETAILS)
        assert all(line.isprintable() for line in out.splitlines())
        code, out, err = await world.cli(*command, "--json")
        assert (code, err) == (0, ""), command
        found = json.loads(out)
        rows, what = (found["timeline"], "what") if command[0] == "explain" else (found, "action")
        odd = [row["detail"] for row in rows if row[what] == "odd"]
        assert len(odd) == len(DETAILS)
        assert {"unreadable": "nojson"} in odd

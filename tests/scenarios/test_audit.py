"""The audit log alone tells what became of every call, request, attempt and grant: its story, against the tables."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any

from bot.sandbox.lark.tenant import Message

from .card_content import actions_on, has_link
from .test_administrator import without
from .test_device import Room
from .test_manners import leave
from .world import World

SCOPES = ("docx:document:readonly", "calendar:calendar:readonly")


@dataclass
class Told:
    """What the audit log tells, entry by entry: by id, a status and what else is known."""

    calls: dict[str, dict[str, Any]] = field(default_factory=dict)
    requests: dict[str, dict[str, Any]] = field(default_factory=dict)
    attempts: dict[str, str] = field(default_factory=dict)
    devices: dict[str, str] = field(default_factory=dict)
    grants: dict[str, dict[str, Any]] = field(default_factory=dict)
    revocations: dict[str, str] = field(default_factory=dict)
    actions: list[str] = field(default_factory=list)

    def read(self, row: dict[str, Any]) -> None:
        action, subject, detail = row["action"], row["subject_id"], json.loads(row["detail"])
        self.actions.append(action)
        kind, _, event = action.partition("_")
        match kind:
            case "call":
                call = self.calls.setdefault(
                    subject, {"user_key": row["user_key"], "command": detail["command"]}
                )
                status = {"released": "queued", "confirmed": "queued", "waits": "suspended"}
                call["status"] = status.get(event.partition("_")[0], event)
                call |= {name: detail.get(name) for name in ("waits_for", "outcome")}
                call["asked_at"] = detail.get("asked_at", call.get("asked_at"))
            case "request":
                request = self.requests.setdefault(subject, {"user_key": row["user_key"]})
                if event in {"opened", "widened", "reopened", "asks_otherwise"}:
                    request |= {"status": "open", "scopes": detail["scopes"]}
                else:
                    request |= {"status": event}
                request |= {name: detail.get(name, []) for name in ("granted", "refused")}
            case "link":
                self.attempts[detail["attempt"]] = "live"
            case "attempt":
                self.attempts[subject] = event
            case "device":
                event = event.removeprefix("authorization_")
                self.devices[subject] = {"begun": "requesting", "minted": "polling"}.get(event, event)
            case "revocation":
                self.revocations[subject] = event
            case "grant" | "token":
                self.read_grant(action, row, detail)

    def read_grant(self, action: str, row: dict[str, Any], detail: dict[str, Any]) -> None:
        grant = self.grants.setdefault(row["user_key"], {"scopes": []})
        match action:
            case "grant_stored":
                brought = {"attempt": self.attempts, "device_authorization": self.devices}[
                    row["subject_kind"]
                ]
                brought[row["subject_id"]] = "completed"
                grant |= {"status": "active", "scopes": detail.get("scopes", []), "end_reason": None}
            case "token_refreshed":
                grant |= {"scopes": detail.get("scopes", grant["scopes"])}
            case "grant_ended":
                grant |= {"status": "ended", "scopes": [], "end_reason": detail["reason"]}


def told_by(world: World) -> Told:
    told = Told()
    for row in world.find("audit_log"):
        told.read(row)
    return told


def kept_by(world: World) -> Told:
    """The same out of the tables."""
    calls = world.rows(
        "SELECT id, user_key, command, status, waits_for, outcome, substr(asked_at, 1, 19) AS asked_at "
        "FROM deferred_calls"
    )
    requests = world.rows("SELECT id, user_key, status, scopes, granted, refused FROM authorization_requests")
    attempts = world.rows("SELECT id, status FROM authorization_attempts WHERE kind = 'authorization'")
    grants = world.rows("SELECT user_key, status, scopes, end_reason FROM grants")
    lists = ("scopes", "granted", "refused")
    return Told(
        {
            call.pop("id"): call | {"asked_at": call["asked_at"].replace(" ", "T") + "+00:00"}
            for call in calls
        },
        {each.pop("id"): each | {name: json.loads(each[name]) for name in lists} for each in requests},
        {each["id"]: each["status"] for each in attempts},
        {each["id"]: each["status"] for each in world.find("device_authorizations")},
        {each.pop("user_key"): each | {"scopes": json.loads(each["scopes"])} for each in grants},
        {each["id"]: each["status"] for each in world.find("revocations")},
    )


UNDER_WAY = (
    "SELECT 1 FROM deferred_calls WHERE status IN ('queued', 'running') UNION ALL "
    "SELECT 1 FROM authorization_requests WHERE status = 'redeeming' UNION ALL "
    "SELECT 1 FROM revocations WHERE status = 'queued'"
)


async def the_log_tells_what_the_tables_hold(world: World) -> set[str]:
    """Returns the kinds of entries that there are."""
    await world.until(lambda: not world.rows(UNDER_WAY), "the end of what is under way", 30)
    told, kept = told_by(world), kept_by(world)
    for name in ("calls", "requests", "attempts", "devices", "grants", "revocations"):
        assert getattr(told, name) == getattr(kept, name), name
    assert told.calls
    return set(told.actions)


async def consented(world: World, person: Any, command: str, **decision: Any) -> None:
    asked = await world.say(person, command)
    card = await world.fresh_card(person, asked)
    back = await world.decide(await world.open(card), person, **decision)
    await world.get(back)
    await world.answer_to(asked)


async def consents(world: World) -> None:
    sam = world.sam
    await consented(world, sam, "/tasks")
    refused = await world.say(sam, "/doc welcome")
    card = await world.fresh_card(sam, refused)
    await world.consent(sam, card, "refuse")
    await world.not_now(sam, card)
    await consented(world, sam, f"/authorize {' '.join(SCOPES)}", scopes=[SCOPES[0], "offline_access"])
    asked = await world.say(sam, "/agenda")
    card = await world.fresh_card(sam, asked)
    await world.consent(world.ada, card)
    await world.open(card)  # nobody comes back from this one
    await world.consent(sam, card)
    await world.answer_to(asked)
    await world.control("tokens/expire", person=sam.open_id, which="access")
    await world.answer_to(await world.say(sam, "/tasks"))


async def withdrawals(world: World) -> None:
    wei = world.wei
    first = await world.say(wei, "/tasks")
    card = await world.fresh_card(wei, first)
    second = await world.say(wei, "/doc welcome")
    await world.until(lambda: len(waiting(world)) == 2, "two that wait")
    await world.control("recall", message_id=second)
    await world.until(lambda: len(waiting(world)) == 1, "the withdrawal")
    world.change("UPDATE authorization_requests SET created_at = datetime('now', '-5 minutes') || '.000000'")
    third = await world.say(wei, "/agenda")
    pointer = await world.answer_to(third, "to the card above")
    await world.drawn()
    await world.click(wei, pointer, "send_again")
    moved = await world.fresh_card(wei, third)
    assert moved.message_id != card.message_id
    await world.say(wei, "/cancel")
    for asked in (first, third):
        await world.answer_to(asked)
    fourth = await world.say(wei, "/tasks")
    await world.not_now(wei, await world.fresh_card(wei, fourth))


def waiting(world: World) -> list[dict[str, Any]]:
    return world.rows("SELECT waits_for FROM deferred_calls WHERE status = 'suspended'")


async def administrators_lane(world: World) -> None:
    wei = world.wei
    asked = await world.say(wei, "/search welcome")
    await world.until(lambda: waiting(world) == [{"waits_for": "administrator"}], "the administrator")
    await world.control("app-scopes", scope="search:docs:read", user=True)
    card = await world.fresh_card(wei, asked)
    await world.see_page_error(card)
    await without(world, "search:docs:read")
    await world.report_page_error(wei, card)
    await world.until(lambda: waiting(world) == [{"waits_for": "administrator"}], "the administrator again")
    await world.control("app-scopes", scope="search:docs:read", user=True)
    card = await world.until(lambda: linked(world, asked), "a link")
    await world.consent(wei, card)
    await world.until(lambda: not waiting(world), "the answer")


def linked(world: World, asked: str) -> Message | None:
    said = world.from_bot(world.direct(world.wei), asked)
    return next((m for m in said if has_link(m)), None)


async def endings(world: World) -> None:
    await world.answer_to(await world.say(world.sam, "/revoke"))
    asked = await world.say(world.ada, "/tasks")
    card = await world.fresh_card(world.ada, asked)
    await world.open(card)
    await world.kill()
    world.let_expire("authorization_attempts")
    world.let_expire()
    await world.start()
    await world.expires(card)
    await world.until(lambda: world.count("audit_log", action="attempt_expired"), "retention", 30)
    await consented(world, world.sam, "/tasks")
    await leave(world)


async def test_what_happened_can_be_told_from_the_audit_log_alone(world: World):
    await without(world, "search:docs:read")
    await world.start()
    for chapter in (consents, withdrawals, administrators_lane, endings):
        await chapter(world)
        told = await the_log_tells_what_the_tables_hold(world)
    assert told >= {
        "call_suspended", "call_released", "call_waits_otherwise", "call_succeeded", "call_cancelled", "call_expired",
        "request_opened", "request_widened", "request_reopened", "request_granted", "request_declined",
        "request_expired", "request_failed", "card_moved", "link_opened", "attempt_failed", "attempt_denied",
        "attempt_expired", "grant_stored", "token_refreshed", "grant_ended", "revocation_done",
    }, told  # fmt: skip
    code, out, err = await world.cli("explain", world.wei.open_id)
    assert code == 0, err
    assert "call_suspended" in out


async def test_an_old_write_that_is_confirmed_or_dropped_is_told(world: World):
    world.tenant.clock.wall = lambda: time.time() - 7200
    await world.start()
    for title, action in (("one", "confirm"), ("two", "discard")):
        await world.control("grants", person=world.sam.open_id, scopes=[])
        await world.answer_to(await world.say(world.sam, "/revoke"))
        asked = await world.say(world.sam, f"/task {title}")
        await world.consent(world.sam, await world.fresh_card(world.sam, asked))

        def question(action: str = action, asked: str = asked) -> Message | None:
            said = world.from_bot(world.direct(world.sam), asked)
            return next((m for m in said if action in actions_on(m)), None)

        await world.click(world.sam, await world.until(question, "the question"), action)
        await world.answer_to(asked)
    told = await the_log_tells_what_the_tables_hold(world)
    assert "call_confirmed" in told
    dropped = world.only("audit_log", action="call_cancelled")
    assert json.loads(dropped["detail"])["outcome"] == "discarded"


async def test_what_happens_on_the_platforms_own_page_is_told(world: World):
    room = Room(world)
    await room.start()
    for person, decision in ((world.sam, "allow"), (world.wei, "refuse")):
        asked, card = await room.asked(person, "/tasks")
        await room.press(person, card)
        await room.decide(await room.link(card), person, decision)
        if decision == "refuse":
            await room.says(card, "Declined on the page")
            await world.not_now(person, card)
        else:
            await world.answer_to(asked)
    asked, card = await room.asked(world.wei, "/tasks")
    await room.press(world.wei, card)
    await room.link(card)
    await world.say(world.wei, "/cancel")
    await world.answer_to(asked)
    told = await the_log_tells_what_the_tables_hold(world)
    assert told >= {f"device_authorization_{each}" for each in ("begun", "minted", "denied", "failed")}

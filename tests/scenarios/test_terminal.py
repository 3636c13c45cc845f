"""What an operator learns at a terminal while the bot serves: stories, errors, numbers, names, and who ran a command."""

from __future__ import annotations

import json
import os
import pwd
import socket
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bot import cli_output
from bot.sandbox.lark.tenant import Person, ScopeSwitch
from tests.documented_keys import require

from .world import World

AT_WIDTHS = (50, 64, 80, 100, 132, 200)


async def told(world: World, *command: str) -> Any:
    """Return what a command prints as JSON."""
    code, out, err = await world.cli(*command, "--json")
    assert code == 0, err
    return json.loads(out)


def happened(story: dict[str, Any]) -> list[str]:
    return [entry["what"] for entry in story["timeline"]]


# --- stories -------------------------------------------------------------------------------------------------


async def test_a_person_is_explained_by_any_part_of_their_name(world: World):
    world.sam.name = "Sámuel  Rivera-Ōno"
    await world.start()
    for person in (world.sam, world.wei):
        await world.authorized(person)
    parts = {"samuel": world.sam, "SÁMUEL R": world.sam, "ono": world.sam, "蓝": world.wei, "薇": world.wei}
    for part, person in parts.items():
        story = await told(world, "explain", part)
        assert story["kind"] == "user", part
        assert story["user"]["user_key"].endswith(person.open_id), part
        listed = await told(world, "calls", "--user", part)
        assert {call["user_key"] for call in listed} == {story["user"]["user_key"]}, part


async def test_several_people_of_a_name_are_listed_to_choose_from(world: World):
    world.ada.name, world.sam.name = "Kim Nguyen", "Nguyen Kim"
    await world.start()
    for person in (world.sam, world.ada):
        await world.authorized(person)
    for command in (["explain", "kim"], ["calls", "--user", "nguyen"], ["users", "--user", "KIM"]):
        code, out, err = await world.cli(*command)
        assert (code, out) == (1, ""), command
        assert err.count("\n") == 1
        for person in (world.sam, world.ada):
            assert f"{person.open_id} ({person.name})" in err


async def the_loop(world: World) -> dict[str, str]:
    """Sam asks, consents and is answered. Returns the ids by which an operator may know of it."""
    asked = await world.authorized(world.sam)
    await world.drawn()
    answer = await world.answer_to(asked)
    call = world.only("deferred_calls", message_id=asked)
    await world.until(
        lambda: world.find("outgoing_messages", call_id=call["id"], status="sent"), "the answer"
    )
    return {
        "message": asked,
        "message that answers": answer.message_id,
        "message of the card": world.only("cards", id=call["request_id"])["message_id"],
        "event": world.only("events", message_id=asked)["event_id"],
        "call": call["id"],
        "request": call["request_id"],
        "attempt": world.only("authorization_attempts", request_id=call["request_id"])["id"],
        "log_id": world.find("api_calls", call_id=call["id"])[-1]["log_id"],
        "api_call": world.find("api_calls", call_id=call["id"])[-1]["id"],
    }


LOOP = [
    *("asked", "call_suspended", "request_opened", "card_shown", "link_opened", "grant_stored"),
    *("request_granted", "call_released", "api_call", "call_succeeded", "answer_sent"),
]


async def test_one_timeline_is_told_for_the_id_of_anything_that_took_part(world: World):
    await world.start()
    ids = await the_loop(world)
    await world.authorized(world.wei)
    for kind, known_as in ids.items():
        story = await told(world, "explain", known_as)
        assert story["kind"] == kind.split()[0]
        assert set(LOOP) <= set(happened(story)), kind
        times = [entry["at"] for entry in story["timeline"]]
        assert times == sorted(times)
        assert story["user"]["name"] == world.sam.name
        assert world.wei.open_id not in json.dumps(story)
        code, out, err = await world.cli("explain", known_as)
        assert (code, err) == (0, "")
        assert ids["log_id"] in out


async def test_a_story_is_told_when_its_call_is_deleted(world: World):
    await world.start()
    ids = await the_loop(world)
    for table in ("events", "outgoing_messages", "deferred_calls"):
        world.change(f"DELETE FROM {table}")
    for kind in ("call", "log_id", "api_call"):
        story = await told(world, "explain", ids[kind])
        assert {"api_call", "call_succeeded"} <= set(happened(story)), kind
        assert story["user"]["name"] == world.sam.name
    world.change("DELETE FROM authorization_requests")
    assert "grant_stored" in happened(await told(world, "explain", ids["attempt"]))
    assert "request_granted" in happened(await told(world, "explain", ids["request"]))


async def test_an_event_that_made_no_call_and_what_nobody_knows(world: World):
    await world.start()
    await world.authorized(world.sam)
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.000000")
    app = world.tenant.app.app_id
    world.change(
        "INSERT INTO events (platform, app_id, event_id, received_at) "
        f"VALUES ('lark', '{app}', 'ev_click_of_a_button', '{now}')"
    )
    story = await told(world, "explain", "ev_click_of_a_button")
    assert (story["kind"], happened(story), story["user"]) == ("event", ["event_received"], None)
    for unknown in ("om_never", "0" * 32, "20261128174329FFFF", "张伟", "no such name", "*", "%"):
        code, out, err = await world.cli("explain", unknown)
        assert (code, out) == (1, ""), unknown
        assert err.count("\n") == 1


async def test_why_each_call_waits_is_told_and_who_declined_on_the_page(world: World):
    await world.start()
    await world.authorized(world.sam)
    fault = await world.trouble({"path": "*/task/v2/tasks*"}, "status", status=500)
    retried = await world.say(world.sam, "/tasks")
    await world.struck(fault)
    declined = await world.say(world.sam, "/agenda")
    card = await world.fresh_card(world.sam, declined)
    await world.consent(world.sam, card, "refuse")
    await world.until(
        lambda: world.rows("SELECT 1 FROM authorization_requests WHERE declined_on_page_at IS NOT NULL"),
        "the refusal",
    )
    await world.until(lambda: world.find("deferred_calls", message_id=retried, status="queued"), "a pause")
    story = await told(world, "explain", world.sam.open_id)
    why = {row["message_id"]: (row["why"], row["first_failed_at"] is not None) for row in story["waiting"]}
    assert why == {
        retried: ("the platform failed: the call is retried", True),
        declined: ("declined on the page of the platform, and not authorized since", False),
    }
    require("requests", story["open_request"] | {"name": None})
    assert story["open_request"]["declined_on_page_at"]
    code, out, _ = await world.cli("explain", world.sam.open_id)
    assert code == 0
    for expected in ("the platform failed: the call is retried", "fails since", "declined on page at"):
        assert "".join(expected.split()) in "".join(out.split()), out
    assert "card wanted" not in out
    assert "card wanted" in (await world.cli("explain", world.sam.open_id, "--wide"))[1]


async def test_a_timeline_has_a_period_and_a_limit(world: World):
    await world.start()
    await the_loop(world)
    whole = (await told(world, "explain", world.sam.open_id))["timeline"]
    some = (await told(world, "explain", world.sam.open_id, "--limit", "3"))["timeline"]
    assert some == whole[-3:]
    await world.fresh_card(world.sam, await world.say(world.sam, "/agenda"))
    await world.say(world.sam, "/search plans")
    await world.until(lambda: world.count("deferred_calls", status="suspended") == 2, "both")
    await world.drawn()
    waiting = (await told(world, "explain", world.sam.open_id))["waiting"]
    assert [row["command"] for row in waiting] == ["agenda", "search"]
    code, out, err = await world.cli("explain", world.sam.open_id, "--limit", "1", "--json")
    assert (code, json.loads(out)["waiting"]) == (0, waiting[:1])
    assert "that wait longest" in err
    whole = (await told(world, "explain", world.sam.open_id))["timeline"]
    assert (await told(world, "explain", world.sam.open_id, "--until", "1h"))["timeline"] == []
    assert len((await told(world, "explain", world.sam.open_id, "--since", "1h"))["timeline"]) == len(whole)


# --- errors and numbers --------------------------------------------------------------------------------------


async def test_what_the_platform_failed_at_is_counted_with_its_last_log_id(world: World):
    await world.start()
    await world.authorized(world.sam)
    assert await told(world, "errors") == []
    asked = []
    for status, path in ((500, "*/task/v2/tasks*"), (400, "*/task/v2/tasks*")):
        fault = await world.trouble({"path": path}, "status", status=status, times=2 if status == 500 else 1)
        asked.append(await world.say(world.sam, "/tasks"))
        await world.struck(fault)
        await world.answer_to(asked[-1])
        await world.lift(fault)
    errors = await told(world, "errors")
    found = {row["status"]: row for row in errors if row["what"].endswith("/task/v2/tasks")}
    assert found["500"]["count"] == 2
    assert found["400"]["count"] == 1
    for row in found.values():
        assert row["users"] == 1
        assert row["first_at"] <= row["last_at"]
        assert world.only(
            "api_calls", call_id=row["call_id"], status=int(row["status"]), id=last_id(world, row)
        )
    assert {row["status"] for row in await told(world, "errors", "--status", "500")} == {"500"}
    assert await told(world, "errors", "--until", "1h") == []
    assert await told(world, "errors", "--user", world.sam.name) == errors
    code, out, _ = await world.cli("errors")
    assert code == 0
    assert "GET /open-apis/task/v2/tasks" in " ".join(out.split())


async def test_errors_name_whom_they_affected(world: World):
    """By name those who have consented, by id one who has not."""
    await world.start()
    for person in (world.sam, world.wei):
        await world.authorized(person)
    await world.trouble({"path": "*/task/v2/tasks*"}, "status", status=418)
    for person in (world.wei, world.sam):
        await world.answer_to(await world.say(person, "/tasks"))
    await world.trouble(
        {"path": "*/im/v1/messages*"}, "status", status=400, body={"code": 230099, "msg": "no such card"}
    )
    await world.say(world.ada, "/help")
    await world.until(lambda: world.count("outgoing_messages", status="undeliverable"), "the lost answer")
    rows = {row["what"]: row for row in await told(world, "errors")}
    for what, people, names in (
        ("GET /open-apis/task/v2/tasks", [world.sam, world.wei], [world.sam.name, world.wei.name]),
        ("message answer", [world.ada], [None]),
    ):
        row = rows[what]
        assert row["users"] == len(people)
        assert [each["user_key"].rpartition(":")[2] for each in row["affected"]] == [
            each.open_id for each in people
        ]
        assert [each["name"] for each in row["affected"]] == names
    code, out, _ = await world.cli("errors")
    assert code == 0
    told_in_lines = " ".join(out.split())
    assert f"affected: {world.sam.name}, {world.wei.name}" in told_in_lines
    assert f"affected: {world.ada.open_id}" in told_in_lines


async def test_a_failure_without_an_answer_has_a_status_and_no_code(world: World):
    await world.start()
    await world.authorized(world.sam)
    await world.trouble({"path": "*/task/v2/tasks*"}, "drop_before")
    asked = await world.say(world.sam, "/tasks")
    # Not when the fault has struck: the HTTP client opens a dropped connection again, and the second try may succeed.
    await world.until(lambda: world.find("api_calls", outcome="no_answer"), "the failed call")
    await world.lift()
    await world.answer_to(asked)
    (row,) = await told(world, "errors", "--status", "no_answer")
    assert (row["status"], row["code"]) == ("no_answer", None)


async def test_failures_of_one_api_count_together_whatever_the_ids_in_its_path(world: World):
    await world.start()
    path = "*/docx/v1/documents/*"
    asked = []
    for person, token in (
        (world.sam, "doxcnAAAA1111"),
        (world.ada, "doxcnBBBB2222"),
        (world.sam, "doxcnCCCC3333"),
    ):
        if not asked or person is not world.sam:
            await world.authorized(person, f"/doc {token}")
        await world.trouble({"path": path}, "status", status=418)
        asked.append(await world.say(person, f"/doc {token}"))
        await world.answer_to(asked[-1])
        await world.lift()
    rows = [row for row in await told(world, "errors") if row["status"] == "418"]
    assert [(row["count"], row["users"]) for row in rows] == [(3, 2)], rows
    assert "/documents/*" in rows[0]["what"]


def last_id(world: World, row: dict[str, Any]) -> str:
    made = world.find("api_calls", status=int(row["status"]))
    assert made[-1]["log_id"] == row["log_id"]
    return str(made[-1]["id"])


async def test_numbers_tell_what_was_asked_and_what_became_of_it(world: World):
    await world.start()
    await the_loop(world)
    await world.answer_to(await world.say(world.sam, "/tasks"))
    asked = await world.say(world.wei, "/tasks")
    await world.not_now(world.wei, await world.fresh_card(world.wei, asked))
    await world.fresh_card(world.ada, await world.say(world.ada, "/search plans"))
    numbers = await told(world, "stats")
    assert numbers["users"] == numbers["new_users"] == 3
    assert numbers["calls_by_status"] == {"succeeded": 2, "cancelled": 1, "suspended": 1}
    assert numbers["consents_by_outcome"] == {"declined": 1, "granted": 1, "waiting": 1}
    assert numbers["consents_that_were"]["asked"] == 3
    assert numbers["consents_that_were"]["granted"] == 1
    assert numbers["asked_to_consented"]["count"] == 1
    assert numbers["consented_to_answered"]["count"] == 1
    assert numbers["asked_to_answered_without_consent"]["count"] == 1
    (tasks,) = [row for row in numbers["calls"] if row["outcome"] == "answered"]
    assert (tasks["command"], tasks["count"]) == ("tasks", 2)
    of_wei = await told(world, "stats", "--user", world.wei.open_id)
    assert of_wei["calls_by_status"] == {"cancelled": 1}
    assert (await told(world, "stats", "--until", "1d"))["users"] == 0
    code, out, _ = await world.cli("stats")
    assert code == 0
    assert "declined 1" in out


# --- tables --------------------------------------------------------------------------------------------------


async def test_tables_fit_the_terminal_and_cut_nothing_that_decides(world: World):
    world.sam.name = "A person whose parents could not agree, with 很长的名字, and so has all of them"
    await world.start()
    ids = await the_loop(world)
    await world.fresh_card(world.sam, await world.say(world.sam, "/doc doxcnAAAABBBBCCCC"))
    scopes = (await told(world, "users"))[0]["scopes"]
    shown = {
        "users": [world.sam.open_id, *scopes, "active"],
        "requests": [world.sam.open_id, ids["request"], "task:task:read", "granted"],
        "calls": [world.sam.open_id, ids["call"], "task:task:read", "succeeded", "authorization"],
        "audit": [world.sam.open_id, ids["call"], ids["request"], "call_suspended"],
        "explain": [ids["call"], ids["request"], ids["log_id"], "call_suspended", *scopes],
    }
    for columns in AT_WIDTHS:
        world.settings["COLUMNS"] = str(columns)
        for command, expected in shown.items():
            code, out, err = await world.cli(command, *([world.sam.open_id] if command == "explain" else []))
            assert (code, err) == (0, "")
            longest = max(map(cli_output.width, out.splitlines()))
            assert longest <= columns, (command, columns)
            together = "".join(out.split())
            assert [each for each in expected if each not in together] == [], (command, columns)
            assert command == "explain" or all(word in out for word in world.sam.name.split()), (
                command,
                columns,
            )
            assert "…" not in out


async def test_a_wide_table_has_one_line_a_row_and_every_field(world: World):
    await world.start()
    await the_loop(world)
    for command in ("users", "requests", "calls", "audit"):
        rows = await told(world, command)
        code, out, _ = await world.cli(command, "--wide")
        assert code == 0
        lines = out.splitlines()
        assert len(lines) == len(rows) + 1
        assert all(name.replace("_", " ") in lines[0] for name in rows[0])
        assert all(any(row["user_key"] in line for line in lines) for row in rows if row["user_key"])
    assert "trouble of the last seven days" in (await world.cli("status"))[1]


# --- names ---------------------------------------------------------------------------------------------------


def may_read_names(world: World, *scopes: str) -> None:
    for scope in scopes or ("contact:contact.base:readonly", "contact:user.base:readonly"):
        world.tenant.app.scopes[scope] = ScopeSwitch(user=True, tenant=True)


async def name_of(world: World, person: Person) -> str | None:
    (row,) = await told(world, "users", "--user", person.open_id)
    name: str | None = row["name"]
    return name


async def test_the_name_of_a_person_who_has_not_consented_is_learned_once_a_day(world: World):
    may_read_names(world)
    await world.start()
    profile = "/contact/v3/users/"
    people = [world.sam, world.wei, world.ada]
    for person in people:
        await world.fresh_card(person, await world.say(person, "/tasks"))
    await world.until(
        lambda: len(world.rows("SELECT 1 FROM users WHERE name IS NOT NULL")) == len(people), "their names"
    )
    assert [await name_of(world, each) for each in people] == [each.name for each in people]
    assert len(world.requests(profile)) <= 2 * len(people)  # a name, and a time zone
    assert await told(world, "explain", "蓝薇")


async def test_a_name_that_cannot_be_read_is_not_asked_for_again_on_that_day(world: World):
    may_read_names(world, "contact:contact.base:readonly")  # without the scope of the name itself
    await world.start()
    await world.fresh_card(world.wei, await world.say(world.wei, "/tasks"))
    asked = "SELECT name_asked_at FROM users WHERE name_asked_at IS NOT NULL"
    of_wei = f"/contact/v3/users/{world.wei.open_id}"
    await world.until(lambda: world.rows(asked) and world.requests(of_wei), "the first time")
    (before,) = world.rows(asked)
    # The time zone is asked for as well, when a card is sent.
    await world.until(lambda: len(world.requests(of_wei)) == 2, "both requests")
    await world.answer_to(await world.say(world.wei, "/help"))
    await world.fresh_card(world.sam, await world.say(world.sam, "/tasks"))
    await world.until(lambda: len(world.rows(asked)) == 2, "the other's turn")
    assert before in world.rows(asked)
    assert len(world.requests(of_wei)) == 2
    world.change("UPDATE users SET name_asked_at = datetime('now', '-25 hours') || '.000000'")
    await world.answer_to(await world.say(world.wei, "/help"))
    await world.until(lambda: len(world.requests(of_wei)) == 3, "the next day's turn")
    assert await name_of(world, world.wei) is None


async def test_without_the_right_to_read_it_no_name_is_asked_for_and_the_chat_is_shown(world: World):
    await world.start()
    card = await world.fresh_card(world.wei, await world.say(world.wei, "/tasks"))
    assert card
    (row,) = await told(world, "users")
    assert row["name"] is None
    assert (row["last_chat_kind"], row["last_chat_id"]) == ("direct", world.direct(world.wei).chat_id)
    code, out, _ = await world.cli("users")
    assert code == 0
    assert world.direct(world.wei).chat_id in out
    assert world.wei.open_id in out
    assert world.requests("/contact/v3/users/") == []


async def test_until_when_a_grant_holds_is_listed(world: World):
    await world.start()
    await world.authorized(world.sam)
    (row,) = await told(world, "users")
    ends = datetime.fromisoformat(row["grant_expires_at"])
    assert ends == datetime.fromisoformat(row["refresh_expires_at"])
    assert ends > datetime.now(UTC) + timedelta(hours=1)
    code, out, _ = await world.cli("users")
    assert code == 0
    assert f"{ends:%Y-%m-%d %H:%M:%S}Z" in out


# --- who ran a command ---------------------------------------------------------------------------------------


def me() -> str:
    return f"{pwd.getpwuid(os.getuid()).pw_name}@{socket.gethostname()}"


async def test_the_audit_tells_which_operator_ran_a_command(world: World):
    await world.start(SUDO_USER="")
    await world.authorized(world.sam)
    await world.fresh_card(world.sam, await world.say(world.sam, "/search plans"))
    done = await told(world, "revoke", world.sam.open_id)
    require("revoke", done)
    assert (done["had_grant"], done["unrevoked_tokens"]) == (True, 0)
    (entry,) = await told(world, "audit", "--status", "revoked_by_operator")
    assert entry["detail"] == {"operator": me(), "calls": 1, "browsers": 0}
    assert entry["user_key"].endswith(world.sam.open_id)
    rotated = await told(world, "keys", "rotate")
    assert rotated["reencrypted"] >= 0
    (entry,) = await told(world, "audit", "--status", "keys_rotated")
    assert entry["detail"]["operator"] == me()
    await world.cli("forget", world.sam.open_id, "--yes")
    (entry,) = await told(world, "audit", "--status", "user_forgotten")
    assert entry["detail"]["operator"] == me()


@pytest.mark.parametrize("behind", ["anna", "x\x1b[31m" * 60, "名字 with a space"])
async def test_who_is_behind_sudo_is_bounded_text(world: World, behind: str):
    await world.start(SUDO_USER=behind)
    await world.authorized(world.sam)
    await told(world, "revoke", world.sam.open_id)
    (entry,) = await told(world, "audit", "--status", "revoked_by_operator")
    written = entry["detail"]["operator"]
    assert len(written) <= 100
    assert written.isprintable()
    assert " " not in written
    assert written.startswith(pwd.getpwuid(os.getuid()).pw_name)

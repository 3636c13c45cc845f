"""What is stored about a person is exported, and erased: `bot export` and `bot forget`, while the bot serves."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError

from bot.sandbox.lark.tenant import Person
from bot.store import schema
from tests.documented_keys import require
from tests.sql import Sql

from .world import World

PRIVATE = "words that Sam alone wrote"


async def everything(url: str) -> dict[str, str]:
    """Return the content of each table, and of its every column, as text."""
    client = Sql(url)
    try:
        return {
            name: json.dumps(await client.rows(f"SELECT * FROM {name}"), default=str, ensure_ascii=False)
            for name in schema.metadata.tables
        }
    finally:
        await client.close()


def places(found: dict[str, str], *texts: str) -> list[str]:
    """Return the tables that contain any of these texts."""
    return sorted(name for name, content in found.items() if any(text in content for text in texts))


async def lived(world: World, person: Person) -> list[str]:
    """A person who has consented, waits, was answered, recalled a message and opened a link. Returns their messages."""
    messages = [await world.authorized(person), await world.say(person, "/help")]
    await world.answer_to(messages[-1])
    messages.append(await world.say(person, f"/search {PRIVATE}"))
    await world.open(await world.fresh_card(person, messages[-1]))
    messages.append(await world.say(person, f"/task {PRIVATE}", world.group))
    await world.answer_to(messages[-1])
    return messages


async def rows(url: str, statement: str, **parameters: Any) -> list[dict[str, Any]]:
    client = Sql(url)
    try:
        return await client.rows(statement, **parameters)
    finally:
        await client.close()


async def test_after_forget_nothing_is_found_but_one_entry_by_pseudonym(world: World, database_url: str):
    await world.start(BOT_DATABASE_URL=database_url)
    sam, ada = world.sam, world.ada
    messages = await lived(world, sam)
    await world.authorized(ada)
    before = await everything(database_url)
    assert len(places(before, sam.open_id)) >= 8
    assert places(before, sam.name)

    code, out, err = await world.cli("forget", sam.open_id, "--yes", "--json")
    assert (code, err) == (0, ""), err
    done = json.loads(out)
    require("forget", done)
    assert done["had_grant"] is True
    assert done["unrevoked_tokens"] == 0
    assert done["erased_rows"]["users"] == 1

    after = await everything(database_url)
    assert places(after, sam.open_id, sam.name, sam.union_id, PRIVATE, *messages) == []
    assert places(after, done["pseudonym"]) == ["audit_log"]
    (entry,) = await rows(database_url, "SELECT * FROM audit_log WHERE action = 'user_forgotten'")
    assert (entry["subject_id"], entry["user_key"]) == (done["pseudonym"], None)
    detail = json.loads(entry["detail"])
    assert "@" in detail["operator"]
    assert detail["audit_log"] > 3
    guesses = [sam.open_id, f"lark:{world.tenant.app.app_id}:{sam.tenant_key}:{sam.open_id}"]
    for guess in guesses:
        for digest in ("sha256", "sha1", "md5", "blake2b"):
            assert done["pseudonym"] not in hashlib.new(digest, guess.encode()).hexdigest()

    # Of the others nothing is lost.
    assert places(after, ada.open_id) == places(before, ada.open_id)
    await world.answer_to(await world.say(ada, "/tasks"))


async def test_who_was_forgotten_has_no_grant_at_the_platform_and_is_a_new_person(
    world: World, database_url: str
):
    await world.start(BOT_DATABASE_URL=database_url)
    sam = world.sam
    await lived(world, sam)
    (created,) = await rows(database_url, "SELECT created_at FROM users WHERE open_id = :id", id=sam.open_id)
    assert (await world.cli("forget", sam.open_id, "--yes"))[0] == 0
    assert world.requests("/revoke")
    assert await rows(database_url, "SELECT 1 FROM users WHERE open_id = :id", id=sam.open_id) == []

    asked = await world.say(sam, "/tasks")
    await world.consent(sam, await world.fresh_card(sam, asked))
    await world.answer_to(asked)
    (again,) = await rows(database_url, "SELECT created_at FROM users WHERE open_id = :id", id=sam.open_id)
    assert str(again["created_at"]) > str(created["created_at"])
    code, out, _ = await world.cli("explain", sam.open_id, "--json")
    assert code == 0
    assert len([each for each in json.loads(out)["timeline"] if each["what"] == "asked"]) == 1


async def test_an_event_that_is_delivered_again_after_forget_is_not_carried_out_again(world: World):
    await world.start()
    asked = await world.say(world.sam, "/help")
    await world.answer_to(asked)
    (event,) = world.find("events", message_id=asked)
    assert (await world.cli("forget", world.sam.open_id, "--yes"))[0] == 0
    (kept,) = world.find("events", event_id=event["event_id"])
    assert kept["message_id"] is None


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("ou_nobody", "--yes"), 1, "is not a user"),
        (("Sam",), 2, "--yes"),
        (("ou_", "--yes"), 1, "matches several users"),
        (("am", "--yes"), 1, "is not a user"),
    ],
)
async def test_forget_ends_in_one_line_and_erases_nothing(
    world: World, arguments: tuple[str, ...], code: int, said: str
):
    await world.start()
    for person in (world.sam, world.ada):
        await world.answer_to(await world.say(person, "/help"))
    ended, out, err = await world.cli("forget", *arguments)
    assert (ended, out) == (code, "")
    assert said in err
    assert err.count("\n") == 1
    assert world.count("users") == 2
    assert world.count("audit_log", action="user_forgotten") == 0


async def test_while_the_platform_does_not_confirm_the_revocation_nothing_is_erased(world: World):
    await world.start()
    await world.authorized(world.sam)
    fault = await world.trouble({"path": "*revoke*"}, "status", status=500)
    code, _, err = await world.cli("forget", world.sam.open_id, "--yes")
    assert code == 1
    assert "--unrevoked" in err
    assert world.count("users", open_id=world.sam.open_id) == 1
    assert world.only("grants")["status"] == "ended"
    code, out, err = await world.cli("forget", world.sam.open_id, "--yes", "--unrevoked", "--json")
    assert code == 0, err
    assert json.loads(out)["unrevoked_tokens"] > 0
    assert world.count("users", open_id=world.sam.open_id) == 0
    await world.lift(fault)


async def test_export_holds_all_that_is_stored_of_a_person_and_no_secret(world: World, database_url: str):
    await world.start(BOT_DATABASE_URL=database_url)
    sam = world.sam
    messages = await lived(world, sam)
    await world.authorized(world.ada)
    code, out, err = await world.cli("export", sam.open_id)
    assert (code, err) == (0, "")
    exported = json.loads(out)
    assert exported["users"][0]["name"] == sam.name
    assert exported["grants"][0]["scopes"]
    assert PRIVATE in out
    assert messages[0] in json.dumps(exported["deferred_calls"])
    assert exported["api_calls"]
    assert exported["audit_log"]
    assert world.ada.open_id not in out
    assert "v1." not in out
    assert not re.search(r"digest|seal|access_token\"|refresh_token\"", out)
    # What names the person anywhere is in it.
    named = places(await everything(database_url), sam.open_id)
    assert set(named) - {"events"} <= set(exported)


async def test_only_an_order_erases_audit_entries_and_leaves_its_own(world: World, database_url: str):
    """An ordinary role can erase them in this way alone, and not without a trace."""
    await world.start(BOT_DATABASE_URL=database_url)
    await world.authorized(world.sam)
    key = f"lark:{world.tenant.app.app_id}:{world.sam.tenant_key}:{world.sam.open_id}"
    with pytest.raises(DBAPIError, match="audit_log is kept"):
        await rows(database_url, "DELETE FROM audit_log WHERE user_key = :key", key=key)
    for pseudonym, detail in (("short", "{}"), ("p" * 32, "not JSON"), ("p" * 32, '"' + "x" * 2000 + '"')):
        with pytest.raises(DBAPIError):
            await rows(
                database_url,
                "INSERT INTO audit_erasures (user_key, pseudonym, detail) VALUES (:key, :name, :detail)",
                key=key,
                name=pseudonym,
                detail=detail,
            )
    (counted,) = await rows(
        database_url, "SELECT count(*) AS n FROM audit_log WHERE user_key = :key", key=key
    )
    assert counted["n"] > 3
    await rows(
        database_url,
        "INSERT INTO audit_erasures (user_key, pseudonym, detail) VALUES (:key, :name, '{}')",
        key=key,
        name="p" * 32,
    )
    assert await rows(database_url, "SELECT 1 FROM audit_erasures") == []
    assert await rows(database_url, "SELECT 1 FROM audit_log WHERE user_key = :key", key=key) == []
    (entry,) = await rows(database_url, "SELECT * FROM audit_log WHERE action = 'user_forgotten'")
    assert json.loads(entry["detail"]) == {"audit_log": counted["n"]}
    with pytest.raises(DBAPIError, match="audit_log is kept"):
        await rows(database_url, "DELETE FROM audit_log WHERE action = 'user_forgotten'")

"""Encryption keys: changed while the bot serves, refused in time when they are wrong."""

from __future__ import annotations

import asyncio
import sqlite3
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select

from bot.core.people import UserKey
from bot.core.secrets import Secret
from bot.store import requests, schema, users
from bot.store.keyring import Keyring, new_key
from bot.store.open_database import open_database
from bot.store.transaction import Connection, Database
from tests.store.examples import open_request

from .changed_bot import rotation_that_dies
from .world import World

OLD_REQUESTS = 3_000
"""So many that a rotation has a middle."""


async def keep_tickets(database: Database) -> None:
    """Old requests of somebody, each with its sealed ticket."""
    somebody, now = UserKey("lark", "cli_1", "t", "ou_somebody"), datetime.now(UTC)

    def work(c: Connection) -> None:
        users.seen(c, somebody, language=None, union_id=None, now=now)
        for number in range(OLD_REQUESTS):
            request = open_request(
                c,
                somebody,
                scopes=frozenset({"a"}),
                command="tasks",
                ticket=Secret(f"ticket {number}"),
                expires_at=now + timedelta(hours=1),
                now=now,
            )
            requests.supersede(c, request.id, now)

    await database.write(work)


def sealed_with(seal: Keyring, connection: Connection) -> int:
    ticket = schema.authorization_requests.c.ticket
    query = select(func.count()).where(ticket.startswith(seal.prefix, autoescape=True))
    return int(connection.execute(query).scalar_one())


@pytest.mark.slow
async def test_keys_are_changed_under_load_and_a_killed_rotation_is_simply_run_again(
    world: World, database_url: str
):
    old, fresh = world.key, new_key()
    world.tenant.behaviour.rate_limits = False
    await world.start(BOT_DATABASE_URL=database_url)
    for person in (world.sam, world.ada):
        await world.authorized(person)
    world.settings["BOT_ENCRYPTION_KEYS"] = f"{fresh},{old}"
    code, _, err = await world.cli("keys", "rotate")
    assert code == 1, "The running bot does not have the new key."
    assert "does not have the key" in err
    assert await world.stop() == 0
    await world.start()
    database = await open_database(database_url, Keyring([old, fresh]))
    await keep_tickets(database)

    asked, stopped = [], asyncio.Event()

    async def keep_asking() -> None:
        """Messages and consents go on coming."""
        while not stopped.is_set():
            for person in (world.sam, world.ada):
                asked.append(await world.say(person, "/tasks"))
            waiting = await world.say(world.wei, "/tasks")
            await world.consent(world.wei, await world.fresh_card(world.wei, waiting))
            await world.answer_to(await world.say(world.wei, "/revoke"))
            asked.append(waiting)

    load = asyncio.create_task(keep_asking())
    try:
        assert await world.fork(rotation_that_dies(portions=10)).wait() == -9
        done = await database.read(lambda c: sealed_with(Keyring([fresh]), c))
        code, out, err = await world.cli("keys", "rotate")
    finally:
        stopped.set()
        await load
    assert code == 0, out + err
    assert 0 < done < OLD_REQUESTS
    for each in asked:
        await world.answer_to(each)
    assert await database.read(lambda c: sealed_with(Keyring([old]), c)) == 0
    await database.close()
    assert await world.stop() == 0
    await world.start(BOT_ENCRYPTION_KEYS=fresh)
    await world.control("tokens/expire", person=world.sam.open_id, which="access")
    await world.answer_to(await world.say(world.sam, "/tasks"))


@pytest.mark.parametrize(
    ("keys", "word"),
    [
        (new_key(), "BOT_ENCRYPTION_KEYS"),
        (f"{new_key()},{new_key()}", "BOT_ENCRYPTION_KEYS"),
        ("", "BOT_ENCRYPTION_KEYS"),
        ("not a key", "BOT_ENCRYPTION_KEYS"),
        (new_key()[:-4], "BOT_ENCRYPTION_KEYS"),
    ],
    ids=["another key", "other keys", "none", "malformed", "cut off"],
)
async def test_keys_that_do_not_fit_stop_the_start_with_one_line_and_destroy_nothing(
    world: World, keys: str, word: str
):
    await world.start()
    asked = await world.say(world.sam, "/tasks")
    await world.consent(world.sam, await world.fresh_card(world.sam, asked))
    await world.answer_to(asked)
    assert await world.stop() == 0
    file, rows = world.database.read_bytes(), contents(world)
    world.settings["BOT_ENCRYPTION_KEYS"] = keys
    code, _, err = await world.cli("run")
    assert code == 2, err
    problem, *hint = err.strip().splitlines()
    assert word in problem
    assert len(hint) <= 1
    assert "Traceback" not in err
    assert not keys or keys not in err
    assert world.database.read_bytes() == file
    assert contents(world) == rows
    world.settings["BOT_ENCRYPTION_KEYS"] = world.key
    await world.start()
    await world.answer_to(await world.say(world.sam, "/tasks"))


def contents(world: World) -> list[str]:
    connection = sqlite3.connect(f"file:{world.database}?mode=ro", uri=True)
    try:
        return list(connection.iterdump())
    finally:
        connection.close()

"""A machine's clock that jumps, or is wrong from the start: nothing expires and no grant ends that would not have."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from bot.sandbox.lark.tenant import Message, Person
from tests.bot_process import bot_with_clock
from tests.sql import query

from .card_content import text_of
from .world import World

NINE_DAYS = 9 * 24 * 3600
EXPIRED = "request expired"


class Jumping:
    """A world whose bot has a clock of its own, on either database."""

    def __init__(self, world: World, url: str) -> None:
        self.world, self.url = world, url
        self.file = world.directory / "ahead"
        self.set(0)
        world.runs = bot_with_clock(self.file)
        world.settings["BOT_DATABASE_URL"] = url

    def set(self, seconds: float) -> None:
        """Let the bot's clock be ahead of the real time."""
        self.file.with_suffix(".new").write_text(str(seconds))
        os.replace(self.file.with_suffix(".new"), self.file)

    async def rows(self, statement: str) -> list[dict[str, Any]]:
        return await query(self.url, statement)

    async def statuses(self, table: str) -> set[str]:
        return {row["status"] for row in await self.rows(f"SELECT status FROM {table}")}

    async def waiting(self, person: Person, command: str = "/tasks") -> Message:
        asked = await self.world.say(person, command)
        return await self.world.fresh_card(person, asked)

    async def expire_now(self, person: Person) -> None:
        """Let what this person waits for have expired a minute ago, by every clock that is right."""
        now = (
            "datetime('now', '-1 minute') || '.000000'"
            if "sqlite" in self.url
            else "now() - interval '1 minute'"
        )
        for table in ("deferred_calls", "authorization_requests"):
            live = "settled_at IS NULL AND user_key LIKE '%" + person.open_id + "'"
            await self.rows(f"UPDATE {table} SET expires_at = {now} WHERE {live}")

    async def logged(self, words: str) -> None:
        file = self.world.directory / "bot.log"
        await self.world.until(lambda: words in file.read_text(), words, 30)

    async def beats(self, count: int) -> None:
        """Wait until the bot has written its heartbeat so many times."""
        seen: set[str] = set()
        while len(seen) <= count:
            seen |= {str(row["heartbeat_at"]) for row in await self.rows("SELECT heartbeat_at FROM replicas")}
            await asyncio.sleep(0.2)


@pytest.fixture(params=["sqlite", "postgresql"])
def jumping(world: World, request: pytest.FixtureRequest) -> Jumping:
    if request.param == "postgresql":
        return Jumping(world, request.getfixturevalue("postgresql_url"))
    return Jumping(world, f"sqlite+aiosqlite:///{world.database}")


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [NINE_DAYS, 25 * 3600, 11 * 365 * 24 * 3600, 600])
async def test_a_jump_ahead_ends_nothing_and_what_is_due_still_expires(
    world: World, jumping: Jumping, seconds: float
):
    await world.start(BOT_DEFERRED_TTL="300" if seconds == 600 else "86400")
    await world.authorized(world.sam)
    kept = await jumping.waiting(world.ada)
    overdue = await jumping.waiting(world.wei)
    jumping.set(seconds)
    await jumping.logged("clock has jumped")
    await jumping.expire_now(world.wei)
    await world.until(lambda: "已过期" in text_of(overdue.content), "the card that is overdue", 30)
    # The chore has looked at all requests; Sam's grant is used, and nobody is asked again.
    await world.answer_to(await world.say(world.sam, "/tasks"))
    assert await jumping.statuses("grants") == {"active"}
    jumping.set(0)
    await jumping.logged("clock is back")
    await world.answer_to(await world.say(world.sam, "/me"))
    status, page = await world.consent(world.ada, kept)
    assert status == 200, page
    await world.until(lambda: "Authorized" in text_of(kept.content), "the card of the request that was kept")
    log = (world.directory / "bot.log").read_text()
    assert log.count("clock has jumped") == 1
    assert "Traceback" not in log


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [-NINE_DAYS, -3600, -40 * 365 * 24 * 3600])
async def test_a_jump_back_ends_nothing_and_stops_nothing(world: World, jumping: Jumping, seconds: float):
    await world.start()
    await world.authorized(world.sam)
    kept, overdue = await jumping.waiting(world.ada), await jumping.waiting(world.wei)
    jumping.set(seconds)
    await jumping.logged("clock has jumped")
    await world.answer_to(await world.say(world.sam, "/tasks"))
    jumping.set(0)
    await jumping.logged("clock is back")
    await jumping.expire_now(world.wei)
    await world.until(lambda: "已过期" in text_of(overdue.content), "the card that is overdue", 30)
    assert "Authorize to continue" in text_of(kept.content)
    assert await jumping.statuses("grants") == {"active"}


@pytest.mark.slow
async def test_a_start_during_a_jump_ends_nothing(world: World, jumping: Jumping):
    await world.start()
    await world.authorized(world.sam)
    kept, overdue = await jumping.waiting(world.ada), await jumping.waiting(world.wei)
    await world.stop()
    jumping.set(NINE_DAYS)
    await world.start()
    if "postgresql" in jumping.url:  # otherwise its events look stale, and the platform delivers them again
        await world.answer_to(await world.say(world.sam, "/tasks"))
    await jumping.beats(2)
    assert await jumping.statuses("authorization_requests") == {"granted", "open"}
    assert await jumping.statuses("grants") == {"active"}
    jumping.set(0)
    await world.answer_to(await world.say(world.sam, "/tasks"), patience=30)
    await jumping.expire_now(world.wei)
    await world.until(lambda: "已过期" in text_of(overdue.content), "the card that is overdue", 30)
    status, page = await world.consent(world.ada, kept)
    assert status == 200, page


async def test_a_clock_that_differs_from_the_databases_is_told_once_and_ends_nothing(
    world: World, postgresql_url: str
):
    jumping = Jumping(world, postgresql_url)
    jumping.set(NINE_DAYS)
    await world.start()
    await world.authorized(world.sam)
    await jumping.waiting(world.ada)
    overdue = await jumping.waiting(world.wei)
    await jumping.expire_now(world.wei)
    await world.until(lambda: "已过期" in text_of(overdue.content), "the card that is overdue", 30)
    assert await jumping.statuses("grants") == {"active"}
    # What this replica writes has the time that all replicas share.
    ahead = "SELECT 1 FROM deferred_calls WHERE received_at > now() + interval '1 hour'"
    assert await jumping.rows(ahead) == []
    assert (world.directory / "bot.log").read_text().count("clock and the database's differ") == 1
    jumping.set(0)
    await jumping.logged("agree again")

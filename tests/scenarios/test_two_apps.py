"""Two apps in one database, each with its own platform: each goes on with its own grants and cards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.bot_process import Forker
from tests.sql import Rows, query

from .world import World, world_in

OTHER_APP = "cli_b0b0b0b0b0b0b0b0"


@pytest.fixture
async def other(world: World, tmp_path: Path, forker: Forker) -> AsyncIterator[World]:
    """Another app, at a platform of its own, with the first one's keys and database."""
    directory = tmp_path / "other"
    directory.mkdir()
    async with world_in(directory, forker) as other:
        other.tenant.app.app_id = OTHER_APP
        other.key, other.database = world.key, world.database
        yield other


def app_of(world: World) -> str:
    return f"lark:{world.tenant.app.app_id}"


async def rows(url: str, table: str, world: World) -> Rows:
    return await query(url, f"SELECT * FROM {table} WHERE app = :app ORDER BY 1", app=app_of(world))


GRANT = (
    "user_key",
    "status",
    "generation",
    "access_token",
    "refresh_token",
    "refresh_lease_until",
    "refresh_worker",
)


async def grants_of(url: str, world: World) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in GRANT) for row in await rows(url, "grants", world)]


async def test_on_a_file_one_app_after_the_other_goes_on_with_what_is_its_own(world: World, other: World):
    """Everything of the first is due while the second runs: a renewal, a card, a question, a revocation, an expiry."""
    url = f"sqlite+aiosqlite:///{world.database}"
    await world.start()
    await world.authorized(world.sam)
    waiting = await world.say(world.sam, "/agenda")
    card = await world.fresh_card(world.sam, waiting)
    await world.authorized(world.wei)
    fault = await world.trouble({"path": "/oauth/v1/revoke"}, "status", status=500)
    await world.answer_to(await world.say(world.wei, "/revoke"))
    await world.kill()
    past = "datetime('now', '-1 minute') || '.000000'"
    for change in (
        f"UPDATE grants SET access_expires_at = {past}, last_used_at = {past} WHERE status = 'active'",
        f"UPDATE revocations SET runs_after = {past}",
        f"UPDATE cards SET wanted = wanted + 1, due_at = {past}",
    ):
        world.change(change)
    before = {table: await rows(url, table, world) for table in TABLES}
    await other.start()
    asked = await other.say(other.sam, "/tasks")
    await other.consent(other.sam, await other.fresh_card(other.sam, asked))
    await other.answer_to(asked)
    # A refresh of its own shows that the second app renews, and so would have renewed the first one's.
    other.change(
        f"UPDATE grants SET access_expires_at = {past}, last_used_at = {past} WHERE app = '{app_of(other)}'"
    )
    await other.until(
        lambda: [r for r in other.requests("oauth/token") if r["grant_type"] == "refresh_token"],
        "a renewal",
        20,
    )
    await other.say(other.sam, "/cancel")
    assert {table: await rows(url, table, world) for table in TABLES} == before
    code, out, _ = await other.cli("status")
    assert code == 0
    assert app_of(world) in out
    assert app_of(other) in out
    for listing in ("users", "calls", "requests", "audit"):
        _, out, _ = await other.cli(listing)
        assert app_of(world) in out, out
        assert app_of(other) in out, out
    # The first one's link, opened at the second one's address, is none of its.
    stray = world.link_of(card).replace(world.public, other.public)
    status, _, _ = await other.get(stray)
    assert status == 404
    assert await other.stop() == 0

    await world.lift(fault)
    await world.start()
    await world.answer_to(await world.say(world.sam, "/tasks"))
    await world.consent(world.sam, card)
    await world.answer_to(waiting)

    def revoked() -> bool:
        return all(status == "done" for status in world.statuses("revocations"))

    await world.until(revoked, "the revocation", 30)


TABLES = (
    "grants",
    "deferred_calls",
    "outgoing_messages",
    "authorization_requests",
    "cards",
    "authorization_attempts",
    "revocations",
    "events",
    "users",
    "audit_log",
)


async def test_on_postgresql_both_apps_run_at_once(world: World, other: World, postgresql_url: str):
    both = (world, other)
    for each in both:
        await each.start(BOT_DATABASE_URL=postgresql_url)
    await asyncio.gather(*(each.authorized(person) for each in both for person in (each.sam, each.ada)))
    waiting = {each: await each.say(each.wei, "/tasks") for each in both}
    cards = {each: await each.fresh_card(each.wei, waiting[each]) for each in both}
    for each in both:
        for person in (each.sam, each.ada):
            await each.control("tokens/expire", person=person.open_id, which="access")
    asked = {each: [await each.say(person, "/tasks") for person in (each.sam, each.ada)] for each in both}
    for each in both:
        for message in asked[each]:
            await each.answer_to(message)
        # Each grant was renewed once, at the platform that had given it.
        kinds = [request["grant_type"] for request in each.requests("oauth/token")]
        assert kinds.count("refresh_token") == 2
        await each.consent(each.wei, cards[each])
        await each.answer_to(waiting[each])
        granted = await rows(postgresql_url, "grants", each)
        assert [row["status"] for row in granted] == ["active"] * 3
        async with each.http.get(f"{each.public}/metrics") as response:
            assert 'bot_replicas{status="live"} 1.0' in await response.text()


async def test_an_operator_of_one_app_cannot_revoke_for_another(world: World, other: World):
    await world.start()
    await world.authorized(world.sam)
    assert await world.stop() == 0
    url = f"sqlite+aiosqlite:///{world.database}"
    before = await grants_of(url, world)
    code, _, err = await other.cli("revoke", world.sam.open_id)
    assert code == 1
    assert app_of(world) in err
    assert err.count("\n") == 1
    assert await grants_of(url, world) == before
    assert other.requests("/revoke") == []
    code, out, _ = await world.cli("revoke", world.sam.open_id)
    assert code == 0, out

"""A refresh token is money: it is spent once, by one, for what is written down; and it is asked for again only when it
is truly gone."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import make_url

from bot.core.oauth import TokenSet
from bot.core.people import UserKey
from bot.core.secrets import Secret
from bot.sandbox.lark.tenant import Person
from bot.sandbox.lark.tokens import issue
from bot.store import grants, users
from bot.store.keyring import Keyring
from bot.store.open_database import open_database
from bot.store.transaction import Connection
from tests.reused_databases import administer
from tests.store.examples import save_grant

from .card_content import has_link
from .replicas import Replicas
from .test_replicas import HELLO, refreshes
from .world import World

REFRESH = {"path": "/open-apis/authen/v2/oauth/token", "grant_type": "refresh_token"}


@pytest.fixture
async def replicas(world: World, postgresql_url: str) -> AsyncIterator[Replicas]:
    world.tenant.behaviour.redelivery_seconds = (0.2, 0.5, 1.0, 2.0, 5.0)
    async with Replicas(world, postgresql_url) as replicas:
        yield replicas


async def let_pass(replicas: Replicas, person: Person | None = None, **left: str) -> None:
    """Moves a person's grant (or everybody's) in time: `access_expires_at="2 minutes"` is two minutes from now."""
    moved = ", ".join(f"{column} = now() + interval '{offset}'" for column, offset in left.items())
    whose = f"%:{person.open_id}" if person else "%"
    await replicas.rows(f"UPDATE grants SET {moved} WHERE user_key LIKE :whose", whose=whose)


async def access_is_dead(replicas: Replicas, person: Person) -> None:
    await replicas.world.control("tokens/expire", person=person.open_id, which="access")
    await let_pass(replicas, person, access_expires_at="-1 second")


async def nearly_expired(replicas: Replicas, person: Person) -> None:
    """The access token works, and is due for renewal by the next call."""
    await let_pass(
        replicas, person, issued_at="-2 hours", access_expires_at="2 minutes", last_used_at="-2 hours"
    )


def cards(world: World, person: Person) -> int:
    return len([m for m in world.from_bot(world.direct(person)) if m.msg_type == "interactive"])


# --- the reply is lost ------------------------------------------------------------------------------------


async def test_after_an_uncertain_refresh_the_access_token_is_used_until_it_expires_and_then_the_person_is_asked(
    world: World, replicas: Replicas
):
    await replicas.start(1)
    await world.authorized(world.sam, HELLO)
    asked_before = cards(world, world.sam)
    await world.control("faults", match=REFRESH, times=1, kind="drop_after")
    await nearly_expired(replicas, world.sam)
    await world.answer_to(await world.say(world.sam, "/me"))
    assert refreshes(world) == 1
    assert await replicas.one("SELECT refresh_started_at FROM grants") is not None
    await asyncio.sleep(1.5)
    await world.answer_to(await world.say(world.sam, "/me"))  # tries once more, and learns that it is spent
    await world.answer_to(await world.say(world.sam, "/me"))
    assert refreshes(world) == 2
    assert await replicas.one("SELECT refresh_token FROM grants") is None
    assert cards(world, world.sam) == asked_before
    await access_is_dead(replicas, world.sam)
    asked = await world.say(world.sam, "/me")
    await world.consent(world.sam, await world.fresh_card(world.sam, asked))
    await world.answer_to(asked)
    assert refreshes(world) == 2


async def test_a_reply_that_is_lost_before_the_platform_acts_costs_nothing(world: World, replicas: Replicas):
    await replicas.start(1)
    await world.authorized(world.sam, HELLO)
    asked_before = cards(world, world.sam)
    await world.control("faults", match=REFRESH, times=2, kind="drop_before")
    await access_is_dead(replicas, world.sam)
    await world.answer_to(await world.say(world.sam, "/me"), patience=30)
    assert cards(world, world.sam) == asked_before


async def test_a_spent_token_is_no_reason_to_retry_when_the_platform_has_ended_the_access_token_too(
    world: World, replicas: Replicas
):
    world.tenant.behaviour.after_refresh = "dies"
    await replicas.start(1)
    await world.authorized(world.sam, HELLO)
    await world.control("faults", match=REFRESH, times=1, kind="drop_after")
    await nearly_expired(replicas, world.sam)
    asked = await world.say(world.sam, "/me")
    await world.consent(world.sam, await world.fresh_card(world.sam, asked))
    await world.answer_to(asked)


async def test_a_crash_between_the_platforms_answer_and_our_row_ends_in_one_question(
    world: World, replicas: Replicas
):
    (one,) = await replicas.start(1, lease=3)
    await world.authorized(world.sam, HELLO)
    asked_before = cards(world, world.sam)
    fault = await world.trouble(REFRESH, "delay_after", times=1, seconds=5)
    await access_is_dead(replicas, world.sam)
    asked = await world.say(world.sam, "/tasks")
    await world.struck(fault)
    await one.kill()
    replicas.proxy.ports.clear()
    await replicas.start(1, lease=3)
    card = await world.fresh_card(world.sam, asked)
    await world.consent(world.sam, card)
    await world.answer_to(asked)
    assert cards(world, world.sam) == asked_before + 1


# --- the database -----------------------------------------------------------------------------------------


async def test_what_cannot_be_written_down_is_not_spent(
    world: World, replicas: Replicas, postgresql_server: str, postgresql_url: str
):
    (one,) = await replicas.start(1)
    await world.authorized(world.sam, HELLO)
    database = make_url(postgresql_url).database

    async def writable(yes: bool) -> None:
        administer(
            postgresql_server,
            f"ALTER DATABASE {database} SET default_transaction_read_only = {'off' if yes else 'on'}",
        )
        administer(
            postgresql_server,
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'",
        )

    # Due at once: the renewal ahead of need would take it up within 5 seconds, perhaps before the database is read-only.
    one.freeze()
    await let_pass(replicas, world.sam, access_expires_at="2 minutes", last_used_at="-1 second")
    await writable(False)
    one.thaw()
    already = refreshes(world)
    await asyncio.sleep(12)
    assert refreshes(world) == already
    await writable(True)
    await world.until(lambda: refreshes(world) > already, "the refresh", 20)
    await world.answer_to(await world.say(world.sam, "/tasks"), patience=30)
    assert await replicas.one("SELECT status FROM grants") == "active"


async def test_a_database_that_is_away_when_the_tokens_come_is_waited_for(
    world: World, replicas: Replicas, postgresql_process: Any
):
    await replicas.start(1)
    await world.authorized(world.sam, HELLO)
    asked_before = cards(world, world.sam)
    fault = await world.trouble(REFRESH, "delay_after", times=1, seconds=2)
    await access_is_dead(replicas, world.sam)
    asked = await world.say(world.sam, "/tasks")
    await world.struck(fault)
    postgresql_process.stop()
    await asyncio.sleep(4)
    postgresql_process.ensure_postgres_running()
    await world.answer_to(asked, patience=40)
    assert refreshes(world) == 1
    assert cards(world, world.sam) == asked_before


# --- a newer grant ----------------------------------------------------------------------------------------


async def test_a_slow_refresh_does_not_replace_the_consent_that_came_meanwhile(
    world: World, replicas: Replicas
):
    await replicas.start(1)
    await world.authorized(world.sam, HELLO)
    wanted = await world.say(world.sam, "/agenda")
    card = await world.fresh_card(world.sam, wanted)
    consent = await world.open(card)
    before = set(world.tenant.credentials.access)
    fault = await world.trouble(REFRESH, "delay_after", times=1, seconds=9)
    await access_is_dead(replicas, world.sam)
    asked = await world.say(world.sam, "/tasks")
    await world.struck(fault)
    await world.until(lambda: set(world.tenant.credentials.access) - before, "the refreshed token")
    (refreshed,) = set(world.tenant.credentials.access) - before
    await world.get(await world.decide(consent, world.sam))
    await world.lift()
    await world.answer_to(asked)
    await world.answer_to(wanted)
    assert await replicas.one("SELECT generation FROM grants") == 2
    world.tenant.credentials.access[refreshed].revoked = True
    await world.answer_to(await world.say(world.sam, "/me"))
    assert refreshes(world) == 1


# --- what the platform says -------------------------------------------------------------------------------


@pytest.mark.parametrize("generation", ["v1", "v2", "v3"])
async def test_each_generation_refreshes_and_asks_again_when_the_refresh_token_is_over(
    world: World, generation: str
):
    await world.start(LARK_OAUTH=generation)
    await world.authorized(world.sam, HELLO)
    asked_before = cards(world, world.sam)
    await world.control("tokens/expire", person=world.sam.open_id, which="access")
    await world.answer_to(await world.say(world.sam, "/tasks"))
    assert cards(world, world.sam) == asked_before
    assert world.rows("SELECT generation, refresh_failures FROM grants") == [
        {"generation": 2, "refresh_failures": 0}
    ]
    await world.control("tokens/expire", person=world.sam.open_id, which="both")
    asked = await world.say(world.sam, "/tasks")
    await world.consent(world.sam, await world.fresh_card(world.sam, asked))
    await world.answer_to(asked)


async def test_an_answer_without_scope_and_refresh_token_is_used_for_what_it_is(
    world: World, replicas: Replicas
):
    await replicas.start(1)
    await world.authorized(world.sam, HELLO)
    asked_before = cards(world, world.sam)
    await world.control("tokens/expire", person=world.sam.open_id, which="access")
    scopes = frozenset(world.sam.granted)
    whole = issue(
        world.tenant, world.sam, scopes, authorized_at=time.time(), generation="v2", event="refreshed"
    )
    bare = {"code": 0, "token_type": "Bearer", "access_token": whole["access_token"], "expires_in": 7200}
    await world.control("faults", match=REFRESH, times=1, kind="status", status=200, body=bare)
    await let_pass(replicas, world.sam, access_expires_at="-1 second")
    await world.answer_to(await world.say(world.sam, "/tasks"))
    await world.answer_to(await world.say(world.sam, "/task more"))
    assert cards(world, world.sam) == asked_before
    await access_is_dead(replicas, world.sam)
    asked = await world.say(world.sam, "/tasks")
    await world.consent(world.sam, await world.fresh_card(world.sam, asked))
    await world.answer_to(asked)
    assert refreshes(world) == 0  # with nothing left to spend


# --- ahead of need ----------------------------------------------------------------------------------------


async def test_what_is_in_use_is_renewed_ahead_of_need_and_what_is_not_is_left_to_expire(
    world: World, replicas: Replicas
):
    await replicas.start(2)
    for person in (world.sam, world.ada, world.wei):
        await world.authorized(person, HELLO)
    await let_pass(
        replicas, world.sam,
        access_expires_at="-5 days", refresh_expires_at="20 hours", last_used_at="-5 days",
    )  # fmt: skip
    await let_pass(
        replicas, world.ada,
        access_expires_at="-15 days", refresh_expires_at="20 hours", last_used_at="-15 days",
    )  # fmt: skip
    await let_pass(replicas, world.wei, access_expires_at="3 minutes", last_used_at="-10 minutes")
    await world.until(lambda: refreshes(world) >= 2, "both renewals", 20)
    await asyncio.sleep(11)  # two more rounds of each replica
    assert refreshes(world) == 2
    renewed = await replicas.rows("SELECT user_key FROM grants WHERE generation = 2 ORDER BY user_key")
    assert {row["user_key"].rsplit(":")[-1] for row in renewed} == {world.sam.open_id, world.wei.open_id}


@pytest.mark.slow
async def test_an_outage_is_asked_less_and_less_often(world: World, replicas: Replicas):
    await replicas.start(1)
    await world.authorized(world.sam, HELLO)
    fault = await world.trouble(REFRESH, "status", status=503, body={"code": 20072})
    await let_pass(replicas, world.sam, access_expires_at="3 minutes", last_used_at="-1 minute")
    await world.until(lambda: fault.struck >= 4, "four failures", 60)
    async with asyncio.timeout(5):
        while await replicas.one("SELECT refresh_failures FROM grants") < fault.struck:
            await asyncio.sleep(0.05)
    assert await replicas.one("SELECT refresh_after > now() + interval '1 second' FROM grants")
    await world.lift()
    await world.until(lambda: refreshes(world), "the renewal", 30)
    async with asyncio.timeout(5):
        while await replicas.one("SELECT refresh_failures FROM grants"):
            await asyncio.sleep(0.05)


@pytest.mark.slow
async def test_a_thousand_grants_that_fall_due_at_once_do_not_stampede(world: World, replicas: Replicas):
    database = await open_database(replicas.url, Keyring([world.key]))
    sam, app = world.sam, world.tenant.app
    sam.granted |= {"task:task:read", "offline_access"}
    moment = datetime.now(UTC)

    def grant_all(c: Connection) -> None:
        for number in range(1000):
            given = issue(
                world.tenant, sam, frozenset(sam.granted), authorized_at=time.time(), generation="v2",
                event="issued",
            )  # fmt: skip
            user = UserKey("lark", app.app_id, app.tenant_key, f"ou_{number:04}")
            users.seen(c, user, language="en", union_id=None, now=moment)
            tokens = TokenSet(
                Secret(given["access_token"]), 120, Secret(given["refresh_token"]), 600_000, None
            )
            save_grant(c, user, tokens, scopes=frozenset({"task:task:read"}), now=moment)
            grants.touch(c, user, moment)

    await database.write(grant_all)
    await database.close()
    await replicas.start(3)
    begun = time.monotonic()
    seconds: Counter[int] = Counter()
    seen = before = refreshes(world)
    while time.monotonic() - begun < 20:
        seconds[int(time.monotonic() - begun)] += refreshes(world) - seen
        seen = refreshes(world)
        await asyncio.sleep(0.05)
    assert seen - before >= 20, "nothing is renewed"
    assert max(seconds.values()) <= 20  # of the 50 a second that the endpoint takes
    assert seen - before <= 3 * 5 * 6
    assert await replicas.one("SELECT count(*) FROM grants WHERE refresh_failures > 0 OR generation > 2") == 0
    asked = await world.say(world.ada, "/tasks")
    await world.until(
        lambda: [m for m in world.from_bot(world.direct(world.ada), asked) if has_link(m)], "a card"
    )

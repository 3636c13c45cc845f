"""In which time zone a person is answered: where it is learned from, and that it counts as soon as it is known."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from bot.sandbox.lark.tenant import Message, Person, ScopeSwitch

from .card_content import text_of
from .test_sign_in import Browser
from .world import World

NOON = datetime.now(UTC).replace(hour=12, minute=34, second=0, microsecond=0)
"""An hour and a minute that show in which zone it is written."""


def give_task(world: World, person: Person) -> None:
    """A task that is due today at 12:34 UTC."""
    due = {"timestamp": str(int(NOON.timestamp() * 1000)), "is_all_day": False}
    for task in world.tenant.work.tasks:
        task["due"] = due


def local(zone: str) -> str:
    return f"{NOON.astimezone(ZoneInfo(zone)):%H:%M}"


async def shown(world: World, person: Person) -> str:
    asked = await world.say(person, "/tasks")
    return text_of((await world.answer_to(asked)).content)


def known(world: World) -> list[str | None]:
    return [row["time_zone"] for row in world.rows("SELECT time_zone FROM users WHERE time_zone IS NOT NULL")]


async def consented(world: World, person: Person, command: str = "/tasks") -> Message:
    asked = await world.say(person, command)
    await world.consent(person, await world.fresh_card(person, asked))
    return await world.answer_to(asked)


@pytest.mark.parametrize("zone", ["Asia/Shanghai", "America/New_York", "Asia/Kolkata"])
async def test_the_fallback_is_what_the_operator_says(world: World, zone: str):
    give_task(world, world.sam)
    await world.start(BOT_TIME_ZONE=zone)
    answer = text_of((await consented(world, world.sam)).content)
    assert local(zone) in answer
    assert f"Times in {zone}" in answer
    assert "UTC" not in answer


async def test_without_it_times_are_in_utc_and_say_so(world: World):
    give_task(world, world.sam)
    await world.start()
    answer = text_of((await consented(world, world.sam)).content)
    assert "12:34" in answer
    assert "UTC" in answer


@pytest.mark.parametrize("name", ["Ada Meyer", "Sam Rivera", "Wei Lan"])
async def test_the_calendar_tells_it(world: World, name: str):
    person = world.wei if name == "Wei Lan" else world.person(name)
    give_task(world, person)
    await world.start(BOT_TIME_ZONE="Pacific/Kiritimati")
    await consented(world, person, "/agenda")
    await world.until(lambda: known(world) == [person.timezone], "the zone of the calendar")
    answer = text_of((await consented(world, person)).content)
    assert local(person.timezone) in answer
    assert "Kiritimati" not in answer


async def test_what_the_client_tells_counts_for_more_than_the_calendar(world: World):
    await world.start()
    first = await world.fresh_card(world.sam, await world.say(world.sam, "/tasks"))
    world.sam.timezone = "Asia/Tokyo"
    await world.click(world.sam, first, "not_now")
    assert known(world) == ["Asia/Tokyo"]
    await consented(world, world.sam, "/agenda")
    assert known(world) == ["Asia/Tokyo"]
    world.sam.timezone = "Asia/Seoul"
    second = await world.fresh_card(world.sam, await world.say(world.sam, "/tasks"))
    await world.click(world.sam, second, "not_now")
    assert known(world) == ["Asia/Seoul"]


@pytest.mark.parametrize("zone", ["Nowhere/At_All", "Asia", "UTC+8"])
async def test_a_zone_that_does_not_exist_is_not_believed(world: World, zone: str):
    await world.start()
    card = await world.fresh_card(world.sam, await world.say(world.sam, "/tasks"))
    world.sam.timezone = zone
    await world.click(world.sam, card, "not_now")
    assert known(world) == []


@pytest.mark.parametrize("zone", ["Asia/Shanghai", "America/Bogota", "Africa/Cairo"])
async def test_what_is_known_when_the_call_runs_counts(world: World, zone: str):
    """It was asked before anybody knew the zone, and waited for a consent."""
    give_task(world, world.sam)
    await world.start()
    asked = await world.say(world.sam, "/tasks")
    card = await world.fresh_card(world.sam, asked)
    world.change(f"UPDATE users SET time_zone = '{zone}'")
    await world.consent(world.sam, card)
    assert local(zone) in text_of((await world.answer_to(asked)).content)
    call = world.only("deferred_calls")
    assert call["time_zone"] == zone


async def test_the_profile_tells_it_where_the_app_may_read_it(world: World):
    give_task(world, world.wei)
    for scope in ("contact:contact.base:readonly", "contact:user.employee:readonly"):
        world.tenant.app.scopes[scope] = ScopeSwitch(tenant=True)
    await world.start()
    asked = await world.say(world.wei, "/tasks")
    card = await world.fresh_card(world.wei, asked)
    await world.until(lambda: known(world) == [world.wei.timezone], "the zone of the profile")
    await world.consent(world.wei, card)
    assert local(world.wei.timezone) in text_of((await world.answer_to(asked)).content)


async def test_the_profile_is_left_alone_where_the_app_may_not_read_it(world: World):
    await world.start()
    await consented(world, world.sam)
    assert world.requests("/contact/v3/users") == []


async def test_a_cards_time_is_a_moment_and_no_words(world: World):
    await world.start(BOT_TIME_ZONE="Asia/Shanghai")
    card = await world.fresh_card(world.sam, await world.say(world.sam, "/tasks"))
    request = world.only("authorization_requests")
    until = datetime.fromisoformat(request["expires_at"]).replace(tzinfo=UTC)
    assert f"millisecond='{int(until.timestamp() * 1000)}'" in text_of(card.content)
    assert until.timestamp() > time.time()
    assert "UTC" not in text_of(card.content)


async def test_my_permissions_is_in_the_operators_zone_while_no_other_is_known(world: World):
    await world.start(BOT_TIME_ZONE="Asia/Shanghai")
    await consented(world, world.sam)
    browser = Browser(world)
    try:
        await browser.sign_in(world.sam)
        assert "Asia/Shanghai" in await browser.permissions()
    finally:
        await browser.http.close()

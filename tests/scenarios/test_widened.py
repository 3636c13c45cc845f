"""Scopes that a person granted by another person's link: the bot neither takes nor uses them."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import urlencode

import pytest

from bot.sandbox.lark.tenant import Person

from .card_content import text_of
from .test_device import Room
from .world import World

TASKS, AGENDA = "task:task:read", "calendar:calendar:readonly"
WIDE = ["task:task:write", "docx:document:readonly", "wiki:wiki:readonly"]
ADDED = {"auth:user.id:read", "user_profile"}
OFFLINE = "offline_access"


async def widened(world: World, person: Person, scopes: list[str]) -> None:
    """The person follows a stranger's link and consents to all that it names."""
    query = {
        "response_type": "code",
        "client_id": world.tenant.app.app_id,
        "redirect_uri": f"{world.public}/oauth/lark/callback",
        "scope": " ".join([*scopes, OFFLINE]),
        "state": "of-the-stranger",
    }
    _, target, _ = await world.get(f"{world.origin}/open-apis/authen/v1/authorize?{urlencode(query)}")
    await world.get(await world.decide(target.split("id=")[1], person))
    assert person.granted >= set(scopes)


def held(world: World) -> set[str]:
    """What the bot has noted that it holds, without what the platform adds by itself."""
    grant = world.only("grants")
    return set(json.loads(grant["scopes"])) - ADDED


def newest_token(world: World) -> set[str]:
    """What the last token that was given out can do."""
    return set(list(world.tenant.credentials.access.values())[-1].scopes) - ADDED


async def renewed(world: World, command: str = "/tasks") -> None:
    """The access token has expired, and the next command has it renewed."""
    await world.control("tokens/expire", person=world.sam.open_id, which="access")
    await world.answer_to(await world.say(world.sam, command))


@pytest.mark.parametrize("generation", ["v1", "v2", "v3"])
async def test_what_a_strangers_link_brought_is_not_taken_by_the_next_exchange_or_refresh(
    world: World, generation: str
):
    await world.start(LARK_OAUTH=generation)
    await world.control("behaviour", refresh_gives="all that was granted")
    # A v1 token does whatever the person ever granted: it can only be noted for less.
    await widened(world, world.sam, WIDE if generation == "v1" else [*WIDE, AGENDA])
    asked = await world.authorized(world.sam)
    assert held(world) == {TASKS, OFFLINE}
    await widened(world, world.sam, ["task:task:write", "drive:drive:readonly"])
    await world.authorized(world.sam, "/agenda")
    assert held(world) == {TASKS, AGENDA, OFFLINE}
    await renewed(world)
    assert held(world) == {TASKS, AGENDA, OFFLINE}
    if generation != "v1":
        assert newest_token(world) == {TASKS, AGENDA, OFFLINE}
    ever = world.only("grants")
    assert set(json.loads(ever["scopes_ever"])) - ADDED == {TASKS, AGENDA, OFFLINE}
    said = [text_of(each.content) for each in world.from_bot(world.direct(world.sam), asked)]
    assert not any("no longer" in each for each in said), said


async def test_what_a_strangers_link_brought_is_not_taken_by_device_flow_either(world: World):
    room = Room(world)
    await room.start()
    world.sam.granted |= {*WIDE, AGENDA, OFFLINE}
    asked, card = await room.asked(world.sam, "/tasks")
    await room.press(world.sam, card)
    await room.decide(await room.link(card), world.sam)
    await world.answer_to(asked)
    assert held(world) == newest_token(world) == {TASKS, OFFLINE}


async def test_scopes_that_came_along_before_are_dropped_silently(world: World):
    """As an earlier release stored it."""
    await world.start()
    asked = await world.authorized(world.sam)
    world.sam.granted |= {AGENDA}
    tokens = world.tenant.credentials
    refresh = list(tokens.refresh.values())[-1]
    refresh.scopes |= {AGENDA}
    wide = json.dumps(sorted({TASKS, AGENDA, OFFLINE}))
    world.change(f"UPDATE grants SET scopes = '{wide}', scopes_ever = '{wide}'")
    world.change(
        "INSERT INTO granted_scopes (user_key, scope, asked_by, granted_at) "
        f"SELECT user_key, '{AGENDA}', '[]', authorized_at FROM grants"
    )
    await renewed(world)
    assert held(world) == newest_token(world) == {TASKS, OFFLINE}
    ever = world.only("grants")
    assert AGENDA not in json.loads(ever["scopes_ever"])
    # The next one who needs it is asked, as for the first time.
    await world.authorized(world.sam, "/agenda")
    said = [text_of(each.content) for each in world.from_bot(world.direct(world.sam), asked)]
    assert not any("no longer" in each for each in said), said


@pytest.mark.parametrize("came_along", [{AGENDA}, {"wiki:wiki:readonly"}, {AGENDA, "task:task:write"}])
async def test_an_answer_without_scopes_keeps_nothing_that_came_along(world: World, came_along: set[str]):
    """The exchange named what was asked for and is held, so that is what the token has."""
    await world.start()
    await world.authorized(world.sam)
    wide = json.dumps(sorted({TASKS, OFFLINE, *came_along}))
    world.change(f"UPDATE grants SET scopes = '{wide}', scopes_ever = '{wide}'")
    for scope in came_along:
        world.change(
            "INSERT INTO granted_scopes (user_key, scope, asked_by, granted_at) "
            f"SELECT user_key, '{scope}', '[]', authorized_at FROM grants"
        )
    await world.control("behaviour", token_answers_name_scopes=False)
    asked = await world.say(world.sam, "/authorize docx:document:readonly")
    await world.consent(world.sam, await world.fresh_card(world.sam, asked))
    await world.answer_to(asked)
    assert held(world) == newest_token(world) == {TASKS, "docx:document:readonly", OFFLINE}


async def test_the_narrowing_of_a_second_exchange_has_a_lease_of_its_own(world: World):
    """Each step may take nearly as long as a lease, and a worker that took the attempt over would use up the code."""
    await world.start()
    await world.control("behaviour", refused_scopes_spend=True)
    await world.authorized(world.sam)
    await widened(world, world.sam, ["docx:document:readonly"])
    asked = await world.say(world.sam, "/authorize task:task:write calendar:calendar:readonly")
    card = await world.fresh_card(world.sam, asked)
    back = await world.decide(await world.open(card), world.sam, scopes=[AGENDA, OFFLINE])
    assert (await world.get(back))[0] == 400
    identifying = await world.trouble({"path": "/open-apis/authen/v1/user_info"}, "delay", seconds=30)
    narrowing = await world.trouble({"grant_type": "refresh_token"}, "delay", seconds=30)
    back = await world.decide(await world.open(card), world.sam, scopes=[AGENDA, OFFLINE])
    coming_back = asyncio.create_task(world.get(back))
    leases = []
    for trouble in (identifying, narrowing):
        await world.struck(trouble)
        leases += world.rows("SELECT lease_until FROM authorization_attempts WHERE status = 'redeeming'")
        await world.lift(trouble)
    status, _, page = await coming_back
    assert (status, "Partly authorized" in page) == (200, True)
    assert leases[1]["lease_until"] > leases[0]["lease_until"]
    assert held(world) == newest_token(world) == {TASKS, AGENDA, OFFLINE}


@pytest.mark.parametrize("spends", [False, True])
@pytest.mark.parametrize("generation", ["v2", "v3"])
async def test_allowing_a_part_grants_that_part_at_the_second_try_at_the_latest(
    world: World, generation: str, spends: bool
):
    await world.start(LARK_OAUTH=generation)
    await world.control("behaviour", refused_scopes_spend=spends)
    await widened(world, world.sam, ["docx:document:readonly"])
    await world.authorized(world.sam)
    asked = await world.say(world.sam, "/authorize task:task:write calendar:calendar:readonly")
    card = await world.fresh_card(world.sam, asked)
    pages = []
    for _ in range(2 if spends else 1):
        back = await world.decide(await world.open(card), world.sam, scopes=[AGENDA, OFFLINE])
        pages.append(await world.get(back))
    if spends:
        assert pages[0][0] == 400
        assert held(world) >= {TASKS, OFFLINE}
        (first,) = world.rows("SELECT 1 FROM authorization_attempts WHERE outcome = 'scopes_refused'")
        assert first
    assert (pages[-1][0], "Partly authorized" in pages[-1][2]) == (200, True)
    assert held(world) == newest_token(world) == {TASKS, AGENDA, OFFLINE}


@pytest.mark.parametrize("spends", [False, True])
async def test_a_platform_that_has_forgotten_what_it_gave_lets_the_person_through(world: World, spends: bool):
    await world.start()
    await world.control("behaviour", refused_scopes_spend=spends)
    await world.authorized(world.sam)
    await world.control("grants", person=world.sam.open_id, scopes=[])
    asked = await world.say(world.sam, "/agenda")
    card = await world.fresh_card(world.sam, asked)
    pages = [(await world.consent(world.sam, card))[0] for _ in range(2 if spends else 1)]
    assert pages == ([400, 200] if spends else [200])
    await world.answer_to(asked)
    assert held(world) == {AGENDA, OFFLINE}
    await world.until(
        lambda: [m for m in world.from_bot(world.direct(world.sam), asked) if TASKS in text_of(m.content)],
        "a word about what was lost",
    )


async def test_a_grant_that_ended_by_itself_comes_back_with_one_consent(world: World):
    await world.start()
    await world.authorized(world.sam)
    await world.authorized(world.sam, "/agenda")
    await widened(world, world.sam, ["docx:document:readonly"])
    await world.control("tokens/expire", person=world.sam.open_id, which="both")
    await world.authorized(world.sam)
    await world.answer_to(await world.say(world.sam, "/agenda"))
    assert held(world) == newest_token(world) == {TASKS, AGENDA, OFFLINE}


async def disabled(world: World, scope: str) -> None:
    await world.control("app-scopes", scope=scope, user=False)


async def test_a_refresh_that_names_a_scope_too_many_loses_nothing_else(world: World):
    await world.start()
    await world.authorized(world.sam)
    await world.authorized(world.sam, "/agenda")
    await disabled(world, AGENDA)
    await renewed(world)
    assert held(world) == newest_token(world) == {TASKS, OFFLINE}
    await renewed(world)
    assert world.statuses("grants") == ["active"]
    assert world.count("audit_log", action="grant_ended") == 0


async def test_where_that_spends_the_refresh_token_the_access_token_is_used_while_it_lives(world: World):
    await world.start()
    await world.control("behaviour", refused_scopes_spend=True)
    await world.authorized(world.sam)
    await world.authorized(world.sam, "/agenda")
    await disabled(world, AGENDA)
    due = "datetime('now', '+4 minutes') || '.000000'"
    world.change(f"UPDATE grants SET issued_at = '2026-01-01 00:00:00.000000', access_expires_at = {due}")
    await world.answer_to(await world.say(world.sam, "/tasks"))
    assert {each["code"] for each in world.requests("/authen/v2/oauth/token") if each["code"]} == {
        20068,
        20073,
    }
    await world.answer_to(await world.say(world.sam, "/tasks"))
    assert world.statuses("grants") == ["active"]


async def test_a_token_that_cannot_be_narrowed_is_used_for_what_was_asked(world: World):
    """Without `offline_access` there is nothing to renew it with."""
    await world.start()
    await disabled(world, OFFLINE)
    await world.authorized(world.sam)
    world.sam.granted |= {"docx:document:readonly"}
    asked = await world.say(world.sam, "/authorize task:task:write calendar:calendar:readonly")
    card = await world.fresh_card(world.sam, asked)
    back = await world.decide(await world.open(card), world.sam, scopes=[AGENDA])
    assert (await world.get(back))[0] == 200
    assert held(world) == {TASKS, AGENDA}
    # The token can do more, which shows nowhere; a command that needs that asks for it.
    assert "docx:document:readonly" in newest_token(world)

"""A platform whose tokens have only what the last link asked for: its grants do not accumulate, as documented."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from urllib.parse import parse_qs, urlsplit

import pytest

from bot.sandbox.lark.scopes import SCOPES
from bot.sandbox.lark.tenant import Message, ScopeSwitch
from bot.store import sealed
from bot.store.keyring import Keyring

from .card_content import has_link, text_of
from .test_device import Room
from .test_widened import OFFLINE, disabled, held, renewed
from .world import World

TASKS, TASK_WRITE = "task:task:read", "task:task:write"
AGENDA, DOC, SEARCH = "calendar:calendar:readonly", "docx:document:readonly", "search:docs:read"


async def narrowing(world: World) -> None:
    await world.control("behaviour", codes_give="what the link asked for")


def consents(world: World) -> int:
    """How often a person has consented so far."""
    changes = [change.data for change in world.tenant.feed.changes_after(0, "consent")]
    return sum(each["event"] == "allowed" for each in changes)


async def asked_by_link(world: World, card: Message) -> set[str]:
    """What the card's link asks the platform for."""
    _, target, _ = await world.get(world.link_of(card))
    return set(parse_qs(urlsplit(target).query)["scope"][0].split())


async def answered_at_once(world: World, *commands: str) -> None:
    """Each is answered, and nobody is asked for anything."""
    before = consents(world)
    for command in commands:
        asked = await world.say(world.sam, command)
        await world.answer_to(asked)
        assert not any(map(has_link, world.from_bot(world.direct(world.sam), asked)))
    assert consents(world) == before


async def once_more(world: World, command: str) -> set[str]:
    """One more consent for a command that was authorized before; returns what its link asked for."""
    asked = await world.say(world.sam, command)
    card = await world.fresh_card(world.sam, asked)
    scopes = await asked_by_link(world, card)
    await world.consent(world.sam, card)
    await world.answer_to(asked)
    return scopes


@pytest.mark.parametrize(
    "commands",
    [
        ("/tasks", "/agenda"),
        ("/task Buy milk", "/doc welcome"),
        ("/search welcome", "/tasks", "/agenda"),
        ("/authorize docx:document:readonly", "/search welcome", "/task Book a room", "/agenda"),
    ],
)
async def test_after_one_more_consent_all_commands_work(world: World, commands: tuple[str, ...]):
    await world.start()
    await narrowing(world)
    for command in commands:
        await world.authorized(world.sam, command)
    await once_more(world, commands[0])
    await answered_at_once(world, *commands, *reversed(commands))


@pytest.mark.parametrize("generation", ["v1", "v3"])
async def test_after_one_more_consent_all_commands_work_in_every_generation(world: World, generation: str):
    await world.start(LARK_OAUTH=generation)
    await narrowing(world)
    await world.authorized(world.sam, "/tasks")
    await world.authorized(world.sam, "/agenda")
    assert await once_more(world, "/tasks") == {TASKS, AGENDA, OFFLINE}
    await answered_at_once(world, "/agenda", "/tasks")


async def test_after_one_more_consent_all_commands_work_by_device_flow(world: World):
    room = Room(world)
    await room.start()
    await narrowing(world)
    for command in ("/tasks", "/agenda", "/tasks"):
        asked, card = await room.asked(world.sam, command)
        await room.press(world.sam, card)
        await room.decide(await room.link(card), world.sam)
        await world.answer_to(asked)
    await answered_at_once(world, "/agenda", "/tasks")


@pytest.mark.parametrize("first", ["/tasks", "/doc welcome", "/search welcome"])
async def test_a_refresh_that_narrows_costs_one_consent_for_everything(world: World, first: str):
    await world.start()
    await world.authorized(world.sam, first)
    await world.authorized(world.sam, "/agenda")
    await world.control("behaviour", refresh_gives="what the last link asked for")
    await renewed(world, "/agenda")
    assert held(world) == {AGENDA, OFFLINE}
    asked = await once_more(world, first)
    assert asked > {AGENDA, OFFLINE}
    await answered_at_once(world, first, "/agenda")
    await renewed(world, "/agenda")
    await answered_at_once(world, first, "/agenda")


def let_have_granted(world: World, scopes: Iterable[str]) -> None:
    """All this was ever granted, as the bot would have it written."""
    grant = world.only("grants")
    ever = frozenset(scopes)
    values = {
        "user_key": grant["user_key"],
        "scopes": frozenset(json.loads(grant["scopes"])),
        "scopes_ever": ever,
    }
    proof = sealed.MEMORY.seal(Keyring([world.key]), values)
    world.change(f"UPDATE grants SET scopes_ever = '{json.dumps(sorted(ever))}', memory_seal = '{proof}'")


def remember(world: World, *scopes: str, asked_by: str) -> None:
    """These were granted once, and are not held any more."""
    grant = world.only("grants")
    let_have_granted(world, {*json.loads(grant["scopes_ever"]), *scopes})
    for scope in scopes:
        world.change(
            "INSERT INTO granted_scopes (user_key, scope, asked_by, granted_at) "
            f"SELECT user_key, '{scope}', '{asked_by}', authorized_at FROM grants"
        )


async def test_what_the_app_has_not_enabled_is_not_asked_for_again(world: World):
    await world.start()
    await narrowing(world)
    await disabled(world, SEARCH)
    await world.authorized(world.sam, "/tasks")
    await world.authorized(world.sam, "/agenda")
    remember(world, SEARCH, DOC, asked_by='["search", "doc"]')
    assert await once_more(world, "/tasks") == {TASKS, AGENDA, DOC, OFFLINE}


async def test_a_scope_that_the_app_loses_before_the_link_is_opened_is_not_asked_for(world: World):
    await world.start()
    await narrowing(world)
    await world.authorized(world.sam, "/tasks")
    await world.authorized(world.sam, "/agenda")
    remember(world, SEARCH, DOC, asked_by='["search", "doc"]')
    asked = await world.say(world.sam, "/tasks")
    card = await world.fresh_card(world.sam, asked)
    await disabled(world, SEARCH)
    deadline = asyncio.get_running_loop().time() + 10
    while SEARCH in (scopes := await asked_by_link(world, card)):
        # The list that an earlier opening has read serves others for some seconds.
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.5)
    assert scopes == {TASKS, AGENDA, DOC, OFFLINE}
    await world.consent(world.sam, card)
    await world.answer_to(asked)
    await answered_at_once(world, "/agenda", "/doc welcome", "/tasks")


@pytest.mark.parametrize("command", ["/tasks", "/authorize task:task:read"])
async def test_while_the_apps_list_is_unreadable_what_commands_asked_for_is(world: World, command: str):
    """Other scopes of a token may not be enabled, and would end on an error page."""
    await world.trouble({"path": "/open-apis/application/v6"}, "status", status=500)
    await world.start()
    await narrowing(world)
    await world.authorized(world.sam, command)
    await world.authorized(world.sam, "/agenda")
    let_have_granted(world, {TASKS, AGENDA, DOC, "auth:user.id:read", OFFLINE})
    assert await once_more(world, command) == {TASKS, AGENDA, OFFLINE}


async def test_what_was_given_back_or_revoked_is_not_asked_for_again(world: World):
    await world.start()
    await narrowing(world)
    await world.authorized(world.sam, "/doc welcome")
    await world.answer_to(await world.say(world.sam, "/revoke"))
    await world.authorized(world.sam, "/tasks")
    await world.authorized(world.sam, "/agenda")
    assert await once_more(world, "/tasks") == {TASKS, AGENDA, OFFLINE}


async def test_what_came_along_unasked_is_not_asked_for_again(world: World):
    await world.start()
    await narrowing(world)
    await world.authorized(world.sam, "/tasks")
    await world.authorized(world.sam, "/agenda")
    remember(world, DOC, asked_by="[]")
    assert await once_more(world, "/tasks") == {TASKS, AGENDA, OFFLINE}


async def test_a_scope_that_was_granted_is_not_replaced_by_another_that_would_do(world: World):
    """`/tasks` prefers to read, but reading comes with what `/task` was granted."""
    await world.start()
    await narrowing(world)
    await world.authorized(world.sam, "/task Buy milk")
    await world.authorized(world.sam, "/agenda")
    assert await once_more(world, "/tasks") == {TASK_WRITE, AGENDA, OFFLINE}
    await answered_at_once(world, "/task Buy bread", "/agenda", "/tasks")


async def test_no_link_asks_for_more_than_the_platform_takes(world: World):
    """Of more than fit, those that were used last: a second link would lose what the first has brought."""
    many = [scope for scope, about in SCOPES.items() if about.user][:60]
    for scope in many:
        world.tenant.app.scopes.setdefault(scope, ScopeSwitch()).user = True
    await world.start()
    await narrowing(world)
    await world.authorized(world.sam, "/tasks")
    await world.authorized(world.sam, "/agenda")
    let_have_granted(world, {*many, TASKS, AGENDA, OFFLINE})
    asked = await once_more(world, "/tasks")
    assert len(asked) == 50
    assert {TASKS, AGENDA, OFFLINE} <= asked
    await answered_at_once(world, "/tasks", "/agenda")


async def test_a_platform_whose_grants_accumulate_is_asked_for_what_is_missing_alone(world: World):
    await world.start()
    await world.authorized(world.sam, "/tasks")
    asked = await world.say(world.sam, "/agenda")
    card = await world.fresh_card(world.sam, asked)
    assert await asked_by_link(world, card) == {AGENDA, OFFLINE}
    assert "task:task:read" not in text_of(card.content)

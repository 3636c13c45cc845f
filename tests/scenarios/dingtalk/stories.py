"""What is told on DingTalk while the bot dies."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

from bot.core.words import cards as card_words
from bot.sandbox.dingtalk.sample_tenant import TEMPLATE_ID
from tests.scenarios.card_content import text_of
from tests.scenarios.crash_world import CANCELLED, PERHAPS, SUCCEEDED
from tests.scenarios.dingtalk.crash_world import DingTalkCrashWorld

STORIES: dict[str, Callable[[DingTalkCrashWorld], Awaitable[None]]] = {}


def story(
    tell: Callable[[DingTalkCrashWorld], Awaitable[None]],
) -> Callable[[DingTalkCrashWorld], Awaitable[None]]:
    STORIES[tell.__name__] = tell
    return tell


def task(world: DingTalkCrashWorld, title: str, person: Any = None) -> str:
    """A write without an idempotency key."""
    union_id = (person or world.world.sam).union_id
    return f'/call POST /v1.0/todo/users/me/personalTasks {{"subject": "{title}", "executorIds": ["{union_id}"]}}'


@story
async def first_contact(world: DingTalkCrashWorld) -> None:
    await world.ask(world.sam, "/task first")
    await world.ask(world.sam, "/task second")
    await world.ask(world.sam, "/me")


@story
async def widened(world: DingTalkCrashWorld) -> None:
    """A second command joins the card that is open, and a third needs what no consent has brought."""
    first = await world.say(world.sam, "/tasks")
    await world.until(lambda: world.is_asked(world.sam), "the card")
    second = await world.say(world.sam, "/task third")
    for message in (first, second):
        await world.see_to(message, world.sam, by="client")
    await world.see_to(await world.say(world.sam, "/agenda week"), world.sam, by="client")


@story
async def any_api(world: DingTalkCrashWorld) -> None:
    await world.ask(world.sam, task(world, "fourth"), ends=PERHAPS)
    await world.ask(world.sam, task(world, "fifth"), ends=PERHAPS)


@story
async def in_a_group(world: DingTalkCrashWorld) -> None:
    group = world.world.group
    await world.ask(world.sam, "/task sixth", group)
    await world.ask(world.sam, "/me", group)


@story
async def revoked(world: DingTalkCrashWorld) -> None:
    await world.ask(world.sam, "/task seventh")
    await world.ask(world.sam, "/revoke")
    await world.ask(world.sam, "/task eighth")


@story
async def refused(world: DingTalkCrashWorld) -> None:
    message = await world.say(world.sam, "/task ninth", ends=CANCELLED)
    await world.refuse(message, world.sam)
    await world.ask(world.sam, "/task tenth")


@story
async def refused_on_an_interactive_card(world: DingTalkCrashWorld) -> None:
    await refused(world)


@story
async def refreshed(world: DingTalkCrashWorld) -> None:
    await world.ask(world.sam, "/task eleventh")
    for title in ("twelfth", "thirteenth"):
        await world.world.control("tokens/expire", person=world.sam.user_id, which="access")
        await world.ask(world.sam, f"/task {title}")


@story
async def expired(world: DingTalkCrashWorld) -> None:
    message = await world.say(world.sam, "/task fourteenth", ends=frozenset({"expired"}))
    await world.until(lambda: world.answered(message), "the word that it expired")


@story
async def inside_the_client(world: DingTalkCrashWorld) -> None:
    message = await world.say(world.sam, "/task fifteenth")
    await world.see_to(message, world.sam, by="client")


@story
async def on_interactive_cards(world: DingTalkCrashWorld) -> None:
    await world.see_to(await world.say(world.sam, "/task sixteenth"), world.sam, by="client")
    await world.ask(world.sam, "/tasks")


@story
async def a_stumbling_platform(world: DingTalkCrashWorld) -> None:
    await world.ask(world.sam, "/task seventeenth")
    path = "/v1.0/todo"
    await world.world.control("faults", match={"path": path}, kind="drop_after", times=1)
    await world.ask(world.sam, "/task eighteenth")
    await world.world.control("faults", match={"path": path}, kind="status", status=503, times=2)
    await world.ask(world.sam, "/tasks")
    await world.ask(world.sam, task(world, "nineteenth"), ends=PERHAPS)


@story
async def confirmed(world: DingTalkCrashWorld) -> None:
    """The write was asked for two hours ago, by the platform's clock."""
    world.world.tenant.clock.wall = lambda: time.time() - 7200
    for title, action in (("twentieth", "confirm"), ("twenty-first", "discard")):
        ends = SUCCEEDED if action == "confirm" else CANCELLED
        message = await world.say(world.sam, f"/task {title}", ends=ends)

        async def question(since: str = message) -> Any:
            if card := await world.is_asked(world.sam):
                await world.consent(world.sam, card)
            said = world.world.from_bot(world.world.direct(world.sam), since)
            return next((m for m in said if card_words.CONFIRM_TITLE.en in text_of(m.content)), None)

        card = await world.until(question, "the question whether it is still wanted")
        await world.press(world.sam, card, action, message)


@story
async def confirmed_on_an_interactive_card(world: DingTalkCrashWorld) -> None:
    await confirmed(world)


@story
async def waiting_for_the_administrator(world: DingTalkCrashWorld) -> None:
    """The consent comes before the administrator's change, so another one has to follow it."""
    scope = "Todo.Todo.Write"
    await world.world.control("app-scopes", scope=scope, user=False)
    message = await world.say(world.sam, "/task twenty-second")

    async def told() -> Any:
        if card := await world.is_asked(world.sam):
            await world.consent(world.sam, card)
        said = world.world.from_bot(world.world.direct(world.ada))
        return next((m for m in said if scope in text_of(m.content)), None)

    async def news() -> Any:
        return await world.answered(message) or await world.is_asked(world.sam)

    card = await world.until(told, "the administrator to be told")
    await world.until(lambda: waits_for_administrator(world, message), "the wait for the administrator")
    await world.world.control("app-scopes", scope=scope, user=True)
    await world.have_it_checked(world.ada, card, news)
    await world.see_to(message, world.sam)


async def waits_for_administrator(world: DingTalkCrashWorld, message: str) -> Any:
    statement = "SELECT 1 FROM deferred_calls WHERE message_id = :message AND waits_for = 'administrator'"
    return await world.rows(statement, message=message)


@story
async def waiting_for_the_administrator_on_interactive_cards(world: DingTalkCrashWorld) -> None:
    await waiting_for_the_administrator(world)


TEMPLATE = {"DINGTALK_CARD_TEMPLATE_ID": TEMPLATE_ID}

SETTINGS = {
    "expired": {"BOT_DEFERRED_TTL": "3"},
    "refused_on_an_interactive_card": TEMPLATE,
    "on_interactive_cards": TEMPLATE,
    "confirmed_on_an_interactive_card": TEMPLATE,
    "waiting_for_the_administrator_on_interactive_cards": TEMPLATE,
}
"""What a story needs of the bot."""

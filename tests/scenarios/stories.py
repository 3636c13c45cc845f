"""What is told while the bot dies: every way through the loop, each as one story with people who insist."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from bot.sandbox.lark.tenant import Message

from .card_content import values_of
from .crash_world import CANCELLED, PERHAPS, CrashWorld

Story = Callable[[CrashWorld], Awaitable[None]]

STORIES: dict[str, Story] = {}


def story(tell: Story) -> Story:
    STORIES[tell.__name__] = tell
    return tell


def task(title: str) -> str:
    """A write without an idempotency key."""
    return f'/call POST /open-apis/task/v2/tasks {{"summary": "{title}"}}'


@story
async def first_contact(world: CrashWorld) -> None:
    await world.world.control("enter", person=world.sam.open_id)
    await world.ask(world.sam, "/task first")
    await world.ask(world.sam, "/task second")
    await world.ask(world.sam, "/me")


@story
async def any_api(world: CrashWorld) -> None:
    await world.ask(world.sam, task("third"), ends=PERHAPS)
    await world.ask(world.sam, task("fourth"), ends=PERHAPS)


@story
async def in_a_group(world: CrashWorld) -> None:
    group = world.world.group
    await world.ask(world.sam, "/agenda week", group)
    await world.ask(world.sam, "/task fifth", group)
    await world.ask(world.sam, "/call GET /open-apis/task/v2/tasks?page_size=1", group)


@story
async def only_seen_in_the_group(world: CrashWorld) -> None:
    world.sam.blocked_bot = True
    await world.ask(world.sam, "/task sixth", world.world.group)


@story
async def revoked(world: CrashWorld) -> None:
    await world.ask(world.sam, "/task seventh")
    await world.ask(world.sam, "/revoke")
    await world.ask(world.sam, "/task eighth")


@story
async def refused(world: CrashWorld) -> None:
    message = await world.say(world.sam, "/task ninth", ends=CANCELLED)
    await world.refuse(message, world.sam)
    message = await world.say(world.sam, "/task tenth", ends=CANCELLED)
    card = await world.until(lambda: world.is_asked(world.sam), "the card")
    await world.press(world.sam, card, "not_now", message)
    await world.ask(world.sam, "/task eleventh")


@story
async def refreshed(world: CrashWorld) -> None:
    await world.ask(world.sam, "/task twelfth")
    for title in ("thirteenth", "fourteenth"):
        await world.world.control("tokens/expire", person=world.sam.open_id, which="access")
        await world.ask(world.sam, f"/task {title}")


@story
async def confirmed(world: CrashWorld) -> None:
    """The write was asked for two hours ago, by the platform's clock."""
    world.world.tenant.clock.wall = lambda: time.time() - 7200
    for title, action in (("fifteenth", "confirm"), ("sixteenth", "discard")):
        await world.world.control("grants", person=world.sam.open_id, scopes=[])
        await world.ask(world.sam, "/revoke")
        ends = PERHAPS - {"outcome_unknown"} if action == "confirm" else CANCELLED
        message = await world.say(world.sam, f"/task {title}", ends=ends)

        async def question(action: str = action, since: str = message) -> Message | None:
            if card := await world.is_asked(world.sam):
                await world.consent(world.sam, card)
            said = world.world.from_bot(world.world.direct(world.sam), since)
            return next(
                (m for m in said if any(v.get("action") == action for v in values_of(m.content))), None
            )

        card = await world.until(question, "the question whether it is still wanted")
        await world.press(world.sam, card, action, message)


@story
async def cancelled(world: CrashWorld) -> None:
    message = await world.say(world.sam, "/task seventeenth", ends=CANCELLED)
    await world.until(lambda: world.is_asked(world.sam), "the card")
    cancel = await world.say(world.sam, "/cancel")
    # Nobody allows what they have just cancelled, however long the bot takes to hear of it.
    await world.until(lambda: world.answered(cancel), "the answer to /cancel")
    await world.see_to(message, world.sam)


@story
async def recalled(world: CrashWorld) -> None:
    message = await world.say(world.sam, "/task eighteenth", ends=CANCELLED)
    await world.until(lambda: world.is_asked(world.sam), "the card")
    await world.recall(world.sam, message)
    await world.ask(world.sam, "/task nineteenth")


@story
async def waiting_for_the_administrator(world: CrashWorld) -> None:
    for scope in ("task:task:write", "task:task:writeonly"):
        await world.world.control("app-scopes", scope=scope, user=False)
    message = await world.say(world.sam, "/task twentieth")

    async def told() -> bool:
        return bool(world.world.from_bot(world.world.direct(world.ada)))

    await world.until(told, "the administrator to be told")
    await world.world.control("app-scopes", scope="task:task:write", user=True)
    await world.see_to(message, world.sam)


@story
async def expired(world: CrashWorld) -> None:
    message = await world.say(world.sam, "/task twenty-first", ends=frozenset({"expired"}))

    async def answered() -> bool:
        return await world.answered(message)

    await world.until(answered, "the word that it expired")


@story
async def inside_the_client(world: CrashWorld) -> None:
    message = await world.say(world.sam, "/task twenty-second")
    await world.see_to(message, world.sam, by="client")


@story
async def a_stumbling_platform(world: CrashWorld) -> None:
    await world.ask(world.sam, "/task twenty-third")
    path = "/open-apis/task/v2/tasks"
    await world.world.control("faults", match={"path": path}, kind="drop_after", times=1)
    await world.ask(world.sam, "/task twenty-fourth")
    await world.world.control("faults", match={"path": path}, kind="status", status=503, times=2)
    await world.ask(world.sam, "/tasks")
    await world.world.control("faults", match={"path": path}, kind="drop_after", times=1)
    await world.ask(world.sam, task("twenty-fifth"), ends=PERHAPS)


@story
async def without_an_address(world: CrashWorld) -> None:
    world.world.tenant.behaviour.device_poll_seconds = 1
    message = await world.say(world.sam, "/task twenty-sixth")
    await world.see_to(message, world.sam, by="device")


SETTINGS = {"expired": {"BOT_DEFERRED_TTL": "3"}, "without_an_address": {"BOT_PUBLIC_URL": ""}}
"""What a story needs of the bot."""

"""What a card says of what it asks for: why it asks again, and `offline_access` once at most."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bot.sandbox.lark.tenant import Message

from .card_content import text_of
from .test_device import Room
from .test_narrowed import narrowing
from .test_sign_in import Browser
from .test_sign_in import browser as opened
from .world import World

__all__ = ["opened"]

OFFLINE = "offline_access"


async def asked(world: World, command: str) -> Message:
    return await world.fresh_card(world.sam, await world.say(world.sam, command))


def texts_in(content: Any, locale: str) -> list[str]:
    """Each text of a card in one language."""
    if isinstance(content, list):
        return [text for each in content for text in texts_in(each, locale)]
    if not isinstance(content, dict):
        return []
    own = [content["i18n_content"][locale]] if "i18n_content" in content else []
    return own + [text for each in content.values() for text in texts_in(each, locale)]


def shown(card: Message, scope: str = OFFLINE) -> int:
    """How often a card shows a scope, in whichever language it is read. Never in a line of its own."""
    lines = {
        locale: [line for text in texts_in(card.content, locale) for line in text.splitlines()]
        for locale in ("en_us", "zh_cn")
    }
    counts = {locale: sum(scope in line for line in of_one) for locale, of_one in lines.items()}
    assert counts["en_us"] == counts["zh_cn"]
    if scope == OFFLINE:
        assert not any(scope in line for of_one in lines.values() for line in of_one if line.startswith("•"))
    return counts["en_us"]


@pytest.mark.parametrize(
    ("command", "scope"),
    [
        ("/tasks", "task:task:read"),
        ("/doc welcome", "docx:document:readonly"),
        ("/agenda", "calendar:calendar:readonly"),
        ("/authorize offline_access search:docs:read", "search:docs:read"),
    ],
)
async def test_a_card_shows_offline_access_once_while_it_is_new(world: World, command: str, scope: str):
    await world.start()
    card = await asked(world, command)
    assert (shown(card), shown(card, scope)) == (1, 1)
    await world.click(world.sam, card, "not_now")
    assert (shown(card), shown(card, scope)) == (0, 0)
    card = await asked(world, command)
    await world.consent(world.sam, card)
    await world.until(lambda: "Authorized" in text_of(card.content), "the authorized card")
    assert (shown(card), shown(card, scope)) == (0, 1)
    # It goes along with each link, and is not new any more.
    card = await asked(world, "/search welcome" if "search" not in command else "/tasks")
    assert shown(card) == 0
    await world.open(card)
    (newest,) = world.rows("SELECT scopes FROM authorization_attempts ORDER BY id DESC LIMIT 1")
    assert OFFLINE in newest["scopes"]
    world.let_expire()
    await world.until(lambda: "request expired" in text_of(card.content), "the expired card")
    assert shown(card) == 0


async def test_a_card_shows_offline_access_once_by_device_flow(world: World):
    room = Room(world)
    await room.start()
    _, card = await room.asked(world.sam, "/tasks")
    assert shown(card) == 1
    await room.press(world.sam, card)
    await room.link(card)
    assert shown(card) == 1


async def test_my_permissions_shows_it_once_and_never_as_wanted(world: World, opened: Callable[..., Browser]):
    await world.start()
    await asked(world, "/tasks")
    one = opened()
    await one.sign_in(world.sam)
    assert OFFLINE not in await one.permissions()
    await world.answer_to(await world.say(world.sam, "/cancel"))
    await world.authorized(world.sam, "/tasks")
    await asked(world, "/agenda")
    assert (await one.permissions()).count(OFFLINE) == 1


async def expired(world: World) -> None:
    past = "datetime('now', '-1 minute') || '.000000'"
    world.change(f"UPDATE grants SET access_expires_at = {past}, refresh_expires_at = {past}")


async def refused(world: World) -> None:
    await world.control("tokens/expire", person=world.sam.open_id, which="both")


async def revoked_in_the_chat(world: World) -> None:
    await world.answer_to(await world.say(world.sam, "/revoke"))


async def revoked_by_an_operator(world: World) -> None:
    assert (await world.cli("revoke", world.sam.open_id))[0] == 0


async def revoked_at_the_platform(world: World) -> None:
    await world.control("revoke", person=world.sam.open_id)
    await world.until(lambda: world.count("grants", status="ended"), "the end of the grant")


@pytest.mark.parametrize(
    ("end", "english", "chinese"),
    [
        (expired, "has expired", "已过期"),
        (refused, "no longer valid", "已失效"),
        (revoked_in_the_chat, "You revoked", "由你撤销"),
        (revoked_by_an_operator, "administrator revoked", "由管理员撤销"),
        (revoked_at_the_platform, "revoked on the platform", "在平台上撤销"),
    ],
)
@pytest.mark.parametrize("command", ["/tasks", "/doc welcome"])
async def test_a_card_says_why_it_asks_again(
    world: World, end: Any, english: str, chinese: str, command: str
):
    await world.start()
    await world.authorized(world.sam, "/tasks")
    assert not any("asking again" in text_of(m.content) for m in world.from_bot(world.direct(world.sam)))
    await end(world)
    again = await asked(world, command)
    assert english in text_of(again.content)
    assert chinese in text_of(again.content)
    await world.consent(world.sam, again)
    await world.until(lambda: "Authorized" in text_of(again.content), "the authorized card")
    assert "asking again" not in text_of(again.content)
    new = await asked(world, "/agenda")
    assert "asking again" not in text_of(new.content)


async def test_a_card_says_why_it_asks_again_when_the_platform_has_narrowed_the_token(world: World):
    await world.start()
    await narrowing(world)
    await world.authorized(world.sam, "/tasks")
    await world.authorized(world.sam, "/agenda")
    again = await asked(world, "/tasks")
    assert "dropped part of your authorization" in text_of(again.content)
    assert "部分授权" in text_of(again.content)

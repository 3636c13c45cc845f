"""Set-ups of DingTalk that are broken in one way each: `bot doctor`, run as a process, names what is broken."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable

import pytest

from bot.sandbox.dingtalk.sample_tenant import TEMPLATE_ID
from tests.ports import free_port
from tests.scenarios.checkup import checkup
from tests.scenarios.front import Front, front_of

from .conftest import DingTalkWorld
from .test_both_at_once import lark

__all__ = ["lark"]

PAGE = "<!doctype html><h1>It works!</h1>"


@pytest.fixture
async def front(world: DingTalkWorld) -> AsyncIterator[Front]:
    """The bot runs, by webhook, and its public address is that of a proxy in front of it."""
    async with front_of(world.public) as front:
        world.settings |= {"BOT_PUBLIC_URL": front.origin, "DINGTALK_CARD_TEMPLATE_ID": TEMPLATE_ID}
        world.tenant.app.redirect_urls = [f"{front.origin}/oauth/dingtalk/callback"]
        world.tenant.app.events_url = f"{front.origin}/dingtalk/events"
        await world.start(DINGTALK_EVENTS="webhook")
        yield front


async def test_a_set_up_that_works_passes(front: Front, world: DingTalkWorld):
    since = await world.say(world.sam, "/help")
    await world.told(world.sam, "", since)
    events, messages = world.count("events"), len(world.tenant.messages)
    checked = await checkup(world)
    assert checked.failed() == set()
    checked.says("public URL", "ok", "is answered by")
    checked.says("webhook", "ok", f"{front.origin}/dingtalk/events")
    checked.says("last event", "ok", "less than a minute ago")
    for check in ("organization", "sending", "member look-ups", "administrators", "clock", "platform"):
        assert checked.verdict(check) == "ok", checked.of(check)
    assert world.count("events") == events
    assert len(world.tenant.messages) == messages


WEBHOOKS: dict[str, tuple[Callable[[Front], None], tuple[str, ...]]] = {
    "a path prefix": (
        lambda front: front.answer("/dingtalk/events", 404, "not found", kind="text/plain"),
        ("is answered by something else: HTTP 404", "forward POST requests"),
    ),
    "a page": (lambda front: front.answer("/dingtalk/", 200, PAGE), ("HTTP 200, an HTML page",)),
    "cards only": (
        lambda front: front.answer("/dingtalk/cards", 404, PAGE),
        ("clicks on cards do not reach the bot", "HTTP 404"),
    ),
    "a bad gateway": (lambda front: front.answer("/dingtalk/", 502, PAGE), ("HTTP 502",)),
    "a slow one": (lambda front: front.delays.update({"/dingtalk/": 3.5}), ("gives up after 3",)),
}


@pytest.mark.parametrize("name", WEBHOOKS)
async def test_a_webhook_that_does_not_reach_the_bot(front: Front, world: DingTalkWorld, name: str):
    breaking, words = WEBHOOKS[name]
    breaking(front)
    checked = await checkup(world)
    checked.says("webhook", "fail", *words)


async def test_a_client_secret_that_is_not_that_of_the_running_bot(front: Front, world: DingTalkWorld):
    checked = await checkup(world, DINGTALK_CLIENT_SECRET="another-secret-of-another-app")
    checked.says(
        "webhook", "fail", "rejects messages signed with DINGTALK_CLIENT_SECRET", "Restart `bot run`"
    )
    checked.says("credentials", "fail", "DINGTALK_CLIENT_SECRET")


async def test_a_bot_that_runs_in_stream_mode_instead(world: DingTalkWorld):
    await world.start()
    checked = await checkup(world, DINGTALK_EVENTS="webhook")
    checked.says("webhook", "fail", "does not receive events at", "Restart `bot run`")


async def test_a_public_address_that_does_not_lead_to_the_bot(front: Front, world: DingTalkWorld):
    front.answer("/oauth/", 404, PAGE)
    checked = await checkup(world)
    checked.says("public URL", "fail", "/oauth/dingtalk/callback", "forward every path")
    front.answer("/", 200, PAGE)
    front.answers.pop("/oauth/")
    checked = await checkup(world)
    checked.says("public URL", "fail", "is answered by something else")
    checked = await checkup(world, BOT_PUBLIC_URL=f"http://127.0.0.1:{free_port()}")
    checked.says("public URL", "fail", "does not answer")


async def test_an_organization_that_is_not_the_apps(world: DingTalkWorld):
    checked = await checkup(world, DINGTALK_CORP_ID="ding00000000000000")
    checked.says("organization", "fail", "DINGTALK_CORP_ID is not the app's organization", "CorpId")


async def test_an_app_that_is_not_published(world: DingTalkWorld):
    await world.control("app", published=False)
    await world.start()
    await world.say(world.sam, "/help")
    await world.until(lambda: world.count("users"), "the sender")
    checked = await checkup(world)
    checked.says("organization", "fail", "does not name the senders", "Publish a version")


@pytest.mark.parametrize(
    ("settings", "scope", "words"),
    [
        ({}, "qyapi_robot_sendmsg", ("the bot cannot answer", "qyapi_robot_sendmsg")),
        ({"DINGTALK_ROBOT_CODE": "ding-of-another"}, "", ("the bot cannot answer", "DINGTALK_ROBOT_CODE")),
    ],
)
async def test_a_robot_that_may_not_send(
    world: DingTalkWorld, settings: dict[str, str], scope: str, words: tuple[str, ...]
):
    if scope:
        world.tenant.app.scopes[scope].tenant = False
    checked = await checkup(world, **settings)
    checked.says("sending", "fail", *words)


@pytest.mark.parametrize("admins", ["nobody", "manager9999", "{ada},nobody"])
async def test_administrators_whom_the_organization_does_not_know(world: DingTalkWorld, admins: str):
    checked = await checkup(world, BOT_ADMINS=admins.format(ada=world.ada.user_id))
    checked.says("administrators", "fail", "is not a member of the organization", "Set BOT_ADMINS")


async def test_nobody_is_administrator(world: DingTalkWorld):
    checked = await checkup(world, BOT_ADMINS="")
    checked.says("administrators", "warn", "nobody is informed", "Set BOT_ADMINS")


async def test_an_app_that_is_disabled(world: DingTalkWorld):
    await world.control("app", enabled=False)
    checked = await checkup(world)
    checked.says("credentials", "fail", "DINGTALK_CLIENT_ID")


async def test_a_clock_that_is_wrong(world: DingTalkWorld):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bot.sandbox.shifted_clock", "86400", "doctor"),
        cwd=world.directory,
        env=world.environment(),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    line = next(line for line in out.decode().splitlines() if line.split()[1] == "clock")
    assert line.startswith("FAIL")
    assert "ahead of the platform's. Synchronize" in line


async def test_messages_that_go_elsewhere(world: DingTalkWorld):
    """Another program has the app's credentials. Nobody can see that from here."""
    await world.start()
    checked = await checkup(world)
    checked.says("last event", "warn", "none has ever arrived", "Stream mode", "Another program")


async def test_each_platform_is_named_in_what_concerns_it(world: DingTalkWorld, lark: DingTalkWorld):
    await world.start()
    lark.tenant.app.scopes["im:message:send_as_bot"].tenant = False
    world.tenant.app.scopes["qyapi_robot_sendmsg"].tenant = False
    checked = await checkup(world)
    assert [each["platform"] for each in checked.of("app scopes") if each["verdict"] == "fail"] == ["lark"]
    assert [each["platform"] for each in checked.of("sending")] == ["dingtalk"]
    assert {each["platform"] for each in checked.of("last event")} == {"lark", "dingtalk"}
    assert {each["platform"] for each in checked.of("bot") + checked.of("port")} == {None}
    _, out, _ = await world.cli("doctor")
    assert any(line.split()[:2] == ["FAIL", "dingtalk"] for line in out.splitlines())
    assert any(line.split()[:2] == ["FAIL", "lark"] for line in out.splitlines())

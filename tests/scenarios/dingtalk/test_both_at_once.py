"""One process serves Lark and DingTalk on one database; and `bot doctor` of an app on DingTalk."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.sandbox.dingtalk.sample_tenant import TEMPLATE_ID
from tests.bot_process import Forker
from tests.scenarios.dingtalk.conftest import DingTalkWorld
from tests.scenarios.world import World, world_in


@pytest.fixture
async def lark(world: DingTalkWorld, tmp_path: Path, forker: Forker) -> AsyncIterator[World]:
    """The other platform, for the same process."""
    (tmp_path / "lark").mkdir()
    async with world_in(tmp_path / "lark", forker) as lark:
        lark.public, lark.port, lark.database = world.public, world.port, world.database
        lark.directory = world.directory
        lark.tenant.app.events_url = f"{world.public}/lark/events"
        lark.tenant.app.redirect_urls = [
            f"{world.public}/oauth/lark/{page}" for page in ("callback", "client")
        ]
        own = {name: value for name, value in lark.environment().items() if name.startswith("LARK_")}
        world.settings |= own | {"BOT_ADMINS": ""}
        yield lark


async def test_one_process_serves_both_platforms_and_knows_them_apart(world: DingTalkWorld, lark: World):
    await world.start()
    there, here = await lark.say(lark.sam, "/tasks"), await world.say(world.sam, "/tasks")
    cards = await lark.card_for(lark.sam, "task:task:read"), await world.card_for(world.sam, "Todo.Todo.Read")
    await world.authorize_in_client(world.sam, cards[1])
    status, _ = await lark.consent(lark.sam, cards[0])
    assert status == 200
    await lark.answer_to(there)
    await world.told(world.sam, "task", here)
    grants = world.rows("SELECT user_key FROM grants ORDER BY user_key")
    assert [row["user_key"].split(":")[0] for row in grants] == ["dingtalk", "lark"]
    code, out, error = await world.cli("users", "--json")
    assert code == 0, error
    told = sorted((user["user_key"].split(":")[0], user["name"], user["grant"]) for user in json.loads(out))
    assert told == [("dingtalk", "Sam Rivera", "active"), ("lark", "Sam Rivera", "active")]
    code, out, error = await world.cli("users")
    assert code == 0, error
    apps = (f"dingtalk:{world.tenant.app.client_id}", f"lark:{lark.tenant.app.app_id}")
    assert all(app in out for app in apps), "the operator sees whose user each is"


async def test_a_state_of_one_platform_is_unknown_to_the_other(world: DingTalkWorld, lark: World):
    await world.start()
    await world.say(world.sam, "/tasks")
    card = await world.card_for(world.sam)
    back = await world.decide(await world.open(card), world.sam)
    foreign = back.replace("/oauth/dingtalk/callback", "/oauth/lark/callback").replace("authCode=", "code=")
    status, _, page = await world.get(foreign)
    assert status == 400, page
    status, _, page = await world.get(back)
    assert status == 200, page


async def test_the_doctor_finds_nothing_wrong(world: DingTalkWorld):
    code, out, error = await world.cli("doctor")
    assert "FAIL" not in out, out + error
    assert code == 0
    for subject in ("credentials", "events", "member look-ups", "redirect URL", "card template"):
        assert subject in out


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("secret", "DINGTALK_CLIENT_SECRET"),
        ("look-ups", "qyapi_get_member"),
        ("template", "DINGTALK_CARD_TEMPLATE_ID"),
        ("unpublished template", "DINGTALK_CARD_TEMPLATE_ID"),
    ],
)
async def test_the_doctor_says_what_is_wrong_and_how_to_fix_it(world: DingTalkWorld, wrong: str, said: str):
    match wrong:
        case "secret":
            world.settings["DINGTALK_CLIENT_SECRET"] = "not-the-secret-0001"
        case "look-ups":
            world.tenant.app.scopes["qyapi_get_member"].tenant = False
        case "template":
            world.settings["DINGTALK_CARD_TEMPLATE_ID"] = "nothing.schema"
        case _:
            world.settings["DINGTALK_CARD_TEMPLATE_ID"] = TEMPLATE_ID
            world.tenant.templates[TEMPLATE_ID].published = False
    code, out, _ = await world.cli("doctor")
    assert code == 1
    assert any("FAIL" in line and said in line for line in out.splitlines()), out
    assert "not-the-secret" not in out

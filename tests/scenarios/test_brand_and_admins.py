"""A wrong LARK_BRAND, and administrators who cannot be told: said where operators and people look."""

from __future__ import annotations

import pytest

from bot.sandbox.lark.tenant import Message
from tests.bot_process import bot

from .card_content import text_of
from .test_administrator import TASKS, told, without
from .test_long_connection import until_events_are
from .test_networks import doctor, readiness
from .world import World

OTHER_BRAND = "the app belongs to the other brand; change LARK_BRAND"


@pytest.mark.slow
@pytest.mark.parametrize(("brand", "other"), [("lark", "feishu"), ("feishu", "lark")])
async def test_an_app_of_the_other_brand_is_said_by_doctor_log_and_readyz(
    world: World, brand: str, other: str
):
    """The credentials are accepted there, so that they are not to blame."""
    world.tenant.app.events_by = "websocket"
    world.tenant.app.other_brand = True
    world.settings |= {"LARK_BRAND": brand, "LARK_EVENTS": "websocket"}
    world.process = world.fork(bot("run"))
    because = (await readiness(world, "events_down_because"))["events_down_because"]
    assert because == f"{OTHER_BRAND}: 1000040351 Incorrect domain name"
    code, said = await doctor(world)
    assert code == 1
    assert f"FAIL  brand            {OTHER_BRAND} to {other}" in said
    assert "is accepted" in said
    await world.control("app", other_brand=False)
    await until_events_are(world, "up", patience=40)
    await world.answer_to(await world.say(world.sam, "/help"))
    assert OTHER_BRAND in (world.directory / "bot.log").read_text()


async def test_by_webhook_doctor_says_it_too(world: World):
    world.tenant.app.other_brand = True
    code, said = await doctor(world)
    assert code == 1
    assert f"FAIL  brand            {OTHER_BRAND} to feishu" in said


async def test_a_token_endpoint_that_says_so_is_said_in_the_log(world: World):
    await world.start(LARK_OAUTH="v1")
    asked = await world.say(world.sam, "/tasks")
    card = await world.fresh_card(world.sam, asked)
    world.tenant.app.other_brand = True
    await world.consent(world.sam, card)
    await world.until(lambda: OTHER_BRAND in world.log_tail(), "the log")


# --- administrators ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("admins", "verdict", "says"),
    [
        ("ou_00000000000000000000000000000000", "FAIL", "is not a user of this app"),
        ("on_8ed6aa67826108097d9ee143816345", "FAIL", "is not an open_id"),
        ("5d9bd1aa", "FAIL", "is not an open_id"),
        ("{wei},ou_11111111111111111111111111111111", "FAIL", "ou_1111"),
        ("{ada}", "ok", "{ada}"),
    ],
)
async def test_doctor_says_who_in_bot_admins_is_not_a_user_of_the_app(
    world: World, admins: str, verdict: str, says: str
):
    people = {"ada": world.ada.open_id, "wei": world.wei.open_id}
    world.settings["BOT_ADMINS"] = admins.format(**people)
    _, said = await doctor(world)
    lines = [line for line in said.splitlines() if "administrators" in line]
    assert any(line.startswith(verdict) and says.format(**people) in line for line in lines), said


async def test_looking_sends_nothing(world: World):
    code, _ = await doctor(world)
    assert code == 0
    assert world.requests("/open-apis/im/v1/messages", "POST")
    assert world.tenant.messages == {}


@pytest.mark.parametrize("trouble", ["rate_limit", "html", "drop_before"])
async def test_when_that_cannot_be_told_doctor_does_not_guess(world: World, trouble: str):
    await world.trouble({"path": "/open-apis/im/v1/messages"}, trouble)
    code, said = await doctor(world)
    assert code == 0
    assert "warn  administrators   cannot tell whether" in said


@pytest.mark.parametrize("admins", ["ou_00000000000000000000000000000000", "nobody", "owner unreadable"])
async def test_people_are_not_told_that_administrators_know_when_they_do_not(world: World, admins: str):
    """The message cannot arrive, or there is nobody to send it to."""
    if admins == "owner unreadable":
        world.settings["BOT_ADMINS"] = ""
        await world.trouble({"path": "/open-apis/application/v6/applications/"}, "status", status=500)
    else:
        world.settings["BOT_ADMINS"] = admins
    await without(world, *TASKS)
    await world.start()
    asked = await world.say(world.sam, "/tasks")
    answer = await world.answer_to(asked, "hasn't reached an administrator")
    assert not claims(answer)
    await world.control("app-scopes", scope="task:task:read", user=True)
    await world.consent(world.sam, await world.fresh_card(world.sam, asked))
    await world.until(lambda: "succeeded" in world.statuses("deferred_calls"), "the answer")


async def test_when_one_of_several_has_the_card_people_are_told_so(world: World):
    world.settings["BOT_ADMINS"] = f"ou_00000000000000000000000000000000,{world.ada.open_id}"
    await without(world, *TASKS)
    await world.start()
    for person in (world.sam, world.wei):
        asked = await world.say(person, "/tasks")
        assert claims(await world.answer_to(asked))
        await told(world, person.open_id)


async def test_a_platform_that_takes_no_messages_for_now_is_no_reason_to_claim_it(world: World):
    await without(world, *TASKS)
    await world.start()
    to_one_person = {"path": "/open-apis/im/v1/messages", "method": "POST", "receive_id_type": "open_id"}
    await world.trouble(to_one_person, "rate_limit", times=1, reset=3)
    asked = await world.say(world.sam, "/tasks")
    assert not claims(await world.answer_to(asked))
    await told(world, world.sam.open_id)


def claims(message: Message) -> bool:
    return "I've let your administrator know" in text_of(message.content)

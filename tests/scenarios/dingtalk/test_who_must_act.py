"""The platform's refusal does not say who must act: the user is asked once, then the administrator."""

from __future__ import annotations

import pytest

from bot.sandbox.dingtalk.sample_tenant import TEMPLATE_ID
from tests.scenarios.card_content import text_of
from tests.scenarios.dingtalk.conftest import DingTalkWorld


@pytest.mark.parametrize("seconds", [0.5, 2.0, 5.0])
async def test_a_consent_that_takes_a_moment_to_arrive_is_not_asked_for_again(
    world: DingTalkWorld, seconds: float
):
    world.tenant.behaviour.consent_spreads_seconds = seconds
    await world.start()
    # Who consented has to be readable at once.
    world.sam.granted.add("Contact.User.Read")
    asked = await world.say(world.sam, "/task Water the plants")
    await world.authorize_in_client(world.sam, await world.card_for(world.sam))
    await world.told(world.sam, "Task created", asked)
    row = world.only("deferred_calls")
    assert row["consents"] == 1
    assert world.count("authorization_requests") == 1


async def test_what_consent_does_not_help_goes_to_the_administrator_and_goes_on_when_it_is_enabled(
    world: DingTalkWorld,
):
    world.tenant.behaviour.refused_scopes = ["Todo.Todo.Write"]
    await world.start()
    asked = await world.say(world.sam, "/task Water the plants")
    await world.authorize_in_client(world.sam, await world.card_for(world.sam))
    await world.told(world.sam, "the platform still refuses it", asked, patience=25)
    told = await world.told(world.ada, "Todo.Todo.Write")
    assert "appscope/apply" in told.content["singleURL"]
    # It is tried again from time to time.
    waiting = [{"status": "suspended", "waits_for": "administrator", "consents": 1}]
    await world.until(
        lambda: world.rows("SELECT status, waits_for, consents FROM deferred_calls") == waiting, "the wait"
    )
    world.tenant.behaviour.refused_scopes = []
    await world.told(world.sam, "Task created", asked, patience=30)


async def test_an_administrator_can_have_it_checked_at_once(world: DingTalkWorld):
    world.tenant.behaviour.refused_scopes = ["Todo.Todo.Write"]
    await world.start(DINGTALK_CARD_TEMPLATE_ID=TEMPLATE_ID)
    asked = await world.say(world.sam, "/task Water the plants")
    await world.authorize_in_client(world.sam, await world.card_for(world.sam))
    told = await world.told(world.ada, "Todo.Todo.Write", patience=25)
    world.tenant.behaviour.refused_scopes = []
    answer = await world.click(world.ada, told, "check_again")
    assert answer["code"] is None, answer
    await world.told(world.sam, "Task created", asked)
    await world.until(lambda: "Enabled" in text_of(told.content), "the card that says so")


@pytest.mark.parametrize("wording", ["old", "new"])
async def test_either_wording_of_the_refusal_is_read(world: DingTalkWorld, wording: str):
    world.tenant.behaviour.refusal_wording = wording
    world.tenant.behaviour.access_denied_detail = wording == "old"
    await world.start()
    asked = await world.say(world.sam, "/call POST /v1.0/todo/users/me/personalTasks {}")
    card = await world.card_for(world.sam)
    assert "Todo.PersonalTodo.Write" in text_of(card.content) or "Contact.User.Read" in text_of(card.content)
    await world.authorize_in_client(world.sam, card)
    await world.until(lambda: world.from_bot(world.direct(world.sam), asked), "an answer")

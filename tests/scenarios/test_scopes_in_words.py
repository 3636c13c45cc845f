"""APIs that refuse for want of a scope and name it in words alone."""

from __future__ import annotations

import json

import pytest

from .card_content import text_of
from .world import World

MESSAGES = "/open-apis/im/v1/messages"
TASKS = "/open-apis/task/v2/tasks"


def sending(world: World) -> str:
    content = json.dumps(json.dumps({"text": "hi"}))
    body = f'{{"receive_id": "{world.ada.open_id}", "msg_type": "text", "content": {content}}}'
    return f"/call POST {MESSAGES}?receive_id_type=open_id {body}"


async def test_sending_as_the_user_asks_for_the_scope_in_the_refusals_text(world: World):
    await world.start()
    await world.authorized(world.sam, "/tasks")
    asked = await world.say(world.sam, sending(world))
    await world.consent(world.sam, await world.card_for(world.sam, "im:message"))
    await world.consent(world.sam, await world.card_for(world.sam, "im:message.send_as_user"))
    await world.answer_to(asked, '"code": 0')
    sent = [each for each in world.tenant.messages.values() if each.content == {"text": "hi"}]
    assert [each.sender for each in sent] == [world.sam.open_id]


async def test_one_that_the_app_has_not_enabled_waits_for_the_administrator(world: World):
    await world.control("app-scopes", scope="im:message.send_as_user", user=False)
    await world.start()
    await world.authorized(world.sam, "/tasks")
    asked = await world.say(world.sam, sending(world))
    await world.consent(world.sam, await world.card_for(world.sam, "im:message"))
    await world.card_for(world.ada, "im:message.send_as_user")
    waits = {"message_id": asked, "waits_for": "administrator"}
    await world.until(
        lambda: world.count("deferred_calls", **waits), "the call to wait for the administrator"
    )
    await world.control("app-scopes", scope="im:message.send_as_user", user=True)
    await world.consent(world.sam, await world.fresh_card(world.sam, asked))
    await world.answer_to(asked, '"code": 0')


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (230027, "Lack of necessary permissions, ext=need scope: drive:drive:readonly."),
        (99991676, "token no permission, need drive:drive:readonly permission"),
        (1061004, "forbidden: missing scope drive:drive:readonly or drive:drive"),
        (40004, "应用缺少权限：drive:drive:readonly"),
    ],
)
async def test_other_codes_and_words_for_it_are_understood(world: World, code: int, message: str):
    await world.start()
    await world.authorized(world.sam, "/tasks")
    await world.trouble(
        {"path": TASKS, "method": "GET"}, "status", status=400, code=code, msg=message, times=1
    )
    asked = await world.say(world.sam, f"/call GET {TASKS}")
    card = await world.fresh_card(world.sam, asked)
    assert "drive:drive:readonly" in text_of(card.content)
    await world.consent(world.sam, card)
    await world.answer_to(asked, '"code": 0')


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (230027, "Lack of necessary permissions."),
        (230027, "Lack of necessary permissions, ext=the chat does not allow it."),
        (99991676, "token no permission"),
        (1470403, "you need the permission of the owner user:ou_5a3d"),
    ],
)
async def test_without_a_scope_in_its_text_a_refusal_is_a_refusal(world: World, code: int, message: str):
    await world.start()
    await world.authorized(world.sam, "/tasks")
    before = world.count("authorization_requests")
    await world.trouble({"path": TASKS, "method": "GET"}, "status", status=400, code=code, msg=message)
    await world.answer_to(await world.say(world.sam, f"/call GET {TASKS}"), f"{code} {message}")
    assert world.count("authorization_requests") == before

"""Reactions at the emulated platform: what it takes to add and remove one, and how it refuses."""

from __future__ import annotations

import pytest

from bot.sandbox.lark.sample_tenant import ADA, GROUP, SAM
from bot.sandbox.lark.tenant import ScopeSwitch

TYPING = {"reaction_type": {"emoji_type": "Typing"}}


async def said(world, person=SAM, **more):
    return (await world.control("messages", person=person, text="hi", **more))["message_id"]


async def react(world, message, body=TYPING, token=None):
    path = f"/open-apis/im/v1/messages/{message}/reactions"
    return await world.post(path, token or await world.tenant_token(), json=body)


async def unreact(world, message, reaction, token=None):
    path = f"/open-apis/im/v1/messages/{message}/reactions/{reaction}"
    return await world.request("DELETE", path, token or await world.tenant_token())


def on(world, message):
    return [(r.emoji_type, r.operator) for r in world.tenant.messages[message].reactions]


async def test_a_reaction_is_on_the_message_until_it_is_removed(world):
    message = await said(world)
    added = await react(world, message)
    assert added.body["data"]["reaction_type"] == {"emoji_type": "Typing"}
    assert added.body["data"]["operator"] == {
        "operator_id": world.tenant.app.app_id,
        "operator_type": "app",
    }
    assert on(world, message) == [("Typing", world.tenant.app.app_id)]
    again = await react(world, message)
    assert again.body["data"]["reaction_id"] == added.body["data"]["reaction_id"]
    assert len(on(world, message)) == 1
    shown = (await world.get("/sandbox/api/messages", params={"person": SAM})).body["messages"]
    assert [r["reaction_type"]["emoji_type"] for r in shown[0]["reactions"]] == ["Typing"]
    assert (await unreact(world, message, added.body["data"]["reaction_id"])).code == 0
    assert on(world, message) == []
    assert [c.data["added"] for c in world.tenant.feed.changes_after(0, "reaction")] == [True, False]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, 99992402),
        ({"reaction_type": "Typing"}, 99992402),
        ({"reaction_type": {}}, 231001),
        ({"reaction_type": {"emoji_type": "\U0001f440"}}, 231001),
        ({"reaction_type": {"emoji_type": "typing"}}, 231001),
    ],
)
async def test_only_names_that_the_platform_knows(world, body, code):
    message = await said(world)
    assert (await react(world, message, body)).code == code
    assert on(world, message) == []


@pytest.mark.parametrize("scope", ["im:message", "im:message.reactions:write_only"])
async def test_it_takes_one_of_two_scopes(world, scope):
    message = await said(world)
    scopes = world.tenant.app.scopes
    for each in ("im:message", "im:message.reactions:write_only"):
        scopes[each] = ScopeSwitch()
    refused = await react(world, message)
    assert (refused.status, refused.code) == (400, 99991672)
    assert scope in refused.body["msg"]
    scopes[scope] = ScopeSwitch(tenant=True)
    assert (await react(world, message)).code == 0


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ("recalled", 231003),
        ("deleted", 231003),
        ("unknown", 231003),
        ("outside", 231002),
        ("dissolved", 231004),
    ],
)
async def test_only_on_a_message_that_is_there_in_a_chat_with_the_bot(world, what, code):
    message = await said(world, chat_id=GROUP)
    chat = world.tenant.chats[GROUP]
    if what in ("recalled", "deleted"):
        setattr(world.tenant.messages[message], what, True)
    elif what == "outside":
        chat.has_bot = False
    elif what == "dissolved":
        chat.dissolved = True
    assert (await react(world, "om_nothing" if what == "unknown" else message)).code == code


async def test_only_ones_own_is_removed_and_only_from_its_message(world):
    one, other = await said(world), await said(world)
    reaction = (await react(world, one)).body["data"]["reaction_id"]
    assert (await unreact(world, other, reaction)).code == 231010
    assert (await unreact(world, one, "nothing")).code == 231011
    token = await world.user_token("im:message", person=SAM)
    assert (await unreact(world, one, reaction, token)).code == 231007
    assert on(world, one) == [("Typing", world.tenant.app.app_id)]


async def test_a_person_who_is_not_in_the_chat_cannot_react(world):
    message = await said(world)
    token = await world.user_token("im:message", person=ADA)
    assert (await react(world, message, token=token)).code == 231002

"""The main story on DingTalk, and what can happen to it: through the real program, as people would."""

from __future__ import annotations

import json

import pytest

from bot.sandbox.dingtalk.sample_tenant import TEMPLATE_ID
from tests.scenarios.card_content import text_of
from tests.scenarios.dingtalk.conftest import DingTalkWorld


async def test_a_refused_call_asks_for_its_scopes_and_is_answered_after_consent_in_the_client(
    world: DingTalkWorld, cards: str
):
    await world.start()
    asked = await world.say(world.sam, "/me")
    card = await world.card_for(world.sam, "Contact.User.mobile")
    assert "Contact.User.Read" in text_of(card.content)
    status, page = await world.authorize_in_client(world.sam, card)
    assert status == 200, page
    answer = await world.told(world.sam, world.sam.mobile, asked)
    assert answer.sent_by == "batchSend", "an answer after a consent does not rely on the session"
    assert world.sam.granted == {"Contact.User.Read", "Contact.User.mobile"}
    assert world.statuses("deferred_calls") == ["succeeded"]
    await world.until(lambda: world.statuses("authorization_requests") == ["granted"])
    await world.told(world.sam, "Authorized")


@pytest.mark.parametrize("parameter", ["authCode", "code", "both"])
async def test_the_same_in_a_browser(world: DingTalkWorld, parameter: str):
    world.tenant.behaviour.callback_parameter = parameter
    await world.start()
    asked = await world.say(world.sam, "/task Buy milk")
    card = await world.card_for(world.sam, "Todo.Todo.Write")
    status, page = await world.consent(world.sam, card)
    assert status == 200, page
    assert "Authorized" in page
    await world.told(world.sam, "Task created", asked)
    assert [
        todo["subject"] for todo in world.tenant.work.todos.values() if todo["subject"] == "Buy milk"
    ] == ["Buy milk"]


async def test_what_needs_no_consent_is_a_prompt_reply(world: DingTalkWorld):
    await world.start()
    asked = await world.say(world.sam, "/help")
    reply = await world.answer_to(asked, "/agenda")
    assert reply.sent_by == "sessionWebhook"


async def test_a_second_scope_is_asked_for_and_the_first_is_kept(world: DingTalkWorld, cards: str):
    await world.start()
    await world.say(world.sam, "/me")
    await world.authorize_in_client(world.sam, await world.card_for(world.sam, "Contact.User.mobile"))
    await world.told(world.sam, world.sam.mobile)
    asked = await world.say(world.sam, "/tasks")
    card = await world.card_for(world.sam, "Todo.Todo.Read")
    await world.authorize_in_client(world.sam, card)
    await world.told(world.sam, "task", asked)
    grant = world.only("grants")
    assert {"Contact.User.Read", "Contact.User.mobile", "Todo.Todo.Read"} <= set(json.loads(grant["scopes"]))


async def test_declining_in_the_panel_cancels_nothing_and_the_link_still_works(world: DingTalkWorld):
    await world.start()
    asked = await world.say(world.sam, "/me")
    card = await world.card_for(world.sam)
    status, page = await world.authorize_in_client(world.sam, card, "cancel")
    assert status == 200
    assert "Not authorized" in page["title"]
    assert world.statuses("deferred_calls") == ["suspended"]
    await world.authorize_in_client(world.sam, card)
    await world.told(world.sam, world.sam.mobile, asked)


async def test_refusing_in_the_browser_is_said_on_the_page(world: DingTalkWorld):
    await world.start()
    await world.say(world.sam, "/me")
    status, page = await world.consent(world.sam, await world.card_for(world.sam), "refuse")
    assert status == 200
    assert "Not authorized" in page


async def test_not_now_on_an_interactive_card_declines(world: DingTalkWorld):
    await world.start(DINGTALK_CARD_TEMPLATE_ID=TEMPLATE_ID)
    await world.say(world.sam, "/me")
    card = await world.card_for(world.sam)
    link = world.link_of(card)
    answer = await world.click(world.sam, card, "not_now")
    assert answer["code"] is None, answer
    await world.until(lambda: "I didn't run" in text_of(card.content), "the card that was declined")
    assert world.links_of(card) == []
    assert (await world.get(link))[0] == 410


@pytest.mark.parametrize("way", ["in the client", "in a browser"])
async def test_a_consent_by_somebody_else_is_dropped_and_the_right_person_can_go_on(
    world: DingTalkWorld, way: str
):
    await world.start()
    asked = await world.say(world.sam, "/me")
    card = await world.card_for(world.sam)
    if way == "in the client":
        status, page = await world.authorize_in_client(world.ada, card)
        assert "Wrong account" in page["title"]
    else:
        status, page = await world.consent(world.ada, card)
        assert "Wrong account" in page
    assert status == 403
    assert world.count("grants") == 0
    await world.authorize_in_client(world.sam, card)
    await world.told(world.sam, world.sam.mobile, asked)
    grant = world.only("grants")
    assert grant["user_key"].endswith(world.sam.user_id)


async def test_a_call_that_nobody_authorizes_expires_and_its_link_says_so(world: DingTalkWorld, cards: str):
    await world.start()
    await world.say(world.sam, "/me")
    card = await world.card_for(world.sam)
    link = world.link_of(card)
    await world.drawn()
    world.let_expire()
    await world.told(world.sam, "request expired", patience=40)
    status, _, page = await world.get(link)
    assert status == 410
    assert "expired" in page.lower()


async def test_in_a_group_the_answer_comes_there_and_the_link_goes_to_the_asker_alone(world: DingTalkWorld):
    await world.start()
    asked = await world.say(world.sam, "/task Call Ada", world.group)
    await world.said(world.group, "direct chat", asked)
    card = await world.card_for(world.sam, "Todo.Todo.Write")
    assert not any("/authorize/" in json.dumps(m.content) for m in world.from_bot(world.group))
    await world.authorize_in_client(world.sam, card)
    answer = await world.said(world.group, "Task created", asked)
    assert answer.sent_by == "groupMessages"


async def test_a_personal_answer_stays_out_of_the_group(world: DingTalkWorld):
    await world.start()
    asked = await world.say(world.sam, "/me", world.group)
    await world.authorize_in_client(world.sam, await world.card_for(world.sam))
    await world.told(world.sam, world.sam.mobile)
    assert world.sam.mobile not in "".join(text_of(m.content) for m in world.from_bot(world.group, asked))


async def test_revoke_erases_here_and_says_where_to_withdraw(world: DingTalkWorld):
    await world.start()
    await world.say(world.sam, "/me")
    await world.authorize_in_client(world.sam, await world.card_for(world.sam))
    await world.told(world.sam, world.sam.mobile)
    asked = await world.say(world.sam, "/revoke")
    await world.told(world.sam, "App authorizations", asked)
    grant = world.only("grants")
    assert (grant["status"], grant["access_token"], grant["refresh_token"]) == ("ended", None, None)
    again = await world.say(world.sam, "/me")
    await world.told(world.sam, "Authorize to continue", again)


async def test_what_was_withdrawn_at_the_platform_is_asked_for_again(world: DingTalkWorld):
    await world.start()
    await world.say(world.sam, "/me")
    await world.authorize_in_client(world.sam, await world.card_for(world.sam))
    await world.told(world.sam, world.sam.mobile)
    await world.control("revoke", person=world.sam.user_id)
    asked = await world.say(world.sam, "/me")
    card = await world.fresh_card(world.sam, asked)
    await world.authorize_in_client(world.sam, card)
    await world.told(world.sam, world.sam.mobile, asked)


async def test_a_restart_between_question_and_consent_loses_nothing(world: DingTalkWorld, cards: str):
    await world.start()
    asked = await world.say(world.sam, "/me")
    card = await world.card_for(world.sam)
    await world.kill()
    await world.start()
    await world.authorize_in_client(world.sam, card)
    await world.told(world.sam, world.sam.mobile, asked)


async def test_an_expired_token_is_refreshed_once(world: DingTalkWorld):
    await world.start()
    await world.say(world.sam, "/me")
    await world.authorize_in_client(world.sam, await world.card_for(world.sam))
    await world.told(world.sam, world.sam.mobile)
    await world.control("tokens/expire", person=world.sam.user_id, which="access")
    asked = [await world.say(world.sam, "/me") for _ in range(3)]
    await world.until(
        lambda: (
            len(
                [
                    m
                    for m in world.from_bot(world.direct(world.sam), asked[0])
                    if world.sam.mobile in text_of(m.content)
                ]
            )
            == 3
        ),
        "three answers",
    )
    refreshed = [each for each in world.requests("userAccessToken") if each["grant_type"] == "refresh_token"]
    assert len(refreshed) == 1


async def test_a_dead_refresh_token_makes_the_bot_ask_again(world: DingTalkWorld):
    await world.start()
    await world.say(world.sam, "/me")
    await world.authorize_in_client(world.sam, await world.card_for(world.sam))
    await world.told(world.sam, world.sam.mobile)
    await world.control("tokens/expire", person=world.sam.user_id, which="both")
    asked = await world.say(world.sam, "/me")
    await world.authorize_in_client(world.sam, await world.fresh_card(world.sam, asked))
    await world.told(world.sam, world.sam.mobile, asked)


async def test_events_arrive_by_webhook_too(world: DingTalkWorld, cards: str):
    await world.start(DINGTALK_EVENTS="webhook")
    asked = await world.say(world.sam, "/me")
    card = await world.card_for(world.sam)
    if cards == "interactive cards":
        await world.click(world.sam, card, "not_now")
        await world.until(lambda: "I didn't run" in text_of(card.content), "the card that was declined")
        asked = await world.say(world.sam, "/me")
        card = await world.fresh_card(world.sam, asked)
    await world.authorize_in_client(world.sam, card)
    await world.told(world.sam, world.sam.mobile, asked)


async def test_people_of_other_organizations_are_told_once(world: DingTalkWorld):
    await world.start()
    niko = next(p for p in world.tenant.people.values() if p.corp_id != world.tenant.app.corp_id)
    for _ in range(3):
        await world.say(niko, "/me")
    last = await world.say(world.sam, "/help")
    await world.answer_to(last)
    await world.until(lambda: world.from_bot(world.direct(niko)), "the word to the other organization")
    assert len(world.from_bot(world.direct(niko))) == 1
    assert world.count("deferred_calls", command="me") == 0


@pytest.mark.parametrize("repeat", ["same frame", "new frame"])
async def test_a_repeated_message_has_no_second_effect(world: DingTalkWorld, repeat: str):
    await world.start()
    said = await world.control("messages", person=world.sam.user_id, text="/task Once")
    card = await world.card_for(world.sam)
    await world.control("events/replay", event_id=said["event_id"], new_frame=repeat == "new frame")
    await world.authorize_in_client(world.sam, card)
    await world.told(world.sam, "Task created")
    assert world.statuses("deferred_calls") == ["succeeded"]
    assert len([t for t in world.tenant.work.todos.values() if t["subject"] == "Once"]) == 1


@pytest.mark.parametrize(
    ("name", "words", "title", "page_language"),
    [
        ("wei", "/task 买牛奶", "授权成功", "en-US,en;q=0.9"),
        ("wei", "/task 周报", "授权成功", "de"),
        ("sam", "/task Milk", "Authorized", "zh-CN"),
    ],
)
async def test_what_tells_of_a_consent_is_in_the_language_of_the_chat(
    world: DingTalkWorld, name: str, words: str, title: str, page_language: str
):
    person = getattr(world, name)
    world.http.headers["Accept-Language"] = page_language
    await world.start()
    asked = await world.say(person, words)
    card = await world.card_for(person)
    await world.authorize_in_client(person, card)
    await world.told(person, title, asked)

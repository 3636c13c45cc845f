"""The main story, and what can happen to it: through the real program, as people would."""

from __future__ import annotations

import json

import pytest

from tests.bot_process import strict_bot

from .card_content import has_link, text_of, without_acknowledgements
from .world import World


async def test_a_refused_call_asks_for_exactly_the_missing_scope_and_is_answered_after_consent(world: World):
    await world.start()
    asked = await world.say(world.sam, "/doc welcome")
    card = await world.card_for(world.sam, "docx:document:readonly")
    assert "/doc" in text_of(card.content)
    status, page = await world.consent(world.sam, card)
    assert status == 200
    assert "Authorized" in page
    answer = await world.answer_to(asked)
    assert "welcome" in text_of(answer.content).lower()
    assert world.sam.granted == {"docx:document:readonly", "offline_access"}
    await world.card_for(world.sam, "Authorized")
    assert world.statuses("deferred_calls") == ["succeeded"]
    assert world.statuses("authorization_requests") == ["granted"]


async def test_a_second_scope_is_asked_for_alone_and_the_first_is_kept(world: World):
    await world.start()
    await world.say(world.sam, "/doc welcome")
    await world.consent(world.sam, await world.card_for(world.sam, "docx:document:readonly"))
    asked = await world.say(world.sam, "/tasks")
    card = await world.card_for(world.sam, "task:task:read")
    assert "docx:document" not in text_of(card.content)
    await world.consent(world.sam, card)
    await world.answer_to(asked)
    assert {"docx:document:readonly", "task:task:read"} <= world.sam.granted
    grant = world.only("grants")
    assert {"docx:document:readonly", "task:task:read"} <= set(json.loads(grant["scopes"]))


async def test_refusing_on_the_consent_page_cancels_nothing_and_says_so_and_the_next_command_asks_again(
    world: World,
):
    await world.start()
    asked = await world.say(world.sam, "/tasks")
    card = await world.card_for(world.sam, "task:task:read")
    status, page = await world.consent(world.sam, card, "refuse")
    assert status == 200
    assert "Not authorized" in page
    await world.card_for(world.sam, "Declined on the page")
    assert world.statuses("deferred_calls") == ["suspended"]
    assert world.statuses("authorization_requests") == ["open"]
    again = await world.say(world.sam, "/tasks")
    await world.until(lambda: "Declined on the page" not in text_of(card.content), "a card that asks again")
    await world.consent(world.sam, card)
    await world.answer_to(asked)
    await world.answer_to(again)


async def test_a_consent_by_somebody_else_is_dropped_and_the_right_person_can_still_go_on(world: World):
    await world.start()
    asked = await world.say(world.sam, "/tasks")
    card = await world.card_for(world.sam, "task:task:read")
    status, page = await world.consent(world.ada, card)
    assert status == 403
    assert "someone else" in page
    assert world.count("grants") == 0
    status, page = await world.consent(world.sam, card)
    assert status == 200, page
    await world.answer_to(asked)
    grant = world.only("grants")
    assert grant["user_key"].endswith(world.sam.open_id)


async def test_two_tabs_can_be_open_and_either_consent_works(world: World):
    await world.start()
    asked = await world.say(world.sam, "/tasks")
    card = await world.card_for(world.sam, "task:task:read")
    first, second = await world.open(card), await world.open(card)
    assert first != second
    status, _, _ = await world.get(await world.decide(second, world.sam))
    assert status == 200
    await world.answer_to(asked)
    status, _, page = await world.get(await world.decide(first, world.sam))
    assert status == 200, page


async def test_a_callback_is_consumed_once(world: World):
    await world.start()
    await world.say(world.sam, "/tasks")
    card = await world.card_for(world.sam, "task:task:read")
    back = await world.decide(await world.open(card), world.sam)
    assert (await world.get(back))[0] == 200
    status, _, page = await world.get(back)
    assert status == 400
    assert "Already done" in page
    assert len(world.requests("oauth/token")) == 1


async def test_a_settled_link_says_so(world: World):
    await world.start()
    await world.say(world.sam, "/tasks")
    card = await world.card_for(world.sam, "task:task:read")
    link = world.link_of(card)
    await world.consent(world.sam, card)
    status, _, page = await world.get(link)
    assert status == 410
    assert "Already authorized" in page
    status, _, page = await world.get(link[:-3] + "AAA")
    assert status == 404


async def test_a_look_at_a_link_consumes_nothing(world: World):
    await world.start()
    await world.say(world.sam, "/tasks")
    card = await world.card_for(world.sam, "task:task:read")
    link = world.link_of(card)
    async with world.http.head(link) as response:
        assert response.status == 200
    await world.get(link, **{"User-Agent": "Mozilla/5.0 (compatible; Slackbot-LinkExpanding 1.0; bot/1)"})
    assert world.count("authorization_attempts") == 0


async def test_a_call_that_nobody_authorizes_expires_and_says_so(world: World):
    await world.start(BOT_DEFERRED_TTL="8")
    asked = await world.say(world.sam, "/tasks")
    await world.card_for(world.sam, "task:task:read")
    await world.card_for(world.sam, "request expired", patience=8 + 30)
    said = without_acknowledgements(world.from_bot(world.direct(world.sam), asked))
    assert len(said) == 1, "the card, and no message"
    assert world.statuses("deferred_calls") == ["expired"]
    assert world.statuses("authorization_requests") == ["expired"]


async def test_in_a_group_the_answer_comes_there_and_the_link_goes_to_the_asker_alone(world: World):
    await world.start()
    asked = await world.say(world.sam, "/agenda week", world.group)
    note = await world.answer_to(asked, "in our direct chat")
    assert not has_link(note)
    card = await world.card_for(world.sam, "calendar:calendar")
    await world.consent(world.sam, card)
    await world.until(lambda: len(world.from_bot(world.group, asked)) >= 2, "the answer in the group")
    assert not any(has_link(m) for m in world.from_bot(world.group))


async def test_a_scope_that_the_app_lacks_waits_for_the_administrator_and_goes_on_by_itself(world: World):
    await world.start()
    await world.control("app-scopes", scope="task:task:read", user=False)
    await world.control("app-scopes", scope="task:task:write", user=False)
    asked = await world.say(world.sam, "/tasks")
    await world.answer_to(asked, "administrator")
    told = await world.card_for(world.ada, "task:task:read")
    assert not has_link(told)
    call = world.only("deferred_calls")
    assert (call["status"], call["waits_for"]) == ("suspended", "administrator")
    await world.control("app-scopes", scope="task:task:read", user=True)
    card = await world.fresh_card(world.sam, asked)
    await world.consent(world.sam, card)
    await world.until(
        lambda: [m for m in world.from_bot(world.direct(world.sam), asked) if m.msg_type == "post"][1:],
        "the answer",
    )


async def test_a_chinese_speaker_gets_chinese(world: World):
    await world.start()
    await world.say(world.wei, "/tasks")
    card = await world.card_for(world.wei, "task:task:read")
    assert "授权" in text_of(card.content)
    consent_id = await world.open(card)
    _, _, page = await world.get(
        await world.decide(consent_id, world.wei), **{"User-Agent": "Lark/7.30 LarkLocale/zh_CN"}
    )
    assert "授权成功" in page


async def test_a_write_is_carried_out_once(world: World):
    await world.start()
    asked = await world.say(world.sam, "/task Buy milk")
    await world.consent(world.sam, await world.card_for(world.sam, "task:task:write"))
    await world.answer_to(asked, "Buy milk")
    created = [t for t in text_of(world.tenant.work.as_json()).splitlines() if t == "Buy milk"]
    assert len(created) == 1


async def test_a_redelivered_event_has_no_second_effect(world: World):
    await world.start()
    said = await world.control("messages", person=world.sam.open_id, text="/help")
    await world.answer_to(said["message_id"])
    replayed = await world.control("events/replay", event_id=said["event_id"])
    assert replayed["acknowledged"]
    assert world.count("deferred_calls") == 1
    assert len(without_acknowledgements(world.from_bot(world.direct(world.sam)))) == 1


async def test_an_expired_token_is_refreshed_and_the_call_goes_on(world: World):
    await world.start()
    asked = await world.say(world.sam, "/tasks")
    await world.consent(world.sam, await world.card_for(world.sam, "task:task:read"))
    await world.answer_to(asked)
    await world.control("tokens/expire", person=world.sam.open_id, which="access")
    again = await world.say(world.sam, "/tasks")
    await world.answer_to(again)
    grants = [r["grant_type"] for r in world.requests("oauth/token")]
    assert grants == ["authorization_code", "refresh_token"]


async def test_after_revoke_nothing_is_left_and_the_next_command_asks_again(world: World):
    await world.start()
    asked = await world.say(world.sam, "/tasks")
    await world.consent(world.sam, await world.card_for(world.sam, "task:task:read"))
    await world.answer_to(asked)
    await world.answer_to(await world.say(world.sam, "/revoke"))
    (grant,) = world.rows("SELECT status, access_token, refresh_token FROM grants")
    assert grant == {"status": "ended", "access_token": None, "refresh_token": None}
    await world.until(lambda: world.requests("oauth/v1/revoke"), "the revocation at the platform")
    again = await world.say(world.sam, "/tasks")
    card = await world.fresh_card(world.sam, again)
    await world.consent(world.sam, card)
    await world.answer_to(again)


async def test_not_now_on_the_card_drops_the_call(world: World):
    await world.start()
    asked = await world.say(world.sam, "/tasks")
    card = await world.card_for(world.sam, "task:task:read")
    clicked = await world.click(world.sam, card, "not_now")
    assert clicked["code"] is None
    assert "I didn't run" in text_of(world.tenant.messages[card.message_id].content)
    assert not has_link(world.tenant.messages[card.message_id])
    # The card says it, so no message says it again.
    await world.answer_to(await world.say(world.sam, "/help"))
    assert not [m for m in world.from_bot(world.direct(world.sam), asked) if m.reply_to == asked]


async def test_a_call_shows_the_answer_of_any_api_and_asks_for_what_the_platform_names(world: World):
    await world.start()
    asked = await world.say(world.sam, "/call GET /open-apis/task/v2/tasks?page_size=1")
    await world.consent(world.sam, await world.card_for(world.sam, "/call"))
    second = await world.card_for(world.sam, "task:task:read")
    await world.consent(world.sam, second)
    answer = await world.answer_to(asked)
    assert '"items"' in text_of(answer.content)


async def test_a_second_need_widens_the_open_card(world: World):
    await world.start()
    first = await world.say(world.sam, "/tasks")
    card = await world.card_for(world.sam, "task:task:read")
    second = await world.say(world.sam, "/doc welcome")
    await world.card_for(world.sam, "docx:document:readonly")
    cards = [m for m in world.from_bot(world.direct(world.sam)) if m.msg_type == "interactive"]
    assert [m.message_id for m in cards] == [card.message_id]
    await world.consent(world.sam, world.tenant.messages[card.message_id])
    await world.answer_to(first)
    await world.answer_to(second)
    assert len(world.requests("oauth/token")) == 1


async def test_what_waits_survives_a_crash(world: World):
    await world.start()
    asked = await world.say(world.sam, "/tasks")
    card = await world.card_for(world.sam, "task:task:read")
    await world.kill()
    await world.start()
    await world.consent(world.sam, card)
    await world.answer_to(asked)


async def test_sigterm_ends_in_exit_code_zero(world: World):
    await world.start()
    await world.answer_to(await world.say(world.sam, "/help"))
    assert await world.stop() == 0


@pytest.mark.parametrize("events", ["webhook", "websocket"])
async def test_nothing_is_left_open(world: World, events: str):
    """Every warning is an error in this process: Python 3.13 warns of a SQLite connection that nobody closes."""
    world.runs = strict_bot("run")
    world.tenant.app.events_by = events
    await world.start(LARK_EVENTS=events)
    await world.authorized(world.sam, "/tasks")
    await world.authorized(world.sam, "/task Pay the invoice")
    await world.answer_to(await world.say(world.sam, "/revoke"))
    assert await world.stop() == 0
    world.runs = strict_bot("keys", "rotate")
    assert await world.fork(world.runs).wait() == 0
    log = (world.directory / "bot.log").read_text()
    for word in ("ResourceWarning", "DeprecationWarning", "unclosed", "Exception ignored", "Traceback"):
        assert word not in log, log

"""The platform fails, people change their minds, and nobody is left waiting in silence."""

from __future__ import annotations

import asyncio

import pytest

from .card_content import has_link, text_of, without_acknowledgements
from .webhook_client import WebhookClient
from .world import World, forged_click


def tasks_named(world: World, title: str) -> int:
    return text_of(world.tenant.work.as_json()).splitlines().count(title)


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 503},
        {"kind": "html"},
        {"kind": "truncate"},
        {"kind": "drop_before"},
        {"kind": "drop_after"},
        {"kind": "rate_limit", "reset": 1},
        {"kind": "rate_limit"},
    ],
    ids=lambda fault: "-".join(map(str, fault.values())),
)
async def test_a_failing_call_is_made_again_and_answered_once(world: World, fault: dict):
    await world.start()
    await world.authorized(world.sam)
    await world.control("faults", match={"path": "/open-apis/task"}, times=2, **fault)
    asked = await world.say(world.sam, "/tasks")
    await world.answer_to(asked)
    await asyncio.sleep(0.3)
    assert len(without_acknowledgements(world.from_bot(world.direct(world.sam), asked))) == 1


@pytest.mark.parametrize("kind", ["drop_before", "drop_after", "html", "truncate"])
async def test_a_task_is_created_once_whatever_becomes_of_the_answer(world: World, kind: str):
    await world.start()
    await world.authorized(world.sam, "/task warm up")
    await world.control("faults", match={"path": "/open-apis/task", "method": "POST"}, times=1, kind=kind)
    asked = await world.say(world.sam, "/task Buy milk")
    await world.answer_to(asked, "Buy milk")
    assert tasks_named(world, "Buy milk") == 1


async def test_a_write_without_a_key_is_never_sent_again_and_its_user_reads_that_the_outcome_is_unknown(
    world: World,
):
    await world.start()
    await world.authorized(world.sam, "/task warm up")
    await world.control(
        "faults", match={"path": "/open-apis/task", "method": "POST"}, times=1, kind="drop_after"
    )
    asked = await world.say(world.sam, '/call POST /open-apis/task/v2/tasks {"summary":"Once"}')
    await world.answer_to(asked, "Not sure if this worked")
    assert tasks_named(world, "Once") == 1
    assert world.statuses("deferred_calls", command="call") == ["outcome_unknown"]


@pytest.mark.slow
async def test_a_platform_that_stays_away_gets_an_interim_word_and_then_the_answer(world: World):
    await world.start()
    await world.authorized(world.sam)
    await world.trouble({"path": "/open-apis/task"}, "drop_before")
    asked = await world.say(world.sam, "/tasks")
    await world.answer_to(asked, "keep trying", patience=25)
    await world.lift()
    assert len(await world.answers_to(asked, 2, patience=40)) == 2


@pytest.mark.parametrize("kind", ["drop_before", "drop_after", "html"])
async def test_an_answer_is_delivered_once_though_sending_fails(world: World, kind: str):
    await world.start()
    await world.control("faults", match={"path": "/open-apis/im/v1/messages"}, times=2, kind=kind)
    asked = await world.say(world.sam, "/help")
    await world.answer_to(asked)
    await asyncio.sleep(0.5)
    assert len(without_acknowledgements(world.from_bot(world.direct(world.sam), asked))) == 1


SENSITIVE = {
    "kind": "status",
    "status": 400,
    "code": 230022,
    "msg": "The content contains sensitive information.",
}


async def test_an_answer_that_the_platform_refuses_to_carry_is_told(world: World):
    await world.start()
    replies = {"path": "/open-apis/im/v1/messages/*/reply"}
    await world.control("faults", match=replies, times=1, **SENSITIVE)
    asked = await world.say(world.sam, "/help")
    await world.answer_to(
        asked, "The answer to /help is ready, but the platform doesn't let me send it (230022"
    )
    assert len(without_acknowledgements(world.from_bot(world.direct(world.sam), asked))) == 1


@pytest.mark.parametrize("in_group", [False, True])
async def test_a_card_that_the_platform_refuses_to_carry_is_told_and_comes_with_the_next_command(
    world: World, in_group: bool
):
    await world.start()
    # The brackets make it a pattern, which does not match a reaction to a message.
    fault = {"path": "/open-apis/im/v1/message[s]", "method": "POST", "identity": "app"}
    chat = world.group if in_group else None
    await world.control("faults", match=fault, times=1, **SENSITIVE)
    asked = await world.say(world.sam, "/tasks", chat)
    await world.answer_to(asked, "doesn't let me send the card (230022")
    again = await world.say(world.sam, "/tasks", chat)
    await world.consent(world.sam, await world.fresh_card(world.sam, again))
    for each in (asked, again):
        if in_group:
            await world.shown_alone(world.sam, each, "open tasks")
        else:
            await world.answer_to(each, "open tasks")


@pytest.mark.parametrize("kind", ["drop_before", "html"])
async def test_a_card_is_shown_though_sending_it_fails(world: World, kind: str):
    await world.start()
    await world.control("faults", match={"path": "/open-apis/im/v1/messages"}, times=2, kind=kind)
    asked = await world.say(world.sam, "/tasks")
    card = await world.fresh_card(world.sam, asked)
    await world.consent(world.sam, card)
    await world.answer_to(asked)


@pytest.mark.parametrize(
    ("code", "status", "landing"),
    [
        (20003, 400, "not accepted"),
        (20004, 400, "not accepted"),
        (20049, 400, "not accepted"),
        (20065, 400, "not accepted"),
        (20071, 400, "not accepted"),
        (20010, 400, "No access"),
        (20002, 400, "administrator"),
        (20069, 400, "administrator"),
    ],
)
async def test_every_refusal_of_the_token_endpoint_has_a_page_and_loses_nothing(
    world: World, code: int, status: int, landing: str
):
    await world.start()
    asked = await world.say(world.sam, "/tasks")
    card = await world.fresh_card(world.sam, asked)
    body = {"code": code, "error": "invalid_grant", "error_description": "no"}
    await world.control(
        "faults", match={"path": "/open-apis/authen/v2"}, times=1, kind="status", status=status, body=body
    )
    status, page = await world.consent(world.sam, card)
    assert 400 <= status < 500
    assert landing in page
    await world.until(lambda: world.count("authorization_requests", status="open"), "the open request")
    assert world.find("audit_log", action="attempt_failed")
    status, page = await world.consent(world.sam, card)
    assert status == 200, page
    await world.answer_to(asked)


async def test_a_token_endpoint_that_is_down_for_a_moment_costs_the_person_nothing(world: World):
    await world.start()
    asked = await world.say(world.sam, "/tasks")
    card = await world.fresh_card(world.sam, asked)
    await world.control("faults", match={"path": "/open-apis/authen/v2"}, times=1, kind="status", status=503)
    status, _ = await world.consent(world.sam, card)
    assert status < 500
    await world.answer_to(asked, patience=40)


async def test_a_recalled_question_waits_no_longer(world: World):
    await world.start()
    asked = await world.say(world.sam, "/tasks")
    card = await world.fresh_card(world.sam, asked)
    await world.control("recall", message_id=asked)
    event = {"message_id": asked, "chat_id": world.direct(world.sam).chat_id, "recall_time": "1"}
    await world.control("events", event={"event_type": "im.message.recalled_v1", "event": event})
    await world.until(lambda: world.count("deferred_calls", status="cancelled"), "the cancelled call")
    await world.until(lambda: not has_link(world.tenant.messages[card.message_id]), "the card without a link")


async def test_a_question_that_its_recall_has_overtaken_is_not_carried_out(world: World):
    await world.start()
    attacker = WebhookClient(world)
    question = attacker.message("/help")
    recalled = {"message_id": question["event"]["message"]["message_id"], "recall_time": "1"}
    recall = {**attacker.message(event_type="im.message.recalled_v1"), "event": recalled}
    assert (await attacker.send(recall))[0] == 200
    assert (await attacker.send(question))[0] == 200
    await world.answer_to(await world.say(world.sam, "/cancel"))
    assert [row["command"] for row in world.find("deferred_calls")] == ["cancel"]


async def test_a_card_no_longer_asks_for_what_only_a_recalled_question_needed(world: World):
    await world.start()
    first = await world.say(world.sam, "/agenda")
    card = await world.fresh_card(world.sam, first)
    second = await world.say(world.sam, "/tasks")

    def shows(one: str, other: str) -> bool:
        text = text_of(world.tenant.messages[card.message_id].content)
        return one in text and other not in text

    await world.until(lambda: shows("task:task:read", "nothing else"), "the wider card")
    await world.control("recall", message_id=first)
    event = {"message_id": first, "chat_id": world.direct(world.sam).chat_id, "recall_time": "1"}
    await world.control("events", event={"event_type": "im.message.recalled_v1", "event": event})
    await world.until(
        lambda: shows("/tasks", "/agenda") and shows("task:task:read", "calendar"), "less on it"
    )
    await world.consent(world.sam, world.tenant.messages[card.message_id])
    await world.answer_to(second)
    assert not any(scope.startswith("calendar") for scope in world.sam.granted)


async def test_an_answer_to_a_recalled_message_goes_to_the_chat(world: World):
    await world.start()
    await world.authorized(world.sam)
    fault = await world.trouble({"path": "/open-apis/task"}, "drop_before")
    asked = await world.say(world.sam, "/tasks")
    await world.struck(fault)
    world.tenant.recall_message(world.tenant.messages[asked])
    await world.lift()
    await world.until(lambda: world.from_bot(world.direct(world.sam), asked), "an answer in the chat")


async def test_a_person_whom_no_direct_message_reaches_is_asked_in_the_group_for_their_eyes_only(
    world: World,
):
    await world.start()
    await world.control("people", open_id=world.sam.open_id, blocked_bot=True)
    asked = await world.say(world.sam, "/agenda", world.group)
    card = await world.until(
        lambda: next((m for m in world.from_bot(world.group, asked) if has_link(m)), None),
        "the ephemeral card",
    )
    assert card.ephemeral_for == world.sam.open_id
    await world.consent(world.sam, card)
    await world.shown_alone(world.sam, card.message_id)


async def test_a_revocation_at_the_platform_ends_the_grant(world: World):
    await world.start()
    await world.authorized(world.sam)
    await asyncio.sleep(0.01)
    await world.control("revoke", person=world.sam.open_id)
    await world.until(lambda: world.count("grants", status="ended"), "the ended grant")
    asked = await world.say(world.sam, "/tasks")
    await world.fresh_card(world.sam, asked)


async def test_when_refreshing_is_over_the_person_is_asked_again(world: World):
    await world.start()
    await world.authorized(world.sam)
    await world.control("tokens/expire", person=world.sam.open_id, which="both")
    asked = await world.say(world.sam, "/tasks")
    card = await world.fresh_card(world.sam, asked)
    await world.consent(world.sam, card)
    await world.answer_to(asked)


async def test_a_rejected_token_is_refreshed_once_though_many_calls_want_it(world: World):
    await world.start()
    await world.authorized(world.sam)
    await world.control("tokens/expire", person=world.sam.open_id, which="access")
    asked = [await world.say(world.sam, "/tasks") for _ in range(5)]
    for each in asked:
        await world.answer_to(each)
    assert [r["grant_type"] for r in world.requests("oauth/token")].count("refresh_token") == 1


async def test_partly_granted_keeps_what_was_given_and_cancels_the_rest(world: World):
    await world.start()
    first = await world.say(world.sam, "/tasks")
    await world.fresh_card(world.sam, first)
    second = await world.say(world.sam, "/doc welcome")
    card = await world.card_for(world.sam, "docx:document:readonly")
    consent_id = await world.open(card)
    back = await world.decide(consent_id, world.sam, scopes=["task:task:read", "offline_access"])
    status, _, page = await world.get(back)
    assert status == 200
    assert "Partly" in page
    await world.answer_to(first)
    await world.answer_to(second, "docx:document:readonly")
    statuses = world.rows("SELECT command, status FROM deferred_calls ORDER BY command")
    assert statuses == [
        {"command": "doc", "status": "cancelled"},
        {"command": "tasks", "status": "succeeded"},
    ]


async def test_a_page_that_shows_an_error_leads_to_another_alternative(world: World):
    await world.start()
    asked = await world.say(world.sam, "/tasks")
    card = await world.fresh_card(world.sam, asked)
    await world.see_page_error(card)
    await world.report_page_error(world.sam, card)
    await world.until(
        lambda: "task:task:write" in text_of(world.tenant.messages[card.message_id].content),
        "the next alternative",
    )
    await world.consent(world.sam, world.tenant.messages[card.message_id])
    await world.answer_to(asked)


async def test_a_click_by_somebody_else_changes_nothing(world: World):
    await world.start()
    asked = await world.say(world.sam, "/tasks")
    await world.fresh_card(world.sam, asked)
    request = world.only("authorization_requests")
    await forged_click(world, world.ada, {"action": "not_now", "subject": request["id"]})
    assert world.statuses("authorization_requests") == ["open"]


async def test_cancel_drops_what_waits(world: World):
    await world.start()
    asked = await world.say(world.sam, "/tasks")
    card = await world.fresh_card(world.sam, asked)
    await world.answer_to(await world.say(world.sam, "/cancel"), "/tasks")
    await world.answer_to(asked, "cancelled")
    await world.until(lambda: not has_link(world.tenant.messages[card.message_id]), "the card without a link")


@pytest.mark.parametrize("command", ["/cancel", "/revoke"])
async def test_what_is_asked_after_dropping_everything_is_not_dropped(world: World, command: str):
    await world.start()
    await world.authorized(world.sam)
    await world.control("faults", match={"path": "/open-apis/task/"}, times=1, kind="delay", seconds=2)
    await world.say(world.sam, "/tasks")
    dropping = await world.say(world.sam, command)
    later = await world.say(world.sam, "/help")
    await world.answer_to(dropping)
    await world.answer_to(later, "/agenda")


async def test_somebody_of_another_organization_is_told_once(world: World):
    await world.start()
    outsider = next(p for p in world.tenant.people.values() if p.tenant_key != world.tenant.app.tenant_key)
    await world.say(outsider, "/help")
    await world.until(lambda: world.count("outgoing_messages"), "the word")
    await world.say(outsider, "/help")
    await asyncio.sleep(0.5)
    assert world.count("outgoing_messages") == 1
    assert world.count("deferred_calls") == 0


async def test_a_clicks_time_zone_is_that_of_what_is_asked_later(world: World):
    await world.start()
    asked = await world.say(world.sam, "/tasks")
    first = await world.fresh_card(world.sam, asked)
    assert "local_datetime" in text_of(first.content)
    await world.click(world.sam, first, "not_now")
    asked = await world.say(world.sam, "/tasks")
    await world.fresh_card(world.sam, asked)
    zones = world.rows("SELECT time_zone FROM deferred_calls ORDER BY asked_at")
    assert zones == [{"time_zone": None}, {"time_zone": world.sam.timezone}]


async def test_a_consent_survives_a_platform_that_stumbles_over_who_gave_it(world: World):
    await world.start()
    asked = await world.say(world.sam, "/tasks")
    card = await world.fresh_card(world.sam, asked)
    await world.control(
        "faults", match={"path": "/open-apis/authen/v1/user_info"}, times=2, kind="drop_before"
    )
    status, page = await world.consent(world.sam, card)
    assert status == 200, page
    await world.answer_to(asked)

"""Where promises meet: two things at once, answers that nobody expects, and ends that come at the wrong moment."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import closing
from urllib.parse import parse_qs, urlsplit

import pytest

from bot.sandbox.lark.tenant import Message

from .card_content import actions_on, has_link, text_of
from .world import World

TOKEN_ENDPOINT = {"path": "/open-apis/authen/v2"}


# --- coming back ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", ["server_error", "temporarily_unavailable", "invalid_scope"])
async def test_only_a_refusal_declines_and_any_other_error_of_the_page_loses_nothing(
    world: World, error: str
):
    await world.start()
    asked = await world.say(world.sam, "/tasks")
    card = await world.fresh_card(world.sam, asked)
    back = await world.decide(await world.open(card), world.sam, "refuse")
    status, _, page = await world.get(back.replace("access_denied", error))
    assert 400 <= status < 500
    assert "chose not" not in page
    assert world.statuses("deferred_calls") == ["suspended"]
    assert world.count("audit_log", action="attempt_failed")
    status, _ = await world.consent(world.sam, card)
    assert status == 200
    await world.answer_to(asked)


async def test_a_surprise_has_a_page_with_all_headers_and_no_traceback(world: World):
    await world.start()
    await world.say(world.sam, "/tasks")
    link = world.link_of(await world.card_for(world.sam, "task:task:read"))
    with closing(sqlite3.connect(world.database)) as connection, connection:
        connection.execute("ALTER TABLE authorization_requests RENAME TO gone")
    async with world.http.get(link, allow_redirects=False) as response:
        assert response.status == 500
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        assert response.headers["Cache-Control"] == "no-store"
        assert "Traceback" not in await response.text()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("DELETE", "/healthz", 405),
        ("GET", "/nowhere", 404),
        ("GET", "/static/", 403),
        ("PUT", "/lark/events", 405),
    ],
)
async def test_every_refusal_of_a_route_carries_the_headers(
    world: World, method: str, path: str, status: int
):
    await world.start()
    async with world.http.request(method, world.public + path) as response:
        assert response.status == status
        for name in ("Content-Security-Policy", "X-Content-Type-Options", "Referrer-Policy", "Cache-Control"):
            assert name in response.headers, name


async def test_a_phone_whose_name_ends_in_bot_is_no_robot(world: World):
    await world.start()
    await world.say(world.sam, "/tasks")
    link = world.link_of(await world.card_for(world.sam, "task:task:read"))
    status, _, _ = await world.get(
        link, **{"User-Agent": "Mozilla/5.0 (Linux; Android 13; CUBOT NOTE 20) Lark/7"}
    )
    assert status == 302


# --- two things at once -----------------------------------------------------------------------------------------


async def test_a_refusal_in_one_tab_does_not_undo_the_consent_that_is_being_exchanged(world: World):
    await world.start()
    asked = await world.say(world.sam, "/tasks")
    card = await world.fresh_card(world.sam, asked)
    first, second = await world.open(card), await world.open(card)
    exchange = await world.trouble(TOKEN_ENDPOINT, "delay", times=1, seconds=9)
    allowed = asyncio.create_task(world.get(await world.decide(first, world.sam)))
    await world.struck(exchange)
    await world.get(await world.decide(second, world.sam, "refuse"))
    await world.lift(exchange)
    assert (await allowed)[0] == 200
    await world.answer_to(asked)
    assert world.statuses("deferred_calls") == ["succeeded"]
    await world.card_for(world.sam, "Authorized")


async def test_what_is_revoked_while_its_code_is_exchanged_stays_revoked(world: World):
    await world.start()
    asked = await world.say(world.sam, "/tasks")
    card = await world.fresh_card(world.sam, asked)
    back = await world.decide(await world.open(card), world.sam)
    exchange = await world.trouble(TOKEN_ENDPOINT, "delay", times=1, seconds=9)
    coming_back = asyncio.create_task(world.get(back))
    await world.struck(exchange)
    await world.answer_to(await world.say(world.sam, "/revoke"))
    await world.lift(exchange)
    status, _, page = await coming_back
    assert status < 500
    assert not world.count("grants", status="active"), page
    await world.until(lambda: world.requests("oauth/v1/revoke"), "the revocation at the platform")


async def test_a_need_added_during_the_exchange_is_asked_for_on_the_same_card(world: World):
    await world.start()
    first = await world.say(world.sam, "/tasks")
    card = await world.fresh_card(world.sam, first)
    back = await world.decide(await world.open(card), world.sam)
    exchange = await world.trouble(TOKEN_ENDPOINT, "delay", times=1, seconds=9)
    coming_back = asyncio.create_task(world.get(back))
    await world.struck(exchange)
    second = await world.say(world.sam, "/doc welcome")
    await world.until(lambda: world.statuses("deferred_calls") == ["suspended"] * 2, "the second need")
    await world.lift(exchange)
    status, _, page = await coming_back
    assert status == 200
    assert "one more step" in page
    await world.answer_to(first)
    again = await world.card_for(world.sam, "docx:document:readonly")
    assert again.message_id == card.message_id
    await world.consent(world.sam, again)
    await world.answer_to(second)


async def test_a_consent_that_comes_back_after_the_call_expired_is_kept(world: World):
    await world.start()
    asked = await world.say(world.sam, "/tasks")
    card = await world.fresh_card(world.sam, asked)
    consent_id = await world.open(card)
    await world.expires(card)
    status, _, page = await world.get(await world.decide(consent_id, world.sam))
    assert status == 200
    assert world.statuses("grants") == ["active"]
    assert "continues automatically" not in page
    again = await world.say(world.sam, "/tasks")
    await world.answer_to(again)


async def test_the_twenty_first_opening_says_so_and_evicts_none(world: World):
    await world.start()
    asked = await world.say(world.sam, "/tasks")
    link = world.link_of(await world.fresh_card(world.sam, asked))
    consents = [await world.open(link) for _ in range(20)]
    status, _, page = await world.get(link)
    assert status == 429
    assert "too many times" in page
    assert (await world.get(await world.decide(consents[0], world.sam)))[0] == 200
    await world.answer_to(asked)


# --- writes -----------------------------------------------------------------------------------------------------


async def test_a_resend_that_certainly_failed_does_not_forget_that_the_first_sending_may_have_arrived(
    world: World,
):
    await world.start()
    await world.authorized(world.sam, "/task warm up")
    match = {"path": "/open-apis/task", "method": "POST"}
    await world.control("faults", match=match, times=1, kind="drop_after")
    await world.control("faults", match=match, times=1, kind="rate_limit", reset=30)
    await world.say(world.sam, "/task Buy milk")
    await world.until(lambda: len(world.requests("/open-apis/task", "POST")) >= 3, "the second sending")
    put_back = "SELECT id FROM deferred_calls WHERE arguments = 'Buy milk' AND status = 'queued'"
    (call,) = await world.until(lambda: world.rows(put_back), "the call that waits for its next attempt")
    assert world.rows("SELECT first_sent_at FROM call_steps WHERE call_id = ?", call["id"])


# --- what the page refuses -----------------------------------------------------------------------------------------


async def test_a_page_error_for_a_scope_that_the_app_lost_leads_to_the_administrator_and_never_back_to_the_page(
    world: World,
):
    await world.start()
    asked = await world.say(world.sam, "/search welcome")
    card = await world.fresh_card(world.sam, asked)
    await world.see_page_error(card)
    await world.control("app-scopes", scope="search:docs:read", user=False)
    clicked = await world.report_page_error(world.sam, card)
    assert clicked["code"] is None
    await world.until(lambda: not has_link(world.tenant.messages[card.message_id]), "the card without a link")
    await world.card_for(world.ada, "search:docs:read")
    await world.control("app-scopes", scope="search:docs:read", user=True)
    fresh = await world.until(
        lambda: next(
            (m for m in reversed(world.from_bot(world.direct(world.sam), asked)) if has_link(m)), None
        ),
        "the card",
    )
    assert fresh.message_id == card.message_id
    await world.consent(world.sam, fresh)
    await world.answer_to(asked, "esults for")


async def test_when_nothing_else_can_be_asked_for_the_administrator_reads_what_the_user_reports(world: World):
    """The app's list has it enabled: nobody is told that it is missing, and the link goes on leading to the page."""
    await world.start()
    asked = await world.say(world.sam, "/search welcome")
    card = await world.fresh_card(world.sam, asked)
    await world.see_page_error(card)
    assert "offline_access" in await link_scopes(world, card)
    await world.report_page_error(world.sam, card)
    assert await link_scopes(world, card) == {"search:docs:read"}
    await world.until(lambda: "page_error" in actions_on(card), "the card's second control")
    said = await world.report_page_error(world.sam, card)
    assert "told your administrator" in said["response"]["toast"]["content"]
    (told,) = await world.until(lambda: world.from_bot(world.direct(world.ada)), "the report")
    assert "reports" in text_of(told.content)
    assert "search:docs:read" in text_of(told.content)
    assert world.count("scope_waits") == 0
    await world.report_page_error(world.sam, card)
    assert len(world.from_bot(world.direct(world.ada))) == 1
    await world.consent(world.sam, card)
    await world.answer_to(asked, "esults for")


async def link_scopes(world: World, card: Message) -> set[str]:
    """What the card's link asks for; it is opened by that."""
    _, target, _ = await world.get(world.link_of(card))
    return set(parse_qs(urlsplit(target).query)["scope"][0].split())


async def test_a_new_command_gets_a_card_of_its_own_though_an_older_one_waits_for_the_administrator(
    world: World,
):
    await world.start()
    asked = await world.say(world.sam, "/search welcome")
    card = await world.fresh_card(world.sam, asked)
    await world.see_page_error(card)
    await world.control("app-scopes", scope="search:docs:read", user=False)
    await world.report_page_error(world.sam, card)
    second = await world.say(world.sam, "/tasks")
    await world.consent(world.sam, await world.fresh_card(world.sam, second))
    await world.answer_to(second)


async def test_a_click_is_answered_in_time_though_the_list_of_scopes_is_not(world: World):
    await world.start()
    asked = await world.say(world.sam, "/tasks")
    card = await world.fresh_card(world.sam, asked)
    await world.see_page_error(card)
    await world.control("faults", match={"path": "/open-apis/application"}, kind="delay", seconds=6)
    clicked = await world.report_page_error(world.sam, card)
    assert clicked["code"] is None


async def test_an_alternative_that_was_given_up_is_asked_for_when_nothing_else_will_do(world: World):
    await world.start()
    asked = await world.say(world.sam, "/tasks")
    card = await world.fresh_card(world.sam, asked)
    await world.see_page_error(card)
    await world.report_page_error(world.sam, card)
    await world.until(lambda: "task:task:write" in text_of(world.tenant.messages[card.message_id].content))
    second = await world.say(world.sam, "/authorize task:task:read")
    await world.until(lambda: "task:task:read" in text_of(world.tenant.messages[card.message_id].content))
    await world.consent(world.sam, world.tenant.messages[card.message_id])
    await world.answer_to(asked)
    await world.answer_to(second)
    assert world.from_bot(world.direct(world.ada)) == []


async def test_an_administrator_is_told_once_though_the_list_contradicts_the_refusal(world: World):
    await world.start()
    await world.authorized(world.sam)
    body = {
        "code": 99991672,
        "msg": "Access denied. One of the following scopes is required: [task:task:read]",
    }
    await world.trouble({"path": "/open-apis/task"}, "status", status=400, body=body)
    asked = await world.say(world.sam, "/tasks")
    await world.answer_to(asked, "administrator")
    await asyncio.sleep(10)
    assert len(world.from_bot(world.direct(world.ada))) == 1
    assert len(world.requests("/open-apis/task")) < 6
    await world.lift()
    assert len(await world.answers_to(asked, 2, patience=40)) == 2


# --- cards ------------------------------------------------------------------------------------------------------


async def test_a_repeated_sending_of_a_card_shows_what_was_added_in_between(world: World):
    await world.start()
    await world.control("faults", match={"path": "/open-apis/im/v1/messages"}, times=1, kind="drop_after")
    first = await world.say(world.sam, "/tasks")
    await world.say(world.sam, "/doc welcome")
    card = await world.fresh_card(world.sam, first)
    await world.until(
        lambda: "docx:document:readonly" in text_of(world.tenant.messages[card.message_id].content),
        "the added scope",
    )
    assert len([m for m in world.from_bot(world.direct(world.sam)) if has_link(m)]) == 1


async def test_an_ephemeral_card_is_replaced_when_more_is_asked_for(world: World):
    await world.start()
    await world.control("people", open_id=world.sam.open_id, blocked_bot=True)
    first = await world.say(world.sam, "/agenda", world.group)
    card = await world.until(
        lambda: next((m for m in world.from_bot(world.group, first) if has_link(m)), None)
    )
    second = await world.say(world.sam, "/tasks", world.group)
    newer = await world.until(
        lambda: next((m for m in world.from_bot(world.group, second) if has_link(m)), None), "the newer card"
    )
    assert "task:task:read" in text_of(newer.content)
    assert newer.ephemeral_for == world.sam.open_id
    await world.until(
        lambda: card.message_id not in world.tenant.messages or card.deleted or card.recalled, "gone"
    )
    await world.consent(world.sam, newer)
    await world.until(lambda: world.statuses("deferred_calls") == ["succeeded"] * 2, "both answers")
    assert len([m for m in world.from_bot(world.group) if has_link(m)]) <= 2


async def test_a_card_whose_sender_died_is_found_again_though_it_is_settled_by_then(world: World):
    await world.start()
    match = {"path": "/open-apis/im/v1/messages"}
    await world.control("faults", match=match, times=1, kind="delay_after", seconds=3)
    asked = await world.say(world.sam, "/tasks")
    card = await world.fresh_card(world.sam, asked)
    await world.kill()
    await world.start()
    await world.consent(world.sam, card)
    await world.answer_to(asked)
    await world.until(lambda: not has_link(world.tenant.messages[card.message_id]), "the true face", 30)
    cards = [m for m in world.from_bot(world.direct(world.sam), asked) if m.msg_type == "interactive"]
    assert len(cards) == 1


async def test_the_next_alternative_is_asked_for_on_the_same_card(world: World):
    await world.start()
    asked = await world.say(world.sam, "/tasks")
    card = await world.fresh_card(world.sam, asked)
    body = {
        "code": 99991679,
        "msg": "Unauthorized. required one of these privileges: [task:task:read, task:task:write]",
    }
    await world.control(
        "faults", match={"path": "/open-apis/task"}, times=1, kind="status", status=400, body=body
    )
    await world.consent(world.sam, card)
    again = await world.card_for(world.sam, "task:task:write")
    await world.until(lambda: has_link(world.tenant.messages[again.message_id]))
    assert again.message_id == card.message_id
    await world.consent(world.sam, world.tenant.messages[card.message_id])
    await world.answer_to(asked)


async def test_a_platform_that_keeps_refusing_is_explained_after_three_consents(world: World):
    await world.start()
    asked = await world.say(world.sam, "/call GET /open-apis/task/v2/tasks")
    body = {
        "code": 99991679,
        "msg": "required one of these privileges: [task:task:read, task:task:write, drive:drive]",
    }
    await world.control("faults", match={"path": "/open-apis/task"}, kind="status", status=400, body=body)
    asks = (
        "SELECT 1 FROM deferred_calls c JOIN authorization_requests r ON r.id = c.request_id "
        "WHERE c.status = 'suspended' AND r.status = 'open' AND c.consents = ?"
    )
    for consents in range(3):
        await world.until(lambda n=consents: world.rows(asks, n), "a question")
        card = await world.until(
            lambda: next(
                (m for m in reversed(world.from_bot(world.direct(world.sam), asked)) if has_link(m)), None
            ),
            "a card",
        )
        await world.consent(world.sam, card)
    await world.answer_to(asked, "still refuses")
    assert len(world.requests("oauth/token")) == 3


async def test_a_scope_list_that_hangs_delays_people_once_and_not_one_after_another(world: World):
    await world.start()
    await world.control("faults", match={"path": "/open-apis/application"}, kind="timeout")
    began = time.monotonic()
    people = [world.sam, world.wei, world.ada]
    asked = [await world.say(person, "/tasks") for person in people]
    for person, message in zip(people, asked, strict=True):
        await world.until(
            lambda p=person, m=message: any(has_link(x) for x in world.from_bot(world.direct(p), m)),
            "a card",
            60,
        )
    assert time.monotonic() - began < 28


# --- limits and ends --------------------------------------------------------------------------------------------


async def test_a_limit_of_more_than_a_minute_is_told_at_once(world: World):
    await world.start()
    await world.authorized(world.sam)
    await world.control("faults", match={"path": "/open-apis/task"}, kind="rate_limit", reset=61)
    await world.answer_to(await world.say(world.sam, "/tasks"), "limiting requests")


@pytest.mark.parametrize("everything", [False, True], ids=["one-api", "whole-platform"])
async def test_sigterm_ends_in_time_with_an_unkeyed_write_in_flight(world: World, everything: bool):
    await world.start()
    await world.authorized(world.sam, "/task warm up")
    path = "/open-apis/" if everything else "/open-apis/task"
    await world.control("faults", match={"path": path}, kind="timeout")
    await world.say(world.sam, '/call POST /open-apis/task/v2/tasks {"summary":"Once"}')
    await world.say(world.wei, "/tasks")
    await world.until(
        lambda: world.rows("SELECT 1 FROM call_steps WHERE first_sent_at IS NOT NULL AND result IS NULL"),
        "the sending",
    )
    await asyncio.sleep(0.3)
    began = time.monotonic()
    assert await world.stop() == 0
    assert time.monotonic() - began < 10
    assert world.statuses("deferred_calls", command="call") == ["outcome_unknown"]


async def test_of_two_consents_the_one_whose_tokens_are_newer_is_kept(world: World):
    """The first to come back finds no platform, and is exchanged after the second was stored."""
    await world.start()
    asked = await world.say(world.sam, "/tasks")
    card = await world.card_for(world.sam, "task:task:read")
    ways = [await world.decide(await world.open(card), world.sam) for _ in range(2)]
    away = await world.trouble({"grant_type": "authorization_code"}, "status", status=503)
    first = asyncio.create_task(world.get(ways[0]))
    # Its next try follows after more than a second.
    await world.until(lambda: away.struck == 3, "the third try")
    await world.lift(away)
    assert (await world.get(ways[1]))[0] == 200
    await world.answer_to(asked)
    status, _, page = await first
    assert status == 200, page
    assert world.count("audit_log", action="grant_stored") == 2
    assert world.count("audit_log", action="consent_dropped") == 0


async def test_sigterm_during_an_exchange_loses_no_consent(world: World):
    await world.start()
    asked = await world.say(world.sam, "/tasks")
    card = await world.fresh_card(world.sam, asked)
    back = await world.decide(await world.open(card), world.sam)
    fault = await world.trouble(TOKEN_ENDPOINT, "timeout")
    coming_back = asyncio.create_task(world.get(back))
    await world.until(lambda: "redeeming" in world.statuses("authorization_requests"), "the exchange")
    began = time.monotonic()
    assert await world.stop() == 0
    assert time.monotonic() - began < 10
    await asyncio.gather(coming_back, return_exceptions=True)
    await world.lift(fault)
    await world.start()
    await world.answer_to(asked, patience=40)


async def test_a_port_that_is_taken_is_said_in_a_line(world: World):
    await world.start()
    code, _, err = await world.cli("run")
    assert code == 1
    assert "Traceback" not in err
    assert str(world.port) in err


@pytest.mark.parametrize("host", ["999.1.1.1", "192.0.2.1"])
async def test_a_host_of_another_machine_is_named_as_the_setting_to_fix(world: World, host: str):
    world.settings["BOT_HOST"] = host
    code, _, err = await world.cli("run")
    assert code == 2
    assert err.splitlines()[-1].startswith(f"bot: BOT_HOST: '{host}' is not an address of this machine.")


async def test_words_may_be_separated_by_any_space(world: World):
    await world.start()
    asked = await world.say(world.wei, "/authorize\u3000task:task:read")
    await world.fresh_card(world.wei, asked)


async def test_asking_ahead_for_what_the_page_never_gives_ends(world: World):
    await world.start()
    asked = await world.say(world.sam, "/authorize offline_access task:task:read")
    card = await world.fresh_card(world.sam, asked)
    back = await world.decide(await world.open(card), world.sam, scopes=["task:task:read"])
    await world.get(back)
    await world.answer_to(asked, "offline_access")
    assert world.statuses("deferred_calls") == ["cancelled"]


async def test_a_mention_right_after_the_start_is_not_sent_away(world: World):
    await world.control(
        "faults", match={"path": "/open-apis/bot/v3/info"}, times=1, kind="delay", seconds=0.5
    )
    await world.start()
    await world.answer_to(await world.say(world.sam, "/help", world.group))


async def test_too_many_messages_for_one_person_are_sent_in_turn_and_use_up_no_other_persons_requests(
    world: World,
):
    """The platform takes five messages a second to a chat, and counts those it refuses against the whole app."""
    await world.start()
    asked = [await world.say(world.sam, "/agenda") for _ in range(40)]
    await world.until(lambda: world.count("deferred_calls", status="suspended") == 40, "waiting")
    await world.say(world.sam, "/cancel")
    other = await world.say(world.wei, "/help")
    await world.answer_to(other)
    for each in asked:
        await world.answer_to(each, "/agenda: cancelled", patience=60)
    assert len(world.requests("/reply", "POST")) < 2 * 41


@pytest.mark.parametrize("command", ["/tasks", "/task Buy milk"])
async def test_a_refusal_for_want_of_a_scope_that_names_none_is_asked_about_once(world: World, command: str):
    """We hold all that the command needs, as far as we know: a consent settles it, or it is explained."""
    await world.start()
    asked = await world.say(world.sam, command)
    await world.consent(world.sam, await world.fresh_card(world.sam, asked))
    await world.answer_to(asked)
    unnamed = {"kind": "status", "status": 400, "code": 99991679, "msg": "Unauthorized."}
    await world.control("faults", match={"path": "/open-apis/task"}, times=1, **unnamed)
    asked = await world.say(world.sam, command)
    await world.consent(world.sam, await world.fresh_card(world.sam, asked))
    await world.answer_to(asked)
    (call,) = world.rows("SELECT status, consents FROM deferred_calls ORDER BY id DESC LIMIT 1")
    assert call == {"status": "succeeded", "consents": 1}
    await world.control("faults", match={"path": "/open-apis/task"}, **unnamed)
    asked = await world.say(world.sam, command)
    await world.consent(world.sam, await world.fresh_card(world.sam, asked))
    await world.answer_to(asked, "The platform refused")

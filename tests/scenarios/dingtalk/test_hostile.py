"""What comes to the doors on DingTalk and is not what it says it is."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import io
import json
import secrets
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from bot.sandbox.dingtalk.sample_tenant import TEMPLATE_ID
from tests.ports import free_port
from tests.scenarios.card_content import text_of
from tests.scenarios.dingtalk.conftest import DingTalkWorld, buttons_of

HOUR = 3600


def signature(key: str, message: str) -> str:
    return base64.b64encode(hmac.digest(key.encode(), message.encode(), "sha256")).decode()


def signed_message(secret: str, at: float) -> dict[str, str]:
    timestamp = str(round(at * 1000))
    return {"timestamp": timestamp, "sign": signature(secret, f"{timestamp}\n{secret}")}


def signed_click(secret: str, at: float) -> dict[str, str]:
    timestamp = str(round(at * 1000))
    return {"x-ddpaas-signature-timestamp": timestamp, "x-ddpaas-signature": signature(secret, timestamp)}


def message_from(world: DingTalkWorld, person: Any, text: str, **fields: Any) -> dict[str, Any]:
    """A message as the platform pushes it to the webhook."""
    return {
        "conversationId": world.direct(person).chat_id,
        "conversationType": "1",
        "msgId": f"msg{secrets.token_hex(8)}",
        "msgtype": "text",
        "text": {"content": text},
        "createAt": round(time.time() * 1000),
        "senderId": person.sender_id,
        "senderStaffId": person.user_id,
        "senderNick": person.name,
        "senderCorpId": person.corp_id,
        "robotCode": world.tenant.app.robot_code,
        **fields,
    }


async def post(world: DingTalkWorld, path: str, body: Any, headers: dict[str, str]) -> int:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with world.http.post(f"{world.public}/dingtalk/{path}", data=data, headers=headers) as response:
        await response.read()
        return response.status


async def is_alive(world: DingTalkWorld) -> None:
    """Everything that came before has been dealt with."""
    asked = await world.say(world.wei, "/help")
    await world.told(world.wei, "/agenda", asked)


# --- signatures ------------------------------------------------------------------------------------------


async def test_what_is_not_signed_now_with_the_apps_secret_is_refused(world: DingTalkWorld):
    await world.start(DINGTALK_EVENTS="webhook")
    secret, now = world.tenant.app.client_secret, time.time()
    right = signed_message(secret, now)
    forged = [
        {},
        {"timestamp": right["timestamp"]},
        {"sign": right["sign"]},
        right | {"sign": ""},
        right | {"sign": right["sign"][:-4]},
        right | {"timestamp": str(int(right["timestamp"]) + 1)},
        signed_message("another secret", now),
        signed_message("", now),
        signed_message(secret, now - HOUR - 5),
        signed_message(secret, now - 30 * 24 * HOUR),
        signed_message(secret, now + 400),
        signed_click(secret, now),
        signed_click((world.tenant.callback_routes and "") or secret, now) | {"sign": "AAAA"},
    ]
    for headers in forged:
        for path in ("events", "cards"):
            body = message_from(world, world.sam, "/task Forged")
            assert await post(world, path, body, headers) == 401, (path, headers)
    await is_alive(world)
    assert {row["command"] for row in world.rows("SELECT command FROM deferred_calls")} == {"help"}
    assert world.rows("SELECT 1 FROM users WHERE open_id = ?", world.sam.user_id) == []


async def test_what_is_signed_and_odd_is_refused_and_stops_nothing(world: DingTalkWorld):
    await world.start(DINGTALK_EVENTS="webhook")
    secret = world.tenant.app.client_secret
    odd: list[Any] = [
        b"", b"[]", b"null", b"\xff\xfe", b"{" * 5000, b'{"msgId": 7}', {"msgId": "m"},
        message_from(world, world.sam, "/task x", senderCorpId="a:b"),
        message_from(world, world.sam, "/task x", msgId=None),
        message_from(world, world.sam, "/task x", createAt="yesterday"),
        message_from(world, world.sam, "/task x") | {"text": None},
    ]  # fmt: skip
    for body in odd:
        assert await post(world, "events", body, signed_message(secret, time.time())) == 400, body
    await is_alive(world)
    assert world.count("deferred_calls", command="task") == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"senderCorpId": "dingother"},
        {"senderCorpId": "dingother", "senderId": "$:LWCP_v1:$x", "senderUnionId": "uNSamRivera0000iEiE"},
        {"senderStaffId": None},
        {"senderStaffId": ""},
    ],
)
async def test_an_id_of_another_organization_is_nobody_here(world: DingTalkWorld, fields: dict[str, Any]):
    await world.start(DINGTALK_EVENTS="webhook")
    asked = await world.say(world.sam, "/task first")
    await world.authorize_in_client(world.sam, await world.card_for(world.sam))
    await world.told(world.sam, "Task created", asked)
    body = message_from(world, world.sam, "/task Forged", **fields)
    assert (
        await post(world, "events", body, signed_message(world.tenant.app.client_secret, time.time())) == 200
    )
    await is_alive(world)
    assert "Forged" not in [todo["subject"] for todo in world.tenant.work.todos.values()]
    assert world.count("deferred_calls", command="task") == 1


@pytest.mark.parametrize("times", [2, 5])
async def test_a_replayed_message_has_one_effect(world: DingTalkWorld, times: int):
    await world.start(DINGTALK_EVENTS="webhook")
    asked = await world.say(world.sam, "/task first")
    await world.authorize_in_client(world.sam, await world.card_for(world.sam))
    await world.told(world.sam, "Task created", asked)
    secret, body = world.tenant.app.client_secret, message_from(world, world.sam, "/task Once")
    for at in range(times):
        assert await post(world, "events", body, signed_message(secret, time.time() - at * 60)) == 200
    await world.until(lambda: world.count("deferred_calls", status="succeeded", command="task") == 2)
    await is_alive(world)
    assert [t["subject"] for t in world.tenant.work.todos.values()].count("Once") == 1


# --- clicks ----------------------------------------------------------------------------------------------


def click_by(world: DingTalkWorld, person: Any, button: str, **fields: Any) -> dict[str, Any]:
    """A click as the platform calls back."""
    control = {"cardPrivateData": {"actionIds": [button], "params": {}}}
    return {
        "type": "actionCallback",
        "outTrackId": "any",
        "corpId": world.tenant.app.corp_id,
        "userId": person.user_id,
        "userIdType": 1,
        "spaceType": "IM_ROBOT",
        "spaceId": person.user_id,
        "extension": "{}",
        "content": json.dumps(control),
        **fields,
    }


async def card_secret(world: DingTalkWorld) -> str:
    await world.until(lambda: world.tenant.callback_routes, "the registration of the webhook")
    (route,) = world.tenant.callback_routes.values()
    return str(route.api_secret)


async def test_a_click_by_anybody_but_the_asker_changes_nothing(world: DingTalkWorld):
    await world.start(DINGTALK_EVENTS="webhook", DINGTALK_CARD_TEMPLATE_ID=TEMPLATE_ID)
    secret = await card_secret(world)
    asked = await world.say(world.sam, "/task first")
    card = await world.card_for(world.sam)
    (decline,) = [each["id"] for each in buttons_of(card) if each.get("id", "").startswith("not_now")]
    strangers = [
        click_by(world, world.ada, decline),
        click_by(world, world.wei, decline),
        click_by(world, world.sam, decline, corpId="dingother"),
        click_by(world, world.sam, decline, userId=world.sam.union_id),
        click_by(world, world.ada, decline, spaceId=world.sam.user_id, outTrackId=card.out_track_id),
    ]
    for body in strangers:
        assert await post(world, "cards", body, signed_click(secret, time.time())) == 200
    assert world.statuses("authorization_requests") == ["open"]
    await world.authorize_in_client(world.sam, card)
    await world.told(world.sam, "Task created", asked)
    late = await world.say(world.sam, "/task Pay the invoice", age=2 * HOUR)
    question = await world.told(world.sam, "Still want this?", late)
    (confirm,) = [each["id"] for each in buttons_of(question) if each.get("id", "").startswith("confirm")]
    for person in (world.ada, world.wei):
        for button in (confirm, confirm.replace("confirm", "discard")):
            body = click_by(world, person, button, outTrackId=question.out_track_id)
            assert await post(world, "cards", body, signed_click(secret, time.time())) == 200
    assert world.count("deferred_calls", waits_for="confirmation") == 1
    body = click_by(world, world.sam, confirm)
    for _ in range(3):
        assert await post(world, "cards", body, signed_click(secret, time.time())) == 200
    await world.told(world.sam, "Task created", late)
    assert [t["subject"] for t in world.tenant.work.todos.values()].count("Pay the invoice") == 1


async def test_a_click_needs_the_secret_of_clicks(world: DingTalkWorld):
    await world.start(DINGTALK_EVENTS="webhook", DINGTALK_CARD_TEMPLATE_ID=TEMPLATE_ID)
    secret, now = await card_secret(world), time.time()
    await world.say(world.sam, "/task first")
    card = await world.card_for(world.sam)
    (decline,) = [each["id"] for each in buttons_of(card) if each.get("id", "").startswith("not_now")]
    body = click_by(world, world.sam, decline)
    for headers in (
        {},
        signed_click(world.tenant.app.client_secret, now),
        signed_message(world.tenant.app.client_secret, now),
        signed_click(secret, now - HOUR - 5),
        signed_click(secret, now + 400),
        signed_click(hashlib.sha256(secret.encode()).hexdigest(), now),
    ):
        assert await post(world, "cards", body, headers) == 401, headers
    assert world.statuses("authorization_requests") == ["open"]


# --- where answers go ------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def listener() -> AsyncIterator[tuple[int, list[str]]]:
    """A host that is not the platform's, and what it was sent."""
    heard: list[str] = []

    async def hear(request: web.Request) -> web.Response:
        heard.append(f"{request.path_qs} {await request.text()}")
        return web.json_response({"errcode": 0, "errmsg": "ok"})

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", hear)
    runner, port = web.AppRunner(app, access_log=None), free_port()
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield port, heard
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/robot/sendBySession?session=x",
        "http://localhost:{port}/robot/sendBySession?session=x",
        "http://oapi.dingtalk.com@127.0.0.1:{port}/robot/sendBySession?session=x",
        "https://oapi.dingtalk.com:{port}/robot/sendBySession?session=x",
        "https://dingtalk.com.evil.example/robot/sendBySession",
        "//127.0.0.1:{port}/",
        "file:///etc/passwd",
        "{origin}@127.0.0.1:{port}/robot/sendBySession",
        "{origin}.127.0.0.1.nip.example:{port}/",
    ],
)
async def test_an_answer_goes_to_the_platform_whatever_the_event_says(world: DingTalkWorld, url: str):
    async with listener() as (port, heard):
        await world.start()
        address = url.format(port=port, origin=world.origin)
        asked = await world.say(world.sam, "/help", fields={"sessionWebhook": address})
        answer = await world.told(world.sam, "/agenda", asked)
        assert answer.sent_by == "batchSend"
        assert heard == []


# --- codes -----------------------------------------------------------------------------------------------


async def begun(world: DingTalkWorld, card: Any) -> Any:
    ticket = world.link_of(card).rsplit("/", 1)[1]
    status, attempt = await world.post_from_page("attempts", ticket=ticket)
    assert status == 200, attempt
    return attempt


async def code_of(world: DingTalkWorld, person: Any, attempt: Any) -> str:
    asked = {
        "type": "0",
        "clientId": attempt["clientId"],
        "corpId": attempt["corpId"],
        "rpcScope": ",".join(attempt["rpcScope"]),
        "fieldScope": ",".join(attempt["fieldScope"]),
    }
    given = await world.control("in-client", person=person.user_id, decision="ok", **asked)
    return str(given["result"]["authCode"])


async def test_a_code_counts_for_its_own_person_and_once(world: DingTalkWorld):
    await world.start()
    asked = await world.say(world.sam, "/me")
    sams = await world.card_for(world.sam)
    await world.say(world.ada, "/me")
    adas = await world.card_for(world.ada)
    first, hers = await begun(world, sams), await begun(world, adas)
    code = await code_of(world, world.ada, hers)
    status, page = await world.post_from_page("results", state=first["state"], authCode=code)
    assert (status, "Wrong account" in page["title"]) == (403, True)
    status, page = await world.post_from_page("results", state=hers["state"], authCode=code)
    assert status >= 400, page
    for odd in ("", "x" * 5000, "nonsense", "../../v1.0"):
        attempt = await begun(world, sams)
        status, page = await world.post_from_page("results", state=attempt["state"], authCode=odd)
        assert status >= 400, page
    for state in ("", "nonsense", first["state"], hers["state"]):
        status, page = await world.post_from_page("results", state=state, authCode="nonsense")
        assert status >= 400, page
    assert world.count("grants") == 0
    await world.authorize_in_client(world.sam, sams)
    await world.told(world.sam, world.sam.mobile, asked)


async def test_a_token_for_another_of_the_persons_organizations_is_dropped(world: DingTalkWorld):
    niko = next(p for p in world.tenant.people.values() if p.corp_id != world.tenant.app.corp_id)
    world.tenant.behaviour.consents_in = niko.corp_id
    await world.start()
    asked = await world.say(world.sam, "/me")
    card = await world.card_for(world.sam)
    status, page = await world.consent(world.sam, card)
    assert (status, "Wrong account" in page) == (403, True)
    assert world.count("grants") == 0
    world.tenant.behaviour.consents_in = None
    await world.consent(world.sam, card)
    await world.told(world.sam, world.sam.mobile, asked)


@pytest.mark.parametrize("origin", ["https://evil.example", "http://127.0.0.1:1", "null"])
async def test_a_page_elsewhere_cannot_use_the_page_in_the_client(world: DingTalkWorld, origin: str):
    await world.start()
    await world.say(world.sam, "/me")
    ticket = world.link_of(await world.card_for(world.sam)).rsplit("/", 1)[1]
    for path, body in (("attempts", {"ticket": ticket}), ("results", {"state": "x", "authCode": "y"})):
        url = f"{world.public}/oauth/dingtalk/client/{path}"
        async with world.http.post(url, json=body, headers={"Origin": origin}) as response:
            assert response.status == 403


# --- the long connection ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [200_000, 1_100_000, 3_000_000])
async def test_an_oversized_frame_costs_a_connection_and_nothing_else(world: DingTalkWorld, size: int):
    world.tenant.behaviour.redelivery_seconds = ()
    await world.start()
    said = json.dumps({"person": world.sam.user_id, "text": "x" * size}).encode()
    async with world.http.post(f"{world.origin}/sandbox/api/messages", data=io.BytesIO(said)) as response:
        assert response.status == 200
    await world.until(lambda: world.tenant.feed.changes_after(0, "event"), "the frame")
    asked = ""

    async def answered() -> None:
        nonlocal asked
        for _ in range(20):
            asked = await world.say(world.sam, "/help")
            with contextlib.suppress(AssertionError):
                await world.told(world.sam, "/agenda", asked, patience=3)
                return
        raise AssertionError(world.log_tail())

    await answered()
    assert "x" * 1000 not in "".join(text_of(m.content) for m in world.from_bot(world.direct(world.sam)))

"""Stream mode: tickets, frames, acknowledgements, pings, the end of a connection, and what is pushed again."""

import asyncio
import base64
import hashlib
import hmac
import json

import pytest
from aiohttp import WSServerHandshakeError

from bot.sandbox.dingtalk.sample_tenant import ADA, CORP_ID, GROUP, NIKO, SAM, WEI
from tests.sandbox.dingtalk.conftest import until

OPEN = "/v1.0/gateway/connections/open"
MESSAGES, CARDS = "/v1.0/im/bot/messages/get", "/v1.0/card/instances/callback"


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"clientSecret": "wrong"}, 401, "authFailed"),
        ({"clientId": ""}, 400, "MissingclientId"),
        ({"subscriptions": None}, 400, "Missingsubscriptions"),
        ({"subscriptions": []}, 400, "param.error"),
        ({"subscriptions": [{"type": "ANY", "topic": "*"}]}, 400, "param.error"),
        ({"subscriptions": [{"type": "CALLBACK"}]}, 400, "param.error"),
    ],
)
async def test_a_wrong_request_gets_no_ticket(world, change, status, code):
    body = {**world.credentials, "subscriptions": [{"type": "CALLBACK", "topic": MESSAGES}], **change}
    answer = await world.post(OPEN, json=body, headers={"Accept": "application/json"})
    assert (answer.status, answer.code) == (status, code)


async def test_without_accept_the_answer_is_xml(world):
    body = {**world.credentials, "subscriptions": [{"type": "CALLBACK", "topic": MESSAGES}]}
    answer = await world.post(OPEN, json=body)
    assert answer.headers["Content-Type"].startswith("application/xml")
    assert "<ticket>" in answer.body


async def test_a_ticket_is_good_for_one_connection(world):
    opened = await world.ticket()
    connect = world.client.session.ws_connect
    first = await connect(opened["endpoint"], params={"ticket": opened["ticket"]})
    with pytest.raises(WSServerHandshakeError, match="401"):
        await connect(opened["endpoint"], params={"ticket": opened["ticket"]})
    await first.close()


async def test_a_ticket_lives_ninety_seconds(world):
    opened = await world.ticket()
    await world.control("clock", advance=90)
    with pytest.raises(WSServerHandshakeError, match="401"):
        await world.client.session.ws_connect(opened["endpoint"], params={"ticket": opened["ticket"]})


async def test_too_many_connections_are_refused(world):
    await world.control("behaviour", connection_limit=1)
    await world.connect()
    with pytest.raises(WSServerHandshakeError, match="403"):
        await world.connect()


async def test_a_message_arrives_in_a_frame_and_is_acknowledged(world):
    stream = await world.connect()
    sent = await world.control("messages", person=ADA, text="create my todo")
    frame = await stream.frame()
    assert frame["specVersion"] == "1.0"
    assert frame["type"] == "CALLBACK"
    headers = frame["headers"]
    assert headers["topic"] == MESSAGES
    assert headers["messageId"] == sent["event_id"]
    assert headers["time"].isdigit()
    assert {"appId", "connectionId", "contentType"} <= headers.keys()
    data = json.loads(frame["data"])
    assert data["text"] == {"content": "create my todo"}
    assert (data["conversationType"], data["msgtype"], data["msgId"]) == ("1", "text", sent["message_id"])
    assert (data["senderStaffId"], data["senderCorpId"], data["chatbotCorpId"]) == (ADA, CORP_ID, CORP_ID)
    assert data["sessionWebhookExpiredTime"] == data["createAt"] + 5_400_000
    assert "senderUnionId" not in data
    record = world.tenant.events[sent["event_id"]]
    assert not record.acknowledged
    await stream.ack(frame, {"response": None})
    await until(lambda: record.acknowledged)


async def test_a_group_message_arrives_only_if_it_mentions_the_bot(world):
    stream = await world.connect()
    quiet = await world.control("messages", person=SAM, chat_id=GROUP, text="hello all")
    assert quiet["event_id"] is None
    await world.control("messages", person=SAM, chat_id=GROUP, text="/me", mention_bot=True, mentions=[WEI])
    data = await stream.message()
    assert data["conversationType"] == "2"
    assert data["text"]["content"] == " /me"
    assert (data["isInAtList"], data["conversationTitle"]) == (True, "Launch crew")
    assert [each.get("staffId") for each in data["atUsers"]] == [None, WEI]
    assert data["atUsers"][0]["dingtalkId"] == data["chatbotUserId"]


@pytest.mark.parametrize("reason", ["outsider", "not published"])
async def test_a_sender_without_a_staff_id(world, reason):
    stream = await world.connect()
    await world.control("app", published=reason != "not published")
    await world.control("behaviour", events_name_union_id=True)
    await world.control("messages", person=NIKO if reason == "outsider" else ADA, text="/me")
    data = await stream.message()
    assert "senderStaffId" not in data
    assert "senderUnionId" not in data
    assert data["senderId"].startswith("$:LWCP_v1:$")


@pytest.mark.parametrize("kind", ["richText", "picture", "audio", "video", "file"])
async def test_other_types_carry_their_content(world, kind):
    stream = await world.connect()
    content = {"richText": [{"text": "/me"}]} if kind == "richText" else {"downloadCode": "d1"}
    await world.control("messages", person=ADA, message_type=kind, content=content)
    data = await stream.message()
    assert (data["msgtype"], data["content"]) == (kind, content)


async def test_fields_of_a_message_can_be_replaced_and_left_out(world):
    stream = await world.connect()
    await world.control("behaviour", events_name_union_id=True, create_at_is_text=True)
    fields = {"senderNick": "<b>", "sessionWebhook": None}
    await world.control("messages", person=ADA, text="x", fields=fields)
    data = await stream.message()
    assert data["senderNick"] == "<b>"
    assert "sessionWebhook" not in data
    assert isinstance(data["createAt"], str)
    assert data["senderUnionId"] == world.tenant.people[ADA].union_id


async def test_what_nobody_subscribed_to_is_not_pushed(world):
    await world.connect(CARDS)
    sent = await world.control("messages", person=ADA, text="x")
    record = world.tenant.events[sent["event_id"]]
    await until(lambda: record.attempts)
    assert record.attempts[0]["problem"] == "no connection subscribed to this topic"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"code": 201}, "code is 200, 400, 404 or 500"),
        ({"code": "200"}, "code is 200, 400, 404 or 500"),
        ({"data": {"response": None}}, "data is a text"),
        ({"data": "not json"}, "data is not JSON"),
        ({"headers": {"contentType": "application/json"}}, "no messageId"),
        ({"headers": None}, "no headers"),
        ({"message": 7}, "message is a text"),
    ],
)
async def test_a_malformed_acknowledgement_acknowledges_nothing(world, change, problem):
    stream = await world.connect()
    sent = await world.control("messages", person=ADA, text="x")
    frame = await stream.frame()
    headers = {"messageId": frame["headers"]["messageId"], "contentType": "application/json"}
    ack = {"code": 200, "headers": headers, "message": "OK", "data": "{}", **change}
    await stream.socket.send_str(json.dumps(ack))
    connections = (await world.get("/sandbox/api/connections")).body
    while not connections["acknowledgements"]:
        connections = (await world.get("/sandbox/api/connections")).body
    assert connections["acknowledgements"][0]["problem"] == problem
    assert not world.tenant.events[sent["event_id"]].acknowledged
    await stream.ack(frame)
    await until(lambda: world.tenant.events[sent["event_id"]].acknowledged)


async def test_an_acknowledgement_with_an_error_is_none(world):
    stream = await world.connect()
    sent = await world.control("messages", person=ADA, text="x")
    await stream.ack(await stream.frame(), code=500)
    record = world.tenant.events[sent["event_id"]]
    await until(lambda: record.attempts)
    assert (record.acknowledged, record.attempts[0]["status"]) == (False, 500)


async def test_an_unacknowledged_message_can_be_pushed_again_in_the_same_frame(world):
    await world.control("behaviour", redelivery_seconds=[16, 60])
    stream = await world.connect()
    sent = await world.control("messages", person=ADA, text="x")
    first = await stream.frame()
    await stream.ack(first, code=500)
    await until(lambda: world.tenant.events[sent["event_id"]].attempts)
    await world.control("clock", advance=16)
    again = await stream.frame()
    assert again["headers"]["messageId"] == first["headers"]["messageId"]
    assert again["data"] == first["data"]
    await stream.ack(again)
    await until(lambda: world.tenant.events[sent["event_id"]].acknowledged)


async def test_an_acknowledged_message_can_be_pushed_once_more(world):
    await world.control("behaviour", repeats_acknowledged=True)
    stream = await world.connect()
    await world.control("messages", person=ADA, text="x")
    first = await stream.message()
    assert await stream.message() == first


async def test_a_replay_can_come_in_another_frame(world):
    stream = await world.connect()
    sent = await world.control("messages", person=ADA, text="x")
    await stream.message()
    await until(lambda: world.tenant.events[sent["event_id"]].attempts)
    replay = asyncio.create_task(world.control("events/replay", event_id=sent["event_id"], new_frame=True))
    frame = await stream.frame()
    assert frame["headers"]["messageId"] != sent["event_id"]
    await stream.ack(frame)
    assert len((await replay)["attempts"]) == 2


async def test_an_event_has_its_headers(world):
    stream = await world.connect(events=True)
    push = asyncio.create_task(world.control("events", type="user_add_org", event={"userId": [ADA]}))
    frame = await stream.frame()
    assert frame["type"] == "EVENT"
    assert frame["headers"]["eventType"] == "user_add_org"
    assert frame["headers"]["eventCorpId"] == CORP_ID
    await stream.ack(frame, {"status": "SUCCESS", "message": ""})
    assert (await push)["acknowledged"]


@pytest.mark.parametrize("echo", [True, False])
async def test_a_ping_must_come_back(world, echo):
    stream = await world.connect()
    ping = asyncio.create_task(world.control("connections/ping"))
    frame = await stream.frame()
    assert (frame["type"], frame["headers"]["topic"]) == ("SYSTEM", "ping")
    opaque = json.loads(frame["data"])["opaque"]
    await stream.ack(frame, {"opaque": opaque if echo else "something"})
    assert (await ping)["answered"] == int(echo)


async def test_pings_are_sent_regularly(world):
    stream = await world.connect()
    await world.control("clock", advance=60)
    frame = await stream.frame()
    assert frame["headers"]["topic"] == "ping"


async def test_a_disconnect_is_announced_and_the_connection_is_cut_later(world):
    stream = await world.connect()
    await world.request("DELETE", "/sandbox/api/connections?how=disconnect")
    frame = await stream.frame()
    assert (frame["type"], frame["headers"]["topic"]) == ("SYSTEM", "disconnect")
    assert json.loads(frame["data"])["reason"]
    sent = await world.control("messages", person=ADA, text="x")
    await until(lambda: world.tenant.events[sent["event_id"]].attempts)
    await world.control("clock", advance=10)
    async with asyncio.timeout(10):
        assert (await stream.socket.receive()).type.name in ("CLOSED", "CLOSING", "ERROR", "CLOSE")


async def test_each_message_goes_to_one_connection(world):
    streams = [await world.connect() for _ in range(3)]
    await world.control("messages", person=ADA, text="x")
    shown = (await world.get("/sandbox/api/connections")).body["connections"]
    assert sum(each["delivered"] for each in shown) == 1
    assert len(streams) == 3


# HTTP mode


async def test_a_push_by_http_is_signed(world, receiver):
    await world.control("subscription", by="webhook", url=receiver.url)
    sent = await world.control("messages", person=ADA, text="/me")
    await until(lambda: world.tenant.events[sent["event_id"]].acknowledged)
    headers, body = receiver.got[0]
    assert (body["text"]["content"], body["msgId"]) == ("/me", sent["message_id"])
    secret = world.tenant.app.client_secret
    signed = hmac.new(secret.encode(), f"{headers['timestamp']}\n{secret}".encode(), hashlib.sha256)
    assert headers["sign"] == base64.b64encode(signed.digest()).decode()


async def test_a_message_in_the_http_answer_is_shown(world, receiver):
    await world.control("subscription", by="webhook", url=receiver.url)
    receiver.answer = {"msgtype": "text", "text": {"content": "at once"}}
    await world.control("messages", person=ADA, text="/me")
    await until(lambda: len(world.tenant.messages) == 2)
    assert list(world.tenant.messages.values())[1].content == {"content": "at once"}


async def test_a_raw_push_carries_what_a_test_wants(world, receiver):
    await world.control("subscription", by="webhook", url=receiver.url)
    receiver.status = 401
    pushed = await world.control(
        "events", body='{"msgId": "m"}', headers={"sign": "forged", "timestamp": "1"}
    )
    assert receiver.got[0][0]["sign"] == "forged"
    assert (pushed["acknowledged"], pushed["attempts"][0]["status"]) == (False, 401)

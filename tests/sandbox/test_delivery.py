"""Events and card clicks by webhook: sealed, signed, redelivered; callbacks once."""

import asyncio
import base64
import hashlib
import json

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from bot.sandbox.lark.sample_tenant import ADA, BOT, GROUP, WEI
from bot.sandbox.lark.webhook import encrypt, signature


def opened(tenant, headers, body):
    """What a receiver does: checks the signature, decrypts, parses."""
    key = tenant.app.encrypt_key
    stamped = headers["X-Lark-Request-Timestamp"] + headers["X-Lark-Request-Nonce"] + key
    assert headers["X-Lark-Signature"] == hashlib.sha256(stamped.encode() + body).hexdigest()
    return decrypted(key, json.loads(body)["encrypt"])


def decrypted(key: str, sealed: str):
    raw = base64.b64decode(sealed)
    cipher = Cipher(algorithms.AES(hashlib.sha256(key.encode()).digest()), modes.CBC(raw[:16])).decryptor()
    padded = cipher.update(raw[16:]) + cipher.finalize()
    return json.loads(padded[: -padded[-1]])


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


def test_encryption_and_signature_match_the_known_vectors():
    plain = b'{"challenge":"ch-7f3a","token":"vtok-emu-1","type":"url_verification"}'
    sealed = encrypt("emu-encrypt-key-01", plain, bytes(range(16)))
    body = json.dumps({"encrypt": sealed}, separators=(",", ":")).encode()
    assert body.decode() == (
        '{"encrypt":"AAECAwQFBgcICQoLDA0ODyIZadNjAv2yuwEw+5GQS0yMlnEWFG4m6EjVgusu+f2K0wP+iESxMil1qQPVMyzBeA7/'
        '6+mGtDVUTSfOAPYz58by8Uo5/bPYJfMuGWRsHvVv"}'
    )
    expected = "3fad66bb2e58ca3d362d774537ddcff5597f907400bff9396b064c5f593c10c6"
    assert signature("1767225600", "n0nce-42", "emu-encrypt-key-01", body) == expected


async def test_a_message_arrives_sealed_and_signed(world, receiver):
    sent = await world.control("messages", person=WEI, text="/agenda")
    await until(lambda: receiver.got)
    event = opened(world.tenant, *receiver.got[0])
    assert event["schema"] == "2.0"
    assert event["header"]["event_id"] == sent["event_id"]
    assert event["header"]["token"] == world.tenant.app.verification_token
    message = event["event"]["message"]
    assert (message["message_id"], message["chat_type"]) == (sent["message_id"], "p2p")
    assert json.loads(message["content"]) == {"text": "/agenda"}
    assert "LarkLocale/zh_CN" in message["user_agent"]
    assert "mentions" not in message
    assert event["event"]["sender"]["sender_id"]["open_id"] == WEI


async def test_in_a_group_only_mentions_arrive(world, receiver):
    silent = await world.control("messages", person=ADA, chat_id=GROUP, text="morning")
    assert silent["event_id"] is None
    await world.control("messages", person=ADA, chat_id=GROUP, text="/me", mention_bot=True)
    await until(lambda: receiver.got)
    (request,) = receiver.got
    message = opened(world.tenant, *request)["event"]["message"]
    assert json.loads(message["content"]) == {"text": "@_user_1 /me"}
    assert message["mentions"][0]["id"]["open_id"] == BOT


async def test_people_are_mentioned_by_placeholders(world, receiver):
    said = {"person": ADA, "text": "/task ask @_user_2"}
    await world.control("messages", **said, mentions=[WEI])
    await until(lambda: receiver.got)
    message = opened(world.tenant, *receiver.got[0])["event"]["message"]
    assert json.loads(message["content"]) == {"text": "/task ask @_user_2"}
    (mention,) = message["mentions"]
    name = world.tenant.people[WEI].name
    assert (mention["key"], mention["id"]["open_id"], mention["name"]) == ("@_user_2", WEI, name)
    refused = await world.post("/sandbox/api/messages", json={**said, "mentions": ["ou_nobody"]})
    assert refused.status == 400


async def test_everyone_is_mentioned_with_and_without_an_entry(world, receiver):
    said = {"person": ADA, "chat_id": GROUP, "text": "lunch?"}
    await world.control("messages", **said, mention_all="unlisted")
    await until(lambda: len(receiver.got) == 1)
    await world.control("messages", **said, mention_all="listed", mention_bot=True)
    await until(lambda: len(receiver.got) == 2)
    first, second = (opened(world.tenant, *each)["event"]["message"] for each in receiver.got)
    assert json.loads(first["content"]) == {"text": "@_all lunch?"}
    assert "mentions" not in first
    assert json.loads(second["content"]) == {"text": "@_all @_user_1 lunch?"}
    assert [each["key"] for each in second["mentions"]] == ["@_all", "@_user_1"]
    assert second["mentions"][0]["id"]["open_id"] == ""
    refused = await world.post("/sandbox/api/messages", json={**said, "mention_all": True})
    assert refused.status == 400


async def test_without_the_apps_scope_nothing_arrives(world, receiver):
    await world.control("app-scopes", scope="im:message.p2p_msg:readonly", tenant=False)
    assert (await world.control("messages", person=ADA, text="hi"))["event_id"] is None


async def test_an_event_that_is_not_acknowledged_comes_again_with_the_same_id(world, receiver):
    receiver.statuses = [500, 302, 404, 503, 500, 500]
    sent = await world.control("messages", person=ADA, text="hi")
    for number, wait in enumerate((15, 300, 3600, 21600), start=1):
        await until(lambda n=number: len(world.tenant.events[sent["event_id"]].attempts) == n)
        await world.control("clock", advance=wait - 1)
        await asyncio.sleep(0.01)
        assert len(receiver.got) == number
        await world.control("clock", advance=1)
    await until(lambda: len(receiver.got) == 5)
    await world.control("clock", advance=10**6)
    await asyncio.sleep(0.05)
    assert len(receiver.got) == 5
    ids = {opened(world.tenant, *got)["header"]["event_id"] for got in receiver.got}
    assert ids == {sent["event_id"]}
    record = await world.get(f"/sandbox/api/events/{sent['event_id']}")
    assert [attempt["status"] for attempt in record.body["attempts"]] == [500, 302, 404, 503, 500]


async def test_an_answer_after_three_seconds_is_none(world, receiver):
    await world.control("behaviour", answer_seconds=0.05, redelivery_seconds=[0.1])
    receiver.delay = 0.2
    await world.control("messages", person=ADA, text="hi")
    await until(lambda: len(receiver.got) == 2)


async def test_an_acknowledged_event_comes_once_and_again_only_on_demand(world, receiver):
    sent = await world.control("messages", person=ADA, text="hi")
    await until(lambda: receiver.got)
    await world.control("clock", advance=30)
    await asyncio.sleep(0.05)
    assert len(receiver.got) == 1
    await world.control("events/replay", event_id=sent["event_id"])
    assert len(receiver.got) == 2


async def test_entering_the_chat_tells_of_the_last_message(world, receiver):
    await world.control("enter", person=ADA)
    await until(lambda: receiver.got)
    event = opened(world.tenant, *receiver.got[0])
    assert event["header"]["event_type"] == "im.chat.access_event.bot_p2p_chat_entered_v1"
    assert event["event"]["operator_id"]["open_id"] == ADA
    assert "last_message_id" not in event["event"]


async def test_revoking_pushes_the_event(world, receiver):
    await world.tokens("task:task:read offline_access")
    await world.control("revoke", person=ADA, reason="administrator")
    await until(lambda: receiver.got)
    event = opened(world.tenant, *receiver.got[0])
    assert event["header"]["event_type"] == "auth.user_access_token.revoked_v4"
    assert event["event"]["revoke_reason"] == "Revoked by administrator action."


async def test_raw_events_are_pushed_as_they_are(world, receiver):
    receiver.statuses = [401]
    record = await world.control("events", body="{broken", headers={"X-Lark-Signature": "forged"})
    assert (record["acknowledged"], record["attempts"][0]["status"]) == (False, 401)
    assert receiver.got[0][1] == b"{broken"
    record = await world.control("events", event={"event_type": "application.bot.menu_v6", "event": {}})
    assert record["acknowledged"]


async def test_saving_an_address_asks_for_the_challenge(world, receiver):
    answer = await world.post("/sandbox/api/subscription", json={"by": "webhook", "url": receiver.url})
    assert answer.status == 400
    question = decrypted(world.tenant.app.encrypt_key, json.loads(receiver.got[0][1])["encrypt"])
    assert question["type"] == "url_verification"
    assert question["token"] == world.tenant.app.verification_token


# Card clicks


async def card_in_chat(world, card) -> str:
    return (await world.send(ADA, "interactive", card)).body["data"]["message_id"]


async def test_a_click_calls_back_once_and_applies_toast_and_card(world, receiver, card):
    message_id = await card_in_chat(world, card)
    new = {"schema": "2.0", "body": {"elements": [{"tag": "markdown", "content": "done"}]}}
    receiver.answer = {
        "toast": {"type": "success", "content": "Cancelled"},
        "card": {"type": "raw", "data": new},
    }
    result = await world.control(
        "clicks", person=ADA, message_id=message_id, value={"action": "cancel", "flow": "6f1d"}
    )
    assert result == {"response": receiver.answer, "code": None}
    assert world.tenant.messages[message_id].content == new
    (request,) = receiver.got
    event = opened(world.tenant, *request)
    assert event["header"]["event_type"] == "card.action.trigger"
    assert len(event["header"]["create_time"]) == 16
    assert event["event"]["context"]["open_message_id"] == message_id
    assert event["event"]["action"]["value"] == {"action": "cancel", "flow": "6f1d"}


async def test_the_callbacks_token_updates_the_card_twice(world, receiver, card):
    message_id = await card_in_chat(world, card)
    await world.control("clicks", person=ADA, message_id=message_id, element_id="btn_no")
    token = opened(world.tenant, *receiver.got[0])["event"]["token"]
    assert token.startswith("c-")

    async def update(token: str):
        body = {"token": token, "card": card}
        return await world.post(
            "/open-apis/interactive/v1/card/update", await world.tenant_token(), json=body
        )

    assert (await update("c-forged")).code == 300020
    assert [(await update(token)).code for _ in range(3)] == [0, 0, 300040]
    await world.control("clicks", person=ADA, message_id=message_id, element_id="btn_no")
    late = opened(world.tenant, *receiver.got[1])["event"]["token"]
    await world.control("clock", advance=1801)
    assert (await update(late)).code == 300030


@pytest.mark.parametrize(
    ("answer", "statuses", "code"),
    [
        ({}, [500], 200671),
        ({}, [302], 200671),
        ("not json", [], 200672),
        ([1], [], 200672),
        ({"toast": {"type": "shout", "content": "x"}}, [], 200672),
        ({"card": {"type": "raw", "data": {"schema": "1.0"}}}, [], 200673),
        ({"card": {"schema": "2.0"}}, [], 200673),
    ],
)
async def test_a_bad_answer_to_a_click_shows_its_code_and_changes_nothing(
    world, receiver, card, answer, statuses, code
):
    message_id = await card_in_chat(world, card)
    receiver.answer, receiver.statuses = answer, statuses
    result = await world.control("clicks", person=ADA, message_id=message_id, element_id="btn_no")
    assert result["code"] == code
    assert world.tenant.messages[message_id].content == card
    await world.control("clock", advance=10**6)
    await asyncio.sleep(0.05)
    assert len(receiver.got) == 1


async def test_no_address_no_connection_and_no_answer_show_their_codes(world, receiver, card):
    message_id = await card_in_chat(world, card)
    click = {"person": ADA, "message_id": message_id, "element_id": "btn_no"}
    await world.control("behaviour", answer_seconds=0.05)
    receiver.delay = 0.2
    assert (await world.control("clicks", **click))["code"] == 200341
    await world.control("behaviour", answer_seconds=3)
    world.tenant.app.events_url = "http://127.0.0.1:9/"
    assert (await world.control("clicks", **click))["code"] == 200342
    world.tenant.app.events_url = None
    assert (await world.control("clicks", **click))["code"] == 200340


async def test_what_happens_to_the_card_before_the_answer_is_overwritten(world, receiver, card):
    message_id = await card_in_chat(world, card)
    await world.control("behaviour", answer_seconds=60)
    receiver.delay = 60
    clicking = asyncio.create_task(
        world.control("clicks", person=ADA, message_id=message_id, element_id="btn_no")
    )
    await receiver.arrived.wait()
    token = opened(world.tenant, *receiver.got[0])["event"]["token"]
    early = await world.post(
        "/open-apis/interactive/v1/card/update",
        await world.tenant_token(),
        json={"token": token, "card": card},
    )
    assert early.code == 200810
    other = {"schema": "2.0", "body": {"elements": []}}
    await world.request(
        "PATCH",
        f"/open-apis/im/v1/messages/{message_id}",
        await world.tenant_token(),
        json={"content": json.dumps(other)},
    )
    assert world.tenant.messages[message_id].content == other
    receiver.hurry.set()
    await clicking
    assert world.tenant.messages[message_id].content == card


async def test_only_callback_buttons_that_one_sees_can_be_clicked(world, receiver, card):
    message_id = await card_in_chat(world, card)
    for person, element in ((ADA, "btn_auth"), (ADA, "btn_none"), (WEI, "btn_no")):
        answer = await world.post(
            "/sandbox/api/clicks", json={"person": person, "message_id": message_id, "element_id": element}
        )
        assert answer.status == 400
    assert not receiver.got

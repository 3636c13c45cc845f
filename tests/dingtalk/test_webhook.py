"""Webhook requests: who sent them, when, and what they say."""

import json

import pytest

from bot.core.events import CardClicked, Ignored, MessageReceived, Unauthentic
from bot.core.secrets import Secret
from bot.dingtalk.events import ReceivedMessage, Recipient
from bot.dingtalk.webhook import WebhookKeys, receive_click, receive_message, signature_of
from tests.arbitrary_input import ODD

SECRET = "s3cr-s3cr-s3cr"
KEYS = WebhookKeys(Secret(SECRET))
RECIPIENT = Recipient("dingapp01", "dingcorp1")
NOW = 1_700_000_000.0

MESSAGE = {
    "conversationId": "cid1==",
    "conversationType": "1",
    "msgId": "msg1==",
    "msgtype": "text",
    "text": {"content": " /me "},
    "createAt": 1695283635765,
    "senderId": "$:LWCP_v1:$x",
    "senderStaffId": "staff0042",
    "senderCorpId": "dingcorp1",
}
CLICK = {
    "type": "actionCallback",
    "outTrackId": "card.1",
    "corpId": "dingcorp1",
    "userId": "staff0042",
    "spaceType": "IM_ROBOT",
    "spaceId": "staff0042",
    "content": json.dumps({"cardPrivateData": {"actionIds": ["not_now:R1"], "params": {}}}),
}


def signed(at=NOW, secret=SECRET):
    timestamp = str(int(at * 1000))
    return {"timestamp": timestamp, "sign": signature_of(secret, f"{timestamp}\n{secret}")}


def signed_card(at=NOW):
    timestamp = str(int(at * 1000))
    key = KEYS.card_secret.reveal()
    return {"x-ddpaas-signature-timestamp": timestamp, "x-ddpaas-signature": signature_of(key, timestamp)}


def message(headers=None, now=NOW, **changes):
    data = {name: value for name, value in (MESSAGE | changes).items() if value is not None}
    return receive_message(KEYS, RECIPIENT, headers or signed(), json.dumps(data).encode(), now)


def click(headers=None, now=NOW, **changes):
    return receive_click(KEYS, RECIPIENT, headers or signed_card(), json.dumps(CLICK | changes).encode(), now)


@pytest.mark.parametrize("receive", [message, click])
@pytest.mark.parametrize(
    ("age", "fresh"), [(0, True), (3599, True), (-299, True), (3601, False), (-301, False), (-86400, False)]
)
def test_the_signed_time_is_within_an_hour(receive, age, fresh):
    found = receive(now=NOW + age)
    assert isinstance(found, Unauthentic) != fresh


@pytest.mark.parametrize(
    "headers",
    [
        {"timestamp": str(int(NOW * 1000))},
        signed(secret="another"),
        signed() | {"sign": "no base64!"},
        signed() | {"sign": ""},
        signed() | {"timestamp": str(int(NOW * 1000) + 1)},
        {"sign": "x", "timestamp": "now"},
        signed_card(),
    ],
)
def test_an_unsigned_message_is_refused_alike(headers):
    found = message(headers)
    assert isinstance(found, Unauthentic)
    assert found.status == 401


def test_the_signature_of_messages_does_not_sign_clicks():
    assert isinstance(click(signed()), Unauthentic)


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'{"a":1,"a":2}', b"\xff", b"[" * 100_000])
def test_a_signed_body_that_is_no_object_is_refused(body):
    found = receive_message(KEYS, RECIPIENT, signed(), body, NOW)
    assert isinstance(found, Unauthentic)
    assert found.status == 400


def test_a_message_is_read():
    found = message()
    assert isinstance(found, ReceivedMessage)
    event = found.event
    assert (event.text, event.message_id, event.user.open_id) == ("/me", "msg1==", "staff0042")
    assert (event.chat.kind, event.foreign, event.event_id) == ("direct", False, "webhook-msg1==")
    assert found.session is None


@pytest.mark.parametrize("at", [1695283635765, "1695283635765"])
def test_the_time_may_be_a_number_or_text(at):
    assert message(createAt=at).event.sent_at.year == 2023


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"text": {"content": " 你好 "}}, "你好"),
        (
            {
                "msgtype": "richText",
                "text": None,
                "content": {"richText": [{"text": "/task "}, {"type": "picture"}, {"text": "a"}]},
            },
            "/task a",
        ),
        (
            {
                "msgtype": "richText",
                "text": None,
                "content": {"richText": [{"type": "picture", "downloadCode": "x"}]},
            },
            None,
        ),
        ({"msgtype": "picture", "text": None, "content": {"downloadCode": "x"}}, None),
        ({"msgtype": "audio", "text": None}, None),
        ({"msgtype": "unknownMsgType", "text": None}, None),
    ],
)
def test_text_and_rich_text_are_read(changes, text):
    assert message(**changes).event.text == text


def test_a_group_message_is_read_with_its_group():
    event = message(conversationType="2", isInAtList=True).event
    assert (event.chat.kind, event.chat.chat_id) == ("group", "cid1==")
    assert isinstance(message(conversationType="2", isInAtList=False), Ignored)


@pytest.mark.parametrize(
    "name", ["conversationId", "conversationType", "msgId", "msgtype", "createAt", "text"]
)
@pytest.mark.parametrize("value", [None, *ODD])
def test_odd_fields_raise_nothing(name, value):
    found = receive_message(
        KEYS, RECIPIENT, signed(), json.dumps(MESSAGE | {name: value}).encode(errors="replace"), NOW
    )
    assert isinstance(found, ReceivedMessage | Unauthentic | Ignored | MessageReceived)


@pytest.mark.parametrize(
    ("control", "action", "subject"),
    [
        ({"actionIds": ["not_now:R1"], "params": {}}, "not_now", "R1"),
        ({"actionIds": ["x"], "params": {"action": "retry", "subject": "C1"}}, "retry", "C1"),
        ({"actionIds": ["check_again"]}, "check_again", None),
        ({"actionIds": []}, "", None),
        ({"actionIds": [7], "params": []}, "", None),
        ([], "", None),
    ],
)
def test_a_click_names_its_control(control, action, subject):
    found = click(content=json.dumps({"cardPrivateData": control}))
    assert isinstance(found, CardClicked)
    assert (found.action, found.subject, found.user.open_id) == (action, subject, "staff0042")


def test_a_repeated_click_has_the_same_id_and_another_one_has_not():
    assert click().event_id == click().event_id
    assert click().event_id != click(signed_card(NOW + 1), now=NOW + 1).event_id

"""Properties of all that reads what comes from DingTalk: it ends in a documented outcome, and keeps its bounds."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bot.core.api import (
    ApiCall,
    AppScopeMissing,
    InsufficientScope,
    RateLimited,
    Refused,
    Succeeded,
    TokenRejected,
    Unreachable,
)
from bot.core.commands import ApiRefused, Command, Result, advance
from bot.core.events import CardClicked, Ignored, MessageReceived, Unauthentic
from bot.core.messages import NotSent, Reply, Sent
from bot.core.oauth import Approved, Denied, Malformed, TokenRefused, parse_callback
from bot.core.people import Identity
from bot.core.secrets import Secret
from bot.core.trusted_links import TrustedLinks
from bot.dingtalk import webhook
from bot.dingtalk.events import ReceivedMessage, Recipient, parse_click, parse_message
from bot.dingtalk.frames import Frame, FrameError, decode
from bot.dingtalk.identities import Identities
from bot.dingtalk.messages import card_delivered, delivered
from bot.dingtalk.missing_scopes import SCOPE, named_scopes
from bot.dingtalk.oauth import parse_response, parse_token_set
from bot.dingtalk.outcomes import legacy_outcome_of, outcome_of
from bot.dingtalk.platform import CODE_PARAMETERS
from bot.dingtalk.posts import render_reply
from bot.dingtalk.sessions import is_platform_url
from bot.dingtalk.webhook import WebhookKeys, receive_click, receive_frame, receive_message
from bot.platforms import DINGTALK, all_commands
from bot.transport.http_client import HttpResponse
from bot.transport.long_connection import CannotConnect, parse_url
from tests.arbitrary_input import as_bytes, is_storable, json_values, objects, strings_in, texts
from tests.command_runner import ask, run_with_answers

RECIPIENT = Recipient("dingapp1", "dingcorp1")
KEY = "client-secret-of-the-app"
KEYS = WebhookKeys(Secret(KEY))
NOW = 1767225600.0
MESSAGE = {
    "conversationId": "cid1", "conversationType": "1", "senderId": "$:x", "senderStaffId": "staff1",
    "senderCorpId": "dingcorp1", "msgId": "msg1", "msgtype": "text", "text": {"content": "hello"},
    "createAt": 1767225600000,
}  # fmt: skip
OUTCOMES = (
    Succeeded | InsufficientScope | AppScopeMissing | TokenRejected | RateLimited | Refused | Unreachable
)

# --- frames ---------------------------------------------------------------------------------------------


@given(
    frame=objects("type", "headers", "data", "specVersion"),
    headers=objects("topic", "messageId", "eventType", "time"),
    kind=st.sampled_from(["SYSTEM", "EVENT", "CALLBACK"]) | json_values,
    topic=st.sampled_from(["ping", "disconnect", "*", "/v1.0/im/bot/messages/get"]) | json_values,
    data=texts | st.builds(json.dumps, json_values),
)
@example(frame={}, headers={}, kind=[], topic="ping", data="")
@example(frame={}, headers={"messageId": "m"}, kind="SYSTEM", topic="ping", data='{"opaque": "\\ud800"}')
@example(
    frame={}, headers={"messageId": "m"}, kind="SYSTEM", topic="ping", data='{"a":' * 900 + "1" + "}" * 900
)
def test_whatever_a_frame_holds_is_answered_or_unreadable(
    frame: Any, headers: Any, kind: Any, topic: Any, data: str
):
    whole = frame | {"type": kind, "headers": headers | {"topic": topic}, "data": data}
    for each in (frame, frame | {"headers": headers}, whole, [whole], kind):
        try:
            read = decode(json.dumps(each))
        except FrameError:
            continue
        assert json.loads(read.answer_ping().encode())
        assert json.loads(read.answer({"response": None}).encode())
        found = receive_frame(RECIPIENT, read)
        assert isinstance(found, ReceivedMessage | CardClicked | Ignored | Unauthentic)
        assert is_storable(found)


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "null", "{", "7", '"x"', "[" * 200_000, '{"headers":' * 100_000,
        '{"headers":{"topic":"ping","topic":"disconnect"},"type":"SYSTEM"}',
        '{"type":"SYSTEM","headers":{"topic":"ping"},"x":[' + "[]," * 300_000 + "1]}",
        '{"type":"SYSTEM","headers":{"topic":"ping"},"x":' + "9" * 100_000 + "}",
    ],
    ids=lambda text: f"{text[:20]} ({len(text)})",
)  # fmt: skip
def test_a_frame_that_would_take_long_is_not_parsed(text: str):
    started = time.process_time()
    with pytest.raises(FrameError):
        decode(text)
    assert time.process_time() - started < 0.5


# --- messages and clicks --------------------------------------------------------------------------------

parts = st.lists(objects("text", "type", "pictureDownloadCode") | json_values, max_size=4)
NAMES = (
    *MESSAGE,
    "content",
    "isInAtList",
    "atUsers",
    "sessionWebhook",
    "sessionWebhookExpiredTime",
    "senderUnionId",
)


@given(
    changed=objects(*NAMES),
    kind=st.sampled_from(["text", "richText", "picture", "unknownMsgType"]) | json_values,
    text=texts | json_values,
    rich=parts | json_values,
)
def test_whatever_a_message_says_is_text_that_can_be_kept(changed: Any, kind: Any, text: Any, rich: Any):
    content = {"msgtype": kind, "text": {"content": text}, "content": {"richText": rich}}
    for data in (changed, MESSAGE | content, MESSAGE | changed, MESSAGE | content | changed):
        found = parse_message(RECIPIENT, "e1", data)
        assert isinstance(found, ReceivedMessage | Ignored | Unauthentic)
        assert is_storable(found)
        if isinstance(found, ReceivedMessage):
            assert isinstance(found.event, MessageReceived)
            assert all(len(each) <= 256 for each in strings_in(replace(found.event, text=None)))


@given(url=texts | json_values, expires=json_values)
def test_a_session_that_cannot_be_used_does_not_lose_the_message(url: Any, expires: Any):
    message = MESSAGE | {"sessionWebhook": url, "sessionWebhookExpiredTime": expires}
    found = parse_message(RECIPIENT, "e1", message)
    assert isinstance(found, ReceivedMessage)
    if found.session is not None:
        is_platform_url(found.session.url.reveal(), "https://oapi.dingtalk.com")


@pytest.mark.parametrize(
    "url",
    [
        "https://dingtalk.com.evil.example/robot", "https://evil.example/?x=oapi.dingtalk.com",
        "https://oapi.dingtalk.com@evil.example/", "https://user@oapi.dingtalk.com/", "http://oapi.dingtalk.com/",
        "https://oapi.dingtalk.com:8443/", "https://evildingtalk.com/", "https://[oapi.dingtalk.com/", "//oapi",
        "https://oapi.dingtalk.com.:443@evil.example/", "https:///oapi.dingtalk.com", "file:///etc/passwd",
        "https://127.0.0.1/", "https://oapi.dingtalk.com\\@evil.example/", "https://oapi.dingtalk.com:99999/",
    ],
)  # fmt: skip
def test_an_answer_is_posted_to_nobody_but_the_platform(url: str):
    assert not is_platform_url(url, "https://oapi.dingtalk.com")


@given(
    event=objects("userId", "corpId", "outTrackId", "spaceId", "content", "userIdType"), control=json_values
)
def test_whatever_a_click_carries_is_a_click_or_malformed(event: Any, control: Any):
    private = {"cardPrivateData": control}
    controlled = {"cardPrivateData": {"actionIds": control, "params": control}}
    for content in (event.get("content"), json.dumps(private), json.dumps(controlled), controlled):
        for base in (event, {"userId": "staff1", "outTrackId": "card.1"}):
            found = parse_click(RECIPIENT, "e1", base | {"content": content})
            assert isinstance(found, CardClicked | Unauthentic)
            assert is_storable(found)
            assert all(len(text) <= 256 for text in strings_in(found))


@given(timestamp=texts, signature=texts, body=st.binary(max_size=200), plain=json_values)
def test_no_headers_make_a_webhook_fail(timestamp: str, signature: str, body: bytes, plain: Any):
    def received(text: str) -> str:
        return text.encode(errors="replace").decode() + "\udcff"

    headers = {
        "timestamp": received(timestamp),
        "sign": received(signature),
        "x-ddpaas-signature": received(signature),
        "x-ddpaas-signature-timestamp": received(timestamp),
    }
    for sent in (body, as_bytes(plain)):
        for receive in (receive_message, receive_click):
            found = receive(KEYS, RECIPIENT, headers, sent, NOW)
            assert isinstance(found, Unauthentic)
            assert 400 <= found.status < 500
            assert KEY not in repr(found) + repr(KEYS)


@given(plain=json_values | objects(*NAMES), raw=st.binary(max_size=100))
def test_nothing_that_is_signed_makes_a_webhook_fail(plain: Any, raw: bytes):
    timestamp = str(int(NOW * 1000))
    message = {"timestamp": timestamp, "sign": webhook.signature_of(KEY, f"{timestamp}\n{KEY}")}
    click = {
        "x-ddpaas-signature-timestamp": timestamp,
        "x-ddpaas-signature": webhook.signature_of(KEYS.card_secret.reveal(), timestamp),
    }
    for body in (raw, as_bytes(plain), as_bytes(MESSAGE | {"msgId": plain})):
        found = receive_message(KEYS, RECIPIENT, message, body, NOW)
        assert isinstance(found, ReceivedMessage | Ignored | Unauthentic)
        assert is_storable(found)
        clicked = receive_click(KEYS, RECIPIENT, click, body, NOW)
        assert isinstance(clicked, CardClicked | Unauthentic)
        assert is_storable(clicked)


@given(endpoint=texts | json_values)
@example(endpoint="wss://[")
@example(endpoint="wss://[]@")
@example(endpoint="wss://host:99999/")
@example(endpoint="ws://\ud800")
def test_no_address_of_a_connection_makes_it_fail_otherwise(endpoint: Any):
    for each in (endpoint, f"wss://{endpoint}"):
        with contextlib.suppress(CannotConnect):
            parse_url(each)


# --- answers --------------------------------------------------------------------------------------------

CODES = st.sampled_from(
    [
        "Forbidden.AccessDenied.AccessTokenPermissionDenied", "InvalidAuthentication", "paramError", "",
        "Forbidden.AccessDenied.QpsLimitForApi", "invalidParameter.authCode.notFound", "param.cardAlreadyExist",
    ]
)  # fmt: skip


@given(
    status=st.integers(100, 599),
    fields=objects("message", "requestid", "accessdenieddetail", "errcode", "errmsg", "sub_code", "sub_msg"),
    code=CODES | json_values,
    number=st.sampled_from([0, 88, 300001, 60121, 90018]) | json_values,
    method=st.sampled_from(["GET", "POST"]),
)
def test_an_answer_of_anything_is_a_bounded_outcome(
    status: int, fields: Any, code: Any, number: Any, method: str
):
    digits = b'{"errcode": 88, "sub_code": ' + b"9" * 6000 + b"}"
    whole = fields | {"code": code, "errcode": number}
    for body in (as_bytes(whole), as_bytes([fields]), as_bytes(code), digits):
        response = HttpResponse(status, {}, body)
        for outcome in (outcome_of(response, method), legacy_outcome_of(response)):
            assert isinstance(outcome, OUTCOMES)
            if isinstance(outcome, Refused):
                assert is_storable((outcome.message, outcome.log_id))
                assert len(outcome.message) <= 4000
            elif not isinstance(outcome, Succeeded):
                assert is_storable(outcome)
        for purpose in ("authorization_code", "refresh_token"):
            parse_response(response, purpose, ("a-secret-of-some-length",))


@given(scopes=st.lists(json_values | texts), detail=json_values, message=texts)
def test_only_scopes_are_asked_for(scopes: Any, detail: Any, message: str):
    for each in ({"requiredScopes": scopes}, {"requiredScopes": detail}, detail):
        found = named_scopes({"accessdenieddetail": each}, message)
        assert all(SCOPE.fullmatch(scope) and len(scope) <= 100 for scope in found)
        assert len(found) <= 50


@pytest.mark.parametrize(
    "piece", ["[", "权限：[", "权限：[a,", "content=", "&content=a%23", "]", " ", "scopes ["]
)
def test_megabytes_of_a_message_are_not_searched_for_long(piece: str):
    code = "Forbidden.AccessDenied.AccessTokenPermissionDenied"
    body = as_bytes({"code": code, "message": piece * (3_000_000 // len(piece))})
    started = time.process_time()
    outcome_of(HttpResponse(403, {}, body), "GET")
    assert time.process_time() - started < 2


TOKEN_FIELDS = ("accessToken", "refreshToken", "expireIn", "expiresIn", "corpId", "persistentCode")


@given(fields=objects(*TOKEN_FIELDS), token=st.text("abcXYZ019-_.~", min_size=8, max_size=40))
def test_a_token_answer_shows_nothing_and_keeps_only_what_can_be_sent(fields: Any, token: str):
    whole = fields | {"accessToken": f"u-{token}", "refreshToken": f"ur-{token}"}
    assert parse_token_set(whole) is not None
    for each in (fields, whole):
        tokens = parse_token_set(each)
        if tokens is None:
            continue
        access = tokens.access_token.reveal()
        assert access.isascii()
        assert not set(access) & set(" \r\n\t")
        assert f"-{token}" not in repr(tokens)
        assert tokens.expires_in > 0
        assert tokens.tenant_key is None or len(tokens.tenant_key) <= 256


@given(fields=objects("code", "message", "requestid", "persistentCode"), status=st.integers(200, 599))
def test_a_refused_exchange_quotes_no_secret(fields: Any, status: int):
    secret = "a-code-of-some-length"
    for each in (fields, fields | {"message": f"no {secret} here"}, fields | {"code": secret}):
        refusal = parse_response(HttpResponse(status, {}, as_bytes(each)), "authorization_code", (secret,))
        assert isinstance(refusal, TokenRefused)
        assert secret not in repr(refusal)
        assert len(refusal.message) <= 300


@given(
    me=json_values | objects("unionId", "nick", "openId"), member=json_values | objects("result", "errcode")
)
async def test_whoever_a_token_names_can_be_kept(me: Any, member: Any):
    async def look_up(_: ApiCall) -> Any:
        return Succeeded(member)

    named = {"unionId": "u1", "nick": me}
    for profile in (me, named):
        found = await Identities("dingcorp1", look_up).identity_of(Succeeded(profile))
        assert isinstance(found, Identity | Refused | Unreachable)
        if isinstance(found, Identity):
            assert is_storable(found)
            assert all(len(text) <= 256 for text in strings_in(found))


@given(answer=json_values | objects("success", "result", "processQueryKey", "invalidStaffIdList"))
def test_whatever_a_sending_returns_is_sent_or_not(answer: Any):
    lists = ("invalidStaffIdList", "flowControlledStaffIdList", "filteredStaffIdList")
    for each in (answer, {"result": {"deliverResults": answer}}, dict.fromkeys(lists, answer)):
        assert isinstance(delivered(Succeeded(each), "staff1"), Sent | NotSent)
        found = card_delivered(each, "card.1")
        assert isinstance(found, Sent | NotSent)
        assert is_storable(found)


@given(parameters=st.dictionaries(st.sampled_from(["code", "authCode", "state", "error"]), texts))
def test_no_callback_is_more_than_it_says(parameters: dict[str, str]):
    assert isinstance(parse_callback(parameters, CODE_PARAMETERS), Approved | Denied | Malformed)


# --- commands -------------------------------------------------------------------------------------------

COMMANDS = list(all_commands(DINGTALK).values())
SAID = {"task": "buy milk", "call": "GET /v1.0/x", "authorize": "Todo.Todo.Read"}
LINKS = TrustedLinks(("dingtalk.com",), ())


def rendered(reply: Reply) -> None:
    for has_buttons in (True, False):
        body = render_reply(reply, LINKS, "en", has_buttons=has_buttons).body
        assert len(body.encode(errors="replace")) <= 30 * 1024
        json.loads(body)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda each: each.name)
@given(said=texts)
@example(said="GET /v1.0/x/" + "%2e" * 500)
@example(said="[" * 5000)
@example(said="POST /v1.0/x " + "[" * 3000)
def test_no_words_make_a_command_fail(command: Command, said: str):
    command.needs(said)
    move = advance(command, ask(said), [])
    if isinstance(move, Reply):
        rendered(move)


@given(
    answers=st.lists(
        objects("unionId", "nick", "todoCards", "events", "nextToken", "id", "subject") | json_values,
        min_size=6,
        max_size=6,
    )
)
def test_no_answer_of_the_platform_makes_a_command_fail(answers: Any):
    for command in COMMANDS:
        for first in (answers[0], {"unionId": "u1", "nick": "Sam", "mobile": answers[0]}):
            asked = ask(SAID.get(command.name, ""))
            reply = run_with_answers(command, asked, [first, *answers[1:]], assert_sendable)
            if reply is not None:
                rendered(reply)


def assert_sendable(call: ApiCall) -> None:
    assert call.path.startswith("/v1.0/")
    json.dumps(call.body, allow_nan=False)


def test_a_refusal_may_be_as_odd_as_it_likes():
    odd = Refused(10**30, "\ud800<at id=all>\x00" * 500, "log\nid", {"code": 1, "message": ["x"]})
    for command in COMMANDS:
        asked = ask(SAID.get(command.name, ""))
        results: list[Result] = []
        if isinstance(advance(command, asked, []), ApiCall):
            for refused_at in range(2):
                results = [Result({"unionId": "u1"})] * refused_at + [Result(refused=odd)]
                try:
                    after = advance(command, asked, results)
                except ApiRefused:
                    continue  # explain in general words
                assert isinstance(after, Reply | ApiCall)


def test_a_frame_names_itself_only_where_that_can_be_kept():
    assert decode(json.dumps({"type": "EVENT", "headers": {"topic": "*", "messageId": "x\n"}})) == Frame(
        "EVENT", "*", "", ""
    )

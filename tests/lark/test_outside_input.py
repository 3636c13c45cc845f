"""Properties of all that reads what comes from outside: it ends in a documented outcome, and keeps its bounds."""

from __future__ import annotations

import json
import time
import unicodedata
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from yarl import URL

from bot.core import response_fields
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
from bot.core.api_requests import InvalidCall, has_unprintable, read_call
from bot.core.commands import ApiRefused, Command, Result, advance, parse_message, with_names
from bot.core.events import MessageReceived, Unauthentic
from bot.core.messages import Reply
from bot.core.oauth import TokenRefused
from bot.core.people import Identity
from bot.core.secrets import Secret
from bot.lark import app_info
from bot.lark.commands.document_links import requested_document
from bot.lark.commands.openapi import APIS
from bot.lark.events import Recipient
from bot.lark.message_text import parse_mentions
from bot.lark.missing_scopes import named_scopes
from bot.lark.outcomes import classify
from bot.lark.posts import render_reply
from bot.lark.refusal_messages import SCOPE
from bot.lark.token_responses import parse_fields, parse_refusal, parse_token_set
from bot.lark.user_info import parse_identity
from bot.lark.webhook import WebhookKeys, receive, receive_over_connection
from bot.platforms import LARK, all_commands
from bot.transport.http_client import HttpResponse
from tests.arbitrary_input import ODD, as_bytes, is_storable, json_values, objects, strings_in, texts
from tests.command_runner import ask, run_with_answers

RECIPIENT = Recipient("cli_1", "ou_bot")
KEY, TOKEN = "encrypt-key-of-the-app", "verification-token-of-the-app"
KEYS = WebhookKeys(Secret(KEY), Secret(TOKEN))
TIME = "1767225600000"
HEADER = {"event_id": "e1", "app_id": "cli_1", "tenant_key": "t1", "create_time": TIME, "token": TOKEN}

# --- events ---------------------------------------------------------------------------------------------


def read(kind: str, event: Any) -> Any:
    payload = {"schema": "2.0", "header": HEADER | {"event_type": kind}, "event": event}
    return receive_over_connection(KEYS, RECIPIENT, as_bytes(payload))


placeholders = st.sampled_from(["@_user_1", "@_user_2", "@_all", "@", ""])
mentions = st.lists(st.fixed_dictionaries({"key": placeholders, "name": texts}) | json_values, max_size=4)
tags = st.sampled_from(["text", "at", "a", "img", "md"])
spans = st.fixed_dictionaries({"tag": tags, "text": texts, "user_id": texts})
lines = st.lists(st.lists(spans | json_values, max_size=3) | json_values, max_size=3)
contents = (
    st.fixed_dictionaries({"text": texts | json_values})
    | st.fixed_dictionaries({"title": texts, "content": lines})
    | json_values
)


@given(kind=st.sampled_from(["text", "post", "image", "interactive"]), content=contents, mentioned=mentions)
def test_whatever_a_message_says_is_text_that_can_be_kept(kind: str, content: Any, mentioned: Any):
    message = {
        "message_id": "om_1", "chat_id": "oc_1", "chat_type": "p2p", "create_time": TIME,
        "message_type": kind, "content": json.dumps(content), "mentions": mentioned,
    }  # fmt: skip
    sender = {"sender_type": "user", "sender_id": {"open_id": "ou_1"}}
    found = read("im.message.receive_v1", {"sender": sender, "message": message})
    assert isinstance(found, MessageReceived | Unauthentic)
    assert is_storable(found)


def test_thousands_of_mentions_of_a_long_name_make_no_message_of_gigabytes():
    name = {"key": "@_user_1", "name": "n" * 100_000, "id": {"open_id": "ou_2"}}
    names = parse_mentions([name], "ou_bot").names
    assert len(with_names("@_user_1" * 15_000, names)) < 2_000_000
    assert len(with_names("@_user_1" * 15_000, {"@_user_1": "n" * 100_000})) < 2_000_000


@given(event=objects("operator", "action", "context", "token", "host"), value=json_values, zone=json_values)
def test_whatever_a_click_carries_is_a_click_or_malformed(event: Any, value: Any, zone: Any):
    whole = event | {"operator": {"open_id": "ou_1"}, "action": {"value": value, "timezone": zone}}
    for each in (event, whole):
        found = read("card.action.trigger", each)
        assert is_storable(found)
        assert all(len(text) <= 256 for text in strings_in(found))


@given(timestamp=texts, nonce=texts, signature=texts, body=st.binary(max_size=200), plain=json_values)
def test_no_headers_make_a_webhook_fail(timestamp: str, nonce: str, signature: str, body: bytes, plain: Any):
    def received(text: str) -> str:
        """As the HTTP server decodes it: bytes that are no UTF-8 become lone surrogates of one kind."""
        return text.encode(errors="replace").decode() + "\udcff"

    headers = {
        "X-Lark-Request-Timestamp": received(timestamp),
        "X-Lark-Request-Nonce": received(nonce),
        "X-Lark-Signature": received(signature),
    }
    for sent in (body, as_bytes(plain), as_bytes({"encrypt": plain})):
        found = receive(KEYS, RECIPIENT, headers, sent, 1767225600.0)
        assert isinstance(found, Unauthentic)
        assert 400 <= found.status < 500
        assert KEY not in repr(found) + repr(KEYS)
        assert TOKEN not in repr(found) + repr(KEYS)


# --- answers --------------------------------------------------------------------------------------------

OUTCOMES = (
    Succeeded | InsufficientScope | AppScopeMissing | TokenRejected | RateLimited | Refused | Unreachable
)
CODES = st.sampled_from(
    [0, 99991679, 99991672, 99991668, 99991677, 20005, 99991400, 1, 230002, True, "0", None, -1]
)
HEADERS = st.sampled_from(["X-Tt-Logid", "Retry-After", "x-ogw-ratelimit-reset"])


@given(
    status=st.integers(100, 599),
    fields=objects("error", "msg", "data"),
    code=CODES | json_values,
    headers=st.dictionaries(HEADERS, texts),
)
def test_an_envelope_of_anything_is_a_bounded_outcome(status: int, fields: Any, code: Any, headers: Any):
    outcome = classify(status, headers, as_bytes(fields | {"code": code}))
    assert isinstance(outcome, OUTCOMES)
    if isinstance(outcome, Refused):
        assert is_storable((outcome.message, outcome.log_id))
    elif not isinstance(outcome, Succeeded):
        assert is_storable(outcome)


@given(subjects=st.lists(json_values | texts), message=texts)
def test_only_scopes_are_asked_for(subjects: Any, message: str):
    error = {"permission_violations": [{"subject": each} for each in subjects]}
    found = named_scopes({"error": error}, message)
    assert all(SCOPE.fullmatch(scope) for scope in found)
    assert len(found) <= 50


@pytest.mark.parametrize("code", [99991679, 99991672])
@pytest.mark.parametrize("piece", ["[", "[a", "[a,", "]", " "])
def test_megabytes_of_a_message_are_not_searched_for_long(code: int, piece: str):
    body = as_bytes({"code": code, "msg": piece * (3_000_000 // len(piece))})
    started = time.process_time()
    classify(400, {}, body)
    assert time.process_time() - started < 2


def test_a_refusal_that_names_thousands_of_scopes_asks_for_no_more_than_a_link_takes():
    violations = [{"subject": f"area:thing{number}"} for number in range(10_000)]
    fields = {"code": 99991679, "msg": "", "error": {"permission_violations": violations}}
    outcome = classify(400, {}, as_bytes(fields))
    assert isinstance(outcome, InsufficientScope)
    assert [len(clause) for clause in outcome.requirement] == [50]


TOKEN_FIELDS = ("access_token", "refresh_token", "scope", "expires_in", "refresh_token_expires_in")


@given(fields=objects(*TOKEN_FIELDS), token=st.text("abcXYZ019-_.~", min_size=8, max_size=40), scope=texts)
def test_a_token_answer_shows_nothing_and_keeps_only_what_can_be_sent(fields: Any, token: str, scope: str):
    whole = fields | {"access_token": f"u-{token}", "refresh_token": f"ur-{token}", "scope": scope}
    assert parse_token_set(whole, "refresh_token_expires_in") is not None
    for each in (fields, whole):
        tokens = parse_token_set(each, "refresh_token_expires_in")
        if tokens is None:
            continue
        access = tokens.access_token.reveal()
        assert access.isascii()
        assert not set(access) & set(" \r\n\t")
        assert token not in repr(replace(tokens, scopes=None))
        assert tokens.expires_in > 0
        assert tokens.scopes is None or all(SCOPE.fullmatch(name) for name in tokens.scopes)


@given(fields=objects("code", "error", "error_description", "msg", "cli_hint"))
def test_a_refused_exchange_quotes_no_secret(fields: Any):
    secret = "a-code-of-some-length"
    for each in (fields, fields | {"cli_hint": f"no {secret} here", "code": 20003}):
        answer = HttpResponse(400, {}, as_bytes(each))
        read = parse_fields(answer)
        refusal = (
            read if isinstance(read, TokenRefused) else parse_refusal(read, "exchange", [secret], answer)
        )
        assert isinstance(refusal, TokenRefused)
        assert secret not in repr(refusal)
        assert len(refusal.message) <= 300


@given(data=json_values | objects("data"), person=objects("open_id", "tenant_key", "union_id", "name"))
def test_an_identity_that_a_token_names_can_be_stored(data: Any, person: Any):
    for each in ({"data": data}, {"data": person}, {"data": person | {"open_id": "ou_1", "tenant_key": "t"}}):
        found = parse_identity(each)
        assert isinstance(found, Identity | Unreachable)
        assert is_storable(found)
        assert all(len(text) <= 256 for text in strings_in(found))


scope_entries = st.lists(
    objects("scope_name", "scope_type", "grant_status", "scope", "description", "token_types") | json_values
)


@given(listed=scope_entries, app=objects("scopes", "owner", "creator_id", "owner_id"))
def test_no_list_of_scopes_makes_its_readers_fail(listed: Any, app: Any):
    entries = app_info.only_objects(listed)
    found = [
        app_info.user_scopes_granted(entries),
        app_info.ungranted_scopes(entries),
        app_info.described_scopes(listed, "user"),
    ]
    found += [
        app_info.read_descriptions({"scopes": listed}),
        app_info.read_descriptions(app),
        app_info.read_owner(app),
    ]
    assert is_storable([each for each in found if each is not None])


# --- commands -------------------------------------------------------------------------------------------

COMMANDS = list(all_commands(LARK).values())
ROADS = [
    "/open-apis/",
    "/",
    "..",
    ".",
    "%2e",
    "%2f",
    "%5c",
    "%25",
    "//",
    "@",
    "evil.example",
    "?",
    "#",
    ";",
    ":",
]
pieces = st.sampled_from([*ROADS, "a", "auth", "authen", "token", "=", "&", *ODD])
paths = st.lists(pieces, max_size=12).map("".join)
bodies = st.sampled_from(["", "{}", "[]", "{", "NaN", '{"a":1e999}', '{"a":-Infinity}', '["\\ud800"]'])
calls = st.builds(
    lambda method, start, path, body: f"{method} {start}{path} {body}",
    st.sampled_from(["GET", "post", "DELETE", "TRACE", ""]),
    st.sampled_from(["/open-apis/", ""]),
    paths,
    bodies | texts,
)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda each: each.name)
@given(said=texts | paths | calls)
@example(said="GET /open-apis/x/" + "%2e" * 500)
@example(said="[" * 5000)
@example(said="POST /open-apis/x " + "[" * 3000)
@example(said="https://a.example/docx/" + "x" * 5000)
@example(said="https://[" * 200)
def test_no_words_make_a_command_fail(command: Command, said: str):
    command.needs(said)
    move = advance(command, ask(said), [])
    if isinstance(move, Reply):
        json.loads(render_reply(move).body)
    elif isinstance(move, ApiCall):
        assert_harmless(move)


def assert_harmless(call: ApiCall) -> None:
    """It goes where it says: to the platform, below /open-apis/, on a path that every server reads alike."""
    url = URL("https://platform.example" + call.path)
    assert (url.host, url.user, url.fragment, url.query_string) == ("platform.example", None, "", "")
    assert url.raw_path == call.path, "what was checked is what is sent"
    meant = unquote(call.path)
    assert meant.startswith("/open-apis/")
    meant = unicodedata.normalize("NFKC", meant)
    assert not any(odd in meant for odd in ("..", "//", "\\", "%", ";"))
    json.dumps(call.body, allow_nan=False)


@given(path=paths, query=texts)
def test_no_path_leads_elsewhere_or_to_tokens(path: str, query: str):
    for target in (
        path,
        f"/open-apis/{path}",
        f"/open-apis/{path}?{query}",
        f"/open-apis/auth{path}/v3/token",
    ):
        try:
            call = read_call(f"GET {target}", APIS)
        except InvalidCall:
            continue
        assert_harmless(call)
        assert not has_unprintable(unquote(call.path))
        assert not unquote(call.path).lower().startswith("/open-apis/auth/")
        assert not any(has_unprintable(name + value) for name, value in call.query.items())


SAID = {"doc": "docx", "task": "buy milk", "call": "GET /open-apis/x", "search": "plan", "authorize": "a:b"}


@given(answers=st.lists(objects("code", "msg", "data") | json_values, min_size=6, max_size=6))
def test_no_answer_of_the_platform_makes_a_command_fail(answers: Any):
    for command in COMMANDS:
        reply = run_with_answers(command, ask(SAID.get(command.name, "")), answers, assert_harmless)
        if reply is None:
            continue
        body = render_reply(reply).body
        assert len(body.encode(errors="replace")) <= 30 * 1024, command.name
        for post in json.loads(body).values():
            for element in (each for line in post["content"] for each in line):
                assert element.get("href", "https://").startswith(("https://", "http://")), command.name


MEGABYTES = 8_000_000
TITLED = {"title_highlighted": "<h>" * (MEGABYTES // 3) + "\n"}


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("/call GET /open-apis/x", {"text": "eyJ" * (MEGABYTES // 3)}),
        ("/call GET /open-apis/x", {"text": "a-b.u-" * (MEGABYTES // 6)}),
        ("/call GET /open-apis/x", {"secret" * (MEGABYTES // 6): 1}),
        ("/call GET /open-apis/x", [[0] * 10] * (MEGABYTES // 20)),
        ("/call GET /open-apis/x", {str(number): {"a": "b"} for number in range(MEGABYTES // 20)}),
        ("/doc doxcn", {"data": {"content": "ab\n" * (MEGABYTES // 3)}}),
        ("/doc doxcn", {"data": {"content": "ab " * (MEGABYTES // 3) + "\x00"}}),
        ("/search plan", {"data": {"res_units": [TITLED] * 10}}),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_reading_megabytes_of_another_persons_text_delays_nobody(said: str, answer: Any):
    """While a reply is made, nothing else happens: no event is acknowledged, no page is shown."""
    name, arguments = parse_message(said, all_commands(LARK))
    started = time.process_time()
    reply = advance(all_commands(LARK)[name], ask(arguments), [Result(answer)])
    assert isinstance(reply, Reply)
    render_reply(reply)
    assert time.process_time() - started < 0.5


def test_a_refusal_may_be_as_odd_as_it_likes():
    odd = Refused(10**30, "\ud800<at id=all>\x00" * 500, "log\nid", {"code": 1})
    for command in COMMANDS:
        asked = ask(SAID.get(command.name, ""))
        if isinstance(advance(command, asked, []), ApiCall):
            try:
                after = advance(command, asked, [Result(refused=odd)])
            except ApiRefused:
                continue  # explain in general words
            assert isinstance(after, Reply | ApiCall)


@given(text=texts, value=json_values)
def test_what_is_taken_from_an_answer_fits_where_it_goes(text: str, value: Any):
    for each in (text, value):
        assert "/" not in (response_fields.token(each) or "")
        assert "/" not in (response_fields.calendar_id(each) or "")
        link = response_fields.link(each)
        assert link is None or link.lower().startswith(("https://", "http://"))
        response_fields.number(each)
        response_fields.moment(each)
        response_fields.moment(each, per_second=1000)
    named = requested_document(text)
    assert named is None or response_fields.TOKEN.fullmatch(named.token)

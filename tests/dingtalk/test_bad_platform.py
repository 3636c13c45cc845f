"""Every request that the adapter makes, against every way in which an answer can go wrong.

Nothing raises, nothing waits longer than one attempt may, nothing is read without bound, and no secret is in what comes
out of it, nor in the log.
"""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web

from bot.core.api import ApiCall, Write
from bot.core.messages import Destination
from bot.core.secrets import Secret
from bot.dingtalk.events import ReplySession
from bot.dingtalk.platform import DingTalkPlatform
from bot.dingtalk.rendered_messages import CARD, RenderedMessage, content_of
from bot.dingtalk.stream_endpoint import request_address
from bot.transport.http_client import MAX_RESPONSE_BYTES
from bot.transport.long_connection import CannotConnect
from tests.lark.test_bad_platform import HTML, HUGE, cut, endless, half, outcome, plain

SECRET, TOKEN, CODE, REFRESH = "s3cr3t" * 6, "u-token" * 6, "c0de" * 8, "ur-refresh" * 5
APP_TOKEN, SESSION = "a-token" * 5, "session" * 6
SECRETS = (SECRET, TOKEN, CODE, REFRESH, APP_TOKEN, SESSION)

GOOD_AUTH = {"accessToken": APP_TOKEN, "expireIn": 7200}
AUTH = "/v1.0/oauth2/accessToken"
TOKENS = {
    "accessToken": "ut-new-0001",
    "refreshToken": "rt-new-0001",
    "expireIn": 7200,
    "corpId": "dingcorp1",
}
DELIVERED = {"success": True, "result": {"deliverResults": [{"success": True}]}}


@dataclass(frozen=True)
class Asks:
    """One kind of request: how it is made, whose outcomes it has, and what a healthy answer to it is."""

    family: str
    make: Callable[[DingTalkPlatform], Awaitable[Any]]
    good: dict[str, Any]
    path: str
    template: str | None = None
    before: dict[str, dict[str, Any]] = field(default_factory=dict)


def call(method: str, write: Write | None = None) -> Callable[[DingTalkPlatform], Awaitable[Any]]:
    body = None if method == "GET" else {"a": 1}
    return lambda platform: platform.call(ApiCall(method, "/v1.0/x", {}, body, write), Secret(TOKEN))


def send(kind: str = "message", chat_id: str | None = None) -> Callable[[DingTalkPlatform], Awaitable[Any]]:
    content = content_of(RenderedMessage("Title", "text"), kind)
    return lambda p: p.send(Destination(p.user_key("staff1", "dingcorp1"), chat_id), content, "key")


def exchange(platform: DingTalkPlatform) -> Awaitable[Any]:
    return platform.exchange_code(Secret(CODE), redirect_uri=None, verifier=None, scopes=None)


def reply(platform: DingTalkPlatform) -> Awaitable[Any]:
    url = f"{platform._app.oapi_url}/robot/sendBySession?session={SESSION}"
    session = ReplySession(Secret(url), datetime.now(UTC) + timedelta(hours=1))
    return platform._post_to_session(session, {"msgtype": "text"})


REQUESTS: dict[str, Asks] = {
    "reading": Asks("read", call("GET"), {"a": 1}, "/v1.0/x"),
    "writing": Asks("write", call("POST", Write()), {"a": 1}, "/v1.0/x"),
    "deleting": Asks("write", call("DELETE", Write()), {"a": 1}, "/v1.0/x"),
    "sending to a user": Asks("message", send(), {"processQueryKey": "k"}, "/v1.0/robot/oTo"),
    "sending to a group": Asks(
        "message", send(chat_id="cid1"), {"processQueryKey": "k"}, "/v1.0/robot/"
    ),
    "sending an interactive card": Asks("card", send(CARD), DELIVERED, "/v1.0/card/", "t.schema"),
    "changing a card": Asks(
        "change", lambda p: p.update_card("card.1", content_of(RenderedMessage("Title", "text"), CARD)),
        {"success": True, "result": True}, "/v1.0/card/", "t.schema",
    ),
    "replying by session": Asks("older", reply, {"errcode": 0}, "/robot/"),
    "exchanging a code": Asks("token", exchange, TOKENS, "/v1.0/oauth2/userAccessToken"),
    "refreshing": Asks("token", lambda p: p.refresh(Secret(REFRESH)), TOKENS, "/v1.0/oauth2/userAccessToken"),
    "asking whose a token is": Asks(
        "who", lambda p: p.identify(Secret(TOKEN)), {"unionId": "u1", "nick": "Wei"}, "/v1.0/contact/",
        before={"/topapi/": {"errcode": 0, "result": {"userid": "staff1"}}},
    ),
    "looking up a member": Asks(
        "look-up", lambda p: p.identify(Secret(TOKEN)), {"errcode": 0, "result": {"userid": "staff1"}}, "/topapi/",
        before={"/v1.0/contact/": {"unionId": "u1"}},
    ),
    "getting the app's token": Asks(
        "app token", lambda p: p.call_as_app(ApiCall("POST", "/v1.0/y")), GOOD_AUTH, AUTH
    ),
}  # fmt: skip

BROKEN = {
    "the connection is reset before the request was read": cut(read=False),
    "the connection is reset after the work was done": cut(read=True),
    "500 with an unknown code": plain(500, '{"code":"oops","message":"oops"}'),
    "502 as HTML": plain(502, HTML, Content_Type="text/html"),
    "503 without a body": plain(503, b""),
    "504 of the gateway": plain(504, '{"code":"GatewayTimeout"}'),
    "HTML with 200": plain(200, HTML, Content_Type="text/html"),
    "HTML with 403": plain(403, HTML, Content_Type="text/html"),
    "half of the JSON, and the connection closed": half,
    "half of the JSON": plain(200, '{"accessToken":"abc'),
    "a number of many digits": plain(200, '{"errcode":' + "9" * 5000 + "}"),
    "brackets without end": plain(200, "[" * 40_000),
    "bytes that are no text": plain(200, b'{"accessToken":"\xff\xfe\xfa"}'),
    "what says that it is compressed, and is not": plain(200, "{}", Content_Encoding="gzip"),
    "a header without end": plain(200, "{}", X_Long="x" * 100_000),
}
BAN = '{"status":1111,"wait":5,"source":"x5","punish":"deny"}'
LIMIT = '{"code":"Forbidden.AccessDenied.QpsLimitForApi","message":"slow down"}'
ODD_FIELDS: dict[str, Any] = {
    "accessToken": 7, "refreshToken": {}, "expireIn": "x", "corpId": [1], "unionId": {"a": 1}, "nick": 5,
    "processQueryKey": ["k"], "errcode": "0", "errmsg": [], "result": "x", "success": "yes", "code": 9,
    "invalidStaffIdList": "staff1", "flowControlledStaffIdList": {"staff1": 1},
}  # fmt: skip
ODD = {
    "fields of other types": plain(200, json.dumps(ODD_FIELDS)),
    "nothing": plain(200, "{}"),
    "an empty body": plain(200, b""),
    "null": plain(200, "null"),
    "a list": plain(200, "[{}]"),
    "a text": plain(200, '"ok"'),
    "a refusal of other types": plain(400, json.dumps(ODD_FIELDS | {"code": {"x": 1}, "message": [1]})),
    "a refusal that names odd scopes": plain(
        403,
        json.dumps(
            {
                "code": "Forbidden.AccessDenied.AccessTokenPermissionDenied",
                "accessdenieddetail": {"requiredScopes": [None, 1, {"a": 1}, "a b", "\ud800", "x" * 5000]},
            }
        ),
    ),
    "429 as HTML": plain(429, HTML),
    "a status nobody knows": plain(299, "{}"),
}

MAY_HAVE_ARRIVED = {
    **dict.fromkeys(("read", "write", "who", "look-up", "older"), "may have arrived"),
    **dict.fromkeys(("message", "card", "change"), "again, may have arrived"),
    "token": "in_doubt",
    # Asking for a token has no effect; what wanted it has not left.
    "app token": "never left",
}
LIMITED = {
    **dict.fromkeys(("read", "write", "app token"), "limited"),
    **dict.fromkeys(("message", "card", "change"), "again"),
    "token": "transient",
    "who": "never left",
    "look-up": "never left",
}


@asynccontextmanager
async def misbehaving(asks: Asks, answering: Any):
    """A platform that answers all that leads up to a request, and the request itself as it likes."""

    async def serve(request: web.Request) -> web.StreamResponse:
        for path, body in asks.before.items():
            if request.path.startswith(path):
                return web.json_response(body)
        if request.path == AUTH and asks.path != AUTH:
            return web.json_response(GOOD_AUTH)
        if not request.path.startswith(asks.path):
            return web.json_response({})
        return await answering(request, asks)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def platform_at(url: str, template: str | None) -> DingTalkPlatform:
    return DingTalkPlatform(
        client_id="dingapp1", client_secret=Secret(SECRET), corp_id="dingcorp1", card_template_id=template,
        api_url=url, oapi_url=url, login_url=url,
    )  # fmt: skip


async def made(asks: Asks, answering: Any) -> Any:
    async with misbehaving(asks, answering) as url:
        platform = platform_at(url, asks.template)
        try:
            return await asks.make(platform)
        finally:
            await platform.close()


@pytest.fixture(autouse=True)
def no_secret_is_logged(caplog):
    caplog.set_level(logging.DEBUG)
    yield
    assert not [secret for secret in SECRETS if secret in caplog.text]


every_request = pytest.mark.parametrize("asks", REQUESTS.values(), ids=REQUESTS)


def every(faults: dict[str, Any]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("fault", faults.values(), ids=faults)


@every_request
async def test_a_healthy_answer_is_understood(asks):
    async def good(request: web.Request, asks: Any) -> web.Response:
        return web.json_response({**asks.good, "new": {"deep": [1]}})

    assert outcome(await made(asks, good)) == ("nothing" if asks.family == "change" else "done")


@every_request
@every(BROKEN)
async def test_a_broken_answer_says_nothing_about_what_was_done(asks, fault):
    assert outcome(await made(asks, fault)) == MAY_HAVE_ARRIVED[asks.family]


@every_request
@every(HUGE)
async def test_megabytes_are_not_read(asks, fault):
    found = outcome(await made(asks, fault))
    assert found in {MAY_HAVE_ARRIVED[asks.family], "refused 200"}, "nothing is taken for done"
    assert found != "refused 200" or asks.family in {"read", "who"}


@every_request
@every(ODD)
async def test_an_odd_answer_has_an_outcome(asks, fault):
    result = await made(asks, fault)
    found = outcome(result)
    if asks.family in {"token", "message", "who", "look-up", "app token", "older"}:
        assert found != "done", "success without what it should hold"


@every_request
@pytest.mark.parametrize(
    ("status", "body"), [(403, BAN), (200, BAN), (403, LIMIT), (429, LIMIT), (429, "{}")]
)
async def test_a_limited_request_was_not_carried_out(asks, status: int, body: str):
    found = outcome(await made(asks, plain(status, body)))
    if asks.family == "older":  # another code says so there
        assert found != "done"
    elif asks.family == "look-up" and body != BAN:
        assert found in {"never left", "may have arrived"}
    else:
        assert found.startswith(LIMITED[asks.family])


@every_request
async def test_a_redirect_is_never_followed(asks):
    asked_elsewhere = []

    async def elsewhere(request: web.Request, asks: Any) -> web.Response:
        asked_elsewhere.append(request.path)
        return web.json_response(asks.good)

    async with misbehaving(Asks("", asks.make, asks.good, "/"), elsewhere) as other:
        result = await made(asks, plain(302, b"", Location=f"{other}/v1.0/x"))
    assert outcome(result) not in {"done", "nothing"}
    assert asked_elsewhere == []


@every_request
async def test_a_platform_that_quotes_what_it_was_sent_gives_no_secret_away(asks):
    async def quoting(request: web.Request, asks: Any) -> web.Response:
        said = f"{request.path_qs} {dict(request.headers)} {(await request.read()).decode()}"
        body = {"code": "paramError", "message": said, "errcode": 4711, "errmsg": said, "requestid": said}
        return web.json_response(body, status=200 if request.path.startswith(("/robot", "/topapi")) else 400)

    result = await made(asks, quoting)
    assert outcome(result) != "done"
    if asks.family in {"token", "app token"}:
        assert not [secret for secret in SECRETS if secret in repr(result)]


async def test_a_platform_that_is_silent_or_slow_costs_ten_seconds_and_no_more():
    never = asyncio.Event()

    async def silent(request: web.Request, asks: Any) -> web.StreamResponse:
        await never.wait()
        return web.Response()

    async def dripping(request: web.Request, asks: Any) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.5)

    async def took(asks: Asks, fault: Any) -> tuple[str, float]:
        async with misbehaving(asks, fault) as url:
            platform = platform_at(url, asks.template)
            begun = time.monotonic()
            result = await asks.make(platform)
            seconds = time.monotonic() - begun
            await platform.close()
        return outcome(result), seconds

    cells = [(asks, fault) for asks in REQUESTS.values() for fault in (silent, dripping)]
    results = await asyncio.gather(*(took(*cell) for cell in cells))
    for (asks, _), (found, seconds) in zip(cells, results, strict=True):
        assert found == MAY_HAVE_ARRIVED[asks.family], asks
        assert seconds < 14, asks


OPEN = Asks("", call("GET"), {}, "/v1.0/gateway/")
CONNECTING = {
    **BROKEN,
    **ODD,
    "an endless answer": endless,
    "many megabytes": plain(200, '{"ticket":"' + "x" * MAX_RESPONSE_BYTES + '"}'),
    "an address elsewhere": plain(200, '{"endpoint":"wss://evil.example/connect","ticket":"t-1"}'),
    "an address that only looks right": plain(
        200, '{"endpoint":"wss://dingtalk.com.evil.example/","ticket":"t-1"}'
    ),
    "an address with a user": plain(
        200, '{"endpoint":"wss://api.dingtalk.com@evil.example/","ticket":"t-1"}'
    ),
    "no ticket": plain(200, '{"endpoint":"wss://a.dingtalk.com/connect"}'),
    "a ticket with a line break": plain(200, '{"endpoint":"wss://a.dingtalk.com/","ticket":"t\\r\\nX: 1"}'),
    "an address that is none": plain(200, '{"endpoint":"wss://[","ticket":"t-1"}'),
}


@every(CONNECTING)
async def test_no_answer_to_the_question_where_to_connect_leads_elsewhere(fault):
    async with misbehaving(OPEN, fault) as url:
        platform = platform_at(url, None)
        try:
            with pytest.raises(CannotConnect) as problem:
                await request_address(platform._plain_http, url, "dingapp1", Secret(SECRET))
        finally:
            await platform.close()
    assert SECRET not in str(problem.value)

"""Every request that the adapter makes, against every way in which an answer can go wrong.

Each cell of the matrix has one outcome. Nothing raises, nothing waits longer than one attempt may, nothing is read
without bound, and no secret is in what comes out of it, nor in the log.
"""

import asyncio
import gzip
import json
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web

from bot.core.api import ApiCall, RateLimited, Refused, Succeeded, Unreachable, Write
from bot.core.messages import Content, Destination, NotSent, Sent
from bot.core.oauth import DeviceCode, TokenRefused, TokenSet
from bot.core.people import Identity
from bot.core.secrets import Secret
from bot.lark.http_client import MAX_RESPONSE_BYTES
from bot.lark.platform import LarkPlatform

SECRET, TOKEN, CODE, REFRESH = "s3cr3t" * 6, "u-token" * 6, "c0de" * 8, "ur-refresh" * 5
TENANT_TOKEN = "t-tenant" * 5
SECRETS = (SECRET, TOKEN, CODE, REFRESH, TENANT_TOKEN)

AUTH = "/open-apis/auth/v3/"
GOOD_TOKENS = {"code": 0, "access_token": "eyJ.new", "expires_in": 7200, "scope": "task:task:read"}
GOOD_AUTH = {"code": 0, "tenant_access_token": TENANT_TOKEN, "app_access_token": TENANT_TOKEN, "expire": 7200}
WHO = {"open_id": "ou_1", "tenant_key": "t1", "name": "Wei"}
APP = {
    "app": {"creator_id": "ou_1", "scopes": [{"scope": "x:y", "description": "Z", "token_types": ["user"]}]}
}
SCOPES = {"scopes": [{"scope_name": "x:y", "scope_type": "user", "grant_status": 1}]}

# --- the requests ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Asks:
    """One kind of request: how it is made, whose outcomes it has, and what a healthy answer to it is."""

    family: str
    make: Callable[[LarkPlatform], Awaitable[Any]]
    good: dict[str, Any]
    path: str = "/"
    oauth: Any = "v2"
    before: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Answers to the requests that lead up to it, by the beginning of their path."""


def call(method: str, write: Write | None = None) -> Callable[[LarkPlatform], Awaitable[Any]]:
    return lambda platform: platform.call(
        ApiCall(method, "/open-apis/x", {}, None if method == "GET" else {"a": 1}, write), Secret(TOKEN)
    )


def send(*, reply_to: str | None = None, private: bool = False) -> Callable[[LarkPlatform], Awaitable[Any]]:
    return lambda platform: platform.send(
        Destination(platform.user_key("ou_1", "t1"), "oc_1", reply_to, private), CARD, "key"
    )


def exchange(platform: LarkPlatform) -> Awaitable[Any]:
    return platform.exchange_code(Secret(CODE), redirect_uri="https://b/cb", verifier=None, scopes=None)


CARD = Content("interactive", '{"schema":"2.0","body":{"elements":[]}}')
MESSAGE = {"code": 0, "data": {"message_id": "om_1"}}
IM, EPHEMERAL = "/open-apis/im/", "/open-apis/ephemeral/"
NOT_REACHABLE = {IM: {"code": 230013, "msg": "not available"}}
V1_TOKENS = {"code": 0, "data": GOOD_TOKENS}
DEVICE = {
    "device_code": "dc-1",
    "user_code": "WXYZ-1234",
    "verification_uri": "https://accounts.feishu.cn/verify",
}

REQUESTS: dict[str, Asks] = {
    "reading": Asks("read", call("GET"), {"code": 0}),
    "writing": Asks("write", call("POST", Write()), {"code": 0}),
    "deleting": Asks("write", call("DELETE", Write()), {"code": 0}),
    "writing with a key": Asks("write", call("POST", Write(timedelta(minutes=4))), {"code": 0}),
    "replying": Asks("message", send(reply_to="om_0"), MESSAGE, IM),
    "sending": Asks("message", send(), MESSAGE, IM),
    "sending for their eyes only": Asks("message", send(private=True), MESSAGE, EPHEMERAL, before=NOT_REACHABLE),
    "changing a card": Asks("change", lambda p: p.update_card("om_1", CARD), {"code": 0}, IM),
    "deleting a card": Asks("change", lambda p: p.withdraw("om_1"), {"code": 0}, EPHEMERAL),
    "exchanging a code": Asks("token", exchange, GOOD_TOKENS),
    "exchanging a code, v3": Asks("token", exchange, GOOD_TOKENS, oauth="v3"),
    "exchanging a code, v1": Asks("token", exchange, V1_TOKENS, "/open-apis/authen/", "v1"),
    "refreshing": Asks("token", lambda p: p.refresh(Secret(REFRESH)), GOOD_TOKENS),
    "refreshing, v3": Asks("token", lambda p: p.refresh(Secret(REFRESH)), GOOD_TOKENS, oauth="v3"),
    "refreshing, v1": Asks("token", lambda p: p.refresh(Secret(REFRESH)), V1_TOKENS, "/open-apis/authen/", "v1"),
    "requesting a device code": Asks("token", lambda p: p.request_device_authorization(frozenset({"x:y"})), DEVICE),
    "polling with a device code": Asks("token", lambda p: p.poll_device(Secret(CODE)), GOOD_TOKENS),
    "revoking": Asks("revocation", lambda p: p.revoke(Secret(REFRESH)), {"code": 0}),
    "asking whose a token is": Asks("who", lambda p: p.identify(Secret(TOKEN)), {"code": 0, "data": WHO}),
    "reading the app's scopes": Asks(
        "about the app", lambda p: p.enabled_scopes(fresh=True), {"code": 0, "data": SCOPES}, "/open-apis/appl"
    ),
    "reading who owns the app": Asks(
        "about the app", lambda p: p.administrators(), {"code": 0, "data": APP}, "/open-apis/appl"
    ),
    "reading the bot's own id": Asks(
        "about the app", lambda p: p._info.bot_open_id(), {"code": 0, "bot": {"open_id": "ou_b"}}, "/open-apis/bot"
    ),
    "getting the tenant token": Asks(
        "app token", lambda p: p.call_as_app(ApiCall("POST", "/open-apis/x")), GOOD_AUTH, AUTH
    ),
    "getting the app token, v1": Asks(
        "app token, v1", lambda p: p.refresh(Secret(REFRESH)), GOOD_AUTH, AUTH, "v1",
        before={"/open-apis/authen/": V1_TOKENS},
    ),
}  # fmt: skip


# --- what can go wrong -----------------------------------------------------------------------------------

Answering = Callable[[web.Request, Asks], Awaitable[web.StreamResponse]]


def plain(status: int, body: bytes | str, **headers: str) -> Answering:
    raw = body.encode() if isinstance(body, str) else body

    async def answer(request: web.Request, asks: Asks) -> web.StreamResponse:
        return web.Response(
            status=status,
            body=raw,
            headers={
                "Content-Type": "application/json",
                **{k.replace("_", "-"): v for k, v in headers.items()},
            },
        )

    return answer


def cut(*, read: bool) -> Answering:
    async def answer(request: web.Request, asks: Asks) -> web.StreamResponse:
        if read:
            await request.read()
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    return answer


async def half(request: web.Request, asks: Asks) -> web.StreamResponse:
    whole = json.dumps(asks.good).encode()
    response = web.StreamResponse(headers={"Content-Length": str(len(whole) * 2)})
    await response.prepare(request)
    await response.write(whole)
    assert request.transport is not None
    request.transport.close()
    return response


async def endless(request: web.Request, asks: Asks) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(4 * MAX_RESPONSE_BYTES // 1_000_000):
        await response.write(b" " * 1_000_000)
    return response


async def quoting(request: web.Request, asks: Asks) -> web.StreamResponse:
    """Refuses, and repeats all that it was sent."""
    said = f"bad request: {request.headers.get('Authorization')} {(await request.read()).decode()}"
    body = {"code": 4711, "msg": said, "error": "invalid_request", "error_description": said}
    return web.json_response(body, status=400)


def good(content_type: str = "application/json", **more: Any) -> Answering:
    async def answer(request: web.Request, asks: Asks) -> web.StreamResponse:
        body = {**asks.good, **more}
        return web.Response(body=json.dumps(body).encode(), headers={"Content-Type": content_type})

    return answer


HTML = "<html><body><h1>502 Bad Gateway</h1></body></html>"
LIMIT = '{"code":99991400,"msg":"request trigger frequency limit"}'
ODD = {
    "msg": 7, "data": [1], "error": 5, "access_token": 7, "refresh_token": {}, "expires_in": "x", "scope": 9,
    "tenant_access_token": ["t"], "app_access_token": 1, "expire": None, "bot": "b",
}  # fmt: skip
LINE_BREAKS = dict.fromkeys(("access_token", "tenant_access_token", "app_access_token"), "t-1\r\nX-Evil: 1")

BROKEN: dict[str, Answering] = {
    "the connection is reset before the request was read": cut(read=False),
    "the connection is reset after the work was done": cut(read=True),
    "500 with an unknown code": plain(500, '{"code":4711,"msg":"oops"}'),
    "502 as HTML": plain(502, HTML, Content_Type="text/html"),
    "503 without a body": plain(503, b""),
    "HTML with 200": plain(200, HTML, Content_Type="text/html"),
    "HTML with 403": plain(403, HTML, Content_Type="text/html"),
    "half of the JSON, and the connection closed": half,
    "half of the JSON": plain(200, '{"code":0,"data":{"a'),
    "a list": plain(200, '[{"code":0}]'),
    "null": plain(200, "null"),
    "a number of many digits": plain(200, '{"code":' + "9" * 5000 + "}"),
    "brackets without end": plain(200, "[" * 40_000),
    "an object without a code": plain(200, '{"data":{}}'),
    "a code that is a text": plain(200, '{"code":"0","msg":"ok"}'),
    "a code that is null": plain(200, '{"code":null,"msg":"ok"}'),
    "bytes that are no text": plain(200, b'{"code":0,"msg":"\xff\xfe\xfa"}'),
    "what says that it is compressed, and is not": plain(200, '{"code":0}', Content_Encoding="gzip"),
    "a header without end": plain(200, '{"code":0}', X_Long="x" * 100_000),
}
LIMITED: dict[str, tuple[Answering, str]] = {
    "429 with a reset": (plain(429, LIMIT, x_ogw_ratelimit_reset="7"), " 7"),
    "429 with Retry-After": (plain(429, LIMIT, Retry_After="7"), " 7"),
    "429 without a header": (plain(429, LIMIT), ""),
    "429 as HTML": (plain(429, HTML, x_ogw_ratelimit_reset="7"), " 7"),
    "429 with an unknown code": (plain(429, '{"code":4711}', x_ogw_ratelimit_reset="7"), " 7"),
    "400 with the code of a limit": (plain(400, LIMIT, x_ogw_ratelimit_reset="7"), " 7"),
    "429 with a reset in ages": (plain(429, LIMIT, x_ogw_ratelimit_reset="1e300"), " 86400"),
    "429 with a reset that is none": (plain(429, LIMIT, x_ogw_ratelimit_reset="-1", Retry_After="soon"), ""),
}
HUGE: dict[str, Answering] = {
    "an answer without end": endless,
    "many megabytes": plain(200, '{"code":0,"x":"' + "x" * MAX_RESPONSE_BYTES + '"}'),
    "hundreds of thousands of values": plain(200, '{"code":0,"x":[' + "[]," * 300_000 + "1]}"),
    "numbers of thousands of digits": plain(200, '{"code":0,"x":[' + ("9" * 4300 + ",") * 300 + "1]}"),
    "many brackets without end": plain(200, "[" * 200_000),
    "few bytes that unpack to many": plain(200, gzip.compress(b" " * 200_000_000), Content_Encoding="gzip"),
}
EMPTY_HANDED: dict[str, Answering] = {
    "success without anything else": plain(200, '{"code":0}'),
    "success with fields of other types": plain(200, json.dumps({"code": 0, **ODD})),
}
SOUND: dict[str, Answering] = {
    "fields that nobody expects": good(extra={"deep": [1, 2]}, msg="✓", new=True),
    "another content type": good("text/plain; charset=gbk"),
    "no content type": good(""),
}

# --- what comes of it ------------------------------------------------------------------------------------


def outcome(result: Any) -> str:
    match result:
        case Unreachable(may_have_arrived=arrived):
            return "may have arrived" if arrived else "never left"
        case RateLimited(retry_after=seconds):
            return f"limited{after(seconds)}"
        case NotSent(retry=True, may_have_arrived=arrived, retry_after=seconds):
            return f"again{after(seconds)}{', may have arrived' if arrived else ''}"
        case NotSent():
            return "not sent"
        case Refused(code=code):
            return f"refused {code}"
        case TokenRefused(problem=problem, retry_after=seconds):
            return f"{problem.value}{after(seconds)}"
        case None | ():
            return "nothing"
        case Succeeded() | Sent() | TokenSet() | DeviceCode() | Identity() | str() | frozenset() | tuple():
            return "done"
    raise AssertionError(f"not an outcome: {result!r}")


def after(seconds: float | None) -> str:
    return "" if seconds is None else f" {seconds:.0f}"


NEVER_LEFT = {
    "read": "never left",
    "write": "never left",
    "message": "again",
    "change": "again",
    "token": "transient",
    "revocation": "transient",
    "who": "never left",
    "about the app": "nothing",
    "app token": "never left",
    "app token, v1": "transient",
}
IN_DOUBT = {
    **dict.fromkeys(("read", "write", "who"), "may have arrived"),
    **dict.fromkeys(("message", "change"), "again, may have arrived"),
    **dict.fromkeys(("token", "revocation"), "in_doubt"),
    "about the app": "nothing",
    # Asking for a token has no effect; what wanted it has not left.
    "app token": "never left",
    "app token, v1": "transient",
}


def limited(seconds: str) -> dict[str, str]:
    return {
        **dict.fromkeys(("read", "write", "app token"), f"limited{seconds}"),
        **dict.fromkeys(("message", "change"), f"again{seconds}"),
        **dict.fromkeys(("token", "revocation", "app token, v1"), f"transient{seconds}"),
        "who": "never left",
        "about the app": "nothing",
    }


REDIRECTED = {**IN_DOUBT, "read": "refused 302", "who": "refused 302", "app token": "never left"}
HUGE_OUTCOMES = {**IN_DOUBT, "read": "refused 0", "who": "refused 0"}
NOTHING_IN_IT = {
    **IN_DOUBT,
    **dict.fromkeys(("read", "write"), "done"),
    **dict.fromkeys(("change", "revocation"), "nothing"),
}
DONE = dict.fromkeys(IN_DOUBT, "done") | dict.fromkeys(("change", "revocation"), "nothing")
REFUSED = {
    **dict.fromkeys(("read", "write", "who"), "refused 4711"),
    **dict.fromkeys(("message", "change"), "not sent"),
    "about the app": "nothing",
    "app token": "refused 4711",
    "app token, v1": "app",
}


# --- the server ------------------------------------------------------------------------------------------


@asynccontextmanager
async def misbehaving(asks: Asks, answering: Answering):
    """A platform that answers all that leads up to a request, and the request itself as it likes."""

    async def serve(request: web.Request) -> web.StreamResponse:
        for path, body in asks.before.items():
            if request.path.startswith(path):
                return web.json_response(body)
        if request.path.startswith(AUTH) and asks.path != AUTH:
            return web.json_response(GOOD_AUTH)
        if not request.path.startswith(asks.path):
            return web.json_response({"code": 0})
        return await answering(request, asks)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def platform_at(url: str, oauth: Any) -> LarkPlatform:
    return LarkPlatform(
        app_id="cli_1", app_secret=Secret(SECRET), open_url=url, accounts_url=url, oauth=oauth
    )


async def made(asks: Asks, answering: Answering) -> Any:
    async with misbehaving(asks, answering) as url:
        platform = platform_at(url, asks.oauth)
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


# --- the matrix ------------------------------------------------------------------------------------------


@every_request
async def test_a_refused_connection_carried_nothing(asks):
    async with misbehaving(asks, good()) as url:
        platform = platform_at(url, asks.oauth)
        if asks.path != AUTH and asks.family in {"message", "change", "about the app"}:
            await platform._token.get()
        if asks.oauth == "v1" and asks.path != AUTH:
            await platform._oauth._app_token.get()
    await asyncio.sleep(0.05)  # for the pool to notice that the connection is closed
    result = await asks.make(platform)
    await platform.close()
    assert outcome(result) == NEVER_LEFT[asks.family]


@every_request
@every(BROKEN)
async def test_a_broken_answer_says_nothing_about_what_was_done(asks, fault):
    assert outcome(await made(asks, fault)) == IN_DOUBT[asks.family]


@every_request
async def test_an_empty_body_says_nothing_except_of_a_revocation(asks):
    expected = "nothing" if asks.family == "revocation" else IN_DOUBT[asks.family]
    assert outcome(await made(asks, plain(200, b""))) == expected


@every_request
@every(LIMITED)
async def test_a_limited_request_was_not_carried_out_and_says_when_to_come_back(asks, fault):
    answering, seconds = fault
    assert outcome(await made(asks, answering)) == limited(seconds)[asks.family]


@every_request
@every(HUGE)
async def test_megabytes_are_not_read(asks, fault):
    assert outcome(await made(asks, fault)) == HUGE_OUTCOMES[asks.family]


@every_request
@every(EMPTY_HANDED)
async def test_success_without_what_it_should_hold_is_no_success(asks, fault):
    assert outcome(await made(asks, fault)) == NOTHING_IN_IT[asks.family]


@every_request
@every(SOUND)
async def test_what_is_only_dressed_oddly_is_understood(asks, fault):
    assert outcome(await made(asks, fault)) == DONE[asks.family]


@every_request
async def test_a_token_that_does_not_fit_into_a_header_is_none(asks):
    assert outcome(await made(asks, good(**LINE_BREAKS, data=LINE_BREAKS))) in {
        NOTHING_IN_IT[asks.family],
        DONE[asks.family],
    }


@every_request
async def test_a_redirect_is_never_followed(asks):
    asked_elsewhere = []

    async def elsewhere(request: web.Request, asks: Asks) -> web.StreamResponse:
        asked_elsewhere.append(request.path)
        return web.json_response(asks.good)

    async with misbehaving(Asks("", asks.make, asks.good), elsewhere) as other:
        result = await made(asks, plain(302, b"", Location=f"{other}/open-apis/x"))
    assert outcome(result) == REDIRECTED[asks.family]
    assert asked_elsewhere == []


@every_request
async def test_a_platform_that_quotes_what_it_was_sent_gives_no_secret_away(asks):
    result = await made(asks, quoting)
    assert not [secret for secret in SECRETS if secret in repr(result)]
    if asks.family in REFUSED:
        assert outcome(result) == REFUSED[asks.family]


async def test_a_platform_that_is_silent_or_slow_costs_ten_seconds_and_no_more():
    never = asyncio.Event()

    async def silent(request: web.Request, asks: Asks) -> web.StreamResponse:
        await never.wait()
        return web.Response()

    async def dripping(request: web.Request, asks: Asks) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.5)

    async def took(asks: Asks, fault: Answering) -> tuple[str, float]:
        async with misbehaving(asks, fault) as url:
            platform = platform_at(url, asks.oauth)
            begun = time.monotonic()
            result = await asks.make(platform)
            seconds = time.monotonic() - begun
            await platform.close()
        return outcome(result), seconds

    cells = [(asks, fault) for asks in REQUESTS.values() for fault in (silent, dripping)]
    results = await asyncio.gather(*(took(*cell) for cell in cells))
    for (asks, _), (found, seconds) in zip(cells, results, strict=True):
        assert found == IN_DOUBT[asks.family]
        assert seconds < 14, asks

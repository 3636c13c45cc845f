"""What answers mean, and that trouble on the way is told apart."""

import asyncio
import gc
import json
import time

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from bot.core.api import (
    ApiCall,
    AppScopeMissing,
    InsufficientScope,
    Outcome,
    RateLimited,
    Refused,
    Succeeded,
    TokenRejected,
    Unreachable,
    Write,
)
from bot.core.scopes import any_of
from bot.core.secrets import Secret
from bot.lark.api import call, send
from bot.lark.outcomes import classify
from bot.lark.refusal_messages import scopes_in_message
from bot.lark.sdk_requests import from_sdk_request
from bot.transport.http_client import HttpClient

DOCUMENTS = ("docx:document", "docx:document:readonly")


def answered(status, headers=None, **body):
    return classify(status, headers or {}, json.dumps(body).encode())


def test_the_violations_of_a_refusal_are_its_alternatives(payload):
    outcome = answered(400, **payload("refusal_insufficient_scope"))
    assert outcome == InsufficientScope(any_of(*DOCUMENTS), "202308071603455425F5854702B4000DB9")


def test_without_violations_the_first_bracket_of_the_message_is_read(payload):
    outcome = answered(400, **payload("refusal_insufficient_scope_bilingual"))
    assert isinstance(outcome, InsufficientScope)
    assert outcome.requirement == any_of(*DOCUMENTS)


@pytest.mark.parametrize(
    "error",
    [None, [], "x", {"permission_violations": "x"}, {"permission_violations": [None, {"subject": 7}]}],
)
def test_odd_violations_fall_back_to_the_message(error):
    outcome = answered(400, code=99991679, msg="required: [a:b, c:d]", error=error)
    assert isinstance(outcome, InsufficientScope)
    assert outcome.requirement == any_of("a:b", "c:d")


def test_violations_of_the_older_form_name_scopes_too():
    violations = [{"scope": scope, "url": "https://open.feishu.cn/app/x/auth"} for scope in DOCUMENTS]
    outcome = answered(400, code=99991679, msg="Unauthorized.", error={"permission_violations": violations})
    assert outcome == InsufficientScope(any_of(*DOCUMENTS))


def test_an_invalid_scope_is_never_requested():
    violations = [{"subject": "a b"}, {"subject": "<at id=all>"}, {"subject": "a:b"}, {"subject": "a:b"}]
    outcome = answered(400, code=99991679, msg="", error={"permission_violations": violations})
    assert outcome == InsufficientScope(any_of("a:b"))


def test_a_scope_that_the_app_lacks_is_an_administrators_matter(payload):
    outcome = answered(400, **payload("refusal_app_scope_missing"))
    assert isinstance(outcome, AppScopeMissing)
    assert outcome.requirement == any_of("contact:user.id:readonly")


def test_a_refusal_that_names_no_scope_is_known_as_such():
    nothing: tuple[dict, ...] = ({}, {"error": {}}, {"error": {"permission_violations": []}})
    for unnamed in nothing:
        outcome = answered(400, code=99991679, msg="no", **unnamed)
        assert isinstance(outcome, Refused)
        assert outcome.unnamed_scope
    outcome = answered(400, code=99991672, msg="no")
    assert isinstance(outcome, Refused)
    assert not outcome.unnamed_scope


CASES: list[tuple[str, int, dict, type[Outcome]]] = [
    ("success", 200, {"code": 0, "msg": "ok"}, Succeeded),
    ("success beats a strange status", 500, {"code": 0}, Succeeded),
    ("an expired token", 401, {"code": 99991677}, TokenRejected),
    ("an invalid token", 400, {"code": 99991668, "msg": "Invalid access token"}, TokenRejected),
    ("an API without users", 400, {"code": 99991668, "msg": "user access token not support"}, Refused),
    (
        "an API without users, in other words",
        400,
        {"code": 99991668, "msg": "This API doesn't support user_access_token"},
        Refused,
    ),
    ("an API without users, in Chinese", 400, {"code": 99991668, "msg": "该接口不支持用户身份"}, Refused),
    ("an API without users, shortly", 400, {"code": 99991668, "msg": "Unsupported token type"}, Refused),
    ("a token rejected by user_info", 200, {"code": 20005}, TokenRejected),
    ("a token rejected by search", 401, {"code": 1274011}, TokenRejected),
    ("a rate limit", 429, {"code": 99991400}, RateLimited),
    ("a rate limit of an old API", 400, {"code": 99991400}, RateLimited),
    ("a rate limit of messages", 400, {"code": 230020}, RateLimited),
    ("a rate limit of Base", 200, {"code": 1254290}, RateLimited),
    ("a rate limit of mail", 429, {"code": 1236007}, RateLimited),
    ("the monthly quota", 400, {"code": 99991403}, Refused),
    ("the monthly quota, told as a rate limit", 429, {"code": 99991403}, Refused),
    ("a server error with a code", 500, {"code": 190003}, Unreachable),
    ("a server error of tasks", 500, {"code": 1470500}, Unreachable),
    ("a server error of documents", 503, {"code": 1771005}, Unreachable),
    ("an unknown server error", 502, {"code": 4711}, Unreachable),
    ("a business error with 200", 200, {"code": 1254041, "msg": "no table"}, Refused),
    ("a business error with 404", 404, {"code": 1470404}, Refused),
    ("a code that is no number", 200, {"code": "0"}, Unreachable),
    ("a code that is a truth value", 200, {"code": False}, Unreachable),
    ("no code", 200, {"data": {}}, Unreachable),
]


@pytest.mark.parametrize(("what", "status", "body", "expected"), CASES, ids=[case[0] for case in CASES])
def test_an_answer_means_what_its_code_says(what, status, body, expected):
    assert type(answered(status, **body)) is expected


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (502, b"<html>Bad Gateway</html>", Unreachable),
        (200, b"<html>Log in to the Wi-Fi</html>", Unreachable),
        (404, b"<html>a proxy's</html>", Unreachable),
        (404, b"404 page not found", Refused),
        (302, b"", Refused),
        (429, b"slow down", RateLimited),
        (200, b'{"code":0,"data":{"a"', Unreachable),
        (200, b"[]", Unreachable),
        (200, b"", Unreachable),
        (200, b"\xff\xfe", Unreachable),
        (200, b"[" * 100_000, Unreachable),
        (200, None, Unreachable),
    ],
)
def test_what_is_no_answer_of_the_platform_is_never_believed(status, body, expected):
    assert type(classify(status, {}, body)) is expected


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (404, b"404 page not found", "page not found"),
        (405, b"405 method not allowed", "method not allowed"),
        (404, b"404: Not Found", "Not Found"),
        (404, b"HTTP/1.1 404 Not Found\n", "Not Found"),
        (404, b"Error 404 - no such route", "no such route"),
        (404, b"404", ""),
        (404, b"", ""),
        (404, b"no route for 404", "no route for 404"),
        (404, b"4040 is another number", "4040 is another number"),
    ],
)
def test_a_gateways_words_do_not_begin_with_the_status_that_stands_beside_them(status, body, message):
    refused = classify(status, {}, body)
    assert (refused.code, refused.message) == (status, message)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"x-ogw-ratelimit-reset": "52", "Retry-After": "7"}, 52),
        ({"Retry-After": "7"}, 7),
        ({"x-ogw-ratelimit-reset": "soon", "Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        ({"x-ogw-ratelimit-reset": "-1"}, None),
        ({"x-ogw-ratelimit-reset": "inf"}, None),
        ({}, None),
    ],
)
def test_the_reset_of_a_rate_limit_is_read(headers, seconds):
    assert answered(429, headers, code=99991400) == RateLimited(seconds)


def test_the_log_id_is_kept_for_support():
    assert answered(200, {"X-Tt-Logid": "L1"}, code=0).log_id == "L1"
    assert answered(400, code=1, msg="").__class__ is Unreachable
    assert answered(400, code=5, error={"log_id": "L2"}).log_id == "L2"


@given(status=st.integers(100, 599), body=st.binary(max_size=200))
def test_no_bytes_make_classify_fail(status, body):
    assert isinstance(classify(status, {}, body), Outcome)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)


@given(
    code=st.sampled_from([99991679, 99991672, 99991668, 20005, 0, 7]) | json_values,
    msg=json_values,
    error=json_values | st.fixed_dictionaries({"permission_violations": json_values}),
)
def test_no_envelope_makes_classify_fail(code, msg, error):
    assert isinstance(answered(400, code=code, msg=msg, error=error), Outcome)


# --- over HTTP


ME = ApiCall("GET", "/open-apis/authen/v1/user_info")
TASK = ApiCall("POST", "/open-apis/task/v2/tasks", {}, {"summary": "x"}, Write())


async def test_a_refused_connection_certainly_carried_nothing():
    http = HttpClient()
    outcome = await call(http, "http://127.0.0.1:9", TASK, Secret("u-1"))
    await http.close()
    assert outcome == Unreachable("no connection to 127.0.0.1", may_have_arrived=False)


async def test_a_name_that_does_not_resolve_certainly_carried_nothing():
    http = HttpClient()
    outcome = await call(http, "http://no.such.host.invalid", TASK, Secret("u-1"))
    await http.close()
    assert isinstance(outcome, Unreachable)
    assert not outcome.may_have_arrived


@pytest.mark.parametrize("kind", ["drop_before", "drop_after", "truncate", "html"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_a_broken_answer_leaves_it_open_whether_a_write_arrived(world, kind, method):
    world.trouble(kind)
    outcome = await world.platform.call(ApiCall(method, "/open-apis/task/v2/tasks", {}, {}), Secret("u-1"))
    assert isinstance(outcome, Unreachable)
    assert outcome.may_have_arrived


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_a_write_is_sent_once_even_when_a_kept_connection_breaks(method):
    arrived = []

    async def handle(request: web.Request) -> web.Response:
        arrived.append(request.method)
        if request.method != "GET" and request.transport is not None:
            request.transport.abort()
        return web.json_response({"code": 0})

    app = web.Application()
    app.router.add_route("*", "/open-apis/x", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    http, origin = HttpClient(), f"http://127.0.0.1:{runner.addresses[0][1]}"
    assert isinstance(await call(http, origin, ApiCall("GET", "/open-apis/x"), Secret("t")), Succeeded)
    outcome = await call(http, origin, ApiCall(method, "/open-apis/x", {}, {}), Secret("t"))
    await http.close()
    await runner.cleanup()
    assert outcome.may_have_arrived
    assert arrived == ["GET", method]


async def serve_once(handler):
    app = web.Application()
    app.router.add_route("*", "/open-apis/x", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}"


async def test_an_answer_without_end_is_not_read_to_the_end():
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(100):
            await response.write(b"x" * 1_000_000)
        return response

    runner, origin = await serve_once(endless)
    http = HttpClient()
    read = await call(http, origin, ApiCall("GET", "/open-apis/x"), Secret("t"))
    written = await call(http, origin, ApiCall("POST", "/open-apis/x", write=Write()), Secret("t"))
    await http.close()
    await runner.cleanup()
    assert isinstance(read, Refused)
    assert isinstance(written, Unreachable)
    assert written.may_have_arrived


async def test_a_redirect_is_not_followed():
    async def elsewhere(request: web.Request) -> web.Response:
        raise web.HTTPFound("https://elsewhere.example/")

    runner, origin = await serve_once(elsewhere)
    http = HttpClient()
    outcome = await call(http, origin, ApiCall("GET", "/open-apis/x"), Secret("t"))
    await http.close()
    await runner.cleanup()
    assert isinstance(outcome, Refused)
    assert outcome.code == 302


@pytest.mark.parametrize(
    ("headers", "is_a_file"),
    [
        ({"Content-Type": "image/png"}, True),
        ({"Content-Type": "application/octet-stream"}, True),
        ({"Content-Type": "text/plain", "Content-Disposition": 'attachment; filename="a.txt"'}, True),
        ({"Content-Type": "text/plain; charset=utf-8"}, False),
        ({"Content-Type": "text/html"}, False),
        ({"Content-Type": "application/json; charset=utf-8"}, False),
    ],
)
async def test_a_file_is_an_answer_and_what_else_is_no_json_is_trouble(headers, is_a_file):
    async def download(request: web.Request) -> web.Response:
        return web.Response(body=b"\x89PNG", headers=headers)

    runner, origin = await serve_once(download)
    http = HttpClient()
    read = await call(http, origin, ApiCall("GET", "/open-apis/x"), Secret("t"))
    written = await send(http, origin, ApiCall("POST", "/open-apis/x"), Secret("t"))
    await http.close()
    await runner.cleanup()
    assert isinstance(read, Refused if is_a_file else Unreachable)
    assert isinstance(written, Unreachable)


@pytest.mark.parametrize("path", ["@elsewhere.example/open-apis/", ".elsewhere.example/", "open-apis/x", ""])
async def test_a_token_never_leaves_for_another_host(path):
    with pytest.raises(ValueError, match="path"):
        await call(HttpClient(), "http://127.0.0.1:9", ApiCall("GET", path), Secret("t"))


async def test_queries_and_bodies_arrive_as_they_were():
    seen = {}

    async def echo(request: web.Request) -> web.Response:
        seen.update(
            query=dict(request.query), body=await request.json(), token=request.headers["Authorization"]
        )
        return web.json_response({"code": 0})

    runner, origin = await serve_once(echo)
    http = HttpClient()
    query, body = {"q": "a+b &=%/日志", "n": "1"}, {"text": '周报 \U0001f600 "quoted"'}
    await call(http, origin, ApiCall("POST", "/open-apis/x", query, body), Secret("tok"))
    await http.close()
    await runner.cleanup()
    assert seen == {"query": query, "body": body, "token": "Bearer tok"}


async def test_connections_are_used_again(world):
    for _ in range(5):
        await world.platform.call(ME, Secret("u-1"))
    assert len({id(c) for c in world.platform._http._session.connector._conns}) == 1


async def test_the_typed_catalogue_of_the_sdk_needs_not_its_transport():
    task_v2 = pytest.importorskip("lark_oapi.api.task.v2.model")
    docx_v1 = pytest.importorskip("lark_oapi.api.docx.v1.model")
    gc.collect()
    task = task_v2.InputTask.builder().summary("周报").client_token("k" * 10).build()
    request = task_v2.CreateTaskRequest.builder().user_id_type("open_id").request_body(task).build()
    assert from_sdk_request(request) == ApiCall(
        "POST",
        "/open-apis/task/v2/tasks",
        {"user_id_type": "open_id"},
        {"summary": "周报", "client_token": "k" * 10},
    )
    read = docx_v1.RawContentDocumentRequest.builder().document_id("a/b").lang(0).build()
    assert from_sdk_request(read).path == "/open-apis/docx/v1/documents/a%2Fb/raw_content"


# --- the tenant token


async def test_many_calls_at_once_fetch_one_token(world):
    outcomes = await asyncio.gather(*(world.platform.call_as_app(bot_info()) for _ in range(20)))
    assert all(isinstance(outcome, Succeeded) for outcome in outcomes)
    assert fetched(world) == 1


def bot_info():
    return ApiCall("GET", "/open-apis/bot/v3/info")


def fetched(world):
    return sum(
        change.kind == "request" and change.data["path"].endswith("tenant_access_token/internal")
        for change in world.tenant.feed.changes
    )


async def test_a_token_that_the_platform_refuses_is_fetched_again_once(world):
    assert isinstance(await world.platform.call_as_app(bot_info()), Succeeded)
    world.tenant.credentials.app_tokens.clear()
    assert isinstance(await world.platform.call_as_app(bot_info()), Succeeded)
    world.trouble("status", match={"path": "/open-apis/bot/v3/info"}, status=400, code=99991663)
    assert isinstance(await world.platform.call_as_app(bot_info()), Refused)
    assert fetched(world) == 3


async def test_without_a_token_nothing_has_arrived(world):
    world.trouble("drop_after", match={"path": "/open-apis/auth/"})
    other = world.another()
    outcome = await other.call_as_app(bot_info())
    await other.close()
    assert isinstance(outcome, Unreachable)
    assert not outcome.may_have_arrived


async def test_a_wrong_secret_is_a_refusal(world):
    wrong = world.another(app_secret=Secret("wrong"))
    outcome = await wrong.call_as_app(bot_info())
    await wrong.close()
    assert isinstance(outcome, Refused)


def test_a_limit_of_messages_is_over_in_a_second_unless_the_platform_says_otherwise():
    assert answered(400, code=230020, msg="frequency limit") == RateLimited(1.0)
    assert classify(400, {"x-ogw-ratelimit-reset": "7"}, b'{"code": 230020}') == RateLimited(7.0)
    assert answered(400, code=99991400) == RateLimited(None)


@pytest.mark.parametrize(
    ("message", "scopes"),
    [
        (
            "Lack of necessary permissions, ext=requires im:message.send_as_user scope.",
            ("im:message.send_as_user",),
        ),
        ("Lack of necessary permissions, ext=need scope: im:message.group_msg.", ("im:message.group_msg",)),
        ("token no permission, need contact:user.base:readonly permission", ("contact:user.base:readonly",)),
        ("scope required: [a:b, c:d.e:read]", ("a:b", "c:d.e:read")),
        ("requires im:chat or im:chat:readonly scope", ("im:chat", "im:chat:readonly")),
        ("应用需要 im:chat、im:chat:readonly 权限", ("im:chat", "im:chat:readonly")),
        ("缺少权限：im:message.send_as_user", ("im:message.send_as_user",)),
        ("Lack of necessary permissions.", ()),
        ("no permission", ()),
        ("field user_id:foo is missing", ()),
        ("You need permission of user:ou_1a2b", ()),
        ("requires https://open.feishu.cn/x:y scope", ()),
        ("Need permission until 12:30", ()),
        ("the scope of this search: doc:wiki", ()),
        ("", ()),
    ],
)
def test_a_scope_that_is_named_in_words_is_read(message, scopes):
    assert scopes_in_message(message) == scopes


def test_words_that_are_made_to_be_slow_are_read_in_little_time():
    began = time.process_time()
    for unit in ("requires ", "a:b,", "requires a", "scope requires a:b, ", "需要a:b、"):
        scopes_in_message(unit * 2000)
    assert time.process_time() - began < 1

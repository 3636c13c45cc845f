"""`/call`: what may be called, and what is shown of the answer."""

import json

import pytest

from bot.core.api_command import names_in_strings
from bot.core.api_requests import read_call
from bot.core.scopes import NOTHING
from bot.lark.commands.openapi import APIS, call
from tests.command_runner import code, refused, run, said, success

with_names_in_strings = names_in_strings(APIS)

USER_INFO = "/open-apis/authen/v1/user_info"


def problem(arguments, language="en"):
    done = run(call, arguments)
    assert done.moves == []
    return said(done.reply, language)[1]


def called(arguments):
    (made,) = run(call, arguments, success({})).calls
    return made


def test_a_call_is_made_as_written():
    made = called(f"get {USER_INFO}")
    assert (made.method, made.path, dict(made.query), made.body, made.write) == (
        "GET",
        USER_INFO,
        {},
        None,
        None,
    )


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_whatever_is_no_get_is_a_write_without_a_key(method):
    made = called(f'{method} /open-apis/task/v2/tasks {{"summary": "x y"}}')
    assert made.body == {"summary": "x y"}
    assert made.write is not None
    assert made.write.keyed_for is None


def test_a_write_may_go_without_a_body():
    assert called("DELETE /open-apis/task/v2/tasks/1").body is None


def test_a_body_may_go_over_several_lines():
    assert called('POST /open-apis/x\n{\n "a": [1,\n 2]\n}').body == {"a": [1, 2]}


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (
            "/open-apis/task/v2/tasks?page_size=20&completed=false",
            "/open-apis/task/v2/tasks",
            {"page_size": "20", "completed": "false"},
        ),
        ("/open-apis/x?a=%2F%3F%23&b=&c=1+2", "/open-apis/x", {"a": "/?#", "b": "", "c": "1 2"}),
        ("/open-apis/calendar/v4/calendars/feishu.cn_x@group.calendar.feishu.cn/events", None, {}),
        ("/open-apis/calendar/v4/calendars/a%40b/events", "/open-apis/calendar/v4/calendars/a@b/events", {}),
        ("/open-apis/sheets/v2/x/values/0b!A1:B2", None, {}),
        ("/open-apis/wiki/%E8%AE%A1%E5%88%92", None, {}),
        ("/open-apis/wiki/计划", "/open-apis/wiki/%E8%AE%A1%E5%88%92", {}),
        ("/open-apis/x/a%20b", None, {}),
        (
            "/open-apis/contact/v3/users/ou_1?user_access_token_like=no",
            "/open-apis/contact/v3/users/ou_1",
            {"user_access_token_like": "no"},
        ),
    ],
)
def test_paths_are_sent_as_what_they_mean(target, path, query):
    made = called(f"GET {target}")
    assert made.path == (path or target)
    assert dict(made.query) == query


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (
            "https://open.feishu.cn/open-apis/x",
            "After the method, write the path without a host: /open-apis/…",
        ),
        ("open-apis/x", "After the method, write the path without a host: /open-apis/…"),
        ("//evil.example/open-apis/x", "After the method, write the path without a host: /open-apis/…"),
        ("@evil.example/open-apis/", "After the method, write the path without a host: /open-apis/…"),
        ("/other/x", "Only paths under /open-apis/ can be called."),
        ("/open-apis", "Only paths under /open-apis/ can be called."),
        ("/open-apis/", "Only paths under /open-apis/ can be called."),
        ("/open-apisx/y", "Only paths under /open-apis/ can be called."),
        ("/OPEN-APIS/x", "Only paths under /open-apis/ can be called."),
        ("/open-apis/../x", "Not allowed in the path: ..."),
        ("/open-apis/%2e%2e/x", "Not allowed in the path: ..."),
        ("/open-apis/x..y", "Not allowed in the path: ..."),
        ("/open-apis/./auth/v3", "Not allowed in the path: a single-dot segment."),
        ("/open-apis/%2e/auth/v3", "Not allowed in the path: a single-dot segment."),
        ("/open-apis//auth/v3", "Not allowed in the path: //."),
        ("/open-apis\\x", "Not allowed in the path: a backslash."),
        ("/open-apis/%5cx", "Not allowed in the path: a backslash."),
        ("/open-apis/x%2fy", "Not allowed in the path: an encoded slash."),
        ("/open-apis/x%252fy", "Not allowed in the path: a doubly encoded character."),
        ("/open-apis/%252e%252e/x", "Not allowed in the path: a doubly encoded character."),
        ("/open-apis/x%3Fy", "Not allowed in the path: an encoded ? or #."),
        ("/open-apis/x%23y", "Not allowed in the path: an encoded ? or #."),
        ("/open-apis/x%0d%0aHost:y", "Not allowed in the path: a control character."),
        ("/open-apis/x%00", "Not allowed in the path: a control character."),
        ("/open-apis/x\u200b", "Not allowed in the path: a control character."),
        ("/open-apis/auth;x/v3", "Not allowed in the path: a semicolon."),
        ("/open-apis/x\uff0fy", "Not allowed in the path: an encoded slash."),
        ("/open-apis/\u2025/x", "Not allowed in the path: ..."),
        ("/open-apis/x\uff05252e", "Not allowed in the path: a doubly encoded character."),
        ("/open-apis/x%zz", "The path contains an invalid % encoding."),
        ("/open-apis/x%", "The path contains an invalid % encoding."),
        ("/open-apis/x%ff", "The path doesn't decode to valid text."),
        ("/open-apis/x#y", "The path can't contain #, and only one ?."),
        ("/open-apis/x?a=1?b=2", "The path can't contain #, and only one ?."),
        ("/open-apis/x?a=1&a=2", "The parameter a appears twice. Please keep one."),
        ("/open-apis/x?a", "The parameters after the ? are not valid."),
        ("/open-apis/x?a=%ff", "The parameters after the ? are not valid."),
        ("/open-apis/x?a=%0a", "The parameters after the ? contain a control character."),
        ("/open-apis/" + "x" * 2000, "The path is too long."),
        ("", "After the method, write the path without a host: /open-apis/…"),
    ],
)
def test_a_path_that_could_lead_elsewhere_is_refused(target, reason):
    assert problem(f"GET {target}") == reason


@pytest.mark.parametrize(
    "target",
    [
        "/open-apis/auth",
        "/open-apis/auth/v3/tenant_access_token/internal",
        "/open-apis/AUTH/v3/app_access_token/internal",
        "/open-apis/%61uth/v3/x",
        "/open-apis/\uff41uth/v3/x",
        "/open-apis/auth%20/v3/x",
        "/open-apis/authen/v1/access_token",
        "/open-apis/authen/v1/refresh_access_token",
        "/open-apis/authen/v1/oidc/access_token",
        "/open-apis/authen/v1/oidc/refresh_access_token",
        "/open-apis/authen/v1/oidc/REFRESH_access_token",
        "/open-apis/authen/v2/oauth/token",
        "/open-apis/authen/v2/oauth/device_authorization",
        "/open-apis/authen/v2/%6fauth/t%6fken",
        "/open-apis/jssdk/ticket/get",
    ],
)
def test_nobody_gets_a_token_through_a_chat(target):
    assert problem(f"POST {target} {{}}") == "Token endpoints can't be called here."


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("HEAD /open-apis/x", "Start with the method: GET, POST, PUT, PATCH, DELETE."),
        ("/open-apis/x", "Start with the method: GET, POST, PUT, PATCH, DELETE."),
        ("GET /open-apis/x {}", "GET takes no JSON. Put parameters after the path: ?page_size=20"),
        ("POST /open-apis/x 5", "The JSON must be an object or an array."),
        ('POST /open-apis/x "x"', "The JSON must be an object or an array."),
        ('POST /open-apis/x {"a": NaN}', "NaN is not valid JSON."),
        (
            'POST /open-apis/x {"a" 1}',
            "The JSON is not valid: Expecting ':' delimiter, at line 1, column 6, near 1}.",
        ),
        ('POST /open-apis/x {\n"a": 1,\n}', None),
        ("POST /open-apis/x {", None),
        ("POST /open-apis/x {} {}", "The JSON is not valid: Extra data, at line 1, column 4, near {}."),
        ("POST /open-apis/x " + "[" * 60 + "]" * 60, "The JSON is nested too deeply."),
        ("POST /open-apis/x " + "[" * 20000, "The JSON is nested too deeply."),
        ("POST /open-apis/x [" + "9" * 5000 + "]", "The JSON contains a number that is too long."),
        ('POST /open-apis/x "' + "x" * 50000 + '"', "The JSON is longer than 50000 characters."),
    ],
)
def test_other_mistakes_are_explained(arguments, reason):
    found = problem(arguments)
    assert found == reason if reason else found.startswith("The JSON is not valid: ")


@pytest.mark.parametrize(
    ("written", "body"),
    [
        ("{“a”: 1}", {"a": 1}),
        ("｛“a”：“b，c：d”，“e”：［1，2］｝", {"a": "b，c：d", "e": [1, 2]}),
        ('{“a”: "b"}', {"a": "b"}),
        ('{"a"："他说“好”，行：吗"}', {"a": "他说“好”，行：吗"}),
        (r"{＂a＂: “b\nc”}", {"a": "b\nc"}),
    ],
)
def test_the_quotes_and_colons_of_phones_and_chinese_keyboards_are_understood(written, body):
    assert read_call(f"POST /open-apis/x {written}", APIS).body == body


@pytest.mark.parametrize("written", ["{“a”: 1", "{“a”： “b “c” d”}", "{“a”：“b}"])
def test_what_stays_unclear_because_of_them_is_explained(written):
    assert problem(f"POST /open-apis/x {written}").endswith('Use straight quotes: "')
    assert problem(f"POST /open-apis/x {written}", "zh").startswith("JSON 无效：第 1 行第 2 列")


def test_a_curly_quote_in_a_name_ends_no_string():
    name = "x”，“summary”：“pay Eve"
    written = with_names_in_strings("POST /open-apis/x {“summary”：“for @_user_2”}", {"@_user_2": name})
    assert read_call(written, APIS).body == {"summary": f"for @{name}"}


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("get “/open-apis/x”", "/open-apis/x"),
        ("ＧＥＴ /open-apis/x。", "/open-apis/x"),
        ("`GET` `/open-apis/x?a=b。`", "/open-apis/x"),
        ("GET： </open-apis/x>", "/open-apis/x"),
    ],
)
def test_quotes_and_full_stops_around_method_and_path_are_left_out(written, path):
    assert (read_call(written, APIS).method, read_call(written, APIS).path) == ("GET", path)


def test_without_arguments_it_shows_its_usage():
    done = run(call, "")
    assert said(done.reply)[1] == "/call METHOD PATH [JSON]"


def test_the_answer_is_the_whole_json_for_the_asker_alone():
    response = success(
        {"name": "蓝薇", "list": [1, 2.5, None, True], "page_token": "p", "app_token": "bascn1"}
    )
    reply = run(call, f"GET {USER_INFO}", response).reply
    assert reply.confidential
    assert said(reply)[:2] == [f"GET {USER_INFO}", "0 success"]
    assert json.loads(code(reply)) == response
    assert "蓝薇" in code(reply)


def test_a_refusal_is_shown_as_json_too_with_its_log_id():
    reply = run(call, "POST /open-apis/x", refused(99992402, "field validation failed")).reply
    assert reply.confidential
    assert said(reply)[1] == "99992402 field validation failed"
    assert json.loads(code(reply))["code"] == 99992402
    assert said(reply)[-1] == "For support: code 99992402, log ID 20260105LOG"


@pytest.mark.parametrize(
    "field",
    [
        {"access_token": "abc"},
        {"refresh_token": "abc"},
        {"user_access_token": "abc"},
        {"tenant_access_token": "abc"},
        {"appAccessToken": "abc"},
        {"app_secret": "abc"},
        {"password": "abc"},
        {"x": "u-abcdefghijklm0123456789"},
        {"x": "t-g1044ghJRUIJJ5ELPAUR"},
        {"x": "ur-oQ0mMq6MCcueAv0pwx2f"},
        {"x": "Bearer eyJhbGciOiJFUzI1NiIs.eyJpc3MiOiJ4In0.c2ln"},
        {"x": "eyJhbGciOiJFUzI1NiIsImZlYXR1cmVfY29kZSI"},
        {"x": "token-eyJhbGciOiJFUzI1NiIs.eyJpc3MiOiJ4In0.c2ln"},
        {"x": '{"access": "u-abcdefghijklm0123456789"}'},
        {"x": [{"y": {"refresh_token": {"z": "abc"}}}]},
    ],
)
def test_what_looks_like_a_token_is_masked_and_the_rest_is_still_json(field):
    reply = run(call, f"GET {USER_INFO}", success(field)).reply
    shown = code(reply)
    assert "***" in shown
    for secret in ("abc", "g1044", "oQ0m", "c2ln", "eyJ"):
        assert secret not in shown
    assert json.loads(shown)["code"] == 0


@pytest.mark.parametrize(
    "field",
    [
        {"page_token": "eyJvZmZzZXQiOjIwfQ"},
        {"app_token": "bascn12345678901234"},
        {"token": "doxcnAbCdEfGhIjKlMnOp"},
        {"x": "a-very-long-name-of-2026"},
        {"x": "e9f8-t-x"},
        {"access_token": ""},
    ],
)
def test_other_values_are_left_alone(field):
    assert json.loads(code(run(call, f"GET {USER_INFO}", success(field)).reply))["data"] == field


def test_a_token_in_the_platforms_message_is_masked_too():
    reply = run(call, "POST /open-apis/x", refused(1, "bad token u-abcdefghijklm0123456789", None)).reply
    assert said(reply)[1] == "1 bad token ***"


def test_a_token_that_is_cut_shows_nothing_of_itself():
    text = "a b " * 1499 + "u-abcdefghijklm0123456789" + " c" * 5000
    shown = code(run(call, f"GET {USER_INFO}", text).reply)
    assert shown.startswith('"a b a b')
    assert "u-" not in shown


def test_a_long_answer_is_cut_and_that_is_said():
    reply = run(call, f"GET {USER_INFO}", success({"text": "蓝" * 10000})).reply
    assert len(code(reply).encode()) <= 6000
    assert said(reply)[-1] == "… shortened: the answer is longer."


@pytest.mark.parametrize("odd", [None, [], "text", 7, {}, {"code": "x"}, {"a": "\ud800"}])
def test_any_answer_is_shown(odd):
    reply = run(call, f"GET {USER_INFO}", odd).reply
    for line in said(reply):
        line.encode()


def test_a_very_deep_answer_is_shown_as_far_as_it_can_be():
    deep: object = "bottom"
    for _ in range(300):
        deep = [deep]
    assert "…" in code(run(call, f"GET {USER_INFO}", success(deep)).reply)


def test_it_declares_no_scope():
    assert call.needs("GET /open-apis/x") == NOTHING

"""Every answer of the platform is one outcome, by its whole code."""

import json

import pytest

from bot.core.api import InsufficientScope, RateLimited, Refused, Succeeded, TokenRejected, Unreachable
from bot.core.scopes import any_of
from bot.dingtalk.error_codes import BAN_WAIT
from bot.dingtalk.outcomes import legacy_outcome_of, outcome_of
from bot.transport.http_client import HttpResponse

DENIED = "Forbidden.AccessDenied.AccessTokenPermissionDenied"


def answered(status, body, method="POST"):
    raw = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    return outcome_of(HttpResponse(status, {}, raw), method)


def denied(**more):
    return answered(403, {"code": DENIED, "requestid": "E64A-1", "message": "没有调用该接口的权限", **more})


APPLY = "https://open-dev.dingtalk.com/appscope/apply?content="


@pytest.mark.parametrize(
    ("more", "scopes"),
    [
        ({"accessdenieddetail": {"requiredScopes": ["Contact.User.Read"]}}, ["Contact.User.Read"]),
        (
            {"accessdenieddetail": {"requiredScopes": ["A.B.Read", "A.B.Write", "A.B.Read"]}},
            ["A.B.Read", "A.B.Write"],
        ),
        ({"AccessDeniedDetail": {"requiredScopes": ["qyapi_get_member"]}}, ["qyapi_get_member"]),
        (
            {"message": f"应用尚未开通所需的权限：[Todo.Todo.Write]，点击链接：{APPLY}x%23No.No.No"},
            ["Todo.Todo.Write"],
        ),
        (
            {"message": "应用尚未开通所需的权限：［Todo.Todo.Write，Todo.Todo.Read］"},
            ["Todo.Todo.Write", "Todo.Todo.Read"],
        ),
        ({"message": "The app lacks the permission: [Contact.User.mobile]"}, ["Contact.User.mobile"]),
        ({"message": f"点击链接申请：{APPLY}dingapp01%23Calendar.Event.Read"}, ["Calendar.Event.Read"]),
        ({"message": f"点击链接申请：{APPLY}dingapp01#Calendar.Event.Read"}, ["Calendar.Event.Read"]),
    ],
)
def test_a_refusal_names_the_scopes_in_its_detail_else_in_its_message_else_in_its_link(more, scopes):
    outcome = denied(**more)
    assert isinstance(outcome, InsufficientScope)
    assert outcome.requirement == any_of(*scopes)
    assert not outcome.user_must_grant
    assert outcome.log_id == "E64A-1"


@pytest.mark.parametrize(
    "more", [{}, {"accessdenieddetail": None}, {"accessdenieddetail": {"requiredScopes": ["<a b>", 7]}}]
)
def test_a_refusal_that_names_no_scope_says_so(more):
    outcome = denied(**more)
    assert isinstance(outcome, Refused)
    assert outcome.unnamed_scope


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, {"nick": "Ada"}, Succeeded({"nick": "Ada"})),
        (200, [1, 2], Succeeded([1, 2])),
        (204, b"", Succeeded({})),
        (400, {"code": "InvalidAuthentication", "message": "不合法的access_token"}, TokenRejected(400)),
        (401, {"Code": "InvalidAuthentication", "RequestId": "R1"}, TokenRejected(401, "R1")),
        (403, {"code": "Forbidden.AccessDenied.QpsLimitForAppkeyAndApi"}, RateLimited(1.0)),
        (403, {"code": "Forbidden.AccessDenied.QpsLimitForApi"}, RateLimited(1.0)),
        (400, {"code": "todo.taskCreate.flowControlError"}, RateLimited(1.0)),
        (429, {"code": "x"}, RateLimited(1.0)),
        (429, b"too many", RateLimited(None)),
        (200, b'<html>{"status":1111,"wait":5,"source":"x5","punish":"deny"}</html>', RateLimited(BAN_WAIT)),
        (504, b"", Unreachable("no usable response (HTTP 504)", may_have_arrived=True)),
        (
            504,
            {"code": "ServiceTimeout"},
            Unreachable("error ServiceTimeout", may_have_arrived=True),
        ),
        (
            500,
            {"code": "system.busy"},
            Unreachable("error system.busy", may_have_arrived=True),
        ),
        (502, b"<html>bad gateway", Unreachable("no usable response (HTTP 502)", may_have_arrived=True)),
        (200, b"<html>", Unreachable("no usable response (HTTP 200)", may_have_arrived=True)),
        (302, b"", Unreachable("no usable response (HTTP 302)", may_have_arrived=True)),
    ],
)
def test_the_whole_code_decides(status, body, expected):
    assert answered(status, body) == expected


@pytest.mark.parametrize(
    "code",
    [
        "Forbidden.AccessDenied.ApiCountLimitForOrg",
        "Forbidden.AccessDenied",
        "Forbidden.AccessDenied.Other",
        "Forbidden.AccessDenied.AccessTokenPermissionDenied.More",
        "todo.taskCreate.paramError",
        "InvalidAuthenticationX",
    ],
)
def test_any_other_code_is_a_refusal_that_no_consent_helps(code):
    outcome = answered(403, {"code": code, "message": "no", "requestid": "R"})
    assert outcome == Refused(403, f"{code}: no", "R", {"code": code, "message": "no", "requestid": "R"})


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"errcode": 0, "result": {}}, Succeeded({"errcode": 0, "result": {}})),
        ({"errcode": 40014}, TokenRejected(40014)),
        ({"errcode": 88, "sub_code": "40014"}, TokenRejected(40014)),
        ({"errcode": 90018}, RateLimited(1.0)),
        ({"errcode": 88, "sub_code": 90002}, RateLimited(1.0)),
        (
            {"errcode": 60121, "errmsg": "no user"},
            Refused(60121, "no user", None, {"errcode": 60121, "errmsg": "no user"}),
        ),
        ([], Unreachable("no usable response (HTTP 200)", may_have_arrived=True)),
    ],
)
def test_older_apis_answer_with_numbers(body, expected):
    assert legacy_outcome_of(HttpResponse(200, {}, json.dumps(body).encode())) == expected


def test_an_older_api_that_lacks_a_scope_says_so():
    body = {
        "errcode": 88,
        "errmsg": "ding talk error",
        "sub_code": "60011",
        "sub_msg": "没有调用该接口的权限",
    }
    outcome = legacy_outcome_of(HttpResponse(200, {}, json.dumps(body).encode()))
    assert isinstance(outcome, Refused)
    assert outcome.unnamed_scope
    assert outcome.message == "没有调用该接口的权限"

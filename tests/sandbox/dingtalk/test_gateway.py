"""The gateway: the one header, the codes, the scopes, and what can be switched about a refusal."""

import pytest

from bot.sandbox.dingtalk.sample_tenant import ADA, NIKO, SAM, WEI

ME = "/v1.0/contact/users/me"
DENIED = "Forbidden.AccessDenied.AccessTokenPermissionDenied"


def scopes_of(answer):
    assert (answer.status, answer.code) == (403, DENIED)
    return answer.body["accessdenieddetail"]["requiredScopes"]


@pytest.mark.parametrize("how", ["bearer", "query", "nothing"])
async def test_the_token_is_taken_from_one_header_only(world, how):
    token = await world.user_token()
    headers = {"Authorization": f"Bearer {token}"} if how == "bearer" else {}
    params = {"access_token": token} if how == "query" else {}
    answer = await world.get(ME, headers=headers, params=params)
    assert (answer.status, answer.code) == (400, "AuthenticationFailed.MissingParameter")


async def test_a_failure_has_a_code_a_message_and_a_request_id(world):
    answer = await world.get(ME, "unknown")
    assert answer.body.keys() == {"code", "message", "requestid"}
    assert (answer.status, answer.code) == (400, "InvalidAuthentication")


async def test_a_missing_scope_is_named(world):
    token = await world.user_token("Contact.User.Read")
    answer = await world.post("/v1.0/todo/users/me/tasks", token, json={"subject": "x"})
    assert scopes_of(answer) == ["Todo.Todo.Write"]
    assert "[Todo.Todo.Write]" not in answer.body["message"]


@pytest.mark.parametrize("who", ["the app", "the user", "the user who withdrew it"])
async def test_the_refusal_does_not_tell_who_must_act(world, who):
    if who == "the app":
        token = await world.user_token()
        await world.control("app-scopes", scope="Contact.User.Read", user=False)
    elif who == "the user":
        token = await world.user_token("Todo.Todo.Read")
    else:
        token = await world.user_token()
        await world.control("revoke", person=ADA)
    answer = await world.get(ME, token)
    assert scopes_of(answer) == ["Contact.User.Read"]
    assert answer.body["message"].startswith("没有调用该接口的权限")


async def test_the_new_wording_has_the_scope_and_a_link_and_no_detail_if_so_switched(world):
    await world.control("behaviour", refusal_wording="new", access_denied_detail=False)
    token = await world.user_token("Contact.User.Read")
    answer = await world.post("/v1.0/todo/users/me/tasks", token, json={"subject": "x"})
    assert (answer.status, answer.code) == (403, DENIED)
    assert "accessdenieddetail" not in answer.body
    assert "：[Todo.Todo.Write]，" in answer.body["message"]
    assert f"content={world.tenant.app.client_id}%23Todo.Todo.Write" in answer.body["message"]


async def test_a_new_consent_gives_the_scope_to_the_new_token_only(world):
    old = await world.user_token("Todo.Todo.Read")
    new = await world.user_token("Contact.User.Read")
    assert (await world.get(ME, old)).status == 403
    assert (await world.get(ME, new)).status == 200
    both = await world.post(
        f"/v1.0/todo/users/{world.tenant.people[ADA].union_id}/org/tasks/query", new, json={}
    )
    assert both.status == 200


async def test_grants_can_stop_accumulating_and_old_tokens_can_gain_scopes(world):
    await world.control("behaviour", tokens_give="what was asked for")
    await world.user_token("Todo.Todo.Read")
    new = await world.user_token("Contact.User.Read")
    path = f"/v1.0/todo/users/{world.tenant.people[ADA].union_id}/org/tasks/query"
    assert (await world.post(path, new, json={})).status == 403
    await world.control("behaviour", old_tokens_gain_scopes=True)
    assert (await world.post(path, new, json={})).status == 200


async def test_a_consent_can_take_a_moment_to_spread(world):
    await world.control("behaviour", consent_spreads_seconds=3)
    token = await world.user_token("Contact.User.Read")
    assert (await world.get(ME, token)).status == 403
    await world.control("clock", advance=3)
    assert (await world.get(ME, token)).status == 200


async def test_a_scope_can_stay_refused_after_every_consent(world):
    await world.control("behaviour", refused_scopes=["Contact.User.Read"])
    assert scopes_of(await world.get(ME, await world.user_token())) == ["Contact.User.Read"]
    await world.control("behaviour", refused_scopes=[])
    assert (await world.get(ME, await world.user_token())).status == 200


async def test_withdrawing_leaves_the_token_valid_and_a_new_consent_needs_a_new_token(world):
    tokens = (await world.exchange(await world.code())).body
    await world.control("revoke", person=ADA)
    refreshed = await world.refresh(tokens["refreshToken"])
    assert refreshed.status == 200
    assert (await world.get(ME, refreshed.body["accessToken"])).status == 403
    again = await world.user_token()
    assert (await world.get(ME, tokens["accessToken"])).status == 403
    assert (await world.get(ME, again)).status == 200


async def test_twenty_calls_a_second_to_one_api(world):
    token = await world.user_token()
    answers = [await world.get(ME, token) for _ in range(21)]
    assert [each.status for each in answers[:20]] == [200] * 20
    assert (answers[20].status, answers[20].code) == (
        403,
        "Forbidden.AccessDenied.QpsLimitForAppkeyAndApi",
    )
    await world.control("clock", advance=1)
    assert (await world.get(ME, token)).status == 200


async def test_an_exhausted_quota_stops_all_but_identity_and_tokens(world):
    token = await world.user_token()
    await world.control("behaviour", quota_exhausted=True)
    union_id = world.tenant.people[ADA].union_id
    answer = await world.post(f"/v1.0/todo/users/{union_id}/org/tasks/query", token, json={})
    assert (answer.status, answer.code) == (403, "Forbidden.AccessDenied.ApiCountLimitForOrg")
    assert (await world.get(ME, token)).status == 200
    assert await world.app_token()


async def test_an_app_token_does_not_open_what_is_the_users(world):
    answer = await world.get(ME, await world.app_token())
    assert scopes_of(answer) == ["Contact.User.Read"]


async def test_an_unknown_path_is_404_with_a_code(world):
    answer = await world.get("/v1.0/nothing/here")
    assert (answer.status, answer.code) == (404, "InvalidAction.NotFound")
    assert (await world.post("/topapi/nothing")).errcode == 22


@pytest.mark.parametrize(
    ("kwargs", "status"),
    [({"data": "{"}, 415), ({"data": "[1]", "headers": {"Content-Type": "application/json"}}, 400)],
)
async def test_a_body_that_is_no_json_object_is_refused(world, kwargs, status):
    token = await world.user_token()
    answer = await world.post("/v1.0/todo/users/me/tasks", token, **kwargs)
    assert answer.status == status


# Who someone is


async def test_a_profile_has_the_phone_number_only_with_its_field_scope(world):
    without = (await world.get(ME, await world.user_token("Contact.User.Read"))).body
    assert "mobile" not in without
    assert "userid" not in without
    code = await world.client_code("Contact.User.Read", fieldScope="Contact.User.mobile")
    token = (await world.exchange(code)).body["accessToken"]
    profile = (await world.get(ME, token)).body
    person = world.tenant.people[ADA]
    assert profile["nick"] == person.name
    assert (profile["mobile"], profile["stateCode"]) == (person.mobile, person.state_code)
    assert (profile["unionId"], profile["openId"]) == (person.union_id, person.open_id)


async def test_a_profile_of_somebody_else_is_not_given(world):
    token = await world.user_token()
    assert (await world.get(f"/v1.0/contact/users/{world.tenant.people[ADA].union_id}", token)).status == 200
    assert (await world.get(f"/v1.0/contact/users/{world.tenant.people[WEI].union_id}", token)).status == 400


async def legacy(world, path, token=None, **body):
    token = token or await world.app_token()
    return await world.post(f"/topapi/{path}", params={"access_token": token}, json=body)


@pytest.mark.parametrize("user_id", [ADA, SAM, WEI])
async def test_the_legacy_look_ups_map_both_ways(world, user_id):
    union_id = world.tenant.people[user_id].union_id
    found = await legacy(world, "user/getbyunionid", unionid=union_id)
    assert found.body["result"] == {"contact_type": 0, "userid": user_id}
    back = await legacy(world, "v2/user/get", userid=user_id, language="zh_CN")
    assert back.body["result"]["unionid"] == union_id


async def test_the_legacy_look_ups_do_not_know_people_of_other_organizations(world):
    union_id = world.tenant.people[NIKO].union_id
    assert (await legacy(world, "user/getbyunionid", unionid=union_id)).errcode == 60121
    assert (await legacy(world, "v2/user/get", userid=NIKO)).errcode == 60121


async def test_the_legacy_api_answers_200_whatever_is_wrong(world):
    bad = await legacy(world, "v2/user/get", token="nothing", userid=ADA)
    assert (bad.errcode, bad.body["sub_code"]) == (88, "40014")
    header = await world.post("/topapi/v2/user/get", await world.app_token(), json={"userid": ADA})
    assert header.errcode == 88
    assert (await legacy(world, "v2/user/get")).errcode == 40035
    await world.control("app-scopes", scope="qyapi_get_member", tenant=False)
    lacking = await legacy(world, "v2/user/get", userid=ADA)
    assert (lacking.errcode, lacking.body["sub_code"]) == (88, "60011")
    user = await legacy(world, "v2/user/get", token=await world.user_token(), userid=ADA)
    assert user.errcode == 88


async def test_an_app_token_can_keep_the_scopes_it_was_issued_with(world):
    await world.control("behaviour", app_tokens_gain_scopes=False)
    await world.control("app-scopes", scope="qyapi_get_member", tenant=False)
    token = await world.app_token()
    await world.control("app-scopes", scope="qyapi_get_member", tenant=True)
    assert (await legacy(world, "v2/user/get", token=token, userid=ADA)).errcode == 88
    await world.control("tokens/expire", which="app")
    assert (await legacy(world, "v2/user/get", userid=ADA)).errcode == 0


# Faults


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ({"kind": "rate_limit"}, 403, "Forbidden.AccessDenied.QpsLimitForAppkeyAndApi"),
        ({"kind": "status", "status": 504}, 504, "ServiceUnavailable"),
        ({"kind": "status", "status": 403, "code": "Forbidden.Other"}, 403, "Forbidden.Other"),
        ({"kind": "lost_authorization"}, 400, "AuthenticationFailed.MissingParameter"),
    ],
)
async def test_a_fault_answers_in_the_platforms_form(world, fault, status, code):
    token = await world.user_token()
    await world.control("faults", match={"identity": ADA}, times=1, **fault)
    answer = await world.get(ME, token)
    assert (answer.status, answer.code) == (status, code)
    assert (await world.get(ME, token)).status == 200


async def test_a_fault_can_strike_refreshes_only(world):
    tokens = (await world.exchange(await world.code())).body
    await world.control("faults", kind="status", status=500, match={"grant_type": "refresh_token"})
    assert (await world.refresh(tokens["refreshToken"])).status == 500
    assert (await world.exchange(await world.code())).status == 200


async def test_a_request_is_in_the_feed_without_its_secrets(world):
    await legacy(world, "v2/user/get", userid=ADA)
    request = next(c for c in reversed(world.tenant.feed.changes) if c.kind == "request")
    assert (request.data["identity"], request.data["code"], request.data["query"]) == ("app", 0, {})

"""What stands before every API: credentials, scopes, rate limits, and the forms of refusal."""

import pytest

from bot.sandbox.lark.sample_tenant import ADA
from bot.sandbox.lark.tokens import app_token

TASKS = "/open-apis/task/v2/tasks"
DOC = "/open-apis/docx/v1/documents/welcome/raw_content"


async def test_a_scope_that_the_app_has_not_enabled_is_refused_before_the_users_grant(world):
    token = await world.user_token()
    answer = await world.get("/open-apis/minutes/v1/minutes/x", token)
    assert (answer.status, answer.code) == (400, 99991672)
    assert "用户身份权限" in answer.body["msg"]
    assert "token_type=user" in answer.body["msg"]
    error = answer.body["error"]
    subjects = ["minutes:minutes", "minutes:minutes.basic:read", "minutes:minutes:readonly"]
    assert error["permission_violations"] == [
        {"type": "action_scope_required", "subject": subject} for subject in subjects
    ]
    assert error["helps"][0]["url"].endswith(f"auth?q={','.join(subjects)}&op_from=openapi&token_type=user")


async def test_the_apps_own_calls_are_refused_for_its_own_identity(world):
    await world.control("app-scopes", scope="application:application:self_manage", tenant=False)
    answer = await world.get(
        "/open-apis/application/v6/applications/me", await world.tenant_token(), params={"lang": "en_us"}
    )
    assert answer.code == 99991672
    assert "应用身份权限" in answer.body["msg"]
    assert "token_type=tenant" in answer.body["msg"]


async def test_a_scope_that_the_user_has_not_granted_is_refused_with_all_alternatives(world):
    answer = await world.get(DOC, await world.user_token())
    assert (answer.status, answer.code) == (400, 99991679)
    assert "under the user identity: [docx:document, docx:document:readonly].应用" in answer.body["msg"]
    error = answer.body["error"]
    assert error["permission_violations"] == [
        {"type": "action_privilege_required", "subject": "docx:document"},
        {"type": "action_privilege_required", "subject": "docx:document:readonly"},
    ]
    assert error["log_id"] == answer.headers["X-Tt-Logid"]
    assert error["log_id"] in error["troubleshooter"]


async def test_the_documented_wording_is_a_setting(world):
    await world.control("behaviour", refusal_wording="plain")
    answer = await world.get(DOC, await world.user_token())
    assert answer.body["msg"].endswith(
        "required one of these privileges: [docx:document, docx:document:readonly]"
    )


@pytest.mark.parametrize("scope", ["task:task:read", "task:task:write"])
async def test_any_one_alternative_is_enough(world, scope):
    assert (await world.get(TASKS, await world.user_token(scope))).code == 0


async def test_an_old_token_keeps_its_old_scopes(world):
    token = await world.user_token("task:task:read")
    await world.code("docx:document:readonly")
    assert (await world.get(DOC, token)).code == 99991679


async def test_a_scope_that_was_disabled_later_is_missing_in_the_app(world):
    token = await world.user_token("docx:document:readonly")
    await world.control("app-scopes", scope="docx:document:readonly", user=False)
    assert (await world.get(DOC, token)).code == 99991672
    await world.control("app-scopes", scope="docx:document", user=True)
    assert (await world.get(DOC, token)).code == 99991679


async def test_user_tokens_expired_malformed_or_absent_have_their_codes(world):
    token = await world.user_token("task:task:read")
    await world.control("tokens/expire", person=ADA)
    for header, status, code in [
        (f"Bearer {token}", 401, 99991677),
        ("Bearer eyJforged.a.b", 400, 99991668),
        ("Bearer u-forged", 400, 99991668),
        ("Bearer forged", 400, 99991671),
        (token, 400, 99991661),
        (f"bearer {token}", 400, 99991661),
        ("Bearer ", 400, 99991661),
        (None, 400, 99991661),
    ]:
        headers = {} if header is None else {"Authorization": header}
        answer = await world.get(TASKS, headers=headers)
        assert (answer.status, answer.code) == (status, code), header


async def test_a_revoked_token_is_invalid(world):
    token = await world.user_token("task:task:read")
    await world.control("revoke", person=ADA)
    assert (await world.get(TASKS, token)).code == 99991668


async def test_user_info_and_search_have_codes_of_their_own_for_a_bad_token(world):
    token = await world.user_token("search:docs:read")
    await world.control("tokens/expire", person=ADA)
    info = await world.get("/open-apis/authen/v1/user_info", token)
    assert (info.status, info.code) == (200, 20005)
    search = await world.post("/open-apis/search/v2/doc_wiki/search", token, json={"query": "plan"})
    assert (search.status, search.code) == (401, 1274011)


async def test_each_identity_is_refused_where_only_the_other_may_call(world):
    tenant_token = await world.tenant_token()
    answer = await world.get(TASKS, tenant_token)
    assert (answer.status, answer.code) == (400, 99991663)
    answer = await world.get("/open-apis/bot/v3/info", await world.user_token("task:task:read"))
    assert (answer.status, answer.code) == (400, 99991668)
    assert answer.body["msg"] == "user access token not support"


async def test_an_expired_tenant_token_is_invalid(world):
    token = app_token(world.tenant).token
    await world.control("clock", advance=7201)
    answer = await world.get("/open-apis/bot/v3/info", token)
    assert (answer.status, answer.code) == (400, 99991663)


async def test_credentials_and_scopes_are_checked_before_parameters(world):
    answer = await world.post(TASKS, await world.user_token(), data=b"not json")
    assert answer.code == 99991679
    token = await world.user_token("task:task:write")
    answer = await world.post(TASKS, token, json={})
    assert (answer.status, answer.code) == (400, 99992402)
    assert answer.body["error"]["field_violations"][0]["field"] == "summary"


async def test_over_the_limit_comes_429_with_the_seconds_to_wait(world):
    token = await world.user_token("docx:document:readonly task:task:write")
    answers = [await world.post(TASKS, token, json={"summary": str(n)}) for n in range(11)]
    assert [answer.code for answer in answers[:10]] == [0] * 10
    assert (answers[10].status, answers[10].code) == (429, 99991400)
    assert answers[10].headers["x-ogw-ratelimit-limit"] == "10"
    assert answers[10].headers["x-ogw-ratelimit-reset"] == "1"
    await world.control("clock", advance=1)
    assert (await world.post(TASKS, token, json={"summary": "again"})).code == 0


async def test_documents_tell_of_the_limit_with_http_400(world):
    token = await world.user_token("docx:document:readonly")
    answers = [await world.get(DOC, token) for _ in range(6)]
    assert (answers[5].status, answers[5].code) == (400, 99991400)
    await world.control("behaviour", rate_limits=False)
    assert (await world.get(DOC, token)).code == 0


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/open-apis/none"), ("DELETE", TASKS), ("POST", "/oauth/x")]
)
async def test_unknown_paths_and_methods_are_plain_text(world, method, path):
    answer = await world.request(method, path)
    assert (answer.status, answer.body) == (404, "404 page not found")
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert answer.headers["X-Tt-Logid"]


async def test_two_scopes_that_are_both_needed_are_refused_one_after_the_other(world):
    async def refusal(scope: str) -> tuple[int, str, list[str]]:
        token = await world.user_token(scope)
        answer = await world.send(ADA, "text", {"text": "hi"}, token=token)
        violations = answer.body.get("error", {}).get("permission_violations", [])
        return answer.code, answer.body["msg"], [violation["subject"] for violation in violations]

    code, _, subjects = await refusal("")
    assert (code, subjects) == (99991679, ["im:message"])
    # The second is named in the message alone.
    words = "Lack of necessary permissions, ext=requires im:message.send_as_user scope."
    assert await refusal("im:message") == (230027, words, [])
    assert (await refusal("im:message.send_as_user"))[0] == 0


async def test_each_request_is_in_the_feed_without_its_secrets(world):
    token = await world.user_token()
    await world.get(DOC, token)
    answer = await world.get("/sandbox/api/requests")
    last = answer.body["requests"][-1]
    assert (last["method"], last["path"], last["status"], last["code"]) == ("GET", DOC, 400, 99991679)
    assert last["identity"] == ADA
    assert last["scopes_refused"] == ["docx:document", "docx:document:readonly"]
    assert answer.body["requests"][-2]["grant_type"] == "authorization_code"
    feed = str((await world.get("/sandbox/api/changes")).body)
    assert token not in feed
    assert world.tenant.app.app_secret not in feed

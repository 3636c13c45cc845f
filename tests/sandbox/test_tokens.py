"""Codes and refresh tokens: each works once, in time, for the right client; and all three token endpoints."""

import asyncio
import base64
from urllib.parse import urlsplit

import pytest

from bot.sandbox.lark.sample_tenant import ADA

V3 = "/oauth/v3/token"
READ = "task:task:read offline_access"


async def test_a_code_works_once(world):
    code = await world.code(READ)
    assert (await world.exchange(code)).code == 0
    again = await world.exchange(code)
    assert (again.status, again.code, again.body["error"]) == (400, 20065, "invalid_grant")


async def test_an_unknown_code_is_not_found(world):
    answer = await world.exchange("nonsense")
    assert (answer.status, answer.code) == (400, 20003)
    assert "not found" in answer.body["error_description"]


async def test_a_code_lives_five_minutes(world):
    code = await world.code(READ)
    await world.control("clock", advance=301)
    assert (await world.exchange(code)).code == 20004


async def test_a_code_of_another_app_does_not_match(world):
    code = await world.code(READ)
    world.tenant.credentials.codes[code].client_id = "cli_0000000000000000"
    assert (await world.exchange(code)).code == 20024


@pytest.mark.parametrize("redirect", ["https://bot.example/other", None])
async def test_the_redirect_url_of_the_link_must_be_repeated(world, redirect):
    assert (await world.exchange(await world.code(READ), redirect_uri=redirect)).code == 20071


@pytest.mark.parametrize("path", ["/open-apis/authen/v2/oauth/token", V3])
async def test_pkce_takes_the_right_verifier_only(world, challenge, verifier, path):
    code = await world.code(READ, **challenge)
    assert (await world.exchange(code, path)).code == 20049
    assert (await world.exchange(code, path, code_verifier="x" * 43)).code == 20049
    assert (await world.exchange(code, path, code_verifier=verifier)).code == 0


async def test_without_a_method_the_challenge_is_plain(world, verifier):
    code = await world.code(READ, code_challenge=verifier)
    assert (await world.exchange(code, code_verifier=verifier)).code == 0


async def test_v2_ignores_a_verifier_that_nobody_announced_and_v3_refuses_it(world, verifier):
    assert (await world.exchange(await world.code(READ), code_verifier=verifier)).code == 0
    assert (await world.exchange(await world.code(READ), V3, code_verifier=verifier)).code == 20049


async def test_only_offline_access_in_the_link_brings_a_refresh_token(world):
    tokens = await world.tokens("task:task:read")
    assert not {"refresh_token", "refresh_token_expires_in"} & tokens.keys()
    await world.tokens(READ)
    assert "refresh_token" not in await world.tokens("task:task:read")


async def test_a_token_carries_all_that_was_ever_granted_and_looks_like_the_platforms(world):
    await world.tokens("docx:document:readonly")
    tokens = await world.tokens(READ)
    assert {"docx:document:readonly", "task:task:read", "auth:user.id:read"} <= set(tokens["scope"].split())
    assert tokens["access_token"].startswith("eyJ")
    assert 1024 <= len(tokens["access_token"]) <= 2048
    assert (tokens["expires_in"], tokens["refresh_token_expires_in"]) == (7200, 604800)
    assert tokens["token_type"] == "Bearer"


async def test_the_scope_parameter_shrinks_the_token_but_not_the_grant(world):
    code = await world.code("docx:document:readonly " + READ)
    answer = await world.exchange(code, scope="task:task:read")
    assert "docx:document:readonly" not in answer.body["scope"].split()
    assert "docx:document:readonly" in world.tenant.people[ADA].granted
    assert (await world.exchange(await world.code(READ), scope="task:task:read task:task:read")).code == 20067
    assert (await world.exchange(await world.code(READ), scope="wiki:wiki:readonly")).code == 20068


async def test_a_refresh_gives_a_new_pair_and_kills_the_old_refresh_token(world):
    tokens = await world.tokens(READ)
    answer = await world.refresh(tokens["refresh_token"])
    assert answer.code == 0
    assert answer.body["refresh_token"] != tokens["refresh_token"]
    assert answer.body["scope"] == tokens["scope"]
    assert (await world.refresh(tokens["refresh_token"])).code == 20073


async def test_of_two_parallel_refreshes_exactly_one_succeeds(world):
    refresh_token = (await world.tokens(READ))["refresh_token"]
    answers = await asyncio.gather(*(world.refresh(refresh_token) for _ in range(2)))
    assert sorted(answer.code for answer in answers) == [0, 20073]
    refreshed = [c for c in world.tenant.feed.changes_after(0, "token") if c.data["event"] == "refreshed"]
    assert len(refreshed) == 1


async def test_refresh_tokens_expire_get_revoked_are_unknown_or_switched_off(world):
    tokens = await world.tokens(READ)
    assert (await world.refresh("eyJnonsense")).code == 20026
    await world.control("app", may_refresh=False)
    assert (await world.refresh(tokens["refresh_token"])).code == 20074
    await world.control("app", may_refresh=True)
    await world.control("tokens/expire", person=ADA, which="refresh")
    assert (await world.refresh(tokens["refresh_token"])).code == 20037
    tokens = await world.tokens(READ)
    await world.control("revoke", person=ADA)
    assert (await world.refresh(tokens["refresh_token"])).code == 20064
    assert not world.tenant.people[ADA].granted


async def test_refreshing_stops_365_days_after_the_consent(world):
    tokens = await world.tokens(READ)
    for _ in range(60):
        await world.control("clock", advance=6 * 86400)
        tokens = (await world.refresh(tokens["refresh_token"])).body
    assert tokens["refresh_token_expires_in"] <= 5 * 86400
    await world.control("clock", advance=6 * 86400)
    assert (await world.refresh(tokens["refresh_token"])).code == 20037


@pytest.mark.parametrize(
    ("fate", "at_once", "later"),
    [("old access token lives", 0, 0), ("dies", 20005, 20005), ("has a minute", 0, 20005)],
)
async def test_the_fate_of_the_access_token_before_a_refresh_is_a_setting(world, fate, at_once, later):
    await world.control("behaviour", after_refresh=fate)
    tokens = await world.tokens(READ)
    await world.refresh(tokens["refresh_token"])
    assert (await world.get("/open-apis/authen/v1/user_info", tokens["access_token"])).code == at_once
    await world.control("clock", advance=61)
    assert (await world.get("/open-apis/authen/v1/user_info", tokens["access_token"])).code == later


async def test_the_endpoint_takes_forms_as_well_as_json(world):
    app = world.tenant.app
    form = {
        "grant_type": "authorization_code",
        "client_id": app.app_id,
        "client_secret": app.app_secret,
        "code": await world.code(READ),
        "redirect_uri": "https://bot.example/oauth/lark/callback",
    }
    assert (await world.post(V3, data=form)).code == 0


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"grant_type": None}, 20001),
        ({"grant_type": "password"}, 20036),
        ({"client_secret": "wrong"}, 20002),
        ({"client_id": "cli_0000000000000000"}, 20048),
        ({"client_id": None}, 20001),
        ({"code": None}, 20001),
        ({"code": 7}, 20063),
    ],
)
async def test_wrong_requests_have_their_codes(world, change, code):
    given = {"code": "x", **change}
    answer = await world.exchange(given.pop("code"), **given)
    assert (answer.status, answer.code) == (400, code)


async def test_a_secret_in_the_header_and_in_the_body_is_one_too_many(world):
    app = world.tenant.app
    basic = base64.b64encode(f"{app.app_id}:{app.app_secret}".encode()).decode()
    body = {"grant_type": "refresh_token", "client_id": app.app_id, "client_secret": app.app_secret}
    answer = await world.post(V3, json=body, headers={"Authorization": f"Basic {basic}"})
    assert answer.code == 20070
    answer = await world.post(
        V3, data={"grant_type": "client_credentials"}, headers={"Authorization": f"Basic {basic}"}
    )
    assert answer.code == 0
    info = await world.get("/open-apis/bot/v3/info", answer.body["access_token"])
    assert info.code == 0


async def test_malformed_bodies_and_disabled_apps_are_told(world):
    bad = await world.post(V3, data=b"{", headers={"Content-Type": "application/json"})
    assert bad.code == 20063
    code = await world.code(READ)
    await world.control("app", enabled=False)
    assert (await world.exchange(code)).code == 20069
    await world.control("app", enabled=True, installed=False)
    assert (await world.exchange(code)).code == 20009


async def test_people_who_may_not_use_the_app_get_no_token(world):
    code = await world.code(READ)
    await world.control("people", open_id=ADA, available=False)
    assert (await world.exchange(code)).code == 20010
    await world.control("people", open_id=ADA, available=True, status="frozen")
    assert (await world.exchange(code)).code == 20066


async def test_v1_wraps_its_answer_takes_the_app_token_and_fails_with_http_200(world):
    token = await world.tenant_token()
    path = "/open-apis/authen/v1/oidc/access_token"
    body = {"grant_type": "authorization_code", "code": await world.code(READ)}
    assert (await world.post(path, "t-wrong", json=body)).code == 20014
    answer = await world.post(path, token, json=body)
    data = answer.body["data"]
    assert data["access_token"].startswith("u-")
    assert data["refresh_token"].startswith("ur-")
    assert "refresh_expires_in" in data
    again = await world.post(path, token, json=body)
    assert (again.status, again.code) == (200, 20003)
    assert (await world.refresh(data["refresh_token"])).code == 20026
    renew = {"grant_type": "refresh_token", "refresh_token": data["refresh_token"]}
    path = "/open-apis/authen/v1/oidc/refresh_access_token"
    assert (await world.post(path, token, json=renew)).code == 0
    assert (await world.post(path, token, json=renew)).code == 20038
    assert (await world.get("/open-apis/authen/v1/user_info", data["access_token"])).code == 0


async def test_the_tenant_token_stays_the_same_until_half_an_hour_before_its_end(world):
    first = await world.tenant_token()
    assert first.startswith("t-")
    await world.control("clock", advance=5000)
    assert await world.tenant_token() == first
    await world.control("clock", advance=500)
    second = await world.tenant_token()
    assert second != first
    for token in (first, second):
        assert (await world.get("/open-apis/bot/v3/info", token)).code == 0


async def test_wrong_app_credentials_are_refused_with_http_200(world):
    answer = await world.post(
        "/open-apis/auth/v3/tenant_access_token/internal/", json={"app_id": "cli_x", "app_secret": "y"}
    )
    assert (answer.status, answer.code) == (200, 10003)
    app = world.tenant.app
    both = await world.post(
        "/open-apis/auth/v3/app_access_token/internal",
        json={"app_id": app.app_id, "app_secret": app.app_secret},
    )
    assert both.body["app_access_token"] == both.body["tenant_access_token"]


async def test_revoking_kills_that_token_and_leaves_the_grant(world):
    tokens = await world.tokens(READ)
    app = world.tenant.app
    form = {"client_id": app.app_id, "client_secret": app.app_secret, "token": tokens["refresh_token"]}
    assert (await world.post("/oauth/v1/revoke", data=form)).status == 200
    assert (await world.refresh(tokens["refresh_token"])).code == 20064
    assert (await world.get("/open-apis/authen/v1/user_info", tokens["access_token"])).code == 0
    again = await world.post("/oauth/v1/revoke", data=form)
    assert (again.status, again.body) == (400, {"error": "invalid_token"})
    assert "task:task:read" in world.tenant.people[ADA].granted


async def test_a_device_waits_is_told_to_slow_down_and_gets_tokens(world):
    app = world.tenant.app
    basic = base64.b64encode(f"{app.app_id}:{app.app_secret}".encode()).decode()
    started = await world.post(
        "/oauth/v1/device_authorization",
        data={"client_id": app.app_id, "scope": READ},
        headers={"Authorization": f"Basic {basic}"},
    )
    assert (started.body["expires_in"], started.body["interval"]) == (240, 5)
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
        "device_code": started.body["device_code"],
        "client_id": app.app_id,
        "client_secret": app.app_secret,
    }
    assert (await world.post(V3, data=form)).body["error"] == "authorization_pending"
    assert (await world.post(V3, data=form)).body["error"] == "slow_down"
    page = await world.get(
        urlsplit(started.body["verification_uri_complete"])._replace(scheme="", netloc="").geturl()
    )
    consent_id = page.headers["Location"].partition("id=")[2]
    await world.decide(consent_id)
    await world.control("clock", advance=11)
    answer = await world.post(V3, data=form)
    assert "refresh_token" in answer.body
    assert (await world.post(V3, data=form)).body["error"] == "invalid_grant"


@pytest.mark.parametrize(
    ("decision", "advance", "error"), [("refuse", 6, "access_denied"), ("", 241, "expired_token")]
)
async def test_a_device_is_told_of_refusal_and_expiry(world, decision, advance, error):
    app = world.tenant.app
    started = await world.post(
        "/open-apis/authen/v2/oauth/device_authorization", json={"client_id": app.app_id, "scope": READ}
    )
    if decision:
        page = await world.get(
            urlsplit(started.body["verification_uri_complete"])._replace(scheme="", netloc="").geturl()
        )
        await world.decide(page.headers["Location"].partition("id=")[2], decision=decision)
    await world.control("clock", advance=advance)
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
        "device_code": started.body["device_code"],
        "client_id": app.app_id,
        "client_secret": app.app_secret,
    }
    assert (await world.post("/open-apis/authen/v2/oauth/token", data=form)).body["error"] == error
    wrong = await world.post(
        "/open-apis/authen/v2/oauth/device_authorization", json={"client_id": app.app_id, "scope": "openid"}
    )
    assert (wrong.status, wrong.body["error"]) == (400, "invalid_scope")


async def test_a_device_code_is_decided_once_and_in_time(world):
    app = world.tenant.app
    started = await world.post(
        "/open-apis/authen/v2/oauth/device_authorization", json={"client_id": app.app_id, "scope": READ}
    )
    page = f"/oauth/v1/device/verify?user_code={started.body['user_code']}"
    first, second = [(await world.get(page)).headers["Location"].partition("id=")[2] for _ in range(2)]
    shown = await world.get(f"/sandbox/api/consents/{first}")
    assert shown.body["user_code"] == started.body["user_code"]
    await world.decide(first)
    again = await world.post(f"/sandbox/api/consents/{second}", json={"person": ADA, "decision": "refuse"})
    assert again.status == 409
    assert (await world.get(page)).status == 404
    started = await world.post(
        "/open-apis/authen/v2/oauth/device_authorization", json={"client_id": app.app_id, "scope": READ}
    )
    page = f"/oauth/v1/device/verify?user_code={started.body['user_code']}"
    late = (await world.get(page)).headers["Location"].partition("id=")[2]
    await world.control("clock", advance=241)
    assert (
        await world.post(f"/sandbox/api/consents/{late}", json={"person": ADA, "decision": "allow"})
    ).status == 409
    assert (await world.get("/oauth/v1/device/verify")).headers["Location"] == "/sandbox/device"

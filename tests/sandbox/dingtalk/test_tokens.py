"""App tokens, codes and user tokens, as the platform gives and refuses them."""

import pytest

from bot.sandbox.dingtalk.sample_tenant import ADA, CORP_ID, WEI

TOKEN = "/v1.0/oauth2/userAccessToken"
ME = "/v1.0/contact/users/me"
NOT_FOUND = "invalidParameter.authCode.notFound"


async def test_both_variants_give_the_app_its_token(world):
    app = world.tenant.app
    one = await world.post(
        "/v1.0/oauth2/accessToken", json={"appKey": app.client_id, "appSecret": app.client_secret}
    )
    unified = {
        "client_id": app.client_id,
        "client_secret": app.client_secret,
        "grant_type": "client_credentials",
    }
    other = await world.post(f"/v1.0/oauth2/{CORP_ID}/token", json=unified)
    assert one.body.keys() == {"accessToken", "expireIn"}
    assert other.body.keys() == {"access_token", "expires_in"}
    assert one.body["accessToken"] == other.body["access_token"]
    assert (one.body["expireIn"], other.body["expires_in"]) == (7200, 7200)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"appSecret": "wrong"}, "invalidClientIdOrSecret"),
        ({"appKey": "another"}, "invalidClientIdOrSecret"),
        ({"appSecret": ""}, "MissingappSecret"),
    ],
)
async def test_wrong_credentials_get_no_app_token(world, change, code):
    app = world.tenant.app
    body = {"appKey": app.client_id, "appSecret": app.client_secret, **change}
    answer = await world.post("/v1.0/oauth2/accessToken", json=body)
    assert (answer.status, answer.code) == (400, code)


@pytest.mark.parametrize(
    ("corp", "change", "code"),
    [
        (CORP_ID, {"client_secret": "wrong"}, "invalid.client"),
        (CORP_ID, {"grant_type": "password"}, "unsupported.grant.type"),
        ("dingother", {}, "unauthorized.client"),
    ],
)
async def test_the_unified_variant_has_its_own_errors(world, corp, change, code):
    app = world.tenant.app
    body = {
        "client_id": app.client_id,
        "client_secret": app.client_secret,
        "grant_type": "client_credentials",
    }
    answer = await world.post(f"/v1.0/oauth2/{corp}/token", json={**body, **change})
    assert (answer.status, answer.code) == (400, code)


async def test_a_code_gives_tokens_once_and_names_no_scopes(world):
    code = await world.code()
    answer = await world.exchange(code, refreshToken="")
    assert answer.body.keys() == {"accessToken", "refreshToken", "expireIn", "corpId"}
    assert (answer.body["expireIn"], answer.body["corpId"]) == (7200, CORP_ID)
    again = await world.exchange(code)
    assert (again.status, again.code) == (400, NOT_FOUND)


async def test_the_organization_is_told_only_where_corpid_was_asked_for(world):
    assert "corpId" not in (await world.exchange(await world.code(scope="openid"))).body
    assert "corpId" not in (await world.exchange(await world.client_code("Contact.User.Read"))).body
    world.tenant.behaviour.open_auth_tells_corp_id = True
    assert (await world.exchange(await world.client_code("Contact.User.Read"))).body["corpId"] == CORP_ID


async def test_a_code_expires(world):
    code = await world.code()
    await world.control("clock", advance=301)
    assert (await world.exchange(code)).code == NOT_FOUND


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"clientSecret": "wrong"}, "invalidClientIdOrSecret"),
        ({"clientId": "another"}, "invalidClientIdOrSecret"),
        ({"clientSecret": ""}, "MissingclientSecret"),
        ({"grantType": ""}, "MissinggrantType"),
        ({"grantType": "password"}, "invalidParameter.grantType"),
        ({"code": ""}, "Missingcode"),
        ({"code": "unknown"}, NOT_FOUND),
    ],
)
async def test_a_wrong_exchange_is_refused_and_the_code_lives_on(world, change, code):
    granted = await world.code()
    answer = await world.exchange(granted, **change)
    assert (answer.status, answer.code) == (400, code)
    assert (await world.exchange(granted)).status == 200


async def test_the_fields_are_camel_case_and_the_body_is_json(world):
    form = {**world.credentials, "grantType": "authorization_code", "code": await world.code()}
    assert (await world.post(TOKEN, data=form)).status == 415
    snake = {"client_id": "a", "client_secret": "b", "grant_type": "authorization_code", "code": "c"}
    assert (await world.post(TOKEN, json=snake)).code == "MissingclientId"


async def test_a_refresh_token_is_used_once_and_the_old_access_token_lives_on(world):
    first = (await world.exchange(await world.code())).body
    second = await world.refresh(first["refreshToken"])
    assert second.body.keys() == {"accessToken", "refreshToken", "expireIn", "corpId"}
    assert second.body["refreshToken"] != first["refreshToken"]
    assert (await world.refresh(first["refreshToken"])).code == NOT_FOUND
    for token in (first["accessToken"], second.body["accessToken"]):
        assert (await world.get(ME, token)).status == 200


async def test_a_refresh_token_lives_thirty_days(world):
    token = (await world.exchange(await world.code())).body["refreshToken"]
    await world.control("clock", advance=30 * 86_400 - 10)
    token = (await world.refresh(token)).body["refreshToken"]
    await world.control("clock", advance=30 * 86_400 + 1)
    assert (await world.refresh(token)).code == NOT_FOUND


async def test_the_spelling_of_the_lifetime_can_be_switched(world):
    await world.control("behaviour", expiry_field="expiresIn", returns_refresh_token=False)
    answer = await world.exchange(await world.code())
    assert answer.body.keys() == {"accessToken", "expiresIn", "corpId"}


async def test_an_expired_token_is_invalid_authentication_and_not_401(world):
    token = await world.user_token()
    await world.control("tokens/expire", person=ADA, which="access")
    answer = await world.get(ME, token)
    assert (answer.status, answer.code) == (400, "InvalidAuthentication")


async def test_expiring_one_persons_tokens_leaves_the_others(world):
    ada, wei = await world.user_token(), await world.user_token(person=WEI)
    await world.control("tokens/expire", person=ADA, which="both")
    assert (await world.get(ME, ada)).status == 400
    assert (await world.get(ME, wei)).status == 200

"""The login page: which links it takes, what it grants, and how it returns."""

import pytest

from bot.sandbox.dingtalk.sample_tenant import ADA, NIKO, OTHER_CORP_ID, SAM, WEI

DELEGATED = "Contact.User.Read"


async def test_the_page_asks_for_all_delegated_scopes_whatever_the_link_names(world):
    page = await world.open_page("openid corpid Todo.Todo.Read")
    added = world.tenant.app.enabled_scopes("user")
    assert {each["scope"] for each in page.body["scopes"]} == added
    assert "Contact.User.mobile" in added
    assert "qyapi_get_member" not in added
    await world.decide(page.body["id"], SAM)
    assert world.tenant.people[SAM].granted == added


async def test_the_scope_codes_can_be_honoured(world):
    await world.control("behaviour", honours_scope_codes=True)
    page = await world.open_page("openid corpid Todo.Todo.Read Storage.File.Read")
    assert [each["scope"] for each in page.body["scopes"]] == ["Todo.Todo.Read"]
    await world.decide(page.body["id"], SAM)
    assert world.tenant.people[SAM].granted == {"Todo.Todo.Read"}


@pytest.mark.parametrize(
    "change",
    [
        {"redirect_uri": "https://bot.example/oauth/dingtalk/callback?x=1"},
        {"redirect_uri": "https://elsewhere.example/oauth/dingtalk/callback"},
        {"redirect_uri": "https://bot.example/oauth/dingtalk"},
        {"client_id": "another"},
        {"response_type": "token"},
        {"prompt": ""},
        {"prompt": "login"},
        {"scope": "corpid"},
        {"scope": ""},
        {"scope": "openid", "corpId": "dingc0ffee5a4db0x"},
        {"org_type": "anything"},
    ],
)
async def test_a_wrong_link_shows_an_error_and_never_returns_to_the_app(world, change):
    page = await world.open_page(**{"scope": "openid corpid", **change})
    assert page.body["error"]
    decided = await world.post(
        f"/sandbox/api/consents/{page.body['id']}", json={"person": ADA, "decision": "allow"}
    )
    assert decided.status == 409


async def test_allowing_returns_an_auth_code_and_the_state(world):
    page = await world.open_page(state="a state & more")
    query = await world.decide(page.body["id"])
    assert query.keys() == {"authCode", "state"}
    assert query["state"] == "a state & more"


@pytest.mark.parametrize(("name", "keys"), [("code", {"code"}), ("both", {"authCode", "code"})])
async def test_the_name_of_the_code_can_be_switched(world, name, keys):
    await world.control("behaviour", callback_parameter=name)
    page = await world.open_page()
    assert (await world.decide(page.body["id"])).keys() == keys | {"state"}


@pytest.mark.parametrize("error", ["access_denied", "user_cancel"])
async def test_refusing_returns_an_error_and_grants_nothing(world, error):
    await world.control("behaviour", refusal_error=error)
    page = await world.open_page()
    assert await world.decide(page.body["id"], decision="refuse") == {"error": error, "state": "st"}
    assert not world.tenant.people[ADA].granted


async def test_a_link_without_state_returns_none(world):
    page = await world.open_page(state="")
    assert (await world.decide(page.body["id"])).keys() == {"authCode"}


async def test_a_page_is_decided_once(world):
    page = await world.open_page()
    await world.decide(page.body["id"])
    again = await world.post(
        f"/sandbox/api/consents/{page.body['id']}", json={"person": ADA, "decision": "allow"}
    )
    assert again.status == 409


async def test_another_person_can_be_signed_in_to_the_browser(world):
    await world.control("behaviour", consents_as=WEI)
    token = await world.user_token(person=ADA)
    me = await world.get("/v1.0/contact/users/me", token)
    assert me.body["unionId"] == world.tenant.people[WEI].union_id


async def test_a_person_of_another_organization_can_consent_in_theirs(world):
    answer = await world.exchange(await world.code(NIKO))
    assert answer.body["corpId"] == OTHER_CORP_ID


async def test_an_organization_that_the_link_names_must_be_the_persons(world):
    page = await world.open_page(corpId=world.tenant.app.corp_id)
    refused = await world.post(
        f"/sandbox/api/consents/{page.body['id']}", json={"person": NIKO, "decision": "allow"}
    )
    assert refused.status == 409
    await world.decide(page.body["id"], ADA)


async def test_the_page_and_its_decisions_are_in_the_feed(world):
    page = await world.open_page()
    await world.decide(page.body["id"], decision="refuse")
    events = [change.data["event"] for change in world.tenant.feed.changes if change.kind == "consent"]
    assert events == ["opened", "refused"]

"""The authorize page: what it refuses, what it asks, and where it sends the browser."""

from urllib.parse import parse_qs, urlsplit

import pytest

from bot.sandbox.lark.sample_tenant import ADA, NIKO, SAM, WEI
from bot.sandbox.lark.scopes import SCOPES

REDIRECT = "https://bot.example/oauth/lark/callback"


async def test_an_unregistered_redirect_url_is_an_error_on_the_page(world):
    page = await world.open_page("task:task:read", redirect_uri="https://evil.example/cb")
    assert page.body["error"]["code"] == 20029


@pytest.mark.parametrize("redirect", [REDIRECT + "/", "https://bot.example/", "x"])
async def test_the_redirect_url_must_match_to_the_last_character(world, redirect):
    assert (await world.open_page(redirect_uri=redirect)).body["error"]["code"] == 20029


async def test_query_and_fragment_of_the_redirect_url_are_ignored_and_kept(world):
    page = await world.open_page(redirect_uri="https://bot.example/oauth/lark/callback?a=b#/login")
    redirect = await world.decide(page.body["id"])
    assert redirect.startswith("https://bot.example/oauth/lark/callback?a=b&code=")
    assert redirect.endswith("&state=st#/login")


async def test_a_scope_that_the_app_has_not_enabled_is_an_error_on_the_page(world):
    assert (await world.open_page("docx:document")).body["error"]["code"] == 20027


@pytest.mark.parametrize(
    "scope",
    ["openid", "task:task:read,task:task:write", "im:message.group_msg", "im:message.p2p_msg:readonly"],
)
async def test_unknown_comma_joined_and_tenant_only_scopes_are_errors_on_the_page(world, scope):
    assert (await world.open_page(scope)).body["error"]["code"] == 20043


async def test_more_than_fifty_scopes_are_refused(world):
    many = [scope for scope, info in SCOPES.items() if info.user][:51]
    for scope in many:
        await world.control("app-scopes", scope=scope, user=True)
    assert "error" not in (await world.open_page(" ".join(many[:50]))).body
    assert "error" in (await world.open_page(" ".join(many))).body


async def test_nothing_can_be_allowed_on_an_error_page(world):
    page = await world.open_page("docx:document")
    answer = await world.post(
        f"/sandbox/api/consents/{page.body['id']}", json={"person": ADA, "decision": "allow"}
    )
    assert answer.status == 409
    assert not world.tenant.people[ADA].granted


async def test_refusing_sends_access_denied_and_the_state_back(world):
    page = await world.open_page("task:task:read")
    redirect = urlsplit(await world.decide(page.body["id"], decision="refuse"))
    assert parse_qs(redirect.query) == {"error": ["access_denied"], "state": ["st"]}
    assert not world.tenant.people[ADA].granted


async def test_allowing_adds_to_what_was_granted_and_sends_a_code_and_the_state_back(world):
    await world.code("task:task:read")
    page = await world.open_page("docx:document:readonly offline_access task:task:read")
    assert page.body["already"] == ["task:task:read"]
    assert [s["scope"] for s in page.body["scopes"]] == ["docx:document:readonly", "offline_access"]
    redirect = parse_qs(urlsplit(await world.decide(page.body["id"])).query)
    assert redirect.keys() == {"code", "state"}
    assert world.tenant.people[ADA].granted == {"docx:document:readonly", "offline_access", "task:task:read"}


async def test_a_link_without_a_state_gets_none_back(world):
    page = await world.open_page("task:task:read", redirect_uri=REDIRECT)
    world.tenant.credentials.consents[page.body["id"]].state = None
    assert "state" not in await world.decide(page.body["id"])


async def test_a_page_can_be_decided_once(world):
    page = await world.open_page("task:task:read")
    await world.decide(page.body["id"])
    again = await world.post(
        f"/sandbox/api/consents/{page.body['id']}", json={"person": ADA, "decision": "allow"}
    )
    assert again.status == 409


async def test_each_scope_is_described_in_two_languages(world):
    (shown,) = (await world.open_page("task:task:read")).body["scopes"]
    assert shown["description"] == {"en": "View tasks", "zh": "查看任务信息"}


async def test_people_of_other_tenants_cannot_consent(world):
    page = await world.open_page("task:task:read")
    answer = await world.post(
        f"/sandbox/api/consents/{page.body['id']}", json={"person": NIKO, "decision": "allow"}
    )
    assert answer.status == 409


@pytest.mark.parametrize(
    ("agent", "prompt", "skipped"),
    [
        ("Mozilla/5.0 Lark/7.30", "", True),
        ("Mozilla/5.0 Lark/7.30", "consent", False),
        ("Firefox", "", False),
    ],
)
async def test_only_inside_the_client_a_page_with_nothing_new_goes_on_by_itself(
    world, agent, prompt, skipped
):
    await world.control("grants", person=SAM, scopes=["task:task:read"])
    query = {
        "client_id": world.tenant.app.app_id,
        "response_type": "code",
        "redirect_uri": REDIRECT,
        "scope": "task:task:read",
    }
    if prompt:
        query["prompt"] = prompt
    answer = await world.get(
        "/open-apis/authen/v1/authorize",
        params=query,
        headers={"User-Agent": agent, "Cookie": f"sandbox_person={SAM}"},
    )
    assert answer.headers["Location"].startswith("https://bot.example") is skipped


async def test_the_older_form_of_the_link_works(world):
    answer = await world.get(
        "/open-apis/authen/v1/authorize",
        params={"app_id": world.tenant.app.app_id, "redirect_uri": REDIRECT},
    )
    consent_id = parse_qs(urlsplit(answer.headers["Location"]).query)["id"][0]
    assert (await world.get(f"/sandbox/api/consents/{consent_id}")).body.get("error") is None


async def test_login_remembers_the_person_and_goes_on_within_the_site_only(world):
    answer = await world.get("/sandbox/login", params={"person": WEI, "next": "/sandbox/consent?id=1"})
    assert answer.status == 302
    assert f"sandbox_person={WEI}" in answer.headers["Set-Cookie"]
    away = await world.get("/sandbox/login", params={"person": WEI, "next": "//evil.example"})
    assert away.status == 400


async def test_an_applink_goes_on_to_http_addresses_only(world):
    good = await world.get("/client/web_url/open", params={"mode": "window", "url": "http://127.0.0.1:1/x"})
    assert (good.status, good.headers["Location"]) == (302, "http://127.0.0.1:1/x")
    bad = await world.get("/client/web_url/open", params={"mode": "window", "url": "javascript:alert(1)"})
    assert bad.status == 400


async def test_in_client_codes_live_three_minutes_and_are_exchanged_without_a_redirect_url(world):
    given = {
        "person": ADA,
        "page_url": REDIRECT,
        "scope_list": ["task:task:read"],
    }
    code = (await world.control("in-client", **given))["code"]
    assert (await world.exchange(code)).code == 20071
    assert (await world.exchange(code, redirect_uri=None)).code == 0
    late = (await world.control("in-client", **given))["code"]
    await world.control("clock", advance=181)
    assert (await world.exchange(late, redirect_uri=None)).code == 20004
    refused = await world.control("in-client", **given, decision="refuse")
    assert refused["errno"] == 2700002

"""Inside the client: the panel behind `openAuth` with every result and error, silent codes, links, the saved state."""

import json
import re

import pytest

from bot.sandbox.dingtalk.client_sdk import PANEL_ERRORS
from bot.sandbox.dingtalk.emulator import DingTalkEmulator
from bot.sandbox.dingtalk.sample_tenant import ADA, CORP_ID, NIKO, OTHER_CORP_ID, SAM, sample_tenant

SCRIPT = "/sandbox/jsapi.js"


async def call(world, api="panel", person=SAM, **query):
    """Call the bridge as its script does; return the answer that the script receives."""
    given = {**world.open_auth("Contact.User.Read"), **query, "api": api, "question": "1"}
    given = {name: value for name, value in given.items() if name != "person" and value is not None}
    cookies = {"Cookie": f"sandbox_person={person}"} if person else {}
    answer = await world.get(SCRIPT, params=given, headers=cookies)
    assert answer.status == 200
    return json.loads(re.fullmatch(r"window\.sandboxClient\.answered\(1, (.*)\);", answer.body)[1])


async def test_the_panel_shows_what_is_asked_for_in_the_persons_language(world):
    shown = (await call(world, fieldScope="Contact.User.mobile"))["panel"]
    assert [each["scope"] for each in shown["scopes"]] == ["Contact.User.Read", "Contact.User.mobile"]
    assert shown["language"] == "en"
    assert not world.tenant.people[SAM].granted
    assert (await call(world, person="wei0042"))["panel"]["language"] == "zh"


async def test_ok_gives_a_code_for_exactly_what_was_asked(world):
    answer = (await call(world, decision="ok"))["result"]
    assert answer["status"] == "ok"
    assert world.tenant.people[SAM].granted == {"Contact.User.Read"}
    assert (await world.exchange(answer["result"]["authCode"])).status == 200


@pytest.mark.parametrize("status", ["cancel", "failed"])
async def test_other_results_have_no_code_and_grant_nothing(world, status):
    assert (await call(world, decision=status))["result"] == {"status": status, "result": None}
    assert not world.tenant.people[SAM].granted


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"clientId": None}, 400006),
        ({"clientId": ""}, 400006),
        ({"corpId": None}, 400007),
        ({"person": None}, 400008),
        ({"clientId": "dingother"}, 500101),
        ({"rpcScope": "Storage.File.Read"}, 500104),
        ({"rpcScope": "Contact.User.Read,No.Such.Scope"}, 500201),
        ({"rpcScope": "Contact.User.Read,Contact.User.mobile"}, 500202),
        ({"fieldScope": "Todo.Todo.Read"}, 500203),
        ({"rpcScope": "qyapi_get_member"}, 500205),
        ({"type": "1", "rpcScope": "Todo.PersonalTodo.Write"}, 500204),
        ({"type": "1", "rpcScope": "qyapi_get_member"}, 500402),
        ({"corpId": OTHER_CORP_ID}, 500403),
        ({"person": NIKO}, 500403),
        ({"rpcScope": ""}, 400001),
    ],
)
async def test_the_panel_shows_an_error_code_and_the_page_gets_failed(world, change, code):
    assert (await call(world, **change))["panel"]["error"]["code"] == code
    assert (await call(world, **change, decision="ok"))["result"] == {"status": "failed", "result": None}


async def test_an_empty_request_and_an_app_without_scopes(world):
    empty = dict.fromkeys(("clientId", "corpId", "type", "rpcScope"))
    assert (await call(world, **empty))["panel"]["error"]["code"] == 400001
    world.tenant.app.scopes.clear()
    assert (await call(world))["panel"]["error"]["code"] == 500102


@pytest.mark.parametrize("code", sorted(PANEL_ERRORS))
async def test_every_error_code_can_be_switched_on(world, code):
    await world.control("behaviour", panel_error=code)
    error = (await call(world))["panel"]["error"]
    assert error["code"] == code
    assert error["text"]


async def test_type_1_is_for_administrators_and_gives_no_code(world):
    admin = {"type": "1", "rpcScope": ".default", "person": ADA}
    assert (await call(world, **admin, decision="ok"))["result"] == {"status": "ok", "result": None}
    assert (await call(world, **admin, decision="toAdmin"))["result"]["status"] == "toAdmin"


@pytest.mark.parametrize(
    ("switch", "answer"),
    [
        ("cancel", {"result": {"status": "cancel", "result": None}}),
        ("closed", {"closed": True}),
        ("unreadable", {"unreadable": True}),
    ],
)
async def test_a_result_can_be_fixed_so_that_the_panel_is_not_shown(world, switch, answer):
    await world.control("behaviour", panel_result=switch)
    assert await call(world) == answer


async def test_somebody_else_can_be_signed_in_to_the_client(world):
    await world.control("behaviour", consents_as=ADA)
    await call(world, decision="ok")
    assert not world.tenant.people[SAM].granted
    assert world.tenant.people[ADA].granted


async def test_a_silent_code_identifies_and_grants_nothing(world):
    code = (await call(world, "requestAuthCode"))["code"]
    assert (await world.exchange(code)).code == "invalidParameter.authCode.notFound"
    params = {"access_token": await world.app_token()}
    found = await world.post("/topapi/v2/user/getuserinfo", params=params, json={"code": code})
    assert found.body["result"]["userid"] == SAM
    assert found.body["result"]["unionid"] == world.tenant.people[SAM].union_id
    again = await world.post("/topapi/v2/user/getuserinfo", params=params, json={"code": code})
    assert again.errcode == 40078
    delegated = await world.client_code("Contact.User.Read")
    assert (
        await world.post("/topapi/v2/user/getuserinfo", params=params, json={"code": delegated})
    ).errcode == 40078


async def test_a_silent_code_lives_five_minutes_and_needs_the_persons_organization(world):
    code = (await call(world, "requestAuthCode"))["code"]
    await world.control("clock", advance=300)
    params = {"access_token": await world.app_token()}
    assert (
        await world.post("/topapi/v2/user/getuserinfo", params=params, json={"code": code})
    ).errcode == 40078
    assert "failure" in await call(world, "requestAuthCode", corpId=OTHER_CORP_ID)
    assert "failure" in await call(world, "requestAuthCode", clientId="another")
    assert "failure" in await call(world, "anything")


async def test_the_script_knows_whether_it_runs_in_the_client(world):
    outside = await world.get(SCRIPT)
    assert 'const given = "notInDingTalk"' in outside.body
    agent = world.tenant.people[SAM].user_agent
    inside = await world.get(SCRIPT, headers={"User-Agent": agent})
    assert 'const given = "by width"' in inside.body
    assert inside.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    await world.control("behaviour", client_sdk="absent")
    assert (await world.get(SCRIPT)).status == 404


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "cross-site"}])
async def test_another_site_cannot_call_the_bridge(world, headers):
    answer = await world.get(SCRIPT, params={"api": "panel", "question": "1"}, headers=headers)
    assert answer.status == 403


@pytest.mark.parametrize(
    ("where", "slide", "inside"),
    [("in the client", "true", True), ("in the client", "false", False), ("in a browser", "true", False)],
)
async def test_a_link_opens_where_the_client_opens_links(world, where, slide, inside):
    await world.control("behaviour", links_open=where)
    answer = await world.get(
        "/dingtalkclient/page/link", params={"url": "https://bot.example/a/1", "pc_slide": slide}
    )
    assert answer.headers["Location"] == "https://bot.example/a/1"
    assert answer.headers["Set-Cookie"].startswith("sandbox_client=1") is inside
    assert (await world.get("/dingtalkclient/page/link", params={"url": "javascript:1"})).status == 400


async def test_the_consoles_link_opens_the_switch_of_its_scope(world):
    answer = await world.get("/appscope/apply?content=dingapp01%23Todo.Todo.Write")
    assert answer.headers["Location"] == "/#scopes=Todo.Todo.Write"


async def test_the_state_has_what_the_page_reads(world):
    state = (await world.get("/sandbox/api/state")).body
    assert {"app", "people", "chats", "messages", "faults", "sequence"} <= state.keys()
    assert [each["tenant_key"] == CORP_ID for each in state["people"]] == [True, True, True, False]


async def test_saved_state_continues(world, tmp_path):
    emulator = DingTalkEmulator(world.tenant)
    tokens = (await world.exchange(await world.code())).body
    await world.control("messages", person=ADA, text="before")
    emulator.save(tmp_path, {"platform": 8700})
    later = DingTalkEmulator(sample_tenant())
    assert later.restore(tmp_path) == {"platform": 8700}
    assert later.tenant.app == world.tenant.app
    assert later.tenant.people == world.tenant.people
    assert later.tenant.messages == world.tenant.messages
    assert later.tenant.credentials == world.tenant.credentials
    assert tokens["accessToken"] in later.tenant.credentials.access
    assert (tmp_path / "dingtalk.json").stat().st_mode & 0o077 == 0


def test_an_unreadable_state_is_an_error_that_names_the_file(tmp_path):
    (tmp_path / "dingtalk.json").write_text("[")
    with pytest.raises(ValueError, match=r"dingtalk\.json"):
        DingTalkEmulator().restore(tmp_path)

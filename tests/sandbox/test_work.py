"""The user's APIs: sample data, parameters, idempotency, and what is forbidden."""

import asyncio
import time

import pytest

from bot.sandbox.lark.sample_tenant import ADA, NIKO, SAM, WEI
from bot.sandbox.lark.sample_work_data import BASE, MENU, MINUTES, PLAN, SALARIES, TABLE, WIKI_NODE

CALENDAR = "calendar:calendar:readonly"


async def calendar_id(world, token) -> str:
    answer = await world.post("/open-apis/calendar/v4/calendars/primary", token)
    return answer.body["data"]["calendars"][0]["calendar"]["calendar_id"]


@pytest.mark.parametrize(("person", "summary"), [(ADA, "Stand-up"), (WEI, "每日站会")])
async def test_everybody_has_events_today_in_their_words_and_time_zone(world, person, summary):
    token = await world.user_token(CALENDAR, person)
    path = f"/open-apis/calendar/v4/calendars/{await calendar_id(world, token)}/events"
    now = int(time.time())
    day = {"start_time": str(now - 86400), "end_time": str(now + 86400)}
    items = (await world.get(path, token, params=day)).body["data"]["items"]
    assert summary in [event["summary"] for event in items]
    assert items[0]["start_time"]["timezone"] == world.tenant.people[person].timezone


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"page_size": "49"}, 99992402),
        ({"page_size": "1001"}, 99992402),
        ({"page_size": "many"}, 99992402),
        ({"start_time": "1767225600"}, 190002),
        ({"start_time": "1767225600", "end_time": "1767312000", "page_token": "1"}, 190002),
        ({"start_time": "1767225600000", "end_time": "1767312000000"}, 190002),
        ({}, 0),
    ],
)
async def test_listing_events_minds_its_parameters(world, query, code):
    token = await world.user_token(CALENDAR)
    path = f"/open-apis/calendar/v4/calendars/{await calendar_id(world, token)}/events"
    assert (await world.get(path, token, params=query)).code == code


async def test_calendars_of_others_and_wrong_ids(world):
    theirs = await calendar_id(world, await world.user_token(CALENDAR, SAM))
    token = await world.user_token(CALENDAR)
    for name, status, code in ((theirs, 403, 191002), ("primary", 400, 191001), ("x@y", 404, 191000)):
        answer = await world.get(f"/open-apis/calendar/v4/calendars/{name}/events", token)
        assert (answer.status, answer.code) == (status, code)


async def test_an_event_is_created_once_for_a_key_and_with_times_in_seconds(world):
    token = await world.user_token(f"{CALENDAR} calendar:calendar.event:create")
    path = f"/open-apis/calendar/v4/calendars/{await calendar_id(world, token)}/events"
    times = {"start_time": {"timestamp": "1767225600"}, "end_time": {"timestamp": "1767229200"}}
    key = {"idempotency_key": "k" * 32}
    first = await world.post(path, token, params=key, json={"summary": "Cake", **times})
    again = await world.post(path, token, params=key, json={"summary": "Cake", **times})
    assert first.body["data"]["event"]["event_id"] == again.body["data"]["event"]["event_id"]
    assert (await world.post(path, token, params={"idempotency_key": "short"}, json=times)).code == 99992402
    times["end_time"] = {"timestamp": "1767229200000"}
    assert (await world.post(path, token, json=times)).code == 190002


async def test_tasks_are_ones_own_and_come_in_pages(world):
    token = await world.user_token("task:task:read")
    page = (await world.get("/open-apis/task/v2/tasks", token, params={"page_size": 3})).body["data"]
    rest = (
        await world.get(
            "/open-apis/task/v2/tasks",
            token,
            params={"page_size": 3, "page_token": page["page_token"], "completed": "false"},
        )
    ).body["data"]
    assert (page["has_more"], rest["has_more"]) == (True, False)
    assert len(page["items"] + rest["items"]) == 5
    assert (await world.get("/open-apis/task/v2/tasks", token, params={"page_size": 101})).code == 99992402


async def test_a_client_token_creates_one_task_within_five_minutes(world):
    token = await world.user_token("task:task:write")
    body = {"summary": "Buy cake", "client_token": "0123456789"}
    first = await world.post("/open-apis/task/v2/tasks", token, json=body)
    again = await world.post("/open-apis/task/v2/tasks", token, json=body)
    assert first.body["data"]["task"]["guid"] == again.body["data"]["task"]["guid"]
    await world.control("clock", advance=301)
    await world.post("/open-apis/task/v2/tasks", token, json=body)
    tasks = (await world.get("/sandbox/api/work")).body["tasks"]
    assert [task["summary"] for task in tasks].count("Buy cake") == 2
    mine = (await world.get("/open-apis/task/v2/tasks", token)).body["data"]["items"]
    assert "Buy cake" in [task["summary"] for task in mine]


async def test_two_requests_with_one_client_token_at_once_are_one_too_many(world):
    await world.control("behaviour", task_create_seconds=0.05)
    token = await world.user_token("task:task:write")
    body = {"summary": "Buy cake", "client_token": "0123456789"}
    answers = await asyncio.gather(
        *(world.post("/open-apis/task/v2/tasks", token, json=body) for _ in range(2))
    )
    assert sorted((a.status, a.code) for a in answers) == [(200, 0), (500, 1470422)]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, 99992402),
        ({"summary": ""}, 99992402),
        ({"summary": "x", "client_token": "short"}, 99992402),
        ({"summary": "x", "due": {"timestamp": "1767225600"}}, 1470400),
        ({"summary": "x", "members": [{"id": "ou_x", "role": "assignee"}]}, 1470400),
    ],
)
async def test_wrong_tasks_are_refused(world, body, code):
    token = await world.user_token("task:task:write")
    assert (await world.post("/open-apis/task/v2/tasks", token, json=body)).code == code


async def test_documents_have_text_unless_unknown_forbidden_or_deleted(world):
    token = await world.user_token("docx:document:readonly", WEI)

    async def read(document: str):
        return await world.get(f"/open-apis/docx/v1/documents/{document}/raw_content", token)

    assert (await read("welcome")).body["data"]["content"].startswith("Welcome to Helper\n")
    assert (await read(PLAN)).body["data"]["content"].startswith("Launch plan\n")
    answer = await read("doxcnUnknown")
    assert (answer.status, answer.code) == (404, 1770002)
    answer = await read(SALARIES)
    assert (answer.status, answer.code) == (403, 1770032)
    world.tenant.work.documents[MENU].deleted = True
    assert (await read(MENU)).code == 1770003


async def test_documents_have_blocks_by_the_same_rules_and_in_pages(world):
    token = await world.user_token("docx:document:readonly", WEI)

    async def read(document: str, **query: str):
        return await world.get(f"/open-apis/docx/v1/documents/{document}/blocks", token, params=query)

    first = (await read(PLAN, page_size="4")).body["data"]
    assert [each["block_type"] for each in first["items"]] == [1, 2, 4, 13]
    assert first["items"][0]["children"][:3] == [each["block_id"] for each in first["items"][1:]]
    found, following = first["items"], first
    while following["has_more"]:
        following = (await read(PLAN, page_size="4", page_token=following["page_token"])).body["data"]
        found += following["items"]
    assert "page_token" not in following
    words = [each["text_run"] for block in found for kind in block for each in elements_of(block, kind)]
    plain = (await world.get(f"/open-apis/docx/v1/documents/{PLAN}/raw_content", token)).body["data"][
        "content"
    ]
    assert "".join(each["content"] for each in words) == plain.replace("\n", "")
    (linked,) = [each for each in words if each["text_element_style"].get("link")]
    assert linked["text_element_style"]["link"]["url"].startswith("https%3A%2F%2Fcorp.feishu.cn%2Fsheets%2F")


@pytest.mark.parametrize(
    ("document", "query", "code"),
    [
        (PLAN, {"page_size": "0"}, 99992402),
        (PLAN, {"page_size": "501"}, 99992402),
        (PLAN, {"document_revision_id": "-2"}, 99992402),
        (PLAN, {"user_id_type": "x"}, 99992402),
        ("doxcnUnknown", {}, 1770002),
        (SALARIES, {}, 1770032),
    ],
)
async def test_blocks_that_cannot_be_had_are_refused(world, document, query, code):
    token = await world.user_token("docx:document:readonly", WEI)
    answer = await world.get(f"/open-apis/docx/v1/documents/{document}/blocks", token, params=query)
    assert answer.code == code


def elements_of(block, kind):
    return block[kind]["elements"] if isinstance(block[kind], dict) and "elements" in block[kind] else []


async def test_a_wiki_node_leads_to_its_document(world):
    token = await world.user_token("wiki:wiki:readonly")
    answer = await world.get("/open-apis/wiki/v2/spaces/get_node", token, params={"token": WIKI_NODE})
    assert answer.body["data"]["node"]["obj_token"] == PLAN
    answer = await world.get("/open-apis/wiki/v2/spaces/get_node", token, params={"token": "wikcnNone"})
    assert (answer.status, answer.code) == (400, 131005)


async def test_search_finds_what_one_may_read(world):
    token = await world.user_token("search:docs:read", WEI)
    path = "/open-apis/search/v2/doc_wiki/search"
    data = (await world.post(path, token, json={"query": "launch"})).body["data"]
    assert data["res_units"][0]["title_highlighted"] == "<h>Launch</h> plan"
    assert (await world.post(path, token, json={"query": "salary"})).body["data"]["total"] == 0
    assert (await world.post(path, token, json={"query": "x", "page_size": 21})).code == 99992402
    assert (await world.post(path, token, json={})).code == 99992402
    legacy = await world.post(
        "/open-apis/suite/docs-api/search/object", token, json={"search_key": "plan", "count": 1}
    )
    assert legacy.body["data"]["docs_entities"][0]["docs_token"] == PLAN


async def test_files_come_newest_first_with_their_own_name_for_the_next_page(world):
    token = await world.user_token("drive:drive:readonly")
    data = (await world.get("/open-apis/drive/v1/files", token, params={"page_size": 2})).body["data"]
    assert (data["files"][0]["token"], data["next_page_token"], data["has_more"]) == (PLAN, "2", True)


async def test_people_are_shown_as_far_as_the_scopes_go(world):
    token = await world.user_token("contact:contact.base:readonly")
    user = (await world.get(f"/open-apis/contact/v3/users/{SAM}", token)).body["data"]["user"]
    assert user.keys() == {"open_id", "union_id"}
    token = await world.user_token("contact:user.base:readonly contact:user.email:readonly")
    user = (await world.get(f"/open-apis/contact/v3/users/{SAM}", token)).body["data"]["user"]
    assert (user["name"], user["email"]) == ("Sam Rivera", "sam.rivera@corp.example")
    assert (await world.get(f"/open-apis/contact/v3/users/{NIKO}", token)).code == 41050


async def test_user_info_leaves_out_fields_without_their_scope(world):
    data = (await world.get("/open-apis/authen/v1/user_info", await world.user_token())).body["data"]
    assert data["open_id"] == ADA
    assert not {"email", "mobile", "user_id", "employee_no", "enterprise_email"} & data.keys()


async def test_mail_is_read_once_the_app_and_the_user_allow_it(world):
    path = "/open-apis/mail/v1/user_mailboxes/me/messages"
    assert (await world.get(path, await world.user_token())).code == 99991672
    await world.control("app-scopes", scope="mail:user_mailbox.message:readonly", user=True)
    token = await world.user_token("mail:user_mailbox.message:readonly")
    assert (await world.get(path, token)).code == 99992402
    ids = (await world.get(path, token, params={"page_size": 20})).body["data"]["items"]
    letter = (await world.get(f"{path}/{ids[0]}", token)).body["data"]["message"]
    assert "subject" not in letter
    assert letter["folder_id"] == "INBOX"
    other = "/open-apis/mail/v1/user_mailboxes/sam.rivera@corp.example/messages"
    assert (await world.get(other, token, params={"page_size": 20})).code == 1230002


async def test_minutes_once_enabled(world):
    await world.control("app-scopes", scope="minutes:minutes.basic:read", user=True)
    token = await world.user_token("minutes:minutes.basic:read")
    answer = await world.get(f"/open-apis/minutes/v1/minutes/{MINUTES}", token)
    assert answer.body["data"]["minute"]["title"] == "Launch weekly"


async def test_tables_refuse_with_http_200(world):
    token = await world.user_token("bitable:app:readonly base:record:create")
    path = f"/open-apis/bitable/v1/apps/{BASE}/tables/{TABLE}/records"
    assert (await world.get(path, token)).body["data"]["total"] == 3
    condition = {"field_name": "Who", "operator": "is", "value": ["Sam Rivera"]}
    found = await world.post(
        f"{path}/search", token, json={"filter": {"conjunction": "and", "conditions": [condition]}}
    )
    assert [r["fields"]["Task"] for r in found.body["data"]["items"]] == ["Visit the hotel"]
    key = {"client_token": "8b7b8c3e-95a4-4f0b-9f0d-5f3b8c1e2a4d"}
    for _ in range(2):
        assert (await world.post(path, token, params=key, json={"fields": {"Task": "Dance"}})).code == 0
    assert (await world.get(path, token)).body["data"]["total"] == 4
    bad = await world.post(path, token, params={"client_token": "x"}, json={"fields": {}})
    assert (bad.status, bad.code) == (200, 1254037)
    missing = await world.get(f"/open-apis/bitable/v1/apps/basc/tables/{TABLE}/records", token)
    assert (missing.status, missing.code) == (200, 1254040)


async def test_the_app_lists_its_scopes_and_describes_itself(world):
    token = await world.tenant_token()
    scopes = (await world.get("/open-apis/application/v6/scopes", token)).body["data"]["scopes"]
    assert {"scope_name": "task:task:read", "grant_status": 1, "scope_type": "user"} in scopes
    path = "/open-apis/application/v6/applications/"
    described = (await world.get(path + "me", token, params={"lang": "zh_cn"})).body["data"]["app"]
    assert described["owner"]["owner_id"] == ADA
    assert {
        "scope": "task:task:read",
        "description": "查看任务信息",
        "level": 1,
        "token_types": ["user"],
    } in described["scopes"]
    assert (await world.get(path + "me", token)).code == 99992402
    assert (await world.get(path + "cli_0", token, params={"lang": "en_us"})).code == 210504


async def test_the_administrator_can_be_asked_once_for_what_is_pending(world):
    token = await world.tenant_token()
    path = "/open-apis/application/v6/scopes/apply"
    assert (await world.post(path, token)).code == 212002
    await world.control("app-scopes", scope="docx:document", pending=True)
    assert [(await world.post(path, token)).code for _ in range(2)] == [0, 212004]
    scopes = (await world.get("/open-apis/application/v6/scopes", token)).body["data"]["scopes"]
    assert {"scope_name": "docx:document", "grant_status": 2, "scope_type": "user"} in scopes


async def test_tickets_for_the_client_side_library(world):
    answer = await world.post("/open-apis/jssdk/ticket/get", await world.tenant_token())
    assert answer.body["data"]["expire_in"] == 7200

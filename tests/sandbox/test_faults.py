"""Trouble on purpose: each kind, and whether the work was done."""

import asyncio

import pytest
from aiohttp import ClientPayloadError, ServerDisconnectedError
from aiohttp.client_exceptions import ClientOSError

from bot.sandbox.lark.sample_tenant import ADA, WEI

TASKS = "/open-apis/task/v2/tasks"
DROPPED = (ServerDisconnectedError, ClientOSError)


def created(world, summary="x"):
    return [task for task in world.tenant.work.tasks if task["summary"] == summary]


async def create(world, token):
    return await world.post(TASKS, token, json={"summary": "x", "client_token": "0123456789"})


@pytest.mark.parametrize(("kind", "done"), [("drop_before", 0), ("drop_after", 1), ("down", 0)])
async def test_a_dropped_connection_may_or_may_not_have_done_the_work(world, kind, done):
    token = await world.user_token("task:task:write")
    await world.control("faults", match={"path": TASKS, "method": "POST"}, kind=kind, times=1)
    with pytest.raises(DROPPED):
        await create(world, token)
    assert len(created(world)) == done
    assert (await create(world, token)).code == 0
    assert len(created(world)) == 1


async def test_a_status_with_code_body_and_headers(world):
    token = await world.user_token("task:task:read")
    fault = {"match": {"path": "/open-apis/task/*"}, "kind": "status", "times": 1}
    await world.control("faults", **fault, status=503, code=1470500, msg="oops", headers={"Retry-After": "7"})
    answer = await world.get(TASKS, token)
    assert (answer.status, answer.body, answer.headers["Retry-After"]) == (
        503,
        {"code": 1470500, "msg": "oops"},
        "7",
    )
    assert answer.headers["X-Tt-Logid"]


async def test_a_fault_strikes_messages_by_how_they_name_their_receiver(world):
    refused = {"kind": "status", "status": 400, "code": 230101}
    await world.control("faults", match={"path": "/open-apis/im", "receive_id_type": "open_id"}, **refused)
    assert (await world.send(ADA, "text", {"text": "hi"})).code == 230101
    direct = world.tenant.direct_chat(ADA).chat_id
    assert (await world.send(direct, "text", {"text": "hi"}, kind="chat_id")).code == 0


async def test_html_rate_limit_and_truncation(world):
    token = await world.user_token("task:task:read")
    await world.control("faults", match={"path": TASKS}, kind="html", times=1)
    assert (await world.get(TASKS, token)).headers["Content-Type"].startswith("text/html")
    await world.control("faults", match={"path": TASKS}, kind="rate_limit", times=1, reset=52)
    answer = await world.get(TASKS, token)
    assert (answer.status, answer.code) == (429, 99991400)
    assert answer.headers["x-ogw-ratelimit-reset"] == "52"
    await world.control("faults", match={"path": TASKS}, kind="truncate", times=1)
    with pytest.raises((ClientPayloadError, *DROPPED)):
        await world.get(TASKS, token)
    assert (await world.get(TASKS, token)).code == 0


async def test_a_delay_before_or_after_the_work(world):
    token = await world.user_token("task:task:write")
    for kind, done in (("delay", 0), ("delay_after", 1)):
        await world.control("faults", match={"path": TASKS}, kind=kind, seconds=0.1, times=1)
        (fault,) = world.tenant.faults.all.values()
        calling = asyncio.create_task(create(world, token))
        while not fault.struck:
            await asyncio.sleep(0)
        assert len(created(world)) == done
        assert (await calling).code == 0
        world.tenant.faults.remove_all()


async def test_a_delay_is_over_when_its_trouble_is(world):
    token = await world.user_token("task:task:write")
    fault = await world.control("faults", match={"path": TASKS}, kind="delay", seconds=3600, times=1)
    calling = asyncio.create_task(create(world, token))
    while not world.tenant.faults.all[fault["fault_id"]].struck:
        await asyncio.sleep(0.01)
    assert not calling.done()
    await world.request("DELETE", f"/sandbox/api/faults/{fault['fault_id']}")
    assert (await calling).code == 0


async def test_a_timeout_never_answers(world):
    token = await world.user_token("task:task:read")
    await world.control("faults", match={"path": TASKS}, kind="timeout", times=1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await world.get(TASKS, token)
    assert (await world.get(TASKS, token)).code == 0


async def test_a_fault_can_aim_at_one_grant_or_one_person(world):
    tokens = await world.tokens("task:task:read offline_access")
    await world.control("faults", match={"grant_type": "refresh_token"}, kind="status", code=20050)
    assert (await world.refresh(tokens["refresh_token"])).code == 20050
    wei = await world.user_token("task:task:read", WEI)
    await world.control("faults", match={"identity": WEI}, kind="status", code=99)
    assert (await world.get(TASKS, wei)).code == 99
    assert (await world.get(TASKS, tokens["access_token"])).code == 0


async def test_faults_are_listed_and_removed(world):
    fault_id = (await world.control("faults", match={}, kind="down"))["fault_id"]
    (fault,) = (await world.get("/sandbox/api/state")).body["faults"]
    assert (fault["fault_id"], fault["kind"]) == (fault_id, "down")
    assert (await world.request("DELETE", f"/sandbox/api/faults/{fault_id}")).status == 200
    assert (await world.request("DELETE", "/sandbox/api/faults")).status == 200
    assert (await world.get(TASKS)).code == 99991661
    bad = await world.post("/sandbox/api/faults", json={"match": {}, "kind": "flood"})
    assert bad.status == 400


async def test_a_refresh_whose_answer_is_lost_has_used_up_the_token(world):
    refresh_token = (await world.tokens("task:task:read offline_access"))["refresh_token"]
    await world.control("faults", match={"grant_type": "refresh_token"}, kind="drop_after", times=1)
    with pytest.raises(DROPPED):
        await world.refresh(refresh_token)
    assert (await world.refresh(refresh_token)).code == 20073
    refreshed = [c for c in world.tenant.feed.changes_after(0, "token") if c.data["event"] == "refreshed"]
    assert [c.data["person"] for c in refreshed] == [ADA]

"""To-dos and the calendar."""

from datetime import timedelta
from urllib.parse import quote

import pytest

from bot.sandbox.dingtalk.sample_tenant import ADA, SAM, WEI

PARAM_ERROR = "todo.taskCreate.paramError"


@pytest.fixture
def union_id(world):
    return world.tenant.people[ADA].union_id


async def create(world, token=None, path="me", query="", **body):
    token = token or await world.user_token()
    return await world.post(f"/v1.0/todo/users/{path}/tasks{query}", token, json={"subject": "A", **body})


async def test_a_todo_is_created_for_its_user(world, union_id):
    answer = await create(
        world, path=union_id, query=f"?operatorId={union_id}", sourceId="s1", dueTime=1790000000000
    )
    assert answer.status == 200
    assert answer.body["creatorId"] == union_id
    assert answer.body["executorIds"] == [union_id]
    assert answer.body["source"] == f"todo_open_{world.tenant.app.client_id}"
    assert answer.body["sourceId"] == "s1"
    assert answer.body["id"] in world.tenant.work.todos


async def test_a_repeated_source_id_creates_nothing(world):
    before = len(world.tenant.work.todos)
    assert (await create(world, sourceId="s1")).status == 200
    again = await create(world, sourceId="s1")
    assert (again.status, again.code) == (400, PARAM_ERROR)
    assert "exist" in again.body["message"]
    assert len(world.tenant.work.todos) == before + 1
    assert (await create(world, sourceId="s2")).status == 200


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"subject": ""}, "Missingsubject"),
        ({"subject": "x" * 1025}, PARAM_ERROR),
        ({"subject": 7}, PARAM_ERROR),
        ({"description": "x" * 4097}, PARAM_ERROR),
        ({"dueTime": "tomorrow"}, PARAM_ERROR),
        ({"dueTime": -1}, PARAM_ERROR),
        ({"executorIds": ["nobody"]}, PARAM_ERROR),
        ({"executorIds": "one"}, PARAM_ERROR),
        ({"priority": 5}, PARAM_ERROR),
        ({"creatorId": "nobody"}, PARAM_ERROR),
        ({"isOnlyShowExecutor": "yes"}, PARAM_ERROR),
    ],
)
async def test_a_wrong_todo_is_refused(world, change, code):
    answer = await create(world, **change)
    assert (answer.status, answer.code) == (400, code)


async def test_a_user_creates_todos_for_themselves_only(world):
    other = world.tenant.people[WEI].union_id
    assert (await create(world, path=other)).status == 400
    assert (await create(world, path="me", query=f"?operatorId={other}")).code == PARAM_ERROR


@pytest.mark.parametrize(
    ("kinds", "user", "app"), [("user", 200, 403), ("tenant", 403, 200), ("both", 200, 200)]
)
async def test_whose_token_creates_todos_can_be_switched(world, union_id, kinds, user, app):
    await world.control("behaviour", tasks_take=kinds)
    assert (await create(world, path=union_id)).status == user
    assert (await create(world, await world.app_token(), path=union_id)).status == app


async def test_a_personal_todo_needs_its_own_scope_and_executors(world, union_id):
    token = await world.user_token("Todo.PersonalTodo.Write")
    path = "/v1.0/todo/users/me/personalTasks"
    answer = await world.post(path, token, json={"subject": "A", "executorIds": [union_id]})
    assert answer.body.keys() == {"taskId", "createdTime"}
    assert (await world.post(path, token, json={"subject": "A"})).code == "MissingexecutorIds"
    assert (await world.post(path, await world.app_token(), json={})).status == 403
    assert (await create(world, token)).status == 403


async def query(world, union_id, token=None, **body):
    token = token or await world.user_token()
    return await world.post(f"/v1.0/todo/users/{union_id}/org/tasks/query", token, json=body)


async def test_open_todos_are_listed_in_pages(world, union_id):
    token = await world.user_token()
    for number in range(25):
        await create(world, token, subject=f"T{number}")
        await world.control("clock", advance=1)
    first = await query(world, union_id, token, isDone=False, nextToken="0", roleTypes=[["executor"]])
    assert len(first.body["todoCards"]) == 20
    second = await query(
        world, union_id, token, isDone=False, nextToken=first.body["nextToken"], roleTypes=[["executor"]]
    )
    assert "nextToken" not in second.body
    subjects = [each["subject"] for each in first.body["todoCards"] + second.body["todoCards"]]
    assert subjects[-25:] == [f"T{number}" for number in range(25)]
    assert {"taskId", "isDone", "createdTime", "creatorId"} <= first.body["todoCards"][0].keys()


async def test_done_todos_and_other_roles_are_listed_apart(world, union_id):
    done = (await create(world, subject="Done")).body["id"]
    world.tenant.work.todos[done]["done"] = True
    found = (await query(world, union_id, isDone=True)).body["todoCards"]
    assert [each["subject"] for each in found] == ["Done"]
    assert (await query(world, union_id, isDone=True, roleTypes=[["participant"]])).body["todoCards"] == []
    assert (await query(world, union_id, roleTypes=[["anything"]])).status == 400


async def test_me_is_no_id_for_lists_unless_switched(world):
    token = await world.user_token()
    assert (await query(world, "me", token)).status == 400
    assert (await world.get("/v1.0/calendar/users/me/calendars/primary/events", token)).status == 400
    await world.control("behaviour", me_serves_as_id=True)
    assert (await query(world, "me", token)).status == 200
    assert (await world.get("/v1.0/calendar/users/me/calendars/primary/events", token)).status == 200


async def events(world, person=ADA, calendar="primary", **params):
    token = await world.user_token("Calendar.Event.Read", person=person)
    union = world.tenant.people[person].union_id
    given = "&".join(f"{name}={quote(str(value))}" for name, value in params.items())
    return await world.get(f"/v1.0/calendar/users/{union}/calendars/{calendar}/events?{given}", token)


async def test_the_events_of_a_period_are_listed_in_pages(world):
    everything = (await events(world, SAM)).body["events"]
    assert len(everything) == 4
    first = await events(world, SAM, maxResults=3)
    assert [each["id"] for each in first.body["events"]] == [each["id"] for each in everything[:3]]
    rest = await events(world, SAM, maxResults=3, nextToken=first.body["nextToken"])
    assert [each["id"] for each in rest.body["events"]] == [everything[3]["id"]]
    assert rest.body["syncToken"]


async def test_a_period_includes_what_overlaps_it(world):
    from datetime import datetime

    event = world.tenant.work.events[ADA][0]
    start, end = (datetime.fromisoformat(event[side]["dateTime"]) for side in ("start", "end"))
    minute = timedelta(minutes=1)
    inside = await events(world, timeMin=(start + minute).isoformat(), timeMax=(end - minute).isoformat())
    assert [each["id"] for each in inside.body["events"]] == [event["id"]]
    after = await events(world, timeMin=end.isoformat(), timeMax=(end + minute).isoformat())
    assert after.body["events"] == []


@pytest.mark.parametrize(
    "params",
    [
        {"timeMin": "today"},
        {"timeMax": "2026-01-01T00:00:00"},
        {"maxResults": 101},
        {"maxResults": "x"},
        {"nextToken": "x"},
    ],
)
async def test_a_wrong_period_is_refused(world, params):
    assert (await events(world, **params)).status == 400
    assert (await events(world, calendar="secondary")).status == 400

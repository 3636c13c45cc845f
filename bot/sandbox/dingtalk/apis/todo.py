"""To-dos: create, create a personal one, and list a person's."""

from aiohttp import web

from bot.sandbox.dingtalk.gateway import ApiError, Apis, Call, permission_denied, success
from bot.sandbox.dingtalk.parameters import Parameters
from bot.sandbox.dingtalk.tenant import Person
from bot.sandbox.dingtalk.todos import find_by_source, make_todo
from bot.sandbox.json_http import Json

apis = Apis()

WRITE, READ, WRITE_PERSONAL = ("Todo.Todo.Write",), ("Todo.Todo.Read",), ("Todo.PersonalTodo.Write",)
PARAM_ERROR = "todo.taskCreate.paramError"
MAX_EXECUTORS = 100
MAX_TIME = 9_999_999_999_999
PAGE_SIZE = 20
ROLES = ("executor", "creator", "participant")


def find_user(call: Call, *, me: bool, required: tuple[str, ...]) -> Person:
    """Return the person that the path names. A user token acts for its own user only."""
    kinds = call.tenant.behaviour.tasks_take
    if kinds != "both" and (kinds == "tenant") != (call.person is None):
        raise permission_denied(call.tenant, required)
    union_id = call.path("union_id")
    if union_id == "me" and call.person is not None and (me or call.tenant.behaviour.me_serves_as_id):
        return call.person
    person = call.tenant.by_union_id(union_id)
    if person is None or (call.person is not None and person is not call.person):
        raise ApiError("invalidParameter.unionId", "无效的unionId")
    return person


def check_fields(call: Call, body: Parameters, *, title: int = 1024, description: int = 4096) -> Json:
    """Return the fields of a new to-do that its creator may set."""
    fields: Json = {
        "subject": body.text("subject", max_length=title),
        "description": body.optional_text("description", max_length=description),
        "dueTime": body.whole("dueTime", minimum=1, maximum=MAX_TIME),
        "executorIds": body.texts("executorIds", maximum=MAX_EXECUTORS),
        "notifyConfigs": body.object("notifyConfigs"),
    }
    for union_id in fields["executorIds"] or ():
        if call.tenant.by_union_id(union_id) is None:
            raise body.wrong("executorIds: unknown unionId")
    return {name: value for name, value in fields.items() if value is not None}


@apis.api("POST", "/v1.0/todo/users/{union_id}/tasks", user=WRITE, tenant=WRITE)
async def create(call: Call) -> web.Response:
    """Create a to-do. `sourceId` makes this idempotent: a repeat is refused."""
    person = find_user(call, me=True, required=WRITE)
    operator = call.query.get("operatorId")
    if operator and (
        call.tenant.by_union_id(operator) is None or (call.person and operator != person.union_id)
    ):
        raise ApiError(PARAM_ERROR, "operatorId invalid")
    body = Parameters(call.body, PARAM_ERROR)
    fields = check_fields(call, body)
    for name in ("sourceId", "creatorId"):
        if (value := body.optional_text(name)) is not None:
            fields[name] = value
    if fields.get("creatorId") not in (None, person.union_id):
        raise body.wrong("creatorId invalid")
    if (priority := body.whole("priority", minimum=10, maximum=40)) is not None:
        fields["priority"] = priority
    if (only := body.flag("isOnlyShowExecutor")) is not None:
        fields["isOnlyShowExecutor"] = only
    if (detail := body.object("detailUrl")) is not None:
        fields["detailUrl"] = detail
    if fields.get("sourceId") and find_by_source(call.tenant, fields["sourceId"]) is not None:
        raise body.wrong("task exist")
    todo = make_todo(call.tenant, person, fields)
    shown = {key: value for key, value in todo.items() if key != "notifyConfigs"}
    return success({**shown, "requestId": todo["id"][-8:]})


@apis.api("POST", "/v1.0/todo/users/{union_id}/personalTasks", user=WRITE_PERSONAL)
async def create_personal(call: Call) -> web.Response:
    """Create a to-do of the token's own user; only `me` is documented as the path."""
    if call.path("union_id") not in ("me", call.user.union_id):
        raise ApiError("invalidParameter.unionId", "无效的unionId")
    body = Parameters(call.body, PARAM_ERROR)
    body.texts("executorIds", minimum=1, maximum=MAX_EXECUTORS)
    todo = make_todo(call.tenant, call.user, check_fields(call, body))
    return success({"taskId": todo["id"], "createdTime": todo["createdTime"]})


@apis.api("POST", "/v1.0/todo/users/{union_id}/org/tasks/query", user=READ, tenant=READ)
async def query(call: Call) -> web.Response:
    """One page of a person's to-dos, by role and by whether they are done."""
    person = find_user(call, me=False, required=READ)
    body = Parameters(call.body, "todo.taskQuery.paramError")
    done = body.flag("isDone")
    roles = call.body.get("roleTypes", [["executor"]])
    if not isinstance(roles, list) or not all(
        isinstance(each, list) and set(each) <= set(ROLES) for each in roles
    ):
        raise body.wrong("roleTypes invalid")
    token = body.optional_text("nextToken") or "0"
    if not token.isdigit():
        raise body.wrong("nextToken invalid")

    def has_role(todo: Json, role: str) -> bool:
        if role == "creator":
            return bool(todo["creatorId"] == person.union_id)
        return role == "executor" and person.union_id in todo["executorIds"]

    found = [
        todo
        for todo in call.tenant.work.todos.values()
        if done in (None, todo["done"]) and any(all(has_role(todo, role) for role in each) for each in roles)
    ]
    start = int(token)
    answer: Json = {"todoCards": [card_json(each) for each in found[start : start + PAGE_SIZE]]}
    if start + PAGE_SIZE < len(found):
        answer["nextToken"] = str(start + PAGE_SIZE)
    return success(answer)


def card_json(todo: Json) -> Json:
    shown = {
        "taskId": todo["id"],
        "subject": todo["subject"],
        "dueTime": todo.get("dueTime"),
        "isDone": todo["done"],
        "priority": todo["priority"],
        "createdTime": todo["createdTime"],
        "modifiedTime": todo["modifiedTime"],
        "creatorId": todo["creatorId"],
        "sourceId": todo.get("sourceId"),
        "bizTag": todo["bizTag"],
        "detailUrl": todo.get("detailUrl") or {"pcUrl": "", "appUrl": ""},
    }
    return {name: value for name, value in shown.items() if value is not None}

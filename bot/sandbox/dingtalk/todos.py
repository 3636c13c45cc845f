"""To-dos as the platform stores them."""

from bot.sandbox.dingtalk.tenant import Person, Tenant, new_id
from bot.sandbox.json_http import Json


def make_todo(tenant: Tenant, creator: Person, fields: Json) -> Json:
    """Create a to-do and return its record."""
    at = tenant.clock.wall_ms()
    source = f"todo_open_{tenant.app.client_id}"
    todo = {
        "description": "",
        "creatorId": creator.union_id,
        "executorIds": [creator.union_id],
        "done": False,
        "priority": 20,
        **fields,
        "id": new_id("task", 28),
        "createdTime": at,
        "modifiedTime": at,
        "bizTag": source,
        "source": source,
    }
    tenant.work.todos[todo["id"]] = todo
    return todo


def find_by_source(tenant: Tenant, source_id: str) -> Json | None:
    """Return the to-do that was created with this `sourceId`, the key that makes creation idempotent."""
    return next((t for t in tenant.work.todos.values() if t.get("sourceId") == source_id), None)

"""The people's data behind the work APIs: to-dos and calendar events."""

from dataclasses import dataclass, field
from typing import Any

from bot.sandbox.json_http import Json


@dataclass
class WorkData:
    """To-dos by id and events by the user id of the calendar's owner."""

    todos: dict[str, dict[str, Any]] = field(default_factory=dict)
    events: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def as_json(self) -> Json:
        return {"tasks": list(self.todos.values()), "events": self.events}

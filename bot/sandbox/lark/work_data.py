"""The data of the tenant's people: calendars, tasks, documents, mail, minutes and tables.

The names of fields are those of saved files.
"""

from dataclasses import dataclass, field

from bot.sandbox.json_http import Json


@dataclass
class Document:
    """A document or another file. `readers` are open_ids; None means everyone in the tenant."""

    token: str
    title: str
    text: str
    owner: str
    created: int
    modified: int
    kind: str = "docx"
    readers: frozenset[str] | None = None
    deleted: bool = False

    def readable_by(self, open_id: str) -> bool:
        return self.readers is None or open_id in self.readers or open_id == self.owner


@dataclass
class WorkData:
    """All data by id. `written` contains the results of writes with an idempotency key."""

    calendars: dict[str, str] = field(default_factory=dict)
    events: dict[str, list[Json]] = field(default_factory=dict)
    tasks: list[Json] = field(default_factory=list)
    documents: dict[str, Document] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    wiki: dict[str, Json] = field(default_factory=dict)
    mail: dict[str, list[Json]] = field(default_factory=dict)
    sent_mail: list[Json] = field(default_factory=list)
    minutes: dict[str, Json] = field(default_factory=dict)
    tables: dict[tuple[str, str], list[Json]] = field(default_factory=dict)
    written: dict[tuple[str, str, str], tuple[float, Json]] = field(default_factory=dict)
    being_written: set[tuple[str, str, str]] = field(default_factory=set)

    def as_json(self) -> Json:
        return {
            "tasks": self.tasks,
            "events": self.events,
            "records": {"/".join(key): records for key, records in self.tables.items()},
            "sent_mail": self.sent_mail,
        }

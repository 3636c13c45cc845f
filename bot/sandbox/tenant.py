"""The state of the emulated tenant: its app, people, chats, messages, credentials, and the feed of changes.

Everything lives in memory and changes only on the event loop, so that one method call is one atomic step. No
HTTP and no rule of the protocol belongs here: those are in the modules that serve it.
"""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from bot.sandbox.clock import Clock
from bot.sandbox.credentials import Credentials
from bot.sandbox.faults import Faults
from bot.sandbox.limits import RateLimiter
from bot.sandbox.workplace import Workplace

Json = dict[str, Any]
Identity = Literal["user", "tenant"]

HOUR = 3600
DAY = 24 * HOUR


def new_id(prefix: str, length: int = 32) -> str:
    """An id as the platform draws them: the prefix and `length` hexadecimal digits."""
    return prefix + secrets.token_hex(length // 2)


@dataclass
class ScopeSwitch:
    """For which identities the app has a scope enabled; `pending`: it waits for the administrator."""

    user: bool = False
    tenant: bool = False
    pending: bool = False

    def enabled(self, identity: Identity) -> bool:
        return self.user if identity == "user" else self.tenant


@dataclass
class App:
    """The registered app, with everything that the developer console would let one set."""

    app_id: str
    app_secret: str
    name: str
    name_zh: str
    bot_open_id: str
    owner: str
    tenant_key: str
    encrypt_key: str
    verification_token: str
    redirect_urls: list[str] = field(default_factory=list)
    scopes: dict[str, ScopeSwitch] = field(default_factory=dict)
    events_url: str | None = None
    events_by: Literal["webhook", "websocket"] = "webhook"
    enabled: bool = True
    installed: bool = True
    may_refresh: bool = True
    other_brand: bool = False
    """Whether the app lives at the other brand, whose host this is not: its credentials work here all the same."""
    applied_for_scopes: bool = False

    def enabled_scopes(self, identity: Identity) -> frozenset[str]:
        return frozenset(scope for scope, switch in self.scopes.items() if switch.enabled(identity))


@dataclass
class Person:
    """Someone with a Lark account. `granted` is what they ever granted this app: it only accumulates."""

    open_id: str
    name: str
    en_name: str
    tenant_key: str
    locale: str = "en_us"
    timezone: str = "Europe/Berlin"
    avatar_color: str = "#3370ff"
    role: str = ""
    email: str = ""
    mobile: str = ""
    employee_no: str = ""
    user_agent: str = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Lark/7.30.6 LarkLocale/en_US"
    union_id: str = field(default_factory=lambda: new_id("on_"))
    user_id: str = field(default_factory=lambda: secrets.token_hex(4))
    available: bool = True
    blocked_bot: bool = False
    status: Literal["active", "frozen", "resigned"] = "active"
    granted: set[str] = field(default_factory=set)


@dataclass
class Chat:
    """A conversation with the bot in it; `members` are people."""

    chat_id: str
    kind: Literal["p2p", "group"]
    name: str
    members: list[str]
    has_bot: bool = True
    dissolved: bool = False
    topics: bool = False
    """A topic group: a message that answers no other opens a topic."""


@dataclass
class Reaction:
    """An emoji that a person or an app put on a message."""

    reaction_id: str
    emoji_type: str
    operator: str
    operator_type: Literal["user", "app"]
    at: int

    def as_json(self) -> Json:
        return {
            "reaction_id": self.reaction_id,
            "operator": {"operator_id": self.operator, "operator_type": self.operator_type},
            "action_time": str(self.at),
            "reaction_type": {"emoji_type": self.emoji_type},
        }


@dataclass
class Message:
    """A message as people see it; `sent_at` is on the tenant's clock, for the rules about its age."""

    message_id: str
    chat_id: str
    sender_type: Literal["user", "bot"]
    sender: str
    msg_type: str
    content: Json
    created_at: int
    updated_at: int
    sent_at: float
    recalled: bool = False
    deleted: bool = False
    ephemeral_for: str | None = None
    reply_to: str | None = None
    root_id: str | None = None
    thread_id: str | None = None
    versions: list[Json] = field(default_factory=list)
    reactions: list[Reaction] = field(default_factory=list)

    def as_json(self) -> Json:
        return {
            "message_id": self.message_id,
            "chat_id": self.chat_id,
            "sender": {"type": self.sender_type, "open_id": self.sender},
            "msg_type": self.msg_type,
            "content": self.content,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
            "recalled": self.recalled or self.deleted,
            "ephemeral_for": self.ephemeral_for,
            "reply_to": self.reply_to,
            "root_id": self.root_id,
            "reactions": [reaction.as_json() for reaction in self.reactions],
            "thread_id": self.thread_id,
        }


@dataclass(frozen=True)
class Start:
    """When something began that is announced at its end: its place among all changes, and the time."""

    place: int
    at: int


@dataclass(frozen=True)
class Change:
    """One thing that happened in the tenant. `sequence` counts the announcements; `place` sorts by when it began, so
    that a request stands above what came of it."""

    sequence: int
    place: int
    kind: str
    at: int
    data: Json

    def as_json(self) -> Json:
        return {
            "sequence": self.sequence,
            "place": self.place,
            "kind": self.kind,
            "at": self.at,
            **self.data,
        }


@dataclass
class Behaviour:
    """Where the platform is known to differ, or a test wants less time to pass: switches, with the newest
    documented behaviour as the default."""

    access_token_seconds: int = 7200
    refresh_token_seconds: int = 604_800
    code_seconds: int = 300
    in_client_code_seconds: int = 180
    links_open: Literal["in a browser", "in the client"] = "in a browser"
    client_sdk: Literal["new", "old", "absent", "broken"] = "new"
    client_errno: int = 0
    device_code_seconds: int = 240
    device_poll_seconds: int = 5
    after_refresh: Literal["old access token lives", "dies", "has a minute"] = "old access token lives"
    revoke_clears_grant: bool = False
    refused_scopes_spend: bool = False
    """Whether a code or refresh token is spent by 20068: nobody says."""
    codes_give: Literal["all that was granted", "what the link asked for"] = "all that was granted"
    """Whether grants accumulate, as documented. The other narrows each token to the link that led to it."""
    refresh_gives: Literal["what the token had", "all that was granted", "what the last link asked for"] = (
        "what the token had"
    )
    """To a refresh that names no scopes; the last one narrows every refresh."""
    token_answers_name_scopes: bool = True
    """RFC 6749 lets an answer leave `scope` out when the token has what was asked for."""
    refusal_wording: Literal["plain", "bilingual"] = "bilingual"
    rate_limits: bool = True
    redelivery_seconds: tuple[float, ...] = (15, 5 * 60, HOUR, 6 * HOUR)
    time_scale: float = 1.0
    answer_seconds: float = 3.0
    connection_limit: int = 50
    frame_payload_bytes: int = 64 * 1024
    card_frame_type: Literal["event", "card"] = "event"
    answers_pings: bool = True
    answers_websocket_pings: bool = True
    loses_acknowledgements: bool = False
    task_create_seconds: float = 0.0
    client_config: Json = field(
        default_factory=lambda: {
            "ReconnectCount": -1,
            "ReconnectInterval": 120,
            "ReconnectNonce": 30,
            "PingInterval": 120,
        }
    )


@dataclass
class CardToken:
    """The token of a card callback: two updates in half an hour, once the callback was answered."""

    message_id: str
    expires_at: float
    uses_left: int = 2
    answered: bool = False


@dataclass
class PushedEvent:
    """An event that the platform pushes, and each attempt at it: {"at", "status", "ms", "ok"}."""

    event_id: str
    event_type: str
    body: Json
    attempts: list[Json] = field(default_factory=list)
    acknowledged: bool = False


class Tenant:
    """One tenant with one installed app. Handlers read and change its public collections and `announce` what
    they did; `subscribe` and `changes` are how the chat page and the tests learn of it."""

    def __init__(self, app: App, clock: Clock | None = None) -> None:
        self.app = app
        self.clock = clock or Clock()
        self.behaviour = Behaviour()
        self.people: dict[str, Person] = {}
        self.chats: dict[str, Chat] = {}
        self.messages: dict[str, Message] = {}
        self.changes: list[Change] = []
        self.credentials = Credentials()
        self.work = Workplace()
        self.faults = Faults()
        self.limiter = RateLimiter()
        self.sent: dict[str, tuple[float, str]] = {}
        self.card_tokens: dict[str, CardToken] = {}
        self.events: dict[str, PushedEvent] = {}
        self._places = 0
        self._subscribers: set[asyncio.Queue[Change | None]] = set()

    # The feed

    def start(self) -> Start:
        """Notes that something begins; pass it to `announce` when it is over."""
        self._places += 1
        return Start(self._places, self.clock.wall_ms())

    def announce(self, kind: str, data: Json, start: Start | None = None) -> Change:
        """Records a change and hands it to every subscriber."""
        begun = start or self.start()
        change = Change(len(self.changes) + 1, begun.place, kind, begun.at, data)
        self.changes.append(change)
        for queue in self._subscribers:
            queue.put_nowait(change)
        return change

    def changes_after(self, sequence: int, kind: str | None = None) -> list[Change]:
        return [change for change in self.changes[max(sequence, 0) :] if kind in (None, change.kind)]

    def subscribe(self) -> tuple[asyncio.Queue[Change | None], Callable[[], None]]:
        """A queue of all changes from now on (None: no more will come), and how to end the subscription."""
        queue: asyncio.Queue[Change | None] = asyncio.Queue()
        self._subscribers.add(queue)
        return queue, lambda: self._subscribers.discard(queue)

    def resume_feed(self, changes: list[Change]) -> None:
        """Goes on after the changes of an earlier life."""
        self.changes = [replace(change, sequence=number) for number, change in enumerate(changes, 1)]
        self._places = max((change.place for change in changes), default=0)

    def end_feed(self) -> None:
        """Tells every subscriber that nothing more will come."""
        for queue in self._subscribers:
            queue.put_nowait(None)

    # People and chats

    def add_person(self, person: Person) -> None:
        """Adds a person, with their direct chat with the bot."""
        self.people[person.open_id] = person
        if self.direct_chat(person.open_id) is None:
            chat = Chat(new_id("oc_"), "p2p", person.name, [person.open_id])
            self.chats[chat.chat_id] = chat

    def direct_chat(self, open_id: str) -> Chat | None:
        """The person's chat with the bot."""
        return next(
            (c for c in self.chats.values() if c.kind == "p2p" and c.has_bot and c.members == [open_id]), None
        )

    # Messages

    def add_message(self, message: Message) -> None:
        self.messages[message.message_id] = message
        self.announce("message", {"message": message.as_json()})

    def first_of_topic(self, thread_id: str) -> Message | None:
        """The message that a topic began with; None when there is no such topic."""
        return next((m for m in self.messages.values() if m.thread_id == thread_id), None)

    def topic_of(self, chat: Chat, parent: Message | None, *, in_thread: bool = False) -> str | None:
        """The topic of a message about to be added: that of the message it answers, a new one where such a message
        opens one, else none."""
        if parent is None:
            return new_id("omt_") if chat.topics else None
        if in_thread and parent.thread_id is None:
            parent.thread_id = new_id("omt_")
        return parent.thread_id

    def update_message(self, message: Message, content: Json) -> None:
        """Gives a message new content and keeps the old one among its versions."""
        before = message.content
        message.versions.append(before)
        message.content = content
        message.updated_at = self.clock.wall_ms()
        self.announce("message_updated", {"message": message.as_json(), "before": before})

    def react(self, message: Message, reaction: Reaction) -> None:
        message.reactions.append(reaction)
        self._announce_reaction(message, reaction, added=True)

    def take_reaction_back(self, message: Message, reaction: Reaction) -> None:
        message.reactions.remove(reaction)
        self._announce_reaction(message, reaction, added=False)

    def _announce_reaction(self, message: Message, reaction: Reaction, *, added: bool) -> None:
        self.announce(
            "reaction", {"message": message.as_json(), "reaction": reaction.as_json(), "added": added}
        )

    def recall_message(self, message: Message) -> None:
        message.recalled = True
        message.updated_at = self.clock.wall_ms()
        self.announce("message_recalled", {"message_id": message.message_id, "chat_id": message.chat_id})

    def messages_seen_by(self, open_id: str | None, chat_id: str | None, after: int = 0) -> list[Message]:
        """Messages in order of sending, without ephemeral ones for somebody else."""

        def is_seen(message: Message) -> bool:
            if chat_id is not None and message.chat_id != chat_id:
                return False
            if open_id is None:
                return True
            chat = self.chats[message.chat_id]
            return open_id in chat.members and message.ephemeral_for in (None, open_id)

        return [m for m in self.messages.values() if m.created_at > after and is_seen(m)]

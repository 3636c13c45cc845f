"""The state of the emulated tenant: its app, people, chats, messages, credentials, and the feed of changes.

All state is in memory and changes on the event loop only, so a method call is atomic. HTTP and the rules of the
platform's protocol belong to the modules that serve it.
"""

import secrets
from dataclasses import dataclass, field
from typing import Literal

from bot.sandbox.clock import Clock
from bot.sandbox.feed import Feed
from bot.sandbox.json_http import Json
from bot.sandbox.lark.credentials import Credentials
from bot.sandbox.lark.faults import Faults
from bot.sandbox.lark.work_data import WorkData
from bot.sandbox.rate_limits import RateLimiter

Identity = Literal["user", "tenant"]

HOUR = 3600
DAY = 24 * HOUR


def new_id(prefix: str, length: int = 32) -> str:
    """Return a random id as the platform makes them: the prefix and `length` hexadecimal digits."""
    return prefix + secrets.token_hex(length // 2)


@dataclass
class ScopeSwitch:
    """The identities for which the app has a scope enabled. `pending`: it awaits the administrator's approval."""

    user: bool = False
    tenant: bool = False
    pending: bool = False

    def enabled(self, identity: Identity) -> bool:
        return self.user if identity == "user" else self.tenant


EVENTS = (
    "im.message.receive_v1",
    "im.message.recalled_v1",
    "im.chat.access_event.bot_p2p_chat_entered_v1",
    "auth.user_access_token.revoked_v4",
    "contact.user.deleted_v3",
)
CALLBACKS = ("card.action.trigger",)


@dataclass
class App:
    """The registered app, with its settings in the developer console.

    The app receives only the events and callbacks to which it is subscribed.
    """

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
    subscribed_events: list[str] = field(default_factory=lambda: list(EVENTS))
    subscribed_callbacks: list[str] = field(default_factory=lambda: list(CALLBACKS))
    enabled: bool = True
    installed: bool = True
    published: bool = True
    may_refresh: bool = True
    other_brand: bool = False
    """Whether the app belongs to the other brand (Feishu or Lark), which has another host.

    Its credentials work on this host too; some endpoints then refuse it.
    """
    applied_for_scopes: bool = False

    def enabled_scopes(self, identity: Identity) -> frozenset[str]:
        return frozenset(scope for scope, switch in self.scopes.items() if switch.enabled(identity))


@dataclass
class Person:
    """Someone with a Lark account. `granted` accumulates every scope that they have granted this app."""

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
    """A direct chat or a group; `members` are the open_ids of people."""

    chat_id: str
    kind: Literal["p2p", "group"]
    name: str
    members: list[str]
    has_bot: bool = True
    dissolved: bool = False
    topics: bool = False
    """Whether this is a topic group, in which a message that answers no other opens a topic."""


@dataclass
class Reaction:
    """An emoji that a person or an app has added to a message. `at` is in Unix milliseconds."""

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
    """A message. `created_at` and `updated_at` are in Unix milliseconds; `sent_at` is `Clock.now`, for limits on age."""

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


@dataclass
class Behaviour:
    """Settings for where platforms are known to differ, and for durations that tests shorten.

    The defaults are the newest documented behaviour. The names are the control API's.
    """

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
    """Whether a request refused with 20068 uses up its code or refresh token; not documented."""
    codes_give: Literal["all that was granted", "what the link asked for"] = "all that was granted"
    """Whether grants accumulate, as documented, or each token has only the scopes of its link."""
    refresh_gives: Literal["what the token had", "all that was granted", "what the last link asked for"] = (
        "what the token had"
    )
    """The scopes of a refresh that names none; the last choice narrows every refresh."""
    token_answers_name_scopes: bool = True
    """RFC 6749 lets a token response omit `scope` when it equals the requested scope."""
    app_record_tells_events: bool = False
    """Whether the app's record states how it receives events. The platform's own SDK knows the field, the documentation
    does not; it always states how callbacks are received."""
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
    """The token of a card callback: two updates within half an hour, after the callback was answered."""

    message_id: str
    expires_at: float
    uses_left: int = 2
    answered: bool = False


@dataclass
class PushedEvent:
    """An event that the platform pushes; each of its `attempts` is a change of kind "event" in the feed."""

    event_id: str
    event_type: str
    body: Json
    attempts: list[Json] = field(default_factory=list)
    acknowledged: bool = False


class Tenant:
    """One tenant with one installed app.

    Handlers read and change its public collections and announce each change in `feed`.
    """

    def __init__(self, app: App, clock: Clock | None = None) -> None:
        self.app = app
        self.clock = clock or Clock()
        self.feed = Feed(self.clock)
        self.behaviour = Behaviour()
        self.people: dict[str, Person] = {}
        self.chats: dict[str, Chat] = {}
        self.messages: dict[str, Message] = {}
        self.credentials = Credentials()
        self.work = WorkData()
        self.faults = Faults()
        self.limiter = RateLimiter()
        self.sent: dict[str, tuple[float, str]] = {}
        self.card_tokens: dict[str, CardToken] = {}
        self.events: dict[str, PushedEvent] = {}

    # People and chats

    def add_person(self, person: Person) -> None:
        """Add a person and their direct chat with the bot."""
        self.people[person.open_id] = person
        if self.direct_chat(person.open_id) is None:
            chat = Chat(new_id("oc_"), "p2p", person.name, [person.open_id])
            self.chats[chat.chat_id] = chat

    def direct_chat(self, open_id: str) -> Chat | None:
        """Return the person's direct chat with the bot."""
        return next(
            (c for c in self.chats.values() if c.kind == "p2p" and c.has_bot and c.members == [open_id]), None
        )

    # Messages

    def add_message(self, message: Message) -> None:
        self.messages[message.message_id] = message
        self.feed.announce("message", {"message": message.as_json()})

    def first_of_topic(self, thread_id: str) -> Message | None:
        """Return the message that opened a topic, or None if there is no such topic."""
        return next((m for m in self.messages.values() if m.thread_id == thread_id), None)

    def topic_of(self, chat: Chat, parent: Message | None, *, in_thread: bool = False) -> str | None:
        """Return the topic of a message that is about to be added, or None.

        An answer joins the topic of its parent; `in_thread` opens one if the parent has none. In a topic group a
        message that answers no other opens a topic.
        """
        if parent is None:
            return new_id("omt_") if chat.topics else None
        if in_thread and parent.thread_id is None:
            parent.thread_id = new_id("omt_")
        return parent.thread_id

    def update_message(self, message: Message, content: Json) -> None:
        """Replace a message's content and append the old content to its versions."""
        before = message.content
        message.versions.append(before)
        message.content = content
        message.updated_at = self.clock.wall_ms()
        self.feed.announce("message_updated", {"message": message.as_json(), "before": before})

    def add_reaction(self, message: Message, reaction: Reaction) -> None:
        message.reactions.append(reaction)
        self._announce_reaction(message, reaction, added=True)

    def remove_reaction(self, message: Message, reaction: Reaction) -> None:
        message.reactions.remove(reaction)
        self._announce_reaction(message, reaction, added=False)

    def _announce_reaction(self, message: Message, reaction: Reaction, *, added: bool) -> None:
        self.feed.announce(
            "reaction", {"message": message.as_json(), "reaction": reaction.as_json(), "added": added}
        )

    def recall_message(self, message: Message) -> None:
        message.recalled = True
        message.updated_at = self.clock.wall_ms()
        self.feed.announce("message_recalled", {"message_id": message.message_id, "chat_id": message.chat_id})

    def messages_seen_by(self, open_id: str | None, chat_id: str | None, after: int = 0) -> list[Message]:
        """Return messages in the order of sending, without ephemeral ones for other people."""

        def is_seen(message: Message) -> bool:
            if chat_id is not None and message.chat_id != chat_id:
                return False
            if open_id is None:
                return True
            chat = self.chats[message.chat_id]
            return open_id in chat.members and message.ephemeral_for in (None, open_id)

        return [m for m in self.messages.values() if m.created_at > after and is_seen(m)]

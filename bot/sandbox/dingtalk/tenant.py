"""The state of the emulated platform: the app, organizations, people, chats, messages, credentials, and the feed.

All state is in memory and changes on the event loop only, so a method call is atomic. HTTP and the rules of the
platform's protocol belong to the modules that serve it.
"""

import secrets
from dataclasses import dataclass, field
from typing import Literal

from bot.sandbox.clock import Clock
from bot.sandbox.dingtalk.credentials import Credentials
from bot.sandbox.dingtalk.work_data import WorkData
from bot.sandbox.faults import Faults
from bot.sandbox.feed import Feed
from bot.sandbox.json_http import Json
from bot.sandbox.rate_limits import RateLimiter

Identity = Literal["user", "tenant"]

HOUR = 3600
DAY = 24 * HOUR


def new_id(prefix: str = "", length: int = 32) -> str:
    """Return a random id: the prefix and `length` hexadecimal digits."""
    return prefix + secrets.token_hex(length // 2)


def encrypted_id() -> str:
    """Return an id as bot events contain it: encrypted, and not comparable with any other id."""
    return f"$:LWCP_v1:${secrets.token_urlsafe(24)}"


@dataclass
class ScopeSwitch:
    """How a scope is added to the app: as a delegated scope (`user`), as an application scope (`tenant`)."""

    user: bool = False
    tenant: bool = False

    def added(self, identity: Identity) -> bool:
        return self.user if identity == "user" else self.tenant


@dataclass
class App:
    """The registered app, with its settings in the developer console. Its robot has the code `robot_code`."""

    client_id: str
    client_secret: str
    name: str
    name_zh: str
    corp_id: str
    robot_code: str
    owner: str
    app_id: str = field(default_factory=lambda: new_id("", 32))
    bot_user_id: str = field(default_factory=encrypted_id)
    redirect_urls: list[str] = field(default_factory=list)
    scopes: dict[str, ScopeSwitch] = field(default_factory=dict)
    events_url: str | None = None
    events_by: Literal["webhook", "stream"] = "stream"
    enabled: bool = True
    published: bool = True

    def enabled_scopes(self, identity: Identity) -> frozenset[str]:
        return frozenset(scope for scope, switch in self.scopes.items() if switch.added(identity))


@dataclass
class Organization:
    """An organization with a corpId."""

    corp_id: str
    name: str


@dataclass
class Person:
    """A member of an organization, by `user_id` (also called staffId), which only that organization knows.

    `granted` accumulates what the person has granted the app; a scope in `effective_at` takes effect at that time.
    """

    user_id: str
    name: str
    en_name: str
    corp_id: str
    locale: str = "en_us"
    timezone: str = "Europe/Berlin"
    avatar_color: str = "#3370ff"
    role: str = ""
    email: str = ""
    mobile: str = ""
    state_code: str = "86"
    user_agent: str = (
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
        "DingTalk(7.6.0-macOS-35402212) nw Channel/201200 DingTalk/7.6.0"
    )
    union_id: str = field(default_factory=lambda: secrets.token_urlsafe(15) + "iEiE")
    open_id: str = field(default_factory=lambda: secrets.token_urlsafe(15) + "iEiE")
    sender_id: str = field(default_factory=encrypted_id)
    is_admin: bool = False
    throttled: bool = False
    """Whether messages to this person are withheld by flow control."""
    active: bool = True
    granted: set[str] = field(default_factory=set)
    effective_at: dict[str, float] = field(default_factory=dict)


@dataclass
class Chat:
    """A direct chat with the bot or a group; `members` are the user ids of people."""

    chat_id: str
    kind: Literal["p2p", "group"]
    name: str
    members: list[str]
    has_bot: bool = True
    dissolved: bool = False


@dataclass
class Message:
    """A message or a card. `created_at` and `updated_at` are in Unix milliseconds, `sent_at` is `Clock.now`.

    `only_for` lists the people who see it; None is everyone in the chat. `sent_by` is the API that sent it.
    """

    message_id: str
    chat_id: str
    sender_type: Literal["user", "bot"]
    sender: str
    msg_type: str
    content: Json
    created_at: int
    updated_at: int
    sent_at: float
    only_for: list[str] | None = None
    sent_by: str = ""
    process_query_key: str | None = None
    out_track_id: str | None = None
    reply_to: str | None = None
    recalled: bool = False
    versions: list[Json] = field(default_factory=list)

    def as_json(self) -> Json:
        return {
            "message_id": self.message_id,
            "chat_id": self.chat_id,
            "sender": {"type": self.sender_type, "open_id": self.sender},
            "msg_type": self.msg_type,
            "content": self.content,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
            "recalled": self.recalled,
            "ephemeral_for": self.only_for[0] if self.only_for and len(self.only_for) == 1 else None,
            "only_for": self.only_for,
            "sent_by": self.sent_by,
            "process_query_key": self.process_query_key,
            "out_track_id": self.out_track_id,
            "reply_to": self.reply_to,
        }


@dataclass
class Session:
    """The session webhook of one bot message."""

    session: str
    chat_id: str
    message_id: str
    expires_at: float


@dataclass
class CardTemplate:
    """A template of the card console, with the names of its variables; without any, every name is accepted."""

    template_id: str
    variables: list[str] = field(default_factory=list)
    published: bool = True


@dataclass
class Card:
    """A delivered card instance. `message_ids` are the messages that show it."""

    out_track_id: str
    template_id: str
    callback_type: Literal["STREAM", "HTTP"]
    callback_route: str | None
    data: dict[str, str]
    private_data: dict[str, dict[str, str]]
    user_id_type: int
    message_ids: list[str] = field(default_factory=list)
    space_type: str = ""
    space_id: str = ""


@dataclass
class CallbackRoute:
    """A registered HTTP address of card callbacks."""

    url: str
    api_secret: str


@dataclass
class Behaviour:
    """Settings for where the platform's behaviour is not documented, differs or changes, and for durations.

    The defaults are what is documented or, where nothing is, what is hardest for a bot. The names are the control
    API's.
    """

    # Tokens and codes
    access_token_seconds: int = 7200
    refresh_token_seconds: int = 30 * DAY
    app_token_seconds: int = 7200
    code_seconds: int = 300
    silent_code_seconds: int = 300
    expiry_field: Literal["expireIn", "expiresIn"] = "expireIn"
    returns_refresh_token: bool = True
    open_auth_tells_corp_id: bool = False
    """Whether a token has `corpId` when its code came from `openAuth`."""
    tokens_give: Literal["all that was granted", "what was asked for"] = "all that was granted"
    old_tokens_gain_scopes: bool = False
    app_tokens_gain_scopes: bool = True
    dead_refresh_code: str = "invalidParameter.authCode.notFound"
    # The consent page
    honours_scope_codes: bool = False
    """Whether the login page grants the scope codes of its link; by default it grants all that the app has added."""
    consents_as: str | None = None
    """The user id of the person who is signed in to the login page, no matter who opens it."""
    consents_in: str | None = None
    """The corpId that a person of several organizations chooses on the login page; by default the app's."""
    callback_parameter: Literal["authCode", "code", "both"] = "authCode"
    refusal_error: str = "access_denied"
    # Refusals
    refusal_wording: Literal["old", "new"] = "old"
    access_denied_detail: bool = True
    refused_scopes: list[str] = field(default_factory=list)
    """Scopes that the gateway keeps refusing although they are added and granted."""
    consent_spreads_seconds: float = 0.0
    """How long a grant takes to reach the gateway."""
    quota_exhausted: bool = False
    rate_limits: bool = True
    # The client
    links_open: Literal["in a browser", "in the client"] = "in a browser"
    client_sdk: Literal["new", "old", "oldest", "unsigned", "absent", "broken"] = "new"
    client_platform: Literal["by width", "pc", "ios", "android"] = "by width"
    panel_result: Literal["ask", "ok", "cancel", "failed", "toAdmin", "closed", "unreadable"] = "ask"
    panel_error: int = 0
    # Ids
    events_name_union_id: bool = False
    me_serves_as_id: bool = False
    """Whether `me` stands for a unionId where only `users/me` and its to-dos are documented."""
    create_at_is_text: bool = False
    tasks_take: Literal["user", "tenant", "both"] = "user"
    """Whose token the to-do and calendar APIs accept."""
    # Messages
    session_webhook_seconds: int = 5400
    answer_seconds: float = 60.0
    redelivery_seconds: tuple[float, ...] = ()
    """When a message that was not acknowledged is pushed again."""
    repeats_acknowledged: bool = False
    """Whether a message is pushed once more although it was acknowledged."""
    time_scale: float = 1.0
    card_answer_seconds: float = 2.0
    reused_out_track_id: Literal["refused", "same card"] = "refused"
    """The response to a second `createAndDeliver` with the same `outTrackId`; neither creates a card."""
    # Stream
    ticket_seconds: int = 90
    connection_limit: int = 50
    ping_seconds: float = 60.0
    disconnect_grace_seconds: float = 10.0
    loses_acknowledgements: bool = False


@dataclass
class PushedEvent:
    """What the platform pushes; each of its `attempts` is a change of kind "event" in the feed."""

    event_id: str
    event_type: str
    body: Json
    attempts: list[Json] = field(default_factory=list)
    acknowledged: bool = False


class Tenant:
    """The organizations around one app.

    Handlers read and change its public collections and announce each change in `feed`.
    """

    def __init__(self, app: App, clock: Clock | None = None) -> None:
        self.app = app
        self.clock = clock or Clock()
        self.feed = Feed(self.clock)
        self.behaviour = Behaviour()
        self.organizations: dict[str, Organization] = {}
        self.people: dict[str, Person] = {}
        self.chats: dict[str, Chat] = {}
        self.messages: dict[str, Message] = {}
        self.credentials = Credentials()
        self.work = WorkData()
        self.faults = Faults()
        self.limiter = RateLimiter()
        self.sessions: dict[str, Session] = {}
        self.templates: dict[str, CardTemplate] = {}
        self.cards: dict[str, Card] = {}
        self.callback_routes: dict[str, CallbackRoute] = {}
        self.events: dict[str, PushedEvent] = {}

    # People and chats

    def add_person(self, person: Person) -> None:
        """Add a person and their direct chat with the bot."""
        self.people[person.user_id] = person
        if self.direct_chat(person.user_id) is None:
            chat = Chat(f"cid{secrets.token_urlsafe(24)}==", "p2p", person.name, [person.user_id])
            self.chats[chat.chat_id] = chat

    def direct_chat(self, user_id: str) -> Chat | None:
        """Return the person's direct chat with the bot."""
        return next((c for c in self.chats.values() if c.kind == "p2p" and c.members == [user_id]), None)

    def by_union_id(self, union_id: str) -> Person | None:
        return next((p for p in self.people.values() if p.union_id == union_id), None)

    def member(self, user_id: str) -> Person | None:
        """Return a person of the app's own organization, the only one whose user ids the app knows."""
        person = self.people.get(user_id)
        return person if person is not None and person.corp_id == self.app.corp_id and person.active else None

    # Messages

    def add_message(self, message: Message) -> None:
        self.messages[message.message_id] = message
        self.feed.announce("message", {"message": message.as_json()})

    def new_bot_message(
        self, chat: Chat, msg_type: str, content: Json, *, sent_by: str, only_for: list[str] | None = None
    ) -> Message:
        at = self.clock.wall_ms()
        message = Message(
            message_id=f"msg{secrets.token_urlsafe(18)}==",
            chat_id=chat.chat_id,
            sender_type="bot",
            sender=self.app.robot_code,
            msg_type=msg_type,
            content=content,
            created_at=at,
            updated_at=at,
            sent_at=self.clock.now(),
            only_for=only_for,
            sent_by=sent_by,
        )
        return message

    def update_message(self, message: Message, content: Json) -> None:
        """Replace a message's content and append the old content to its versions."""
        before = message.content
        message.versions.append(before)
        message.content = content
        message.updated_at = self.clock.wall_ms()
        self.feed.announce("message_updated", {"message": message.as_json(), "before": before})

    def recall_message(self, message: Message) -> None:
        message.recalled = True
        message.updated_at = self.clock.wall_ms()
        self.feed.announce("message_recalled", {"message_id": message.message_id, "chat_id": message.chat_id})

    def messages_seen_by(self, user_id: str | None, chat_id: str | None, after: int = 0) -> list[Message]:
        """Return messages in the order of sending, without those for other people."""

        def is_seen(message: Message) -> bool:
            if chat_id is not None and message.chat_id != chat_id:
                return False
            if user_id is None:
                return True
            chat = self.chats[message.chat_id]
            return user_id in chat.members and (message.only_for is None or user_id in message.only_for)

        return [m for m in self.messages.values() if m.created_at > after and is_seen(m)]

"""Events from a platform, as its adapter parses them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from bot.core.api import Json
from bot.core.language import Language
from bot.core.messages import Chat
from bot.core.people import UserKey

Mentions = Mapping[str, str]
"""The names of the people that a message mentions, keyed by the placeholders (`@_user_2`) in its text."""


@dataclass(frozen=True, slots=True)
class MessageReceived:
    event_id: str
    user: UserKey
    chat: Chat
    message_id: str
    text: str | None
    """The text without the mention of the bot, or None if the message is not text. Other mentions are placeholders, so
    that the names of people cannot be mistaken for a command."""
    sent_at: datetime
    language: Language | None
    """From the client's locale, if the platform reports it."""
    foreign: bool = False
    """Whether the sender belongs to another organization."""
    union_id: str | None = None
    mentions: Mentions = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChatEntered:
    """A user opened the direct chat with the bot."""

    event_id: str
    user: UserKey
    chat: Chat
    first: bool
    """Whether the chat has no messages yet."""


@dataclass(frozen=True, slots=True)
class MessageRecalled:
    event_id: str
    platform: str
    app_id: str
    message_id: str


@dataclass(frozen=True, slots=True)
class CardClicked:
    """A user clicked a control of a card. The platform delivers it once, and expects an answer within 3 seconds."""

    event_id: str
    user: UserKey
    message_id: str | None
    chat_id: str | None
    action: str
    """A value of `core.cards.Action`. Empty for a control that is not the bot's, such as one of another app's card."""
    subject: str | None
    """The id of what the card is about."""
    time_zone: str | None


@dataclass(frozen=True, slots=True)
class GrantRevoked:
    """The platform reports that a user's tokens were revoked, by the user or by an administrator."""

    event_id: str
    user: UserKey
    at: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class UserDeleted:
    """A user is no longer a member of the organization."""

    event_id: str
    user: UserKey


@dataclass(frozen=True, slots=True)
class AppStopped:
    """The app was uninstalled from an organization, or disabled there."""

    event_id: str
    platform: str
    app_id: str
    tenant_key: str
    at: datetime | None = None
    """When it was stopped, or None if the platform does not say."""


@dataclass(frozen=True, slots=True)
class Ignored:
    """An authentic event that the bot does not need, such as a group message that does not mention it."""

    event_id: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class UrlVerification:
    """The platform verifies the webhook's URL."""

    answer: Json
    """The body of the response."""


NOT_SIGNED = "not signed"


@dataclass(frozen=True, slots=True)
class Unauthentic:
    """A request that is not from the platform, not for this app, or malformed. It has no effect."""

    reason: str
    status: int
    """The HTTP status of the response."""
    advice: str = ""
    """What an operator should change, if the request seems to be genuine but the configuration does not match."""


Event = (
    MessageReceived
    | ChatEntered
    | MessageRecalled
    | CardClicked
    | GrantRevoked
    | UserDeleted
    | AppStopped
    | Ignored
)


Received = Event | UrlVerification | Unauthentic


@dataclass(frozen=True, slots=True)
class Outage:
    """A period in which events cannot be received or calls cannot be made."""

    since: datetime
    reason: str
    """The reason, for operators."""

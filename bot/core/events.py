"""What comes in from a platform, parsed by its adapter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from bot.core.language import Language
from bot.core.messages import Chat
from bot.core.people import UserKey

Mentions = Mapping[str, str]
"""Names of the people whom a message mentions, by the placeholder (`@_user_2`) that stands for each in its text."""


@dataclass(frozen=True, slots=True)
class MessageReceived:
    event_id: str
    user: UserKey
    chat: Chat
    message_id: str
    text: str | None
    """Without the mention of the bot; None when the message is no text. A placeholder stands for each other mention:
    what people call themselves is not yet in it when the command is looked for."""
    sent_at: datetime
    language: Language | None
    """From the client's locale, when the platform gives one."""
    foreign: bool = False
    """The sender belongs to another tenant."""
    union_id: str | None = None
    mentions: Mentions = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChatEntered:
    """A person opened the direct chat with the bot. `first` when nothing was ever said there."""

    event_id: str
    user: UserKey
    chat: Chat
    first: bool


@dataclass(frozen=True, slots=True)
class MessageRecalled:
    event_id: str
    platform: str
    app_id: str
    message_id: str


@dataclass(frozen=True, slots=True)
class CardClicked:
    """A callback control of a card was used. Answered within 3 s, and never delivered again."""

    event_id: str
    user: UserKey
    message_id: str | None
    chat_id: str | None
    action: str
    """Which control; empty for one that carries no value of ours, as a control of somebody else's card may."""
    subject: str | None
    """The id of what the card is about."""
    time_zone: str | None


@dataclass(frozen=True, slots=True)
class GrantRevoked:
    """The platform says that a person's tokens were revoked at `at`, by them or by somebody with the power to."""

    event_id: str
    user: UserKey
    at: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class UserDeleted:
    """A person is no longer a member of the organization."""

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
    """When; None if the platform did not say."""


@dataclass(frozen=True, slots=True)
class Ignored:
    """Authentic, and of no interest (a group message that does not mention the bot, an unknown event)."""

    event_id: str | None
    why: str


@dataclass(frozen=True, slots=True)
class UrlVerification:
    """The platform checks the address; the answer repeats the value."""

    value: str


@dataclass(frozen=True, slots=True)
class Unauthentic:
    """Not from the platform, or not for us, or malformed. Changes nothing. `status` is the HTTP status to answer."""

    reason: str
    status: int
    advice: str = ""
    """What an operator should change, if it looks as if the platform sent it as it is configured there."""


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
    """Events cannot come in, or calls cannot go out: since when, and why, in words for operators."""

    since: datetime
    reason: str

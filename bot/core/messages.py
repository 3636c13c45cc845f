"""What the bot says: replies without markup, where they go, and what came of sending them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from bot.core.language import Words
from bot.core.people import UserKey


@dataclass(frozen=True, slots=True)
class Chat:
    chat_id: str
    kind: Literal["direct", "group"]
    thread_id: str | None = None
    """The topic of the chat, if it is in one."""


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a line, shown literally: it is never read as markup. `url` makes it a link, if it is an
    address of the platform's or of the bot's: a whole one, or a path (`/docx/TOKEN`) at the platform."""

    text: Words | str
    bold: bool = False
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Code:
    """A block of fixed-width text, on lines of its own."""

    text: str
    language: str = "JSON"
    """Empty: none in particular."""


Line = tuple[Span, ...] | Code


@dataclass(frozen=True, slots=True)
class Control:
    """A button under a reply: its action is one of `core.cards`, its subject the id of what that is about."""

    words: Words
    action: str
    subject: str


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer in the chat, in every language, without a word of how a platform draws it."""

    title: Words | None
    lines: tuple[Line, ...] = ()
    confidential: bool = False
    """In a group it is shown to the asker alone, whatever its command says."""
    control: Control | None = None
    time_zone: str | None = None
    """IANA name: what the answer has found out of the asker's time zone."""


@dataclass(frozen=True, slots=True)
class Content:
    """A message's body, rendered by a platform's adapter; everybody else passes it on unread."""

    kind: str
    body: str


@dataclass(frozen=True, slots=True)
class DirectChat:
    chat_id: str
    message_id: str | None
    """The person's latest message there, which can be replied to."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a message goes. The first that works: a reply, else the chat, else the person alone."""

    user: UserKey
    chat_id: str | None = None
    reply_to: str | None = None
    """The message that it answers."""
    private: bool = False
    """Only the person may see it: never the chat, if that is a group."""
    group_first: bool = False
    """A private message is first tried in the group, shown to the person alone, and only then sent to them directly."""
    unless_recalled: bool = False
    """Nothing is sent when the message that it answers was recalled."""
    direct: DirectChat | None = None
    """The person's chat with the bot: a way to them when a message to the person is refused."""


class MessageStatus(StrEnum):
    """Where an outgoing message stands."""

    QUEUED = "queued"
    SENDING = "sending"
    """A worker holds its lease."""
    SENT = "sent"
    UNDELIVERABLE = "undeliverable"
    """The platform refuses it for good, or has not taken it for too long."""
    OUTCOME_UNKNOWN = "outcome_unknown"
    """It may have arrived, and can no longer be repeated safely."""


@dataclass(frozen=True, slots=True)
class Sent:
    message_id: str
    ephemeral: bool = False


@dataclass(frozen=True, slots=True)
class NotSent:
    """`retry` tells a platform that could not answer from one that will never deliver this message there."""

    reason: str
    retry: bool
    gone: bool = False
    """The message to answer or to patch no longer exists or can no longer be changed."""
    recalled: bool = False
    """The message to answer was recalled."""
    no_way: bool = False
    """Every known way to the person is closed, for no reason that is in the message."""
    may_have_arrived: bool = False
    retry_after: float | None = None
    one_too_many: bool = False
    """More than the platform takes at once."""

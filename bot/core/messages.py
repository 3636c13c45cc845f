"""Messages of the bot: replies without markup, their destinations, and the results of sending them."""

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
    """The topic within the chat, if any."""


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a line. Its text is shown literally and never interpreted as markup."""

    text: Words | str
    bold: bool = False
    url: str | None = None
    """The target of a link: a URL of the platform or the bot, or a path (`/docx/TOKEN`) at the platform."""


@dataclass(frozen=True, slots=True)
class Code:
    """A block of fixed-width text."""

    text: str
    language: str = "JSON"
    """The language for highlighting, or an empty string."""


Line = tuple[Span, ...] | Code


@dataclass(frozen=True, slots=True)
class Control:
    """A button under a reply."""

    words: Words
    action: str
    """A value of `core.cards.Action`."""
    subject: str
    """The id of what the action is about."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer in the chat, in every language. The platform's adapter renders it."""

    title: Words | None
    lines: tuple[Line, ...] = ()
    confidential: bool = False
    """Whether only the user sees it in a group, even if its command is not private."""
    control: Control | None = None
    time_zone: str | None = None
    """The IANA name of the user's time zone, if the command has learned it."""


@dataclass(frozen=True, slots=True)
class Content:
    """A message's body, as the platform's adapter rendered it. It is opaque to everything else."""

    kind: str
    body: str


@dataclass(frozen=True, slots=True)
class DirectChat:
    chat_id: str
    message_id: str | None
    """The user's latest message there, which can be replied to."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a message is sent: the first route that works of a reply, the chat, and a message to the user alone."""

    user: UserKey
    chat_id: str | None = None
    reply_to: str | None = None
    """The id of the message that it answers."""
    private: bool = False
    """Whether only the user may see it, so that no group receives it as an ordinary message."""
    group_first: bool = False
    """Whether a private message is first tried as an ephemeral one in the group, and then in the direct chat."""
    unless_recalled: bool = False
    """Whether the message is not sent if the one that it answers was recalled."""
    direct: DirectChat | None = None
    """The user's chat with the bot, which is used if the platform refuses a message to the user's id."""


class MessageStatus(StrEnum):
    """The state of an outgoing message."""

    QUEUED = "queued"
    SENDING = "sending"
    """A worker has claimed it."""
    SENT = "sent"
    UNDELIVERABLE = "undeliverable"
    """The platform refuses it permanently, or has not accepted it in time."""
    OUTCOME_UNKNOWN = "outcome_unknown"
    """It may have arrived, and cannot be sent again safely."""


@dataclass(frozen=True, slots=True)
class Sent:
    message_id: str
    ephemeral: bool = False


@dataclass(frozen=True, slots=True)
class NotSent:
    """The platform did not accept a message."""

    reason: str
    retry: bool
    """Whether sending it again may succeed."""
    gone: bool = False
    """Whether the message to answer or change no longer exists, or can no longer be changed."""
    recalled: bool = False
    """Whether the message to answer was recalled."""
    no_route: bool = False
    """Whether every known route to the user failed, for reasons other than the message's content."""
    may_have_arrived: bool = False
    retry_after: float | None = None
    """Seconds to wait, if the platform states them."""
    rate_limited: bool = False
    """Whether the bot sends faster than the platform allows."""

"""Sends, changes and takes back the bot's messages, going down a destination's alternatives."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from enum import Enum, auto
from urllib.parse import quote

from bot.core.api import (
    ApiCall,
    AppScopeMissing,
    InsufficientScope,
    Outcome,
    RateLimited,
    Refused,
    Succeeded,
    TokenRejected,
    Unreachable,
)
from bot.core.messages import Content, Destination, NotSent, Sent
from bot.lark.api import TENANT_TOKEN_REJECTED
from bot.lark.cards import as_card

CallAsApp = Callable[[ApiCall], Awaitable[Outcome]]

LONGEST_KEY = 50
"""Of `uuid`, by which the platform knows a message that it has sent within the last hour."""


class Refusal(Enum):
    """What a refused message tells about trying again. `kind_of` is the one place that knows the codes."""

    CONTENT = auto()
    """For what the message says: no other way carries it."""
    RECALLED = auto()
    """The message to answer, or to change, was recalled."""
    GONE = auto()
    """There is no such message, chat or topic (any more), or the bot is not in it."""
    UNCHANGEABLE = auto()
    """A card that can no longer be changed."""
    APP = auto()
    """The app's own credentials or state: once an operator has fixed that, the message can go out."""
    LATER = auto()
    """For now: the same request may work in a moment."""
    WAY = auto()
    """Anything else, codes that nobody has listed included: this way is closed, and another may be open."""


KINDS: dict[int, Refusal] = {
    230022: Refusal.CONTENT,  # sensitive words
    230025: Refusal.CONTENT,  # too long
    230028: Refusal.CONTENT,  # the organization's audit
    230055: Refusal.CONTENT,  # a file of another type
    230099: Refusal.CONTENT,  # a card that cannot be made
    230011: Refusal.RECALLED,
    230002: Refusal.GONE,  # the bot is not in the group
    230019: Refusal.GONE,  # no such topic
    230110: Refusal.GONE,  # deleted
    231003: Refusal.GONE,  # deleted
    232009: Refusal.GONE,  # dissolved
    230031: Refusal.UNCHANGEABLE,  # after 14 days
    10003: Refusal.APP,
    10014: Refusal.APP,
    99991543: Refusal.APP,
    99991662: Refusal.APP,
    99991673: Refusal.APP,
    **dict.fromkeys(TENANT_TOKEN_REJECTED, Refusal.APP),
    230049: Refusal.LATER,  # the same message is being sent
}
BEING_SENT = 230049
ALREADY_WITHDRAWN = 18051
NOT_THE_PLATFORM = range(300, 600)
"""An HTTP status in the place of a code: something in between has answered."""


def kind_of(code: int) -> Refusal:
    return Refusal.LATER if code in NOT_THE_PLATFORM else KINDS.get(code, Refusal.WAY)


async def send(
    call_as_app: CallAsApp, destination: Destination, content: Content, key: str
) -> Sent | NotSent:
    """Tries each way in turn. Only a refusal of the way itself leads to the next: after any other answer, the message
    may have arrived, may yet arrive this way, or is refused on every way.
    """
    refused: NotSent | None = None
    for way in ways(destination, content, uuid_of(key)):
        outcome = await call_as_app(way)
        result = sent_id(outcome)
        if isinstance(result, str):
            return Sent(result, ephemeral=way.path == EPHEMERAL_SEND)
        if not is_closed(way, outcome, destination):
            return result
        refused = refused or replace(result, retry=False, gone=False, recalled=False, no_way=True)
    return refused or NotSent("nowhere to send it", retry=False, no_way=True)


def is_closed(way: ApiCall, outcome: Outcome, destination: Destination) -> bool:
    """Whether an answer closes one way, and says nothing about the others.

    A message for one member of a group needs scopes of its own.
    """
    match outcome:
        case Refused(code=code):
            if kind_of(code) is Refusal.RECALLED and way.path == reply_path(destination.reply_to or ""):
                return not destination.unless_recalled
            return kind_of(code) in {Refusal.WAY, Refusal.GONE, Refusal.RECALLED}
        case AppScopeMissing():
            return way.path == EPHEMERAL_SEND
        case _:
            return False


MESSAGES = "/open-apis/im/v1/messages"
EPHEMERAL_SEND = "/open-apis/ephemeral/v1/send"
EPHEMERAL_DELETE = "/open-apis/ephemeral/v1/delete"


def ways(destination: Destination, content: Content, uuid: str) -> Iterator[ApiCall]:
    """A reply, else the chat, else the person alone: by their id, by the id of their chat with the bot, by a reply
    there. What is private takes the last three, and then a card in the group that they alone see, or
    that first."""
    body = {"msg_type": content.kind, "content": content.body, "uuid": uuid}
    if destination.private and destination.chat_id and destination.group_first:
        yield ephemeral(destination.chat_id, destination.user.open_id, content)
    if not destination.private:
        if destination.reply_to:
            yield reply(destination.reply_to, body)
        if destination.chat_id:
            yield to_receiver("chat_id", destination.chat_id, body)
    yield to_receiver("open_id", destination.user.open_id, body)
    if direct := destination.direct:
        if direct.chat_id != destination.chat_id or destination.private:
            yield to_receiver("chat_id", direct.chat_id, body)
        if direct.message_id and (direct.message_id != destination.reply_to or destination.private):
            yield reply(direct.message_id, body)
    if destination.private and destination.chat_id and not destination.group_first:
        yield ephemeral(destination.chat_id, destination.user.open_id, content)


def reply(message_id: str, body: dict[str, str]) -> ApiCall:
    return ApiCall("POST", reply_path(message_id), {}, body)


def reply_path(message_id: str) -> str:
    return f"{MESSAGES}/{quote(message_id, safe='')}/reply"


def ephemeral(chat_id: str, open_id: str, content: Content) -> ApiCall:
    card = json.loads(as_card(content).body)
    body = {"chat_id": chat_id, "open_id": open_id, "msg_type": "interactive", "card": card}
    return ApiCall("POST", EPHEMERAL_SEND, {}, body)


def to_receiver(kind: str, receive_id: str, body: dict[str, str]) -> ApiCall:
    return ApiCall("POST", MESSAGES, {"receive_id_type": kind}, {"receive_id": receive_id, **body})


def uuid_of(key: str) -> str:
    return key if len(key) <= LONGEST_KEY else hashlib.sha256(key.encode()).hexdigest()[:LONGEST_KEY]


def sent_id(outcome: Outcome) -> str | NotSent:
    if not isinstance(outcome, Succeeded):
        return not_sent(outcome)
    data = outcome.data.get("data")
    message_id = data.get("message_id") if isinstance(data, dict) else None
    if isinstance(message_id, str) and message_id:
        return message_id
    return NotSent("an answer without a message id", retry=True, may_have_arrived=True)


async def update_card(call_as_app: CallAsApp, message_id: str, content: Content) -> NotSent | None:
    path = f"{MESSAGES}/{quote(message_id, safe='')}"
    outcome = await call_as_app(ApiCall("PATCH", path, {}, {"content": content.body}))
    return None if isinstance(outcome, Succeeded) else not_sent(outcome)


async def withdraw(call_as_app: CallAsApp, message_id: str) -> NotSent | None:
    outcome = await call_as_app(ApiCall("POST", EPHEMERAL_DELETE, {}, {"message_id": message_id}))
    if isinstance(outcome, Succeeded) or (isinstance(outcome, Refused) and outcome.code == ALREADY_WITHDRAWN):
        return None
    return not_sent(outcome)


# --- reactions -------------------------------------------------------------------------------------------

BEING_WORKED_ON = {"reaction_type": {"emoji_type": "Typing"}}
LACKS_PERMISSION, NO_SUCH_API = 230027, 404


@dataclass(frozen=True, slots=True)
class CannotReact:
    """The app may not add reactions, or the platform has none: not worth trying with the next message."""

    reason: str


async def react(call_as_app: CallAsApp, message_id: str) -> str | NotSent | CannotReact:
    """https://open.feishu.cn/document/server-docs/im-v1/message-reaction/create"""
    outcome = await call_as_app(ApiCall("POST", reactions_of(message_id), {}, BEING_WORKED_ON))
    match outcome:
        case Succeeded(data={"data": {"reaction_id": str(reaction_id)}}) if reaction_id:
            return reaction_id
        case Succeeded():
            return NotSent("an answer without a reaction id", retry=False, may_have_arrived=True)
        case AppScopeMissing() | InsufficientScope():
            return CannotReact(not_sent(outcome).reason)
        case Refused(code=code) if code in {LACKS_PERMISSION, NO_SUCH_API}:
            return CannotReact(not_sent(outcome).reason)
        case _:
            return not_sent(outcome)


async def unreact(call_as_app: CallAsApp, message_id: str, reaction_id: str) -> NotSent | None:
    path = f"{reactions_of(message_id)}/{quote(reaction_id, safe='')}"
    outcome = await call_as_app(ApiCall("DELETE", path))
    return None if isinstance(outcome, Succeeded) else not_sent(outcome)


def reactions_of(message_id: str) -> str:
    return f"{MESSAGES}/{quote(message_id, safe='')}/reactions"


def not_sent(outcome: Outcome) -> NotSent:
    """Why a message did not go out, and whether it is worth trying again."""
    match outcome:
        case Unreachable(reason=reason, may_have_arrived=arrived):
            return NotSent(reason, retry=True, may_have_arrived=arrived)
        case RateLimited(retry_after=seconds):
            return NotSent("too many requests", retry=True, retry_after=seconds, one_too_many=True)
        case AppScopeMissing(requirement=requirement) | InsufficientScope(requirement=requirement):
            needed = " and ".join(f"one of {', '.join(clause)}" for clause in requirement)
            return NotSent(f"the app lacks a scope for it: {needed}", retry=True)
        case TokenRejected(code=code):
            return NotSent(f"the platform rejects the app's token ({code})", retry=True)
        case Refused(code=code, message=message):
            kind = kind_of(code)
            return NotSent(
                f"{code} {message[:200]}".strip(),
                retry=kind in {Refusal.APP, Refusal.LATER},
                gone=kind in {Refusal.RECALLED, Refusal.GONE, Refusal.UNCHANGEABLE},
                recalled=kind is Refusal.RECALLED,
                may_have_arrived=code == BEING_SENT,
            )
        case Succeeded():
            raise AssertionError("it was sent")

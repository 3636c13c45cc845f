"""Sends, changes and takes back the bot's messages, going down a destination's alternatives."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from urllib.parse import quote

from bot.core.model import (
    ApiCall,
    AppScopeMissing,
    Content,
    Destination,
    InsufficientScope,
    NotSent,
    Outcome,
    RateLimited,
    Refused,
    Sent,
    Succeeded,
    TokenRejected,
    Unreachable,
)
from bot.lark.api import TENANT_TOKEN_REJECTED
from bot.lark.cards import as_card

CallAsApp = Callable[[ApiCall], Awaitable[Outcome]]

LONGEST_KEY = 50
"""Of `uuid`, by which the platform knows a message that it has sent within the last hour."""

GONE = frozenset(
    {
        230002,  # the bot is not in the group
        230011,  # the message was recalled
        230019,  # no such topic
        230110,  # the message was deleted
        231003,  # the message was deleted
        232009,  # the chat was dissolved
    }
)
SILENCED = frozenset({230017, 230018, 230035})
"""The group does not let the bot speak; another road may still be open."""
TOO_OLD = 230031
"""A card can be changed for 14 days."""
NO_DIRECT_MESSAGE = frozenset({230013, 230053})
"""The bot is not available to the person, or they stopped it: in a group they can still be shown something."""
BEING_SENT = 230049
APP_TROUBLE = frozenset({10003, 10014, 99991543, 99991662, 99991673}) | TENANT_TOKEN_REJECTED
"""The app's own credentials or state: once an operator has mended it, the message can go out."""
ALREADY_WITHDRAWN = 18051
NOT_THE_PLATFORM = range(300, 600)
"""An HTTP status in the place of a code: something in between has answered."""


async def send(
    call_as_app: CallAsApp, destination: Destination, content: Content, key: str
) -> Sent | NotSent:
    """Tries each way in turn; only an answer that says "not this way" leads to the next."""
    result = NotSent("nowhere to send it", retry=False)
    for way in ways(destination, content, uuid_of(key)):
        outcome = await call_as_app(way)
        is_ephemeral = way.path == EPHEMERAL_SEND
        result_or_id = sent_id(outcome)
        if isinstance(result_or_id, str):
            return Sent(result_or_id, is_ephemeral)
        result = result_or_id
        if is_ephemeral and destination.group_first and cannot_be_ephemeral(outcome, result):
            continue
        if not isinstance(outcome, Refused) or outcome.code not in GONE | SILENCED | NO_DIRECT_MESSAGE:
            break
    return result


def cannot_be_ephemeral(outcome: Outcome, result: NotSent) -> bool:
    """Whether the group, or this app, has no messages for one member alone: any refusal that is not for now."""
    return isinstance(outcome, AppScopeMissing) or (isinstance(outcome, Refused) and not result.retry)


MESSAGES = "/open-apis/im/v1/messages"
EPHEMERAL_SEND = "/open-apis/ephemeral/v1/send"
EPHEMERAL_DELETE = "/open-apis/ephemeral/v1/delete"


def ways(destination: Destination, content: Content, uuid: str) -> Iterator[ApiCall]:
    """A reply, else the chat, else the person alone; for their eyes only, the person and then a card that only
    they see in the group, or the other way round."""
    body = {"msg_type": content.kind, "content": content.body, "uuid": uuid}
    if destination.private and destination.chat_id and destination.group_first:
        yield ephemeral(destination.chat_id, destination.user.open_id, content)
    if not destination.private:
        if destination.reply_to:
            yield ApiCall("POST", f"{MESSAGES}/{quote(destination.reply_to, safe='')}/reply", {}, body)
        if destination.chat_id:
            yield to_receiver("chat_id", destination.chat_id, body)
    yield to_receiver("open_id", destination.user.open_id, body)
    if destination.private and destination.chat_id and not destination.group_first:
        yield ephemeral(destination.chat_id, destination.user.open_id, content)


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
        case AppScopeMissing(alternatives=scopes) | InsufficientScope(alternatives=scopes):
            return NotSent(f"the app lacks a scope for it: one of {', '.join(scopes)}", retry=True)
        case TokenRejected(code=code):
            return NotSent(f"the platform rejects the app's token ({code})", retry=True)
        case Refused(code=code, message=message):
            return NotSent(
                f"{code} {message[:200]}".strip(),
                retry=code in APP_TROUBLE or code == BEING_SENT or code in NOT_THE_PLATFORM,
                gone=code in GONE or code == TOO_OLD,
                may_have_arrived=code == BEING_SENT,
            )
        case Succeeded():
            raise AssertionError("it was sent")

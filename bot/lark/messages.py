"""Sends, updates and deletes messages. A message that is refused on one route is sent on the next."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from enum import Enum, auto
from urllib.parse import quote

from bot.core.api import (
    ApiCall,
    AppScopeMissing,
    Outcome,
    Refused,
    Succeeded,
)
from bot.core.messages import Content, Destination, NotSent, Sent
from bot.lark.api import CallAsApp
from bot.lark.outcomes import TENANT_TOKEN_REJECTED
from bot.lark.posts import as_card
from bot.transport.sending import not_sent_because

MAX_UUID_LENGTH = 50
"""Length of `uuid`, by which the platform recognizes a message that it has sent within the last hour."""


class SendRefusal(Enum):
    """What a refusal means for a retry, and for other routes."""

    CONTENT = auto()
    """The content of the message is refused: every route will refuse it."""
    RECALLED = auto()
    """The message to reply to, or to update, was recalled."""
    GONE = auto()
    """The message, chat or topic does not exist, or the bot is not in it."""
    UNCHANGEABLE = auto()
    """The card can no longer be updated."""
    APP = auto()
    """The app's credentials or state are refused: the message can be sent once an operator has fixed that."""
    LATER = auto()
    """Temporary: the same request may succeed in a moment."""
    ROUTE = auto()
    """Anything else, including unlisted codes: this route is refused, and another may be accepted."""


REFUSALS: dict[int, SendRefusal] = {
    230022: SendRefusal.CONTENT,  # sensitive words
    230025: SendRefusal.CONTENT,  # too long
    230028: SendRefusal.CONTENT,  # the organization's audit
    230055: SendRefusal.CONTENT,  # a file of another type
    230099: SendRefusal.CONTENT,  # a card that cannot be created
    230011: SendRefusal.RECALLED,
    230002: SendRefusal.GONE,  # the bot is not in the group
    230019: SendRefusal.GONE,  # no such topic
    230110: SendRefusal.GONE,  # deleted
    231003: SendRefusal.GONE,  # deleted
    232009: SendRefusal.GONE,  # dissolved
    230031: SendRefusal.UNCHANGEABLE,  # after 14 days
    10003: SendRefusal.APP,
    10014: SendRefusal.APP,
    99991543: SendRefusal.APP,
    99991662: SendRefusal.APP,
    99991673: SendRefusal.APP,
    **dict.fromkeys(TENANT_TOKEN_REJECTED, SendRefusal.APP),
    230049: SendRefusal.LATER,  # the same message is being sent
}

BEING_SENT = 230049

ALREADY_DELETED = 18051

HTTP_STATUSES = range(300, 600)
"""HTTP statuses. They stand in for a code in the response of a proxy."""


def refusal_of(code: int) -> SendRefusal:
    return SendRefusal.LATER if code in HTTP_STATUSES else REFUSALS.get(code, SendRefusal.ROUTE)


async def send(
    call_as_app: CallAsApp, destination: Destination, content: Content, key: str
) -> Sent | NotSent:
    """Send a message on the first route that accepts it. `key` identifies the message to the platform.

    Only a refusal of the route itself leads to the next route. After any other outcome the message may have arrived, may
    arrive on a retry, or would be refused on every route.
    """
    refused: NotSent | None = None
    for route in routes(destination, content, uuid_of(key)):
        outcome = await call_as_app(route)
        result = sent_id(outcome)
        if isinstance(result, str):
            return Sent(result, ephemeral=route.path == EPHEMERAL_SEND)
        if not is_closed(route, outcome, destination):
            return result
        refused = refused or replace(result, retry=False, gone=False, recalled=False, no_route=True)
    return refused or NotSent("nowhere to send it", retry=False, no_route=True)


def is_closed(route: ApiCall, outcome: Outcome, destination: Destination) -> bool:
    """Whether an outcome rules out this route, but not the others."""
    match outcome:
        case Refused(code=code):
            is_reply = route.path == reply_path(destination.reply_to or "")
            if refusal_of(code) is SendRefusal.RECALLED and is_reply:
                return not destination.unless_recalled
            return refusal_of(code) in {SendRefusal.ROUTE, SendRefusal.GONE, SendRefusal.RECALLED}
        case AppScopeMissing():
            # Ephemeral messages need additional scopes.
            return route.path == EPHEMERAL_SEND
        case _:
            return False


MESSAGES = "/open-apis/im/v1/messages"

EPHEMERAL_SEND = "/open-apis/ephemeral/v1/send"

EPHEMERAL_DELETE = "/open-apis/ephemeral/v1/delete"


def routes(destination: Destination, content: Content, uuid: str) -> Iterator[ApiCall]:
    """Yield the requests that send a message, in order of preference.

    First a reply, then the chat, then the user directly: by open_id, by the id of the direct chat, by a reply there. A
    private message uses only the direct routes, with an ephemeral card in the group before or after them.
    """
    body = {"msg_type": content.kind, "content": content.body, "uuid": uuid}
    if destination.private and destination.chat_id and destination.group_first:
        yield send_ephemeral(destination.chat_id, destination.user.open_id, content)
    if not destination.private:
        if destination.reply_to:
            yield reply_to(destination.reply_to, body)
        if destination.chat_id:
            yield send_to("chat_id", destination.chat_id, body)
    yield send_to("open_id", destination.user.open_id, body)
    if direct := destination.direct:
        if direct.chat_id != destination.chat_id or destination.private:
            yield send_to("chat_id", direct.chat_id, body)
        if direct.message_id and (direct.message_id != destination.reply_to or destination.private):
            yield reply_to(direct.message_id, body)
    if destination.private and destination.chat_id and not destination.group_first:
        yield send_ephemeral(destination.chat_id, destination.user.open_id, content)


def reply_to(message_id: str, body: dict[str, str]) -> ApiCall:
    return ApiCall("POST", reply_path(message_id), {}, body)


def reply_path(message_id: str) -> str:
    return f"{MESSAGES}/{quote(message_id, safe='')}/reply"


def send_ephemeral(chat_id: str, open_id: str, content: Content) -> ApiCall:
    card = json.loads(as_card(content).body)
    body = {"chat_id": chat_id, "open_id": open_id, "msg_type": "interactive", "card": card}
    return ApiCall("POST", EPHEMERAL_SEND, {}, body)


def send_to(kind: str, receive_id: str, body: dict[str, str]) -> ApiCall:
    return ApiCall("POST", MESSAGES, {"receive_id_type": kind}, {"receive_id": receive_id, **body})


def uuid_of(key: str) -> str:
    return key if len(key) <= MAX_UUID_LENGTH else hashlib.sha256(key.encode()).hexdigest()[:MAX_UUID_LENGTH]


def sent_id(outcome: Outcome) -> str | NotSent:
    if not isinstance(outcome, Succeeded):
        return not_sent(outcome)
    data = outcome.data.get("data")
    message_id = data.get("message_id") if isinstance(data, dict) else None
    if isinstance(message_id, str) and message_id:
        return message_id
    return NotSent("a response without a message id", retry=True, may_have_arrived=True)


async def update_card(call_as_app: CallAsApp, message_id: str, content: Content) -> NotSent | None:
    path = f"{MESSAGES}/{quote(message_id, safe='')}"
    outcome = await call_as_app(ApiCall("PATCH", path, {}, {"content": content.body}))
    return None if isinstance(outcome, Succeeded) else not_sent(outcome)


async def delete_ephemeral(call_as_app: CallAsApp, message_id: str) -> NotSent | None:
    outcome = await call_as_app(ApiCall("POST", EPHEMERAL_DELETE, {}, {"message_id": message_id}))
    if isinstance(outcome, Succeeded) or (isinstance(outcome, Refused) and outcome.code == ALREADY_DELETED):
        return None
    return not_sent(outcome)


def not_sent(outcome: Outcome) -> NotSent:
    """Return why a message was not sent, and whether to retry."""
    match outcome:
        case Refused(code=code, message=message):
            kind = refusal_of(code)
            return NotSent(
                f"{code} {message[:200]}".strip(),
                retry=kind in {SendRefusal.APP, SendRefusal.LATER},
                gone=kind in {SendRefusal.RECALLED, SendRefusal.GONE, SendRefusal.UNCHANGEABLE},
                recalled=kind is SendRefusal.RECALLED,
                may_have_arrived=code == BEING_SENT,
            )
        case Succeeded():
            raise AssertionError("it was sent")
        case _:
            return not_sent_because(outcome)

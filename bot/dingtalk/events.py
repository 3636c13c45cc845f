"""Parses the platform's messages and card clicks into the events of `core.events`. No I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bot.core.api import Json
from bot.core.event_fields import (
    Fields,
    MalformedField,
    is_id,
    optional,
    optional_list,
    parse_milliseconds,
    required,
    required_object,
)
from bot.core.events import CardClicked, Ignored, MessageReceived, Unauthentic
from bot.core.language import Language, is_chinese
from bot.core.messages import Chat
from bot.core.people import UserKey
from bot.core.secrets import Secret
from bot.core.strict_json import decode
from bot.core.unseen_characters import tidy
from bot.dingtalk.conversations import chat_id_of

MAX_URL_LENGTH = 2000


@dataclass(frozen=True, slots=True)
class Recipient:
    """The app that receives events."""

    app_id: str
    corp_id: str


@dataclass(frozen=True, slots=True)
class ReplySession:
    """Where replies to one message can be posted for a limited time."""

    url: Secret
    """Anyone who has it can post to the conversation."""
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    event: MessageReceived
    session: ReplySession | None
    sender_name: str | None
    unnamed_member: bool
    """Whether the sender is in the bot's organization and yet not named, which means that the app is not published."""


def parse_message(
    recipient: Recipient, event_id: str, data: Fields
) -> ReceivedMessage | Ignored | Unauthentic:
    """Parse a message to the bot. `event_id` identifies its delivery."""
    try:
        return read_message(recipient, event_id, data)
    except MalformedField as problem:
        return malformed(str(problem))


def malformed(field: str) -> Unauthentic:
    return Unauthentic(f"malformed field: {field}", 400)


def read_message(recipient: Recipient, event_id: str, data: Fields) -> ReceivedMessage | Ignored:
    group = required(data, "conversationType") != "1"
    if group and data.get("isInAtList") is False:
        return Ignored(event_id, "does not mention the bot")
    corp_id, staff_id = optional(data, "senderCorpId"), optional(data, "senderStaffId")
    is_member = corp_id in {None, recipient.corp_id}
    sender = staff_id if is_member else None
    text = message_text(data)
    name = data.get("senderNick")
    message = MessageReceived(
        event_id,
        user_of(recipient, corp_id or recipient.corp_id, sender or required(data, "senderId")),
        Chat(chat_id_of(required(data, "conversationId"), group=group), "group" if group else "direct"),
        required(data, "msgId"),
        text,
        parse_milliseconds(data.get("createAt"), "createAt"),
        language_of_sender(text, name),
        foreign=sender is None,
        union_id=optional(data, "senderUnionId"),
    )
    return ReceivedMessage(
        message,
        reply_session(data),
        name if isinstance(name, str) else None,
        unnamed_member=is_member and staff_id is None,
    )


def language_of_sender(text: str | None, name: Any) -> Language | None:
    """Return Chinese if the message or its sender's name is. The platform does not tell the client's language."""
    return "zh" if is_chinese(text) or (isinstance(name, str) and is_chinese(name)) else None


def user_of(recipient: Recipient, corp_id: str, staff_id: str) -> UserKey:
    # The text form of a UserKey separates its parts by colons.
    if ":" in corp_id:
        raise MalformedField("senderCorpId")
    return UserKey("dingtalk", recipient.app_id, corp_id, staff_id)


def reply_session(data: Fields) -> ReplySession | None:
    url, expires_at = data.get("sessionWebhook"), data.get("sessionWebhookExpiredTime")
    if not isinstance(url, str) or not 0 < len(url) <= MAX_URL_LENGTH or expires_at is None:
        return None
    try:
        return ReplySession(Secret(url), parse_milliseconds(expires_at, "sessionWebhookExpiredTime"))
    except MalformedField:
        return None  # it can be answered in another way


def message_text(data: Fields) -> str | None:
    """Return the text of a message, or None if it has none. The platform has removed the mention of the bot."""
    match required(data, "msgtype"):
        case "text":
            text = required_object(data, "text").get("content")
            if type(text) is not str:
                raise MalformedField("content")
        case "richText":
            parts = optional_list(required_object(data, "content"), "richText")
            text = "".join(each["text"] for each in parts if is_text(each))
            if not text.strip():
                return None
        case _:
            return None
    return tidy(text).replace("\u00a0", " ").strip()


def is_text(part: Any) -> bool:
    return isinstance(part, dict) and isinstance(part.get("text"), str)


# --- clicks --------------------------------------------------------------------------------------------


def parse_click(recipient: Recipient, event_id: str, data: Fields) -> CardClicked | Unauthentic:
    """Parse a click on a card. The control is named by its parameters, or by its id: `not_now:SUBJECT`."""
    try:
        return read_click(recipient, event_id, data)
    except MalformedField as problem:
        return malformed(str(problem))


def read_click(recipient: Recipient, event_id: str, data: Fields) -> CardClicked:
    control = child(decoded(data.get("content")), "cardPrivateData")
    parameters, ids = child(control, "params"), control.get("actionIds")
    named = next((each for each in ids if isinstance(each, str)), "") if isinstance(ids, list) else ""
    action, _, subject = named.partition(":")
    chosen = parameters.get("action")
    if isinstance(chosen, str) and chosen:
        action, _, of = chosen.partition(":")
        subject = str(parameters.get("subject") or of)
    if not is_id(action):
        action = ""
    return CardClicked(
        event_id,
        user_of(recipient, optional(data, "corpId") or recipient.corp_id, required(data, "userId")),
        optional(data, "outTrackId"),
        optional(data, "spaceId"),
        action,
        subject if is_id(subject) else None,
        None,
    )


def decoded(text: Any) -> Json:
    if not isinstance(text, str):
        return text
    try:
        return decode(text)
    except (ValueError, RecursionError):
        return None


def child(value: Json, name: str) -> Mapping[str, Json]:
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def as_json(fields: Fields) -> str:
    return json.dumps(fields, ensure_ascii=False)

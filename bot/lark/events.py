"""Parses events of the platform into those of `core.events`. No I/O."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bot.core.event_fields import (
    MAX_ID_LENGTH,
    Fields,
    MalformedField,
    optional,
    optional_list,
    parse_milliseconds,
    required,
    required_object,
)
from bot.core.events import (
    AppStopped,
    CardClicked,
    ChatEntered,
    GrantRevoked,
    Ignored,
    MessageRecalled,
    MessageReceived,
    Received,
    Unauthentic,
    UserDeleted,
)
from bot.core.language import Language
from bot.core.messages import Chat
from bot.core.people import UserKey
from bot.core.unseen_characters import one_line
from bot.lark.message_text import mentioned_open_id, message_text, parse_mentions


@dataclass(frozen=True, slots=True)
class Recipient:
    """The app that receives events."""

    app_id: str
    bot_open_id: str | None
    """None until it is known. Until then group messages are rejected, so that the platform redelivers them."""


Header = Mapping[str, Any]


def parse_event(recipient: Recipient, payload: Mapping[str, Any]) -> Received:
    """Parse the event in an authentic payload."""
    header = payload.get("header")
    try:
        if payload.get("schema") != "2.0" or not isinstance(header, dict):
            return parse_v1_event(recipient, payload) if "uuid" in payload else malformed("header")
        if header.get("app_id") != recipient.app_id:
            return Unauthentic("for another app", 403)
        event_id, event_type = required(header, "event_id"), required(header, "event_type")
        parser = PARSERS.get(event_type)
        if parser is None:
            return Ignored(event_id, f"an event of type {event_type}")
        return parser(recipient, event_id, header, required_object(payload, "event"))
    except MalformedField as problem:
        return malformed(str(problem))


def malformed(field: str) -> Unauthentic:
    return Unauthentic(f"malformed field: {field}", 400)


def user_of(recipient: Recipient, tenant_key: str, open_id: str) -> UserKey:
    # The text form of a UserKey separates its parts with colons.
    if ":" in tenant_key:
        raise MalformedField("tenant_key")
    return UserKey("lark", recipient.app_id, tenant_key, open_id)


def parse_message_received(
    recipient: Recipient, event_id: str, header: Header, event: Fields
) -> MessageReceived | Ignored | Unauthentic:
    sender, message = required_object(event, "sender"), required_object(event, "message")
    if sender.get("sender_type") != "user":
        return Ignored(event_id, "not from a person")
    direct = required(message, "chat_type") == "p2p"
    mentions = optional_list(message, "mentions")
    if not direct:
        if recipient.bot_open_id is None:
            return Unauthentic("the bot does not know its own open_id yet", 503)
        if recipient.bot_open_id not in map(mentioned_open_id, mentions):
            return Ignored(event_id, "does not mention the bot")
    thread_id = optional(message, "thread_id") or (optional(message, "root_id") if direct else None)
    home = required(header, "tenant_key")
    tenant_key = optional(sender, "tenant_key") or home
    sender_id = required_object(sender, "sender_id")
    language = language_of(message.get("user_agent"))
    text, names = message_text(message, parse_mentions(mentions, recipient.bot_open_id), language)
    return MessageReceived(
        event_id,
        user_of(recipient, tenant_key, required(sender_id, "open_id")),
        Chat(required(message, "chat_id"), "direct" if direct else "group", thread_id),
        required(message, "message_id"),
        text,
        parse_milliseconds(message.get("create_time"), "create_time"),
        language,
        tenant_key != home,
        optional(sender_id, "union_id"),
        names,
    )


def language_of(user_agent: Any) -> Language | None:
    """Return the language of the last locale in a user agent: the client appends its own locale to the browser's."""
    if not isinstance(user_agent, str):
        return None
    _, found, locale = user_agent.rpartition("Locale/")
    if not found:
        return None
    return "zh" if locale[:2].lower() == "zh" else "en"


def parse_chat_entered(recipient: Recipient, event_id: str, header: Header, event: Fields) -> ChatEntered:
    open_id = required(required_object(event, "operator_id"), "open_id")
    return ChatEntered(
        event_id,
        user_of(recipient, required(header, "tenant_key"), open_id),
        Chat(required(event, "chat_id"), "direct"),
        first=optional(event, "last_message_id") is None,
    )


def parse_message_recalled(
    recipient: Recipient, event_id: str, _header: Header, event: Fields
) -> MessageRecalled:
    return MessageRecalled(event_id, "lark", recipient.app_id, required(event, "message_id"))


TIME_ZONE = re.compile(r"[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+){0,2}")


def parse_card_clicked(recipient: Recipient, event_id: str, header: Header, event: Fields) -> CardClicked:
    operator, action = required_object(event, "operator"), required_object(event, "action")
    context = event.get("context")
    where = context if isinstance(context, dict) else {}
    value, zone = action.get("value"), action.get("timezone")
    control = value if type(value) is dict else {}
    tenant_key = optional(operator, "tenant_key") or required(header, "tenant_key")
    return CardClicked(
        event_id,
        user_of(recipient, tenant_key, required(operator, "open_id")),
        optional(where, "open_message_id"),
        optional(where, "open_chat_id"),
        optional(control, "action") or "",
        optional(control, "subject"),
        zone if isinstance(zone, str) and len(zone) <= 64 and TIME_ZONE.fullmatch(zone) else None,
    )


def parse_grant_revoked(recipient: Recipient, event_id: str, header: Header, event: Fields) -> GrantRevoked:
    return GrantRevoked(
        event_id,
        user_of(recipient, required(header, "tenant_key"), required(event, "open_id")),
        parse_milliseconds(header.get("create_time"), "create_time"),
        revoke_reason(event),
    )


def revoke_reason(event: Fields) -> str:
    reason = event.get("revoke_reason")
    return one_line(reason, MAX_ID_LENGTH) if isinstance(reason, str) else ""


def parse_user_deleted(recipient: Recipient, event_id: str, header: Header, event: Fields) -> UserDeleted:
    """https://open.feishu.cn/document/server-docs/contact-v3/user/events/deleted"""
    open_id = required(required_object(event, "object"), "open_id")
    return UserDeleted(event_id, user_of(recipient, required(header, "tenant_key"), open_id))


PARSERS: Mapping[str, Callable[[Recipient, str, Header, Fields], Received]] = {
    "im.message.receive_v1": parse_message_received,
    "im.message.recalled_v1": parse_message_recalled,
    "im.chat.access_event.bot_p2p_chat_entered_v1": parse_chat_entered,
    "card.action.trigger": parse_card_clicked,
    "auth.user_access_token.revoked_v4": parse_grant_revoked,
    "contact.user.deleted_v3": parse_user_deleted,
}


def parse_v1_event(recipient: Recipient, payload: Mapping[str, Any]) -> Received:
    """Parse an event of schema 1.0. Only those that stop the app in an organization are used.

    Some of them are not documented to contain the app's id.
    https://open.feishu.cn/document/server-docs/application-v6/event/app-uninstalled and …/app-enabled-or-disabled
    """
    event_id, event = required(payload, "uuid"), required_object(payload, "event")
    if event.get("app_id", recipient.app_id) != recipient.app_id:
        return Unauthentic("for another app", 403)
    kind, status = event.get("type"), event.get("status")
    if kind == "app_uninstalled" or (kind == "app_status_change" and status in STOPPED_STATUSES):
        tenant_key = required(event, "tenant_key")
        return AppStopped(event_id, "lark", recipient.app_id, tenant_key, parse_v1_time(payload.get("ts")))
    return Ignored(event_id, "an event of the old schema")


def parse_v1_time(value: Any) -> datetime | None:
    """Return the time of an event of schema 1.0, which is a text of seconds with a fraction; None if it is invalid."""
    try:
        return datetime.fromtimestamp(float(value), UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return None


STOPPED_STATUSES = frozenset({"stop_by_tenant", "stop_by_platform"})

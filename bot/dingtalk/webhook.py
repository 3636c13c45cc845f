"""Verifies and parses webhook requests, and the frames of the long connection. No I/O.

The body of a webhook is neither signed nor encrypted: the signature only proves that the sender knows the secret.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

from bot.core.events import NOT_SIGNED, Event, Ignored, Unauthentic
from bot.core.secrets import Secret
from bot.dingtalk.events import ReceivedMessage, Recipient, parse_click, parse_message
from bot.dingtalk.frames import CARDS, EVENT, MESSAGES, Frame, parse_object

MAX_AGE = 3600
"""Seconds after which a signed timestamp is stale."""

MAX_CLOCK_SKEW = 5 * 60
"""Seconds that a signed timestamp may be in the future."""

SIGN, TIMESTAMP = "sign", "timestamp"

CARD_SIGN, CARD_TIMESTAMP = "x-ddpaas-signature", "x-ddpaas-signature-timestamp"

Parsed = ReceivedMessage | Event | Unauthentic


class WebhookKeys:
    """The secrets that requests are signed with."""

    def __init__(self, app_secret: Secret) -> None:
        self._app_secret = app_secret.reveal().encode()

    @property
    def card_secret(self) -> Secret:
        """The secret that the bot registers for card callbacks. It is derived, so that each replica has the same."""
        return Secret(hmac.new(self._app_secret, b"card callbacks", hashlib.sha256).hexdigest())

    def has_signed_message(self, headers: Mapping[str, str]) -> bool:
        timestamp = as_bytes(headers.get(TIMESTAMP, ""))
        return matches(headers.get(SIGN, ""), self._app_secret, timestamp + b"\n" + self._app_secret)

    def has_signed_click(self, headers: Mapping[str, str]) -> bool:
        timestamp = as_bytes(headers.get(CARD_TIMESTAMP, ""))
        return matches(headers.get(CARD_SIGN, ""), self.card_secret.reveal().encode(), timestamp)


def as_bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")


def matches(signature: str, key: bytes, message: bytes) -> bool:
    """Whether a signature is right, in constant time."""
    try:
        given = binascii.a2b_base64(as_bytes(signature))
    except binascii.Error:
        return False
    return hmac.compare_digest(given, hmac.digest(key, message, "sha256"))


def signature_of(key: str, message: str) -> str:
    return base64.b64encode(hmac.digest(key.encode(), message.encode(), "sha256")).decode()


def receive_message(
    keys: WebhookKeys, recipient: Recipient, headers: Mapping[str, str], body: bytes, now: float
) -> Parsed:
    """Parse a webhook request with a message. Never raises. The caller limits the size of the body.

    The order of checks is: signature, age, fields.
    """
    data = authenticated(
        keys.has_signed_message(headers), SIGN in headers, headers.get(TIMESTAMP, ""), body, now
    )
    if isinstance(data, Unauthentic):
        return data
    return parse_message(recipient, f"webhook-{str(data.get('msgId'))[:200]}", data)


def receive_click(
    keys: WebhookKeys, recipient: Recipient, headers: Mapping[str, str], body: bytes, now: float
) -> Parsed:
    """Like `receive_message`, for a click. A click has no id, so one is made from its timestamp and body."""
    timestamp = headers.get(CARD_TIMESTAMP, "")
    data = authenticated(keys.has_signed_click(headers), CARD_SIGN in headers, timestamp, body, now)
    if isinstance(data, Unauthentic):
        return data
    return parse_click(recipient, f"click-{timestamp}-{hashlib.sha256(body).hexdigest()[:32]}", data)


def authenticated(
    matches_signature: bool, is_signed: bool, timestamp: str, body: bytes, now: float
) -> dict[str, Any] | Unauthentic:
    """Return the JSON object in the body of an authentic request, else why the request is rejected."""
    if not matches_signature:
        return Unauthentic("the signature does not match" if is_signed else NOT_SIGNED, 401)
    if not is_fresh(timestamp, now):
        return Unauthentic("the signed timestamp is stale or ahead", 401)
    try:
        data = parse_object(body.decode())
    except UnicodeDecodeError:
        data = None
    return data or Unauthentic("signed, but not a JSON object", 400)


def is_fresh(timestamp: str, now: float) -> bool:
    """Whether a timestamp in milliseconds is at most `MAX_AGE` old and at most `MAX_CLOCK_SKEW` in the future."""
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 16):
        return False
    return -MAX_CLOCK_SKEW <= now - int(timestamp) / 1000 <= MAX_AGE


def receive_frame(recipient: Recipient, frame: Frame) -> Parsed:
    """Parse a frame of the long connection, which the connection itself authenticates."""
    if not frame.message_id:
        return Unauthentic("a frame without an id", 400)
    if frame.type == EVENT:
        return Ignored(frame.message_id, f"an event of type {frame.topic}")
    data = parse_object(frame.data)
    if data is None:
        return Unauthentic("data that is not a JSON object", 400)
    match frame.topic:
        case topic if topic == MESSAGES:
            return parse_message(recipient, frame.message_id, data)
        case topic if topic == CARDS:
            return parse_click(recipient, frame.message_id, data)
        case _:
            return Ignored(frame.message_id, "a callback that was not subscribed to")

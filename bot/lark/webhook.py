"""Verifies, decrypts and parses webhook requests, and payloads of the long connection. No I/O.

The order of checks is: signature, age, decryption, token, app, fields. An unsigned body is decrypted only to find a URL
verification; every other unsigned request gets the same response, regardless of what else is wrong with it.
https://open.feishu.cn/document/event-subscription-guide/event-subscriptions/
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from bot.core.event_fields import is_id
from bot.core.events import NOT_SIGNED, Received, Unauthentic, UrlVerification
from bot.core.secrets import Secret
from bot.core.strict_json import decode
from bot.lark.events import Recipient, parse_event
from bot.transport.json_limits import is_costly

MAX_AGE = 8 * 3600
"""Seconds. The platform redelivers for about seven hours, possibly with the first timestamp."""

MAX_CLOCK_SKEW = 5 * 60
"""Seconds."""

MAX_VERIFICATION_BYTES = 8 * 1024
"""Bytes of an unsigned request. Anyone can send one, so a larger one is not worth decrypting."""

BLOCK_BITS = 128

SIGNATURE, TIMESTAMP, NONCE = "X-Lark-Signature", "X-Lark-Request-Timestamp", "X-Lark-Request-Nonce"


class WebhookKeys:
    """The secrets of the event subscription."""

    def __init__(self, encrypt_key: Secret | None, verification_token: Secret | None) -> None:
        key = encrypt_key.reveal().encode() if encrypt_key else b""
        self._encrypt_key = key
        self._cipher = algorithms.AES(hashlib.sha256(key).digest())
        self._padding = padding.PKCS7(BLOCK_BITS)
        self._token = verification_token.reveal().encode() if verification_token else None

    @property
    def are_set(self) -> bool:
        return bool(self._encrypt_key)

    def is_signed(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Whether the signature matches the body as received, still encrypted."""
        return matches(headers, hashlib.sha256(signed_prefix(headers) + self._encrypt_key), body)

    def is_signed_as_card_callback(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Whether the request is signed as old card callbacks are: SHA-1, with the verification token."""
        if self._token is None:
            return re.fullmatch(r"[0-9a-f]{40}", headers.get(SIGNATURE, "")) is not None
        digest = hashlib.sha1(signed_prefix(headers) + self._token, usedforsecurity=False)
        return matches(headers, digest, body)

    def decrypt(self, body: bytes) -> bytes | None:
        """Return the plain text of `{"encrypt": …}`, or None if it cannot be decrypted."""
        try:
            encrypted = binascii.a2b_base64(decode(body.decode())["encrypt"])
            iv, ciphertext = encrypted[:16], encrypted[16:]
            padded = Cipher(self._cipher, modes.CBC(iv)).decryptor().update(ciphertext)
            unpadder = self._padding.unpadder()
            return unpadder.update(padded) + unpadder.finalize()
        except (ValueError, KeyError, TypeError, RecursionError):
            return None

    def is_token(self, value: Any) -> bool:
        """Whether a value is the verification token. True if none is configured."""
        if self._token is None:
            return True
        return isinstance(value, str) and hmac.compare_digest(
            value.encode(errors="surrogatepass"), self._token
        )


def signed_prefix(headers: Mapping[str, str]) -> bytes:
    return (headers.get(TIMESTAMP, "") + headers.get(NONCE, "")).encode(errors="surrogateescape")


def matches(headers: Mapping[str, str], digest: hashlib._Hash, body: bytes) -> bool:
    """Whether the signature is the digest after the body has been added to it."""
    signature = headers.get(SIGNATURE, "")
    digest.update(body)
    return signature.isascii() and hmac.compare_digest(digest.hexdigest(), signature)


def receive(
    keys: WebhookKeys, recipient: Recipient, headers: Mapping[str, str], body: bytes, now: float
) -> Received:
    """Parse one webhook request. Never raises. The caller limits the size of the body."""
    if not keys.are_set:
        return Unauthentic("no encrypt key is configured", 401)
    if SIGNATURE not in headers:
        return receive_unsigned(keys, body)
    if not keys.is_signed(headers, body):
        return Unauthentic("the signature does not match", 401, configuration_advice(keys, headers, body))
    if not is_fresh(headers.get(TIMESTAMP, ""), now):
        return Unauthentic("the signed timestamp is stale or ahead", 401)
    plain = keys.decrypt(body)
    payload = parse_payload(plain) if plain is not None else None
    if payload is None:
        return Unauthentic("signed, but not an encrypted JSON object", 400)
    if payload.get("type") == "url_verification":
        return verify_url(keys, payload)
    header = payload.get("header")
    if not keys.is_token(header.get("token") if isinstance(header, dict) else payload.get("token")):
        return Unauthentic("the verification token does not match", 401)
    return parse_event(recipient, payload)


def receive_unsigned(keys: WebhookKeys, body: bytes) -> UrlVerification | Unauthentic:
    """Parse an unsigned request. Only URL verification may be unsigned, because it changes nothing."""
    plain = keys.decrypt(body) if len(body) <= MAX_VERIFICATION_BYTES else None
    payload = parse_payload(plain) if plain is not None else None
    if payload is None or payload.get("type") != "url_verification":
        return Unauthentic(NOT_SIGNED, 401, configuration_advice(keys, {}, body))
    return verify_url(keys, payload)


def verify_url(keys: WebhookKeys, payload: Mapping[str, Any]) -> UrlVerification | Unauthentic:
    """Parse a URL verification request (`url_verification`)."""
    value = payload.get("challenge")
    if not keys.is_token(payload.get("token")) or not is_id(value):
        return Unauthentic(NOT_SIGNED, 401)
    return UrlVerification({"challenge": value})


OLD_CARD_CALLBACK = (
    "The developer console sends the old card callback, which is not accepted. There, under Events & Callbacks > "
    "Callback Configuration, set the request address, add the callback card.action.trigger, and remove the message card "
    "request URL of the bot's old configuration"
)

NO_ENCRYPTION = (
    "The developer console sends events without encryption, which are not accepted. Set an Encrypt Key there, under "
    "Events & Callbacks > Encryption Strategy, and the same as LARK_ENCRYPT_KEY here"
)


def configuration_advice(keys: WebhookKeys, headers: Mapping[str, str], body: bytes) -> str:
    """Return what to change in the developer console if its configuration is why a request is rejected, else "".

    If a verification token is configured, senders that do not know it get no advice.
    """
    if keys.is_signed_as_card_callback(headers, body):
        return OLD_CARD_CALLBACK
    payload = parse_payload(body) if len(body) <= MAX_VERIFICATION_BYTES else None
    if payload is None:
        return ""
    header = payload.get("header")
    token = header.get("token") if isinstance(header, dict) else payload.get("token")
    is_event = isinstance(header, dict) or "uuid" in payload or payload.get("type") == "url_verification"
    return NO_ENCRYPTION if is_event and keys.is_token(token) else ""


def is_fresh(timestamp: str, now: float) -> bool:
    """Whether a signed timestamp, in seconds, is recent enough."""
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        return False
    return -MAX_CLOCK_SKEW <= now - int(timestamp) <= MAX_AGE


def receive_over_connection(keys: WebhookKeys, recipient: Recipient, payload: bytes) -> Received:
    """Parse one payload of the long connection, which is neither signed nor encrypted.

    The platform leaves the verification token empty. A payload with a wrong token is not from the platform.
    """
    parsed = parse_payload(payload)
    if parsed is None:
        return Unauthentic("not a JSON object", 400)
    header = parsed.get("header")
    for fields in (parsed, header if isinstance(header, dict) else {}):
        if fields.get("token") not in (None, "") and not keys.is_token(fields["token"]):
            return Unauthentic("the verification token does not match", 401)
    return parse_event(recipient, parsed)


def parse_payload(text: bytes) -> dict[str, Any] | None:
    """Return the JSON object, or None if it is anything else, repeats a name, or is costly to parse."""
    if is_costly(text):
        return None
    try:
        parsed = decode(text.decode())
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None

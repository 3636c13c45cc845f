"""Verifies, decrypts and parses webhook requests. No I/O."""

from __future__ import annotations

import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from bot.core.events import Received, Unauthentic, UrlVerification
from bot.core.secrets import Secret
from bot.core.strict_json import decode
from bot.lark.event_fields import is_id
from bot.lark.events import Recipient, parse_event
from bot.lark.json_limits import is_costly

MAX_AGE = 8 * 3600
"""Seconds: the platform redelivers for some seven hours, perhaps with the first timestamp."""


MAX_CLOCK_SKEW = 5 * 60


BLOCK = 16


MAX_VERIFICATION_BYTES = 8 * 1024
"""Bytes of a check of the address. Anybody can send one, so that it is not worth decrypting a larger one."""


class WebhookKeys:
    """The secrets of the event subscription."""

    def __init__(self, encrypt_key: Secret | None, verification_token: Secret | None) -> None:
        key = encrypt_key.reveal().encode() if encrypt_key else b""
        self._encrypt_key = key
        self._blocks = Cipher(algorithms.AES(hashlib.sha256(key).digest()), modes.ECB()).decryptor()  # noqa: S305
        self._token = verification_token.reveal().encode() if verification_token else None

    def is_signed(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Whether the signature fits the body as it was received, still encrypted."""
        signature = headers.get("X-Lark-Signature", "")
        signed = headers.get("X-Lark-Request-Timestamp", "") + headers.get("X-Lark-Request-Nonce", "")
        digest = hashlib.sha256(signed.encode(errors="surrogateescape") + self._encrypt_key)
        digest.update(body)
        return signature.isascii() and hmac.compare_digest(digest.hexdigest(), signature)

    def decrypt(self, body: bytes) -> bytes | None:
        """The plain text of `{"encrypt": …}`; None when it cannot be decrypted, whyever."""
        try:
            outer = decode(body.decode())
            plain = self._decipher(binascii.a2b_base64(outer["encrypt"]))
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        padding = plain[-1]
        if not 1 <= padding <= BLOCK or plain[-padding:] != bytes((padding,)) * padding:
            return None
        return plain[:-padding]

    def _decipher(self, sealed: bytes) -> bytes:
        """AES in CBC mode. That is each block deciphered by itself, then XORed with the ciphertext before it (the
        first with the IV); done so, one cipher serves all events, for setting one up costs more than using it."""
        if len(sealed) < 2 * BLOCK or len(sealed) % BLOCK:
            raise ValueError
        blocks = self._blocks.update(sealed[BLOCK:])
        before = int.from_bytes(sealed[:-BLOCK], "big")
        return (int.from_bytes(blocks, "big") ^ before).to_bytes(len(blocks), "big")

    def is_signed_as_before(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Whether it is signed as card callbacks once were: SHA-1, with the verification token."""
        signature = headers.get("X-Lark-Signature", "")
        if self._token is None:
            return re.fullmatch(r"[0-9a-f]{40}", signature) is not None
        signed = headers.get("X-Lark-Request-Timestamp", "") + headers.get("X-Lark-Request-Nonce", "")
        digest = hashlib.sha1(signed.encode(errors="surrogateescape") + self._token, usedforsecurity=False)
        digest.update(body)
        return signature.isascii() and hmac.compare_digest(digest.hexdigest(), signature)

    @property
    def are_set(self) -> bool:
        return bool(self._encrypt_key)

    def is_token(self, value: Any) -> bool:
        """Whether a payload carries the verification token; true when none is configured to compare with."""
        if self._token is None:
            return True
        return isinstance(value, str) and hmac.compare_digest(
            value.encode(errors="surrogatepass"), self._token
        )


def receive(
    keys: WebhookKeys, recipient: Recipient, headers: Mapping[str, str], body: bytes, now: float
) -> Received:
    """What one webhook request says. Never raises; the size of the body was limited before."""
    if not keys.are_set:
        return Unauthentic("no encrypt key is configured", 401)
    if "X-Lark-Signature" not in headers:
        return receive_unsigned(keys, body)
    if not keys.is_signed(headers, body):
        return Unauthentic("the signature does not fit", 401, configuration_advice(keys, headers, body))
    if not is_fresh(headers.get("X-Lark-Request-Timestamp", ""), now):
        return Unauthentic("the signed timestamp is stale or ahead", 401)
    plain = keys.decrypt(body)
    payload = parse_payload(plain) if plain is not None else None
    if payload is None:
        return Unauthentic("signed, but not an encrypted JSON object", 400)
    if payload.get("type") == "url_verification":
        return verify_url(keys, payload)
    header = payload.get("header")
    if not keys.is_token(header.get("token") if isinstance(header, dict) else payload.get("token")):
        return Unauthentic("the verification token does not fit", 401)
    return parse_event(recipient, payload)


def receive_unsigned(keys: WebhookKeys, body: bytes) -> UrlVerification | Unauthentic:
    """The check of the address may come without a signature, and changes nothing."""
    plain = keys.decrypt(body) if len(body) <= MAX_VERIFICATION_BYTES else None
    payload = parse_payload(plain) if plain is not None else None
    if payload is None or payload.get("type") != "url_verification":
        return Unauthentic("not signed", 401, configuration_advice(keys, {}, body))
    return verify_url(keys, payload)


def verify_url(keys: WebhookKeys, payload: Mapping[str, Any]) -> UrlVerification | Unauthentic:
    value = payload.get("challenge")
    if not keys.is_token(payload.get("token")) or not is_id(value):
        return Unauthentic("not signed", 401)
    return UrlVerification(value)


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
    """What to change in the console, for a request that is refused because of how the console is set. Empty for any
    other; with a verification token in the settings, for all that do not know it."""
    if keys.is_signed_as_before(headers, body):
        return OLD_CARD_CALLBACK
    payload = parse_payload(body) if len(body) <= MAX_VERIFICATION_BYTES else None
    if payload is None:
        return ""
    header = payload.get("header")
    token = header.get("token") if isinstance(header, dict) else payload.get("token")
    is_event = isinstance(header, dict) or "uuid" in payload or payload.get("type") == "url_verification"
    return NO_ENCRYPTION if is_event and keys.is_token(token) else ""


def is_fresh(timestamp: str, now: float) -> bool:
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        return False
    return -MAX_CLOCK_SKEW <= now - int(timestamp) <= MAX_AGE


def receive_over_connection(keys: WebhookKeys, recipient: Recipient, payload: bytes) -> Received:
    """What one payload of the long connection says, which is neither signed nor encrypted.

    The platform leaves its verification token empty; one that is there and does not fit is not the platform's.
    """
    parsed = parse_payload(payload)
    if parsed is None:
        return Unauthentic("not a JSON object", 400)
    header = parsed.get("header")
    for fields in (parsed, header if isinstance(header, dict) else {}):
        if fields.get("token") not in (None, "") and not keys.is_token(fields["token"]):
            return Unauthentic("the verification token does not fit", 401)
    return parse_event(recipient, parsed)


def parse_payload(text: bytes) -> dict[str, Any] | None:
    if is_costly(text):
        return None
    try:
        parsed = decode(text.decode())
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None

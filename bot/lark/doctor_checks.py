"""The requests that only `bot doctor` makes. `bot.doctor_lark` judges their results."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from bot.core.api import ApiCall, Json, Outcome, Refused, Succeeded, Unreachable
from bot.core.response_values import clean_message, parse_json_object
from bot.core.scopes import ScopeSet
from bot.core.secrets import Secret
from bot.lark.api import CallAsApp
from bot.lark.app import LarkApp
from bot.lark.app_info import (
    BOT_INFO,
    LIST_SCOPES,
    described_scopes,
    granted_scopes,
    read_entries,
    read_text,
    ungranted_scopes,
)
from bot.lark.app_token import AppToken
from bot.lark.v3_token_endpoint import V3TokenEndpoint
from bot.lark.webhook import BLOCK_BITS, NONCE, SIGNATURE, TIMESTAMP
from bot.transport.http_client import HttpClient


async def check_credentials(
    http: HttpClient, open_url: str, app_id: str, app_secret: Secret
) -> Outcome | None:
    """Return None if the app's credentials are accepted, else the outcome that says why not."""
    token = AppToken(http, LarkApp(app_id, app_secret, open_url), "tenant_access_token")
    try:
        found = await token.get()
    finally:
        await token.close()
    return None if isinstance(found, Secret) else found


async def has_v3_token_endpoint(
    http: HttpClient, accounts_url: str, app_id: str, app_secret: Secret
) -> bool | None:
    """Whether the app has the v3 token endpoint; None if that is unclear."""
    return await V3TokenEndpoint(http, LarkApp(app_id, app_secret, "", accounts_url)).probe()


async def read_bot(call_as_app: CallAsApp) -> Mapping[str, Any] | Outcome:
    """Return what the platform says about the bot, or the outcome that says why not."""
    outcome = await call_as_app(BOT_INFO)
    if not isinstance(outcome, Succeeded):
        return outcome
    bot = outcome.data.get("bot") if isinstance(outcome.data, dict) else None
    return bot if isinstance(bot, dict) else Refused(0, "no bot in the response")


async def read_bot_open_id(call_as_app: CallAsApp) -> str | Outcome:
    """Return the bot's open_id, or the outcome that says why not. An app has none until the Bot ability is published."""
    bot = await read_bot(call_as_app)
    if not isinstance(bot, Mapping):
        return bot
    return read_text(bot, "open_id") or Refused(0, "no bot in the response")


async def read_scopes(call_as_app: CallAsApp) -> list[dict[str, Any]] | Outcome:
    """Return the list of the app's scopes, or the outcome that says why it cannot be read."""
    outcome = await call_as_app(LIST_SCOPES)
    listed = read_entries(outcome, "scopes")
    if listed is not None:
        return listed
    return outcome if not isinstance(outcome, Succeeded) else Refused(0, "no scopes in the response")


def app_scopes_in(listed: list[dict[str, Any]] | Outcome, record: Mapping[str, Any]) -> ScopeSet | None:
    """Return the scopes that are enabled for the app's own identity, or None if neither the list nor the record tells."""
    if isinstance(listed, list) and all(isinstance(each.get("scope_type"), str) for each in listed):
        return granted_scopes(listed, "tenant")
    described = record.get("scopes")
    if not isinstance(described, list):
        return None
    return described_scopes(described, "tenant") - ungranted_scopes(
        listed if isinstance(listed, list) else []
    )


UNKNOWN_OPEN_ID_CODES = range(99992351, 99992365)
"""Codes for an open_id that does not exist, or belongs to another app or tenant."""
INVALID_CONTENT_CODES = frozenset({230001, 230025, 230099, 99992402})
INVALID_RECIPIENT = "receive_id"
"""A parameter. The code for an invalid one does not tell which it is, only the text does."""


async def check_recipient(call_as_app: CallAsApp, open_id: str) -> Outcome | None:
    """Return None if messages can be sent to this user, else the outcome that says why not.

    Reading contacts requires a scope that few apps have, so this sends a message with invalid content instead. It is
    never delivered, and it is refused for its content only if the recipient is valid.
    """
    body = {"receive_id": open_id, "msg_type": "text", "content": "not JSON, so that it cannot be sent"}
    outcome = await call_as_app(
        ApiCall("POST", "/open-apis/im/v1/messages", {"receive_id_type": "open_id"}, body)
    )
    refused_for_content = (
        isinstance(outcome, Refused)
        and outcome.code in INVALID_CONTENT_CODES
        and not is_unknown_recipient(outcome)
    )
    return None if refused_for_content else outcome


def is_unknown_recipient(refusal: Refused) -> bool:
    """Return whether a message was refused because its recipient is no user of this app."""
    return refusal.code in UNKNOWN_OPEN_ID_CODES or INVALID_RECIPIENT in refusal.message


async def read_application(call_as_app: CallAsApp, app_id: str) -> Mapping[str, Any] | Outcome:
    """Return the app's record in the developer console, or the outcome that says why it cannot be read."""
    path = f"/open-apis/application/v6/applications/{app_id}"
    outcome = await call_as_app(ApiCall("GET", path, {"lang": "en_us"}))
    if not isinstance(outcome, Succeeded):
        return outcome
    app = field_of(outcome.data, "data", "app")
    return app if isinstance(app, dict) else Refused(0, "no app in the response")


def field_of(data: Json, *names: str) -> Json:
    """Return a nested field, or None."""
    for name in names:
        data = data.get(name) if isinstance(data, dict) else None
    return data


async def read_redirect_urls(call_as_app: CallAsApp, app_id: str) -> frozenset[str] | Outcome:
    """Return the redirect URLs of the developer console, or the outcome that says why they cannot be read."""
    return redirect_urls_in(await read_application(call_as_app, app_id))


def redirect_urls_in(record: Mapping[str, Any] | Outcome) -> frozenset[str] | Outcome:
    if not isinstance(record, Mapping):
        return record
    urls = texts_in(record.get("redirect_urls"))
    return Refused(0, "no redirect_urls in the response") if urls is None else urls


def object_in(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a nested object of the app's record, or an empty one."""
    value = record.get(name)
    return value if isinstance(value, dict) else {}


def texts_in(listed: Any) -> frozenset[str] | None:
    """Return the texts in a list, or None if it is not a list."""
    return frozenset(each for each in listed if isinstance(each, str)) if isinstance(listed, list) else None


async def read_subscribed_events(call_as_app: CallAsApp, app_id: str, version: str) -> frozenset[str] | None:
    """Return the types of the events to which a version of the app is subscribed, or None if that is unknown."""
    path = f"/open-apis/application/v6/applications/{app_id}/app_versions/{version}"
    outcome = await call_as_app(ApiCall("GET", path, {"lang": "en_us"}))
    infos = (
        field_of(outcome.data, "data", "app_version", "event_infos")
        if isinstance(outcome, Succeeded)
        else None
    )
    return texts_in([field_of(each, "event_type") for each in infos]) if isinstance(infos, list) else None


def signed_request(encrypt_key: Secret, payload: Json, now: float) -> tuple[bytes, dict[str, str]]:
    """Return body and signature headers of a request to the webhook. Without a payload it cannot be decrypted."""
    key = encrypt_key.reveal().encode()
    encrypted = encrypt(key, json.dumps(payload).encode()) if payload is not None else b""
    body = json.dumps({"encrypt": base64.b64encode(encrypted).decode()}).encode()
    timestamp, nonce = str(int(now)), secrets.token_hex(8)
    signature = hashlib.sha256((timestamp + nonce).encode() + key + body).hexdigest()
    headers = {TIMESTAMP: timestamp, NONCE: nonce, SIGNATURE: signature}
    return body, headers


def encrypt(key: bytes, plain: bytes) -> bytes:
    iv, padder = os.urandom(16), padding.PKCS7(BLOCK_BITS).padder()
    encryptor = Cipher(algorithms.AES(hashlib.sha256(key).digest()), modes.CBC(iv)).encryptor()
    return iv + encryptor.update(padder.update(plain) + padder.finalize()) + encryptor.finalize()


async def check_long_connection(
    http: HttpClient, open_url: str, app_id: str, app_secret: Secret
) -> Outcome | None:
    """Return None if the platform offers a long connection for these credentials, else the outcome that says why not."""
    credentials = {"AppID": app_id, "AppSecret": app_secret.reveal()}
    response = await http.fetch("POST", f"{open_url}/callback/ws/endpoint", body=credentials)
    if isinstance(response, Unreachable):
        return response
    parsed = parse_json_object(response.body) or {}
    code = parsed.get("code")
    if code == 0 and read_text(parsed.get("data"), "URL"):
        return None
    return Refused(code if type(code) is int else response.status, clean_message(parsed.get("msg")))

"""OAuth 2.0 as values and pure functions: attempts, the parameters of the callback, the owner check, token sets."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from bot.core.people import Identity, UserKey
from bot.core.requests import AttemptKind
from bot.core.scopes import ScopeSet
from bot.core.secrets import Secret


@dataclass(frozen=True, slots=True)
class TokenSet:
    """What the token endpoint returned."""

    access_token: Secret
    expires_in: int
    """Seconds."""
    refresh_token: Secret | None
    refresh_expires_in: int | None
    scopes: ScopeSet | None
    """The scopes of the access token, or None if the platform does not say."""


class TokenProblem(StrEnum):
    """Why the token endpoint issued no token, by who can fix it."""

    CODE = "code"
    """The authorization code is unknown, used, expired or issued to another client: the user must open the link again."""
    OVER = "over"
    """The refresh token is used, expired or revoked, or the user is deleted: the user must authorize again."""
    USER = "user"
    """The user may not use this app: it is not available to them, or their account is frozen."""
    APP = "app"
    """The app's configuration is wrong: an operator must fix it. The stored tokens are kept."""
    SCOPE = "scope"
    """The app has not enabled a requested scope: the bot asks for another one, or an administrator must act."""
    BLOCKED = "blocked"
    """A security policy requires a challenge or blocks the app. The tokens are kept, and the user sees the hint."""
    TRANSIENT = "transient"
    """The platform failed, and certainly did not process the request."""
    IN_DOUBT = "in_doubt"
    """There is no response, and the request may have been processed."""


@dataclass(frozen=True, slots=True)
class TokenRefused:
    problem: TokenProblem
    code: int
    """The platform's error code, or 0 if there is none."""
    message: str
    """For logs and operators. Never contains a secret."""
    error: str = ""
    """The `error` code of RFC 6749 or RFC 8628, if there is one."""
    retry_after: float | None = None
    """Seconds to wait, if the platform states them."""


@dataclass(frozen=True, slots=True)
class DeviceCode:
    """The device authorization response (RFC 8628, section 3.2)."""

    device_code: Secret
    user_code: Secret
    """What the user enters on the platform's page, or compares with it."""
    verification_uri_complete: Secret
    """The platform's page, with the user code in its URL if the platform supports that."""
    expires_in: int
    """Seconds."""
    interval: int
    """Seconds to wait between two polls."""


class DeviceAnswer(StrEnum):
    """What the token endpoint answers to a device code instead of tokens (RFC 8628, section 3.5)."""

    PENDING = "authorization_pending"
    SLOW_DOWN = "slow_down"
    DENIED = "access_denied"
    EXPIRED = "expired_token"


STATE_BYTES = 32


VERIFIER_BYTES = 32
"""32 random bytes make a verifier of 43 characters, the recommended length (RFC 7636, section 4.1)."""


@dataclass(frozen=True, slots=True)
class NewAttemptSecrets:
    state: Secret
    state_digest: str
    verifier: Secret | None
    challenge: str | None


SIGN_IN = "signin."
"""The prefix of a sign-in's state, which determines the kind of attempt to look up."""


def new_attempt(
    entropy: bytes, *, pkce: bool, kind: AttemptKind = AttemptKind.AUTHORIZATION
) -> NewAttemptSecrets:
    """Return the one-shot values of an attempt, made from 64 random bytes. Raises ValueError for another number."""
    if len(entropy) != STATE_BYTES + VERIFIER_BYTES:
        raise ValueError("An attempt needs 64 random bytes.")
    state = (SIGN_IN if kind is AttemptKind.SIGN_IN else "") + urlsafe(entropy[:STATE_BYTES])
    if not pkce:
        return NewAttemptSecrets(Secret(state), digest(state), None, None)
    verifier = urlsafe(entropy[STATE_BYTES:])
    return NewAttemptSecrets(Secret(state), digest(state), Secret(verifier), s256(verifier))


def kind_of(state: Secret) -> AttemptKind:
    """Return the kind of the attempt that a state belongs to, by its prefix."""
    return AttemptKind.SIGN_IN if state.reveal().startswith(SIGN_IN) else AttemptKind.AUTHORIZATION


def urlsafe(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def s256(verifier: str) -> str:
    """Return the S256 code challenge of a verifier (RFC 7636, section 4.2)."""
    return urlsafe(hashlib.sha256(verifier.encode()).digest())


def digest(value: str) -> str:
    """Return the hash of a state or ticket. Only the hash is stored, to look it up.

    Both have 256 random bits, so a plain hash cannot be reversed by guessing.
    """
    return hashlib.sha256(value.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Approved:
    state: Secret
    code: Secret


@dataclass(frozen=True, slots=True)
class Denied:
    state: Secret
    error: str
    """`access_denied`, or another error code of RFC 6749, section 4.1.2.1."""


@dataclass(frozen=True, slots=True)
class Malformed:
    """The parameters are not those of an authorization response."""


PARAMETER = re.compile(r"[\x20-\x7e]{1,4096}")
"""Matches a state, code or error: printable ASCII (RFC 6749, appendix A)."""


def parse_callback(
    query: Mapping[str, str], code_parameters: Iterable[str] = ("code",)
) -> Approved | Denied | Malformed:
    """Parse the query parameters of the authorization response. The code may be in one of several parameters."""
    codes = [query[name] for name in code_parameters if query.get(name)]
    state, error = query.get("state", ""), query.get("error", "")
    code = codes[0] if len(codes) == 1 else ""
    if len(codes) > 1:
        return Malformed()
    if bool(code) == bool(error) or not all(map(PARAMETER.fullmatch, (state, code or error))):
        return Malformed()
    return Approved(Secret(state), Secret(code)) if code else Denied(Secret(state), error)


def is_owner(asked: UserKey, consented: Identity) -> bool:
    """Return whether the user who consented is the user who was asked."""
    return (consented.tenant_key, consented.open_id) == (asked.tenant_key, asked.open_id)

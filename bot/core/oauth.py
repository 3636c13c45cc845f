"""OAuth 2.0 as pure functions and values: attempts, the callback's parameters, the owner check, token sets."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
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
    """What this token really has; None when the platform did not say."""


class TokenProblem(StrEnum):
    """Why the token endpoint gave no token: who can fix it."""

    CODE = "code"
    """The authorization code is unknown, used, late or not ours: the person opens the link again."""
    OVER = "over"
    """The refresh token is spent, expired or revoked, or the person is gone: ask for authorization again."""
    USER = "user"
    """The person may not use this app (not installed for them, no permission, frozen)."""
    APP = "app"
    """The app's own configuration is wrong: an operator must act; what is stored stays."""
    SCOPE = "scope"
    """The app has not enabled a scope that was asked for: another one, or the administrator."""
    BLOCKED = "blocked"
    """A security policy wants a challenge or denies: what is stored stays, the hint is shown."""
    TRANSIENT = "transient"
    """The platform could not answer now, and did nothing."""
    IN_DOUBT = "in_doubt"
    """No answer came, and the request may have been carried out."""


@dataclass(frozen=True, slots=True)
class TokenRefused:
    problem: TokenProblem
    code: int
    """The platform's error code; 0 when there was no answer to read one from."""
    message: str
    """For logs and operators; never holds a secret."""
    error: str = ""
    """The `error` of RFC 6749 or RFC 8628, when there was one."""
    retry_after: float | None = None
    """Seconds that the platform asked us to wait, if it did."""


@dataclass(frozen=True, slots=True)
class DeviceCode:
    """What the platform mints for a person who goes to its page by themselves (RFC 8628, 3.2)."""

    device_code: Secret
    user_code: Secret
    """What the platform's page asks for, or shows for comparison."""
    verification_uri_complete: Secret
    """The platform's page, with the user code in it where the platform can do that."""
    expires_in: int
    """Seconds."""
    interval: int
    """Seconds between two polls, at least."""


class DeviceAnswer(StrEnum):
    """What a poll with a device code says instead of tokens (RFC 8628, 3.5)."""

    PENDING = "authorization_pending"
    SLOW_DOWN = "slow_down"
    DENIED = "access_denied"
    EXPIRED = "expired_token"


STATE_BYTES = 32


VERIFIER_BYTES = 32
"""32 random bytes give a verifier of 43 characters, the recommended length (RFC 7636, 4.1)."""


@dataclass(frozen=True, slots=True)
class NewAttemptSecrets:
    state: Secret
    state_digest: str
    verifier: Secret | None
    challenge: str | None


SIGN_IN = "signin."
"""How the state of a sign-in begins. It says where to look for the attempt, and what is found there has to agree."""


def new_attempt(
    entropy: bytes, *, pkce: bool, kind: AttemptKind = AttemptKind.AUTHORIZATION
) -> NewAttemptSecrets:
    """Makes the one-shot values of one opening of a link, or of one sign-in, from 64 random bytes."""
    if len(entropy) != STATE_BYTES + VERIFIER_BYTES:
        raise ValueError("An attempt takes 64 random bytes.")
    state = (SIGN_IN if kind is AttemptKind.SIGN_IN else "") + urlsafe(entropy[:STATE_BYTES])
    if not pkce:
        return NewAttemptSecrets(Secret(state), digest(state), None, None)
    verifier = urlsafe(entropy[STATE_BYTES:])
    return NewAttemptSecrets(Secret(state), digest(state), Secret(verifier), s256(verifier))


def kind_of(state: Secret) -> AttemptKind:
    """What the state says that it belongs to."""
    return AttemptKind.SIGN_IN if state.reveal().startswith(SIGN_IN) else AttemptKind.AUTHORIZATION


def urlsafe(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def s256(verifier: str) -> str:
    """The S256 code challenge of a verifier (RFC 7636, 4.2)."""
    return urlsafe(hashlib.sha256(verifier.encode()).digest())


def digest(value: str) -> str:
    """What is stored of a state or ticket: enough to find it, useless to whoever reads it.

    Both hold 256 random bits, so a plain hash cannot be guessed backwards.
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
    """`access_denied`, or another error code of RFC 6749, 4.1.2.1."""


@dataclass(frozen=True, slots=True)
class Malformed:
    """No state, neither or both of code and error, or what neither can be: nothing of ours led here."""


PARAMETER = re.compile(r"[\x20-\x7e]{1,4096}")
"""RFC 6749, appendix A: a state, a code and an error are visible ASCII."""


def parse_callback(query: Mapping[str, str]) -> Approved | Denied | Malformed:
    """Reads the parameters that the authorization page sent back."""
    state, code, error = (query.get(name, "") for name in ("state", "code", "error"))
    if bool(code) == bool(error) or not all(map(PARAMETER.fullmatch, (state, code or error))):
        return Malformed()
    return Approved(Secret(state), Secret(code)) if code else Denied(Secret(state), error)


def is_owner(asked: UserKey, consented: Identity) -> bool:
    """The person who consents must be the person who was asked."""
    return (consented.tenant_key, consented.open_id) == (asked.tenant_key, asked.open_id)

"""OAuth 2.0 as pure functions: a fresh attempt, the callback's parameters, the owner check.

RFC 6749 (authorization code), RFC 7636 (PKCE), RFC 9700 (best current practice). Entropy comes from the caller.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from bot.core.model import AttemptKind, Identity, Secret, UserKey

STATE_BYTES = 32
VERIFIER_BYTES = 32
"""32 random bytes give a verifier of 43 characters, the recommended length (RFC 7636, 4.1)."""


@dataclass(frozen=True, slots=True)
class FreshAttempt:
    state: Secret
    state_digest: str
    verifier: Secret | None
    challenge: str | None


SIGN_IN = "signin."
"""How the state of a sign-in begins. It says where to look for the attempt, and what is found there has to agree."""


def new_attempt(entropy: bytes, *, pkce: bool, kind: AttemptKind = AttemptKind.AUTHORIZATION) -> FreshAttempt:
    """Makes the one-shot values of one opening of a link, or of one sign-in, from 64 random bytes."""
    if len(entropy) != STATE_BYTES + VERIFIER_BYTES:
        raise ValueError("An attempt takes 64 random bytes.")
    state = (SIGN_IN if kind is AttemptKind.SIGN_IN else "") + urlsafe(entropy[:STATE_BYTES])
    if not pkce:
        return FreshAttempt(Secret(state), digest(state), None, None)
    verifier = urlsafe(entropy[STATE_BYTES:])
    return FreshAttempt(Secret(state), digest(state), Secret(verifier), s256(verifier))


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

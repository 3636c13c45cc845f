"""Records of the tokens, codes and device authorizations that the platform has issued.

Times are in Unix seconds on `Clock.now`. The names of fields are those of saved files.
"""

import base64
import secrets
from dataclasses import dataclass, field
from typing import Literal

Generation = Literal["v1", "v2", "v3"]


@dataclass
class AppToken:
    """A tenant (or app) access token."""

    token: str
    expires_at: float


@dataclass
class AccessToken:
    """A user access token. Its scopes never change after it was issued."""

    token: str
    person: str
    scopes: frozenset[str]
    expires_at: float
    authorized_at: float
    generation: Generation
    revoked: bool = False


@dataclass
class RefreshToken:
    """A single-use refresh token. `access_token` is the one that was issued with it."""

    token: str
    person: str
    scopes: frozenset[str]
    expires_at: float
    authorized_at: float
    generation: Generation
    access_token: str
    used: bool = False
    revoked: bool = False


@dataclass
class Code:
    """A single-use authorization code. `redirect_uri` is None if the client's SDK requested it."""

    code: str
    client_id: str
    person: str
    requested: frozenset[str]
    expires_at: float
    authorized_at: float
    redirect_uri: str | None = None
    challenge: str | None = None
    challenge_method: str = "plain"
    used: bool = False


@dataclass
class DeviceAuthorization:
    """A device authorization (RFC 8628). `person` is set when someone has allowed it on the verification page."""

    device_code: str
    user_code: str
    scopes: tuple[str, ...]
    expires_at: float
    interval: float
    person: str | None = None
    refused: bool = False
    used: bool = False
    polled_at: float | None = None

    def is_open(self, now: float) -> bool:
        """Return whether it has neither been decided nor expired."""
        return self.person is None and not self.refused and not self.used and self.expires_at > now


@dataclass
class Consent:
    """One opening of the authorize page. `error` is the (code, text) that the page shows instead of asking."""

    consent_id: str
    scopes: tuple[str, ...]
    redirect_uri: str
    state: str | None = None
    challenge: str | None = None
    challenge_method: str = "plain"
    prompt: str | None = None
    error: tuple[int, str] | None = None
    device: DeviceAuthorization | None = None
    decided: bool = False


@dataclass
class Credentials:
    """Everything issued, by its secret; consents by id."""

    app_tokens: dict[str, AppToken] = field(default_factory=dict)
    access: dict[str, AccessToken] = field(default_factory=dict)
    refresh: dict[str, RefreshToken] = field(default_factory=dict)
    codes: dict[str, Code] = field(default_factory=dict)
    devices: dict[str, DeviceAuthorization] = field(default_factory=dict)
    consents: dict[str, Consent] = field(default_factory=dict)
    asked_last: dict[str, frozenset[str]] = field(default_factory=dict)
    """The scopes of each person's last consent, by open_id."""


def jwt_like(size: int = 1100) -> str:
    """Return an opaque token of the platform's form and size: `eyJ`, three parts, over 1 KB."""
    header = base64.urlsafe_b64encode(b'{"alg":"ES256","typ":"JWT"}').rstrip(b"=").decode()
    payload = (
        base64.urlsafe_b64encode(b'{"jti":"' + secrets.token_hex(8).encode() + b'"}').rstrip(b"=").decode()
    )
    return f"{header}.{payload}{secrets.token_urlsafe(size * 3 // 4)}.{secrets.token_urlsafe(64)}"

"""What the platform has issued: app tokens, access and refresh tokens, codes, and open consents."""

from dataclasses import dataclass, field


@dataclass
class AppToken:
    """An app access token, with the application scopes that the app had when it was issued."""

    token: str
    expires_at: float
    scopes: frozenset[str] = frozenset()


@dataclass
class AccessToken:
    """A user access token. `corp_id` is the organization that the user chose."""

    token: str
    person: str
    scopes: frozenset[str]
    expires_at: float
    corp_id: str
    revoked: bool = False


@dataclass
class RefreshToken:
    """A single-use refresh token."""

    token: str
    person: str
    scopes: frozenset[str]
    expires_at: float
    corp_id: str
    tells_corp_id: bool = False
    used: bool = False


@dataclass
class Code:
    """A single-use code. A `silent` one identifies its user and is never exchanged for a user token."""

    code: str
    person: str
    scopes: frozenset[str]
    expires_at: float
    corp_id: str
    tells_corp_id: bool = False
    silent: bool = False
    used: bool = False


@dataclass
class Consent:
    """One opening of the login page. `error` is what the page shows instead of asking."""

    consent_id: str
    scopes: tuple[str, ...]
    redirect_uri: str
    state: str | None = None
    corp_id: str | None = None
    error: str | None = None
    decided: bool = False


@dataclass
class Credentials:
    """Everything issued, by its secret; consents by id."""

    app_tokens: dict[str, AppToken] = field(default_factory=dict)
    access: dict[str, AccessToken] = field(default_factory=dict)
    refresh: dict[str, RefreshToken] = field(default_factory=dict)
    codes: dict[str, Code] = field(default_factory=dict)
    consents: dict[str, Consent] = field(default_factory=dict)

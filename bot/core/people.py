"""Users: their keys, identities and signed-in browsers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class UserKey:
    """Identifies one user, as one app on one platform knows them. Everything stored about a user has this key."""

    platform: str
    """The name of the platform."""
    app_id: str
    tenant_key: str
    open_id: str

    def __str__(self) -> str:
        return f"{self.app}:{self.tenant_key}:{self.open_id}"

    @property
    def app(self) -> str:
        """The platform's name and the app id, joined by a colon."""
        return f"{self.platform}:{self.app_id}"

    @classmethod
    def parse(cls, text: str) -> UserKey:
        """Return the key whose `str` is the text. Raises ValueError if the text is not a key."""
        platform, app_id, tenant_key, open_id = text.split(":", 3)
        return cls(platform, app_id, tenant_key, open_id)


@dataclass(frozen=True, slots=True)
class Identity:
    """The owner of a token, according to the platform."""

    open_id: str
    tenant_key: str
    union_id: str | None = None
    name: str | None = None


SESSION_LIFETIME = timedelta(hours=8)
"""How long after the sign-in a session ends, even if it is in use."""

SESSION_IDLE_TIMEOUT = timedelta(minutes=30)
"""How long after its last use a session ends."""

SESSION_USE_INTERVAL = timedelta(minutes=1)
"""The minimum time between two recorded uses of a session, to save writes."""


@dataclass(frozen=True, slots=True)
class Session:
    """A browser that a user is signed in with."""

    digest: str
    """The hash of the session's id, which only the browser has."""
    user: UserKey
    created_at: datetime
    seen_at: datetime
    expires_at: datetime
    genuine: bool | None = True
    """Whether the bot wrote the row. None if this replica lacks the key to verify that."""

    def is_use_recorded(self, now: datetime) -> bool:
        """Return whether a use was recorded so recently that this one need not be."""
        return self.seen_at > now - SESSION_USE_INTERVAL

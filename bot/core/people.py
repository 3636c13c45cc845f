"""Users: their keys, identities and signed-in browsers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class UserKey:
    """One user, as one app on one platform knows them. Everything that is stored about a user has this key."""

    platform: str
    """The name of the platform."""
    app_id: str
    tenant_key: str
    open_id: str

    def __str__(self) -> str:
        return f"{self.app}:{self.tenant_key}:{self.open_id}"

    @property
    def app(self) -> str:
        """The platform and the app, joined by a colon."""
        return f"{self.platform}:{self.app_id}"

    @classmethod
    def parse(cls, text: str) -> UserKey:
        """Return the key that `str(key)` gave. Raises ValueError if the text is none."""
        platform, app_id, tenant_key, open_id = text.split(":", 3)
        return cls(platform, app_id, tenant_key, open_id)


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a token belongs to, as the platform says."""

    open_id: str
    tenant_key: str
    union_id: str | None = None
    name: str | None = None


SESSION_LIFETIME = timedelta(hours=8)
"""How long after the sign-in a session ends, even if it is used."""

SESSION_IDLE_TIMEOUT = timedelta(minutes=30)
"""How long after its last use a session ends."""

SESSION_USE_INTERVAL = timedelta(minutes=1)
"""A use is recorded at most once in this time, to save writes."""


@dataclass(frozen=True, slots=True)
class Session:
    """A browser that a user is signed in with."""

    digest: str
    """Of the session's id, which only the browser has."""
    user: UserKey
    created_at: datetime
    seen_at: datetime
    expires_at: datetime
    genuine: bool | None = True
    """Whether the bot began it. None if only another replica has the key to check that."""

    def is_use_recorded(self, now: datetime) -> bool:
        """Return whether the last use that was recorded is recent enough."""
        return self.seen_at > now - SESSION_USE_INTERVAL

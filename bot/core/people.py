"""Who asks: a user's key, identity and signed-in browser."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class UserKey:
    """One person, as one app on one platform knows them. Everything stored about a person carries it."""

    platform: str
    """`lark` or `dingtalk`."""
    app_id: str
    tenant_key: str
    open_id: str

    def __str__(self) -> str:
        return f"{self.app}:{self.tenant_key}:{self.open_id}"

    @property
    def app(self) -> str:
        """Which app it is that knows them."""
        return f"{self.platform}:{self.app_id}"

    @classmethod
    def parse(cls, text: str) -> UserKey:
        """The inverse of `str(key)`; `ValueError` when it is none."""
        platform, app_id, tenant_key, open_id = text.split(":", 3)
        return cls(platform, app_id, tenant_key, open_id)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a token belongs to, as the platform says."""

    open_id: str
    tenant_key: str
    union_id: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """A browser that a person is signed in with. `digest` is of its id, which only that browser has."""

    digest: str
    user: UserKey
    created_at: datetime
    seen_at: datetime
    expires_at: datetime
    genuine: bool | None = True
    """Whether the bot wrote it. None: only another replica has the key that can tell."""

"""The app that the bot is at the platform."""

from __future__ import annotations

from dataclasses import dataclass

from bot.core.secrets import Secret


@dataclass(frozen=True, slots=True)
class LarkApp:
    """An app's credentials, and the origins of its brand."""

    id: str
    secret: Secret
    open_url: str
    """The OpenAPI."""
    accounts_url: str = ""
    """The authorization server."""

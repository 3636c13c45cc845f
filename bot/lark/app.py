"""The app as which the bot is registered with the platform."""

from __future__ import annotations

from dataclasses import dataclass

from bot.core.secrets import Secret


@dataclass(frozen=True, slots=True)
class LarkApp:
    """An app's credentials, and the origins of its brand."""

    id: str
    secret: Secret
    open_url: str
    """Origin of the OpenAPI."""
    accounts_url: str = ""
    """Origin of the authorization server."""

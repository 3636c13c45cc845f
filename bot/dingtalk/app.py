"""The app as which the bot is registered with the platform."""

from __future__ import annotations

from dataclasses import dataclass

from bot.core.secrets import Secret


@dataclass(frozen=True, slots=True)
class DingTalkApp:
    """An app's credentials, its organization, and the platform's origins."""

    id: str
    """The ClientID, which is also called AppKey."""
    secret: Secret
    corp_id: str
    robot_code: str
    api_url: str = "https://api.dingtalk.com"
    oapi_url: str = "https://oapi.dingtalk.com"
    """Origin of the older APIs, and of the sessions where replies are posted."""
    login_url: str = "https://login.dingtalk.com"

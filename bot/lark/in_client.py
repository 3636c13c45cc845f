"""How to recognize the Lark and Feishu clients, inside which a page of the bot can request authorization."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from bot.core.api import Json
from bot.core.scopes import ScopeSet, join_scopes
from bot.core.secrets import Secret

CLIENT = re.compile(r"\b(Lark|Feishu)/")
CLIENT_LOCALE = re.compile(r"LarkLocale/([A-Za-z]{2})")


class ClientPage:
    """The page that calls `tt.requestAccess`. The app's list of redirect URLs must contain its URL."""

    page_path = "/oauth/lark/client"
    folder = Path(__file__).parent / "web"
    words: Mapping[str, object] = {}

    def __init__(self, app_id: str, client_script: str) -> None:
        self.app_id = app_id
        self.client_script = client_script

    def script_settings(self, scopes: ScopeSet, state: Secret) -> Json:
        return {"appID": self.app_id, "scopeList": join_scopes(scopes).split(), "state": state.reveal()}

    def is_in_client(self, user_agent: str) -> bool:
        return bool(CLIENT.search(user_agent))

    def client_locale(self, user_agent: str) -> str | None:
        locales: list[str] = CLIENT_LOCALE.findall(user_agent)
        return locales[-1] if locales else None

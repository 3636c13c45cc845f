"""How to recognize the DingTalk client, inside which a page of the bot can request authorization."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from bot.core.api import Json
from bot.core.scopes import ScopeSet
from bot.core.secrets import Secret
from bot.dingtalk import words
from bot.dingtalk.scope_kinds import IDENTITY_SCOPE, field_scopes, rpc_scopes

CLIENT = re.compile(r"\bDingTalk[/(]", re.IGNORECASE)
CLIENT_LOCALE = re.compile(r"\blanguage/([A-Za-z]{2})")


class ClientPage:
    """The page that calls `openAuth`. The panel returns no state, so the script posts the bot's state with the code."""

    page_path = "/oauth/dingtalk/client"
    folder = Path(__file__).parent / "web"

    def __init__(self, client_id: str, corp_id: str, client_script: str) -> None:
        self._client_id, self._corp_id = client_id, corp_id
        self.client_script = client_script

    @property
    def words(self) -> Mapping[str, object]:
        return {name: value for name, value in vars(words).items() if name.isupper()}

    def script_settings(self, scopes: ScopeSet, state: Secret) -> Json:
        asked = scopes | {IDENTITY_SCOPE}
        return {
            "clientId": self._client_id,
            "corpId": self._corp_id,
            "rpcScope": rpc_scopes(asked),
            "fieldScope": field_scopes(asked),
            "state": state.reveal(),
        }

    def is_in_client(self, user_agent: str) -> bool:
        return bool(CLIENT.search(user_agent))

    def client_locale(self, user_agent: str) -> str | None:
        locales: list[str] = CLIENT_LOCALE.findall(user_agent)
        return locales[-1] if locales else None

"""How to recognize the Lark and Feishu clients, inside which a page of the bot can request authorization."""

from __future__ import annotations

import re

CLIENT = re.compile(r"\b(Lark|Feishu)/")
CLIENT_LOCALE = re.compile(r"LarkLocale/([A-Za-z]{2})")


class ClientPage:
    """The page that calls `tt.requestAccess`. The app's list of redirect URLs must contain its URL."""

    page_path = "/oauth/lark/client"

    def is_in_client(self, user_agent: str) -> bool:
        return bool(CLIENT.search(user_agent))

    def client_locale(self, user_agent: str) -> str | None:
        locales: list[str] = CLIENT_LOCALE.findall(user_agent)
        return locales[-1] if locales else None

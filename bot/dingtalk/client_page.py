"""What the bot has to know of the DingTalk client, in which its page can authorize without a browser."""

from __future__ import annotations

import re

CLIENT = re.compile(r"\bDingTalk[/(]", re.IGNORECASE)
CLIENT_LOCALE = re.compile(r"\blanguage/([A-Za-z]{2})")


class ClientPage:
    """The page that performs `openAuth`."""

    page_path = "/oauth/dingtalk/client"

    def is_in_client(self, user_agent: str) -> bool:
        return bool(CLIENT.search(user_agent))

    def client_locale(self, user_agent: str) -> str | None:
        locales: list[str] = CLIENT_LOCALE.findall(user_agent)
        return locales[-1] if locales else None

"""The URLs of Lark and Feishu that may be links."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from bot.core.trusted_links import TrustedLinks

DOMAINS = ("feishu.cn", "larksuite.com", "larkoffice.com")
"""Domains of both brands, whose organizations share documents. Every organization has a subdomain of one."""

WEB_ORIGINS = {"open.feishu.cn": "https://www.feishu.cn", "open.larksuite.com": "https://www.larksuite.com"}
"""Where documents open without the organization's host, by the host of the OpenAPI."""

LOOPBACK = re.compile(r"http://(?:localhost|127(?:\.\d+){3}|\[::1\])(?::\d+)?")


def trusted_links(open_url: str = "", origins: Iterable[str | None] = ()) -> TrustedLinks:
    """Return the trusted links of an app whose OpenAPI is at `open_url`. `origins` are other trusted ones."""
    host = urlsplit(open_url).hostname or ""
    web = WEB_ORIGINS.get(host) or (open_url if LOOPBACK.fullmatch(open_url) else None)
    return TrustedLinks(DOMAINS, (open_url, *origins), web)


PLATFORM_LINKS = trusted_links()
"""Trusts the platform's hosts only."""

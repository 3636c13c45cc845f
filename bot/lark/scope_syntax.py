"""How scopes are written on Lark and Feishu: `task:task:read`."""

import re

from bot.core.scopes import OFFLINE_ACCESS, ScopeSyntax

SCOPE_SYNTAX = ScopeSyntax(
    re.compile(rf"(?=.{{1,100}}$)(?:{OFFLINE_ACCESS}|[a-z0-9_]+(?::[a-z0-9_.-]+)+)"),
    # The documented limit for one authorization link.
    most_per_link=50,
)

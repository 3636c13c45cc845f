"""The platform's error codes, which are text. They are compared as a whole: a common prefix, or HTTP 403, means nothing.

https://open-dingtalk.github.io/developerpedia/docs/develop/permission/best-practices/permission-deny
https://open.dingtalk.com/document/orgapp/how-to-process-api-throttling-on-the-dingtalk-server
"""

from __future__ import annotations

INSUFFICIENT_SCOPE = "Forbidden.AccessDenied.AccessTokenPermissionDenied"
"""The app does not have the scope, or the user has not granted it. The response does not say which."""

TOKEN_REJECTED = frozenset({"InvalidAuthentication"})

RATE_LIMITED = frozenset(
    {
        "Forbidden.AccessDenied.QpsLimitForAppkeyAndApi",
        "Forbidden.AccessDenied.QpsLimitForApi",
        "todo.taskCreate.flowControlError",
    }
)

RATE_LIMIT_WAIT = 1.0
"""Seconds. The platform advises waiting one second."""

QUOTA_EXHAUSTED = "Forbidden.AccessDenied.ApiCountLimitForOrg"
"""The organization's monthly quota. Waiting does not help."""

PLATFORM_FAILED = frozenset(
    {"system.busy", "server.error", "todo.taskCreate.lockError", "todo.taskCreate.systemError"}
)

BAN_STATUS = 1111
"""In place of a code: too many requests from one IP address, which is banned for five minutes."""

BAN_WAIT = 300.0
"""Seconds."""

INVALID_CODE = "invalidParameter.authCode.notFound"
"""The authorization code, or the refresh token, is unknown, used or expired."""

TASK_EXISTS = "todo.taskCreate.paramError"
"""A parameter is wrong, or a task with this `sourceId` exists. Only the message says which."""

CARD_EXISTS = "param.cardAlreadyExist"

# The older APIs, whose codes are numbers.

LEGACY_REFUSED = 88
"""The reason is in `sub_code`."""

LEGACY_NO_SCOPE = 60011

LEGACY_TOKEN_REJECTED = frozenset({40014, 42001})

LEGACY_RATE_LIMITED = frozenset({90018, 90002})

LEGACY_NOT_A_MEMBER = 60121
"""The user is not in this organization."""

SESSION_EXPIRED = 300001
"""The session for replies to a message has expired."""

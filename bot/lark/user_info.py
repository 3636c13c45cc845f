"""Reads who an access token belongs to, from `user_info`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bot.core.api import Outcome, RateLimited, Refused, Succeeded, TokenRejected, Unreachable
from bot.core.event_fields import is_id
from bot.core.people import Identity
from bot.core.unseen_characters import one_line

USER_INFO_PATH = "/open-apis/authen/v1/user_info"


def identity_of(outcome: Outcome) -> Identity | Refused | Unreachable:
    """Return the user in a `user_info` response, or why there is none."""
    match outcome:
        case Succeeded(data=data):
            return parse_identity(data)
        case Refused() | Unreachable():
            return outcome
        case TokenRejected(code=code, log_id=log_id):
            return Refused(code, "the token was rejected", log_id)
        case RateLimited():
            return Unreachable("too many requests", may_have_arrived=False)
        case _:
            return Refused(0, "the platform requires a scope for user_info", outcome.log_id)


def parse_identity(data: Mapping[str, Any]) -> Identity | Unreachable:
    person = data.get("data")
    fields = person if isinstance(person, dict) else {}
    open_id, tenant_key = fields.get("open_id"), fields.get("tenant_key")
    if not (is_id(open_id) and is_id(tenant_key)):
        return Unreachable("user_info without open_id or tenant_key", may_have_arrived=True)
    union_id, name = fields.get("union_id"), fields.get("name")
    return Identity(
        open_id,
        tenant_key,
        union_id if is_id(union_id) else None,
        one_line(name, 200) or None if isinstance(name, str) else None,
    )

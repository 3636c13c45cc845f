"""Identifies the user of a token, and maps union ids to user ids.

A message names its sender by user id, which is known in the organization only; a token belongs to a union id. An event
may name both; otherwise the organization's directory is asked. A `UserKey` contains the user id, because messages are
sent to user ids and BOT_ADMINS lists them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable

from bot.core.api import (
    ApiCall,
    InsufficientScope,
    Outcome,
    RateLimited,
    Refused,
    Succeeded,
    TokenRejected,
    Unreachable,
)
from bot.core.event_fields import is_id
from bot.core.people import Identity
from bot.core.unseen_characters import one_line
from bot.dingtalk.error_codes import LEGACY_NOT_A_MEMBER

BY_UNION_ID = "/topapi/user/getbyunionid"

MAX_KNOWN = 20_000

CallLegacy = Callable[[ApiCall], Awaitable[Outcome]]

LOOKUP_REFUSED = "the app may not look up members: add qyapi_get_member"


class Identities:
    """The user ids of union ids, remembered from events and the directory."""

    def __init__(self, corp_id: str, call_legacy: CallLegacy) -> None:
        self._corp_id, self._call = corp_id, call_legacy
        self._user_ids: OrderedDict[str, str] = OrderedDict()
        """By union id."""

    def learn(self, union_id: str, user_id: str) -> None:
        self._user_ids[union_id] = user_id
        self._user_ids.move_to_end(union_id)
        while len(self._user_ids) > MAX_KNOWN:
            self._user_ids.popitem(last=False)

    async def identity_of(self, me: Outcome) -> Identity | Refused | Unreachable:
        """Return the identity that a response of `contact/users/me` names. A person who is not a member is ELSEWHERE."""
        match me:
            case Succeeded(data=data):
                fields = data if isinstance(data, dict) else {}
            case Refused() | Unreachable():
                return me
            case TokenRejected(code=code, log_id=log_id):
                return Refused(code, "the token was rejected", log_id)
            case RateLimited():
                return Unreachable("too many requests", may_have_arrived=False)
            case InsufficientScope(log_id=log_id):
                # Worth a retry: every link requests this scope, and a consent takes a moment to reach every server.
                return Unreachable("the token cannot read its own user", may_have_arrived=False)
            case _:
                return Refused(0, "the token's user cannot be read", me.log_id)
        union_id, name = fields.get("unionId"), fields.get("nick")
        if not is_id(union_id):
            return Unreachable("contact/users/me without unionId", may_have_arrived=True)
        user_id = await self._user_id(union_id)
        if not isinstance(user_id, str):
            return user_id
        shown = one_line(name, 200) if isinstance(name, str) else ""
        tenant = self._corp_id if user_id else ELSEWHERE
        return Identity(user_id or union_id, tenant, union_id, shown or None)

    async def _user_id(self, union_id: str) -> str | Refused | Unreachable:
        """Return the user id of a member, or an empty string for a person who is not one."""
        if union_id in self._user_ids:
            return self._user_ids[union_id]
        match await self._call(ApiCall("POST", BY_UNION_ID, {}, {"unionid": union_id})):
            case Succeeded(data=data):
                result = data.get("result") if isinstance(data, dict) else None
                user_id = result.get("userid") if isinstance(result, dict) else None
                if not is_id(user_id):
                    return Unreachable("getbyunionid without userid", may_have_arrived=True)
                self.learn(union_id, user_id)
                return user_id
            case Refused(code=code) if code == LEGACY_NOT_A_MEMBER:
                return ""
            case Refused(code=code, unnamed_scope=True, log_id=log_id):
                return Refused(code, LOOKUP_REFUSED, log_id)
            case Refused() | Unreachable() as failed:
                return failed
            case _:
                return Unreachable("the member could not be looked up", may_have_arrived=False)


ELSEWHERE = "elsewhere"
"""Stands for the organization of a person who is not a member of the bot's."""

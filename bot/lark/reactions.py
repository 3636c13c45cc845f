"""Adds and removes the reaction that marks a message as being worked on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from urllib.parse import quote

from bot.core.api import ApiCall, AppScopeMissing, InsufficientScope, Refused, Succeeded
from bot.core.messages import NotSent
from bot.lark.api import CallAsApp
from bot.lark.messages import MESSAGES, not_sent

TYPING = {"reaction_type": {"emoji_type": "Typing"}}

LACKS_PERMISSION, NO_SUCH_API, NO_SUCH_MESSAGE = 230027, 404, 231003


@dataclass(frozen=True, slots=True)
class CannotReact:
    """The app may not add reactions, or the platform has none: adding one to another message would fail too."""

    reason: str


async def react(call_as_app: CallAsApp, message_id: str) -> str | NotSent | CannotReact:
    """https://open.feishu.cn/document/server-docs/im-v1/message-reaction/create"""
    outcome = await call_as_app(ApiCall("POST", reactions_path(message_id), {}, TYPING))
    match outcome:
        case Succeeded(data={"data": {"reaction_id": str(reaction_id)}}) if reaction_id:
            return reaction_id
        case Succeeded():
            return NotSent("a response without a reaction id", retry=False, may_have_arrived=True)
        case AppScopeMissing() | InsufficientScope():
            return CannotReact(not_sent(outcome).reason)
        case Refused(code=code) if code in {LACKS_PERMISSION, NO_SUCH_API}:
            return CannotReact(not_sent(outcome).reason)
        case Refused(code=code) if code == NO_SUCH_MESSAGE:
            # The message existed a moment ago, so it was recalled.
            return replace(not_sent(outcome), recalled=True)
        case _:
            return not_sent(outcome)


async def remove_reaction(call_as_app: CallAsApp, message_id: str, reaction_id: str) -> NotSent | None:
    path = f"{reactions_path(message_id)}/{quote(reaction_id, safe='')}"
    outcome = await call_as_app(ApiCall("DELETE", path))
    return None if isinstance(outcome, Succeeded) else not_sent(outcome)


def reactions_path(message_id: str) -> str:
    return f"{MESSAGES}/{quote(message_id, safe='')}/reactions"

"""Ends a call: its status, its answer, and what a recalled question changes about that."""

from __future__ import annotations

import hashlib
from datetime import datetime

from bot.core.calls import CallStatus, DeferredCall
from bot.core.errors import LeaseLost
from bot.core.messages import Reply
from bot.core.scopes import ScopeSet
from bot.core.times import find_zone
from bot.core.words import replies
from bot.flows.bot import Bot, now
from bot.flows.calls.progress import Run
from bot.flows.outbox import answer, answer_alone, deliver_all, insert_all, typed
from bot.store import call_steps, calls, granted_scopes, grants, users
from bot.store.outbox import OutgoingMessage
from bot.store.transaction import Connection


async def finish_answered(bot: Bot, run: Run, reply: Reply) -> None:
    """Settles a call with its command's answer. A group sees it, and whose it is, unless it is for the asker alone."""
    call = run.call
    refused = bool(run.results) and run.results[-1].refused is not None
    if call.suspended_at is not None and call.request_id is not None and not run.has_written:
        asked = (call.request_id, call.chat.chat_id, call.command, call.arguments)
        digest = hashlib.sha256(bot.platform.render_reply(reply).body.encode()).digest()
        if bot.repeats.is_repeat(asked, digest):
            reply = replies.same_as_above(reply, typed(call))
    public = not (run.command.private or reply.confidential or refused)
    if public and call.chat.kind == "group" and run.has_acted:
        profile = await bot.database.read(lambda c: users.profile(c, call.user))
        reply = replies.on_behalf(reply, profile.name if profile else None)
    await finish(bot, call, CallStatus.SUCCEEDED, "answered", reply, used=run.used_scopes, public=public)


async def finish(
    bot: Bot,
    call: DeferredCall,
    status: CallStatus,
    outcome: str,
    reply: Reply,
    *,
    used: ScopeSet | None = None,
    public: bool = False,
) -> None:
    """Settles a call together with its answer, then sends the answer. `used`: what it needed of the grant."""
    draft, moment = answer(bot, call, reply, public=public), now()

    def work(c: Connection) -> list[OutgoingMessage] | None:
        if not calls.settle(c, call.id, call.claim, status, outcome, moment):
            return finish_recalled(c, bot, call, (status, outcome), reply, moment)
        if used is not None:
            grants.touch(c, call.user, moment)
        if reply.time_zone and find_zone(reply.time_zone):
            users.learn_time_zone(c, call.user, reply.time_zone)
        if used:
            granted_scopes.used(c, call.user, used, call.command, moment)
        return insert_all(c, bot, [draft])

    messages = await bot.database.write(work)
    if messages is None:
        raise LeaseLost
    await deliver_all(bot, messages)


def finish_recalled(
    c: Connection, bot: Bot, call: DeferredCall, end: tuple[CallStatus, str], reply: Reply, moment: datetime
) -> list[OutgoingMessage] | None:
    """Inside a transaction: settles a call whose question was recalled while it was under way. None when it was not.

    What was read for it is dropped; what was written is told to its asker alone.
    """
    wrote = call_steps.has_written(c, call.id)
    status, outcome = end if wrote else (CallStatus.CANCELLED, "recalled")
    if not calls.settle_recalled(c, call.id, call.claim, status, outcome, moment):
        return None
    return insert_all(c, bot, [answer_alone(bot, call, reply)]) if wrote else []


async def stop_if_recalled(bot: Bot, call: DeferredCall) -> bool:
    """Ends a call that was not allowed to go on, if that is because its question was recalled."""
    end = (CallStatus.CANCELLED, "recalled")
    reply, moment = replies.stopped_halfway(typed(call)), now()
    messages = await bot.database.write(lambda c: finish_recalled(c, bot, call, end, reply, moment))
    await deliver_all(bot, messages or [])
    return messages is not None


async def finish_unknown(bot: Bot, run: Run) -> None:
    reply = replies.outcome_unknown(typed(run.call))
    await finish(bot, run.call, CallStatus.OUTCOME_UNKNOWN, "outcome_unknown", reply)

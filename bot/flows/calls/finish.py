"""Ends a call: stores its status and its answer, with different rules if its message was recalled."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

from bot.core.calls import CallStatus, DeferredCall
from bot.core.cards import Action
from bot.core.errors import LeaseLost
from bot.core.messages import Reply
from bot.core.scopes import ScopeSet
from bot.core.times import find_zone
from bot.core.words import replies
from bot.flows.bot import Bot, utc_now
from bot.flows.calls import api_calls
from bot.flows.calls.run_state import Run
from bot.flows.outbox import answer, deliver_all, insert_all, private_answer, typed
from bot.store import call_steps, calls, granted_scopes, grants, users
from bot.store.outbox import OutgoingMessage
from bot.store.transaction import Connection


@dataclass(frozen=True, slots=True)
class End:
    """How a call ends."""

    status: CallStatus
    outcome: str
    """A short code that is stored with the call."""
    reply: Reply
    public: bool = False
    """Whether all members of a group see the reply."""
    used: ScopeSet | None = None
    """The scopes that the call needed, if it used the grant."""
    reason: str = ""
    """What the platform said last, with its log id, for operators."""

    @property
    def offers_retry(self) -> bool:
        return self.reply.control is not None and self.reply.control.action == Action.RETRY


def failed(outcome: str, reply: Reply, reason: str = "") -> End:
    return End(CallStatus.FAILED, outcome, reply, reason=reason)


def outcome_unknown(call: DeferredCall) -> End:
    return End(CallStatus.OUTCOME_UNKNOWN, "outcome_unknown", replies.outcome_unknown(typed(call)))


async def finish(bot: Bot, call: DeferredCall, end: End) -> None:
    """Settle a call together with its answer, then send the answer.

    Raises LeaseLost if another worker has claimed the call.
    """
    draft, now = answer(bot, call, end.reply, public=end.public), utc_now()

    def work(c: Connection) -> list[OutgoingMessage] | None:
        if not calls.settle(
            c, call, end.status, end.outcome, now, reason=end.reason, repeatable=end.offers_retry
        ):
            return finish_recalled(c, bot, call, end, now)
        if end.used is not None:
            grants.touch(c, call.user, now)
        if end.reply.time_zone and find_zone(end.reply.time_zone):
            users.learn_time_zone(c, call.user, end.reply.time_zone)
        if end.used:
            granted_scopes.used(c, call.user, end.used, call.command, now)
        return insert_all(c, bot, [draft])

    messages = await api_calls.write(bot, call, work)
    if messages is None:
        raise LeaseLost
    await deliver_all(bot, messages)


async def finish_answered(bot: Bot, run: Run, reply: Reply) -> None:
    """Settle a call with its command's answer.

    In a group the answer is public and names the user, unless it is for the user alone.
    """
    call = run.call
    refused = bool(run.results) and run.results[-1].refused is not None
    if call.suspended_at is not None and call.request_id is not None and not run.has_written:
        asked = (call.request_id, call.chat.chat_id, call.chat.thread_id, call.command, call.arguments)
        content = bot.platform_of(call.user).render_reply(reply, call.language)
        digest = hashlib.sha256(content.body.encode()).digest()
        before = bot.repeated_answers.record(asked, digest, call.id)
        # Another replica may have given a different answer since, or that answer may not have been delivered.
        if before and bot.repeated_answers.is_latest(
            before, asked, await bot.database.read(lambda c: calls.answered_with(c, call, limit=100))
        ):
            reply = replies.same_as_above(reply, typed(call))
    public = not (run.command.private or reply.confidential or refused)
    if public and call.chat.kind == "group" and run.has_acted:
        profile = await bot.database.read(lambda c: users.profile(c, call.user))
        reply = replies.on_behalf(reply, profile.name if profile else None)
    await finish(bot, call, End(CallStatus.SUCCEEDED, "answered", reply, public, run.used_scopes))


async def finish_unknown(bot: Bot, run: Run) -> None:
    """Settle a call whose write may or may not have been carried out."""
    await finish(bot, run.call, outcome_unknown(run.call))


# --- recalled messages -----------------------------------------------------------------------------


def finish_recalled(
    c: Connection, bot: Bot, call: DeferredCall, end: End, now: datetime
) -> list[OutgoingMessage] | None:
    """Settle a call whose message was recalled while it ran. Returns its messages, or None if it was not recalled.

    The answer is dropped if the call wrote nothing. Otherwise only the user sees it.
    """
    wrote = call_steps.has_written(c, call.id)
    status, outcome = (end.status, end.outcome) if wrote else (CallStatus.CANCELLED, "recalled")
    if not calls.settle_recalled(c, call, status, outcome, now):
        return None
    return insert_all(c, bot, [private_answer(bot, call, end.reply)]) if wrote else []


async def stop_if_recalled(bot: Bot, call: DeferredCall) -> bool:
    """Settle a call that may not continue, if the reason is that its message was recalled. Returns whether it is."""
    end, now = End(CallStatus.CANCELLED, "recalled", replies.stopped_halfway(typed(call))), utc_now()
    messages = await bot.database.write(lambda c: finish_recalled(c, bot, call, end, now))
    await deliver_all(bot, messages or [])
    return messages is not None

"""What only an administrator can mend: a scope that the app does not have. The call waits, and goes on by itself."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from bot.core import replies
from bot.core.cards import AdministratorCard
from bot.core.errors import LeaseLost
from bot.core.model import (
    CallStatus,
    Content,
    DeferredCall,
    NotSent,
    ScopeApplication,
    Step,
    UserKey,
    WaitsFor,
    Words,
)
from bot.core.scopes import Requirement, Scope, ScopeSet, choose_scopes, named
from bot.flows.bot import Bot, now
from bot.flows.delivery import answer, deliver_all, draft, insert_all, note, typed
from bot.flows.waiting import only_genuine, suspend
from bot.store import audit, calls, events, outbox, scope_waits, users
from bot.store.database import Connection
from bot.store.outbox import OutgoingMessage
from bot.store.scope_waits import ScopeWait


async def wait_for(bot: Bot, call: DeferredCall, needs: Requirement, steps: Sequence[Step]) -> None:
    """Suspends a claimed call until the app has scopes for `needs`; its person and the administrators are told."""
    enabled = await bot.platform.enabled_scopes()
    scopes = to_enable(needs, enabled)
    moment = now()
    words = in_words(await bot.platform.describe_scopes(scopes))
    told = [note(bot, call, replies.waiting_for_administrator(typed(call), words), "administrator")]
    again = None
    admins: Sequence[UserKey] = ()
    if is_contradicted(needs, enabled):
        again = moment + pause_after(call.attempts)
        if call.attempts >= TOLD_AFTER:
            told.append(note(bot, call, replies.still_refused(typed(call), words), "still-refused"))
            tenant = call.user.tenant_key
            admins = [bot.platform.user_key(each, tenant) for each in await bot.administrators()]

    def work(c: Connection) -> list[OutgoingMessage]:
        if not may_ask_for(c, bot, call.user, scopes, moment):
            return turn_away(c, bot, call, words, moment)
        suspend(c, call, steps, WaitsFor.ADMINISTRATOR, needs, None, moment, again)
        wait_id = scope_waits.open(c, bot.platform.name, bot.platform.app_id, scopes, moment)
        content = bot.platform.render_reply(replies.publish_a_version(words))
        notices = [
            draft(bot, admin, content, kind="notice", key=f"{wait_id}/{admin.open_id[-12:]}")
            for admin in admins
        ]
        return insert_all(c, bot, [*told, *notices])

    await deliver_all(bot, await bot.database.write(work))
    bot.wake.upkeep.set()


MOST_A_DAY = 10
"""Scope sets that one person can have the administrators told of: each is a card for each of them, and nobody can
tell an invented name from that of a new scope."""


def may_ask_for(c: Connection, bot: Bot, user: UserKey, scopes: ScopeSet, moment: datetime) -> bool:
    """Inside a transaction: takes one of the person's places of this day, unless the administrators know already."""
    platform, app_id = bot.platform.name, bot.platform.app_id
    if scope_waits.is_open(c, platform, app_id, scopes):
        return True
    day = f"administrators-{moment:%Y-%m-%d}-{user.tenant_key}-{user.open_id}"
    return any(events.record(c, platform, app_id, f"{day}-{place}", moment) for place in range(MOST_A_DAY))


def turn_away(
    c: Connection, bot: Bot, call: DeferredCall, words: Words, moment: datetime
) -> list[OutgoingMessage]:
    """Inside a transaction: ends a call for whose scopes the administrators are not bothered."""
    if not calls.settle(c, call.id, call.claim, CallStatus.FAILED, "administrators_told_enough", moment):
        raise LeaseLost
    return insert_all(c, bot, answer(bot, call, replies.told_enough(typed(call), words)))


TOLD_AFTER = 4
"""Tries that the platform refuses though its list says that the scope is enabled: a change takes a moment to arrive."""

LONGEST_PAUSE = timedelta(minutes=5)


def lacking(needs: Requirement, enabled: ScopeSet | None) -> Requirement:
    """What of `needs` the app has no scope for, by the list; nothing when that cannot be told."""
    return choose_scopes(needs, frozenset(), enabled).unavailable


def is_contradicted(needs: Requirement, enabled: ScopeSet | None) -> bool:
    """Whether the list says that the app has what the platform has just refused for want of."""
    return enabled is not None and not lacking(needs, enabled)


def pause_after(attempts: int) -> timedelta:
    """4, 8, 16 … seconds, of which the second half is random, up to minutes."""
    seconds = min(LONGEST_PAUSE.total_seconds(), 4.0 * 2 ** min(attempts - 1, 10))
    return timedelta(seconds=seconds * random.uniform(0.5, 1))  # noqa: S311 - jitter


def to_enable(needs: Requirement, enabled: ScopeSet | None) -> ScopeSet:
    """The preferred alternative of each clause that the app cannot meet (of all, when that cannot be told)."""
    return frozenset(clause[0] for clause in lacking(needs, enabled) or needs if clause)


def in_words(described: Mapping[Scope, Words]) -> Words:
    """What nobody knows words for is only named."""
    items = sorted(described.items())
    return Words(
        ", ".join(scope if words.en == scope else f"“{words.en}” ({scope})" for scope, words in items),
        "、".join(scope if words.zh == scope else f"“{words.zh}”（{scope}）" for scope, words in items),
    )


async def look_again(bot: Bot, *, asked_by_administrator: bool = False) -> int:
    """Releases the calls whose scopes the app has by now; returns how many. Costs nothing while nobody waits."""
    platform = bot.platform

    def read(c: Connection) -> tuple[list[DeferredCall], list[ScopeWait]]:
        return everybody(c), scope_waits.waiting(c, platform.name, platform.app_id)

    found, waits = await bot.database.read(read)
    waiting = await only_genuine(bot, found)
    if not waiting and not any(may_be_watched(bot, wait) for wait in waits):
        return 0
    enabled = await platform.enabled_scopes(fresh=True)
    ready = [call for call in waiting if may_go_on(call, enabled, asked=asked_by_administrator)]
    if ready:
        await bot.database.write(lambda c: calls.release(c, [call.id for call in ready], now()))
        bot.wake.calls.set()
    if not asked_by_administrator:
        # Not for a click: its answer would undo what a card shows before it. The next look comes soon.
        await settle_waits(bot, waits, waiting, enabled)
    return len(ready)


def may_be_watched(bot: Bot, wait: ScopeWait) -> bool:
    """Whether somebody may have waited for it lately: the administrators' card is to say so when it is enabled."""
    return wait.cards_due_at is not None and wait.cards_due_at > now() - bot.deferred_ttl


def may_go_on(call: DeferredCall, enabled: ScopeSet | None, *, asked: bool) -> bool:
    """Whether a call that waits for the administrator is worth another try.

    When the list says so, or cannot be read; ever more rarely when the platform refuses all the same. One whose page
    showed an error that the list does not explain (it still names its request) waits for the administrator's word.
    """
    return not lacking(call.needs, enabled) and (
        asked or (call.request_id is None and call.runs_after <= now())
    )


async def settle_waits(
    bot: Bot, waits: Sequence[ScopeWait], waiting: Sequence[DeferredCall], enabled: ScopeSet | None
) -> None:
    """What is enabled, and what no call has come back to wait for, is done: the administrators' cards say so.

    A list may say "enabled" while the platform goes on refusing; then nobody is thanked, nor told anew.
    """
    needed = named(*(call.needs for call in waiting))
    for wait in waits:
        if enabled is None or not wait.scopes <= enabled or not wait.scopes.isdisjoint(needed):
            continue

        def work(c: Connection, wait: ScopeWait = wait) -> None:
            moment = now()
            if scope_waits.enabled(c, wait.id, moment):
                subject = ("scope_wait", wait.id)
                audit.write(
                    c, "scopes_enabled", user=None, subject=subject, now=moment, scopes=sorted(wait.scopes)
                )

        await bot.database.write(work)
        bot.wake.upkeep.set()


async def apply(bot: Bot, user: UserKey) -> ScopeApplication:
    """Has the platform ask the organization's administrator for all that the app has applied for."""
    result = await bot.platform.apply_for_scopes()
    await bot.database.write(
        lambda c: audit.write(c, "scopes_applied_for", user=user, now=now(), result=result.value)
    )
    return result


# --- the administrators' cards --------------------------------------------------------------------------------


async def show_due_cards(bot: Bot) -> None:
    """Makes the administrators' cards true: one for each of them and each scope set, changed as things move on.

    What a crash or the platform interrupts is due again when its lease ends.
    """
    moment = now()
    due = await bot.database.write(
        lambda c: scope_waits.cards_due(c, bot.worker, moment, moment + bot.lease, limit=5)
    )
    await asyncio.gather(*(show_cards(bot, wait) for wait in due))


async def show_cards(bot: Bot, wait: ScopeWait) -> None:
    def read(c: Connection) -> tuple[list[DeferredCall], dict[UserKey, str]]:
        waiting = [call for call in everybody(c) if call.genuine and is_about(wait, call)]
        return waiting, users.names(c, [call.user for call in waiting])

    waiting, names = await bot.database.read(read)
    card = AdministratorCard(
        wait.id,
        await bot.platform.describe_scopes(wait.scopes),
        tuple(dict.fromkeys(names.get(call.user) or call.user.open_id for call in waiting)),
        tuple(dict.fromkeys(typed(call) for call in waiting)),
        bot.platform.console_link(wait.scopes),
        can_apply=not wait.scopes.isdisjoint(bot.platform.pending_scopes),
        done=wait.status == "enabled",
    )
    admins = await bot.administrators()
    tenant = waiting[0].user.tenant_key if waiting else ""
    told = [await show_to(bot, bot.platform.user_key(each, tenant), card) for each in admins]
    if told and all(told):
        await bot.database.write(lambda c: scope_waits.cards_shown(c, wait))


def everybody(c: Connection) -> list[DeferredCall]:
    return calls.waiting_for(c, WaitsFor.ADMINISTRATOR, limit=AT_A_TIME)


AT_A_TIME = 200
"""Waiting calls that one look considers."""


def is_about(wait: ScopeWait, call: DeferredCall) -> bool:
    return not wait.scopes.isdisjoint(named(call.needs))


async def show_to(bot: Bot, admin: UserKey, card: AdministratorCard) -> bool:
    """Sends the card to an administrator, or changes the one they have. False: it is worth another try.

    Who waits in a later time, when that can no longer be changed, is told of by a card of that time.
    """
    key, content = f"{card.subject}-{admin.open_id[-12:]}", bot.platform.render_card(card)
    first = await show_as(bot, admin, card, key, content)
    if not isinstance(first, NotSent):
        return first
    # Four digits: the platform takes fifty characters, and a card can be changed for fourteen days.
    fortnight = f"{now().toordinal() // 14:x}"
    again = await show_as(bot, admin, card, f"{key}-{fortnight}", content)
    return again is not False


async def show_as(
    bot: Bot, admin: UserKey, card: AdministratorCard, key: str, content: Content
) -> bool | NotSent:
    """`show_to` for the card of one delivery key; `NotSent` when it can no longer be changed."""
    before = await bot.database.read(lambda c: outbox.find(c, key))
    if before is None:
        if not card.waiting:
            # It was enabled, or given up, before this administrator heard of it.
            return True
        message = draft(bot, admin, content, kind="administrator_card", key=key)
        await deliver_all(bot, await bot.database.write(lambda c: insert_all(c, bot, [message])))
        return True
    if before.message_id is None:
        return before.settled
    result = await bot.platform.update_card(before.message_id, content)
    if isinstance(result, NotSent):
        return result if result.gone else not result.retry
    return True

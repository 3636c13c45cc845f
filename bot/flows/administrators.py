"""What only an administrator can fix: a scope that the app does not have. The call waits, and goes on by itself."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from bot.core.builtin_commands import AUTHORIZE
from bot.core.calls import CallStatus, DeferredCall, Step, WaitsFor
from bot.core.cards import AdministratorCard
from bot.core.errors import LeaseLost
from bot.core.language import Words
from bot.core.messages import Content, NotSent
from bot.core.people import UserKey
from bot.core.platform import Platform, ScopeApplication
from bot.core.retry import backoff
from bot.core.scopes import Requirement, Scope, ScopeSet, ScopeWaitStatus, choose_scopes, named
from bot.core.words import replies
from bot.core.words.administrators import publish_a_version
from bot.core.words.refusals import no_such_scope, still_refused, too_many_scope_requests
from bot.flows.bot import Bot, now
from bot.flows.calls.suspend import Wait, only_genuine, suspend
from bot.flows.outbox import answer, deliver_all, draft, insert_all, note, typed, withdraw
from bot.store import audit, calls, outbox, scope_waits, seen_events
from bot.store.cards import administrator_cards_shown, claim_due_administrator_cards
from bot.store.outbox import OutgoingMessage
from bot.store.scope_waits import ScopeWait
from bot.store.transaction import Connection

log = logging.getLogger(__name__)


async def wait_for(
    bot: Bot,
    call: DeferredCall,
    needs: Requirement,
    steps: Sequence[Step],
    *,
    named_by_platform: Iterable[Scope] = (),
) -> None:
    """Suspends a claimed call until the app has scopes for `needs`; its person and the administrators are told.

    Administrators are asked for what exists: what the platform has named in a refusal, or has in one of its lists.
    """
    platform = bot.platform_of(call.user)
    enabled = await platform.enabled_scopes()
    described = await platform.describe_scopes(named(needs))
    certain = frozenset(named_by_platform)
    scopes, unknown = to_enable(needs, enabled, lambda scope: scope in certain or platform.knows_scope(scope))
    if unknown and (enabled is not None or not scopes):
        await refuse_unknown(bot, call, unknown)
        return
    moment = now()
    words = list_scopes({scope: described[scope] for scope in scopes})
    begun = await bot.database.write(lambda c: begin(c, bot, call, scopes, words, moment))
    if not isinstance(begun, ScopeWait):
        await deliver_all(bot, begun)
        return
    # First the administrators, and then the word that they know: it has to be true.
    known = await reach_administrators(bot, begun, call)
    waits = replies.waiting_for_administrator(typed(call), words, known=known)
    told = [note(bot, call, waits, "administrator", private=True)]
    again = None
    admins: Sequence[UserKey] = ()
    if is_contradicted(needs, enabled):
        again = moment + pause_after(call.attempts)
        if call.attempts >= TOLD_AFTER:
            still = still_refused(typed(call), words)
            told.append(note(bot, call, still, "still-refused", private=True))
            tenant = call.user.tenant_key
            admins = [platform.user_key(each, tenant) for each in await bot.administrators(platform)]

    def work(c: Connection) -> list[OutgoingMessage]:
        suspend(c, call, steps, Wait(WaitsFor.ADMINISTRATOR, needs, retried_at=again), moment)
        app = (platform.name, platform.app_id)
        # The cards tell of this call already, unless the scopes were enabled in this very moment.
        wait = begun if scope_waits.is_open(c, *app, scopes) else scope_waits.open(c, *app, scopes, moment)
        content = platform.render_reply(publish_a_version(words))
        notices = [
            draft(bot, admin, content, kind="notice", key=f"{wait.id}/{admin.open_id[-12:]}")
            for admin in admins
        ]
        return insert_all(c, bot, [*told, *notices])

    await deliver_all(bot, await bot.database.write(work))
    bot.wake.upkeep.set()


def begin(
    c: Connection, bot: Bot, call: DeferredCall, scopes: ScopeSet, words: Words, moment: datetime
) -> ScopeWait | list[OutgoingMessage]:
    """Inside a transaction: what the administrators are told of, or the answer to a call that they are not told of."""
    if not may_ask_for(c, call.user, scopes, moment):
        return turn_away(c, bot, call, words, moment)
    return scope_waits.open(
        c, call.user.platform, call.user.app_id, scopes, moment, due_at=moment + bot.lease
    )


REACHED_WITHIN = 4.0
"""Seconds that the person's word waits for the administrators' cards."""


async def reach_administrators(bot: Bot, wait: ScopeWait, call: DeferredCall) -> bool:
    """Shows the card to every administrator; returns whether one of them has it by now.

    What takes longer goes on by itself, as does what a crash interrupts: the wait's cards are due again.
    """
    showing = bot.background(show_cards(bot, bot.platform_of(call.user), wait, call))
    await asyncio.wait({showing}, timeout=REACHED_WITHIN)
    keys = [
        key
        for each in await bot.administrators(bot.platform_of(call.user))
        for key in keys_of_card(wait.id, each)
    ]

    def read(c: Connection) -> bool:
        found = [outbox.find(c, key) for key in keys]
        return any(each is not None and each.message_id is not None for each in found)

    return await bot.database.read(read)


async def refuse_unknown(bot: Bot, call: DeferredCall, unknown: Requirement) -> None:
    """Ends a call that needs a scope which does not exist, by all that the platform tells. Nobody could enable it."""
    scopes, typed_by_person = sorted(named(unknown)), call.command == AUTHORIZE
    if not typed_by_person:
        told = {"call": call.id, "command": call.command, "scopes": scopes}
        log.error("a command needs scopes that the platform does not list", extra=told)
    reply = no_such_scope(typed(call), ", ".join(scopes), typed_by_person=typed_by_person)
    moment = now()

    def work(c: Connection) -> list[OutgoingMessage]:
        if not calls.settle(c, call.id, call.claim, CallStatus.FAILED, "unknown_scope", moment):
            raise LeaseLost
        return insert_all(c, bot, [answer(bot, call, reply)])

    await deliver_all(bot, await bot.database.write(work))


MOST_A_DAY = 10
"""Scope sets, and errors of the platform's page, that one person can have the administrators told of in a day."""


def may_ask_for(c: Connection, user: UserKey, scopes: ScopeSet, moment: datetime) -> bool:
    """Inside a transaction: takes one of the person's places of this day, unless the administrators know already."""
    if scope_waits.is_open(c, user.platform, user.app_id, scopes):
        return True
    return take_place(c, user, moment)


def take_place(c: Connection, user: UserKey, moment: datetime) -> bool:
    """Inside a transaction: whether the administrators may be told of one more thing for this person today."""
    day = f"administrators-{moment:%Y-%m-%d}-{user.tenant_key}-{user.open_id}"
    return any(
        seen_events.record(c, user.platform, user.app_id, f"{day}-{place}", moment)
        for place in range(MOST_A_DAY)
    )


def turn_away(
    c: Connection, bot: Bot, call: DeferredCall, words: Words, moment: datetime
) -> list[OutgoingMessage]:
    """Inside a transaction: ends a call for whose scopes the administrators are not bothered."""
    if not calls.settle(c, call.id, call.claim, CallStatus.FAILED, "administrators_told_enough", moment):
        raise LeaseLost
    return insert_all(c, bot, [answer(bot, call, too_many_scope_requests(typed(call), words))])


TOLD_AFTER = 4
"""Tries that the platform refuses though its list says that the scope is enabled: a change takes a moment to arrive."""

FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=4), timedelta(minutes=5)


def lacking(needs: Requirement, enabled: ScopeSet | None) -> Requirement:
    """What of `needs` the app has no scope for, by the list; nothing when that cannot be told."""
    return choose_scopes(needs, frozenset(), enabled).unavailable


def is_contradicted(needs: Requirement, enabled: ScopeSet | None) -> bool:
    """Whether the list says that the app has what the platform has just refused for want of."""
    return enabled is not None and not lacking(needs, enabled)


def pause_after(attempts: int) -> timedelta:
    return backoff(attempts, random.random(), first=FIRST_PAUSE, longest=LONGEST_PAUSE)  # noqa: S311 - jitter


def to_enable(
    needs: Requirement, enabled: ScopeSet | None, is_known: Callable[[Scope], bool]
) -> tuple[ScopeSet, Requirement]:
    """The preferred alternative of each clause that the app cannot meet (of all, when that cannot be told).

    Only what exists counts. Also returns the clauses of which nothing does.
    """
    clauses = [clause for clause in lacking(needs, enabled) or needs if clause]
    preferred = [next(filter(is_known, clause), None) for clause in clauses]
    unknown = tuple(clause for clause, scope in zip(clauses, preferred, strict=True) if scope is None)
    return frozenset(scope for scope in preferred if scope is not None), unknown


def list_scopes(described: Mapping[Scope, Words]) -> Words:
    """What nobody knows words for is only named."""
    items = sorted(described.items())
    return Words(
        ", ".join(scope if words.en == scope else f"“{words.en}” ({scope})" for scope, words in items),
        "、".join(scope if words.zh == scope else f"“{words.zh}”（{scope}）" for scope, words in items),
    )


async def look_again(bot: Bot, platform: Platform, *, asked_by_administrator: bool = False) -> int:
    """Releases the calls whose scopes the app has by now; returns how many. Costs nothing while nobody waits."""

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
    applications = bot.platform_of(user).scope_applications
    if applications is None:
        return ScopeApplication.FAILED
    result = await applications.apply_for_scopes()
    await bot.database.write(
        lambda c: audit.write(c, "scopes_applied_for", user=user, now=now(), result=result.value)
    )
    return result


# --- the administrators' cards --------------------------------------------------------------------------------


async def show_due_cards(bot: Bot, platform: Platform) -> None:
    """Makes the administrators' cards true: one for each of them and each scope set, changed as things move on.

    What a crash or the platform interrupts is due again when its lease ends.
    """
    claim = bot.claim(app=platform.app)
    due = await bot.database.write(lambda c: claim_due_administrator_cards(c, claim, limit=5))
    await asyncio.gather(*(show_cards(bot, platform, wait) for wait in due))


async def show_cards(bot: Bot, platform: Platform, wait: ScopeWait, also: DeferredCall | None = None) -> None:
    """`also`: a call that is about to wait for just these scopes."""
    found = await bot.database.read(everybody)
    waiting = [call for call in found if call.genuine and is_about(wait, call)]
    waiting += [also] if also is not None else []
    if also is None and not wait.scopes <= named(*(call.needs for call in waiting)):
        # The row has no seal, and administrators are asked only for what genuine calls need.
        waiting = []
    applications = platform.scope_applications
    card = AdministratorCard(
        wait.id,
        await platform.describe_scopes(wait.scopes),
        tuple(dict.fromkeys(call.user.open_id for call in waiting)),
        tuple(dict.fromkeys(described(bot, call) for call in waiting)),
        platform.console_link(wait.scopes),
        can_apply=applications is not None and not wait.scopes.isdisjoint(applications.pending_scopes),
        done=wait.status is ScopeWaitStatus.ENABLED,
    )
    admins = await bot.administrators(platform)
    tenant = waiting[0].user.tenant_key if waiting else ""
    told = [await show_to(bot, platform.user_key(each, tenant), card) for each in admins]
    if told and all(told):
        await bot.database.write(lambda c: administrator_cards_shown(c, wait))


def described(bot: Bot, call: DeferredCall) -> str:
    """The command as an administrator reads it."""
    command = bot.commands.get(call.command)
    try:
        more = command.told(call.arguments) if command else ""
    except Exception as error:
        log.error("told failed", extra={"command": call.command, "error": type(error).__name__})
        more = ""
    return f"{typed(call)} {more}".rstrip()


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
    content = bot.platform_of(admin).render_card(card)
    key, key_of_fortnight = keys_of_card(card.subject, admin.open_id)
    first = await show_as(bot, admin, card, key, content)
    if not isinstance(first, NotSent):
        return first
    again = await show_as(bot, admin, card, key_of_fortnight, content)
    return again is not False


def keys_of_card(subject: str, open_id: str) -> tuple[str, str]:
    """The delivery keys of an administrator's card: the first, and that of a time when the first cannot be changed.

    Four digits: the platform takes fifty characters, and a card can be changed for fourteen days.
    """
    key = f"{subject}-{open_id[-12:]}"
    return key, f"{key}-{now().toordinal() // 14:x}"


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
    result = await bot.platform_of(admin).update_card(before.message_id, content)
    if result is None:
        return True
    if result.retry:
        return False
    if not result.gone:
        # One that they alone see in a group cannot be changed.
        await withdraw(bot.platform_of(admin), before.message_id)
    return result

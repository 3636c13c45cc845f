"""Scopes that the app has not enabled: the call waits for an administrator, who is told, and is then released."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial

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
from bot.store.cards import Drawn, shown
from bot.store.outbox import OutgoingMessage
from bot.store.scope_waits import ScopeWait
from bot.store.transaction import Connection

log = logging.getLogger(__name__)


async def suspend_for_administrator(
    bot: Bot,
    call: DeferredCall,
    needs: Requirement,
    steps: Sequence[Step],
    *,
    named_by_platform: Iterable[Scope] = (),
) -> None:
    """Suspend a claimed call until the app has scopes for `needs`, and tell its user and the administrators.

    Administrators are asked only for scopes that the platform has named in a refusal or lists.
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
    # The administrators come first, so that the note to the user is true.
    known = await reach_administrators(bot, begun, call)
    waits = replies.waiting_for_administrator(typed(call), words, known=known)
    told = [note(bot, call, waits, "administrator", private=True)]
    again = None
    admins: Sequence[UserKey] = ()
    if is_contradicted(needs, enabled):
        again = moment + pause_after(call.attempts)
        if call.attempts >= ATTEMPTS_BEFORE_REPORT:
            still = still_refused(typed(call), words)
            told.append(note(bot, call, still, "still-refused", private=True))
            tenant = call.user.tenant_key
            admins = [platform.user_key(each, tenant) for each in await bot.administrators(platform)]

    def work(c: Connection) -> list[OutgoingMessage]:
        suspend(c, call, steps, Wait(WaitsFor.ADMINISTRATOR, needs, retried_at=again), moment)
        app = (platform.name, platform.app_id)
        # The cards name this call already, unless the scopes have just been enabled.
        wait = begun if scope_waits.is_open(c, *app, scopes) else scope_waits.open(c, app, scopes, moment)
        content = platform.render_reply(publish_a_version(words))
        notices = [
            draft(bot, admin, content, kind="notice", key=f"{wait.id}/{admin.open_id[-12:]}")
            for admin in admins
        ]
        return insert_all(c, bot, [*told, *notices])

    await deliver_all(bot, await bot.database.write(work))
    bot.signals.upkeep.set()


def begin(
    c: Connection, bot: Bot, call: DeferredCall, scopes: ScopeSet, words: Words, moment: datetime
) -> ScopeWait | list[OutgoingMessage]:
    """Open the wait that the administrators' cards show, or refuse the call at the user's daily limit."""
    if not may_report_scopes(c, call.user, scopes, moment):
        return refuse_call(c, bot, call, words, moment)
    app = (call.user.platform, call.user.app_id)
    return scope_waits.open(c, app, scopes, moment, bot.claim(call.user.app, moment))


CARD_TIMEOUT = 4.0
"""Seconds that the note to the user waits for the administrators' cards."""


async def reach_administrators(bot: Bot, wait: ScopeWait, call: DeferredCall) -> bool:
    """Show the card to every administrator. Returns whether one of them has it by now.

    Cards that take longer, or that a crash interrupts, are due again.
    """
    showing = bot.background(show_cards(bot, bot.platform_of(call.user), wait, call))
    await asyncio.wait({showing}, timeout=CARD_TIMEOUT)
    platform = bot.platform_of(call.user)
    admins = [platform.user_key(each, call.user.tenant_key) for each in await bot.administrators(platform)]
    keys = [key for admin in admins for key in keys_of_card(bot, admin, wait.id)]

    def read(c: Connection) -> bool:
        found = [outbox.find(c, platform.app, key) for key in keys]
        return any(each is not None and each.message_id is not None for each in found)

    return await bot.database.read(read)


async def refuse_unknown(bot: Bot, call: DeferredCall, unknown: Requirement) -> None:
    """Fail a call that needs a scope which the platform does not list, so that no administrator could enable it."""
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


MAX_REPORTS_PER_DAY = 10
"""Scope sets and page errors of one user about which the administrators are told in a day."""


def may_report_scopes(c: Connection, user: UserKey, scopes: ScopeSet, moment: datetime) -> bool:
    """Whether the administrators may be told about these scopes; counts as a report unless they know already."""
    if scope_waits.is_open(c, user.platform, user.app_id, scopes):
        return True
    return may_report(c, user, moment)


def may_report(c: Connection, user: UserKey, moment: datetime) -> bool:
    """Count one more report of this user today. Returns False at the limit."""
    day = f"administrators-{moment:%Y-%m-%d}-{user.tenant_key}-{user.open_id}"
    return any(
        seen_events.record(c, user.platform, user.app_id, f"{day}-{place}", moment)
        for place in range(MAX_REPORTS_PER_DAY)
    )


def refuse_call(
    c: Connection, bot: Bot, call: DeferredCall, words: Words, moment: datetime
) -> list[OutgoingMessage]:
    """Fail a call at its user's daily limit of reports."""
    if not calls.settle(c, call.id, call.claim, CallStatus.FAILED, "administrators_told_enough", moment):
        raise LeaseLost
    return insert_all(c, bot, [answer(bot, call, too_many_scope_requests(typed(call), words))])


ATTEMPTS_BEFORE_REPORT = 4
"""Tries that the platform refuses though its list says that the scope is enabled: a change takes a moment to arrive."""

FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=4), timedelta(minutes=5)


def lacking(needs: Requirement, enabled: ScopeSet | None) -> Requirement:
    """Return the clauses for which the app has no scope; none if the list cannot be read."""
    return choose_scopes(needs, frozenset(), enabled).unavailable


def is_contradicted(needs: Requirement, enabled: ScopeSet | None) -> bool:
    """Whether the list has the scopes for want of which the platform has just refused the call."""
    return enabled is not None and not lacking(needs, enabled)


def pause_after(attempts: int) -> timedelta:
    return backoff(attempts, random.random(), first=FIRST_PAUSE, longest=LONGEST_PAUSE)  # noqa: S311 - jitter


def to_enable(
    needs: Requirement, enabled: ScopeSet | None, is_known: Callable[[Scope], bool]
) -> tuple[ScopeSet, Requirement]:
    """Return the preferred known alternative of each clause that the app cannot meet, and the clauses without one.

    Considers all clauses if the list cannot be read.
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


async def release_enabled(bot: Bot, platform: Platform, *, asked_by_administrator: bool = False) -> int:
    """Release the calls whose scopes the app has by now, and return their number. Free while no call waits."""

    def read(c: Connection) -> tuple[list[DeferredCall], list[ScopeWait]]:
        return waiting_calls(c, platform.app), scope_waits.waiting(c, platform.name, platform.app_id)

    found, waits = await bot.database.read(read)
    waiting = await only_genuine(bot, found)
    if not waiting and not any(is_recent(bot, wait) for wait in waits):
        return 0
    enabled = await platform.enabled_scopes(fresh=True)
    ready = [call for call in waiting if may_go_on(call, enabled, asked=asked_by_administrator)]
    if ready:
        await bot.database.write(lambda c: calls.release(c, [call.id for call in ready], now()))
        bot.signals.calls.set()
    if not asked_by_administrator:
        # Not for a click, whose answer would undo the update of a card. The next check comes soon.
        await settle_waits(bot, waits, waiting, enabled)
    return len(ready)


def is_recent(bot: Bot, wait: ScopeWait) -> bool:
    """Whether a call may have waited recently, so that the administrators' card has to be updated."""
    return wait.card.due_at > now() - bot.deferred_ttl


def may_go_on(call: DeferredCall, enabled: ScopeSet | None, *, asked: bool) -> bool:
    """Whether a call that waits for an administrator is worth another attempt.

    So it is if the list says so or cannot be read, with growing pauses if the platform still refuses. A call whose page
    showed an unexplained error, which still names its request, waits until an administrator confirms.
    """
    return not lacking(call.needs, enabled) and (
        asked or (call.request_id is None and call.runs_after <= now())
    )


async def settle_waits(
    bot: Bot, waits: Sequence[ScopeWait], waiting: Sequence[DeferredCall], enabled: ScopeSet | None
) -> None:
    """Settle the waits whose scopes are enabled and needed by no waiting call. The administrators' cards say so.

    A list may say "enabled" while the platform still refuses; then the calls keep waiting, and so does the card.
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
        bot.signals.upkeep.set()


async def apply(bot: Bot, user: UserKey) -> ScopeApplication:
    """Ask the organization's administrator, through the platform, for the scopes that the app has applied for."""
    applications = bot.platform_of(user).scope_applications
    if applications is None:
        return ScopeApplication.FAILED
    result = await applications.apply_for_scopes()
    await bot.database.write(
        lambda c: audit.write(c, "scopes_applied_for", user=user, now=now(), result=result.value)
    )
    return result


# --- the administrators' cards --------------------------------------------------------------------------------


async def show_due_cards(bot: Bot) -> None:
    """Draw the administrators' cards that are due: one for each administrator and scope set.

    A card that a crash or the platform interrupts is due again when its lease expires.
    """
    for platform in bot.platforms.values():
        claim = bot.claim(platform.app)
        due = await bot.database.write(partial(scope_waits.claim_due_cards, claim=claim, limit=5))
        await asyncio.gather(*(show_cards(bot, platform, wait) for wait in due))


async def show_cards(bot: Bot, platform: Platform, wait: ScopeWait, also: DeferredCall | None = None) -> None:
    """Show the cards of a wait to all administrators. `also` is a call that is about to wait for these scopes."""
    found = await bot.database.read(partial(waiting_calls, app=platform.app))
    waiting = [call for call in found if call.genuine and is_about(wait, call)]
    waiting += [also] if also is not None else []
    if also is None and not wait.scopes <= named(*(call.needs for call in waiting)):
        # The row is not authenticated: administrators are asked only for what authenticated calls need.
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
        drawn = Drawn(wait.id, wait.card.claim, wait.card.wanted)
        await bot.database.write(lambda c: shown(c, drawn, now()))


def described(bot: Bot, call: DeferredCall) -> str:
    """Return the command as administrators see it."""
    command = bot.commands_of(call.user).get(call.command)
    try:
        more = command.told(call.arguments) if command else ""
    except Exception as error:
        log.error("told failed", extra={"command": call.command, "error": type(error).__name__})
        more = ""
    return f"{typed(call)} {more}".rstrip()


def waiting_calls(c: Connection, app: str) -> list[DeferredCall]:
    return calls.waiting_for(c, app, WaitsFor.ADMINISTRATOR, limit=MAX_WAITING_CALLS)


MAX_WAITING_CALLS = 200
"""Waiting calls that one check considers."""


def is_about(wait: ScopeWait, call: DeferredCall) -> bool:
    return not wait.scopes.isdisjoint(named(call.needs))


async def show_to(bot: Bot, admin: UserKey, card: AdministratorCard) -> bool:
    """Send the card to an administrator, or update the one they have. Returns False if it has to be retried.

    When the first card can no longer be changed, a second one replaces it.
    """
    content = bot.platform_of(admin).render_card(card)
    key, later_key = keys_of_card(bot, admin, card.subject)
    first = await show_as(bot, admin, card, key, content)
    if not isinstance(first, NotSent):
        return first
    again = await show_as(bot, admin, card, later_key, content)
    return again is not False


def keys_of_card(bot: Bot, admin: UserKey, subject: str) -> tuple[str, str]:
    """Return the delivery keys of an administrator's card: of the first, and of one that replaces it later.

    The second changes with each window in which a card can be edited. Both keys are short: a platform may limit them
    to 50 characters.
    """
    window = bot.platform_of(admin).limits.card_edit_window
    key = f"{subject}-{admin.open_id[-12:]}"
    return key, f"{key}-{now().toordinal() // max(1, window.days):x}"


async def show_as(
    bot: Bot, admin: UserKey, card: AdministratorCard, key: str, content: Content
) -> bool | NotSent:
    """`show_to` for one delivery key. Returns `NotSent` if its card can no longer be changed."""
    before = await bot.database.read(lambda c: outbox.find(c, admin.app, key))
    if before is None:
        if not card.waiting:
            # It was enabled or given up before this administrator was told.
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
        # An ephemeral card cannot be changed.
        await withdraw(bot.platform_of(admin), before.message_id)
    return result

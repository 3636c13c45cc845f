"""Scopes that the app has not enabled: suspends calls that need them, informs administrators, and releases the calls."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial

from bot.core.builtin_commands import AUTHORIZE
from bot.core.calls import CallStatus, DeferredCall, Wait, WaitsFor
from bot.core.cards import AdministratorCard
from bot.core.decisions import PROPAGATION_RETRIES
from bot.core.errors import LeaseLost
from bot.core.events import Outage
from bot.core.language import Words
from bot.core.messages import Content, Destination, NotSent
from bot.core.oauth import digest, urlsafe
from bot.core.people import UserKey
from bot.core.platform import Platform, ScopeApplication
from bot.core.retry import backoff
from bot.core.scopes import Requirement, Scope, ScopeSet, ScopeWaitStatus, choose_scopes, named
from bot.core.words import replies
from bot.core.words.administrators import publish_a_version
from bot.core.words.refusals import no_such_scope, still_refused, too_many_scope_requests
from bot.flows import observations
from bot.flows.bot import Bot, utc_now
from bot.flows.calls import api_calls
from bot.flows.calls.genuine import only_genuine
from bot.flows.calls.run_state import Run
from bot.flows.calls.suspend import suspend
from bot.flows.outbox import answer, can_change_cards, deliver_all, draft, insert_all, note, typed, withdraw
from bot.store import audit, calls, granted_scopes, outbox, scope_waits, seen_events, users
from bot.store.cards import RenderedCard, record_shown, render_again
from bot.store.ids import time_of
from bot.store.outbox import OutgoingMessage
from bot.store.scope_waits import ScopeWait
from bot.store.transaction import Connection

log = logging.getLogger(__name__)


async def suspend_for_administrator(
    bot: Bot, run: Run, needs: Requirement, *, named_by_platform: Iterable[Scope] = (), guess: bool = False
) -> None:
    """Suspend a claimed call until the app has scopes for `needs`, and inform its user and the administrators.

    Administrators are asked only for scopes that the platform has named in a refusal or lists. `guess`: the platform does
    not say that the app lacks them, but the user's consent did not help. The bot then cannot see when they are enabled,
    so it retries the call with growing pauses.
    """
    call = run.call
    platform = bot.platform_of(call.user)
    enabled = await platform.enabled_scopes()
    described = await platform.describe_scopes(named(needs))
    certain = frozenset(named_by_platform)
    scopes, unknown = to_enable(needs, enabled, lambda scope: scope in certain or platform.knows_scope(scope))
    if unknown and (enabled is not None or not scopes):
        await refuse_unknown(bot, call, unknown)
        return
    now = utc_now()
    words = list_scopes({scope: described[scope] for scope in scopes})
    begun = await api_calls.write(bot, call, lambda c: begin(c, bot, call, scopes, words, now))
    if not isinstance(begun, ScopeWait):
        await deliver_all(bot, begun)
        return
    # Administrators are informed first, so that the note to the user can say whether that succeeded.
    informed = await reach_administrators(bot, begun, call)
    waits = replies.waiting_for_administrator(typed(call), words, known=informed, guess=guess)
    notes = [note(bot, call, waits, "administrator", private=True)]
    retried_at = None
    admins: Sequence[UserKey] = ()
    if guess:
        retried_at = now + pause_after(max(1, call.attempts - PROPAGATION_RETRIES))
    elif is_contradicted(needs, enabled):
        retried_at = now + pause_after(call.attempts)
        if call.attempts >= ATTEMPTS_BEFORE_REPORT:
            reply = still_refused(typed(call), words)
            notes.append(note(bot, call, reply, "still-refused", private=True))
            tenant = call.user.tenant_key
            admins = [platform.user_key(each, tenant) for each in await bot.administrators(platform)]

    def in_language_of(c: Connection, admin: UserKey) -> Content:
        return platform.render_reply(publish_a_version(words), users.language(c, admin))

    def work(c: Connection) -> list[OutgoingMessage]:
        suspend(c, run, Wait(WaitsFor.ADMINISTRATOR, needs, retried_at=retried_at), now)
        app = (platform.name, platform.app_id)
        # The cards name this call already, unless the scopes have just been enabled.
        wait = begun if scope_waits.is_open(c, *app, scopes) else scope_waits.open(c, app, scopes, now)
        notices = [
            draft(
                Destination(admin),
                in_language_of(c, admin),
                kind="notice",
                key=f"{wait.id}/{admin.open_id[-12:]}",
            )
            for admin in admins
        ]
        return insert_all(c, bot, [*notes, *notices])

    await deliver_all(bot, await api_calls.write(bot, call, work))
    bot.signals.upkeep.set()


def begin(
    c: Connection, bot: Bot, call: DeferredCall, scopes: ScopeSet, words: Words, now: datetime
) -> ScopeWait | list[OutgoingMessage]:
    """Open the wait that the administrators' cards show, or refuse the call if its user has reached the daily limit."""
    if not may_report_scopes(c, call.user, scopes, now):
        return refuse_call(c, bot, call, words, now)
    app = (call.user.platform, call.user.app_id)
    return scope_waits.open(c, app, scopes, now, bot.claim(call.user.app, now))


CARD_TIMEOUT = 4.0
"""Seconds that the note to the user waits for the administrators' cards."""


async def reach_administrators(bot: Bot, wait: ScopeWait, call: DeferredCall) -> bool:
    """Show the card to every administrator. Returns whether at least one of them has received it in time.

    Cards that take longer, or that a crash interrupts, become due again.
    """
    platform, keys = bot.platform_of(call.user), list[str]()
    showing = bot.background(show_cards(bot, platform, wait, call, keys))
    await asyncio.wait({showing}, timeout=CARD_TIMEOUT)

    def read(c: Connection) -> bool:
        found = [outbox.find(c, platform.app, key) for key in keys]
        return any(each is not None and each.message_id is not None for each in found)

    return await bot.database.read(read)


async def refuse_unknown(bot: Bot, call: DeferredCall, unknown: Requirement) -> None:
    """Fail a call that needs a scope which the platform does not list, so that no administrator could enable it."""
    scopes, typed_by_user = sorted(named(unknown)), call.command == AUTHORIZE
    if not typed_by_user:
        context = {"call": call.id, "command": call.command, "scopes": scopes}
        log.error("a command needs scopes that the platform does not list", extra=context)
    reply = no_such_scope(typed(call), ", ".join(scopes), typed_by_user=typed_by_user)
    now = utc_now()

    def work(c: Connection) -> list[OutgoingMessage]:
        if not calls.settle(c, call, CallStatus.FAILED, "unknown_scope", now):
            raise LeaseLost
        return insert_all(c, bot, [answer(bot, call, reply)])

    await deliver_all(bot, await api_calls.write(bot, call, work))


MAX_REPORTS_PER_DAY = 10
"""The number of scope sets and page errors of one user that are reported to the administrators in a day."""


def may_report_scopes(c: Connection, user: UserKey, scopes: ScopeSet, now: datetime) -> bool:
    """Return whether these scopes may be reported to administrators. Counts a report unless their wait is open."""
    if scope_waits.is_open(c, user.platform, user.app_id, scopes):
        return True
    return may_report(c, user, now)


def may_report(c: Connection, user: UserKey, now: datetime) -> bool:
    """Count a report of this user. Returns False if the daily limit is reached."""
    day = f"administrators-{now:%Y-%m-%d}-{user.tenant_key}-{user.open_id}"
    return any(
        seen_events.record(c, user.platform, user.app_id, f"{day}-{number}", now)
        for number in range(MAX_REPORTS_PER_DAY)
    )


def refuse_call(
    c: Connection, bot: Bot, call: DeferredCall, words: Words, now: datetime
) -> list[OutgoingMessage]:
    """Fail a call whose user has reached the daily limit of reports. Returns its answer."""
    if not calls.settle(c, call, CallStatus.FAILED, "administrators_told_enough", now):
        raise LeaseLost
    return insert_all(c, bot, [answer(bot, call, too_many_scope_requests(typed(call), words))])


ATTEMPTS_BEFORE_REPORT = 4
"""Refusals tolerated after the list shows the scope as enabled, because changes propagate slowly."""

FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=4), timedelta(minutes=5)


def lacking(needs: Requirement, enabled: ScopeSet | None) -> Requirement:
    """Return the clauses that no enabled scope of the app meets. Empty if the list of enabled scopes cannot be read."""
    return choose_scopes(needs, frozenset(), enabled).unavailable


def is_contradicted(needs: Requirement, enabled: ScopeSet | None) -> bool:
    """Return whether the list contradicts the refusal: it shows the scopes as enabled that the call lacks."""
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
    """Return the scopes with their descriptions. A scope without a description is only named."""
    items = sorted(described.items())
    return Words(
        ", ".join(scope if words.en == scope else f"“{words.en}” ({scope})" for scope, words in items),
        "、".join(scope if words.zh == scope else f"“{words.zh}”（{scope}）" for scope, words in items),
    )


RETRY_TAKES = 0.5
"""Seconds within which a call that is tried again usually waits again. A click is answered within 2 seconds."""


async def check(bot: Bot, platform: Platform) -> int:
    """Release the calls whose scopes an administrator says are enabled, and return their number.

    If there are none, checks once more, because a call that is just being tried again does not count as waiting.
    """
    if released := await release_enabled(bot, platform, asked_by_administrator=True):
        return released
    await asyncio.sleep(RETRY_TAKES)
    return await release_enabled(bot, platform, asked_by_administrator=True)


async def release_enabled(bot: Bot, platform: Platform, *, asked_by_administrator: bool = False) -> int:
    """Release the calls whose scopes are now enabled, and return their number. Sends no request if no call waits."""

    def read(c: Connection) -> tuple[list[DeferredCall], list[ScopeWait]]:
        return waiting_calls(c, platform.app), scope_waits.waiting(c, platform.name, platform.app_id)

    found, waits = await bot.database.read(read)
    waiting = await only_genuine(bot, found)
    if not waiting and not any(is_recent(bot, wait) for wait in waits):
        return 0
    outage = platform.outage
    enabled = await platform.enabled_scopes(fresh=True)
    if enabled is None and is_away(platform, outage) and not asked_by_administrator:
        return 0
    ready = [call for call in waiting if may_retry(call, enabled, asked=asked_by_administrator)]
    # Where the list cannot be read, the administrator's word stands for it.
    stated = named(*(call.needs for call in ready if call.consents)) if enabled is None else frozenset()

    def release(c: Connection) -> None:
        now = utc_now()
        calls.release(c, [call.id for call in ready], now)
        if asked_by_administrator:
            for wait in waits:
                if not wait.scopes.isdisjoint(stated):
                    settle_wait(c, wait, now)

    if ready:
        await bot.database.write(release)
        for call in ready:
            observations.call_retried(call, why_retried(enabled, asked=asked_by_administrator))
    if not asked_by_administrator:
        # Not during a click, whose answer would undo the update of a card. The next check follows within seconds.
        await settle_waits(bot, platform, waits, waiting, enabled)
    return len(ready)


def is_away(platform: Platform, before: Outage | None) -> bool:
    """Return whether a request has failed since the outage that was known `before`, because the platform is away.

    A call that is retried then would wait for the platform instead, and be missing where operators look for what an
    administrator has to do. An outage that no request has met again may be over.
    """
    return platform.outage is not None and platform.outage is not before


def settle_wait(c: Connection, wait: ScopeWait, now: datetime) -> None:
    if scope_waits.enabled(c, wait.id, now):
        subject = ("scope_wait", wait.id)
        audit.write(c, "scopes_enabled", user=None, subject=subject, now=now, scopes=sorted(wait.scopes))


def is_recent(bot: Bot, wait: ScopeWait) -> bool:
    """Return whether a call may have waited recently, so that the administrators' cards have to be updated."""
    return wait.card.due_at > utc_now() - bot.deferred_ttl


def may_retry(call: DeferredCall, enabled: ScopeSet | None, *, asked: bool) -> bool:
    """Return whether to retry a call that waits for an administrator.

    It is retried if the list shows its scopes as enabled or cannot be read, with growing pauses while the platform still
    refuses. While the platform is away, it is not: see `is_away`. A call that keeps its request, because its page showed
    an unexplained error, waits until an administrator confirms.
    """
    return not lacking(call.needs, enabled) and (
        asked or (call.request_id is None and call.runs_after <= utc_now())
    )


def why_retried(enabled: ScopeSet | None, *, asked: bool) -> str:
    if asked:
        return "asked by an administrator"
    return "the list of scopes cannot be read" if enabled is None else "the list shows its scopes"


async def settle_waits(
    bot: Bot,
    platform: Platform,
    waits: Sequence[ScopeWait],
    waiting: Sequence[DeferredCall],
    enabled: ScopeSet | None,
) -> None:
    """Settle the waits whose scopes are enabled and that no waiting call needs. The administrators' cards then say so.

    The list may show a scope as enabled while the platform still refuses it: then the calls and the wait remain. If the
    list cannot be read, a scope is enabled once a call has used it.
    """
    needed = named(*(call.needs for call in waiting))
    for wait in waits:
        if not wait.scopes.isdisjoint(needed):
            continue
        known = enabled
        if known is None:
            known = await bot.database.read(partial(used_during, app=platform.app, wait=wait))
        if wait.scopes <= known:
            await bot.database.write(partial(settle_wait, wait=wait, now=utc_now()))
            bot.signals.upkeep.set()


def used_during(c: Connection, app: str, wait: ScopeWait) -> ScopeSet:
    return granted_scopes.used_since(c, app, wait.scopes, time_of(wait.id))


async def apply(bot: Bot, user: UserKey) -> ScopeApplication:
    """Ask the organization's administrator, through the platform, for the scopes that the app has applied for."""
    applications = bot.platform_of(user).scope_applications
    if applications is None:
        return ScopeApplication.FAILED
    result = await applications.apply_for_scopes()
    await bot.database.write(
        lambda c: audit.write(c, "scopes_applied_for", user=user, now=utc_now(), result=result.value)
    )
    return result


# --- the administrators' cards --------------------------------------------------------------------------------


async def show_due_cards(bot: Bot) -> None:
    """Send or update the administrators' cards that are due: one for each administrator and scope set.

    A card that a crash or a failure interrupts is due again when its lease expires.
    """
    for platform in bot.platforms.values():
        claim = bot.claim(platform.app)
        due = await bot.database.write(partial(scope_waits.claim_due_cards, claim=claim, limit=5))
        await asyncio.gather(*(show_cards(bot, platform, wait) for wait in due))


async def show_cards(
    bot: Bot,
    platform: Platform,
    wait: ScopeWait,
    also: DeferredCall | None = None,
    keys: list[str] | None = None,
) -> None:
    """Show the cards of a wait to all administrators. `also` is a call that is about to wait for these scopes.

    Appends the delivery keys of the cards to `keys`.
    """
    found = await bot.database.read(partial(waiting_calls, app=platform.app))
    waiting = [call for call in found if call.genuine and is_about(wait, call)]
    waiting += [also] if also is not None else []
    if also is None and not wait.scopes <= named(*(call.needs for call in waiting)):
        # The wait's row is not sealed: administrators are asked only for what genuine calls need.
        waiting = []
    applications = platform.scope_applications
    names = await bot.database.read(partial(names_of, waiting=[call.user for call in waiting]))
    card = AdministratorCard(
        wait.id,
        await platform.describe_scopes(wait.scopes),
        tuple(dict.fromkeys(call.user.open_id for call in waiting)),
        tuple(dict.fromkeys(described(bot, call) for call in waiting)),
        platform.console_link(wait.scopes),
        names,
        can_apply=applications is not None and not wait.scopes.isdisjoint(applications.pending_scopes),
        done=wait.status is ScopeWaitStatus.ENABLED,
    )
    admins = await bot.administrators(platform)
    tenant = waiting[0].user.tenant_key if waiting else ""
    all_shown = []
    for each in admins:
        admin = platform.user_key(each, tenant)
        own_keys = keys_of_card(bot, admin, card)
        if keys is not None:
            keys += own_keys
        all_shown.append(await show_to(bot, admin, card, own_keys))
    if all_shown and all(all_shown):
        rendered = RenderedCard(wait.id, wait.card.claim, wait.card.wanted)
        await bot.database.write(lambda c: record_version(c, rendered, utc_now()))


def record_version(c: Connection, rendered: RenderedCard, now: datetime) -> None:
    """Record which version the cards show. If the claim is lost, they are due again: they may show an old one."""
    if record_shown(c, rendered, now) is None:
        render_again(c, rendered.card, now)


def names_of(c: Connection, waiting: Iterable[UserKey]) -> dict[str, str]:
    """Return the names of users that are known, by open_id."""
    profiles = {user.open_id: users.profile(c, user) for user in waiting}
    return {open_id: found.name for open_id, found in profiles.items() if found is not None and found.name}


def described(bot: Bot, call: DeferredCall) -> str:
    """Return the command as administrators see it."""
    command = bot.commands_of(call.user).get(call.command)
    try:
        detail = command.shown_to_administrators(call.arguments) if command else ""
    except Exception as error:
        log.error(
            "shown_to_administrators of a command failed",
            extra={"command": call.command, "error": type(error).__name__},
        )
        detail = ""
    return f"{typed(call)} {detail}".rstrip()


def waiting_calls(c: Connection, app: str) -> list[DeferredCall]:
    return calls.waiting_for(c, app, WaitsFor.ADMINISTRATOR, limit=MAX_WAITING_CALLS)


MAX_WAITING_CALLS = 200
"""The number of waiting calls that one check considers."""


def is_about(wait: ScopeWait, call: DeferredCall) -> bool:
    return not wait.scopes.isdisjoint(named(call.needs))


async def show_to(bot: Bot, admin: UserKey, card: AdministratorCard, keys: Sequence[str]) -> bool:
    """Send the card to an administrator, or update the one they have. Returns False if it has to be retried.

    When the card of one key can no longer be changed, one with the next key replaces it.
    """
    language = await bot.database.read(lambda c: users.language(c, admin))
    content = bot.platform_of(admin).render_card(card, language)
    for key in keys:
        shown = await show_with_key(bot, admin, card, key, content)
        if not isinstance(shown, NotSent):
            return shown
    return True


def keys_of_card(bot: Bot, admin: UserKey, card: AdministratorCard) -> tuple[str, ...]:
    """Return the delivery keys of an administrator's first card, and of the one that replaces it.

    The second key changes with each window in which a card can be edited. If none can, there is one card for each group
    of users who wait. Keys are short, because a platform may limit them to 50 characters.
    """
    platform = bot.platform_of(admin)
    key = f"{card.subject}-{admin.open_id[-12:]}"
    if not can_change_cards(platform):
        shown = hashlib.sha256(repr((sorted(card.waiting), sorted(card.commands))).encode())
        return (f"{key}-{urlsafe(shown.digest()[:3])}",)
    return key, f"{key}-{utc_now().toordinal() // max(1, platform.limits.card_edit_window.days):x}"


def says_something_new(c: Connection, bot: Bot, admin: UserKey, card: AdministratorCard) -> bool:
    """Record who and what a card names; return whether an earlier one has not named all of it.

    A card that can be changed always does. The others are sent again for each group of users who wait, and a call that is
    retried leaves its group for a moment.
    """
    if can_change_cards(bot.platform_of(admin)):
        return True
    now = utc_now()
    named_before = [
        not seen_events.record(
            c, admin.platform, admin.app_id, f"{card.subject}/{admin.open_id[-12:]}/{digest(str(each))}", now
        )
        for each in (*sorted(card.waiting), *sorted(card.commands))
    ]
    return not all(named_before)


async def show_with_key(
    bot: Bot, admin: UserKey, card: AdministratorCard, key: str, content: Content
) -> bool | NotSent:
    """Send or update the card with one delivery key. Returns NotSent if it can no longer be changed, else its success."""
    before = await bot.database.read(lambda c: outbox.find(c, admin.app, key))
    if before is None:
        if not card.waiting:
            # The scopes were enabled or are no longer needed: this administrator need not know of them.
            return True
        message = draft(Destination(admin), content, kind="administrator_card", key=key)

        def work(c: Connection) -> list[OutgoingMessage]:
            return insert_all(c, bot, [message]) if says_something_new(c, bot, admin, card) else []

        messages = await bot.database.write(work)
        if messages:
            observations.administrator_asked(bot, admin, frozenset(card.scopes))
        await deliver_all(bot, messages)
        return True
    if before.message_id is None:
        return before.settled
    if not can_change_cards(bot.platform_of(admin)):
        return True
    result = await bot.platform_of(admin).update_card(before.message_id, content)
    if result is None:
        return True
    if result.retry:
        return False
    if not result.gone:
        # An ephemeral card cannot be changed.
        await withdraw(bot.platform_of(admin), before.message_id)
    return result

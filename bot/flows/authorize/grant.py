"""Stores a grant, and releases the calls that waited for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from bot.core.calls import DeferredCall
from bot.core.grants import Grant, GrantStatus
from bot.core.messages import Destination
from bot.core.oauth import TokenSet
from bot.core.people import Identity, UserKey
from bot.core.requests import AuthorizationRequest, RequestStatus
from bot.core.scopes import (
    OFFLINE_ACCESS,
    Requirement,
    Scope,
    ScopeSet,
    choose_scopes,
    is_met,
    join_scopes,
    missing,
    named,
)
from bot.core.words import replies
from bot.flows import cards
from bot.flows.authorize.token_revocation import revoke_tokens
from bot.flows.bot import Bot, utc_now
from bot.flows.outbox import Draft, answer, can_change_cards, deliver_all, draft, insert_all, typed
from bot.store import audit, calls, granted_scopes, grants, requests, users
from bot.store.cards import is_held, move
from bot.store.outbox import OutgoingMessage
from bot.store.queue import Claim
from bot.store.transaction import Connection


class CallbackResult(StrEnum):
    """How an attempt ended, for the page that the user sees."""

    AUTHORIZED = "authorized"
    STORED = "stored"
    """Everything was granted, and no call waited for it."""
    PARTLY = "partly"
    NOTHING_GRANTED = "nothing_granted"
    """The user consented, but to none of the scopes."""
    MORE_NEEDED = "more_needed"
    """Everything was granted, but the card now asks for more."""
    DECLINED = "declined"
    """Declined on the page. The request stays open, because it is unknown who declined."""
    CLOSED = "closed"
    """Nothing was stored, because the request was closed in the meantime."""
    WRONG_PERSON = "wrong_person"
    USED = "used"
    LATE = "late"
    UNKNOWN = "unknown"
    MALFORMED = "malformed"
    CODE_REFUSED = "code_refused"
    NOT_ALLOWED = "not_allowed"
    """The user may not use this app."""
    MISCONFIGURED = "misconfigured"
    STILL_TRYING = "still_trying"
    """The platform did not answer. A worker retries until the code expires."""


@dataclass(frozen=True, slots=True)
class AttemptEnd:
    """The result of an attempt inside a transaction, with what to send after the commit."""

    result: CallbackResult
    messages: Sequence[OutgoingMessage] = ()
    card: AuthorizationRequest | None = None
    """The request whose card is claimed and has to be updated."""


async def deliver_result(bot: Bot, end: AttemptEnd) -> CallbackResult:
    if end.card is not None:
        bot.background(cards.show_claimed(bot, end.card))
    else:
        bot.signals.upkeep.set()
    bot.background(deliver_all(bot, end.messages))
    return end.result


class Completion(StrEnum):
    """Whether the tokens of a consent may be stored."""

    COMPLETED = "completed"
    WITHDRAWN = "withdrawn"
    """The user has revoked it in the meantime: the tokens are revoked."""
    LOST = "lost"
    """Another worker has claimed it, or it is no longer needed: the tokens are dropped."""


@dataclass(frozen=True, slots=True)
class Consented:
    """A consent of the user who was asked, received by callback, in-client page or device code."""

    user: UserKey
    scopes: ScopeSet
    """The scopes that were asked for."""
    subject: tuple[str, str]
    """Kind and id, for the audit log."""
    request_id: str | None
    """The authorization request that asked for it, if one did."""
    received_at: datetime
    """When the platform issued the tokens: of two consents, the later tokens are valid."""
    complete: Callable[[Connection, Grant | None, datetime], Completion]
    """Ends the attempt. Called with the current grant, in the transaction that stores the new one."""


async def store_grant(bot: Bot, consent: Consented, tokens: TokenSet, identity: Identity) -> CallbackResult:
    """Store a grant, release the calls that waited for it, settle the request and claim its card, in one transaction.

    Tokens of a consent that was revoked in the meantime are revoked; those of a late consent are dropped.
    """
    user, asked, now = consent.user, consent.scopes, utc_now()
    endpoint = bot.platform_of(user).token_endpoint

    def work(c: Connection) -> AttemptEnd:
        users.lock(c, user)
        before = grants.find(c, user)
        match consent.complete(c, before, now):
            case Completion.WITHDRAWN:
                revoke_tokens(c, user, tokens.access_token, tokens.refresh_token, now)
                audit.write(
                    c,
                    "consent_withdrawn",
                    user=user,
                    subject=consent.subject,
                    now=now,
                    request=consent.request_id,
                )
                return AttemptEnd(CallbackResult.CLOSED)
            case Completion.LOST:
                audit.write(
                    c,
                    "consent_dropped",
                    user=user,
                    subject=consent.subject,
                    now=now,
                    request=consent.request_id,
                )
                return AttemptEnd(CallbackResult.USED)
        held = before.scopes if before and before.status is GrantStatus.ACTIVE else frozenset()
        unrequested = granted_scopes.unrequested(c, user) - asked
        # If the response states no scopes, the tokens have those that the exchange named: asked for, or held.
        granted = tokens.scopes if tokens.scopes is not None else asked | (held - unrequested)
        new = grants.NewTokens(tokens, granted, unrequested)
        grant = grants.save(c, user, before, new, endpoint=endpoint, now=consent.received_at)
        users.consented(c, user, identity, now)
        # Every link asks for `offline_access`. A call continues without it, unless it needs that scope itself.
        refused = asked - granted - {OFFLINE_ACCESS}
        all_refused = grants_nothing(asked, granted)
        audit.write(
            c,
            "grant_stored",
            user=user,
            subject=consent.subject,
            now=now,
            request=consent.request_id,
            gained=sorted(granted - held),
            lost=sorted(held - granted),
            refused=sorted(refused),
            reason=audit.NOTHING_GRANTED if all_refused else None,
            scopes=sorted(granted),
            generation=grant.generation,
        )
        waiting = calls.suspended_for_consent(c, user)
        granted_scopes.add(c, user, granted, asked_by(c, consent, waiting), now)
        released = release_calls(c, bot, waiting, grant, asked - granted, now)
        claim = bot.claim(user.app, now)
        settled = settle_request(c, grant, refused, released.rest, claim)
        lost = held - granted - unrequested - {OFFLINE_ACCESS}
        notices = [lost_scopes_notice(c, bot, consent, lost)] if lost else []
        messages = released.messages + insert_all(c, bot, notices)
        card = settled if settled is not None and is_held(settled.card, claim) else None
        if settled is not None and released.rest and not can_change_cards(bot.platform_of(user)):
            move(c, settled.id, now)
            card = requests.claim_card(c, settled.id, claim)
        result = (
            CallbackResult.NOTHING_GRANTED
            if all_refused
            else result_of(refused, released, settled=settled is not None)
        )
        return AttemptEnd(result, messages, card)

    end = await bot.write_until_stored(work)
    return await deliver_result(bot, end)


def lost_scopes_notice(c: Connection, bot: Bot, consent: Consented, lost: ScopeSet) -> Draft:
    """Return a private notice of the scopes that were lost. No call waits for them, so no card says so."""
    reply = replies.scopes_dropped(join_scopes(lost))
    content = bot.platform_of(consent.user).render_reply(reply, users.language(c, consent.user))
    return draft(Destination(consent.user), content, kind="notice", key=f"{consent.subject[1]}-lost")


@dataclass(frozen=True, slots=True)
class ReleasedCalls:
    rest: Requirement
    """What still has to be asked for."""
    released: int
    """The number of released calls."""
    messages: list[OutgoingMessage]


def result_of(refused: ScopeSet, released: ReleasedCalls, *, settled: bool) -> CallbackResult:
    if released.rest:
        return CallbackResult.MORE_NEEDED
    if refused:
        return CallbackResult.PARTLY
    return CallbackResult.AUTHORIZED if settled or released.released else CallbackResult.STORED


def asked_by(
    c: Connection, consent: Consented, waiting: Sequence[DeferredCall]
) -> Mapping[Scope, tuple[str, ...]]:
    """Return the commands that wait for each scope. A scope that none of them names is attributed to all of them."""
    all_commands = tuple(dict.fromkeys(call.command for call in waiting))
    if not all_commands:
        request = requests.latest_of(c, consent.user)
        all_commands = request.reasons if request is not None else ()
    waiting_for = {
        scope: tuple(
            dict.fromkeys(call.command for call in waiting if any(scope in clause for clause in call.needs))
        )
        for scope in consent.scopes
    }
    return {scope: commands or all_commands for scope, commands in waiting_for.items()}


def release_calls(
    c: Connection,
    bot: Bot,
    waiting: Sequence[DeferredCall],
    grant: Grant,
    refused: ScopeSet,
    now: datetime,
) -> ReleasedCalls:
    """Release the calls whose needs the grant meets, and cancel those whose scopes were refused."""
    rest: list[tuple[str, ...]] = []
    released: list[str] = []
    messages: list[OutgoingMessage] = []
    for call in waiting:
        lacking = missing(call.needs, grant.scopes)
        if not lacking:
            released.append(call.id)
        elif any(not refused.isdisjoint(clause) for clause in lacking):
            if calls.cancel(c, call.id, "partly_refused", now):
                reply = replies.partly_declined(typed(call), join_scopes(refused & named(lacking)))
                messages += insert_all(c, bot, [answer(bot, call, reply)])
        else:
            rest += lacking
    return ReleasedCalls(tuple(rest), calls.release(c, released, now, consents=1), messages)


def settle_request(
    c: Connection, grant: Grant, refused: ScopeSet, rest: Requirement, claim: Claim
) -> AuthorizationRequest | None:
    """Settle the live request, or reopen it for scopes that were added meanwhile, and claim its card.

    A consent to none of its scopes, `offline_access` aside, declines it. Returns None if there is no live request.
    """
    request = requests.live_of(c, grant.user)
    if request is None:
        return None
    if rest:
        scopes = request.scopes - grant.scopes - refused
        wanted = scopes if is_met(rest, scopes | grant.scopes) else choose_scopes(rest, scopes, None).scopes
        wanted |= request.scopes & {OFFLINE_ACCESS}
        return requests.reopen(c, request.id, wanted, claim)
    granted = request.scopes & grant.scopes
    refused = request.scopes - grant.scopes - {OFFLINE_ACCESS}
    if grants_nothing(request.scopes, grant.scopes):
        end = requests.End(
            RequestStatus.DECLINED, granted=granted, refused=refused, reason=audit.NOTHING_GRANTED
        )
    else:
        end = requests.End(RequestStatus.GRANTED, granted=granted, refused=refused)
    return requests.settle(c, request.id, end, claim)


def grants_nothing(asked: ScopeSet, granted: ScopeSet) -> bool:
    """Return whether no scope that was asked for was granted, `offline_access` aside."""
    wanted = asked - {OFFLINE_ACCESS}
    return bool(wanted) and wanted.isdisjoint(granted)

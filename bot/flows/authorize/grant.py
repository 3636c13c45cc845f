"""Stores a grant, and releases the calls that waited for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from bot.core.calls import DeferredCall, WaitsFor
from bot.core.grants import Grant, GrantStatus
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
from bot.flows.authorize.revoke import revoke_tokens
from bot.flows.bot import Bot, now
from bot.flows.outbox import Draft, answer, deliver_all, draft, insert_all, typed
from bot.store import audit, calls, granted_scopes, grants, requests, users
from bot.store.cards import claim_card
from bot.store.outbox import OutgoingMessage
from bot.store.transaction import Connection


class CallbackResult(StrEnum):
    """How an attempt ended, for the page that the person sees."""

    AUTHORIZED = "authorized"
    STORED = "stored"
    """All was granted, and nothing waited for it (any more)."""
    PARTLY = "partly"
    MORE_NEEDED = "more_needed"
    """All was granted, but the card asks for more by now."""
    DECLINED = "declined"
    """Declined on the page. The request still waits: nobody knows who declined."""
    CLOSED = "closed"
    """Nothing was stored, because the request had come to its end meanwhile."""
    WRONG_PERSON = "wrong_person"
    USED = "used"
    LATE = "late"
    UNKNOWN = "unknown"
    MALFORMED = "malformed"
    CODE_REFUSED = "code_refused"
    NOT_ALLOWED = "not_allowed"
    """The person may not use this app."""
    MISCONFIGURED = "misconfigured"
    STILL_TRYING = "still_trying"
    """The platform did not answer; a worker goes on while the code lives."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What an attempt came to inside a transaction, and what is to be said about it."""

    landing: CallbackResult
    messages: Sequence[OutgoingMessage] = ()
    card: AuthorizationRequest | None = None
    """Whose card is claimed, to show it."""


async def deliver_result(bot: Bot, landed: Ended) -> CallbackResult:
    if landed.card is not None:
        bot.background(cards.show_claimed(bot, landed.card))
    else:
        bot.wake.upkeep.set()
    bot.background(deliver_all(bot, landed.messages))
    return landed.landing


class Completion(StrEnum):
    """Whether what a consent brought may be stored."""

    COMPLETED = "completed"
    WITHDRAWN = "withdrawn"
    """The person has taken it back meanwhile: it is revoked."""
    LOST = "lost"
    """Somebody else goes on with it, or nobody waits for it any more: it is dropped."""


@dataclass(frozen=True, slots=True)
class Consented:
    """A consent of the person who was asked, by whichever road it came."""

    user: UserKey
    scopes: ScopeSet
    """What it was asked for."""
    subject: tuple[str, str]
    """What the audit log names."""
    complete: Callable[[Connection, Grant | None, datetime], Completion]
    """Inside the transaction that stores the grant: ends what brought the consent, in view of the grant so far."""


async def store_grant(bot: Bot, consent: Consented, tokens: TokenSet, identity: Identity) -> CallbackResult:
    """One transaction: the grant, the calls it releases, the request, the card's next face.

    What the person has taken back meanwhile is not stored, but revoked; what comes late is dropped.
    """
    user, asked, moment = consent.user, consent.scopes, now()

    def work(c: Connection) -> Ended:
        users.lock(c, user)
        before = grants.find(c, user)
        match consent.complete(c, before, moment):
            case Completion.WITHDRAWN:
                revoke_tokens(c, user, tokens.access_token, tokens.refresh_token, moment)
                audit.write(c, "consent_withdrawn", user=user, subject=consent.subject, now=moment)
                return Ended(CallbackResult.CLOSED)
            case Completion.LOST:
                audit.write(c, "consent_dropped", user=user, subject=consent.subject, now=moment)
                return Ended(CallbackResult.USED)
        held = before.scopes if before and before.status is GrantStatus.ACTIVE else frozenset()
        unasked = granted_scopes.unasked(c, user) - asked
        # An answer without scopes: the exchange named what was asked for and what is held, and left out the rest.
        given = tokens.scopes if tokens.scopes is not None else asked | (held - unasked)
        grant = grants.save(c, user, before, tokens, scopes=given, unasked=unasked, now=moment)
        users.consented(c, user, identity, moment)
        audit.write(
            c,
            "grant_stored",
            user=user,
            subject=consent.subject,
            now=moment,
            gained=sorted(given - held),
            lost=sorted(held - given),
            scopes=sorted(given),
            generation=grant.generation,
        )
        waiting = [each for each in calls.suspended_of(c, user) if each.waits_for is WaitsFor.AUTHORIZATION]
        granted_scopes.add(c, user, given, asked_by(c, consent, waiting), moment)
        # `offline_access` comes along with every link; without it a call goes on, unless it was asked for by name.
        refused = asked - given - {OFFLINE_ACCESS}
        woken = release_calls(c, bot, waiting, grant, asked - given, moment)
        settled = settle_request(c, grant, refused, woken.rest, moment)
        lost = held - given - unasked - {OFFLINE_ACCESS}
        told = [told_of_loss(bot, consent, lost)] if lost else []
        messages = woken.messages + insert_all(c, bot, told)
        card = settled and claim_card(c, settled, bot.claim(moment))
        return Ended(result_of(refused, woken, settled=bool(settled)), messages, card or None)

    landed = await bot.insist(work)
    bot.wake.calls.set()
    return await deliver_result(bot, landed)


def told_of_loss(bot: Bot, consent: Consented, lost: ScopeSet) -> Draft:
    """A word to the person alone: nothing waits for what they no longer allow, so no card speaks of it."""
    content = bot.platform_of(consent.user).render_reply(replies.scopes_dropped(join_scopes(lost)))
    return draft(bot, consent.user, content, kind="notice", key=f"{consent.subject[1]}-lost")


@dataclass(frozen=True, slots=True)
class Released:
    rest: Requirement
    """What still has to be asked for."""
    released: int
    messages: list[OutgoingMessage]


def result_of(refused: ScopeSet, woken: Released, *, settled: bool) -> CallbackResult:
    if woken.rest:
        return CallbackResult.MORE_NEEDED
    if refused:
        return CallbackResult.PARTLY
    return CallbackResult.AUTHORIZED if settled or woken.released else CallbackResult.STORED


def asked_by(
    c: Connection, consent: Consented, waiting: Sequence[DeferredCall]
) -> Mapping[Scope, tuple[str, ...]]:
    """For each scope that was asked for, the commands that wait for it; what none of them names, all of them need."""
    everybody = tuple(dict.fromkeys(call.command for call in waiting))
    if not everybody:
        request = requests.latest_of(c, consent.user)
        everybody = request.reasons if request is not None else ()
    waiting_for = {
        scope: tuple(
            dict.fromkeys(call.command for call in waiting if any(scope in clause for clause in call.needs))
        )
        for scope in consent.scopes
    }
    return {scope: commands or everybody for scope, commands in waiting_for.items()}


def release_calls(
    c: Connection,
    bot: Bot,
    waiting: Sequence[DeferredCall],
    grant: Grant,
    refused: ScopeSet,
    moment: datetime,
) -> Released:
    """Releases what the grant satisfies, and cancels what was refused."""
    rest: list[tuple[str, ...]] = []
    released: list[str] = []
    messages: list[OutgoingMessage] = []
    for call in waiting:
        lacking = missing(call.needs, grant.scopes)
        if not lacking:
            released.append(call.id)
        elif any(not refused.isdisjoint(clause) for clause in lacking):
            if calls.cancel(c, call.id, "partly_refused", moment):
                reply = replies.partly_declined(typed(call), join_scopes(refused & named(lacking)))
                messages += insert_all(c, bot, [answer(bot, call, reply)])
        else:
            rest += lacking
    return Released(tuple(rest), calls.release(c, released, moment, consents=1), messages)


def settle_request(
    c: Connection, grant: Grant, refused: ScopeSet, rest: Requirement, moment: datetime
) -> str | None:
    """The live request is granted, or open again for what was added while the person consented.

    Returns its id; None when there is none.
    """
    request = requests.live_of(c, grant.user)
    if request is None:
        return None
    if rest:
        scopes = request.scopes - grant.scopes - refused
        wanted = scopes if is_met(rest, scopes | grant.scopes) else choose_scopes(rest, scopes, None).scopes
        wanted |= request.scopes & {OFFLINE_ACCESS}
        changed = requests.reopen(c, request.id, scopes=wanted, now=moment)
    else:
        changed = requests.settle(
            c,
            request.id,
            RequestStatus.GRANTED,
            granted=request.scopes & grant.scopes,
            refused=request.scopes - grant.scopes - {OFFLINE_ACCESS},
            now=moment,
        )
    return request.id if changed else None

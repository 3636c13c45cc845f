"""Authorization on the platform's own page (RFC 8628), for a bot that no browser can reach.

The card's button has a device code minted, and the card then shows the platform's link; from there on the platform is
polled until the person has decided. Both are rows first: whichever replica finds one due goes on with it, and one
whose claim was taken over meanwhile changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta
from functools import partial

from bot.core.grants import Grant
from bot.core.oauth import DeviceAnswer, DeviceCode, TokenProblem, TokenRefused, TokenSet, is_owner
from bot.core.people import Identity
from bot.core.requests import AuthorizationRequest, DeviceAuthorization, DeviceStatus
from bot.core.retry import doubled
from bot.core.scopes import ScopeSet
from bot.core.secrets import Secret
from bot.flows.authorize.callback import allowed_scopes, is_unanswered, with_retries
from bot.flows.authorize.end import decline_on_page
from bot.flows.authorize.grant import Completion, Consented, store_grant
from bot.flows.authorize.open import one_link, was_revoked
from bot.flows.authorize.page_errors import ask_otherwise
from bot.flows.bot import Bot, now
from bot.flows.outbox import later
from bot.store import device_authorizations, grants, requests
from bot.store.cards import show_card
from bot.store.ids import new_id
from bot.store.transaction import Connection

log = logging.getLogger(__name__)

AT_ONCE = 10
"""Codes that one replica goes on with in a second: the token endpoint takes 50 requests, and they are for people."""

SLOWER_BY = 5
LONGEST_INTERVAL = 60
LONGEST_PAUSE = timedelta(seconds=30)
"""Between two polls of a platform that does not answer: a code lives for some minutes only."""

MINTED_WITHIN = timedelta(minutes=2)
"""So long after the click the platform is asked for a code. Whoever has waited longer presses again."""


# --- the button -----------------------------------------------------------------------------------------------


async def start(bot: Bot, request: AuthorizationRequest, patience: float) -> bool:
    """Has a code minted, unless one lives. False when that takes longer than `patience`: then the card is changed
    once it is done, by this process or another."""
    moment = now()
    fresh = await bot.database.write(lambda c: begin(c, bot, request, moment))
    if fresh is None:
        latest = await bot.database.read(lambda c: device_authorizations.latest_of(c, request.id))
        return latest is None or latest.status is not DeviceStatus.MINTING
    minting = bot.background(mint(bot, fresh))
    done, _ = await asyncio.wait({minting}, timeout=patience)
    if done:
        # One that the platform did not answer in time is minting still.
        latest = await bot.database.read(lambda c: device_authorizations.latest_of(c, request.id))
        return latest is not None and latest.status is not DeviceStatus.MINTING
    minting.add_done_callback(lambda _: bot.wake.upkeep.set())
    return False


def begin(
    c: Connection, bot: Bot, request: AuthorizationRequest, moment: datetime
) -> DeviceAuthorization | None:
    """Inside a transaction: one live code a request; None when there is one."""
    fresh = device_authorizations.begin(
        c,
        request.id,
        request.user,
        scopes=one_link(request.scopes),
        new_id=new_id(moment),
        claim=bot.claim(moment),
    )
    if fresh is not None:
        requests.stamp_opened(c, request.id, moment)
    return fresh


async def mint(bot: Bot, device: DeviceAuthorization) -> None:
    """Asks the platform for a code, and has the card show its link."""
    platform = bot.platform_of(device.user)
    answer = (
        await platform.device.request_device_authorization(device.scopes) if platform.device else NO_DEVICE
    )
    moment = now()

    def keep(c: Connection, code: DeviceCode) -> None:
        if device_authorizations.minted(c, device, code, moment):
            show_card(c, device.request_id, moment)

    match answer:
        case DeviceCode():
            await bot.database.write(partial(keep, code=answer))
        case TokenRefused(problem=TokenProblem.SCOPE):
            await retry_with_other_scopes(bot, device, answer)
        case TokenRefused(problem=TokenProblem.TRANSIENT | TokenProblem.IN_DOUBT) if (
            moment < device.created_at + MINTED_WITHIN
        ):
            log.warning(
                "no device code yet",
                extra={
                    "device": device.id,
                    "problem": answer.problem.value,
                    "reason": answer.message,
                    "failures": device.failures,
                },
            )
            until = later(moment, device.failures, None)
            await wait(bot, device, until, device.interval, device.failures + 1)
        case TokenRefused():
            await fail(bot, device, answer)


NO_DEVICE = TokenRefused(TokenProblem.APP, 0, "the platform has no device authorization")


async def retry_with_other_scopes(bot: Bot, device: DeviceAuthorization, refusal: TokenRefused) -> None:
    """The app has not enabled what was asked for. Other than the authorization page, this endpoint says so."""
    log.warning("scopes refused", extra={"device": device.id, "scopes": sorted(device.scopes)})
    enabled = await bot.platform_of(device.user).enabled_scopes(fresh=True)
    moment = now()

    def work(c: Connection) -> None:
        failed = DeviceStatus.FAILED
        if not device_authorizations.finish(c, device.id, device.claim, failed, "other_scopes", moment):
            return
        request = requests.live_of(c, device.user)
        if request is not None and request.id == device.request_id:
            ask_otherwise(c, bot, request, enabled, moment)

    await bot.database.write(work)
    bot.wake.upkeep.set()


# --- polling --------------------------------------------------------------------------------------------------


async def go_on_due(bot: Bot) -> None:
    """Goes on with what is due: polls at their time, and what a crash or a failing platform interrupted."""
    claim = bot.claim()
    due = await bot.database.write(lambda c: device_authorizations.claim_due(c, claim, AT_ONCE))
    # Side by side: one after another, the leases of the last would run out while the platform is slow.
    await asyncio.gather(*(go_on(bot, device) for device in due))


async def go_on(bot: Bot, device: DeviceAuthorization) -> None:
    if device.status is DeviceStatus.MINTING:
        await mint(bot, device)
        bot.wake.upkeep.set()
    elif device.device_code is None:
        await end(bot, device, DeviceStatus.FAILED, "code_lost")
    else:
        await bot.carry_through(poll(bot, device, device.device_code))


async def poll(bot: Bot, device: DeviceAuthorization, code: Secret) -> None:
    """Asks once whether the person has decided, and goes by the answer. The last poll is at the code's expiry."""
    platform = bot.platform_of(device.user)
    answer = await platform.device.poll_device(code) if platform.device else NO_DEVICE
    match answer:
        case TokenSet():
            await redeem(bot, device, answer)
        case DeviceAnswer.DENIED:
            await deny(bot, device)
        case DeviceAnswer.EXPIRED:
            await end(bot, device, DeviceStatus.EXPIRED, "expired")
        case DeviceAnswer.PENDING:
            await poll_again(bot, device, device.interval, failures=0)
        case DeviceAnswer.SLOW_DOWN:
            slower = min(device.interval + SLOWER_BY, LONGEST_INTERVAL)
            await poll_again(bot, device, slower, failures=0)
        case TokenRefused(problem=TokenProblem.TRANSIENT | TokenProblem.IN_DOUBT):
            await poll_again(bot, device, device.interval, failures=device.failures + 1)
        case TokenRefused():
            await fail(bot, device, answer)


async def poll_again(bot: Bot, device: DeviceAuthorization, interval: int, *, failures: int) -> None:
    """Nothing yet. After a failure the pause doubles (RFC 8628, 3.5)."""
    moment = now()
    assert device.expires_at is not None
    if moment >= device.expires_at:
        await end(bot, device, DeviceStatus.EXPIRED, "expired")
        return
    usual = timedelta(seconds=interval)
    pause = doubled(usual, failures, max(usual, LONGEST_PAUSE))
    await wait(bot, device, min(moment + pause, device.expires_at), interval, failures)


async def wait(bot: Bot, device: DeviceAuthorization, until: datetime, interval: int, failures: int) -> None:
    await bot.database.write_one(
        lambda c: device_authorizations.postpone(
            c, device.id, device.claim, until=until, interval=interval, failures=failures
        )
    )


async def redeem(bot: Bot, device: DeviceAuthorization, tokens: TokenSet) -> None:
    """Asks whose tokens they are, and stores the grant only if that is the person who was asked."""
    # The code is spent: whoever took this over now could only have it refused, and the tokens with it.
    await wait(bot, device, now() + bot.lease, device.interval, device.failures)
    platform = bot.platform_of(device.user)
    identity = await with_retries(partial(platform.identify, tokens.access_token), is_unanswered)
    if not isinstance(identity, Identity):
        await end(bot, device, DeviceStatus.FAILED, "identity_unknown")
        return
    if not is_owner(device.user, identity):
        # The token is dropped here, and not revoked: that might end that other person's own grant.
        await end(bot, device, DeviceStatus.FAILED, device_authorizations.WRONG_PERSON)
        return

    def basis(c: Connection) -> tuple[Grant | None, ScopeSet]:
        grant = grants.find(c, device.user)
        return grant, allowed_scopes(c, device.scopes, grant)

    grant, scopes = await bot.database.read(basis)
    await wait(bot, device, now() + bot.lease, device.interval, device.failures)
    if platform.narrowing is not None:
        narrowed = await platform.narrowing.narrow(tokens, scopes, strict=was_revoked(grant))
        if isinstance(narrowed, TokenRefused):
            await fail(bot, device, narrowed)
            return
        tokens = narrowed
    await store_grant(bot, consented(device), tokens, identity)


def consented(device: DeviceAuthorization) -> Consented:
    """The consent that the platform's own page took."""

    def complete(c: Connection, current: Grant | None, moment: datetime) -> Completion:
        done = DeviceStatus.COMPLETED
        if device_authorizations.finish(c, device.id, device.claim, done, "granted", moment):
            return Completion.COMPLETED
        closed = device_authorizations.outcome_of(c, device.id) == device_authorizations.CLOSED
        # Revoking one token may end all that the person has granted, if there is something left to end.
        if closed and (current is None or current.access_token is None):
            return Completion.WITHDRAWN
        return Completion.LOST

    subject = ("device_authorization", device.id)
    return Consented(device.user, device.scopes, subject, complete)


# --- ending ---------------------------------------------------------------------------------------------------


async def deny(bot: Bot, device: DeviceAuthorization) -> None:
    """Somebody who has the user code declined on the platform's page: the card says so, and has its button again."""
    moment = now()

    def work(c: Connection) -> None:
        denied = DeviceStatus.DENIED
        if device_authorizations.finish(c, device.id, device.claim, denied, "access_denied", moment):
            decline_on_page(c, device.request_id, moment)
            show_card(c, device.request_id, moment)

    await bot.database.write(work)
    bot.wake.upkeep.set()


OUTCOMES = {
    TokenProblem.USER: "not_allowed",
    TokenProblem.APP: "misconfigured",
    TokenProblem.BLOCKED: "misconfigured",
}


async def fail(bot: Bot, device: DeviceAuthorization, refusal: TokenRefused) -> None:
    log.warning(
        "device authorization failed",
        extra={"device": device.id, "problem": refusal.problem.value, "code": refusal.code},
    )
    await end(bot, device, DeviceStatus.FAILED, OUTCOMES.get(refusal.problem, "not_completed"))


async def end(bot: Bot, device: DeviceAuthorization, status: DeviceStatus, outcome: str) -> None:
    """It ends without a grant, and the card has its button again, with words."""
    moment = now()

    def work(c: Connection) -> None:
        if device_authorizations.finish(c, device.id, device.claim, status, outcome, moment):
            show_card(c, device.request_id, moment)

    await bot.database.write(work)
    bot.wake.upkeep.set()

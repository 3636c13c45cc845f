"""Device authorization (RFC 8628): for a bot that no browser can reach.

The card's button requests a device code, and the card then shows the platform's verification URI. The bot polls the
platform until the user has decided. The state is a row: any replica continues an authorization that is due, and a replica
that has lost its claim changes nothing.
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
from bot.flows import correlation, observations
from bot.flows.authorize.callback import allowed_scopes, is_unanswered, with_retries
from bot.flows.authorize.end import decline_on_page
from bot.flows.authorize.grant import Completion, Consented, store_grant
from bot.flows.authorize.open import link_scopes, was_revoked
from bot.flows.authorize.page_errors import ask_for_other_scopes
from bot.flows.bot import Bot, utc_now
from bot.flows.clock import expiry_time
from bot.flows.outbox import retry_time
from bot.store import device_authorizations, grants, requests
from bot.store.cards import show
from bot.store.ids import new_id
from bot.store.transaction import Connection

log = logging.getLogger(__name__)

BATCH_SIZE = 10
"""Device codes that one replica polls in a second. All requests share the rate limit of the token endpoint."""

SLOW_DOWN_SECONDS = 5
MAX_INTERVAL = 60
LONGEST_PAUSE = timedelta(seconds=30)
"""The longest pause between two polls of a platform that does not answer. A code expires after some minutes."""

REQUEST_TIMEOUT = timedelta(minutes=2)
"""How long after the click the request for a device code is retried. After that, the user must press the button again."""


# --- the button -----------------------------------------------------------------------------------------------


async def start_device_authorization(bot: Bot, request: AuthorizationRequest, max_wait: float) -> bool:
    """Request a device code, unless one is live. Returns False if that takes longer than `max_wait` seconds: then this or
    another process updates the card later."""
    with await correlation.of_request(bot, request.id, request.user):
        return await start(bot, request, max_wait)


async def start(bot: Bot, request: AuthorizationRequest, max_wait: float) -> bool:
    now = utc_now()
    fresh = await bot.database.write(lambda c: begin(c, bot, request, now))
    if fresh is None:
        latest = await bot.database.read(lambda c: device_authorizations.latest_of(c, request.id))
        return latest is None or latest.status is not DeviceStatus.REQUESTING
    requesting = bot.background(request_device_code(bot, fresh))
    done, _ = await asyncio.wait({requesting}, timeout=max_wait)
    if done:
        # The code may still be missing: a failed request is retried later.
        latest = await bot.database.read(lambda c: device_authorizations.latest_of(c, request.id))
        return latest is not None and latest.status is not DeviceStatus.REQUESTING
    requesting.add_done_callback(lambda _: bot.signals.upkeep.set())
    return False


def begin(
    c: Connection, bot: Bot, request: AuthorizationRequest, now: datetime
) -> DeviceAuthorization | None:
    """Record a new device authorization and return it. Returns None if the request has a live one."""
    fresh = device_authorizations.begin(
        c,
        request.id,
        request.user,
        scopes=link_scopes(bot, request),
        new_id=new_id(now),
        claim=bot.claim(request.user.app, now),
    )
    if fresh is not None:
        requests.stamp_opened(c, request.id, now)
    return fresh


async def request_device_code(bot: Bot, device: DeviceAuthorization) -> None:
    """Request a device code, and make the card show its verification URI."""
    platform = bot.platform_of(device.user)
    answer = (
        await platform.device.request_device_authorization(device.scopes) if platform.device else NO_DEVICE
    )
    now = utc_now()

    def keep(c: Connection, code: DeviceCode) -> None:
        if device_authorizations.store_codes(c, device, code, now):
            show(c, device.request_id, now)

    match answer:
        case DeviceCode():
            await bot.database.write(partial(keep, code=answer))
        case TokenRefused(problem=TokenProblem.SCOPE):
            await retry_with_other_scopes(bot, device, answer)
        case TokenRefused(problem=TokenProblem.TRANSIENT | TokenProblem.IN_DOUBT) if (
            now < device.created_at + REQUEST_TIMEOUT
        ):
            observations.device_failed(bot, device, answer)
            until = retry_time(now, device.failures, None)
            await postpone(bot, device, until, device.interval, device.failures + 1)
        case TokenRefused():
            await fail(bot, device, answer)


NO_DEVICE = TokenRefused(TokenProblem.APP, 0, "the platform has no device authorization")


async def retry_with_other_scopes(bot: Bot, device: DeviceAuthorization, refusal: TokenRefused) -> None:
    """Ask for other scopes, because the app has not enabled these. Only this endpoint says so, not the page."""
    log.warning("scopes refused", extra={"device": device.id, "scopes": sorted(device.scopes)})
    enabled = await bot.platform_of(device.user).enabled_scopes(fresh=True)
    now = utc_now()

    def work(c: Connection) -> None:
        failed = DeviceStatus.FAILED
        if not device_authorizations.finish(c, device.id, device.claim, failed, "other_scopes", now):
            return
        request = requests.live_of(c, device.user)
        if request is not None and request.id == device.request_id:
            ask_for_other_scopes(c, bot, request, enabled, now)

    await bot.database.write(work)
    bot.signals.upkeep.set()


# --- polling --------------------------------------------------------------------------------------------------


async def continue_due(bot: Bot) -> None:
    """Continue device authorizations that are due: for their next poll, or after a crash or a failure."""
    due = await bot.claim_due(device_authorizations.claim_due, limit=BATCH_SIZE)
    # Concurrently, because in sequence the last leases would expire while the platform is slow.
    await asyncio.gather(*(continue_one(bot, device) for device in due))


async def continue_one(bot: Bot, device: DeviceAuthorization) -> None:
    with await correlation.of_request(bot, device.request_id, device.user):
        if device.status is DeviceStatus.REQUESTING:
            await request_device_code(bot, device)
            bot.signals.upkeep.set()
        elif device.device_code is None:
            await end(bot, device, DeviceStatus.FAILED, "code_lost")
        else:
            await bot.run_to_completion(poll(bot, device, device.device_code))


async def poll(bot: Bot, device: DeviceAuthorization, code: Secret) -> None:
    """Poll once, for the last time when the code expires."""
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
            slower = min(device.interval + SLOW_DOWN_SECONDS, MAX_INTERVAL)
            await poll_again(bot, device, slower, failures=0)
        case TokenRefused(problem=TokenProblem.TRANSIENT | TokenProblem.IN_DOUBT):
            await poll_again(bot, device, device.interval, failures=device.failures + 1)
        case TokenRefused():
            await fail(bot, device, answer)


async def poll_again(bot: Bot, device: DeviceAuthorization, interval: int, *, failures: int) -> None:
    """Postpone the next poll. After a failure the pause doubles (RFC 8628, section 3.5)."""
    now = utc_now()
    assert device.expires_at is not None
    if expiry_time() >= device.expires_at:
        await end(bot, device, DeviceStatus.EXPIRED, "expired")
        return
    usual = timedelta(seconds=interval)
    pause = doubled(usual, failures, max(usual, LONGEST_PAUSE))
    until = now + pause
    if now < device.expires_at < until:
        until = device.expires_at
    await postpone(bot, device, until, interval, failures)


async def postpone(
    bot: Bot, device: DeviceAuthorization, until: datetime, interval: int, failures: int
) -> None:
    await bot.database.write_one(
        lambda c: device_authorizations.postpone(
            c, device.id, device.claim, until=until, interval=interval, failures=failures
        )
    )


async def redeem(bot: Bot, device: DeviceAuthorization, tokens: TokenSet) -> None:
    """Check the owner of the tokens, and store the grant if that is the user who was asked."""
    received_at = utc_now()
    # The code is used up: another worker that claimed it now would be refused, and the tokens would be lost.
    await postpone(bot, device, received_at + bot.lease, device.interval, device.failures)
    with bot.tracer.span("consent", platform=device.user.platform, device=device.id):
        await identify_and_store(bot, device, tokens, received_at)


async def identify_and_store(
    bot: Bot, device: DeviceAuthorization, tokens: TokenSet, received_at: datetime
) -> None:
    platform = bot.platform_of(device.user)
    identity = await with_retries(partial(platform.identify, tokens.access_token), is_unanswered)
    if not isinstance(identity, Identity):
        await end(bot, device, DeviceStatus.FAILED, "identity_unknown")
        return
    if not is_owner(device.user, identity, tokens):
        # The token is dropped, not revoked: revoking it might end the other user's own grant.
        await end(bot, device, DeviceStatus.FAILED, device_authorizations.WRONG_PERSON)
        return

    def basis(c: Connection) -> tuple[Grant | None, ScopeSet]:
        grant = grants.find(c, device.user)
        return grant, allowed_scopes(c, device.scopes, grant)

    grant, scopes = await bot.database.read(basis)
    await postpone(bot, device, utc_now() + bot.lease, device.interval, device.failures)
    if platform.narrowing is not None:
        narrowed = await platform.narrowing.narrow(tokens, scopes, strict=was_revoked(grant))
        if isinstance(narrowed, TokenRefused):
            await fail(bot, device, narrowed)
            return
        tokens = narrowed
    await store_grant(bot, consented(device, received_at), tokens, identity)


def consented(device: DeviceAuthorization, received_at: datetime) -> Consented:
    """Return the consent that the user gave on the platform's page."""

    def complete(c: Connection, current: Grant | None, now: datetime) -> Completion:
        done = DeviceStatus.COMPLETED
        if device_authorizations.finish(c, device.id, device.claim, done, "granted", now):
            return Completion.COMPLETED
        closed = device_authorizations.outcome_of(c, device.id) == device_authorizations.CLOSED
        # Revoking one token may end everything that the user has granted: only if there is no other token.
        if closed and (current is None or current.access_token is None):
            return Completion.WITHDRAWN
        return Completion.LOST

    subject = ("device_authorization", device.id)
    return Consented(device.user, device.scopes, subject, device.request_id, received_at, complete)


# --- ending ---------------------------------------------------------------------------------------------------


async def deny(bot: Bot, device: DeviceAuthorization) -> None:
    """Record that someone with the user code declined. The card says so and shows its button again."""
    now = utc_now()

    def work(c: Connection) -> None:
        denied = DeviceStatus.DENIED
        if device_authorizations.finish(c, device.id, device.claim, denied, "access_denied", now):
            decline_on_page(c, device.request_id, now)
            show(c, device.request_id, now)

    await bot.database.write(work)
    bot.signals.upkeep.set()


OUTCOMES = {
    TokenProblem.USER: "not_allowed",
    TokenProblem.APP: "misconfigured",
    TokenProblem.BLOCKED: "misconfigured",
}


async def fail(bot: Bot, device: DeviceAuthorization, refusal: TokenRefused) -> None:
    observations.device_failed(bot, device, refusal)
    await end(bot, device, DeviceStatus.FAILED, OUTCOMES.get(refusal.problem, "not_completed"))


async def end(bot: Bot, device: DeviceAuthorization, status: DeviceStatus, outcome: str) -> None:
    """End a device authorization without a grant. The card says why and shows its button again."""
    now = utc_now()

    def work(c: Connection) -> None:
        if device_authorizations.finish(c, device.id, device.claim, status, outcome, now):
            show(c, device.request_id, now)

    await bot.database.write(work)
    bot.signals.upkeep.set()

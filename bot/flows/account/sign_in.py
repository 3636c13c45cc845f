"""Sign-in through web login or inside the client: identifies the user of a browser.

A sign-in is an authorization without scopes and without a call. Starting one stores nothing, because anyone can start any
number: the attempt is sealed in a cookie of the browser. A row is written when the browser returns, which makes the
state one-shot. The token is used once, to identify the user, and then dropped. No grant changes.
"""

from __future__ import annotations

import json
import logging
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial

from bot.core.errors import CannotOpenSecret
from bot.core.oauth import (
    STATE_BYTES,
    VERIFIER_BYTES,
    Approved,
    Denied,
    NewAttemptSecrets,
    TokenProblem,
    TokenRefused,
    digest,
    new_attempt,
    urlsafe,
)
from bot.core.people import Identity, Session, UserKey
from bot.core.platform import Platform
from bot.core.requests import Attempt, AttemptKind, AttemptStatus
from bot.core.secrets import Secret
from bot.flows.authorize.callback import ACCESS_DENIED, is_unanswered, with_retries
from bot.flows.bot import Bot, utc_now
from bot.store import attempts, audit, sessions, users
from bot.store.attempts import NewAttempt
from bot.store.ids import new_id
from bot.store.transaction import Connection

log = logging.getLogger(__name__)


# --- starting --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StartedSignIn:
    cookie: Secret
    """The sealed cookie that the browser has to return."""
    state: Secret
    challenge: str | None


@dataclass(frozen=True, slots=True)
class SignInCookie:
    """The attempt of a sign-in, as stored in the browser's cookie."""

    state_digest: str
    verifier: Secret | None
    redirect_uri: str | None
    expires_at: datetime


def start_in_browser(bot: Bot, platform: Platform) -> tuple[StartedSignIn, str]:
    """Start web login. Also returns the URL of the platform's authorization page."""
    redirect_uri = bot.callback_url(platform)
    started = start(bot, platform, redirect_uri, pkce=platform.signs_in_with_pkce)
    url = platform.authorize_url(
        redirect_uri=redirect_uri,
        scopes=frozenset(),
        state=started.state.reveal(),
        challenge=started.challenge,
        prompt=False,
    )
    return started, url


def start_in_client(bot: Bot, platform: Platform) -> StartedSignIn:
    """Start a sign-in inside the client, whose code is exchanged without a redirect URI and without PKCE."""
    return start(bot, platform, None, pkce=False)


def start(bot: Bot, platform: Platform, redirect_uri: str | None, *, pkce: bool) -> StartedSignIn:
    fresh: NewAttemptSecrets = new_attempt(
        secrets.token_bytes(STATE_BYTES + VERIFIER_BYTES), pkce=pkce, kind=AttemptKind.SIGN_IN
    )
    cookie = SignInCookie(fresh.state_digest, fresh.verifier, redirect_uri, utc_now() + bot.authorization_ttl)
    return StartedSignIn(seal_cookie(bot, platform, cookie), fresh.state, fresh.challenge)


def seal_cookie(bot: Bot, platform: Platform, cookie: SignInCookie) -> Secret:
    verifier = cookie.verifier.reveal() if cookie.verifier else None
    fields = [cookie.state_digest, verifier, cookie.redirect_uri, cookie.expires_at.timestamp()]
    return Secret(bot.database.keyring.seal(Secret(json.dumps(fields)), cookie_context(platform)))


def open_cookie(bot: Bot, platform: Platform, cookie: Secret) -> SignInCookie | None:
    """Open the cookie. Returns None if this bot did not seal it, or lacks the key."""
    try:
        text = bot.database.keyring.open(cookie.reveal(), cookie_context(platform)).reveal()
    except CannotOpenSecret:
        return None
    state_digest, verifier, redirect_uri, expires_at = json.loads(text)
    return SignInCookie(
        state_digest, verifier and Secret(verifier), redirect_uri, datetime.fromtimestamp(expires_at, UTC)
    )


def cookie_context(platform: Platform) -> str:
    """Return the context that binds a cookie to its purpose and app: no other sealed value can be opened as one."""
    return f"sign-in cookie:{platform.app}"


# --- completing ------------------------------------------------------------------------------------------


class SignInFailure(StrEnum):
    """Why a sign-in failed, for the page that explains it."""

    DECLINED = "declined"
    OTHER_BROWSER = "other_browser"
    """It was started in another browser or not at all, has expired, or was replaced by a newer one."""
    USED = "used"
    CODE_REFUSED = "code_refused"
    NOT_ALLOWED = "not_allowed"
    """The platform does not let the user use this app."""
    UNKNOWN_ORGANIZATION = "stranger"
    """No user of the organization has used the bot."""
    MISCONFIGURED = "misconfigured"
    BUSY = "busy"
    """Too many sign-ins are being completed."""
    UNAVAILABLE = "not_now"
    """The platform does not answer."""


@dataclass(frozen=True, slots=True)
class SignedIn:
    session: Secret
    """The id of the new session, for this browser's cookie only."""


async def complete(
    bot: Bot,
    platform: Platform,
    response: Approved | Denied,
    *,
    cookie: Secret | None,
    previous: Secret | None,
) -> SignedIn | SignInFailure:
    """Complete a sign-in in the browser that returned `cookie`. A new session ends the `previous` one."""
    sign_in = await find(bot, platform, response.state, cookie)
    if not isinstance(sign_in, SignInCookie):
        bot.refusals.note("sign-in rejected", sign_in.value)
        return sign_in
    if isinstance(response, Denied):
        # Nothing is stored, because anyone can start and decline sign-ins at any rate.
        declined = response.error == ACCESS_DENIED
        bot.refusals.note("sign-in failed", ACCESS_DENIED if declined else "error_on_page")
        return SignInFailure.DECLINED if declined else SignInFailure.CODE_REFUSED
    # Limited, because anyone can start a sign-in and return any code, and each costs a request to the platform.
    if not (await bot.sign_in_throttle.acquire() and bot.sign_in_capacity.acquire()):
        bot.refusals.note("sign-in failed", "busy")
        return SignInFailure.BUSY
    try:
        return await redeem(bot, platform, sign_in, response.code, previous)
    finally:
        bot.sign_in_capacity.release()


async def redeem(
    bot: Bot, platform: Platform, sign_in: SignInCookie, code: Secret, previous: Secret | None
) -> SignedIn | SignInFailure:
    """Identify the user of the code, and start their session."""
    attempt = await claim_attempt(bot, platform, sign_in)
    if attempt is None:
        bot.refusals.note("sign-in rejected", SignInFailure.USED.value)
        return SignInFailure.USED
    identity = await identify(bot, platform, attempt, code)
    if not isinstance(identity, Identity):
        return identity
    user = platform.user_key(identity.open_id, identity.tenant_key)
    if not await is_in_known_organization(bot, user):
        return await failed(bot, attempt, "stranger", SignInFailure.UNKNOWN_ORGANIZATION, user)
    return await begin_session(bot, attempt, user, identity, previous)


UNUSED_STATUSES = {None, AttemptStatus.LIVE, AttemptStatus.EXPIRED}
"""Statuses of a state that has not been used. Earlier releases recorded a sign-in when it started."""


async def find(
    bot: Bot, platform: Platform, state: Secret, cookie: Secret | None
) -> SignInCookie | SignInFailure:
    """Return the sign-in of this state, if it has not expired and was started in this browser."""
    state_digest = digest(state.reveal())
    status = await bot.database.read(
        lambda c: attempts.consumed_before(c, platform.app, state_digest, AttemptKind.SIGN_IN)
    )
    if status not in UNUSED_STATUSES:
        return SignInFailure.USED
    sign_in = open_cookie(bot, platform, cookie) if cookie is not None else None
    if sign_in is None or sign_in.state_digest != state_digest or sign_in.expires_at <= utc_now():
        return SignInFailure.OTHER_BROWSER
    return sign_in


async def claim_attempt(bot: Bot, platform: Platform, cookie: SignInCookie) -> Attempt | None:
    """Record and claim the attempt of a sign-in. Returns None if it was used before."""
    now = utc_now()
    sign_in = NewAttempt(
        new_id(now),
        AttemptKind.SIGN_IN,
        None,
        None,
        cookie.state_digest,
        None,
        frozenset(),
        cookie.redirect_uri,
        cookie.expires_at,
    )
    claim = bot.claim(platform.app, now)
    if not await bot.database.write_one(lambda c: attempts.record_sign_in(c, sign_in, claim)):
        return None
    return Attempt(
        sign_in.id,
        sign_in.kind,
        None,
        None,
        frozenset(),
        cookie.redirect_uri,
        cookie.verifier,
        cookie.expires_at,
    )


async def identify(bot: Bot, platform: Platform, attempt: Attempt, code: Secret) -> Identity | SignInFailure:
    """Return the user of the code. The token is dropped when the function returns."""
    exchange = partial(
        platform.exchange_sign_in,
        code,
        redirect_uri=attempt.redirect_uri,
        verifier=attempt.verifier,
    )
    tokens = await with_retries(exchange, is_unanswered)
    if isinstance(tokens, TokenRefused):
        failure = FAILURE_FOR_PROBLEM.get(tokens.problem, SignInFailure.CODE_REFUSED)
        return await failed(bot, attempt, f"exchange_{tokens.problem.value}_{tokens.code}", failure)
    identity = await with_retries(partial(platform.identify, tokens.access_token), is_unanswered)
    if not isinstance(identity, Identity):
        return await failed(bot, attempt, "identity_unknown", SignInFailure.UNAVAILABLE)
    if tokens.tenant_key not in {None, identity.tenant_key}:
        return await failed(bot, attempt, "other_organization", SignInFailure.NOT_ALLOWED)
    return identity


FAILURE_FOR_PROBLEM = {
    TokenProblem.TRANSIENT: SignInFailure.UNAVAILABLE,
    TokenProblem.IN_DOUBT: SignInFailure.UNAVAILABLE,
    TokenProblem.USER: SignInFailure.NOT_ALLOWED,
    TokenProblem.OVER: SignInFailure.NOT_ALLOWED,
    TokenProblem.APP: SignInFailure.MISCONFIGURED,
    TokenProblem.BLOCKED: SignInFailure.MISCONFIGURED,
}


async def is_in_known_organization(bot: Bot, user: UserKey) -> bool:
    """Return whether the user's organization uses this bot, or the user is an administrator.

    The platform rejects other users too, but the bot does not rely on that.
    """
    if await bot.database.read(lambda c: users.is_of_known_organization(c, user)):
        return True
    return await bot.is_administrator(user)


async def failed(
    bot: Bot, attempt: Attempt, outcome: str, failure: SignInFailure, user: UserKey | None = None
) -> SignInFailure:
    """Delete the attempt, and record the failure of an identified user at most once a day. Returns `failure`.

    Nothing else is stored, because anyone can make sign-ins fail.
    """
    bot.refusals.note("sign-in failed", outcome)
    now = utc_now()

    def work(c: Connection) -> None:
        attempts.forget_sign_in(c, attempt.id)
        if user is None or audit.has_entry(c, "sign_in_failed", user, since=now - DAY):
            return
        subject = ("attempt", attempt.id)
        audit.write(c, "sign_in_failed", user=user, subject=subject, now=now, reason=outcome)

    await bot.database.write(work)
    return failure


DAY = timedelta(days=1)


async def begin_session(
    bot: Bot,
    attempt: Attempt,
    user: UserKey,
    identity: Identity,
    previous: Secret | None,
) -> SignedIn | SignInFailure:
    """Start the session, end the previous one and settle the attempt, in one transaction.

    The session id is generated only now, so that a planted one is useless (session fixation).
    """
    session, now = Secret(urlsafe(secrets.token_bytes(32))), utc_now()

    def work(c: Connection) -> bool:
        if not attempts.finish(c, attempt.id, AttemptStatus.COMPLETED, "signed_in", now):
            return False
        users.seen(c, user, language=None, union_id=identity.union_id, now=now)
        if identity.name:
            users.name_user(c, user, identity.name, now)
        if previous is not None:
            sessions.end(c, digest(previous.reveal()))
        sessions.begin(c, digest(session.reveal()), user, now)
        audit.write(c, "signed_in", user=user, subject=("attempt", attempt.id), now=now)
        return True

    if not await bot.database.write(work):
        return SignInFailure.UNAVAILABLE
    return SignedIn(session)


# --- being signed in -------------------------------------------------------------------------------------


async def session_of(bot: Bot, session: Secret) -> Session | None:
    """Return the live session with this id, or None, and record its use."""
    now = utc_now()
    stored = await bot.database.read(lambda c: sessions.find(c, digest(session.reveal()), now))
    if stored is not None and not stored.genuine:
        if stored.genuine is not None:
            await bot.database.write(lambda c: sessions.reject(c, stored.digest, now))
        return None
    if stored is not None and not stored.is_use_recorded(now):
        await bot.database.write_one(lambda c: sessions.touch(c, stored.digest, now))
    return stored


async def sign_out(bot: Bot, session: Secret) -> None:
    """End the session. Other browsers of the user stay signed in."""
    now = utc_now()

    def work(c: Connection) -> None:
        user = sessions.end(c, digest(session.reveal()))
        if user is not None:
            audit.write(c, "signed_out", user=user, now=now)

    await bot.database.write(work)

"""Signing in, through web login or inside the client: finds out whose browser this is.

A sign-in is an authorization without scopes and without a call. Its attempt is encrypted in a cookie of the browser, so
that starting one stores nothing: anyone can start any number. A row is written when the browser comes back, which makes
the state one-shot. The token is used once, to identify the user, and then dropped; no grant changes.
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
from bot.flows.bot import Bot, now
from bot.store import attempts, audit, sessions, users
from bot.store.attempts import NewAttempt
from bot.store.ids import new_id
from bot.store.transaction import Connection

log = logging.getLogger(__name__)


# --- beginning -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StartedSignIn:
    kept: Secret
    """The encrypted cookie that the browser has to bring back."""
    state: Secret
    challenge: str | None


@dataclass(frozen=True, slots=True)
class SignInCookie:
    """The attempt of a sign-in, as the browser's cookie holds it."""

    state_digest: str
    verifier: Secret | None
    redirect_uri: str | None
    expires_at: datetime


def start_in_browser(bot: Bot, platform: Platform) -> tuple[StartedSignIn, str]:
    """Start web login. Also returns the URL of the platform's authorization page."""
    redirect_uri = bot.callback_url(platform)
    begun = start(bot, platform, redirect_uri, pkce=platform.signs_in_with_pkce)
    url = platform.authorize_url(
        redirect_uri=redirect_uri,
        scopes=frozenset(),
        state=begun.state.reveal(),
        challenge=begun.challenge,
        prompt=False,
    )
    return begun, url


def start_in_client(bot: Bot, platform: Platform) -> StartedSignIn:
    """Start a sign-in inside the client, whose code is exchanged without a redirect URI and without PKCE."""
    return start(bot, platform, None, pkce=False)


def start(bot: Bot, platform: Platform, redirect_uri: str | None, *, pkce: bool) -> StartedSignIn:
    fresh: NewAttemptSecrets = new_attempt(
        secrets.token_bytes(STATE_BYTES + VERIFIER_BYTES), pkce=pkce, kind=AttemptKind.SIGN_IN
    )
    kept = SignInCookie(fresh.state_digest, fresh.verifier, redirect_uri, now() + bot.authorization_ttl)
    return StartedSignIn(sealed(bot, platform, kept), fresh.state, fresh.challenge)


def sealed(bot: Bot, platform: Platform, kept: SignInCookie) -> Secret:
    verifier = kept.verifier.reveal() if kept.verifier else None
    fields = [kept.state_digest, verifier, kept.redirect_uri, kept.expires_at.timestamp()]
    return Secret(bot.database.keyring.seal(Secret(json.dumps(fields)), bound_to(platform)))


def opened(bot: Bot, platform: Platform, kept: Secret) -> SignInCookie | None:
    """Decrypt the cookie. Returns None if this bot has not encrypted it, or its key is missing here."""
    try:
        text = bot.database.keyring.open(kept.reveal(), bound_to(platform)).reveal()
    except CannotOpenSecret:
        return None
    state_digest, verifier, redirect_uri, expires_at = json.loads(text)
    return SignInCookie(
        state_digest, verifier and Secret(verifier), redirect_uri, datetime.fromtimestamp(expires_at, UTC)
    )


def bound_to(platform: Platform) -> str:
    """Bind the cookie to its purpose and app: no other encrypted value can be decrypted as one."""
    return f"sign-in cookie:{platform.app}"


# --- coming back -----------------------------------------------------------------------------------------


class SignInFailure(StrEnum):
    """Why a sign-in failed, for the page that says so."""

    DECLINED = "declined"
    OTHER_BROWSER = "other_browser"
    """Started in another browser or not at all, or expired, or replaced by a newer one."""
    USED = "used"
    CODE_REFUSED = "code_refused"
    NOT_ALLOWED = "not_allowed"
    """The platform does not let the user use this app."""
    STRANGER = "stranger"
    """No user of the organization has ever used the bot."""
    MISCONFIGURED = "misconfigured"
    BUSY = "busy"
    """Too many sign-ins come back at once."""
    NOT_NOW = "not_now"
    """The platform does not answer."""


@dataclass(frozen=True, slots=True)
class SignedIn:
    session: Secret
    """The id of the new session, for this browser's cookie only."""


async def complete(
    bot: Bot,
    platform: Platform,
    came: Approved | Denied,
    *,
    kept: Secret | None,
    former: Secret | None,
) -> SignedIn | SignInFailure:
    """Complete a sign-in in the browser with the cookie `kept`. A new session ends the `former` one."""
    begun = await find(bot, platform, came.state, kept)
    if not isinstance(begun, SignInCookie):
        bot.refusals.note("sign-in rejected", begun.value)
        return begun
    if isinstance(came, Denied):
        # Nothing is stored: anyone can start and decline sign-ins at any rate.
        refused = came.error == ACCESS_DENIED
        bot.refusals.note("sign-in failed", ACCESS_DENIED if refused else "error_on_page")
        return SignInFailure.DECLINED if refused else SignInFailure.CODE_REFUSED
    # Anyone can start a sign-in and bring back any code, and each costs a request to the platform.
    if not (await bot.sign_in_throttle.acquire() and bot.sign_in_capacity.acquire()):
        bot.refusals.note("sign-in failed", "busy")
        return SignInFailure.BUSY
    try:
        return await redeem(bot, platform, begun, came.code, former)
    finally:
        bot.sign_in_capacity.release()


async def redeem(
    bot: Bot, platform: Platform, begun: SignInCookie, code: Secret, former: Secret | None
) -> SignedIn | SignInFailure:
    """Identify the user of the code, and start their session."""
    attempt = await take(bot, platform, begun)
    if attempt is None:
        bot.refusals.note("sign-in rejected", SignInFailure.USED.value)
        return SignInFailure.USED
    identity = await identify(bot, platform, attempt, code)
    if not isinstance(identity, Identity):
        return identity
    user = platform.user_key(identity.open_id, identity.tenant_key)
    if not await belongs_here(bot, user):
        return await failed(bot, attempt, "stranger", SignInFailure.STRANGER, user)
    return await begin_session(bot, attempt, user, identity, former)


UNUSED_STATUSES = {None, AttemptStatus.LIVE, AttemptStatus.EXPIRED}
"""Statuses of a state that has not come back: earlier releases recorded a sign-in when it started."""


async def find(
    bot: Bot, platform: Platform, state: Secret, kept: Secret | None
) -> SignInCookie | SignInFailure:
    """Return the sign-in of this state, if it has not expired and was started in this browser."""
    state_digest = digest(state.reveal())
    used = await bot.database.read(
        lambda c: attempts.consumed_before(c, platform.app, state_digest, AttemptKind.SIGN_IN)
    )
    if used not in UNUSED_STATUSES:
        return SignInFailure.USED
    begun = opened(bot, platform, kept) if kept is not None else None
    if begun is None or begun.state_digest != state_digest or begun.expires_at <= now():
        return SignInFailure.OTHER_BROWSER
    return begun


async def take(bot: Bot, platform: Platform, begun: SignInCookie) -> Attempt | None:
    """Claim a sign-in. Returns None if it was used before."""
    moment = now()
    sign_in = NewAttempt(
        new_id(moment),
        AttemptKind.SIGN_IN,
        None,
        None,
        begun.state_digest,
        None,
        frozenset(),
        begun.redirect_uri,
        begun.expires_at,
    )
    claim = bot.claim(platform.app, moment)
    if not await bot.database.write_one(lambda c: attempts.record_sign_in(c, sign_in, claim)):
        return None
    return Attempt(
        sign_in.id,
        sign_in.kind,
        None,
        None,
        frozenset(),
        begun.redirect_uri,
        begun.verifier,
        begun.expires_at,
    )


async def identify(bot: Bot, platform: Platform, attempt: Attempt, code: Secret) -> Identity | SignInFailure:
    """Return the user of the code. The token is not kept beyond this function."""
    exchange = partial(
        platform.exchange_sign_in,
        code,
        redirect_uri=attempt.redirect_uri,
        verifier=attempt.verifier,
    )
    tokens = await with_retries(exchange, is_unanswered)
    if isinstance(tokens, TokenRefused):
        why = WHY_NOT.get(tokens.problem, SignInFailure.CODE_REFUSED)
        return await failed(bot, attempt, f"exchange_{tokens.problem.value}_{tokens.code}", why)
    identity = await with_retries(partial(platform.identify, tokens.access_token), is_unanswered)
    if not isinstance(identity, Identity):
        return await failed(bot, attempt, "identity_unknown", SignInFailure.NOT_NOW)
    return identity


WHY_NOT = {
    TokenProblem.TRANSIENT: SignInFailure.NOT_NOW,
    TokenProblem.IN_DOUBT: SignInFailure.NOT_NOW,
    TokenProblem.USER: SignInFailure.NOT_ALLOWED,
    TokenProblem.OVER: SignInFailure.NOT_ALLOWED,
    TokenProblem.APP: SignInFailure.MISCONFIGURED,
    TokenProblem.BLOCKED: SignInFailure.MISCONFIGURED,
}


async def belongs_here(bot: Bot, user: UserKey) -> bool:
    """Whether the user's organization uses this bot. Administrators belong to it by their open_id.

    The platform rejects others too; this check does not rely on it.
    """
    if await bot.database.read(lambda c: users.is_of_known_organization(c, user)):
        return True
    return await bot.is_administrator(user)


async def failed(
    bot: Bot, attempt: Attempt, outcome: str, why: SignInFailure, user: UserKey | None = None
) -> SignInFailure:
    """Delete the attempt, because anyone can make sign-ins fail. A known user is audited once a day."""
    bot.refusals.note("sign-in failed", outcome)
    moment = now()

    def work(c: Connection) -> None:
        attempts.forget_sign_in(c, attempt.id)
        if user is None or audit.has_entry(c, "sign_in_failed", user, since=moment - DAY):
            return
        subject = ("attempt", attempt.id)
        audit.write(c, "sign_in_failed", user=user, subject=subject, now=moment, reason=outcome)

    await bot.database.write(work)
    return why


DAY = timedelta(days=1)


async def begin_session(
    bot: Bot,
    attempt: Attempt,
    user: UserKey,
    identity: Identity,
    former: Secret | None,
) -> SignedIn | SignInFailure:
    """Start the session, end the former one and settle the attempt, in one transaction.

    The session id is created only now, so that a planted one is worthless (session fixation).
    """
    session, moment = Secret(urlsafe(secrets.token_bytes(32))), now()

    def work(c: Connection) -> bool:
        if not attempts.finish(c, attempt.id, AttemptStatus.COMPLETED, "signed_in", moment):
            return False
        users.seen(c, user, language=None, union_id=identity.union_id, now=moment)
        if identity.name:
            users.name_user(c, user, identity.name, moment)
        if former is not None:
            sessions.end(c, digest(former.reveal()))
        sessions.begin(c, digest(session.reveal()), user, moment)
        audit.write(c, "signed_in", user=user, subject=("attempt", attempt.id), now=moment)
        return True

    if not await bot.database.write(work):
        return SignInFailure.NOT_NOW
    return SignedIn(session)


# --- being signed in -------------------------------------------------------------------------------------


async def session_of(bot: Bot, session: Secret) -> Session | None:
    """Return the live session with this id, and record its use."""
    moment = now()
    found = await bot.database.read(lambda c: sessions.find(c, digest(session.reveal()), moment))
    if found is not None and not found.genuine:
        if found.genuine is not None:
            await bot.database.write(lambda c: sessions.reject(c, found.digest, moment))
        return None
    if found is not None and not found.is_use_recorded(moment):
        await bot.database.write_one(lambda c: sessions.touch(c, found.digest, moment))
    return found


async def sign_out(bot: Bot, session: Secret) -> None:
    """End the session. Other browsers of the user stay signed in."""
    moment = now()

    def work(c: Connection) -> None:
        user = sessions.end(c, digest(session.reveal()))
        if user is not None:
            audit.write(c, "signed_out", user=user, now=moment)

    await bot.database.write(work)

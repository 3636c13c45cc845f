"""Signing in, through web login or inside the client: whose browser this is, and nothing of what they granted.

It is an authorization without scopes and without a call, handled separately. What a sign-in needs when it
comes back is sealed into a cookie of the browser that it was begun in, so that beginning one stores nothing: anybody
can begin as many as they like. A row is written when it comes back, which makes its state one-shot. The token is asked
for its owner once and then dropped, and no grant is touched.
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
class Begun:
    kept: Secret
    """What the browser keeps, and has to bring along when it comes back. Sealed: it can neither read nor change it."""
    state: Secret
    challenge: str | None


@dataclass(frozen=True, slots=True)
class Kept:
    """What a browser keeps of the sign-in that it began."""

    state_digest: str
    verifier: Secret | None
    redirect_uri: str | None
    expires_at: datetime


def begin_in_browser(bot: Bot, platform: Platform) -> tuple[Begun, str]:
    """Begins web login. Also returns the URL of the platform's authorization page."""
    redirect_uri = bot.callback_url(platform)
    begun = begin(bot, platform, redirect_uri, pkce=platform.signs_in_with_pkce)
    url = platform.authorize_url(
        redirect_uri=redirect_uri,
        scopes=frozenset(),
        state=begun.state.reveal(),
        challenge=begun.challenge,
        prompt=False,
    )
    return begun, url


def begin_in_client(bot: Bot, platform: Platform) -> Begun:
    """Begins a sign-in inside the client, whose code is exchanged without redirect URI and without a PKCE pair."""
    return begin(bot, platform, None, pkce=False)


def begin(bot: Bot, platform: Platform, redirect_uri: str | None, *, pkce: bool) -> Begun:
    fresh: NewAttemptSecrets = new_attempt(
        secrets.token_bytes(STATE_BYTES + VERIFIER_BYTES), pkce=pkce, kind=AttemptKind.SIGN_IN
    )
    kept = Kept(fresh.state_digest, fresh.verifier, redirect_uri, now() + bot.authorization_ttl)
    return Begun(sealed(bot, platform, kept), fresh.state, fresh.challenge)


def sealed(bot: Bot, platform: Platform, kept: Kept) -> Secret:
    verifier = kept.verifier.reveal() if kept.verifier else None
    fields = [kept.state_digest, verifier, kept.redirect_uri, kept.expires_at.timestamp()]
    return Secret(bot.database.keyring.seal(Secret(json.dumps(fields)), bound_to(platform)))


def opened(bot: Bot, platform: Platform, kept: Secret) -> Kept | None:
    """None for what this bot has not sealed, or has sealed with a key that is not here."""
    try:
        text = bot.database.keyring.open(kept.reveal(), bound_to(platform)).reveal()
    except CannotOpenSecret:
        return None
    state_digest, verifier, redirect_uri, expires_at = json.loads(text)
    return Kept(
        state_digest, verifier and Secret(verifier), redirect_uri, datetime.fromtimestamp(expires_at, UTC)
    )


def bound_to(platform: Platform) -> str:
    """Nothing that is sealed for a column of the database, or for another app, opens as this."""
    return f"sign-in cookie:{platform.app}"


# --- coming back -----------------------------------------------------------------------------------------


class NotSignedIn(StrEnum):
    """Why nobody is signed in, for the page that says so."""

    DECLINED = "declined"
    OTHER_BROWSER = "other_browser"
    """Begun elsewhere or not at all, or too long ago, or replaced by a newer one in the same browser."""
    USED = "used"
    CODE_REFUSED = "code_refused"
    NOT_ALLOWED = "not_allowed"
    """The platform does not let the person use this app."""
    STRANGER = "stranger"
    """Nobody of the person's organization has ever used the bot."""
    MISCONFIGURED = "misconfigured"
    BUSY = "busy"
    """More sign-ins come back than the platform is asked about."""
    NOT_NOW = "not_now"
    """The platform does not answer."""


@dataclass(frozen=True, slots=True)
class SignedIn:
    session: Secret
    """The new session's id, for this browser's cookie and nobody else."""


async def complete(
    bot: Bot,
    platform: Platform,
    came: Approved | Denied,
    *,
    kept: Secret | None,
    former: Secret | None,
) -> SignedIn | NotSignedIn:
    """Takes what came back to a browser that brings along what it `kept`. Its `former` session ends with a new one."""
    begun = await find(bot, platform, came.state, kept)
    if not isinstance(begun, Kept):
        bot.refusals.note("sign-in rejected", begun.value)
        return begun
    if isinstance(came, Denied):
        # Nothing is stored: anybody can begin a sign-in and decline it, as often as they like.
        refused = came.error == ACCESS_DENIED
        bot.refusals.note("sign-in failed", ACCESS_DENIED if refused else "error_on_page")
        return NotSignedIn.DECLINED if refused else NotSignedIn.CODE_REFUSED
    # Anybody can begin a sign-in and bring any code back, and each costs the platform a request.
    if not (await bot.sign_in_pace.turn() and bot.sign_in_room.take()):
        bot.refusals.note("sign-in failed", "busy")
        return NotSignedIn.BUSY
    try:
        return await redeem(bot, platform, begun, came.code, former)
    finally:
        bot.sign_in_room.leave()


async def redeem(
    bot: Bot, platform: Platform, begun: Kept, code: Secret, former: Secret | None
) -> SignedIn | NotSignedIn:
    """Finds out whose code it is, and begins their session."""
    attempt = await take(bot, begun)
    if attempt is None:
        bot.refusals.note("sign-in rejected", NotSignedIn.USED.value)
        return NotSignedIn.USED
    identity = await identify(bot, platform, attempt, code)
    if not isinstance(identity, Identity):
        return identity
    user = platform.user_key(identity.open_id, identity.tenant_key)
    if not await belongs_here(bot, user):
        return await failed(bot, attempt, "stranger", NotSignedIn.STRANGER, user)
    return await begin_session(bot, attempt, user, identity, former)


NOT_USED = {None, AttemptStatus.LIVE, AttemptStatus.EXPIRED}
"""What a state can stand at that has not come back: releases before this one recorded a sign-in when it was begun."""


async def find(bot: Bot, platform: Platform, state: Secret, kept: Secret | None) -> Kept | NotSignedIn:
    """The sign-in of this state, in its time, and only in the browser that it was begun in."""
    state_digest = digest(state.reveal())
    used = await bot.database.read(lambda c: attempts.consumed_before(c, state_digest, AttemptKind.SIGN_IN))
    if used not in NOT_USED:
        return NotSignedIn.USED
    begun = opened(bot, platform, kept) if kept is not None else None
    if begun is None or begun.state_digest != state_digest or begun.expires_at <= now():
        return NotSignedIn.OTHER_BROWSER
    return begun


async def take(bot: Bot, begun: Kept) -> Attempt | None:
    """Takes a sign-in, once."""
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
    if not await bot.database.write_one(lambda c: attempts.record_sign_in(c, sign_in, bot.claim(moment))):
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


async def identify(bot: Bot, platform: Platform, attempt: Attempt, code: Secret) -> Identity | NotSignedIn:
    """Whose code it is. The token that it is exchanged for lives no longer than this function."""
    exchange = partial(
        platform.exchange_sign_in,
        code,
        redirect_uri=attempt.redirect_uri,
        verifier=attempt.verifier,
    )
    tokens = await with_retries(exchange, is_unanswered)
    if isinstance(tokens, TokenRefused):
        why = WHY_NOT.get(tokens.problem, NotSignedIn.CODE_REFUSED)
        return await failed(bot, attempt, f"exchange_{tokens.problem.value}_{tokens.code}", why)
    identity = await with_retries(partial(platform.identify, tokens.access_token), is_unanswered)
    if not isinstance(identity, Identity):
        return await failed(bot, attempt, "identity_unknown", NotSignedIn.NOT_NOW)
    return identity


WHY_NOT = {
    TokenProblem.TRANSIENT: NotSignedIn.NOT_NOW,
    TokenProblem.IN_DOUBT: NotSignedIn.NOT_NOW,
    TokenProblem.USER: NotSignedIn.NOT_ALLOWED,
    TokenProblem.OVER: NotSignedIn.NOT_ALLOWED,
    TokenProblem.APP: NotSignedIn.MISCONFIGURED,
    TokenProblem.BLOCKED: NotSignedIn.MISCONFIGURED,
}


async def belongs_here(bot: Bot, user: UserKey) -> bool:
    """Whether the person is of an organization that uses this bot. Its administrators are known by their open_id.

    The platform keeps others out as well; this is for the day when it does not.
    """
    if await bot.database.read(lambda c: users.is_of_known_organization(c, user)):
        return True
    return await bot.is_administrator(user)


async def failed(
    bot: Bot, attempt: Attempt, outcome: str, why: NotSignedIn, user: UserKey | None = None
) -> NotSignedIn:
    """Leaves nothing of the attempt: anybody can begin a sign-in, and make it fail. A known person is audited, and
    once a day is enough."""
    bot.refusals.note("sign-in failed", outcome)
    moment = now()

    def work(c: Connection) -> None:
        attempts.forget_sign_in(c, attempt.id)
        if user is None or audit.was_noted(c, "sign_in_failed", user, since=moment - DAY):
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
) -> SignedIn | NotSignedIn:
    """One transaction: the new session, the end of the former one, and the attempt's own end.

    The id is drawn only now, so whatever a browser brought along is worth nothing afterwards.
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
        return NotSignedIn.NOT_NOW
    return SignedIn(session)


# --- being signed in -------------------------------------------------------------------------------------


async def session_of(bot: Bot, session: Secret) -> Session | None:
    """The live session of this id, which counts as used by this."""
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
    """Ends the session for good; other browsers of the person stay signed in."""
    moment = now()

    def work(c: Connection) -> None:
        user = sessions.end(c, digest(session.reveal()))
        if user is not None:
            audit.write(c, "signed_out", user=user, now=moment)

    await bot.database.write(work)

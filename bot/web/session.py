"""The session of a signed-in user: its cookies, and the CSRF check of posted forms."""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

from aiohttp import web

from bot.core.errors import CannotOpenSecret
from bot.core.oauth import digest, urlsafe
from bot.core.people import UserKey
from bot.core.secrets import Secret
from bot.flows.account import sign_in
from bot.flows.bot import Bot, utc_now
from bot.web.app_keys import BOT
from bot.web.security import read_body

SESSION = "bot_session"
SIGN_IN_ATTEMPT = "bot_browser"
"""The cookie of a browser that has started a sign-in, until the sign-in is completed."""
FLASH = "bot_done"
"""The cookie that says what the user has just done, for the page after the redirect. Sealed for one session."""
FLASH_LIFETIME = 60
"""Seconds."""
DESTINATION = "bot_destination"
"""The cookie with the page to show after a sign-in, if that is not My permissions: encoded, see `login.destination`."""

COOKIE_PATTERNS = {
    SESSION: re.compile(r"[A-Za-z0-9_-]{43}"),
    SIGN_IN_ATTEMPT: re.compile(r"[A-Za-z0-9_.-]{1,2048}"),
    FLASH: re.compile(r"[A-Za-z0-9_.-]{1,200}"),
    DESTINATION: re.compile(r"[A-Za-z0-9_-]{1,600}"),
}
FORM_TOKEN_FIELD = "proof"  # noqa: S105
"""The field of a form that contains the visitor's form token."""
MAX_FORM_SIZE = 4 * 1024
"""Bytes."""


class CsrfError(Exception):
    """A posted form is not from a page of this bot, or not from a page of this session."""


# --- cookies ---------------------------------------------------------------------------------------------


def cookie_name(bot: Bot, name: str) -> str:
    """Add the prefix `__Host-Http-`: browsers accept such a cookie from this host only, over TLS, and not from scripts.

    Older browsers know only the beginning, `__Host-`, which has the first two effects.
    """
    return f"__Host-Http-{name}" if is_secure(bot) else name


def is_secure(bot: Bot) -> bool:
    return bot.public_url.startswith("https:")


def read_cookie(request: web.Request, name: str) -> Secret | None:
    """Return the value of a cookie, or None. None also if it is sent twice, because then one of the two is planted."""
    # `request.cookies` takes milliseconds to parse 8 KB of other cookies.
    prefix = cookie_name(request.app[BOT], name) + "="
    pairs = [each.strip() for each in request.headers.get("Cookie", "").split(";") if prefix in each]
    found = {each.removeprefix(prefix) for each in pairs if each.startswith(prefix)}
    value = found.pop() if len(found) == 1 else ""
    return Secret(value) if COOKIE_PATTERNS[name].fullmatch(value) else None


def set_cookie(
    response: web.StreamResponse, bot: Bot, name: str, value: Secret, seconds: int | None = None
) -> None:
    """Set a cookie that lasts some seconds, or until the browser is closed."""
    response.set_cookie(
        cookie_name(bot, name),
        value.reveal(),
        max_age=seconds,
        path="/",
        secure=is_secure(bot),
        httponly=True,
        samesite="Lax",
    )


def delete_cookie(response: web.StreamResponse, bot: Bot, name: str) -> None:
    response.del_cookie(
        cookie_name(bot, name), path="/", secure=is_secure(bot), httponly=True, samesite="Lax"
    )


def flash(response: web.StreamResponse, bot: Bot, done: str, visitor: Visitor | None) -> None:
    """Make the next page say what was done, if that page is loaded in the same session (None: without a session).

    The query alone does not suffice, because anyone can make a link with it. Neither does a cookie that this bot has not
    sealed, because a script can plant one.
    """
    expires_at = int(utc_now().timestamp()) + FLASH_LIFETIME
    sealed = bot.database.keyring.seal(Secret(f"{expires_at}:{done}"), flash_purpose(bot, visitor))
    set_cookie(response, bot, FLASH, Secret(sealed), FLASH_LIFETIME)


def flashed(request: web.Request, visitor: Visitor | None) -> str | None:
    """Return what was just done in this session, if the query says the same; else None."""
    bot, value = request.app[BOT], read_cookie(request, FLASH)
    if value is None:
        return None
    try:
        opened = bot.database.keyring.open(value.reveal(), flash_purpose(bot, visitor))
    except CannotOpenSecret:
        return None
    expires_at, _, done = opened.reveal().partition(":")
    return done if int(expires_at) >= utc_now().timestamp() and done in request.query else None


def flash_purpose(bot: Bot, visitor: Visitor | None) -> str:
    """Return the text to which the cookie is bound: one of another session, app or purpose cannot be opened."""
    session = digest(visitor.session.reveal()) if visitor is not None else ""
    app = visitor.user.app if visitor is not None else ""
    return f"done cookie:{app}:{session}"


# --- the visitor -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Visitor:
    """A signed-in user."""

    user: UserKey
    session: Secret

    @property
    def form_token(self) -> str:
        """The CSRF token of this session's forms. The session's id cannot be derived from it."""
        return urlsafe(hmac.digest(self.session.reveal().encode(), b"form", "sha256"))


async def visitor_of(request: web.Request) -> Visitor | None:
    """Return the user who is signed in with this browser, or None."""
    session = read_cookie(request, SESSION)
    if session is None:
        return None
    found = await sign_in.session_of(request.app[BOT], session)
    return Visitor(found.user, session) if found is not None else None


async def visitor_of_form(request: web.Request) -> Visitor | None:
    """Return the signed-in user who posted a form of this bot, or None if the session has ended (see `read_form`)."""
    form = await read_form(request)
    return form.visitor if form is not None else None


@dataclass(frozen=True, slots=True)
class Form:
    """A posted form of a signed-in user."""

    visitor: Visitor
    fields: Mapping[str, str]


async def read_form(request: web.Request) -> Form | None:
    """Return the form that a signed-in user posted from a page of this bot, or None if the session has ended.

    Raises CsrfError for every other POST. The form token decides: another site can neither read nor guess it.
    `Origin` does not suffice, because these pages send no referrer, so that browsers send `Origin: null` with their own
    forms too; and old browsers send no `Sec-Fetch-Site`. If these headers do name another site, the POST is rejected
    without looking at the token. In addition, the cookie is SameSite=Lax: browsers do not send it with
    POSTs of other sites.
    """
    if request.headers.get("Origin", "null") not in {"null", request.app[BOT].public_url}:
        raise CsrfError
    if request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
        raise CsrfError
    visitor = await visitor_of(request)
    if visitor is None:
        return None
    if (
        request.content_type != "application/x-www-form-urlencoded"
        or (request.content_length or 0) > MAX_FORM_SIZE
    ):
        raise CsrfError
    fields = dict(parse_qsl((await read_body(request, MAX_FORM_SIZE)).decode(errors="replace")))
    token = fields.get(FORM_TOKEN_FIELD)
    if token is None or not hmac.compare_digest(token.encode(), visitor.form_token.encode()):
        raise CsrfError
    return Form(visitor, fields)

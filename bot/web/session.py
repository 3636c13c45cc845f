"""Who is signed in with a browser: its cookies, and the guard before everything that a signed-in person posts."""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from urllib.parse import parse_qsl

from aiohttp import web

from bot.core.errors import CannotOpenSecret
from bot.core.oauth import digest, urlsafe
from bot.core.people import UserKey
from bot.core.secrets import Secret
from bot.flows.account import sign_in
from bot.flows.bot import Bot, now
from bot.web.bodies import body_of
from bot.web.keys import BOT

SESSION = "bot_session"
BROWSER = "bot_browser"
"""Kept by a browser in which a sign-in was begun, until it is completed."""
DONE = "bot_done"
"""What the person has just done, in one word, for the page that they are sent on to. Sealed, for that session alone."""
DONE_LIVES = 60

VALUES = {
    SESSION: re.compile(r"[A-Za-z0-9_-]{43}"),
    BROWSER: re.compile(r"[A-Za-z0-9_.-]{1,2048}"),
    DONE: re.compile(r"[A-Za-z0-9_.-]{1,200}"),
}
PROOF = "proof"
"""The field of a form that shows that the page with the form was ours."""
LARGEST_FORM = 4 * 1024


class ForeignPost(Exception):
    """No page of ours was posted, or none that was made for this session."""


# --- cookies ---------------------------------------------------------------------------------------------


def full_name(bot: Bot, name: str) -> str:
    """`__Host-Http-` has the browser refuse the cookie from anybody but this very host over TLS, and from scripts.

    A browser that does not know this prefix sees `__Host-` in it, which promises the first of the two.
    """
    return f"__Host-Http-{name}" if is_secure(bot) else name


def is_secure(bot: Bot) -> bool:
    return bot.public_url.startswith("https:")


def cookie(request: web.Request, name: str) -> Secret | None:
    """None also when it is there twice: then one of the two was planted."""
    # Not `request.cookies`, which takes milliseconds to parse 8 KB of other cookies.
    wanted = full_name(request.app[BOT], name) + "="
    pairs = [each.strip() for each in request.headers.get("Cookie", "").split(";") if wanted in each]
    found = {each.removeprefix(wanted) for each in pairs if each.startswith(wanted)}
    value = found.pop() if len(found) == 1 else ""
    return Secret(value) if VALUES[name].fullmatch(value) else None


def set_cookie(
    response: web.StreamResponse, bot: Bot, name: str, value: Secret, seconds: int | None = None
) -> None:
    """Without `seconds` it goes when the browser is closed."""
    response.set_cookie(
        full_name(bot, name),
        value.reveal(),
        max_age=seconds,
        path="/",
        secure=is_secure(bot),
        httponly=True,
        samesite="Lax",
    )


def drop_cookie(response: web.StreamResponse, bot: Bot, name: str) -> None:
    response.del_cookie(full_name(bot, name), path="/", secure=is_secure(bot), httponly=True, samesite="Lax")


def note_done(response: web.StreamResponse, bot: Bot, done: str, visitor: Visitor | None) -> None:
    """Has the next page say that this was done, if it is of the same session (None: of none).

    An address alone does not have it say so: anybody can make a link to it. Nor does a cookie that is not ours.
    """
    until = int(now().timestamp()) + DONE_LIVES
    mark = bot.database.seal.seal(Secret(f"{until}:{done}"), mark_of(bot, visitor))
    set_cookie(response, bot, DONE, Secret(mark), DONE_LIVES)


def was_done(request: web.Request, visitor: Visitor | None) -> str | None:
    """What was just done with this browser, if the address is about that."""
    bot, kept = request.app[BOT], cookie(request, DONE)
    if kept is None:
        return None
    try:
        until, _, done = bot.database.seal.open(kept.reveal(), mark_of(bot, visitor)).reveal().partition(":")
    except CannotOpenSecret:
        return None
    return done if int(until) >= now().timestamp() and done in request.query else None


def mark_of(bot: Bot, visitor: Visitor | None) -> str:
    """What a mark is sealed for: nothing that is sealed for another session, app or purpose opens as one."""
    session = digest(visitor.session.reveal()) if visitor is not None else ""
    return f"done cookie:{bot.platform.name}:{bot.platform.app_id}:{session}"


# --- who it is -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Visitor:
    """A person who is signed in."""

    user: UserKey
    session: Secret

    @property
    def proof(self) -> str:
        """Only a page that was made for this session can hold it, and nothing of the session's id shows in it."""
        return urlsafe(hmac.digest(self.session.reveal().encode(), b"form", "sha256"))


async def visitor_of(request: web.Request) -> Visitor | None:
    """Who is signed in with the browser that asks, if somebody is."""
    session = cookie(request, SESSION)
    if session is None:
        return None
    found = await sign_in.session_of(request.app[BOT], session)
    return Visitor(found.user, session) if found is not None else None


async def posted_by(request: web.Request) -> Visitor | None:
    """The signed-in person who posted one of our own forms; `ForeignPost` for every other post.

    What it rests on is the form's token: no other site can read or guess it. `Origin` alone would not do, because
    our pages send no referrer and browsers then send `Origin: null` with our own forms, too; and `Sec-Fetch-Site` is
    missing from old browsers. Where they do say that a post came from elsewhere, it is refused without a look at it.
    The cookie is SameSite=Lax besides, so that foreign posts come without it.
    """
    if request.headers.get("Origin", "null") not in {"null", request.app[BOT].public_url}:
        raise ForeignPost
    if request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
        raise ForeignPost
    visitor = await visitor_of(request)
    if visitor is None:
        return None
    if (
        request.content_type != "application/x-www-form-urlencoded"
        or (request.content_length or 0) > LARGEST_FORM
    ):
        raise ForeignPost
    fields = dict(parse_qsl((await body_of(request, LARGEST_FORM)).decode(errors="replace")))
    given = fields.get(PROOF)
    if given is None or not hmac.compare_digest(given.encode(), visitor.proof.encode()):
        raise ForeignPost
    return visitor

"""Who is signed in with a browser: its cookies, and the guard before everything that a signed-in person posts."""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from urllib.parse import parse_qsl

from aiohttp import web

from bot.core.model import Secret, UserKey
from bot.core.oauth import urlsafe
from bot.flows import sign_in
from bot.flows.bot import Bot
from bot.web.bodies import body_of
from bot.web.keys import BOT

SESSION = "bot_session"
BROWSER = "bot_browser"
"""Kept by a browser in which a sign-in was begun, until it is completed."""
DONE = "bot_done"
"""What the person has just done, in one word, for the page that they are sent on to."""
DONE_LIVES = 60

VALUES = {
    SESSION: re.compile(r"[A-Za-z0-9_-]{43}"),
    BROWSER: re.compile(r"[A-Za-z0-9_.-]{1,2048}"),
    DONE: re.compile(r"[a-z-]{1,20}"),
}
PROOF = "proof"
"""The field of a form that shows that the page with the form was ours."""
LARGEST_FORM = 4 * 1024


class ForeignPost(Exception):
    """No page of ours was posted, or none that was made for this session."""


# --- cookies ---------------------------------------------------------------------------------------------


def full_name(bot: Bot, name: str) -> str:
    """`__Host-` has the browser refuse the cookie from anybody but this very host over TLS."""
    return f"__Host-{name}" if is_secure(bot) else name


def is_secure(bot: Bot) -> bool:
    return bot.public_url.startswith("https:")


def cookie(request: web.Request, name: str) -> Secret | None:
    value = request.cookies.get(full_name(request.app[BOT], name), "")
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


def note_done(response: web.StreamResponse, bot: Bot, done: str) -> None:
    """Has the next page say that this was done. An address alone does not: anybody can make a link to it."""
    set_cookie(response, bot, DONE, Secret(done), DONE_LIVES)


def was_done(request: web.Request) -> str | None:
    """What was just done with this browser, if the address is about that."""
    done = cookie(request, DONE)
    return done.reveal() if done is not None and done.reveal() in request.query else None


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

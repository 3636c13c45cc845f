"""My permissions: what the signed-in user has granted and what waits for them, with buttons to revoke and to cancel.

Every route acts for the user of the session. No parameter names another user.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from aiohttp import web

from bot.core.command_replies import listed
from bot.core.grants import REVOKED_BY_USER
from bot.core.language import Words
from bot.core.platform import Platform
from bot.core.scopes import OFFLINE_ACCESS, Scope
from bot.core.times import format_near_moment, zone_or
from bot.core.words import cards as card_words
from bot.core.words import help as help_words
from bot.core.words import pages as words
from bot.flows.account import permissions
from bot.flows.account.permissions import HeldScope, ListPage, OpenRequest, Permissions, WaitingCall
from bot.flows.bot import utc_now
from bot.web import login
from bot.web.app_keys import BOT
from bot.web.pages import SESSION_ENDED_PAGE, SIGN_IN_PAGE, SIGNED_OUT_PAGE, show
from bot.web.rendering import render
from bot.web.request_headers import is_in_client, is_preview
from bot.web.security import CONTENT_SECURITY_POLICY_WITH_FORMS
from bot.web.session import (
    FLASH,
    FORM_TOKEN_FIELD,
    SESSION,
    Visitor,
    delete_cookie,
    flash,
    flashed,
    read_cookie,
    visitor_of,
    visitor_of_form,
)

REVOKED, CANCELLED, SESSION_ENDED = "revoked", "cancelled", "ended"
"""What was done, in the query and the flash cookie. `SESSION_ENDED`: nothing was done, because the session has ended."""

WAITING_PARAMETER, GRANTED_PARAMETER = "waiting", "allowed"
"""Query parameters: the page number of each list, from 1."""


# --- routes ----------------------------------------------------------------------------------------------


async def account(request: web.Request) -> web.Response:
    """`GET /permissions`: the page of a signed-in user, else a page to sign in. The client signs in without a click."""
    visitor = await visitor_of(request)
    done = flashed(request, visitor)
    if visitor is not None:
        response = await show_account(request, visitor, done)
    elif done == login.SIGNED_OUT:
        response = show(request, SIGNED_OUT_PAGE)
    elif done == SESSION_ENDED:
        response = show(request, SESSION_ENDED_PAGE)
    elif signs_in_by_itself(request):
        return login.redirect("/login")
    elif read_cookie(request, SESSION) is not None:
        # The cookie is kept, because perhaps only another replica has the key for its session.
        response = show(request, SESSION_ENDED_PAGE)
    else:
        response = show(request, SIGN_IN_PAGE)
    if read_cookie(request, FLASH) is not None:
        # Shown only once, because it may no longer be true when the page is reloaded.
        delete_cookie(response, request.app[BOT], FLASH)
    return response


async def show_account(request: web.Request, visitor: Visitor, done: str | None) -> web.Response:
    bot = request.app[BOT]
    platform = bot.platform_of(visitor.user)
    found = await permissions.permissions_of(
        bot,
        visitor.user,
        waiting_page=page_number(request, WAITING_PARAMETER),
        held_page=page_number(request, GRANTED_PARAMETER),
    )
    return render(
        request,
        "account.html",
        platform=platform,
        headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY_WITH_FORMS},
        account=account_page(
            found,
            done_words(done, platform),
            utc_now(),
            platform.display_name if len(bot.platforms) > 1 else None,
        ),
        token_field=FORM_TOKEN_FIELD,
        form_token=visitor.form_token,
        # The owner of an app without configured administrators would have to be looked up at the platform.
        is_administrator=visitor.user.open_id in bot.admins.get(visitor.user.app, ()),
    )


def page_number(request: web.Request, parameter: str) -> int:
    """Return the page of a list that the query asks for; 1 if it is not a number."""
    number = request.query.get(parameter, "")
    return int(number) if number.isascii() and number.isdigit() and len(number) < 7 else 1


def signs_in_by_itself(request: web.Request) -> bool:
    """Whether to sign in without a click, as the client can.

    Not right after signing in or out: that would loop, or sign in a user who has just signed out.
    """
    comes_from_login = not request.query.keys().isdisjoint({login.SIGNED_IN, login.SIGNED_OUT})
    return is_in_client(request) and not comes_from_login and not is_preview(request)


async def continue_request(request: web.Request) -> web.Response:
    """`GET /permissions/continue`: redirects to the link of the user's open request, as the card's button does."""
    visitor = await visitor_of(request)
    if visitor is None:
        return back(request, None, SESSION_ENDED)
    ticket = await permissions.ticket_of(request.app[BOT], visitor.user)
    return login.redirect(f"/authorize/{ticket.reveal()}" if ticket else login.ACCOUNT_PATH)


async def revoke(request: web.Request) -> web.Response:
    """`POST /permissions/revoke`: does what `/revoke` does in the chat."""
    visitor = await visitor_of_form(request)
    if visitor is None:
        return back(request, None, SESSION_ENDED)
    ended = await permissions.revoke(request.app[BOT], visitor.user, REVOKED_BY_USER)
    return back(request, visitor, REVOKED if ended.had_grant else CANCELLED if ended.cancelled else None)


async def cancel(request: web.Request) -> web.Response:
    """`POST /permissions/cancel`: does what `/cancel` does in the chat."""
    visitor = await visitor_of_form(request)
    if visitor is None:
        return back(request, None, SESSION_ENDED)
    cancelled = await permissions.cancel(request.app[BOT], visitor.user)
    return back(request, visitor, CANCELLED if cancelled else None)


def back(request: web.Request, visitor: Visitor | None, done: str | None) -> web.Response:
    """Redirect to My permissions, which says what was done, if anything was."""
    if done is None:
        return login.redirect(login.ACCOUNT_PATH)
    response = login.redirect(f"{login.ACCOUNT_PATH}?{done}")
    flash(response, request.app[BOT], done, visitor)
    return response


# --- what the page shows ---------------------------------------------------------------------------------

FormatTime = Callable[[datetime], Words]


def done_words(done: str | None, platform: Platform) -> Words | None:
    """Return what the page says was done. Not every platform can revoke tokens."""
    if done == CANCELLED:
        return words.REQUEST_CANCELLED
    if done != REVOKED:
        return None
    if platform.revocation is None:
        return words.ALL_REVOKED_HERE.format(platform=platform.display_name)
    return words.ALL_REVOKED


@dataclass(frozen=True, slots=True)
class Pager:
    position: Words
    previous: str | None
    """The URL of the previous page."""
    next: str | None


@dataclass(frozen=True, slots=True)
class ScopeRow:
    name: Scope
    description: Words
    """The name if there is no description."""
    record: tuple[Words, ...] = ()
    """Why and when the scope was granted, and when it was last used."""


@dataclass(frozen=True, slots=True)
class CallRow:
    command: str
    status: Words


@dataclass(frozen=True, slots=True)
class RequestPart:
    """The open authorization request."""

    sentence: Words
    scopes: tuple[ScopeRow, ...] = ()
    and_more: Words | None = None
    button: Words | None = None


@dataclass(frozen=True, slots=True)
class WaitingSection:
    heading: Words
    calls: tuple[CallRow, ...]
    pager: Pager | None
    request: RequestPart | None


@dataclass(frozen=True, slots=True)
class GrantedSection:
    heading: Words
    scopes: tuple[ScopeRow, ...]
    pager: Pager | None
    validity: tuple[Words, ...]


@dataclass(frozen=True, slots=True)
class AccountPage:
    """What `account.html` shows."""

    signed_in_as: Words
    initial: str
    done: Words | None
    waiting: WaitingSection | None
    granted: GrantedSection | None
    nothing_granted: Words
    notes: Words


def account_page(
    found: Permissions, done: Words | None, now: datetime, platform: Words | None = None
) -> AccountPage:
    """Return what the page shows of a user's permissions. Times are in the user's zone, relative to `now`.

    `done` says what was just done. `platform` is the user's, if there are several.
    """
    zone = zone_or(found.time_zone, found.default_time_zone)
    today = zone.local(now).date()

    def at(time: datetime) -> Words:
        return format_near_moment(time, zone, today)

    signed_in = words.SIGNED_IN_AS.format(name=found.name) if found.name else words.SIGNED_IN
    # Chinese puts no space between sentences.
    space = Words(en=" ", zh="")
    return AccountPage(
        signed_in_as=signed_in if platform is None else signed_in + Words(" · ", " · ") + platform,
        initial=(found.name or "·")[0].upper(),
        done=done,
        waiting=waiting_section(found, at) if found.waiting or found.wanted else None,
        granted=granted_section(found, at, now) if found.held else None,
        nothing_granted=help_words.NOTHING_AUTHORIZED,
        notes=words.ONLY_YOU_SEE_THIS + space + words.TIMES_IN_ZONE.format(zone=zone.name),
    )


def waiting_section(found: Permissions, at: FormatTime) -> WaitingSection:
    return WaitingSection(
        heading(words.WAITING_CALLS, found.waiting_paging),
        tuple(call_row(each, at) for each in found.waiting),
        pager(found, WAITING_PARAMETER),
        request_part(found.wanted, at) if found.wanted else None,
    )


def call_row(call: WaitingCall, at: FormatTime) -> CallRow:
    sent = words.CALL_SENT_AT.format(time=at(call.asked_at))
    return CallRow(call.command, words.CALL_STATUS[call.waits_for] + Words(" · ", " · ") + sent)


def request_part(wanted: OpenRequest, at: FormatTime) -> RequestPart:
    if wanted.redeeming:
        return RequestPart(words.AUTHORIZATION_IN_PROGRESS)
    return RequestPart(
        words.AUTHORIZE_BY.format(time=at(wanted.until)),
        tuple(ScopeRow(scope, description) for scope, description in wanted.scopes),
        card_words.AND_MORE.format(number=str(wanted.more)) if wanted.more else None,
        card_words.AUTHORIZE,
    )


def granted_section(found: Permissions, at: FormatTime, now: datetime) -> GrantedSection:
    return GrantedSection(
        heading(words.GRANTED_SCOPES, found.held_paging),
        tuple(ScopeRow(each.scope, each.words, record(each, at)) for each in found.held),
        pager(found, GRANTED_PARAMETER),
        tuple(validity(found, at, now)),
    )


def record(held: HeldScope, at: FormatTime) -> tuple[Words, ...]:
    recorded = held.record
    if held.scope == OFFLINE_ACCESS:
        return (words.OFFLINE_ACCESS_PURPOSE,)
    if recorded is None:
        return (words.SCOPE_WITHOUT_RECORD,)
    if recorded.asked_by:
        commands = listed(f"/{each}" for each in recorded.asked_by)
        origin = words.SCOPE_ASKED_BY.format(commands=commands, time=at(recorded.granted_at))
    else:
        origin = words.SCOPE_INCLUDED
    if recorded.used_at is not None:
        return origin, words.SCOPE_LAST_USED.format(time=at(recorded.used_at))
    return origin, words.SCOPE_NOT_USED if recorded.asked_by else words.NO_COMMAND_USES_IT


def validity(found: Permissions, at: FormatTime, now: datetime) -> list[Words]:
    """Return sentences on how long the grant is valid and when it was last used, as far as that is known."""
    sentences = []
    if found.until is not None:
        renewal = help_words.RENEWS if found.renewable else help_words.ENDS
        sentence = words.GRANT_EXPIRED if found.until <= now else renewal
        sentences.append(sentence.format(time=at(found.until)))
    if found.last_used_at is not None:
        sentences.append(words.GRANT_LAST_USED.format(time=at(found.last_used_at)))
    return sentences


def heading(title: Words, part: ListPage) -> Words:
    """Return the title, with the total number of items if the list has several pages."""
    if part.pages == 1:
        return title
    return words.TITLE_WITH_TOTAL.format(title=title, total=str(part.total))


def pager(found: Permissions, parameter: str) -> Pager | None:
    """Return the links to the previous and the next page, or None for a single page. The other list keeps its page."""
    parts = {WAITING_PARAMETER: found.waiting_paging, GRANTED_PARAMETER: found.held_paging}
    part = parts[parameter]
    if part.pages == 1:
        return None

    def url(page: int) -> str | None:
        if not 1 <= page <= part.pages:
            return None
        pages = {name: each.page for name, each in parts.items()} | {parameter: page}
        return f"{login.ACCOUNT_PATH}?" + "&".join(f"{name}={number}" for name, number in pages.items())

    position = words.PAGE_NUMBER.format(page=str(part.page), pages=str(part.pages))
    return Pager(position, url(part.page - 1), url(part.page + 1))

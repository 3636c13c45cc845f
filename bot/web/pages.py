"""Pages with a single message: what happened and what to do next.

They contain nothing from the request, are the same for every visitor and need no script, so that they work in any browser
and under the strictest policy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from aiohttp import web

from bot.core.language import Words
from bot.core.platform import Platform
from bot.core.words import console as console_words
from bot.core.words import pages as words
from bot.core.words.pages import PageWords
from bot.flows.account.sign_in import SignInFailure
from bot.flows.authorize.grant import CallbackResult
from bot.flows.authorize.open import LinkUnavailable
from bot.web.app_keys import BOT, platform_of, with_platform
from bot.web.rendering import render

Tone = Literal["good", "calm", "bad"]


@dataclass(frozen=True, slots=True)
class Button:
    label: Words
    path: str


@dataclass(frozen=True, slots=True)
class Page:
    status: int
    tone: Tone
    words: PageWords
    button: Button | None = None
    """The next step, unless that is in the chat."""
    choices: tuple[Button, ...] = ()
    """Instead of a button: the same step on each platform."""
    switch_account: bool = False
    """Offers to sign in to the platform with another account."""
    retry_in_client: bool = False
    """Inside the client, offers to try again."""


# --- opening a card's link -------------------------------------------------------------------------------

UNAVAILABLE_LINK_PAGES: dict[LinkUnavailable, Page] = {
    LinkUnavailable.UNKNOWN: Page(404, "bad", words.LINK_UNKNOWN),
    LinkUnavailable.GRANTED: Page(410, "good", words.LINK_GRANTED),
    LinkUnavailable.DECLINED: Page(410, "calm", words.LINK_DECLINED),
    LinkUnavailable.EXPIRED: Page(410, "calm", words.LINK_EXPIRED),
    LinkUnavailable.SUPERSEDED: Page(410, "calm", words.LINK_SUPERSEDED),
    LinkUnavailable.FAILED: Page(410, "bad", words.LINK_FAILED),
    LinkUnavailable.TOO_MANY: Page(429, "calm", words.LINK_TOO_MANY),
    LinkUnavailable.TOO_MANY_TODAY: Page(429, "calm", words.LINK_TOO_MANY_TODAY),
    LinkUnavailable.WAITING_FOR_ADMINISTRATOR: Page(409, "calm", words.LINK_WAITING_FOR_ADMINISTRATOR),
}

LINK_PREVIEW_PAGE = Page(200, "calm", words.LINK_PREVIEW)


def confirmation_page(in_browser: bool) -> Page:
    """Return the page that asks for a click, shown when another site opened the link without one."""
    # The path is relative, so that the ticket is not on the page.
    button = Button(words.CONTINUE, "?browser" if in_browser else "?")
    return Page(200, "calm", words.LINK_OPENED_BY_ANOTHER_SITE, button)


# --- coming back from the authorization page -------------------------------------------------------------

CALLBACK_PAGES: dict[CallbackResult, Page] = {
    CallbackResult.AUTHORIZED: Page(200, "good", words.CALLBACK_AUTHORIZED),
    CallbackResult.STORED: Page(200, "good", words.CALLBACK_STORED),
    CallbackResult.PARTLY: Page(200, "calm", words.CALLBACK_PARTLY),
    CallbackResult.NOTHING_GRANTED: Page(200, "calm", words.CALLBACK_NOTHING_GRANTED),
    CallbackResult.MORE_NEEDED: Page(200, "calm", words.CALLBACK_MORE_NEEDED),
    CallbackResult.DECLINED: Page(200, "calm", words.CALLBACK_DECLINED),
    CallbackResult.CLOSED: Page(200, "calm", words.CALLBACK_CLOSED),
    CallbackResult.WRONG_PERSON: Page(403, "bad", words.CALLBACK_WRONG_PERSON, switch_account=True),
    CallbackResult.USED: Page(400, "calm", words.CALLBACK_USED),
    CallbackResult.LATE: Page(400, "calm", words.CALLBACK_LATE, retry_in_client=True),
    CallbackResult.UNKNOWN: Page(400, "bad", words.CALLBACK_UNKNOWN),
    CallbackResult.MALFORMED: Page(400, "bad", words.CALLBACK_MALFORMED),
    CallbackResult.CODE_REFUSED: Page(400, "bad", words.CALLBACK_CODE_REFUSED, retry_in_client=True),
    CallbackResult.NOT_ALLOWED: Page(403, "bad", words.CALLBACK_NOT_ALLOWED),
    CallbackResult.MISCONFIGURED: Page(409, "bad", words.CALLBACK_MISCONFIGURED),
    CallbackResult.STILL_TRYING: Page(202, "calm", words.CALLBACK_STILL_TRYING),
}


# --- signing in and out ----------------------------------------------------------------------------------


LOGIN_PATH = "/login"


def failed_sign_in(status: int, tone: Tone, page_words: PageWords) -> Page:
    return Page(status, tone, page_words, Button(words.RETRY_SIGN_IN, LOGIN_PATH), retry_in_client=True)


SIGN_IN_PAGES: dict[SignInFailure, Page] = {
    SignInFailure.DECLINED: failed_sign_in(200, "calm", words.SIGN_IN_DECLINED),
    SignInFailure.OTHER_BROWSER: failed_sign_in(400, "bad", words.SIGN_IN_OTHER_BROWSER),
    SignInFailure.USED: failed_sign_in(400, "calm", words.SIGN_IN_USED),
    SignInFailure.CODE_REFUSED: failed_sign_in(400, "bad", words.SIGN_IN_CODE_REFUSED),
    SignInFailure.NOT_ALLOWED: CALLBACK_PAGES[CallbackResult.NOT_ALLOWED],
    SignInFailure.UNKNOWN_ORGANIZATION: failed_sign_in(403, "bad", words.SIGN_IN_UNKNOWN_ORGANIZATION),
    SignInFailure.MISCONFIGURED: failed_sign_in(409, "bad", words.SIGN_IN_MISCONFIGURED),
    SignInFailure.BUSY: failed_sign_in(503, "calm", words.SIGN_IN_BUSY),
    SignInFailure.UNAVAILABLE: failed_sign_in(503, "calm", words.SIGN_IN_UNAVAILABLE),
}

SIGN_IN_AGAIN = Button(words.SIGN_IN_AGAIN, LOGIN_PATH)
SIGN_IN_PAGE = Page(200, "calm", words.SIGN_IN_NEEDED, Button(words.SIGN_IN, LOGIN_PATH))
SESSION_ENDED_PAGE = Page(200, "calm", words.SESSION_ENDED, SIGN_IN_AGAIN)
SIGNED_OUT_PAGE = Page(200, "good", words.SIGNED_OUT, SIGN_IN_AGAIN)

CONSOLE_SIGN_IN_PAGE = Page(200, "calm", console_words.SIGN_IN_NEEDED, Button(words.SIGN_IN, LOGIN_PATH))
CONSOLE_SESSION_ENDED_PAGE = Page(200, "calm", console_words.SESSION_ENDED, SIGN_IN_AGAIN)
NOT_AN_ADMINISTRATOR_PAGE = Page(
    403, "bad", console_words.NOT_AN_ADMINISTRATOR, Button(words.MY_PERMISSIONS, "/permissions")
)
NOT_IN_CONSOLE_PAGE = Page(
    404, "calm", console_words.NOT_FOUND, Button(console_words.TO_THE_OVERVIEW, "/console")
)

# --- errors ----------------------------------------------------------------------------------------------

NOT_FOUND_PAGE = Page(404, "bad", words.NOT_FOUND)
ERROR_PAGE = Page(500, "bad", words.INTERNAL_ERROR)
FORM_OUT_OF_DATE_PAGE = Page(403, "bad", words.FORM_OUT_OF_DATE, Button(words.MY_PERMISSIONS, "/permissions"))

# --- by the last segment of the path ---------------------------------------------------------------------

CALLBACK_ERROR = "trouble"
"""The outcome of a callback that failed because of an error of the bot."""

CALLBACK_PAGES_BY_OUTCOME = {
    **{outcome.value: page for outcome, page in CALLBACK_PAGES.items()},
    CALLBACK_ERROR: ERROR_PAGE,
}
SIGN_IN_PAGES_BY_OUTCOME = {outcome.value: page for outcome, page in SIGN_IN_PAGES.items()}


def show(request: web.Request, page: Page, platform: Platform | None = None) -> web.Response:
    """Render a page in the language of the request, with the other language in small print below.

    `platform` is that of the visitor, by default the one that the request determines.
    """
    platform = platform or platform_of(request)
    if page.switch_account and platform is not None:
        page = replace(page, button=Button(words.SWITCH_ACCOUNT, platform.account_link))
    button = page.button
    if button is not None and button.path.partition("?")[0] == LOGIN_PATH:
        if platform is None:
            page = replace(page, button=None, choices=sign_in_choices(request, button.path))
        else:
            path = with_platform(request, button.path, platform)
            page = replace(page, button=Button(button.label, path))
    return render(request, "message.html", status=page.status, platform=platform, page=page)


def sign_in_choices(request: web.Request, path: str) -> tuple[Button, ...]:
    """Return a button for each platform with which a visitor may sign in."""
    return tuple(
        Button(
            words.SIGN_IN_WITH.format(platform=each.display_name),
            with_platform(request, path, each),
        )
        for each in request.app[BOT].platforms.values()
    )


def show_outcome(request: web.Request, pages: Mapping[str, Page]) -> web.Response:
    """Show the page for the outcome in the path. It changes nothing, so that it can be reloaded."""
    return show(request, pages.get(request.match_info["outcome"], NOT_FOUND_PAGE))

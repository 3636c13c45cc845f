"""Authorizing and signing in inside the client: a page on a static path, and the posts that its script makes.

The platform wants the calling page's URL on the app's redirect list, so what it is about travels in the fragment: a
ticket, or that somebody wants to sign in. The page asks for an attempt, calls `tt.requestAccess` with its scopes and
state, and hands the code back; from there on all is as with the callback. A client without `requestAccess` can still
sign in, with `tt.requestAuthCode`; for scopes, or when its SDK does not load, it goes on to the platform's page.

The SDK comes from elsewhere and runs on our origin, so this page is kept apart from a session: its policy lets it load
that one script and reach the posts below and nothing else, a window that it opens on another page of ours is severed
from it, and what goes by a session answers to no script (`routes.only_opened`).
"""

from __future__ import annotations

from html import escape
from importlib.resources import files
from string import Template

from aiohttp import web

from bot.core.api import Json
from bot.core.language import Language, Words
from bot.core.oauth import Approved, Denied, Malformed, kind_of, parse_callback
from bot.core.requests import AttemptKind
from bot.core.scopes import join_scopes
from bot.core.strict_json import decode
from bot.flows.account import sign_in
from bot.flows.account.sign_in import NotSignedIn
from bot.flows.authorize.callback import complete
from bot.flows.authorize.grant import CallbackResult
from bot.flows.authorize.open import LinkUnavailable, open_in_client
from bot.web import login
from bot.web.authorize import brings_a_code, look_up, malformed
from bot.web.bodies import body_of
from bot.web.headers import POLICY, is_in_client, is_sent_by_another_site, language_of
from bot.web.keys import BOT, CLIENT_SCRIPT
from bot.web.pages import BACK, CLOSED, LANDINGS, NOT_SIGNED_IN, ROBOT_PAGE, Page, show

TEMPLATE = Template(files("bot.web").joinpath("static/client.html").read_text(encoding="utf-8"))

LARGEST_POST = 16 * 1024

WAIT = Words(en="One moment", zh="请稍候")
WAIT_TEXT = Words(en="Waiting for you to authorize.", zh="等待你授权。")
SIGN_IN_TEXT = Words(en="Signing you in.", zh="正在登录。")
TROUBLE = Words(en="Something went wrong", zh="出错了")
TROUBLE_TEXT = Words(
    en="The app couldn't complete this (code {code}). Try again, or continue in the browser.",
    zh="客户端未能完成操作（错误码 {code}）。请重试，或在浏览器中继续。",
)
AGAIN = Words(en="Try again", zh="重试")
BROWSER = Words(en="Continue in browser", zh="在浏览器中继续")


async def page(request: web.Request) -> web.Response:
    """`GET /oauth/lark/client`: the same for everybody; what it is about is known to its script alone."""
    if brings_a_code(request):
        # This page is on the list of redirect URLs, so a link can lead here with a code, which no script is to see.
        return malformed(request)
    if is_sent_by_another_site(request) and not is_in_client(request):
        # Its script would open the link.
        return show(request, ROBOT_PAGE)
    language, script = language_of(request), request.app[CLIENT_SCRIPT]
    html = TEMPLATE.substitute(
        lang="zh-CN" if language == "zh" else "en",
        script=escape(script.url, quote=True),
        integrity=f'integrity="{escape(script.integrity, quote=True)}" crossorigin="anonymous" '
        if script.integrity
        else "",
        title=escape(WAIT.to(language)),
        text=escape(WAIT_TEXT.to(language)),
        sign_in_text=escape(SIGN_IN_TEXT.to(language)),
        trouble=escape(TROUBLE.to(language)),
        trouble_text=escape(TROUBLE_TEXT.to(language)),
        again=escape(AGAIN.to(language)),
        browser=escape(BROWSER.to(language)),
        back=escape(BACK.to(language)),
        chat=escape(request.app[BOT].platform.chat_link or "", quote=True),
    )
    # With the slash at its end the path stands for what is below it, where nothing redirects.
    posts = f"{request.app[BOT].public_url}{request.path}/"
    policy = f"{POLICY}; script-src 'self' {script.source}; connect-src {posts}; worker-src 'none'"
    # A window on a page of ours, which is `same-origin`, is out of this one's reach because the two differ.
    headers = {"Content-Security-Policy": policy, "Cross-Origin-Opener-Policy": "unsafe-none"}
    return web.Response(text=html, content_type="text/html", charset="utf-8", headers=headers)


async def begin(request: web.Request) -> web.Response:
    """Begins an attempt for a ticket: `{appID, scopeList, state}`, or the page that says why not."""
    fields = await own_fields(request)
    bot = request.app[BOT]
    found = await look_up(bot, fields.get("ticket", ""))
    begun = found if isinstance(found, LinkUnavailable) else await open_in_client(bot, found)
    if isinstance(begun, LinkUnavailable):
        return in_words(request, CLOSED[begun])
    scopes = join_scopes(begun.scopes).split()
    return web.json_response(
        {"appID": bot.platform.app_id, "scopeList": scopes, "state": begun.state.reveal()}
    )


async def begin_sign_in(request: web.Request) -> web.Response:
    """Begins a sign-in: the same fields, without scopes, and the cookie of this browser."""
    await own_fields(request)
    bot = request.app[BOT]
    begun = sign_in.begin_in_client(bot)
    response = web.json_response(
        {"appID": bot.platform.app_id, "scopeList": [], "state": begun.state.reveal()}
    )
    login.keep(response, bot, begun)
    return response


async def finish(request: web.Request) -> web.Response:
    """Takes `{state, code}` or `{state, error}`, and answers with the page that says how it ended, or where to go."""
    came = parse_callback(await own_fields(request))
    if isinstance(came, Malformed):
        return in_words(request, LANDINGS[CallbackResult.MALFORMED])
    if kind_of(came.state) is AttemptKind.SIGN_IN:
        return await finish_sign_in(request, came)
    return in_words(request, LANDINGS[await complete(request.app[BOT], came)])


async def finish_sign_in(request: web.Request, came: Approved | Denied) -> web.Response:
    ended = await login.complete(request, came)
    if isinstance(ended, NotSignedIn):
        return in_words(request, NOT_SIGNED_IN[ended])
    response = web.json_response({"location": f"{login.HOME}?{login.SIGNED_IN}"})
    login.let_in(response, request.app[BOT], ended)
    return response


async def own_fields(request: web.Request) -> dict[str, str]:
    """The body of a post that our own page made: strings by name. Other sites' posts are refused."""
    if (
        request.headers.get("Origin") != request.app[BOT].public_url
        or request.content_type != "application/json"
    ):
        raise web.HTTPForbidden(text="Only the bot's own page may ask this.")
    body = await body_of(request)
    if len(body) > LARGEST_POST:
        raise web.HTTPRequestEntityTooLarge(LARGEST_POST, len(body))
    try:
        fields: Json = decode(body.decode())
    except (ValueError, RecursionError):
        raise web.HTTPBadRequest(text="The body is not JSON.") from None
    if not isinstance(fields, dict):
        raise web.HTTPBadRequest(text="The body is not an object.")
    return {name: value for name, value in fields.items() if isinstance(value, str)}


def in_words(request: web.Request, said: Page) -> web.Response:
    language: Language = language_of(request)
    return web.json_response(
        {
            "tone": said.tone,
            "title": said.title.to(language),
            "text": said.text.to(language),
            "again": said.onward is not None
            or said in (LANDINGS[CallbackResult.CODE_REFUSED], LANDINGS[CallbackResult.LATE]),
        },
        status=said.status,
    )

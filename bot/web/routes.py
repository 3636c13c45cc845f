"""The routes: which handler serves which URL, and the middleware of all of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler

from bot.core.platform import Platform
from bot.flows import correlation, observations
from bot.flows.bot import Bot
from bot.flows.console import Overviews
from bot.flows.throttling import RepeatedLogs
from bot.web import account, authorize, console, health, in_client, login, webhook
from bot.web.app_keys import BOT, INGRESSES, Ingresses
from bot.web.pages import ERROR_PAGE, FORM_OUT_OF_DATE_PAGE, NOT_FOUND_PAGE, show
from bot.web.rendering import load_client_page
from bot.web.request_headers import is_navigation, trace_ids
from bot.web.security import MAX_BODY_SIZE
from bot.web.session import CsrfError

STATIC = Path(__file__).parent / "static"

PageHandler = Callable[[web.Request], Awaitable[web.Response]]


def build(bot: Bot, ingresses: Ingresses, *, with_health: bool = True) -> web.Application:
    """Return the bot's web application. A platform that is not in `ingresses` posts its events to its webhooks.

    `with_health`: it also serves the routes of `build_health`.
    """
    app = web.Application(middlewares=[correlate, show_errors], client_max_size=MAX_BODY_SIZE)
    app[BOT] = bot
    app[INGRESSES] = ingresses
    app[console.OVERVIEWS] = Overviews()
    app[webhook.ADVICE] = RepeatedLogs(every=webhook.ADVICE_INTERVAL)
    for platform in bot.platforms.values():
        if platform.name not in ingresses:
            app.router.add_routes(web.post(path, webhook.receive) for path in platform.webhooks)
        if not bot.by_device:
            load_client_page(platform)
            app.router.add_routes(platform_routes(platform))
    if not bot.by_device:
        app.router.add_routes(BROWSER_ROUTES)
    if with_health:
        health.add_routes(app, bot, ingresses)
    app.router.add_static("/static", STATIC)
    return app


def build_health(bot: Bot, ingresses: Ingresses) -> web.Application:
    """Return an application that only serves `/healthz`, `/readyz` and `/metrics`, for a separate port."""
    app = web.Application(client_max_size=0)
    app[BOT] = bot
    app[INGRESSES] = ingresses
    health.add_routes(app, bot, ingresses)
    return app


def platform_routes(platform: Platform) -> list[web.AbstractRouteDef]:
    """Return the routes to which a platform's authorization page or client sends users."""
    callback = platform.callback_path
    routes: list[web.AbstractRouteDef] = [
        web.route("*", callback, authorize.callback),
        web.route("*", f"{callback}/{{rest:.*}}", authorize.callback),
    ]
    if platform.in_client is None:
        return routes
    page = platform.in_client.page_path
    return [
        *routes,
        web.get(page, in_client.page),
        web.post(f"{page}/attempts", in_client.start_attempt),
        web.post(f"{page}/sign-ins", in_client.start_sign_in),
        web.post(f"{page}/results", in_client.complete),
        web.static(f"/static/{platform.name}", platform.in_client.folder / "static"),
    ]


def navigation_only(handler: PageHandler) -> PageHandler:
    """Decorate the handler of a route that depends on a session: reject requests of scripts, frames and images.

    Those of the bot's own pages are rejected too.
    """

    async def guarded(request: web.Request) -> web.Response:
        if not is_navigation(request):
            raise web.HTTPForbidden(text="This page cannot be embedded or fetched.")
        return await handler(request)

    return guarded


BROWSER_ROUTES = [
    web.get("/authorize/{ticket}", authorize.open_ticket),
    web.get(f"{authorize.RESULT_PATH}/{{outcome}}", authorize.result),
    web.get("/login", navigation_only(login.start)),
    web.get("/login/{outcome}", login.failure),
    web.post("/logout", navigation_only(login.sign_out)),
    web.get(login.ACCOUNT_PATH, navigation_only(account.account)),
    web.get(f"{login.ACCOUNT_PATH}/continue", navigation_only(account.continue_request)),
    web.post(f"{login.ACCOUNT_PATH}/revoke", navigation_only(account.revoke)),
    web.post(f"{login.ACCOUNT_PATH}/cancel", navigation_only(account.cancel)),
    *(web.get(path, navigation_only(page)) for path, page in console.PAGES.items()),
    *(web.post(path, navigation_only(form)) for path, form in console.FORMS.items()),
]
"""The routes that users open, on every platform."""


@web.middleware
async def correlate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Bind the ids that the proxy has given the request."""
    with correlation.bind(**trace_ids(request)):
        return await handler(request)


@web.middleware
async def show_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Respond to an unknown path, or to an error of the bot, with a page for people. The status is kept for programs."""
    if authorize.has_stray_code(request):
        return login.redirect(request.path)
    bot = request.app[BOT]
    try:
        return await handler(request)
    except web.HTTPNotFound:
        # A code at a path similar to the callback's, because of a proxy or a typing error.
        if authorize.has_code_or_state(request) and is_navigation(request) and not bot.by_device:
            return authorize.reject_malformed(request)
        return show(request, NOT_FOUND_PAGE)
    except web.HTTPMethodNotAllowed as error:
        if request.method != "GET" or not is_navigation(request):
            raise
        # The address of a form, opened from the address bar.
        response = show(request, replace(FORM_OUT_OF_DATE_PAGE, status=error.status))
        response.headers["Allow"] = error.headers["Allow"]
        return response
    except CsrfError:
        return show(request, FORM_OUT_OF_DATE_PAGE)
    except web.HTTPException:
        raise
    except Exception as error:
        resource = request.match_info.route.resource
        observations.failed(bot, "request failed", error, route=resource.canonical if resource else "")
        return show(request, ERROR_PAGE)

"""Lark's chat client, as far as a browser stands in for it: AppLinks, its user agent, requests from inside it."""

from urllib.parse import quote, urlsplit

from aiohttp import web

from bot.sandbox.lark.gateway import TENANT
from bot.sandbox.lark.tenant import Tenant
from bot.sandbox.platform import PERSON_COOKIE

routes = web.RouteTableDef()

CLIENT_COOKIE = "sandbox_client"
"""Set while the browser stands in for the client. Cookies ignore ports, so the bot's pages receive it as well."""


def is_in_client(request: web.Request) -> bool:
    """Return whether a request comes from inside the client, by user agent or cookie."""
    agent = request.headers.get("User-Agent", "")
    return "Lark/" in agent or "Feishu/" in agent or CLIENT_COOKIE in request.cookies


def client_user_agent(tenant: Tenant, request: web.Request) -> str | None:
    """Return the user agent of the client that this browser stands in for; None for a plain browser."""
    person = tenant.people.get(request.cookies.get(PERSON_COOKIE, ""))
    return person.user_agent if person is not None and CLIENT_COOKIE in request.cookies else None


@routes.get("/client/web_url/open")
async def open_web_url(request: web.Request) -> web.Response:
    """An AppLink to a web page: opens `url` in a browser or in the client, as `Behaviour.links_open` says."""
    target = request.query.get("url", "")
    if urlsplit(target).scheme not in ("http", "https") or not request.query.get("mode"):
        return web.Response(status=400, text="An AppLink needs mode and an http(s) url.")
    redirect = web.HTTPFound(target)
    if request.app[TENANT].behaviour.links_open == "in the client":
        redirect.set_cookie(CLIENT_COOKIE, "1", samesite="Lax", httponly=True)
    else:
        redirect.del_cookie(CLIENT_COOKIE)
    raise redirect


@routes.get("/client/bot/open")
async def open_bot(request: web.Request) -> web.Response:
    """The AppLink to the direct chat with the bot: opens it on the chat page, as the person signed in here."""
    raise web.HTTPFound(f"/#person={quote(request.cookies.get(PERSON_COOKIE, ''))}")


@routes.get("/app/{app_id}/auth")
async def open_developer_console(request: web.Request) -> web.Response:
    """The platform's link to enable scopes in the developer console: opens the chat page's switches for them."""
    raise web.HTTPFound(f"/#scopes={quote(request.query.get('q', ''))}")

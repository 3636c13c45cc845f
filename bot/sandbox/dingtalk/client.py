"""DingTalk's chat client, as far as a browser stands in for it: its links, its user agent, requests from inside it."""

from urllib.parse import quote, urlsplit

from aiohttp import web

from bot.sandbox.dingtalk.gateway import TENANT
from bot.sandbox.dingtalk.tenant import Tenant
from bot.sandbox.platform import PERSON_COOKIE

routes = web.RouteTableDef()

CLIENT_COOKIE = "sandbox_client"
"""Set while the browser stands in for the client. Cookies ignore ports, so the bot's pages receive it as well."""


def is_in_client(request: web.Request) -> bool:
    """Return whether a request comes from inside the client, by user agent or cookie."""
    return "DingTalk" in request.headers.get("User-Agent", "") or CLIENT_COOKIE in request.cookies


def client_user_agent(tenant: Tenant, request: web.Request) -> str | None:
    """Return the user agent of the client that this browser stands in for; None for a plain browser."""
    person = tenant.people.get(request.cookies.get(PERSON_COOKIE, ""))
    return person.user_agent if person is not None and CLIENT_COOKIE in request.cookies else None


@routes.get("/dingtalkclient/page/link")
async def open_link(request: web.Request) -> web.Response:
    """The path of `dingtalk://dingtalkclient/page/link`: opens `url` in the client or in a browser.

    The client decides by `Behaviour.links_open`; `pc_slide=false` asks for the browser.
    """
    target = request.query.get("url", "")
    if urlsplit(target).scheme not in ("http", "https"):
        return web.Response(status=400, text="The link needs an http(s) url.")
    redirect = web.HTTPFound(target)
    inside = request.app[TENANT].behaviour.links_open == "in the client"
    if inside and request.query.get("pc_slide") != "false":
        redirect.set_cookie(CLIENT_COOKIE, "1", samesite="Lax", httponly=True)
    else:
        redirect.del_cookie(CLIENT_COOKIE)
    raise redirect


@routes.get("/dingtalkclient/action/jumprobot")
async def open_bot(request: web.Request) -> web.Response:
    """The link back to the chat with the bot: opens it on the chat page, as the person signed in here."""
    raise web.HTTPFound(f"/#person={quote(request.cookies.get(PERSON_COOKIE, ''))}")


@routes.get("/appscope/apply")
async def open_developer_console(request: web.Request) -> web.Response:
    """The developer console's link to add scopes, `content=CLIENT_ID#SCOPE`: opens the chat page's switches."""
    _, _, scopes = request.query.get("content", "").partition("#")
    raise web.HTTPFound(f"/#scopes={quote(scopes)}")

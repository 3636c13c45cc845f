"""Builds the web application of the emulated platform: every origin of the real one on a single port.

The consent page that `/open-apis/authen/v1/authorize` leads to (`/sandbox/consent`) is part of the chat page.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from aiohttp import web

from bot.sandbox import (
    client,
    connections,
    consent,
    control,
    directory,
    documents,
    messages,
    oauth,
    reactions,
    switches,
    work,
)
from bot.sandbox.connections import CONNECTIONS, Connections
from bot.sandbox.delivery import DELIVERY, Delivery
from bot.sandbox.faults import Aim, suffer, told
from bot.sandbox.gateway import TENANT, TRACE, Refusal, Trace, new_log_id
from bot.sandbox.tenant import Tenant

CLOSING = web.AppKey("closing", asyncio.Event)

PLATFORM_PATHS = ("/open-apis/", "/oauth/", "/callback/", "/ws/")
BROWSER_PATHS = ("/open-apis/authen/v1/authorize", "/oauth/v1/device/verify", "/ws/")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def build_platform(tenant: Tenant) -> web.Application:
    """The platform for one tenant. More routes may be added before the application is started."""
    app = web.Application(client_max_size=4 * 1024 * 1024, middlewares=[platform])
    app[TENANT] = tenant
    app[CONNECTIONS] = Connections(tenant)
    app[CLOSING] = asyncio.Event()
    for module in (control, switches, consent, client, oauth, connections):
        app.add_routes(module.routes)
    for apis in (oauth.apis, messages.apis, reactions.apis, directory.apis, work.apis, documents.apis):
        app.add_routes(apis.routes)
    app.on_shutdown.append(_say_goodbye)
    app.cleanup_ctx.append(_delivery)
    return app


async def _delivery(app: web.Application) -> AsyncIterator[None]:
    app[DELIVERY] = Delivery(app[TENANT], app[CONNECTIONS])
    app[DELIVERY].resume()
    yield
    await app[DELIVERY].close()


async def _say_goodbye(app: web.Application) -> None:
    """Ends what would otherwise keep the server waiting: streams, long connections, requests left hanging."""
    app[CLOSING].set()
    app[TENANT].end_feed()
    await app[CONNECTIONS].close()


@web.middleware
async def platform(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Around each request to the platform: its log id, the fault that strikes it, its place in the feed."""
    if not request.path.startswith(PLATFORM_PATHS):
        return await handler(request)
    tenant = request.app[TENANT]
    trace = Trace(new_log_id())
    TRACE.set(trace)

    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except Refusal as refusal:
            return refusal.response()
        except (web.HTTPNotFound, web.HTTPMethodNotAllowed):
            return web.Response(status=404, text="404 page not found")

    start, started = tenant.start(), asyncio.get_running_loop().time()
    fault = tenant.faults.meet(await _aim(tenant, request)) if tenant.faults.all else None
    if fault is None:
        response = await answer(request)
    else:
        tenant.announce("fault", told("struck", fault, path=request.path))
        response = await suffer(fault, request, answer, request.app[CLOSING])
    if not response.prepared:
        response.headers["X-Tt-Logid"] = trace.log_id
    if not request.path.startswith(BROWSER_PATHS):
        tenant.announce(
            "request",
            {
                "method": request.method,
                "path": request.path,
                "query": dict(request.query),
                "status": None if response.status == 499 else response.status,
                "code": trace.code,
                "ms": round((asyncio.get_running_loop().time() - started) * 1000, 1),
                "identity": trace.identity,
                "grant_type": trace.grant_type,
                "scopes_refused": list(trace.refused),
                "log_id": trace.log_id,
                "fault": fault.kind if fault else None,
            },
            start,
        )
    return response


async def _aim(tenant: Tenant, request: web.Request) -> Aim:
    """What faults look at: who is calling, and which grant a token endpoint is asked for."""
    token = request.headers.get("Authorization", "").removeprefix("Bearer ")
    access = tenant.credentials.access.get(token)
    if access is not None:
        identity: str | None = access.person
    else:
        identity = "app" if token in tenant.credentials.app_tokens else None
    grant_type = None
    if request.method == "POST" and ("oauth" in request.path or "oidc" in request.path):
        grant_type = await _grant_type(request)
    return Aim(request.method, request.path, identity, grant_type, request.query.get("receive_id_type"))


async def _grant_type(request: web.Request) -> str | None:
    if request.content_type == "application/x-www-form-urlencoded":
        return str((await request.post()).get("grant_type"))
    try:
        body = await request.json()
    except ValueError:
        return None
    return str(body.get("grant_type")) if isinstance(body, dict) else None

"""Builds the web application of the emulated platform: every origin of the real one on a single port."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from aiohttp import web

from bot.sandbox.clock import dated_by
from bot.sandbox.faults import Traits, apply_fault, fault_change
from bot.sandbox.lark import client, client_sdk, consent_page, long_connections, oauth, static_files
from bot.sandbox.lark.apis import (
    application,
    bitable,
    calendar,
    contacts,
    documents,
    drive,
    mail,
    messages,
    minutes,
    reactions,
    tasks,
)
from bot.sandbox.lark.control import events, faults, people, settings, state
from bot.sandbox.lark.event_delivery import DELIVERY, Delivery
from bot.sandbox.lark.faults import ERROR_BODIES
from bot.sandbox.lark.gateway import TENANT, TRACE, ApiError, Trace, new_log_id
from bot.sandbox.lark.long_connections import CONNECTIONS, Connections
from bot.sandbox.lark.tenant import Tenant

CONTROL = (state, people, settings, faults, events)
PAGES_AND_PROTOCOLS = (static_files, consent_page, client, client_sdk, oauth, long_connections)
APIS = (
    oauth, application, contacts, messages, reactions, calendar, tasks, mail, documents, drive, minutes, bitable,
)  # fmt: skip

CLOSING = web.AppKey("closing", asyncio.Event)

PLATFORM_PATHS = ("/open-apis/", "/oauth/", "/callback/", "/ws/")
BROWSER_PATHS = ("/open-apis/authen/v1/authorize", "/oauth/v1/device/verify", "/ws/")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def build_platform(tenant: Tenant) -> web.Application:
    """Build the platform of one tenant. Routes can be added until the application is started."""
    app = web.Application(client_max_size=4 * 1024 * 1024, middlewares=[platform])
    app[TENANT] = tenant
    app[CONNECTIONS] = Connections(tenant)
    app[CLOSING] = asyncio.Event()
    for module in (*CONTROL, *PAGES_AND_PROTOCOLS):
        app.add_routes(module.routes)
    for module in APIS:
        app.add_routes(module.apis.routes)
    app.on_response_prepare.append(dated_by(tenant.clock))
    app.on_shutdown.append(_end_open_responses)
    app.cleanup_ctx.append(_delivery)
    return app


async def _delivery(app: web.Application) -> AsyncIterator[None]:
    app[DELIVERY] = Delivery(app[TENANT], app[CONNECTIONS])
    app[DELIVERY].resume()
    yield
    await app[DELIVERY].close()


async def _end_open_responses(app: web.Application) -> None:
    """End what would otherwise delay the shutdown: streams, long connections, requests with a `timeout` fault."""
    app[CLOSING].set()
    app[TENANT].feed.close()
    await app[CONNECTIONS].close()


@web.middleware
async def platform(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give each request to the platform a log id, apply the first matching fault, and announce it in the feed."""
    if not request.path.startswith(PLATFORM_PATHS):
        return await handler(request)
    tenant = request.app[TENANT]
    trace = Trace(new_log_id())
    TRACE.set(trace)

    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except ApiError as refusal:
            return refusal.response()
        except (web.HTTPNotFound, web.HTTPMethodNotAllowed):
            return web.Response(status=404, text="404 page not found")

    start, started = tenant.feed.start(), asyncio.get_running_loop().time()
    fault = tenant.faults.match(await _traits(tenant, request)) if tenant.faults.all else None
    if fault is None:
        response = await answer(request)
    else:
        tenant.feed.announce("fault", fault_change("struck", fault, path=request.path))
        response = await apply_fault(fault, request, answer, request.app[CLOSING], ERROR_BODIES)
    if not response.prepared:
        response.headers["X-Tt-Logid"] = trace.log_id
    if not request.path.startswith(BROWSER_PATHS):
        tenant.feed.announce(
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


async def _traits(tenant: Tenant, request: web.Request) -> Traits:
    """Return what faults match on: the caller, and the grant type of a token request."""
    token = request.headers.get("Authorization", "").removeprefix("Bearer ")
    access = tenant.credentials.access.get(token)
    if access is not None:
        identity: str | None = access.person
    else:
        identity = "app" if token in tenant.credentials.app_tokens else None
    grant_type = None
    if request.method == "POST" and ("oauth" in request.path or "oidc" in request.path):
        grant_type = await _grant_type(request)
    return {
        "method": request.method,
        "path": request.path,
        "identity": identity,
        "grant_type": grant_type,
        "receive_id_type": request.query.get("receive_id_type"),
    }


async def _grant_type(request: web.Request) -> str | None:
    if request.content_type == "application/x-www-form-urlencoded":
        return str((await request.post()).get("grant_type"))
    try:
        body = await request.json()
    except ValueError:
        return None
    return str(body.get("grant_type")) if isinstance(body, dict) else None

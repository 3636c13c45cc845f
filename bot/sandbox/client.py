"""The client that people use: how it opens links, and what its JavaScript SDK offers to a page inside it.

The real SDK speaks with the client through a bridge that no page can see. The stand-in (`static/jssdk.js`) has a page
that may load this one script and reach nothing else, so it speaks by scripts: each question is the script's own address
with a query, of which a page's policy takes no notice, and so is its answer.
"""

import json
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web

from bot.sandbox.consent import CLIENT_COOKIE, PERSON_COOKIE, announce, not_for, trouble
from bot.sandbox.credentials import Consent
from bot.sandbox.gateway import TENANT
from bot.sandbox.scopes import SCOPES
from bot.sandbox.tenant import Json, Person, Tenant, new_id
from bot.sandbox.tokens import new_code

routes = web.RouteTableDef()

SDK = Path(__file__).parent / "static" / "jssdk.js"

REFUSED = {"errno": 2700002, "errString": "user refused"}
NOT_SUPPORTED = {"errno": 103, "errString": "feature not supported"}
PAGE_ERROR = {"errno": 2700001, "errString": "the client showed an error page"}
"""Not documented: what a page learns once its visitor has closed that error."""


def user_agent(tenant: Tenant, request: web.Request) -> str | None:
    """The user agent of the client whose browser this is; None for a browser outside it."""
    person = tenant.people.get(request.cookies.get(PERSON_COOKIE, ""))
    return person.user_agent if person is not None and CLIENT_COOKIE in request.cookies else None


@routes.get("/client/web_url/open")
async def applink(request: web.Request) -> web.Response:
    """An AppLink: a browser goes to `url`, the client opens it in its side panel. Which it is to be is a switch."""
    target = request.query.get("url", "")
    if urlsplit(target).scheme not in ("http", "https") or not request.query.get("mode"):
        return web.Response(status=400, text="An AppLink needs mode and an http(s) url.")
    onward = web.HTTPFound(target)
    if request.app[TENANT].behaviour.links_open == "in the client":
        onward.set_cookie(CLIENT_COOKIE, "1", samesite="Lax", httponly=True)
    else:
        onward.del_cookie(CLIENT_COOKIE)
    raise onward


@routes.get("/sandbox/jssdk.js")
async def sdk(request: web.Request) -> web.Response:
    """The SDK of the client that is emulated: that of a new one, an old one, one that fails, or none."""
    if "api" in request.query:
        return await question(request)
    kind = request.app[TENANT].behaviour.client_sdk
    if kind == "absent":
        raise web.HTTPNotFound
    script = SDK.read_text(encoding="utf-8").replace("$KIND", kind)
    return web.Response(text=script, content_type="text/javascript", charset="utf-8")


async def question(request: web.Request) -> web.Response:
    """One question of the SDK in a page: `requestAccess` or `requestAuthCode`, for whoever uses this client."""
    query, number = request.query, request.query.get("question", "")
    # A page of another site could load this as well; browsers say so.
    if not number.isdigit() or request.headers.get("Sec-Fetch-Site", "none") == "cross-site":
        raise web.HTTPForbidden
    answer = answer_to(
        request.app[TENANT],
        query["api"],
        request.cookies.get(PERSON_COOKIE, ""),
        app_id=query.get("app_id", ""),
        page_url=query.get("page_url", ""),
        scopes=tuple(query.get("scopes", "").split()),
        decision=query.get("decision"),
    )
    script = f"window.sandboxClient.answered({number}, {json.dumps(answer)});"
    return web.Response(text=script, content_type="text/javascript", charset="utf-8")


def answer_to(
    tenant: Tenant,
    api: str,
    open_id: str,
    *,
    app_id: str,
    page_url: str,
    scopes: tuple[str, ...],
    decision: str | None,
) -> Json:
    """A code, an errno, or the sheet that the client shows first: with what is new, or with an error."""
    person = tenant.people.get(open_id)
    if tenant.behaviour.client_errno:
        return {"errno": tenant.behaviour.client_errno, "errString": "as the sandbox was told"}
    if person is None:
        return {**PAGE_ERROR, "error": "Nobody uses this client: open the link from the chat page."}
    if api == "requestAccess":
        return request_access(tenant, person, app_id, page_url, scopes, decision)
    if api == "requestAuthCode":
        return request_auth_code(tenant, person, app_id, page_url)
    return dict(NOT_SUPPORTED)


def request_access(
    tenant: Tenant,
    person: Person,
    app_id: str,
    page_url: str,
    scopes: tuple[str, ...],
    decision: str | None,
) -> Json:
    """Shows what is new and asks; resolves at once when nothing is. The page's own URL must be registered."""
    consent = Consent(new_id("", 32), tuple(dict.fromkeys(scopes)), page_url)
    error = trouble(tenant, {"app_id": app_id}, consent) or not_for(tenant, person)
    if error is not None:
        return {**PAGE_ERROR, "error": f"{error[0]} {error[1]}"}
    fresh = [scope for scope in consent.scopes if scope not in person.granted]
    if decision == "refuse":
        announce(tenant, consent, person, "refused", consent.scopes)
        return dict(REFUSED)
    if fresh and decision != "allow":
        return {"sheet": sheet(tenant, person, fresh)}
    code = new_code(tenant, person, frozenset(consent.scopes), redirect_uri=None)
    announce(tenant, consent, person, "allowed", consent.scopes)
    return {"code": code.code}


def request_auth_code(tenant: Tenant, person: Person, app_id: str, page_url: str) -> Json:
    """A code for whoever uses the client: it asks for nothing, and so it shows nothing."""
    consent = Consent(new_id("", 32), (), page_url)
    error = trouble(tenant, {"app_id": app_id}, consent) or not_for(tenant, person)
    if error is not None:
        return {**PAGE_ERROR, "error": f"{error[0]} {error[1]}"}
    code = new_code(tenant, person, frozenset(), redirect_uri=None, seconds=tenant.behaviour.code_seconds)
    announce(tenant, consent, person, "allowed", ())
    return {"code": code.code}


def sheet(tenant: Tenant, person: Person, scopes: list[str]) -> Json:
    chinese = person.locale.startswith("zh")
    words = {scope: SCOPES[scope].zh if chinese else SCOPES[scope].en for scope in scopes}
    return {
        "language": "zh" if chinese else "en",
        "app": tenant.app.name_zh if chinese else tenant.app.name,
        "person": person.name if chinese else person.en_name,
        "scopes": [{"scope": scope, "words": words[scope]} for scope in scopes],
    }


@routes.post("/sandbox/api/in-client")
async def in_client(request: web.Request) -> web.Response:
    """What `tt.requestAccess` does inside the client: {person, page_url, scope_list, decision} to a code, or an errno."""
    tenant = request.app[TENANT]
    body = await request.json()
    person = tenant.people.get(str(body.get("person")))
    if person is None:
        return web.json_response({"error": "no such person"}, status=404)
    page_url, scopes = str(body.get("page_url", "")), tuple(body.get("scope_list", ()))
    decision = str(body.get("decision", "allow"))
    answer = request_access(tenant, person, tenant.app.app_id, page_url, scopes, decision)
    if "error" in answer:
        return web.json_response({"error": answer["error"]}, status=409)
    return web.json_response({**answer, "state": body.get("state", "")})

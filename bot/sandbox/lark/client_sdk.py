"""The client's JavaScript SDK, as a page inside the client can call it.

The real SDK talks to the client through a bridge that no page can see. The emulated one (`static/jssdk.js`) runs in a
page whose policy allows this one script and no other connection. So each call is a script whose address is the
SDK's own with a query, which the page's policy ignores, and the response is a script as well.
"""

import json
from dataclasses import dataclass

from aiohttp import web

from bot.sandbox.json_http import Json
from bot.sandbox.lark.consent_page import announce_consent, person_error, request_error
from bot.sandbox.lark.credentials import Consent
from bot.sandbox.lark.gateway import TENANT
from bot.sandbox.lark.scopes import SCOPES
from bot.sandbox.lark.static_files import STATIC
from bot.sandbox.lark.tenant import Person, Tenant, new_id
from bot.sandbox.lark.tokens import new_code
from bot.sandbox.platform import PERSON_COOKIE

routes = web.RouteTableDef()

SDK = STATIC / "jssdk.js"

CROSS_ORIGIN = {"Cross-Origin-Resource-Policy": "cross-origin"}
"""The bot's pages load the SDK from another port. For an IP address that is another site as well."""

REFUSED = {"errno": 2700002, "errString": "user refused"}
NOT_SUPPORTED = {"errno": 103, "errString": "feature not supported"}
PAGE_ERROR = {"errno": 2700001, "errString": "the client showed an error page"}
"""Not documented: what a page receives after its visitor has closed that error."""


@dataclass(frozen=True)
class AccessRequest:
    """The parameters of `requestAccess`. `decision` is what the person chose on the client's sheet, if shown."""

    app_id: str
    page_url: str
    scopes: tuple[str, ...] = ()
    decision: str | None = None


@routes.get("/sandbox/jssdk.js")
async def sdk(request: web.Request) -> web.Response:
    """The SDK itself, in the version that `Behaviour.client_sdk` names; with `api` in the query, one call of it."""
    if "api" in request.query:
        response = sdk_call(request)
    else:
        kind = request.app[TENANT].behaviour.client_sdk
        if kind == "absent":
            raise web.HTTPNotFound(headers=CROSS_ORIGIN)
        response = script_response(SDK.read_text(encoding="utf-8").replace("$KIND", kind))
    response.headers.update(CROSS_ORIGIN)
    return response


def script_response(script: str) -> web.Response:
    return web.Response(text=script, content_type="text/javascript", charset="utf-8")


def sdk_call(request: web.Request) -> web.Response:
    """Serve one call, `requestAccess` or `requestAuthCode`, of the person who uses this client."""
    query, number = request.query, request.query.get("question", "")
    # A page of another site could load this script too; browsers mark such a request.
    if not number.isdigit() or request.headers.get("Sec-Fetch-Site", "none") == "cross-site":
        raise web.HTTPForbidden(headers=CROSS_ORIGIN)
    access = AccessRequest(
        app_id=query.get("app_id", ""),
        page_url=query.get("page_url", ""),
        scopes=tuple(query.get("scopes", "").split()),
        decision=query.get("decision"),
    )
    result = sdk_result(request.app[TENANT], query["api"], request.cookies.get(PERSON_COOKIE, ""), access)
    return script_response(f"window.sandboxClient.answered({number}, {json.dumps(result)});")


def sdk_result(tenant: Tenant, api: str, open_id: str, access: AccessRequest) -> Json:
    """Return {"code"}, {"errno", "errString"}, or the {"sheet"} or {"error"} that the client shows first."""
    person = tenant.people.get(open_id)
    if tenant.behaviour.client_errno:
        return {"errno": tenant.behaviour.client_errno, "errString": "set in the sandbox"}
    if person is None:
        return {**PAGE_ERROR, "error": "Nobody uses this client: open the link from the chat page."}
    if api == "requestAccess":
        return request_access(tenant, person, access)
    if api == "requestAuthCode":
        return request_auth_code(tenant, person, access)
    return dict(NOT_SUPPORTED)


def request_access(tenant: Tenant, person: Person, access: AccessRequest) -> Json:
    """Ask for the scopes that the person has not granted; without any, return a code at once.

    The page's own URL must be registered as a redirect URL.
    """
    consent = Consent(new_id("", 32), tuple(dict.fromkeys(access.scopes)), access.page_url)
    error = request_error(tenant, {"app_id": access.app_id}, consent) or person_error(tenant, person)
    if error is not None:
        return {**PAGE_ERROR, "error": f"{error[0]} {error[1]}"}
    missing = [scope for scope in consent.scopes if scope not in person.granted]
    if access.decision == "refuse":
        announce_consent(tenant, consent, person, "refused", consent.scopes)
        return dict(REFUSED)
    if missing and access.decision != "allow":
        return {"sheet": consent_sheet(tenant, person, missing)}
    code = new_code(tenant, person, frozenset(consent.scopes), redirect_uri=None)
    announce_consent(tenant, consent, person, "allowed", consent.scopes)
    return {"code": code.code}


def request_auth_code(tenant: Tenant, person: Person, access: AccessRequest) -> Json:
    """Return a code that identifies the person. It requests no scopes, so the client shows nothing."""
    consent = Consent(new_id("", 32), (), access.page_url)
    error = request_error(tenant, {"app_id": access.app_id}, consent) or person_error(tenant, person)
    if error is not None:
        return {**PAGE_ERROR, "error": f"{error[0]} {error[1]}"}
    code = new_code(tenant, person, frozenset(), redirect_uri=None, seconds=tenant.behaviour.code_seconds)
    announce_consent(tenant, consent, person, "allowed", ())
    return {"code": code.code}


def consent_sheet(tenant: Tenant, person: Person, scopes: list[str]) -> Json:
    """Return the text of the client's consent sheet in the person's language."""
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
    """Call `tt.requestAccess` for a test: {person, page_url, scope_list, decision}; returns a code or an errno."""
    tenant = request.app[TENANT]
    body = await request.json()
    person = tenant.people.get(str(body.get("person")))
    if person is None:
        return web.json_response({"error": "no such person"}, status=404)
    access = AccessRequest(
        app_id=tenant.app.app_id,
        page_url=str(body.get("page_url", "")),
        scopes=tuple(body.get("scope_list", ())),
        decision=str(body.get("decision", "allow")),
    )
    result = request_access(tenant, person, access)
    if "error" in result:
        return web.json_response({"error": result["error"]}, status=409)
    return web.json_response({**result, "state": body.get("state", "")})

"""The client's JavaScript API, as a page inside the client can call it, and the authorization panel behind `openAuth`.

The real API talks to the client through a bridge that no page can see. The emulated one (`static/jsapi.js`) runs in a
page whose policy allows this one script and no other connection. So each call is a script whose address is the
script's own with a query, which the page's policy ignores, and the response is a script as well.

`openAuth` of the client's npm package opens a modal (on a PC) or a mini program (on a phone) with the same query; the
panel of both is decided here.
"""

import json
from dataclasses import dataclass, field

from aiohttp import web

from bot.sandbox.dingtalk.client import is_in_client
from bot.sandbox.dingtalk.consent_page import account_json, announce_consent, scope_json
from bot.sandbox.dingtalk.gateway import TENANT
from bot.sandbox.dingtalk.scopes import SCOPES
from bot.sandbox.dingtalk.static_files import STATIC
from bot.sandbox.dingtalk.tenant import Person, Tenant, new_id
from bot.sandbox.dingtalk.tokens import new_code, silent_code
from bot.sandbox.json_http import Json
from bot.sandbox.platform import PERSON_COOKIE

routes = web.RouteTableDef()

CROSS_ORIGIN = {"Cross-Origin-Resource-Policy": "cross-origin"}
"""The bot's pages load the script from another port. For an IP address that is another site as well."""

VERSIONS = {"new": "7.6.0", "old": "6.5.20", "oldest": "5.1.41"}
"""Client versions: with `getAuthInfo`, with `openAuth` only (since 6.3.35), and without either."""

DEFAULT_SCOPE = ".default"

PANEL_ERRORS: dict[int, tuple[str, str]] = {
    400001: ("The request is empty", "请求参数为空"),
    400006: ("clientId is missing", "clientId 为空"),
    400007: ("corpId is missing", "corpId 为空"),
    400008: ("The user is unknown", "用户身份信息为空"),
    500101: ("The app does not exist", "应用不存在"),
    500102: ("The app has no permissions", "应用没有任何权限点"),
    500103: ("The app's information cannot be read", "获取应用信息失败"),
    500104: ("The app has not added this permission", "应用未添加该权限点"),
    500105: ("The vendor's organization cannot be read", "获取服务商组织信息失败"),
    500201: ("The permission does not exist", "权限点编码错误"),
    500202: ("rpcScope contains a field permission", "rpcScope 中包含字段权限点"),
    500203: ("fieldScope holds an API permission", "fieldScope 中包含接口权限点"),
    500204: ("Type 1 needs application permissions", "type 为 1 时只能申请应用权限"),
    500205: ("Type 0 needs personal permissions", "type 为 0 时只能申请个人权限"),
    500401: ("Your role cannot be read", "获取用户角色失败"),
    500402: ("You are not an administrator", "用户不是管理员"),
    500403: ("The app is not activated in the organization", "组织未开通该应用"),
    500404: ("The authorization record was not updated", "授权记录更新失败"),
}


@dataclass(frozen=True)
class PanelRequest:
    """The query of the panel. `decision` is what the person chose on it, if it was shown."""

    type: str = "0"
    client_id: str = ""
    corp_id: str = ""
    rpc_scope: tuple[str, ...] = ()
    field_scope: tuple[str, ...] = ()
    decision: str | None = None
    empty: bool = field(default=False)

    @property
    def scopes(self) -> tuple[str, ...]:
        return (*self.rpc_scope, *self.field_scope)


def split_scopes(value: str) -> tuple[str, ...]:
    return tuple(each for each in value.split(",") if each)


@routes.get("/sandbox/jsapi.js")
async def sdk(request: web.Request) -> web.Response:
    """The script itself, of the client that `Behaviour.client_sdk` names; with `api` in the query, one call of it."""
    behaviour = request.app[TENANT].behaviour
    if "api" in request.query:
        response = sdk_call(request)
    else:
        if behaviour.client_sdk == "absent":
            raise web.HTTPNotFound(headers=CROSS_ORIGIN)
        script = (STATIC / "jsapi.js").read_text(encoding="utf-8")
        platform = behaviour.client_platform if is_in_client(request) else "notInDingTalk"
        script = script.replace("$KIND", behaviour.client_sdk).replace("$PLATFORM", platform)
        script = script.replace("$VERSION", VERSIONS.get(behaviour.client_sdk, VERSIONS["new"]))
        response = script_response(script)
    response.headers.update(CROSS_ORIGIN)
    return response


def script_response(script: str) -> web.Response:
    return web.Response(text=script, content_type="text/javascript", charset="utf-8")


def sdk_call(request: web.Request) -> web.Response:
    """Serve one call of the person who uses this client."""
    query, number = request.query, request.query.get("question", "")
    # A page of another site could load this script too; browsers mark such a request.
    if not number.isdigit() or request.headers.get("Sec-Fetch-Site", "none") == "cross-site":
        raise web.HTTPForbidden(headers=CROSS_ORIGIN)
    tenant = request.app[TENANT]
    user_id = tenant.behaviour.consents_as or request.cookies.get(PERSON_COOKIE, "")
    result = sdk_result(tenant, dict(query), user_id)
    return script_response(f"window.sandboxClient.answered({number}, {json.dumps(result)});")


def sdk_result(tenant: Tenant, query: dict[str, str], user_id: str) -> Json:
    """Return the result of one call of the bridge, or what the client shows first."""
    person = tenant.people.get(user_id)
    match query["api"]:
        case "panel":
            return panel(tenant, person, panel_request(query))
        case "requestAuthCode":
            if person is None or query.get("corpId") != person.corp_id:
                return {
                    "failure": {"errorCode": "3", "errorMessage": "corpId is not the user's organization"}
                }
            client_id = query.get("clientId")
            if client_id is not None and client_id != tenant.app.client_id:
                return {"failure": {"errorCode": "3", "errorMessage": "clientId is unknown"}}
            return {"code": silent_code(tenant, person).code}
        case _:
            return {"failure": {"errorCode": "1", "errorMessage": "the client has no such API"}}


def panel_request(query: dict[str, str]) -> PanelRequest:
    names = ("type", "clientId", "corpId", "rpcScope", "fieldScope")
    return PanelRequest(
        type=query.get("type", "0"),
        client_id=query.get("clientId", ""),
        corp_id=query.get("corpId", ""),
        rpc_scope=split_scopes(query.get("rpcScope", "")),
        field_scope=split_scopes(query.get("fieldScope", "")),
        decision=query.get("decision"),
        empty=not any(name in query for name in names),
    )


def panel(tenant: Tenant, person: Person | None, asked: PanelRequest) -> Json:
    """Return {"result"}, which the page receives, or {"panel"}, which the client shows before it asks again."""
    behaviour = tenant.behaviour
    error = behaviour.panel_error or panel_error(tenant, person, asked)
    chinese = person is not None and person.locale.startswith("zh")
    if error:
        if asked.decision is None:
            return {"panel": error_panel(error, chinese=chinese)}
        return {"result": {"status": "failed", "result": None}}
    assert person is not None
    decision = asked.decision if behaviour.panel_result == "ask" else behaviour.panel_result
    if decision is None:
        return {"panel": consent_panel(tenant, person, asked, chinese=chinese)}
    return decided(tenant, person, asked, decision)


def decided(tenant: Tenant, person: Person, asked: PanelRequest, decision: str) -> Json:
    consent_id, scopes = new_id("", 32), frozenset(asked.scopes)
    if decision == "ok":
        announce_consent(tenant, consent_id, person, "allowed", scopes)
        if asked.type == "1":
            return {"result": {"status": "ok", "result": None}}
        code = new_code(tenant, person, scopes, tells_corp_id=tenant.behaviour.open_auth_tells_corp_id)
        return {"result": {"status": "ok", "result": {"authCode": code.code}}}
    announce_consent(tenant, consent_id, person, "refused", scopes, result=decision)
    if decision == "closed":
        return {"closed": True}
    if decision == "unreadable":
        return {"unreadable": True}
    return {"result": {"status": decision, "result": None}}


def panel_error(tenant: Tenant, person: Person | None, asked: PanelRequest) -> int:
    """Return the panel's error code, or 0."""
    if asked.empty:
        return 400001
    if not asked.client_id:
        return 400006
    if not asked.corp_id:
        return 400007
    if person is None:
        return 400008
    if asked.client_id != tenant.app.client_id or not tenant.app.enabled:
        return 500101
    if asked.corp_id != person.corp_id or asked.corp_id != tenant.app.corp_id:
        return 500403
    return scope_error(tenant, person, asked)


def scope_error(tenant: Tenant, person: Person, asked: PanelRequest) -> int:
    delegated = asked.type == "0"
    added = tenant.app.enabled_scopes("user" if delegated else "tenant")
    if not tenant.app.enabled_scopes("user") | tenant.app.enabled_scopes("tenant"):
        return 500102
    if not asked.scopes:
        return 400001
    if not delegated and asked.rpc_scope == (DEFAULT_SCOPE,):
        return 0 if person.is_admin else 500402
    for scope in asked.scopes:
        if scope not in SCOPES:
            return 500201
    if any(SCOPES[scope].field for scope in asked.rpc_scope):
        return 500202
    if any(not SCOPES[scope].field for scope in asked.field_scope):
        return 500203
    if delegated and not all(SCOPES[scope].delegated for scope in asked.scopes):
        return 500205
    if not delegated and not all(SCOPES[scope].application for scope in asked.scopes):
        return 500204
    if not added.issuperset(asked.scopes):
        return 500104
    return 500402 if not delegated and not person.is_admin else 0


def consent_panel(tenant: Tenant, person: Person, asked: PanelRequest, *, chinese: bool) -> Json:
    """Return the panel's content in the person's language."""
    account = account_json(tenant, person)
    return {
        "language": "zh" if chinese else "en",
        "app": tenant.app.name_zh if chinese else tenant.app.name,
        "person": person.name if chinese else person.en_name,
        "organization": account["organization"],
        "type": asked.type,
        "scopes": [
            {
                "scope": scope,
                "words": scope_json(scope)["description"]["zh" if chinese else "en"],
                "already": scope in person.granted,
            }
            for scope in asked.scopes
            if scope in SCOPES
        ],
        "codes": [[code, words[chinese]] for code, words in PANEL_ERRORS.items()],
    }


def error_panel(code: int, *, chinese: bool) -> Json:
    en, zh = PANEL_ERRORS.get(code, ("The request failed", "请求失败"))
    return {"language": "zh" if chinese else "en", "error": {"code": code, "text": zh if chinese else en}}


@routes.post("/sandbox/api/in-client")
async def in_client(request: web.Request) -> web.Response:
    """Call `openAuth` for a test: {person, type, clientId, corpId, rpcScope, fieldScope, decision}.

    `decision` is ok (the default), cancel, failed, toAdmin, closed or unreadable. The response is what the page receives:
    {status, result}.
    """
    tenant = request.app[TENANT]
    body = await request.json()
    query = {str(name): str(value) for name, value in body.items() if name != "person"}
    shown = panel(
        tenant, tenant.people.get(str(body.get("person"))), panel_request({"decision": "ok", **query})
    )
    return web.json_response(shown.get("result", {"status": "cancel"}))

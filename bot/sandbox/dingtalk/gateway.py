"""The gateway before every API: tokens, scopes, limits, and the form of errors.

The new API takes its token from one header, and every failure has an HTTP status and a `code` in words. The legacy
API takes an app token from the query, and answers everything with HTTP 200 and an `errcode`. Each API declares its
requirements with `Apis.api` or `Apis.legacy`; its handler receives a `Call`.
"""

import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from aiohttp import web

from bot.sandbox.dingtalk.credentials import AccessToken, AppToken
from bot.sandbox.dingtalk.faults import QPS_LIMIT, access_token_header
from bot.sandbox.dingtalk.tenant import Identity, Person, Tenant
from bot.sandbox.json_http import Json
from bot.sandbox.rate_limits import Limit

TENANT = web.AppKey("tenant", Tenant)
STANDARD = Limit(per_second=20)

Alternatives = tuple[str, ...]
"""Scopes of which any one suffices."""

PERMISSION_DENIED = "Forbidden.AccessDenied.AccessTokenPermissionDenied"
QUOTA_EXHAUSTED = "Forbidden.AccessDenied.ApiCountLimitForOrg"
INVALID_TOKEN = "InvalidAuthentication"  # noqa: S105 - an error code
MISSING_TOKEN = "AuthenticationFailed.MissingParameter"  # noqa: S105 - an error code


@dataclass
class Trace:
    """What the feed shows of the request being served."""

    log_id: str
    identity: str | None = None
    grant_type: str | None = None
    code: int | str | None = None
    refused: Alternatives = ()


TRACE: ContextVar[Trace] = ContextVar("trace")


def new_log_id() -> str:
    return str(uuid.uuid4()).upper()


class ApiError(Exception):
    """A failure of the new API."""

    def __init__(self, code: str, message: str, status: int = 400, **more: Any) -> None:
        super().__init__(f"{code} {message}")
        self.code = code
        self.message = message
        self.status = status
        self.more = more

    def response(self) -> web.Response:
        trace = TRACE.get()
        trace.code = self.code
        body = {"code": self.code, "requestid": trace.log_id, "message": self.message, **self.more}
        return web.json_response(body, status=self.status)


class LegacyError(Exception):
    """A failure of the legacy API: HTTP 200 and an `errcode`."""

    def __init__(self, errcode: int, errmsg: str, sub_code: str | None = None, sub_msg: str = "") -> None:
        super().__init__(f"{errcode} {errmsg}")
        self.errcode = errcode
        self.errmsg = errmsg
        self.sub = {} if sub_code is None else {"sub_code": sub_code, "sub_msg": sub_msg}

    def response(self) -> web.Response:
        trace = TRACE.get()
        trace.code = self.errcode
        body = {
            "errcode": self.errcode,
            "errmsg": self.errmsg,
            **self.sub,
            "request_id": trace.log_id.lower(),
        }
        return web.json_response(body)


def success(body: Any) -> web.Response:
    TRACE.get().code = 0
    return web.json_response(body)


def legacy_success(result: Any = None) -> web.Response:
    TRACE.get().code = 0
    fields: Json = {"errcode": 0, "errmsg": "ok"}
    if result is not None:
        fields |= {"result": result, "request_id": TRACE.get().log_id.lower()}
    return web.json_response(fields)


@dataclass(frozen=True)
class Api:
    """One API: its address, and its scope alternatives for each identity; None excludes that identity.

    `counted` is whether its calls count against the monthly quota of the organization.
    """

    method: str
    path: str
    user: Alternatives | None
    tenant: Alternatives | None
    counted: bool = True

    def required(self, identity: Identity) -> Alternatives | None:
        return self.user if identity == "user" else self.tenant


@dataclass(frozen=True)
class Call:
    """An authenticated and authorized call. `person` is None if the app calls as itself."""

    tenant: Tenant
    request: web.Request
    person: Person | None
    scopes: frozenset[str]
    body: Json = field(default_factory=dict)

    @property
    def query(self) -> Mapping[str, str]:
        return self.request.query

    @property
    def user(self) -> Person:
        """The person, for APIs that the app cannot call as itself."""
        if self.person is None:
            raise TypeError("a user API was called without a user")
        return self.person

    def path(self, name: str) -> str:
        return self.request.match_info[name]


Handler = Callable[[Call], Awaitable[web.Response]]


class Apis:
    """The APIs of one module, declared above their handlers."""

    def __init__(self) -> None:
        self.routes: list[web.RouteDef] = []

    def api(
        self,
        method: str,
        path: str,
        *,
        user: Alternatives | None = None,
        tenant: Alternatives | None = None,
        counted: bool = True,
    ) -> Callable[[Handler], Handler]:
        declared = Api(method, path, user, tenant, counted)

        def declare(handler: Handler) -> Handler:
            async def serve(request: web.Request) -> web.Response:
                return await handler(await authorize_call(declared, request))

            self.routes.append(web.route(method, path, serve))
            return handler

        return declare

    def legacy(self, path: str, scope: str) -> Callable[[Handler], Handler]:
        """Declare an API of the legacy host, which takes an app token with this scope."""

        def declare(handler: Handler) -> Handler:
            async def serve(request: web.Request) -> web.Response:
                return await handler(await authorize_legacy(request, scope))

            self.routes.append(web.post(path, serve))
            return handler

        return declare


async def authorize_call(api: Api, request: web.Request) -> Call:
    """Check a request and return it as a `Call`. Raises the ApiError that the platform responds with."""
    tenant = request.app[TENANT]
    token = authenticate(tenant, request)
    identity: Identity = "user" if isinstance(token, AccessToken) else "tenant"
    person = tenant.people[token.person] if isinstance(token, AccessToken) else None
    check_limits(tenant, api)
    scopes = effective_scopes(tenant, token)
    required = api.required(identity)
    if required is None:
        # The documentation has no code for a token of the wrong kind; an app token at `users/me` is refused this way.
        raise permission_denied(tenant, api.user or api.tenant or ())
    check_scopes(tenant, required, scopes)
    body = await read_json(request) if request.method in ("POST", "PUT", "PATCH") else {}
    return Call(tenant, request, person, scopes, body)


def authenticate(tenant: Tenant, request: web.Request) -> AccessToken | AppToken:
    """Return the record of the token in the one header that carries it."""
    value = access_token_header(request)
    if not value:
        raise ApiError(MISSING_TOKEN, "x-acs-dingtalk-access-token is mandatory for this action.")
    found: AccessToken | AppToken | None = tenant.credentials.access.get(value)
    if found is None:
        found = tenant.credentials.app_tokens.get(value)
    if isinstance(found, AccessToken):
        TRACE.get().identity = found.person
        dead = found.revoked or not tenant.people[found.person].active
    else:
        TRACE.get().identity = "app" if found is not None else None
        dead = False
    if found is None or dead or found.expires_at <= tenant.clock.now() or not tenant.app.enabled:
        raise ApiError(INVALID_TOKEN, "不合法的access_token")
    return found


def effective_scopes(tenant: Tenant, token: AccessToken | AppToken) -> frozenset[str]:
    """Return the scopes of a token that the app still has added and, for a user token, its user still grants."""
    behaviour = tenant.behaviour
    if isinstance(token, AppToken):
        added = tenant.app.enabled_scopes("tenant")
        return added if behaviour.app_tokens_gain_scopes else added & token.scopes
    person, now = tenant.people[token.person], tenant.clock.now()
    granted = frozenset(s for s in person.granted if person.effective_at.get(s, 0.0) <= now)
    if not behaviour.old_tokens_gain_scopes:
        granted &= token.scopes
    return granted & tenant.app.enabled_scopes("user")


def check_scopes(tenant: Tenant, required: Alternatives, scopes: frozenset[str]) -> None:
    """Raise ApiError unless the token has one of the alternatives. The refusal does not say who must act."""
    usable = scopes - set(tenant.behaviour.refused_scopes)
    if required and usable.isdisjoint(required):
        raise permission_denied(tenant, required)


def permission_denied(tenant: Tenant, required: Alternatives) -> ApiError:
    TRACE.get().refused = required
    if tenant.behaviour.refusal_wording == "old":
        message = "没有调用该接口的权限，接口权限申请参考：https://open.dingtalk.com/document/orgapp-server/add-api-permission"
    else:
        link = quote(f"{tenant.app.client_id}#{','.join(required)}", safe=",")
        message = (
            f"应用尚未开通所需的权限：[{','.join(required)}]，点击链接申请并开通即可："
            f"https://open-dev.dingtalk.com/appscope/apply?content={link}"
        )
    detail = {"accessdenieddetail": {"requiredScopes": list(required)}}
    more = detail if tenant.behaviour.access_denied_detail else {}
    return ApiError(PERMISSION_DENIED, message, 403, **more)


def check_limits(tenant: Tenant, api: Api) -> None:
    if tenant.behaviour.quota_exhausted and api.counted:
        raise ApiError(QUOTA_EXHAUSTED, "企业本月的接口调用量已用完", 403)
    check_rate(tenant, f"{api.method} {api.path}")


def check_rate(tenant: Tenant, key: str) -> None:
    """Count a call against the 20 a second of one app and one API."""
    if tenant.behaviour.rate_limits and tenant.limiter.hit(key, STANDARD, tenant.clock.now()) is not None:
        raise ApiError(QPS_LIMIT, "您的服务器调用钉钉开放平台的频率过高，触发了流量控制", 403)


async def read_json(request: web.Request) -> Json:
    """Return the body as a JSON object; an absent body is an empty one."""
    raw = await request.read()
    if not raw:
        return {}
    if request.content_type != "application/json":
        raise ApiError("UnsupportedMediaType", "Content-Type must be application/json", 415)
    try:
        body = await request.json()
    except ValueError:
        raise ApiError("InvalidBody", "the body is not JSON") from None
    if not isinstance(body, dict):
        raise ApiError("InvalidBody", "the body must be an object")
    return body


async def authorize_legacy(request: web.Request, scope: str) -> Call:
    """Check a request to the legacy host: an app token in the query, and JSON or a form as body."""
    tenant = request.app[TENANT]
    token = tenant.credentials.app_tokens.get(request.query.get("access_token", ""))
    if token is None or token.expires_at <= tenant.clock.now() or not tenant.app.enabled:
        raise LegacyError(88, "ding talk error", "40014", "不合法的access_token")
    TRACE.get().identity = "app"
    if tenant.behaviour.rate_limits and tenant.limiter.hit(request.path, STANDARD, tenant.clock.now()):
        raise LegacyError(90018, "您的服务器调用钉钉开放平台当前接口的频率过高")
    if tenant.behaviour.quota_exhausted and not request.path.startswith("/topapi/"):
        raise LegacyError(90020, "企业本月的接口调用量已用完")
    scopes = effective_scopes(tenant, token)
    if scope not in scopes or scope in tenant.behaviour.refused_scopes:
        TRACE.get().refused = (scope,)
        raise LegacyError(
            88, "ding talk error", "60011", f"没有调用该接口的权限，应用尚未开通所需的权限：[{scope}]"
        )
    return Call(tenant, request, None, scopes, await _legacy_body(request))


async def _legacy_body(request: web.Request) -> Json:
    if request.content_type == "application/x-www-form-urlencoded":
        return dict(await request.post())
    try:
        body = await request.json()
    except ValueError:
        raise LegacyError(40035, "不合法的参数: the body is not JSON") from None
    if not isinstance(body, dict):
        raise LegacyError(40035, "不合法的参数: the body must be an object")
    return body

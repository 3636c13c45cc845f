"""The gateway before every OpenAPI: authentication, scopes, rate limits and the form of errors.

The order of checks is the platform's: credentials, the app's scopes, the user's grant, the rate limit, and parameters
last. Each API declares its requirements with `Apis.api`; its handler receives a `Call`.
"""

import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from bot.sandbox.json_http import Json
from bot.sandbox.lark.credentials import AccessToken
from bot.sandbox.lark.faults import authorization
from bot.sandbox.lark.tenant import Identity, Person, Tenant
from bot.sandbox.rate_limits import STANDARD, Limit

TENANT = web.AppKey("tenant", Tenant)
DOCUMENTATION_URL = "https://open.feishu.cn"

Alternatives = tuple[str, ...]
"""Scopes of which any one suffices."""


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
    return time.strftime("%Y%m%d%H%M%S", time.gmtime()) + secrets.token_hex(9).upper()


class ApiError(Exception):
    """A response with a code other than 0. `bare`: without the `error` object."""

    def __init__(
        self,
        code: int,
        msg: str,
        status: int = 400,
        *,
        error: Json | None = None,
        headers: Mapping[str, str] | None = None,
        bare: bool = False,
    ) -> None:
        super().__init__(f"{code} {msg}")
        self.code = code
        self.msg = msg
        self.status = status
        self.error = error or {}
        self.headers = dict(headers or {})
        self.bare = bare

    def response(self) -> web.Response:
        trace = TRACE.get()
        trace.code = self.code
        body: Json = {"code": self.code, "msg": self.msg}
        if not self.bare:
            troubleshooter = (
                f"{DOCUMENTATION_URL}/search?from=openapi&log_id={trace.log_id}&code={self.code}&method_id=1"
            )
            body["error"] = {
                **self.error,
                "log_id": trace.log_id,
                "troubleshooter": f"排查建议查看(Troubleshooting suggestions): {troubleshooter}",
            }
        return web.json_response(body, status=self.status, headers=self.headers)


def success(data: Json | None = None, msg: str = "success", **top_level: Any) -> web.Response:
    """Return a response with code 0 and the fields under `data` or, for older APIs, at the top level."""
    TRACE.get().code = 0
    body: Json = {"code": 0, "msg": msg, **top_level}
    if data is not None:
        body["data"] = data
    return web.json_response(body)


@dataclass(frozen=True)
class Api:
    """One API: its address, and its scope requirement for each identity; None excludes that identity.

    A requirement is a tuple of alternatives: one scope of each must be there, and each is refused separately.
    """

    method: str
    path: str
    user: tuple[Alternatives, ...] | None
    tenant: tuple[Alternatives, ...] | None
    limit: Limit = STANDARD
    limit_status: int = 429
    invalid_token: tuple[int, str, int] | None = None

    def requirement(self, identity: Identity) -> tuple[Alternatives, ...] | None:
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
        user: tuple[Alternatives, ...] | None = None,
        tenant: tuple[Alternatives, ...] | None = None,
        limit: Limit = STANDARD,
        limit_status: int = 429,
        invalid_token: tuple[int, str, int] | None = None,
    ) -> Callable[[Handler], Handler]:
        declared = Api(method, path, user, tenant, limit, limit_status, invalid_token)

        def declare(handler: Handler) -> Handler:
            async def serve(request: web.Request) -> web.Response:
                return await handler(await authorize_call(declared, request))

            self.routes.append(web.route(method, "/open-apis" + path, serve))
            return handler

        return declare


NO_SCOPE: tuple[Alternatives, ...] = ()


def one_of(*scopes: str) -> tuple[Alternatives, ...]:
    """Return the requirement of any one of these scopes."""
    return (scopes,)


async def authorize_call(api: Api, request: web.Request) -> Call:
    """Check a request and return it as a `Call`. Raises the ApiError that the platform responds with."""
    tenant = request.app[TENANT]
    identity, token = authenticate(tenant, api, request)
    if token is None:
        person, scopes = None, tenant.app.enabled_scopes("tenant")
    else:
        person, scopes = tenant.people[token.person], token.scopes
    check_scopes(tenant, api.requirement(identity) or (), identity, scopes)
    check_limit(tenant, f"{api.method} {api.path}", api.limit, api.limit_status)
    body = await read_json(request) if request.method in ("POST", "PUT", "PATCH") else {}
    return Call(tenant, request, person, scopes & tenant.app.enabled_scopes(identity), body)


def bearer(request: web.Request) -> str:
    """Return the token of the Authorization header, which must have exactly the form `Bearer token`."""
    header = authorization(request)
    if not header.startswith("Bearer ") or not header[7:].strip():
        raise ApiError(
            99991661, "Missing access token for authorization. Please make a request with token attached."
        )
    return header[7:]


def authenticate(tenant: Tenant, api: Api, request: web.Request) -> tuple[Identity, AccessToken | None]:
    token = bearer(request)
    if token in tenant.credentials.app_tokens or token.startswith(("t-", "a-")):
        app_token = tenant.credentials.app_tokens.get(token)
        expired = app_token is None or app_token.expires_at <= tenant.clock.now()
        if expired or api.tenant is None:
            raise _invalid_token(99991663)
        if not tenant.app.enabled:
            raise ApiError(99991662, "app not in use")
        TRACE.get().identity = "app"
        return "tenant", None
    if not token.startswith(("u-", "eyJ")):
        raise ApiError(99991671, "Invalid token: must start with t-/u-")
    if api.user is None:
        raise ApiError(99991668, "user access token not support")
    return "user", check_user_token(tenant, token, api.invalid_token)


def check_user_token(tenant: Tenant, token: str, api_error: tuple[int, str, int] | None) -> AccessToken:
    """Return the record of a valid token. Raises the API's own error for an invalid one, if it has one."""
    access = tenant.credentials.access.get(token)
    if access is not None:
        TRACE.get().identity = access.person
    if access is None or access.revoked or tenant.people[access.person].status != "active":
        refusal = _invalid_token(99991668)
    elif access.expires_at <= tenant.clock.now():
        refusal = ApiError(99991677, "Authentication token expired. Please request a new one.", 401)
    elif not tenant.app.enabled:
        raise ApiError(99991662, "app not in use")
    else:
        return access
    raise ApiError(*api_error) if api_error else refusal


def _invalid_token(code: int) -> ApiError:
    return ApiError(
        code, "Invalid access token for authorization. Please make a request with token attached."
    )


def check_scopes(
    tenant: Tenant, requirement: tuple[Alternatives, ...], identity: Identity, scopes: frozenset[str]
) -> None:
    """Raise for the first alternatives of which none is enabled in the app (99991672) or granted (99991679)."""
    enabled = tenant.app.enabled_scopes(identity)
    for alternatives in requirement:
        if identity == "user" and alternatives in SCOPES_CHECKED_BY_API:
            if (scopes & enabled).isdisjoint(alternatives):
                raise missing_permission(alternatives)
            continue
        if enabled.isdisjoint(alternatives):
            raise app_scope_missing(tenant, alternatives, identity)
        if (scopes & enabled).isdisjoint(alternatives):
            raise user_scope_missing(tenant, alternatives)


SCOPES_CHECKED_BY_API = {("im:message.send_as_user",)}
"""Scopes that the API itself checks, after the gateway. Its error names them in the message only, and does not say
whether the app or the user lacks them."""


def missing_permission(alternatives: Alternatives) -> ApiError:
    TRACE.get().refused = alternatives
    return ApiError(230027, f"Lack of necessary permissions, ext=requires {alternatives[0]} scope.")


def app_scope_missing(tenant: Tenant, alternatives: Alternatives, identity: Identity) -> ApiError:
    TRACE.get().refused = alternatives
    listed, joined = ", ".join(alternatives), ",".join(alternatives)
    link = (
        f"{DOCUMENTATION_URL}/app/{tenant.app.app_id}/auth?q={joined}&op_from=openapi&token_type={identity}"
    )
    msg = f"Access denied. One of the following scopes is required: [{listed}]"
    if tenant.behaviour.refusal_wording == "bilingual":
        identity_name = "用户身份权限" if identity == "user" else "应用身份权限"
        msg += f".应用尚未开通所需的{identity_name}：[{listed}]，点击链接申请并开通任一权限即可：{link}"
    return ApiError(
        99991672,
        msg,
        error={
            "message": "Refer to the documentation to fix the error: "
            f"{DOCUMENTATION_URL}/document/faq/trouble-shooting/how-to-fix-the-99991672-error",
            "permission_violations": [
                {"type": "action_scope_required", "subject": scope} for scope in alternatives
            ],
            "helps": [{"url": link, "description": "Enable any one of the scopes for the app"}],
        },
    )


def user_scope_missing(tenant: Tenant, alternatives: Alternatives) -> ApiError:
    TRACE.get().refused = alternatives
    listed = ", ".join(alternatives)
    msg = (
        "Unauthorized. You do not have permission to perform the requested operation on the resource. "
        "Please request user re-authorization and try again. required one of these privileges"
    )
    if tenant.behaviour.refusal_wording == "bilingual":
        msg += f" under the user identity: [{listed}].应用未获取所需的用户授权：[{listed}]"
    else:
        msg += f": [{listed}]"
    violations = [{"type": "action_privilege_required", "subject": scope} for scope in alternatives]
    return ApiError(99991679, msg, error={"permission_violations": violations})


def check_limit(tenant: Tenant, key: str, limit: Limit, status: int = 429) -> None:
    """Count the call against the API's limit. Above it, raises with the seconds to wait in a header."""
    if not tenant.behaviour.rate_limits:
        return
    reset = tenant.limiter.hit(key, limit, tenant.clock.now())
    if reset is not None:
        raise ApiError(
            99991400,
            "request trigger frequency limit",
            status,
            headers={"x-ogw-ratelimit-limit": str(limit.figure), "x-ogw-ratelimit-reset": str(reset)},
            bare=True,
        )


async def read_json(request: web.Request) -> Json:
    """Return the body as a JSON object; an absent body is an empty one."""
    raw = await request.read()
    if not raw:
        return {}
    if request.content_type != "application/json":
        raise ApiError(99992402, "field validation failed: Content-Type must be application/json")
    try:
        body = await request.json()
    except ValueError:
        raise ApiError(99992402, "field validation failed: the body is not JSON") from None
    if not isinstance(body, dict):
        raise ApiError(99992402, "field validation failed: the body must be an object")
    return body

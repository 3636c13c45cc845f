"""OAuth: the token endpoints of all three API generations, app tokens, device authorization, revocation, user_info."""

import base64
import binascii
import secrets
from collections.abc import Callable

from aiohttp import web

from bot.sandbox.json_http import Json
from bot.sandbox.lark.credentials import Consent, DeviceAuthorization, Generation
from bot.sandbox.lark.faults import authorization
from bot.sandbox.lark.gateway import TENANT, TRACE, ApiError, Apis, Call, bearer, check_limit, success
from bot.sandbox.lark.scopes import BASIC_SCOPES, SCOPES
from bot.sandbox.lark.tenant import Person, Tenant, new_id
from bot.sandbox.lark.tokens import (
    TokenError,
    app_token,
    issue,
    redeem_code,
    redeem_refresh_token,
    revoke_token,
    scopes_for,
    usable_person,
)
from bot.sandbox.rate_limits import STANDARD

routes = web.RouteTableDef()
apis = Apis()

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
SLOW_DOWN_SECONDS = 5

ERROR_NAMES = {
    20001: "invalid_request",
    20002: "invalid_client",
    20036: "unsupported_grant_type",
    20048: "invalid_client",
    20050: "server_error",
    20063: "invalid_request",
    20067: "invalid_request",
    20068: "invalid_scope",
    20069: "invalid_client",
    20070: "invalid_request",
    20072: "temporarily_unavailable",
    20074: "unauthorized_client",
}
"""OAuth's `error` for a code; every other code is an invalid_grant."""

STATUSES = {20050: 500, 20072: 503}


class PollError(Exception):
    """An error of RFC 8628, section 3.5: the device authorization has no token (yet)."""


# Token endpoints, v2 and v3


@routes.post("/open-apis/authen/v2/oauth/token")
async def token_v2(request: web.Request) -> web.Response:
    return await _token(request, "v2")


@routes.post("/oauth/v3/token")
async def token_v3(request: web.Request) -> web.Response:
    return await _token(request, "v3")


async def _token(request: web.Request, generation: Generation) -> web.Response:
    """Serve one token request. A failure is a flat object with OAuth's `error` beside the platform's `code`."""
    tenant = request.app[TENANT]
    check_limit(tenant, f"token {generation}", STANDARD)
    try:
        form = await _form(request)
        grant_type = _required(form, "grant_type")
        TRACE.get().grant_type = grant_type
        grant = GRANTS.get(grant_type)
        if grant is None or (grant_type == "client_credentials" and generation != "v3"):
            raise TokenError(20036)
        authenticate_client(tenant, request, form, generation)
        fields = grant(tenant, form, generation)
    except TokenError as error:
        return _failure(error)
    except PollError as error:
        TRACE.get().code = str(error)
        return web.json_response({"error": str(error), "error_description": str(error)}, status=400)
    TRACE.get().code = 0
    return web.json_response({"code": 0, **fields}, headers={"Cache-Control": "no-store"})


def _failure(error: TokenError) -> web.Response:
    TRACE.get().code = error.code
    body = {
        "code": error.code,
        "error": ERROR_NAMES.get(error.code, "invalid_grant"),
        "error_description": error.description,
    }
    return web.json_response(body, status=STATUSES.get(error.code, 400))


async def _form(request: web.Request) -> dict[str, str]:
    """Return the parameters from a JSON or form body. Raises TokenError(20063) for any other."""
    if request.content_type == "application/x-www-form-urlencoded":
        return {name: str(value) for name, value in (await request.post()).items()}
    if request.content_type != "application/json":
        raise TokenError(20063)
    try:
        body = await request.json()
    except ValueError:
        raise TokenError(20063) from None
    if not isinstance(body, dict) or not all(isinstance(value, str | None) for value in body.values()):
        raise TokenError(20063)
    return {name: value for name, value in body.items() if value is not None}


def _required(form: dict[str, str], name: str) -> str:
    value = form.get(name)
    if not value:
        raise TokenError(20001)
    return value


def authenticate_client(
    tenant: Tenant, request: web.Request, form: dict[str, str], generation: Generation
) -> None:
    """Check the app's id and secret, sent in the body or, for v3, by HTTP Basic, but not both."""
    basic = basic_credentials(request)
    if basic is not None:
        if "client_secret" in form or generation == "v2":
            raise TokenError(20070)
        client_id, client_secret = basic
    else:
        client_id, client_secret = _required(form, "client_id"), _required(form, "client_secret")
    app = tenant.app
    if client_id != app.app_id:
        raise TokenError(20048)
    if not secrets.compare_digest(client_secret.encode(), app.app_secret.encode()):
        raise TokenError(20002)
    if not app.enabled:
        raise TokenError(20069)
    if not app.installed:
        raise TokenError(20009)


def basic_credentials(request: web.Request) -> tuple[str, str] | None:
    header = authorization(request)
    if not header:
        return None
    try:
        scheme, _, encoded = header.partition(" ")
        user, colon, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        raise TokenError(20063) from None
    if scheme != "Basic" or not colon:
        raise TokenError(20063)
    return user, password


def _authorization_code(tenant: Tenant, form: dict[str, str], generation: Generation) -> Json:
    return redeem_code(
        tenant,
        _required(form, "code"),
        generation=generation,
        redirect_uri=form.get("redirect_uri"),
        verifier=form.get("code_verifier"),
        scope=form.get("scope"),
    )


def _refresh_token(tenant: Tenant, form: dict[str, str], generation: Generation) -> Json:
    value = _required(form, "refresh_token")
    return redeem_refresh_token(tenant, value, generation=generation, scope=form.get("scope"))


def _client_credentials(tenant: Tenant, _form: dict[str, str], _generation: Generation) -> Json:
    token = app_token(tenant, "eyJ")
    return {"access_token": token.token, "expires_in": _seconds_left(tenant, token.expires_at)}


def _device_code(tenant: Tenant, form: dict[str, str], generation: Generation) -> Json:
    device = tenant.credentials.devices.get(_required(form, "device_code"))
    now = tenant.clock.now()
    if device is None or device.used:
        raise PollError("invalid_grant")
    if device.refused:
        raise PollError("access_denied")
    if device.expires_at <= now:
        raise PollError("expired_token")
    too_early = device.polled_at is not None and now - device.polled_at < device.interval
    device.polled_at = now
    if too_early:
        device.interval += SLOW_DOWN_SECONDS
        raise PollError("slow_down")
    if device.person is None:
        raise PollError("authorization_pending")
    device.used = True
    person = usable_person(tenant, device.person)
    scopes = scopes_for(tenant, person, frozenset(device.scopes)) & tenant.app.enabled_scopes("user")
    return issue(
        tenant, person, scopes | BASIC_SCOPES, authorized_at=now, generation=generation, event="issued"
    )


GRANTS: dict[str, Callable[[Tenant, dict[str, str], Generation], Json]] = {
    "authorization_code": _authorization_code,
    "refresh_token": _refresh_token,
    "client_credentials": _client_credentials,
    DEVICE_GRANT: _device_code,
}


def _seconds_left(tenant: Tenant, expires_at: float) -> int:
    return int(expires_at - tenant.clock.now())


# Token endpoints, v1: an app token instead of the secret, fields under `data`, HTTP 200 for every failure


@routes.post("/open-apis/authen/v1/oidc/access_token")
async def access_token_v1(request: web.Request) -> web.Response:
    return await _oidc(
        request, "authorization_code", lambda t, f: redeem_code(t, _required(f, "code"), generation="v1")
    )


@routes.post("/open-apis/authen/v1/oidc/refresh_access_token")
async def refresh_access_token_v1(request: web.Request) -> web.Response:
    return await _oidc(
        request,
        "refresh_token",
        lambda t, f: redeem_refresh_token(t, _required(f, "refresh_token"), generation="v1"),
    )


async def _oidc(
    request: web.Request, grant_type: str, grant: Callable[[Tenant, dict[str, str]], Json]
) -> web.Response:
    tenant = request.app[TENANT]
    TRACE.get().grant_type = grant_type
    check_limit(tenant, "token v1", STANDARD)
    try:
        known = tenant.credentials.app_tokens.get(bearer(request))
        if known is None or known.expires_at <= tenant.clock.now():
            raise TokenError(20014)
        if tenant.app.other_brand:
            raise TokenError(20046)
        form = await _form(request)
        if _required(form, "grant_type") != grant_type:
            raise TokenError(20036)
        fields = grant(tenant, form)
    except TokenError as error:
        raise ApiError(V1_CODES.get(error.code, error.code), error.description, 200, bare=True) from None
    if "refresh_token_expires_in" in fields:
        fields["refresh_expires_in"] = fields.pop("refresh_token_expires_in")
    return success(fields)


V1_CODES = {20065: 20003, 20073: 20038, 20064: 20026, 20063: 20001}
"""The codes of v1 that differ from those of v2 and v3."""


# App tokens


@routes.post("/open-apis/auth/v3/tenant_access_token/internal{slash:/?}")
async def tenant_access_token(request: web.Request) -> web.Response:
    token = await _internal(request)
    return success(None, "ok", **token)


@routes.post("/open-apis/auth/v3/app_access_token/internal{slash:/?}")
async def app_access_token(request: web.Request) -> web.Response:
    token = await _internal(request)
    return success(None, "ok", app_access_token=token["tenant_access_token"], **token)


async def _internal(request: web.Request) -> Json:
    """Return a tenant token as top-level fields. A wrong id or secret is refused with HTTP 200."""
    tenant = request.app[TENANT]
    try:
        form = await _form(request)
    except TokenError:
        form = {}
    app = tenant.app
    if form.get("app_id") != app.app_id:
        raise ApiError(10003, "invalid param", 200, bare=True)
    if form.get("app_secret") != app.app_secret:
        raise ApiError(10014, "app secret invalid", 200, bare=True)
    if not app.enabled:
        raise ApiError(10014, "app unauthorized", 200, bare=True)
    token = app_token(tenant)
    return {"tenant_access_token": token.token, "expire": _seconds_left(tenant, token.expires_at)}


# Device authorization


@routes.post("/oauth/v1/device_authorization")
async def device_authorization(request: web.Request) -> web.Response:
    """As the official tools call it: with HTTP Basic or the secret in the body."""
    return await _start_device(request, "v3")


@routes.post("/open-apis/authen/v2/oauth/device_authorization")
async def device_authorization_sdk(request: web.Request) -> web.Response:
    """As the SDK calls it: JSON without a secret."""
    return await _start_device(request, None)


async def _start_device(request: web.Request, authenticated_by: Generation | None) -> web.Response:
    tenant = request.app[TENANT]
    try:
        form = await _form(request)
        if authenticated_by is not None:
            authenticate_client(tenant, request, form, authenticated_by)
        elif _required(form, "client_id") != tenant.app.app_id:
            raise TokenError(20048)
    except TokenError as error:
        return _failure(error)
    scopes = tuple(form.get("scope", "").split())
    if not tenant.app.enabled_scopes("user").issuperset(scopes) or not SCOPES.keys() >= set(scopes):
        TRACE.get().code = "invalid_scope"
        description = (
            "Device authorization failed: The provided scope list contains invalid or malformed scopes. "
            "Please ensure all scopes are valid."
        )
        return web.json_response({"error": "invalid_scope", "error_description": description}, status=400)
    device = DeviceAuthorization(
        device_code=secrets.token_urlsafe(40),
        user_code=f"{secrets.token_hex(2)}-{secrets.token_hex(2)}".upper(),
        scopes=scopes,
        expires_at=tenant.clock.now() + tenant.behaviour.device_code_seconds,
        interval=tenant.behaviour.device_poll_seconds,
    )
    tenant.credentials.devices[device.device_code] = device
    verification = f"{request.url.origin()}/oauth/v1/device/verify"
    TRACE.get().code = 0
    return web.json_response(
        {
            "device_code": device.device_code,
            "user_code": device.user_code,
            "verification_uri": verification,
            "verification_uri_complete": f"{verification}?user_code={device.user_code}",
            "expires_in": tenant.behaviour.device_code_seconds,
            "interval": tenant.behaviour.device_poll_seconds,
        }
    )


@routes.get("/oauth/v1/device/verify")
async def verify_device(request: web.Request) -> web.Response:
    """The verification URI: redirects to the consent page, or without a user code to the form that asks for it."""
    tenant = request.app[TENANT]
    user_code = request.query.get("user_code", "").strip().upper()
    if not user_code:
        raise web.HTTPFound("/sandbox/device")
    device = next((d for d in tenant.credentials.devices.values() if d.user_code == user_code), None)
    if device is None or not device.is_open(tenant.clock.now()):
        return web.Response(status=404, text="This code is unknown, or used, or has expired.")
    consent = Consent(new_id("", 32), device.scopes, redirect_uri="", device=device)
    tenant.credentials.consents[consent.consent_id] = consent
    raise web.HTTPFound(f"/sandbox/consent?id={consent.consent_id}")


# Revocation and identity


@routes.post("/oauth/v1/revoke")
async def revoke(request: web.Request) -> web.Response:
    tenant = request.app[TENANT]
    try:
        form = await _form(request)
        authenticate_client(tenant, request, form, "v3")
        value = _required(form, "token")
    except TokenError as error:
        return _failure(error)
    if not revoke_token(tenant, value):
        TRACE.get().code = "invalid_token"
        return web.json_response({"error": "invalid_token"}, status=400)
    return success(None, "ok")


@apis.api(
    "GET", "/authen/v1/user_info", user=(), invalid_token=(20005, "The user access token is invalid.", 200)
)
async def user_info(call: Call) -> web.Response:
    return success(profile(call.user, call.scopes))


FIELD_SCOPES = {
    "email": "contact:user.email:readonly",
    "mobile": "contact:user.phone:readonly",
    "user_id": "contact:user.employee_id:readonly",
    "enterprise_email": "contact:user.employee:readonly",
    "employee_no": "contact:user.employee:readonly",
}
"""Fields that are omitted without their scope."""


def profile(person: Person, scopes: frozenset[str]) -> Json:
    avatar = f"https://avatars.example/{person.open_id}"
    everything = {
        "name": person.name,
        "en_name": person.en_name,
        "avatar_url": f"{avatar}.png",
        "avatar_thumb": f"{avatar}_72.png",
        "avatar_middle": f"{avatar}_240.png",
        "avatar_big": f"{avatar}_640.png",
        "open_id": person.open_id,
        "union_id": person.union_id,
        "tenant_key": person.tenant_key,
        "email": person.email,
        "mobile": person.mobile,
        "user_id": person.user_id,
        "enterprise_email": person.email,
        "employee_no": person.employee_no,
    }
    return {
        name: value
        for name, value in everything.items()
        if name not in FIELD_SCOPES or FIELD_SCOPES[name] in scopes
    }

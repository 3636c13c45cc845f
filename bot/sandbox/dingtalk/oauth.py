"""The token endpoints: app tokens in both field styles, and user tokens from codes and refresh tokens."""

import secrets

from aiohttp import web

from bot.sandbox.dingtalk.gateway import TENANT, TRACE, ApiError, check_rate, read_json, success
from bot.sandbox.dingtalk.parameters import Parameters
from bot.sandbox.dingtalk.tenant import Tenant
from bot.sandbox.dingtalk.tokens import app_token, redeem_code, redeem_refresh_token

routes = web.RouteTableDef()

BAD_CREDENTIALS = "invalidClientIdOrSecret"


def knows_client(tenant: Tenant, client_id: str, client_secret: str) -> bool:
    app = tenant.app
    same = secrets.compare_digest(client_secret.encode(), app.client_secret.encode())
    return client_id == app.client_id and same and app.enabled


@routes.post("/v1.0/oauth2/accessToken")
async def access_token(request: web.Request) -> web.Response:
    """The app token of an internal app, in camelCase."""
    tenant = request.app[TENANT]
    check_rate(tenant, "accessToken")
    body = Parameters(await read_json(request))
    if not knows_client(tenant, body.text("appKey"), body.text("appSecret")):
        raise ApiError(BAD_CREDENTIALS, "无效的clientId或者clientSecret")
    token = app_token(tenant)
    return success({"accessToken": token.token, "expireIn": round(token.expires_at - tenant.clock.now())})


@routes.post("/v1.0/oauth2/{corp_id}/token")
async def unified_token(request: web.Request) -> web.Response:
    """The app token of any app, in the form of OAuth 2.0."""
    tenant = request.app[TENANT]
    check_rate(tenant, "token")
    body = Parameters(await read_json(request))
    if body.text("grant_type") != "client_credentials":
        raise ApiError("unsupported.grant.type", "grant_type must be client_credentials")
    if not knows_client(tenant, body.text("client_id"), body.text("client_secret")):
        raise ApiError("invalid.client", "the client is unknown or its secret is wrong")
    if request.match_info["corp_id"] != tenant.app.corp_id:
        raise ApiError("unauthorized.client", "the app is not authorized in this organization")
    token = app_token(tenant)
    return success({"access_token": token.token, "expires_in": round(token.expires_at - tenant.clock.now())})


@routes.post("/v1.0/oauth2/userAccessToken")
async def user_access_token(request: web.Request) -> web.Response:
    """A user token for a code or for a refresh token, in camelCase; the response names no scopes."""
    tenant = request.app[TENANT]
    check_rate(tenant, "userAccessToken")
    given = {name: value for name, value in (await read_json(request)).items() if value != ""}
    body = Parameters(given)
    client_id, client_secret = body.text("clientId"), body.text("clientSecret")
    grant_type = body.text("grantType")
    TRACE.get().grant_type = grant_type
    if not knows_client(tenant, client_id, client_secret):
        raise ApiError(BAD_CREDENTIALS, "无效的clientId或者clientSecret")
    if grant_type == "authorization_code":
        return success(redeem_code(tenant, body.text("code")))
    if grant_type == "refresh_token":
        return success(redeem_refresh_token(tenant, body.text("refreshToken")))
    raise ApiError("invalidParameter.grantType", "grantType must be authorization_code or refresh_token")

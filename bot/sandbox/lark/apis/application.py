"""APIs about the app itself: the bot, its scopes, the application, tickets of the JavaScript SDK."""

import secrets

from aiohttp import web

from bot.sandbox.json_http import Json
from bot.sandbox.lark.gateway import NO_SCOPE, ApiError, Apis, Call, one_of, success
from bot.sandbox.lark.parameters import Parameters
from bot.sandbox.lark.scopes import SCOPES

apis = Apis()

ENABLED, NOT_ENABLED = 1, 2
NOT_INSTALLED, ACTIVE = 0, 2
VERSION = "oav_0123456789abcdef"
READ_APP = one_of("application:application:self_manage", "admin:app.info:readonly")
LANGUAGES = ("zh_cn", "en_us", "ja_jp")


@apis.api("GET", "/bot/v3/info", tenant=NO_SCOPE)
async def bot_info(call: Call) -> web.Response:
    app = call.tenant.app
    bot = {
        "activate_status": ACTIVE if app.installed else NOT_INSTALLED,
        "app_name": app.name,
        "avatar_url": f"https://avatars.example/{app.app_id}.png",
        "ip_white_list": [],
        "open_id": app.bot_open_id,
    }
    return success(None, "ok", bot=bot)


@apis.api("GET", "/application/v6/scopes", tenant=NO_SCOPE)
async def list_scopes(call: Call) -> web.Response:
    """List every enabled or pending scope of the app, once for each identity."""
    app = call.tenant.app
    if not app.installed:
        raise ApiError(212100, "app not installed")
    scopes: list[Json] = []
    for scope, switch in app.scopes.items():
        for identity, enabled in (("user", switch.user), ("tenant", switch.tenant)):
            if enabled or switch.pending:
                status = ENABLED if enabled else NOT_ENABLED
                scopes.append({"scope_name": scope, "grant_status": status, "scope_type": identity})
    return success({"scopes": scopes})


@apis.api("POST", "/application/v6/scopes/apply", tenant=NO_SCOPE)
async def apply_for_scopes(call: Call) -> web.Response:
    """Ask the tenant's administrator to approve the pending scopes, once."""
    app = call.tenant.app
    if not any(switch.pending for switch in app.scopes.values()):
        raise ApiError(212002, "no scopes need to be applied for")
    if app.applied_for_scopes:
        raise ApiError(212004, "duplicate application")
    app.applied_for_scopes = True
    call.tenant.feed.announce("scope", {"event": "applied"})
    return success({})


@apis.api(
    "GET",
    "/application/v6/applications/{app_id}",
    tenant=READ_APP,
)
async def get_application(call: Call) -> web.Response:
    """Return the app with its enabled scopes, described in `lang`."""
    app = call.tenant.app
    lang = Parameters(call.query).choice("lang", LANGUAGES)
    check_app_id(call)
    owner = call.tenant.people.get(app.owner)
    described: Json = {
        "app_id": app.app_id,
        "creator_id": app.owner,
        "status": 1 if app.enabled else 0,
        "app_name": app.name_zh if lang == "zh_cn" else app.name,
        "redirect_urls": list(app.redirect_urls),
        "online_version_id": VERSION if app.published else "",
        "unaudit_version_id": "",
        "scopes": [
            {
                "scope": scope,
                "description": SCOPES[scope].description(lang),
                "level": 1,
                "token_types": [
                    kind for kind, on in (("user", switch.user), ("tenant", switch.tenant)) if on
                ],
            }
            for scope, switch in app.scopes.items()
            if switch.user or switch.tenant
        ],
        "owner": {"type": 2, "owner_id": app.owner, "name": owner.en_name if owner else ""},
        "allow_refresh_token": app.may_refresh,
        "callback_info": {
            "callback_type": app.events_by,
            "request_url": app.events_url or "",
            "subscribed_callbacks": list(app.subscribed_callbacks),
        },
    }
    if call.tenant.behaviour.app_record_tells_events:
        described["event"] = {
            "subscription_type": app.events_by,
            "request_url": app.events_url or "",
            "subscribed_events": list(app.subscribed_events),
        }
    return success({"app": described})


def check_app_id(call: Call) -> None:
    app_id = call.path("app_id")
    if app_id not in ("me", call.tenant.app.app_id):
        code = 210504 if app_id.startswith("cli_") else 210503
        raise ApiError(code, "no such app" if code == 210504 else "invalid app_id")


@apis.api("GET", "/application/v6/applications/{app_id}/app_versions/{version_id}", tenant=READ_APP)
async def get_version(call: Call) -> web.Response:
    """Return a version of the app, with the events to which it is subscribed."""
    app = call.tenant.app
    lang = Parameters(call.query).choice("lang", LANGUAGES)
    check_app_id(call)
    if call.path("version_id") != VERSION or not app.published:
        raise ApiError(210503, "invalid version_id")
    described: Json = {
        "app_id": app.app_id,
        "version": "1.0.0",
        "version_id": VERSION,
        "app_name": app.name_zh if lang == "zh_cn" else app.name,
        "status": 1,
        "event_infos": [
            {"event_type": each, "event_name": each, "event_description": ""}
            for each in app.subscribed_events
        ],
    }
    return success({"app_version": described})


@apis.api("POST", "/jssdk/ticket/get", tenant=NO_SCOPE, user=NO_SCOPE)
async def jssdk_ticket(call: Call) -> web.Response:
    return success({"expire_in": 7200, "ticket": secrets.token_hex(20)}, "ok")

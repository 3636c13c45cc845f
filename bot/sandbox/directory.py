"""APIs about the app itself and the people of the tenant: bot, scopes, application, contacts, tickets."""

import secrets

from aiohttp import web

from bot.sandbox.gateway import NO_SCOPE, Apis, Call, Refusal, one_of, success
from bot.sandbox.limits import Limit
from bot.sandbox.oauth import FIELD_SCOPES
from bot.sandbox.parameters import Parameters
from bot.sandbox.scopes import SCOPES
from bot.sandbox.tenant import Json, Person, Tenant

apis = Apis()

ENABLED, NOT_ENABLED = 1, 2
ID_TYPES = ("open_id", "union_id", "user_id")
LANGUAGES = ("zh_cn", "en_us", "ja_jp")
READ_CONTACTS = one_of(
    "contact:contact.base:readonly",
    "contact:contact:access_as_app",
    "contact:contact:readonly",
    "contact:contact:readonly_as_app",
)


@apis.api("GET", "/bot/v3/info", tenant=NO_SCOPE)
async def bot_info(call: Call) -> web.Response:
    app = call.tenant.app
    bot = {
        "activate_status": 2,
        "app_name": app.name,
        "avatar_url": f"https://avatars.example/{app.app_id}.png",
        "ip_white_list": [],
        "open_id": app.bot_open_id,
    }
    return success(None, "ok", bot=bot)


@apis.api("GET", "/application/v6/scopes", tenant=NO_SCOPE)
async def list_scopes(call: Call) -> web.Response:
    """Every scope that the app has, or waits for, once for each identity."""
    app = call.tenant.app
    if not app.installed:
        raise Refusal(212100, "app not installed")
    scopes: list[Json] = []
    for scope, switch in app.scopes.items():
        for identity, enabled in (("user", switch.user), ("tenant", switch.tenant)):
            if enabled or switch.pending:
                status = ENABLED if enabled else NOT_ENABLED
                scopes.append({"scope_name": scope, "grant_status": status, "scope_type": identity})
    return success({"scopes": scopes})


@apis.api("POST", "/application/v6/scopes/apply", tenant=NO_SCOPE)
async def apply_for_scopes(call: Call) -> web.Response:
    """Asks the tenant's administrator to enable what is pending, once."""
    app = call.tenant.app
    if not any(switch.pending for switch in app.scopes.values()):
        raise Refusal(212002, "no scopes need to be applied for")
    if app.applied_for_scopes:
        raise Refusal(212004, "duplicate application")
    app.applied_for_scopes = True
    call.tenant.announce("scope", {"event": "applied"})
    return success({})


@apis.api(
    "GET",
    "/application/v6/applications/{app_id}",
    tenant=one_of("application:application:self_manage", "admin:app.info:readonly"),
)
async def get_application(call: Call) -> web.Response:
    """The app with its enabled scopes, each in the words of `lang`."""
    app = call.tenant.app
    lang = Parameters(call.query).choice("lang", LANGUAGES)
    app_id = call.path("app_id")
    if app_id not in ("me", app.app_id):
        code = 210504 if app_id.startswith("cli_") else 210503
        raise Refusal(code, "no such app" if code == 210504 else "invalid app_id")
    owner = call.tenant.people.get(app.owner)
    described: Json = {
        "app_id": app.app_id,
        "creator_id": app.owner,
        "status": 1 if app.enabled else 0,
        "app_name": app.name_zh if lang == "zh_cn" else app.name,
        "redirect_urls": list(app.redirect_urls),
        "online_version_id": "oav_0123456789abcdef",
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
    }
    return success({"app": described})


@apis.api("POST", "/jssdk/ticket/get", tenant=NO_SCOPE, user=NO_SCOPE)
async def jssdk_ticket(call: Call) -> web.Response:
    return success({"expire_in": 7200, "ticket": secrets.token_hex(20)}, "ok")


# Contacts


@apis.api("GET", "/contact/v3/users/{user_id}", user=READ_CONTACTS, tenant=READ_CONTACTS)
async def get_user(call: Call) -> web.Response:
    query = Parameters(call.query)
    kind = query.choice("user_id_type", ID_TYPES, "open_id")
    query.choice("department_id_type", ("open_department_id", "department_id"), "open_department_id")
    person = find_person(call.tenant, kind, call.path("user_id"))
    if person is None:
        raise Refusal(41012, "user id is invalid error")
    if person.tenant_key != call.tenant.app.tenant_key:
        raise Refusal(41050, "no user authority error")
    return success({"user": contact(person, call.scopes)})


@apis.api(
    "POST",
    "/contact/v3/users/basic_batch",
    user=one_of("contact:user.basic_profile:readonly"),
    tenant=one_of("contact:user.basic_profile:readonly"),
    limit=Limit(per_second=5),
)
async def basic_profiles(call: Call) -> web.Response:
    kind = Parameters(call.query).choice("user_id_type", ID_TYPES, "open_id")
    ids = Parameters(call.body).list("user_ids") or []
    if not 1 <= len(ids) <= 10:
        raise Refusal(40001, "user_ids must have 1 to 10 entries")
    found = [person for person in (find_person(call.tenant, kind, str(i)) for i in ids) if person]
    users = [
        {
            "user_id": getattr(person, kind),
            "name": person.name,
            "i18n_name": {"zh_cn": person.name, "en_us": person.en_name, "ja_jp": person.en_name},
        }
        for person in found
    ]
    return success({"users": users})


def find_person(tenant: Tenant, kind: str, value: str) -> Person | None:
    return next((p for p in tenant.people.values() if getattr(p, kind) == value), None)


def contact(person: Person, scopes: frozenset[str]) -> Json:
    """A person as the address book shows them; fields are left out without their scope."""
    entry: Json = {"open_id": person.open_id, "union_id": person.union_id}
    if "contact:user.base:readonly" in scopes:
        avatar = f"https://avatars.example/{person.open_id}_72.png"
        entry |= {"name": person.name, "en_name": person.en_name, "avatar": {"avatar_72": avatar}}
    for name, value in (
        ("user_id", person.user_id),
        ("email", person.email),
        ("mobile", person.mobile),
        ("employee_no", person.employee_no),
    ):
        if FIELD_SCOPES[name] in scopes:
            entry[name] = value
    if "contact:user.employee:readonly" in scopes:
        entry["time_zone"] = person.timezone
        entry |= {"job_title": person.role, "status": {"is_activated": True, "is_resigned": False}}
    if "contact:user.department:readonly" in scopes:
        entry["department_ids"] = ["od-0a1b2c3d4e5f60718293a4b5c6d7e8f9"]
    return entry

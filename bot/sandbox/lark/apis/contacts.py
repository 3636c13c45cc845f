"""The contacts APIs: users and their profiles."""

from aiohttp import web

from bot.sandbox.json_http import Json
from bot.sandbox.lark.gateway import ApiError, Apis, Call, one_of, success
from bot.sandbox.lark.oauth import FIELD_SCOPES
from bot.sandbox.lark.parameters import Parameters
from bot.sandbox.lark.tenant import Person, Tenant
from bot.sandbox.rate_limits import Limit

apis = Apis()

ID_TYPES = ("open_id", "union_id", "user_id")
READ_CONTACTS = one_of(
    "contact:contact.base:readonly",
    "contact:contact:access_as_app",
    "contact:contact:readonly",
    "contact:contact:readonly_as_app",
)


@apis.api("GET", "/contact/v3/users/{user_id}", user=READ_CONTACTS, tenant=READ_CONTACTS)
async def get_user(call: Call) -> web.Response:
    query = Parameters(call.query)
    kind = query.choice("user_id_type", ID_TYPES, "open_id")
    query.choice("department_id_type", ("open_department_id", "department_id"), "open_department_id")
    person = find_person(call.tenant, kind, call.path("user_id"))
    if person is None:
        raise ApiError(41012, "user id is invalid error")
    if person.tenant_key != call.tenant.app.tenant_key:
        raise ApiError(41050, "no user authority error")
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
        raise ApiError(40001, "user_ids must have 1 to 10 entries")
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
    """Return a person's entry in the address book; fields are omitted without their scope."""
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

"""Identities: the profile of a token's user, and the legacy look-ups between user ids and unionIds."""

from aiohttp import web

from bot.sandbox.dingtalk.gateway import ApiError, Apis, Call, LegacyError, legacy_success, success
from bot.sandbox.dingtalk.tenant import Person
from bot.sandbox.dingtalk.tokens import redeem_silent_code
from bot.sandbox.json_http import Json

apis = Apis()

READ_PROFILE = ("Contact.User.Read",)
READ_MEMBERS = "qyapi_get_member"


@apis.api("GET", "/v1.0/contact/users/{union_id}", user=READ_PROFILE, counted=False)
async def user(call: Call) -> web.Response:
    """The profile of `me`, or of a unionId, which must be the caller's own."""
    union_id = call.path("union_id")
    if union_id not in ("me", call.user.union_id):
        raise ApiError("invalidParameter.unionId", "无效的unionId")
    return success(profile(call.user, call.scopes))


def profile(person: Person, scopes: frozenset[str]) -> Json:
    fields: Json = {
        "nick": person.name,
        "avatarUrl": f"https://static.example/{person.user_id}.png",
        "openId": person.open_id,
        "unionId": person.union_id,
        "visitor": False,
    }
    if "Contact.User.mobile" in scopes:
        fields |= {"mobile": person.mobile, "stateCode": person.state_code}
    if "Contact.User.email" in scopes:
        fields["email"] = person.email
    return fields


@apis.legacy("/topapi/user/getbyunionid", READ_MEMBERS)
async def get_by_union_id(call: Call) -> web.Response:
    union_id = call.body.get("unionid")
    if not isinstance(union_id, str) or not union_id:
        raise LegacyError(40035, "不合法的参数: unionid")
    person = call.tenant.by_union_id(union_id)
    if person is None or call.tenant.member(person.user_id) is None:
        raise LegacyError(60121, "找不到该用户")
    return legacy_success({"contact_type": 0, "userid": person.user_id})


@apis.legacy("/topapi/v2/user/get", READ_MEMBERS)
async def get_user(call: Call) -> web.Response:
    user_id = call.body.get("userid")
    if not isinstance(user_id, str) or not user_id:
        raise LegacyError(40035, "不合法的参数: userid")
    person = call.tenant.member(user_id)
    if person is None:
        raise LegacyError(60121, "找不到该用户")
    return legacy_success(
        {
            "userid": person.user_id,
            "unionid": person.union_id,
            "name": person.name,
            "active": person.active,
            "admin": person.is_admin,
            "title": person.role,
        }
    )


@apis.legacy("/topapi/v2/user/getuserinfo", READ_MEMBERS)
async def get_user_info(call: Call) -> web.Response:
    """The ids of the person whose client issued a silent code."""
    person = redeem_silent_code(call.tenant, str(call.body.get("code", "")))
    if person is None:
        raise LegacyError(40078, "不存在的临时授权码")
    return legacy_success(
        {
            "userid": person.user_id,
            "unionid": person.union_id,
            "associated_unionid": person.union_id,
            "device_id": "sandbox",
            "sys": person.is_admin,
            "sys_level": 1 if person.is_admin else 0,
            "name": person.name,
        }
    )

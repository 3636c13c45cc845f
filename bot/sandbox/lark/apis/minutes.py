"""The minutes API: the metadata of a recorded meeting."""

from aiohttp import web

from bot.sandbox.lark.apis.contacts import ID_TYPES
from bot.sandbox.lark.gateway import ApiError, Apis, Call, one_of, success
from bot.sandbox.lark.parameters import Parameters
from bot.sandbox.rate_limits import Limit

apis = Apis()


@apis.api(
    "GET",
    "/minutes/v1/minutes/{minute_token}",
    user=one_of("minutes:minutes", "minutes:minutes.basic:read", "minutes:minutes:readonly"),
    tenant=one_of("minutes:minutes", "minutes:minutes.basic:read", "minutes:minutes:readonly"),
    limit=Limit(per_second=5),
)
async def get_minutes(call: Call) -> web.Response:
    Parameters(call.query).choice("user_id_type", ID_TYPES, "open_id")
    minute = call.tenant.work.minutes.get(call.path("minute_token"))
    if minute is None:
        raise ApiError(2091002, "minutes not found", 404)
    return success({"minute": minute})

"""The Base (bitable) APIs: list, search and create records."""

import uuid

from aiohttp import web

from bot.sandbox.json_http import Json
from bot.sandbox.lark.gateway import ApiError, Apis, Call, one_of, success
from bot.sandbox.lark.parameters import Parameters, page
from bot.sandbox.lark.tenant import new_id
from bot.sandbox.rate_limits import Limit

apis = Apis()


RECORDS = "/bitable/v1/apps/{app_token}/tables/{table_id}/records"
READ_TABLES = one_of("bitable:app", "bitable:app:readonly")
SEARCH_RECORDS = one_of("base:record:retrieve", "bitable:app", "bitable:app:readonly")
CREATE_RECORDS = one_of("base:record:create", "bitable:app")


def _records(call: Call) -> list[Json]:
    """Return the records of the table in the path. This API refuses with HTTP 200."""
    app_token, table_id = call.path("app_token"), call.path("table_id")
    tables = call.tenant.work.tables
    if not any(base == app_token for base, _ in tables):
        raise ApiError(1254040, "BaseTokenNotFound", 200)
    if (app_token, table_id) not in tables:
        raise ApiError(1254041, "TableIdNotFound", 200)
    return tables[app_token, table_id]


def _record_page(records: list[Json], query: Parameters) -> web.Response:
    size = query.whole("page_size", minimum=1, maximum=500, default=20)
    items, following, more = page(records, size, query.optional_text("page_token"))
    return success({"has_more": more, "page_token": following, "total": len(records), "items": items})


@apis.api("GET", RECORDS, user=READ_TABLES, tenant=READ_TABLES, limit=Limit(per_second=20))
async def list_records(call: Call) -> web.Response:
    return _record_page(_records(call), Parameters(call.query))


@apis.api("POST", RECORDS + "/search", user=SEARCH_RECORDS, tenant=SEARCH_RECORDS, limit=Limit(per_second=20))
async def search_records(call: Call) -> web.Response:
    """Search records by a filter with the operators `is` and `contains`."""
    body = Parameters(call.body)
    names = body.list("field_names")
    conditions = (body.object("filter") or {}).get("conditions", [])
    found = [record for record in _records(call) if all(_matches(record, c) for c in conditions)]
    if names:
        found = [
            {**record, "fields": {n: v for n, v in record["fields"].items() if n in names}}
            for record in found
        ]
    return _record_page(found, Parameters(call.query))


def _matches(record: Json, condition: Json) -> bool:
    value = str(record["fields"].get(condition.get("field_name"), ""))
    wanted = str((condition.get("value") or [""])[0])
    match condition.get("operator"):
        case "is":
            return value == wanted
        case "contains":
            return wanted in value
        case other:
            raise ApiError(1254018, f"InvalidFilter: {other}", 200)


@apis.api("POST", RECORDS, user=CREATE_RECORDS, tenant=CREATE_RECORDS, limit=Limit(per_second=50))
async def create_record(call: Call) -> web.Response:
    token = Parameters(call.query).optional_text("client_token")
    given = call.body.get("fields")
    if not isinstance(given, dict):
        raise ApiError(1254001, "WrongRequestBody", 200)
    if token is not None and not _is_uuid4(token):
        raise ApiError(1254037, "InvalidClientToken", 200)
    records = _records(call)
    known = ("create record", call.path("table_id"), token or "")
    if token and known in call.tenant.work.written:
        return success({"record": call.tenant.work.written[known][1]})
    record_id = new_id("rec", 10)
    record = {"record_id": record_id, "id": record_id, "fields": given}
    records.append(record)
    if token:
        call.tenant.work.written[known] = (call.tenant.clock.now(), record)
    return success({"record": record})


def _is_uuid4(token: str) -> bool:
    try:
        return uuid.UUID(token).version == 4
    except ValueError:
        return False

"""The user-token APIs about documents: text, wiki, search, drive, minutes and tables."""

import re
import uuid

from aiohttp import web

from bot.sandbox.blocks import blocks_of, plain_text
from bot.sandbox.directory import ID_TYPES
from bot.sandbox.gateway import Apis, Call, Refusal, one_of, success
from bot.sandbox.limits import Limit
from bot.sandbox.parameters import Parameters, page
from bot.sandbox.sample_work import FOLDER
from bot.sandbox.tenant import Json, new_id
from bot.sandbox.workplace import Document

apis = Apis()


# Documents and wiki


@apis.api(
    "GET",
    "/docx/v1/documents/{document_id}/raw_content",
    user=one_of("docx:document", "docx:document:readonly"),
    tenant=one_of("docx:document", "docx:document:readonly"),
    limit=Limit(per_second=5),
    limit_status=400,
)
async def raw_content(call: Call) -> web.Response:
    Parameters(call.query).whole("lang", least=0, most=2, default=0)
    return success({"content": plain_text(_readable(call))})


@apis.api(
    "GET",
    "/docx/v1/documents/{document_id}/blocks",
    user=one_of("docx:document", "docx:document:readonly"),
    tenant=one_of("docx:document", "docx:document:readonly"),
    limit=Limit(per_second=5),
    limit_status=400,
)
async def list_blocks(call: Call) -> web.Response:
    query = Parameters(call.query)
    size = query.whole("page_size", least=1, most=500, default=500)
    query.whole("document_revision_id", least=-1, most=10**9, default=-1)
    query.choice("user_id_type", ID_TYPES, "open_id")
    items, following, more = page(blocks_of(_readable(call)), size, query.optional_text("page_token"))
    found: Json = {"items": items, "has_more": more}
    return success(found | ({"page_token": following} if more else {}))


def _readable(call: Call) -> Document:
    """The document in the path, if the caller may read it."""
    work = call.tenant.work
    token = work.aliases.get(call.path("document_id"), call.path("document_id"))
    document = work.documents.get(token)
    if document is None or document.kind != "docx":
        raise Refusal(1770002, "not found", 404)
    if document.deleted:
        raise Refusal(1770003, "resource deleted")
    if call.person is None or not document.readable_by(call.person.open_id):
        raise Refusal(1770032, "forbidden", 403)
    return document


@apis.api(
    "GET",
    "/wiki/v2/spaces/get_node",
    user=one_of("wiki:node:read", "wiki:wiki", "wiki:wiki:readonly"),
    tenant=one_of("wiki:node:read", "wiki:wiki", "wiki:wiki:readonly"),
    limit=Limit(per_minute=100),
)
async def get_node(call: Call) -> web.Response:
    query = Parameters(call.query)
    token = query.text("token")
    kind = query.choice("obj_type", ("wiki", "doc", "docx", "sheet", "bitable", "mindnote", "file"), "wiki")
    nodes = call.tenant.work.wiki
    node = nodes.get(token) if kind == "wiki" else None
    if kind != "wiki":
        node = next((n for n in nodes.values() if n["obj_token"] == token and n["obj_type"] == kind), None)
    if node is None:
        raise Refusal(131005, "not found: wiki node does not exist")
    document = call.tenant.work.documents[node["obj_token"]]
    if call.person is None or not document.readable_by(call.person.open_id):
        raise Refusal(131006, "permission denied: wiki space permission denied")
    return success({"node": node})


# Search and drive


def _visible(call: Call) -> list[Document]:
    documents = call.tenant.work.documents.values()
    return [d for d in documents if not d.deleted and d.readable_by(call.user.open_id)]


def _matching(call: Call, words: str) -> list[Document]:
    lower = words.lower().split()
    found = _visible(call)
    return [d for d in found if any(word in f"{d.title} {plain_text(d)}".lower() for word in lower)]


def _url(document: Document) -> str:
    return f"https://corp.feishu.cn/{'sheets' if document.kind == 'sheet' else 'docx'}/{document.token}"


@apis.api(
    "POST",
    "/search/v2/doc_wiki/search",
    user=one_of("search:docs:read"),
    limit=Limit(per_minute=100),
    invalid_token=(1274011, "user access token is invalid or expired", 401),
)
async def search_documents(call: Call) -> web.Response:
    body = Parameters(call.body)
    words = body.text("query", shortest=0, longest=50)
    size = body.whole("page_size", least=0, most=20, default=15)
    body.object("doc_filter")
    body.object("wiki_filter")
    found = _matching(call, words) if words.strip() else _visible(call)
    items, following, more = page(found, size or 15, body.optional_text("page_token"))
    units = [_search_result(call, document, words) for document in items]
    return success({"total": len(found), "has_more": more, "page_token": following, "res_units": units})


def _highlighted(text: str, words: str) -> str:
    for word in words.split():
        text = re.sub(f"({re.escape(word)})", r"<h>\1</h>", text, flags=re.IGNORECASE)
    return text


def _search_result(call: Call, document: Document, words: str) -> Json:
    lines = plain_text(document).splitlines()[1:] or [""]
    title = _highlighted(document.title, words)
    summary = next((each for line in lines if (each := _highlighted(line, words)) != line), lines[-1])
    owner = call.tenant.people[document.owner]
    return {
        "title_highlighted": title,
        "summary_highlighted": summary,
        "entity_type": "DOC",
        "result_meta": {
            "doc_types": document.kind.upper(),
            "url": _url(document),
            "token": document.token,
            "owner_name": owner.name,
            "owner_id": owner.open_id,
            "is_cross_tenant": False,
            "create_time": document.created,
            "update_time": document.modified,
            "last_open_time": document.modified,
            "edit_user_id": owner.open_id,
            "edit_user_name": owner.name,
        },
    }


@apis.api(
    "POST",
    "/suite/docs-api/search/object",
    user=one_of("drive:drive", "drive:drive:readonly", "search:docs:read"),
)
async def search_objects(call: Call) -> web.Response:
    body = Parameters(call.body)
    words = body.text("search_key")
    count = body.whole("count", least=0, most=50, default=50)
    offset = body.whole("offset", least=0, most=200, default=0)
    found = _matching(call, words)
    entities = [
        {"docs_token": d.token, "docs_type": d.kind, "owner_id": d.owner, "title": d.title}
        for d in found[offset : offset + count]
    ]
    more = offset + count < len(found)
    return success({"docs_entities": entities, "has_more": more, "total": len(found)})


@apis.api(
    "GET",
    "/drive/v1/files",
    user=one_of("drive:drive", "drive:drive:readonly", "space:document:retrieve"),
    tenant=one_of("drive:drive", "drive:drive:readonly", "space:document:retrieve"),
    limit=Limit(per_second=20),
)
async def list_files(call: Call) -> web.Response:
    query = Parameters(call.query)
    size = query.whole("page_size", least=1, most=200, default=200)
    order = query.choice("order_by", ("EditedTime", "CreatedTime"), "EditedTime")
    newest_first = query.choice("direction", ("ASC", "DESC"), "DESC") == "DESC"
    files = _visible(call) if call.person else []
    files.sort(key=lambda d: d.modified if order == "EditedTime" else d.created, reverse=newest_first)
    items, following, more = page(files, size, query.optional_text("page_token"))
    listed = [
        {
            "token": d.token,
            "name": d.title,
            "type": d.kind,
            "parent_token": FOLDER,
            "url": _url(d),
            "created_time": str(d.created),
            "modified_time": str(d.modified),
            "owner_id": d.owner,
        }
        for d in items
    ]
    return success({"files": listed, "next_page_token": following, "has_more": more})


# Minutes and tables


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
        raise Refusal(2091002, "minutes not found", 404)
    return success({"minute": minute})


RECORDS = "/bitable/v1/apps/{app_token}/tables/{table_id}/records"
READ_TABLES = one_of("bitable:app", "bitable:app:readonly")
SEARCH_RECORDS = one_of("base:record:retrieve", "bitable:app", "bitable:app:readonly")
CREATE_RECORDS = one_of("base:record:create", "bitable:app")


def _records(call: Call) -> list[Json]:
    """The records of the table in the path; tables answer with HTTP 200 when they refuse."""
    app_token, table_id = call.path("app_token"), call.path("table_id")
    tables = call.tenant.work.tables
    if not any(base == app_token for base, _ in tables):
        raise Refusal(1254040, "BaseTokenNotFound", 200)
    if (app_token, table_id) not in tables:
        raise Refusal(1254041, "TableIdNotFound", 200)
    return tables[app_token, table_id]


def _record_page(records: list[Json], query: Parameters) -> web.Response:
    size = query.whole("page_size", least=1, most=500, default=20)
    items, following, more = page(records, size, query.optional_text("page_token"))
    return success({"has_more": more, "page_token": following, "total": len(records), "items": items})


@apis.api("GET", RECORDS, user=READ_TABLES, tenant=READ_TABLES, limit=Limit(per_second=20))
async def list_records(call: Call) -> web.Response:
    return _record_page(_records(call), Parameters(call.query))


@apis.api("POST", RECORDS + "/search", user=SEARCH_RECORDS, tenant=SEARCH_RECORDS, limit=Limit(per_second=20))
async def search_records(call: Call) -> web.Response:
    """Records whose fields fulfil the filter; of its operators, `is` and `contains`."""
    body = Parameters(call.body)
    names = body.list("field_names")
    conditions = (body.object("filter") or {}).get("conditions", [])
    found = [record for record in _records(call) if all(_fulfils(record, c) for c in conditions)]
    if names:
        found = [
            {**record, "fields": {n: v for n, v in record["fields"].items() if n in names}}
            for record in found
        ]
    return _record_page(found, Parameters(call.query))


def _fulfils(record: Json, condition: Json) -> bool:
    value = str(record["fields"].get(condition.get("field_name"), ""))
    wanted = str((condition.get("value") or [""])[0])
    match condition.get("operator"):
        case "is":
            return value == wanted
        case "contains":
            return wanted in value
        case other:
            raise Refusal(1254018, f"InvalidFilter: {other}", 200)


@apis.api("POST", RECORDS, user=CREATE_RECORDS, tenant=CREATE_RECORDS, limit=Limit(per_second=50))
async def create_record(call: Call) -> web.Response:
    token = Parameters(call.query).optional_text("client_token")
    given = call.body.get("fields")
    if not isinstance(given, dict):
        raise Refusal(1254001, "WrongRequestBody", 200)
    if token is not None and not _is_uuid4(token):
        raise Refusal(1254037, "InvalidClientToken", 200)
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

"""The document APIs: text and blocks of documents, wiki nodes."""

from aiohttp import web

from bot.sandbox.json_http import Json
from bot.sandbox.lark.apis.contacts import ID_TYPES
from bot.sandbox.lark.document_blocks import blocks_of, plain_text
from bot.sandbox.lark.gateway import ApiError, Apis, Call, one_of, success
from bot.sandbox.lark.parameters import Parameters, page
from bot.sandbox.lark.work_data import Document
from bot.sandbox.rate_limits import Limit

apis = Apis()


@apis.api(
    "GET",
    "/docx/v1/documents/{document_id}/raw_content",
    user=one_of("docx:document", "docx:document:readonly"),
    tenant=one_of("docx:document", "docx:document:readonly"),
    limit=Limit(per_second=5),
    limit_status=400,
)
async def raw_content(call: Call) -> web.Response:
    Parameters(call.query).whole("lang", minimum=0, maximum=2, default=0)
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
    size = query.whole("page_size", minimum=1, maximum=500, default=500)
    query.whole("document_revision_id", minimum=-1, maximum=10**9, default=-1)
    query.choice("user_id_type", ID_TYPES, "open_id")
    items, following, more = page(blocks_of(_readable(call)), size, query.optional_text("page_token"))
    found: Json = {"items": items, "has_more": more}
    return success(found | ({"page_token": following} if more else {}))


def _readable(call: Call) -> Document:
    """Return the document in the path. Raises ApiError if the caller cannot read it."""
    work = call.tenant.work
    token = work.aliases.get(call.path("document_id"), call.path("document_id"))
    document = work.documents.get(token)
    if document is None or document.kind != "docx":
        raise ApiError(1770002, "not found", 404)
    if document.deleted:
        raise ApiError(1770003, "resource deleted")
    if call.person is None or not document.readable_by(call.person.open_id):
        raise ApiError(1770032, "forbidden", 403)
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
        raise ApiError(131005, "not found: wiki node does not exist")
    document = call.tenant.work.documents[node["obj_token"]]
    if call.person is None or not document.readable_by(call.person.open_id):
        raise ApiError(131006, "permission denied: wiki space permission denied")
    return success({"node": node})

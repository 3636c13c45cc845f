"""The search and drive APIs: finding documents and files."""

import re

from aiohttp import web

from bot.sandbox.json_http import Json
from bot.sandbox.lark.document_blocks import plain_text
from bot.sandbox.lark.gateway import Apis, Call, one_of, success
from bot.sandbox.lark.parameters import Parameters, page
from bot.sandbox.lark.sample_work_data import FOLDER
from bot.sandbox.lark.work_data import Document
from bot.sandbox.rate_limits import Limit

apis = Apis()


def _visible(call: Call) -> list[Document]:
    documents = call.tenant.work.documents.values()
    return [d for d in documents if not d.deleted and d.readable_by(call.user.open_id)]


def _matching(call: Call, query_text: str) -> list[Document]:
    lower = query_text.lower().split()
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
    query_text = body.text("query", min_length=0, max_length=50)
    size = body.whole("page_size", minimum=0, maximum=20, default=15)
    body.object("doc_filter")
    body.object("wiki_filter")
    found = _matching(call, query_text) if query_text.strip() else _visible(call)
    items, following, more = page(found, size or 15, body.optional_text("page_token"))
    units = [_search_result(call, document, query_text) for document in items]
    return success({"total": len(found), "has_more": more, "page_token": following, "res_units": units})


def _highlighted(text: str, query_text: str) -> str:
    for word in query_text.split():
        text = re.sub(f"({re.escape(word)})", r"<h>\1</h>", text, flags=re.IGNORECASE)
    return text


def _search_result(call: Call, document: Document, query_text: str) -> Json:
    lines = plain_text(document).splitlines()[1:] or [""]
    title = _highlighted(document.title, query_text)
    summary = next((each for line in lines if (each := _highlighted(line, query_text)) != line), lines[-1])
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
    query_text = body.text("search_key")
    count = body.whole("count", minimum=0, maximum=50, default=50)
    offset = body.whole("offset", minimum=0, maximum=200, default=0)
    found = _matching(call, query_text)
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
    size = query.whole("page_size", minimum=1, maximum=200, default=200)
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

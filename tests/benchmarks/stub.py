"""The cheapest thing that answers like the platform: every request, with the same successful body. Plain or over TLS.

`python -m tests.benchmarks.stub [CERTIFICATE KEY]` prints its port and serves until it is terminated.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys

from tests.benchmarks.bare_http import Server, response
from tests.benchmarks.subscription import BOT_OPEN_ID

DOCUMENT = response(
    json.dumps(
        {"code": 0, "msg": "success", "data": {"content": "Welcome.\n" + "A line of text. " * 20}}
    ).encode()
)
TOKEN = response(
    json.dumps(
        {"code": 0, "msg": "ok", "tenant_access_token": "t-g1042benchmark0000000", "expire": 7200}
    ).encode()
)
BOT = response(
    json.dumps({"code": 0, "msg": "ok", "bot": {"open_id": BOT_OPEN_ID, "app_name": "Bench"}}).encode()
)


def handle(head: bytes, body: bytes) -> bytes:
    path = head.split(b" ", 2)[1]
    if path.startswith(b"/open-apis/docx/"):
        return DOCUMENT
    return BOT if path.startswith(b"/open-apis/bot/") else TOKEN


async def serve(context: ssl.SSLContext | None) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Server(handle), "127.0.0.1", 0, ssl=context, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main(arguments: list[str]) -> None:
    context = None
    if arguments:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*arguments)
    asyncio.run(serve(context))


if __name__ == "__main__":
    main(sys.argv[1:])

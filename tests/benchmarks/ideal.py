"""What whole loops could cost: a bot that does nothing but the loop, tuned by hand, with the same round trips.

The same requests to the platform, every state durable before the next step, tokens sealed, PKCE, signatures checked;
but no second command, replica, retry, language, refresh or error. Not a bot; a yardstick. Settings as for `bot run`.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import hashlib
import json
import os
import queue
import re
import secrets
import sqlite3
import threading
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import urlencode

import aiohttp
import asyncpg
from aiohttp import web
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.benchmarks.parsing import minimal

SCHEMA = """
CREATE TABLE events (event_id text PRIMARY KEY, message_id text UNIQUE);
CREATE TABLE calls (id text PRIMARY KEY, person text, text text, status text, request_id text);
CREATE TABLE requests (id text PRIMARY KEY, person text, ticket text UNIQUE, status text, card_id text);
CREATE TABLE attempts (state text PRIMARY KEY, request_id text, verifier text, used boolean);
CREATE TABLE grants (person text PRIMARY KEY, token text, scopes text);
CREATE TABLE messages (id text PRIMARY KEY, content text, message_id text);
"""

# Each work is one transaction. On PostgreSQL its statements become one, `WITH … AS (…), … AS (…) …`: one round trip.
WORKS: Mapping[str, tuple[str, ...]] = {
    "accept": (
        "INSERT INTO events VALUES ($1, $2) ON CONFLICT DO NOTHING",
        "INSERT INTO calls VALUES ($2, $3, $4, 'running', NULL) ON CONFLICT DO NOTHING RETURNING id",
    ),
    "grant_of": ("SELECT token FROM grants WHERE person = $1",),
    "suspend": (
        "INSERT INTO requests VALUES ($1, $2, $3, 'open', NULL)",
        "UPDATE calls SET status = 'suspended', request_id = $1 WHERE id = $4",
    ),
    "card_sent": ("UPDATE requests SET card_id = $2 WHERE id = $1",),
    "open_link": (
        "INSERT INTO attempts SELECT $2, id, $3, false FROM requests WHERE ticket = $1 AND status = 'open'",
    ),
    "consume": (
        "UPDATE requests SET status = 'redeeming' WHERE id = (SELECT request_id FROM attempts WHERE state = $1)",
        "UPDATE attempts SET used = true WHERE state = $1 AND NOT used RETURNING request_id, verifier",
    ),
    "release": (
        "INSERT INTO grants VALUES ($2, $3, $4)"
        " ON CONFLICT (person) DO UPDATE SET token = excluded.token, scopes = excluded.scopes",
        "UPDATE requests SET status = 'granted' WHERE id = $1",
        "UPDATE calls SET status = 'running' WHERE request_id = $1 AND status = 'suspended' RETURNING id, text",
    ),
    "card_of": ("SELECT card_id FROM requests WHERE id = $1",),
    "settle": (
        "UPDATE calls SET status = 'succeeded' WHERE id = $1",
        "INSERT INTO messages VALUES ($1, $2, NULL)",
    ),
    "answered": ("UPDATE messages SET message_id = $2 WHERE id = $1",),
}

Rows = list[Any]


class Store(Protocol):
    async def do(self, work: str, *values: str) -> Rows: ...


class Sqlite:
    """One writer thread, many works in one commit."""

    def __init__(self, file: str) -> None:
        self.loop = asyncio.get_running_loop()
        self.works: queue.SimpleQueue[tuple[str, tuple[str, ...], asyncio.Future[Rows]]] = queue.SimpleQueue()
        self.statements = {
            name: [(s.replace("$", "?"), arity(s)) for s in work] for name, work in WORKS.items()
        }
        self.connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        self.connection.executescript(f"PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; {SCHEMA}")
        threading.Thread(target=self.write, daemon=True).start()

    async def do(self, work: str, *values: str) -> Rows:
        done: asyncio.Future[Rows] = self.loop.create_future()
        self.works.put((work, values, done))
        return await done

    def write(self) -> None:
        while True:
            batch = [self.works.get()]
            while not self.works.empty() and len(batch) < 100:
                batch.append(self.works.get())
            self.connection.execute("BEGIN IMMEDIATE")
            answers = [(done, self.run(work, values)) for work, values, done in batch]
            self.connection.execute("COMMIT")
            self.loop.call_soon_threadsafe(self.answer, answers)

    def run(self, work: str, values: tuple[str, ...]) -> Rows:
        for statement, takes in self.statements[work]:
            rows = self.connection.execute(statement, values[:takes]).fetchall()
        return rows

    def answer(self, answers: list[tuple[asyncio.Future[Rows], Rows]]) -> None:
        for done, rows in answers:
            done.set_result(rows)


def arity(statement: str) -> int:
    return max(map(int, re.findall(r"\$(\d)", statement)))


class Postgresql:
    def __init__(self, pool: asyncpg.Pool) -> None:
        self.pool = pool
        self.statements = {name: one_statement(work) for name, work in WORKS.items()}

    async def do(self, work: str, *values: str) -> Rows:
        rows: Rows = await self.pool.fetch(self.statements[work], *values)
        return rows


def one_statement(work: tuple[str, ...]) -> str:
    *before, last = work
    named = ", ".join(f"s{number} AS ({statement})" for number, statement in enumerate(before))
    return f"WITH {named} {last}" if named else last


async def open_store(url: str) -> Store:
    if url.startswith("sqlite"):
        return Sqlite(url.partition(":///")[2])
    pool = await asyncpg.create_pool(url.replace("+asyncpg", ""), min_size=10, max_size=10)
    await pool.execute(SCHEMA)
    return Postgresql(pool)


class Ideal:
    def __init__(self, environment: Mapping[str, str], store: Store, session: aiohttp.ClientSession) -> None:
        self.platform, self.public = environment["LARK_OPEN_URL"], environment["BOT_PUBLIC_URL"]
        self.app_id = environment["LARK_APP_ID"]
        self.store, self.session = store, session
        self.cipher = AESGCM(base64.urlsafe_b64decode(environment["BOT_ENCRYPTION_KEYS"] + "=="))
        self.background_tasks: set[asyncio.Task[None]] = set()

    def go_on(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self.background_tasks.add(task)
        task.add_done_callback(self.background_tasks.discard)

    async def call(self, method: str, path: str, token: str, body: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json; charset=utf-8"}
        data = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        async with self.session.request(method, self.platform + path, headers=headers, data=data) as response:
            return json.loads(await response.read())

    async def as_bot(self, method: str, path: str, body: Any) -> Any:
        return (await self.call(method, f"/open-apis/im/v1/messages{path}", "t-benchmark", body)).get("data")

    # --- the loop ---------------------------------------------------------------------------------------

    async def receive(self, request: web.Request) -> web.Response:
        event = minimal(request.headers, await request.read())
        person = event["event"]["sender"]["sender_id"]["open_id"]
        message_id, text = event["event"]["message"]["message_id"], event["text"]
        recorded = await self.store.do("accept", event["header"]["event_id"], message_id, person, text)
        if recorded:
            self.go_on(self.run(message_id, person, text))
        return web.json_response({})

    async def run(self, call_id: str, person: str, text: str) -> None:
        found = await self.store.do("grant_of", person)
        if not found:
            await self.ask(call_id, person)
            return
        sealed = base64.b64decode(found[0][0])
        token = self.cipher.decrypt(sealed[:12], sealed[12:], person.encode()).decode()
        await self.make_call(call_id, person, text, token)

    async def make_call(self, call_id: str, person: str, text: str, token: str) -> None:
        answer = {"data": {"content": "You."}}
        if text.startswith("/doc"):
            answer = await self.call("GET", f"/open-apis/docx/v1/documents/{text[5:]}/raw_content", token)
        if answer.get("code") == 99991679:
            await self.ask(call_id, person)
            return
        elements = [{"tag": "markdown", "content": line} for line in answer["data"]["content"].splitlines()]
        content = json.dumps({"schema": "2.0", "body": {"elements": elements}})
        await self.store.do("settle", call_id, content)
        body = {"msg_type": "interactive", "content": content, "uuid": call_id}
        sent = await self.as_bot("POST", f"/{call_id}/reply", body)
        await self.store.do("answered", call_id, sent["message_id"])

    async def ask(self, call_id: str, person: str) -> None:
        request_id, ticket = secrets.token_hex(16), secrets.token_urlsafe(32)
        await self.store.do("suspend", request_id, person, ticket, call_id)
        link = {"tag": "button", "url": f"{self.public}/authorize/{ticket}"}
        content = json.dumps(
            {"schema": "2.0", "body": {"elements": [{"tag": "markdown", "content": "…" * 300}, link]}}
        )
        body = {"receive_id": person, "msg_type": "interactive", "content": content, "uuid": request_id}
        sent = await self.as_bot("POST", "?receive_id_type=open_id", body)
        await self.store.do("card_sent", request_id, sent["message_id"])

    async def start(self, request: web.Request) -> web.Response:
        state, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        digest = hashlib.sha256(state.encode()).hexdigest()
        await self.store.do("open_link", request.match_info["ticket"], digest, verifier)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        query = urlencode({"client_id": self.app_id, "state": state, "code_challenge": challenge})
        location = f"{self.platform}/open-apis/authen/v1/authorize?{query}"
        return web.Response(status=302, headers={"Location": location})

    async def callback(self, request: web.Request) -> web.Response:
        digest = hashlib.sha256(request.query["state"].encode()).hexdigest()
        ((request_id, verifier),) = await self.store.do("consume", digest)
        exchange = {
            "grant_type": "authorization_code",
            "code": request.query["code"],
            "code_verifier": verifier,
        }
        tokens = await self.call("POST", "/open-apis/authen/v2/oauth/token", "", exchange)
        token = tokens["access_token"]
        identity = await self.call("GET", "/open-apis/authen/v1/user_info", token)
        person, nonce = identity["data"]["open_id"], os.urandom(12)
        sealed = base64.b64encode(
            nonce + self.cipher.encrypt(nonce, token.encode(), person.encode())
        ).decode()
        released = await self.store.do("release", request_id, person, sealed, tokens["scope"])
        for call_id, text in released:
            self.go_on(self.make_call(call_id, person, text, token))
        self.go_on(self.show(request_id))
        return web.Response(status=303, headers={"Location": "/authorized"})

    async def show(self, request_id: str) -> None:
        ((card_id,),) = await self.store.do("card_of", request_id)
        await self.as_bot(
            "PATCH", f"/{card_id}", {"content": json.dumps({"schema": "2.0", "body": "…" * 300})}
        )
        await self.store.do("card_sent", request_id, card_id)


async def serve(environment: Mapping[str, str]) -> None:
    store = await open_store(environment["BOT_DATABASE_URL"])
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=100)) as session:
        bot = Ideal(environment, store, session)
        application = web.Application()
        application.router.add_post("/lark/events", bot.receive)
        application.router.add_get("/authorize/{ticket}", bot.start)
        application.router.add_get("/oauth/lark/callback", bot.callback)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", int(environment["BOT_PORT"])).start()
        gc.collect()
        gc.freeze()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(os.environ))

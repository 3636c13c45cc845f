"""The platform and its people for whole loops, in one process: canned answers, no checks, as cheap as possible.

`python -m tests.benchmarks.canned_platform BOT_PORT PEOPLE AT_ONCE` prints its port, waits for the bot, lets each
person use it once so that they are known to it, prints `begin`, and then measures: each asks for a document, which is
refused until they have followed the link on the card that comes. The last line is what was measured, as JSON.
"""

from __future__ import annotations

import asyncio
import gc
import json
import re
import sys
import time
from collections.abc import Iterable

from tests.benchmarks import subscription as app
from tests.benchmarks.bare_http import Client, Server, connect, get, post, response
from tests.benchmarks.figures import percentile

SCOPE = "docx:document:readonly"
FIRST, SECOND = 1, 2
"""Which consent a token comes from; the first does not hold the scope."""
PATIENCE = 60

PERSON = re.compile(rb'"receive_id": ?"o[uc]_(\d{32})"')
TICKET = re.compile(rb"/authorize/([A-Za-z0-9_-]{43})")
CODE = re.compile(rb'"code": ?"code-(\d+)-(\d+)"')
TOKEN = re.compile(rb"\r\nAuthorization: Bearer u-(\d+)-(\d+)", re.IGNORECASE)
STATE = re.compile(rb"\r\nLocation: [^\r]*[?&]state=([A-Za-z0-9_-]+)", re.IGNORECASE)


def canned(**fields: object) -> bytes:
    return response(json.dumps({"code": 0, "msg": "success", **fields}).encode())


OK = canned(data={})
DOCUMENT = canned(data={"content": "Welcome.\n" + "A line of text.\n" * 20})
TENANT_TOKEN = canned(tenant_access_token="t-g1042benchmark0000000", expire=7200)
BOT = canned(bot={"open_id": app.BOT_OPEN_ID, "app_name": "Bench"})
ENABLED = canned(
    data={
        "scopes": [
            {"scope_name": name, "scope_type": "user", "grant_status": 1}
            for name in (SCOPE, "offline_access", "auth:user.id:read")
        ]
    }
)
DESCRIBED = canned(
    data={"app": {"scopes": [{"scope": SCOPE, "description": "View documents", "token_types": ["user"]}]}}
)
REFUSED = response(
    json.dumps(
        {
            "code": 99991679,
            "msg": f"Unauthorized. You do not have permission [{SCOPE}]",
            "error": {"permission_violations": [{"type": "action_privilege_required", "subject": SCOPE}]},
        }
    ).encode(),
    b"400 Bad Request",
)


class CannedPlatform:
    """Answers the bot's requests, and plays the people who use it."""

    def __init__(self, at_once: int) -> None:
        self.cards: dict[int, asyncio.Future[bytes]] = {}
        """Person: the ticket on the card that they wait for."""
        self.answers: dict[bytes, asyncio.Future[None]] = {}
        """Message id: done when its answer arrives."""
        self.called_back: dict[int, float] = {}
        self.resumed: list[float] = []
        """Seconds from a callback's arrival to the retried call."""
        self.loops: list[float] = []
        self.sent = 0
        self.requests = 0
        self.connections: asyncio.Queue[Client] = asyncio.Queue()
        self.at_once = at_once

    # --- the platform ------------------------------------------------------------------------------------

    def handle(self, head: bytes, body: bytes) -> bytes:
        self.requests += 1
        method, target, _ = head.split(b" ", 2)
        area = target.split(b"/", 3)[2]
        if area == b"im":
            return self.send(target, body) if method == b"POST" else OK
        if area == b"docx":
            return self.read_document(head)
        if area == b"authen":
            return self.exchange(body) if method == b"POST" else self.identify(head)
        if area == b"auth":
            return TENANT_TOKEN
        if area == b"bot":
            return BOT
        return ENABLED if target.endswith(b"/scopes") else DESCRIBED

    def send(self, target: bytes, body: bytes) -> bytes:
        self.sent += 1
        path = target.split(b"/")
        ticket = TICKET.search(body)
        if ticket is not None:
            found = PERSON.search(body)
            person = int(found[1]) if found else person_of(path[5])
            settle(self.cards.pop(person, None), ticket[1])
        elif len(path) > 6:
            settle(self.answers.pop(path[5], None), None)
        return canned(data={"message_id": f"om_bot{self.sent:026d}"})

    def read_document(self, head: bytes) -> bytes:
        person, consent = token_of(head)
        if consent < SECOND:
            return REFUSED
        self.resumed.append(time.perf_counter() - self.called_back[person])
        return DOCUMENT

    def exchange(self, body: bytes) -> bytes:
        found = CODE.search(body)
        assert found is not None, body
        person, consent = found.groups()
        scopes = "auth:user.id:read offline_access" + (f" {SCOPE}" if int(consent) >= SECOND else "")
        tokens = {
            "access_token": f"u-{int(person)}-{int(consent)}",
            "refresh_token": f"r-{int(person)}-{int(consent)}",
        }
        return canned(
            **tokens, expires_in=7200, refresh_token_expires_in=604800, scope=scopes, token_type="Bearer"
        )

    def identify(self, head: bytes) -> bytes:
        person, _ = token_of(head)
        return canned(
            data={"open_id": app.open_id(person), "tenant_key": app.TENANT_KEY, "name": f"Person {person}"}
        )

    # --- its people --------------------------------------------------------------------------------------

    async def loop(self, person: int, consent: int, text: str) -> None:
        """Send a message, consent, and wait for the answer."""
        client = await self.connections.get()
        number = consent * 10**6 + person
        card = self.cards[person] = asyncio.get_running_loop().create_future()
        answer = self.answers[b"om_%030d" % number] = asyncio.get_running_loop().create_future()
        body, headers = app.pushed(number, person, text)
        began = time.perf_counter()
        await expect(client, post("/lark/events", body, headers), b"200")
        ticket = await card
        head = await expect(client, get(f"/authorize/{ticket.decode()}"), b"302")
        state = STATE.search(head)
        assert state is not None, head
        self.called_back[person] = time.perf_counter()
        query = f"code=code-{person}-{consent}&state={state[1].decode()}"
        await expect(client, get(f"/oauth/lark/callback?{query}"), b"303")
        await answer
        self.loops.append(time.perf_counter() - began)
        self.connections.put_nowait(client)

    async def all(self, people: Iterable[int], consent: int, text: str) -> float:
        """Run one loop for each person, and return the seconds that it took."""
        left = iter(people)

        async def one_after_another() -> None:
            for person in left:
                async with asyncio.timeout(PATIENCE):
                    await self.loop(person, consent, text)

        began = time.perf_counter()
        await asyncio.gather(*(one_after_another() for _ in range(self.at_once)))
        return time.perf_counter() - began


def settle(waiting: asyncio.Future[object] | None, value: object) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(value)


def person_of(message_id: bytes) -> int:
    return int(message_id.removeprefix(b"om_")) % 10**6


def token_of(head: bytes) -> tuple[int, int]:
    found = TOKEN.search(head)
    assert found is not None, head
    return int(found[1]), int(found[2])


async def expect(client: Client, request: bytes, status: bytes) -> bytes:
    head, body = await client.send(request)
    if head[9:12] != status:
        raise RuntimeError(f"{request[:80]!r} was answered with {(head + body)[:500]!r}")
    return head


async def connected(port: int) -> Client:
    """Connect to the bot as soon as it listens."""
    until = time.perf_counter() + PATIENCE
    while True:
        try:
            return await connect(port)
        except OSError:
            if time.perf_counter() > until:
                raise
            await asyncio.sleep(0.05)


async def main(bot_port: int, people: int, at_once: int) -> None:
    platform = CannedPlatform(at_once)
    server = await asyncio.get_running_loop().create_server(
        lambda: Server(platform.handle), "127.0.0.1", 0, backlog=1024
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    for _ in range(at_once):
        platform.connections.put_nowait(await connected(bot_port))
    await platform.all(range(people), FIRST, "/me")
    gc.collect()
    gc.freeze()
    platform.loops.clear()
    platform.requests = 0
    print("begin", flush=True)
    seconds = await platform.all(range(people), SECOND, "/doc doxbenchAAAAAAAAAAAAAAAAAAAAA")
    print(json.dumps(result(platform, people, seconds)), flush=True)
    await asyncio.Event().wait()


def result(platform: CannedPlatform, people: int, seconds: float) -> dict[str, float]:
    loops, resumed = ([each * 1e3 for each in times] for times in (platform.loops, platform.resumed))
    return {
        "rate": people / seconds,
        "p50": percentile(loops, 0.5),
        "p99": percentile(loops, 0.99),
        "resumed_p50": percentile(resumed, 0.5),
        "resumed_p99": percentile(resumed, 0.99),
        "requests": platform.requests / people,
    }


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:])))

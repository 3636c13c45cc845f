"""Somebody at the bot's address sends what costs much to read. Judged by what the bot's process spends on it."""

from __future__ import annotations

import asyncio
import statistics
import time
import zlib

import pytest

from .card_content import value_on
from .raw_http import exchange, open_sockets, processor_seconds, request
from .webhook_client import WebhookClient
from .world import World

CONNECTIONS = 8
MEGABYTE = 1_000_000
GZIP, CHUNKED = "Content-Encoding: gzip", "Transfer-Encoding: chunked"
CRUMBS = b"1\r\nx\r\n" * (MEGABYTE // 6) + b"0\r\n\r\n"


@pytest.fixture(scope="session")
def bomb() -> bytes:
    """A megabyte that unpacks to a thousand of them."""
    packer = zlib.compressobj(wbits=31)
    first, again = (packer.compress(bytes(MEGABYTE)) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    return (first + again * 1_100)[:MEGABYTE]


def in_one_chunk(body: bytes) -> bytes:
    return f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"


ROUTES = [
    "POST /lark/events",
    "GET /healthz",
    "POST /nowhere",
    "GET /authorize/x",
    "POST /logout",
    "PUT /static/page.css",
]


@pytest.mark.parametrize(
    "encoding", ["gzip", "deflate", "br", "zstd", "x-gzip", "GZIP", "gzip, gzip", "identity", ""]
)
async def test_an_encoded_body_is_answered_415_on_every_route(world: World, encoding: str):
    await world.start()
    for route in ROUTES:
        for body in (b"x", b"x" * MEGABYTE):
            answer = await exchange(world, request(route, f"Content-Encoding: {encoding}", body=body))
            assert answer.status == 415, route
            assert answer.headers["accept-encoding"] == "identity"
            assert answer.headers["cache-control"] == "no-store"


async def flooded(world: World, sent: bytes, count: int) -> tuple[float, set[int]]:
    """Sends a request so often, from eight connections at a time: the bot's processor seconds for each, the answers."""
    left = iter(range(count))

    async def one() -> list[int]:
        return [(await exchange(world, sent)).status for _ in left]

    before = processor_seconds(world)
    statuses = await asyncio.gather(*(one() for _ in range(CONNECTIONS)))
    return (processor_seconds(world) - before) / count, {each for found in statuses for each in found}


async def test_packed_bodies_from_eight_connections_hold_up_neither_health_nor_events_nor_clicks(
    world: World, bomb: bytes
):
    await world.start()
    attacker = WebhookClient(world)
    card = await world.fresh_card(world.sam, await world.say(world.sam, "/tasks"))
    click = attacker.click(world.sam, value_on(card, "not_now"))
    kinds = [request(route, GZIP, body=bomb) for route in ROUTES]
    kinds.append(request("POST /healthz", GZIP, CHUNKED, body=in_one_chunk(bomb)))
    done = asyncio.Event()
    looks: list[float] = []

    async def flood() -> None:
        # A connection is closed half a second after its answer, so few are enough for as long as this takes.
        while not done.is_set():
            for sent in kinds:
                statuses.add((await exchange(world, sent)).status)

    async def look() -> None:
        while not done.is_set():
            started = time.perf_counter()
            assert (await world.get(f"{world.public}/healthz"))[0] == 200
            looks.append(time.perf_counter() - started)

    statuses: set[int] = set()
    async with asyncio.TaskGroup() as tasks:
        for each in (*[flood] * CONNECTIONS, look):
            tasks.create_task(each())
        for _ in range(20):
            assert (await attacker.send(attacker.message()))[0] == 200
        assert (await attacker.send(click))[0] == 200
        done.set()
    assert statuses == {415}
    print(f"healthz: median {statistics.median(looks) * 1000:.1f} ms of {len(looks)}")
    await world.until(lambda: world.count("authorization_requests", status="declined"), "the click")
    for sent in kinds:
        spent, _ = await flooded(world, sent, 2 * CONNECTIONS)
        # To inflate one of these takes half a second and more.
        assert spent < 0.02, sent[:60]


COSTLY = {
    "a body that no handler reads": (request("GET /healthz", body=b"x" * MEGABYTE), 200),
    "the same in crumbs": (request("POST /nowhere", CHUNKED, body=CRUMBS), 404),
    "an event in crumbs": (request("POST /lark/events", CHUNKED, body=CRUMBS), 400),
    "crumbs with extensions": (
        request("POST /lark/events", CHUNKED, body=b"1;a\r\nx\r\n" * 100_000 + b"0\r\n\r\n"),
        400,
    ),
    "a tunnel": (request("CONNECT bot.example:443") + b"x" * MEGABYTE, 404),
    "an upgrade": (
        request("GET /healthz", "Connection: Upgrade", "Upgrade: websocket") + b"x" * MEGABYTE,
        200,
    ),
    "unsigned, a third of a million lists": (
        request("POST /lark/events", body=b"[" + b"[]," * 333_000 + b"1]"),
        401,
    ),
    "unsigned, enormous numbers": (
        request("POST /lark/events", body=b"[" + (b"9" * 4300 + b",") * 230 + b"1]"),
        401,
    ),
    "unsigned, to decrypt": (
        request("POST /lark/events", body=b'{"encrypt":"' + b"A" * MEGABYTE + b'"}'),
        401,
    ),
    "a path of four thousand parts": (request(f"GET /{'a/' * 4000}"), 404),
}


@pytest.mark.parametrize("what", COSTLY)
async def test_nothing_that_strangers_send_costs_much(world: World, what: str):
    sent, status = COSTLY[what]
    await world.start()
    spent, statuses = await flooded(world, sent, 5 * CONNECTIONS)
    print(f"{what}: {spent * 1000:.1f} ms")
    assert statuses == {status}
    assert spent < 0.015


def filled(start: str, piece: str) -> str:
    """A header as long as the parser lets it be."""
    name, _, value = start.partition(": ")
    return f"{name}: {value}{piece * ((8100 - len(value)) // len(piece))}"


LONG_HEADERS = {
    "quoted cookies": request("GET /permissions", filled("Cookie: ", 'a="b"; ')),
    "many cookies": request("GET /permissions", filled("Cookie: ", "a=b; ")),
    "escapes in a cookie": request("GET /permissions", filled('Cookie: a="', "\\0")),
    "a session among cookies": request(
        "GET /permissions", filled("Cookie: bot_session=" + "x" * 43, '; a="b"')
    ),
    "a user agent": request("GET /login", filled("User-Agent: ", "a b")),
    "robots that are none": request("GET /login", filled("User-Agent: ", "bot_")),
    "locales": request("GET /permissions", filled("User-Agent: ", "LarkLocale/")),
    "purposes": request(
        "GET /login",
        *(filled(f"{name}: ", "prefetc") for name in ("Sec-Purpose", "Purpose", "X-Purpose", "X-Moz")),
    ),
    "validators": request("GET /static/page.css", filled("If-None-Match: ", '"a",')),
    "languages": request("GET /permissions", filled("Accept-Language: ", "a,")),
}


@pytest.mark.parametrize("what", LONG_HEADERS)
async def test_a_long_header_costs_what_a_short_one_does(world: World, what: str):
    await world.start()
    sent = LONG_HEADERS[what]
    short = request(sent.split(b" HTTP/")[0].decode())
    kinds = (request("GET /permissions"), short, sent)
    rounds = [[await flooded(world, each, 20 * CONNECTIONS) for each in kinds] for _ in range(3)]
    assert set().union(*(statuses for each in rounds for _, statuses in each)) <= {200, 303}
    page, usual, spent = (statistics.median(cost for cost, _ in each) for each in zip(*rounds, strict=True))
    print(f"{what}: {spent * 1000:.2f} ms, without it {usual * 1000:.2f} ms, a page {page * 1000:.2f} ms")
    assert spent - usual < 3 * page


async def test_an_event_may_come_in_chunks(world: World):
    await world.start()
    attacker = WebhookClient(world)
    body = attacker.seal(attacker.message())
    pieces = [body[at : at + 10] for at in range(0, len(body), 10)]
    chunks = b"".join(f"{len(each):x}\r\n".encode() + each + b"\r\n" for each in pieces) + b"0\r\n\r\n"
    headers = [f"{name}: {value}" for name, value in attacker.sign(body).items()]
    assert (await exchange(world, request("POST /lark/events", CHUNKED, *headers, body=chunks))).status == 200


async def test_a_body_that_breaks_off_is_no_failure_of_ours(world: World):
    await world.start()
    for sent in (
        request("POST /lark/events", CHUNKED) + b"5\r\nabc",
        request("POST /lark/events", "Content-Length: 100") + b"abc",
    ):
        _, writer = await asyncio.open_connection("127.0.0.1", world.port)
        writer.write(sent)
        await writer.drain()
        writer.close()
    await world.answer_to(await world.say(world.sam, "/help"))
    assert await world.stop() == 0
    assert "request failed" not in (world.directory / "bot.log").read_text()


MORE_THAN_THERE_IS_ROOM_FOR = 600


@pytest.mark.parametrize(
    "begun",
    [b"", b"GET /heal", request("GET /healthz"), request("POST /lark/events", "Content-Length: 1000") + b"{"],
    ids=["silent", "a slow head", "kept alive", "a slow body"],
)
async def test_hundreds_of_idle_connections_keep_no_event_out(world: World, begun: bytes):
    await world.start()
    attacker = WebhookClient(world)
    said = world.directory / "bot.log"
    told, sockets = said.stat().st_size, open_sockets(world)
    opened = []
    for _ in range(MORE_THAN_THERE_IS_ROOM_FOR):
        opened.append(await asyncio.open_connection("127.0.0.1", world.port))
        opened[-1][1].write(begun)
    for _ in range(5):
        body = attacker.seal(attacker.message())
        headers = [f"{name}: {value}" for name, value in attacker.sign(body).items()]
        assert (await exchange(world, request("POST /lark/events", *headers, body=body))).status == 200
    assert open_sockets(world) - sockets < 520
    reader, _ = opened[0]
    assert await asyncio.wait_for(ended(reader), 5)  # the oldest
    for _, writer in opened:
        writer.transport.abort()
    assert "closed" not in said.read_text()[told:]
    assert said.read_text()[told:].count("\n") < 100


async def ended(reader: asyncio.StreamReader) -> bool:
    try:
        while await reader.read(1000):
            pass
    except ConnectionError:
        pass
    return True

"""The webhook attacked: what the platform did not send changes nothing, and what it sent counts once."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import zlib
from typing import Any

import pytest

from .card_content import without_acknowledgements
from .webhook_client import Headers, WebhookClient
from .world import World

FUZZ_ROUNDS = 150


@pytest.fixture
async def attacker(world: World) -> WebhookClient:
    await world.start()
    return WebhookClient(world)


def nothing_happened(world: World) -> bool:
    tables = ("events", "deferred_calls", "users", "outgoing_messages", "audit_log")
    return all(world.count(table) == 0 for table in tables)


async def test_only_what_the_platform_signed_with_our_key_counts(world: World, attacker: WebhookClient):
    event = attacker.message()
    body = attacker.seal(event)
    other = attacker.seal(attacker.message())
    good = attacker.sign(body)
    forgeries: dict[str, tuple[bytes, Headers]] = {
        "unsigned": (body, {}),
        "plain text where a key is set": (json.dumps(event).encode(), {}),
        "signed plain text": (json.dumps(event).encode(), attacker.sign(json.dumps(event).encode())),
        "another key": (body, attacker.sign(body, key="guessed")),
        "the signature of other bytes": (other, good),
        "one byte more": (body + b" ", good),
        "another nonce": (body, good | {"X-Lark-Request-Nonce": "n"}),
        "another timestamp": (
            body,
            good | {"X-Lark-Request-Timestamp": str(int(good["X-Lark-Request-Timestamp"]) - 1)},
        ),
        "moved between timestamp and nonce": (
            body,
            good
            | {
                "X-Lark-Request-Timestamp": good["X-Lark-Request-Timestamp"][:-1],
                "X-Lark-Request-Nonce": good["X-Lark-Request-Timestamp"][-1] + "nonce",
            },
        ),
        "an empty signature": (body, good | {"X-Lark-Signature": ""}),
        "half of it": (body, good | {"X-Lark-Signature": good["X-Lark-Signature"][:32]}),
        "in capitals": (body, good | {"X-Lark-Signature": good["X-Lark-Signature"].upper()}),
        "no ASCII": (body, good | {"X-Lark-Signature": "é" * 64}),
        "stale": (body, attacker.sign(body, ahead=-8 * 3600 - 5)),
        "from the future": (body, attacker.sign(body, ahead=6 * 60)),
    }
    for name, (sent, headers) in forgeries.items():
        status, answer = await attacker.post(sent, headers)
        assert 400 <= status < 500, name
        assert json.loads(answer) == {"msg": "refused"}, name
    assert nothing_happened(world)
    assert (await attacker.post(body, good))[0] == 200, "the untouched one"


async def test_a_redelivery_of_seven_hours_later_and_a_clock_four_minutes_off_are_believed(
    world: World, attacker: WebhookClient
):
    for ahead in (-7 * 3600, 4 * 60):
        body = attacker.seal(attacker.message())
        assert (await attacker.post(body, attacker.sign(body, ahead=ahead)))[0] == 200
    await world.until(lambda: world.count("deferred_calls") == 2, "both")


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ({"token": "guessed"}, 401),
        ({"token": None}, 401),
        ({"token": ["a"]}, 401),
        ({"app_id": "cli_another"}, 403),
        ({"app_id": None}, 403),
        ({"event_id": ""}, 400),
        ({"event_id": "x" * 300}, 400),
        ({"event_id": "a\nb"}, 400),
        ({"event_id": 7}, 400),
        ({"event_type": None}, 400),
        ({"tenant_key": "a:b"}, 200),
    ],
)
async def test_a_signed_event_with_a_wrong_header_changes_nothing(
    world: World, attacker: WebhookClient, header: dict[str, Any], status: int
):
    event = attacker.message(**header)
    if status == 200:  # the sender's own tenant decides; with the wrong one there it is refused as well
        event["event"]["sender"]["tenant_key"] = header["tenant_key"]
        status = 400
    assert (await attacker.send(event))[0] == status
    assert nothing_happened(world)


async def test_a_replay_has_no_second_effect_whatever_it_comes_in(world: World, attacker: WebhookClient):
    asked = await world.say(world.sam, "/help")
    await world.answer_to(asked)
    event = next(each.body for each in world.tenant.events.values())
    body = attacker.seal(event)
    headers = attacker.sign(body)
    again = json.loads(json.dumps(event))
    again["header"]["event_id"] = "another-envelope"
    for sent, signed in (
        (body, headers),
        (body, headers),  # the same bytes
        (body, attacker.sign(body, ahead=60)),  # signed again
        (attacker.seal(event), None),  # encrypted again
        (attacker.seal(again), None),  # the same message in a new envelope
    ):
        assert (await attacker.post(sent, signed or attacker.sign(sent)))[0] == 200
    at_once = [attacker.post(body, headers) for _ in range(20)]
    assert {status for status, _ in await asyncio.gather(*at_once)} == {200}
    await asyncio.sleep(0.5)
    assert len(without_acknowledgements(world.from_bot(world.direct(world.sam)))) == 1
    assert world.count("deferred_calls") == 1


async def test_nothing_of_an_event_with_duplicate_keys_is_read(world: World, attacker: WebhookClient):
    """Whichever value another reader would take: an object that names a member twice is not read at all."""
    good = json.dumps(attacker.message())
    header = json.dumps(attacker.message(token="guessed")["header"])
    body = attacker.seal(f'{good[:-1]}, "header": {header}}}'.encode())
    assert (await attacker.post(body, attacker.sign(body)))[0] == 400
    doubled = b'{"encrypt": "AAAA", ' + attacker.seal(attacker.message())[1:]
    assert (await attacker.post(doubled, attacker.sign(attacker.seal(attacker.message()))))[0] == 401
    assert nothing_happened(world)


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "nonsense", ""])
async def test_the_content_type_neither_helps_nor_hurts(
    world: World, attacker: WebhookClient, content_type: str
):
    body = attacker.seal(attacker.message())
    signed = attacker.sign(body)
    assert (await attacker.post(body, {"Content-Type": content_type}))[0] == 401
    assert nothing_happened(world)
    assert (await attacker.post(body, signed | {"Content-Type": content_type}))[0] == 200


async def test_challenges_are_answered_for_the_platform_alone(world: World, attacker: WebhookClient):
    token = attacker.app.verification_token
    question = {"type": "url_verification", "token": token, "challenge": "abc"}
    assert await attacker.post(attacker.seal(question)) == (200, '{"challenge": "abc"}')
    for wrong in (
        question | {"token": "guessed"},
        question | {"token": None},
        {"type": "url_verification", "challenge": "abc"},
        question | {"challenge": "x" * 300},
        question | {"challenge": ["abc"]},
        question | {"challenge": "<script>\n"},
        question | {"type": "event_callback"},
        attacker.message() | {"type": "event"},
    ):
        assert (await attacker.post(attacker.seal(wrong)))[0] == 401, wrong
    plain = json.dumps(question).encode()
    assert (await attacker.post(plain))[0] == 401
    assert (await attacker.post(plain, attacker.sign(plain)))[0] == 400
    # An event that calls itself a challenge is no event.
    both = attacker.message() | {"type": "url_verification", "token": token, "challenge": "abc"}
    assert (await attacker.send(both))[0] == 200
    assert nothing_happened(world)


async def test_what_is_large_deep_or_packed_is_refused_and_costs_little(
    world: World, attacker: WebhookClient
):
    assert world.process is not None
    deep = b'{"a":' * 50_000 + b"1" + b"}" * 50_000
    packed = gzip.compress(b'{"encrypt":"' + b"A" * 300_000_000 + b'"}')
    before = memory_of(world.process.pid)
    for body, headers, statuses in (
        (b"A" * 1_100_000, {}, {413}),
        (attacker.seal(b"A" * 900_000), {}, {413}),
        (deep, {}, {401}),
        (deep, attacker.sign(deep), {400}),
        (b'{"encrypt":' * 10_000, {}, {401}),
        (packed, {"Content-Encoding": "gzip"}, {415}),
        (zlib.compress(b"A" * 50_000_000), {"Content-Encoding": "deflate"}, {415}),
        (b"\xff\xfe\x00", {}, {401}),
        (b"\xff\xfe\x00", attacker.sign(b"\xff\xfe\x00"), {400}),
        (b"9" * 900_000, attacker.sign(b"9" * 900_000), {400}),
    ):
        status, _ = await attacker.post(body, headers)
        assert status in statuses, (body[:20], status)
    sealed_deep = attacker.seal(deep)
    assert (await attacker.post(sealed_deep, attacker.sign(sealed_deep)))[0] == 400
    for inner in (b"\xff", b"", b"null", b"[]", b"9" * 5000, b'"\\ud800"'):
        body = attacker.seal(inner)
        assert (await attacker.post(body, attacker.sign(body)))[0] in {400, 401}, inner
    assert memory_of(world.process.pid) - before < 64 * 1024 * 1024
    assert nothing_happened(world)


def memory_of(pid: int) -> int:
    """Resident bytes."""
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * 4096


async def test_bodies_that_trickle_in_are_cut_off_and_delay_nobody(world: World, attacker: WebhookClient):
    connections = [await asyncio.open_connection("127.0.0.1", world.port) for _ in range(100)]
    for path in ("/lark/events", "/oauth/lark/client/results"):
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        head += f"Origin: {world.public}\r\nContent-Length: 1000\r\n\r\n{{"
        for _, writer in connections[:50]:
            writer.write(head.encode())
        connections = connections[50:] + connections[:50]
    await world.answer_to(await world.say(world.sam, "/help"))
    for reader, writer in connections:
        answer = await asyncio.wait_for(reader.readline(), 10)
        assert b" 408 " in answer
        writer.close()


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
async def test_only_a_post_is_an_event(world: World, attacker: WebhookClient, method: str):
    body = attacker.seal(attacker.message())
    headers = attacker.sign(body) | {"X-HTTP-Method-Override": "POST"}
    assert (await attacker.post(body, headers, method))[0] == 405
    assert nothing_happened(world)


async def test_random_damage_to_a_signed_event_is_never_an_error_of_ours(
    world: World, attacker: WebhookClient
):
    """Bytes are flipped, cut, doubled and inserted: before the signature, after it, and inside the encryption."""
    chance = random.Random(7)
    for _ in range(FUZZ_ROUNDS):
        plain = json.dumps(attacker.message("/help")).encode()
        inside, outside = chance.random() < 0.6, chance.random() < 0.6
        body = attacker.seal(damaged(chance, plain) if inside else plain)
        headers = attacker.sign(body)
        status, _ = await attacker.post(damaged(chance, body) if outside or not inside else body, headers)
        assert status < 500
        if outside or not inside:
            assert status in {400, 401}
    assert (await attacker.send(attacker.message()))[0] == 200
    assert "Traceback" not in (world.directory / "bot.log").read_text()


def damaged(chance: random.Random, data: bytes) -> bytes:
    """The bytes, changed in one to four places."""
    spoiled = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(spoiled))
        match chance.randrange(4):
            case 0:
                spoiled[place] ^= chance.randrange(1, 256)
            case 1:
                del spoiled[place : place + chance.randint(1, 20)]
            case 2:
                spoiled[place:place] = chance.randbytes(chance.randint(1, 20))
            case _:
                spoiled[place:place] = spoiled[place : place + 40]
        if not spoiled:
            return b"x"
    return bytes(spoiled) if bytes(spoiled) != data else data + b"x"


async def test_events_that_are_refused_or_repeated_fill_no_log(world: World, attacker: WebhookClient):
    """One line for each reason, and one with their number every ten seconds."""
    log = world.directory / "bot.log"
    seen = attacker.seal(attacker.message())
    signed = attacker.sign(seen)
    assert (await attacker.post(seen, signed))[0] == 200
    before = len(log.read_text().splitlines())
    malformed = attacker.seal(attacker.message() | {"event": {}})
    elsewhere = attacker.message()
    elsewhere["header"]["app_id"] = "cli_another"
    stale = attacker.sign(seen, ahead=-9 * 3600)
    for body, headers, status in (
        (b"{}", {}, 401),
        (b"{", {}, 401),
        (seen, {}, 401),
        (seen, signed | {"X-Lark-Request-Nonce": "n"}, 401),
        (seen, stale, 401),
        (malformed, attacker.sign(malformed), 400),
        (attacker.seal(elsewhere), None, 403),
        (seen, signed, 200),
    ):
        headers = attacker.sign(body) if headers is None else headers
        for _ in range(60):
            assert (await attacker.post(body, headers))[0] == status
    told = log.read_text().splitlines()[before:]
    for words in (
        "not signed",
        "does not match",
        "stale",
        "malformed field",
        "another app",
        "event seen before",
    ):
        assert any(words in line for line in told), words
    assert len([line for line in told if "webhook refused" in line or "seen before" in line]) < 25
    assert len(told) < 60


async def test_a_database_that_is_away_fills_no_log_because_somebody_looks(world: World):
    """Each page and each probe fails, and the first of a kind alone has its traceback."""
    await world.start(BOT_LOG_LEVEL="info")
    log = world.directory / "bot.log"
    world.change("DROP TABLE sessions")
    world.change("ALTER TABLE authorization_requests RENAME TO gone")
    before = len(log.read_text().splitlines())
    for number in range(100):
        ticket = f"{number:043}"
        assert (await world.get(f"{world.public}/authorize/{ticket}"))[0] == 500
        cookie = f"bot_session={ticket}"
        assert (await world.get(f"{world.public}/permissions", Cookie=cookie))[0] == 500
    told = log.read_text().splitlines()[before:]
    failed = [line for line in told if "request failed" in line]
    assert len({line.partition("reason=")[2] for line in failed}) >= 2
    assert 2 <= len(failed) < 10
    assert sum("Traceback" in line for line in told) < 12

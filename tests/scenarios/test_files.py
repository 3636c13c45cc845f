"""A limit on open files, and visitors who open more connections than that: the bot goes on, and its log stays short."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from .changed_bot import bot_with_files
from .world import World

KINDS = {
    "that say nothing": b"",
    "that begin a request": b"GET /healthz HTTP/1.1\r\nHost: x\r\n",
    "that were answered": b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "that begin a body": b"POST /lark/events HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{",
}


@contextlib.contextmanager
def connections(port: int, count: int, said: bytes) -> Iterator[list[socket.socket]]:
    opened: list[socket.socket] = []
    try:
        for _ in range(count):
            each = socket.socket()
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", port))
            opened.append(each)
        yield opened
    finally:
        for each in opened:
            each.close()


def lines(world: World) -> list[str]:
    return (world.directory / "bot.log").read_text().splitlines()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("files", [256, 160])
async def test_more_connections_than_open_files_hinder_nobody_and_fill_no_log(
    world: World, files: int, kind: str
):
    world.runs = bot_with_files(files)
    await world.start(BOT_LOG_LEVEL="info")
    await world.authorized(world.sam)
    before = len(lines(world))
    with connections(world.port, 2000, KINDS[kind]) as opened:
        for _ in range(5):
            for each in opened:
                with contextlib.suppress(OSError):
                    each.send(KINDS[kind])
            asked = [await world.say(world.sam, "/me"), await world.say(world.sam, "/tasks")]
            for message in asked:
                await world.answer_to(message, patience=30)
            await world.get(f"{world.public}/healthz")
    more = lines(world)[before:]
    noise = [line for line in more if "Traceback" in line or "Too many" in line or "open files" in line]
    assert len(noise) <= 3, noise
    assert sum(map(len, more)) < 50_000
    assert world.process is not None
    assert world.process.returncode is None
    asked_after = await world.say(world.sam, "/me")
    await world.answer_to(asked_after)

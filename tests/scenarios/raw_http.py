"""Raw bytes sent to the bot, as no client library would send them, and the resources that the bot spends on them."""

from __future__ import annotations

import asyncio
import contextlib
import os
from dataclasses import dataclass

from .world import World


@dataclass
class Response:
    status: int
    headers: dict[str, str]
    body: str


def request(line: str, *headers: str, body: bytes | None = None) -> bytes:
    """Build a request with these headers, and the length of the body unless it is chunked."""
    lines = [f"{line} HTTP/1.1", "Host: bot.example", *headers]
    if body is not None and "Transfer-Encoding: chunked" not in headers:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


async def exchange(world: World, sent: bytes) -> Response:
    """Send bytes on a new connection and read one response. The bot may stop reading early."""
    reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
    sending = asyncio.create_task(send(writer, sent))
    try:
        async with asyncio.timeout(15):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            status, *lines = head.strip().split("\r\n")
            headers = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
            }
            body = b""
            if not sent.startswith(b"HEAD"):
                with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                    body = await reader.readexactly(int(headers.get("content-length", "0")))
            return Response(int(status.split()[1]), headers, body.decode(errors="replace"))
    finally:
        sending.cancel()
        writer.transport.abort()


async def send(writer: asyncio.StreamWriter, sent: bytes) -> None:
    with contextlib.suppress(ConnectionError):
        writer.write(sent)
        await writer.drain()


def processor_seconds(world: World) -> float:
    """Return the processor time that the bot's process has used."""
    assert world.process is not None
    with open(f"/proc/{world.process.pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def open_sockets(world: World) -> int:
    """Return the number of open sockets of the bot's process."""
    assert world.process is not None
    found = 0
    for file in os.scandir(f"/proc/{world.process.pid}/fd"):
        with contextlib.suppress(OSError):
            found += os.readlink(file.path).startswith("socket:")
    return found

"""Minimal HTTP/1.1, so that a stand-in costs less than what it stands in for.

Only for peers that send a Content-Length, on kept-alive connections, without pipelining.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
END = b"\r\n\r\n"

Handle = Callable[[bytes, bytes], bytes]
"""Takes head and body of a request, and returns the whole response."""


def split(buffer: bytes) -> tuple[bytes, bytes] | None:
    """Head and body of the message in `buffer`; None while it is not complete."""
    end = buffer.find(END)
    if end < 0:
        return None
    length = LENGTH.search(buffer, 0, end)
    size = int(length[1]) if length else 0
    start = end + len(END)
    return (buffer[:end], buffer[start : start + size]) if len(buffer) >= start + size else None


class Server(asyncio.Protocol):
    """Answers each request immediately."""

    def __init__(self, handle: Handle) -> None:
        self.handle = handle
        self.buffer = b""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer = self.buffer + data if self.buffer else data
        request = split(self.buffer)
        if request is not None:
            self.buffer = b""
            self.transport.write(self.handle(*request))


def response(body: bytes, status: bytes = b"200 OK") -> bytes:
    return (
        b"HTTP/1.1 %b\r\nContent-Type: application/json; charset=utf-8\r\n"
        b"X-Tt-Logid: 20260105093000010234567890\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)
    )


class Client(asyncio.Protocol):
    """One connection; one request at a time."""

    def __init__(self) -> None:
        self.buffer = b""
        self.answer: asyncio.Future[tuple[bytes, bytes]] | None = None
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer = self.buffer + data if self.buffer else data
        message = split(self.buffer)
        if message is not None and self.answer is not None:
            self.buffer = b""
            answer, self.answer = self.answer, None
            answer.set_result(message)

    def connection_lost(self, error: Exception | None) -> None:
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(error or ConnectionError("The server closed the connection."))

    def send(self, request: bytes) -> asyncio.Future[tuple[bytes, bytes]]:
        """Send a request. The future holds head and body of the response."""
        self.answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self.answer


async def connect(port: int) -> Client:
    _, client = await asyncio.get_running_loop().create_connection(Client, "127.0.0.1", port)
    return client


def post(path: str, body: bytes, headers: dict[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return (
        f"POST {path} HTTP/1.1\r\nHost: bench\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body
    )


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: bench\r\nUser-Agent: Mozilla/5.0\r\n\r\n".encode()

"""The long connection: receives events over a WebSocket that the bot opens, and reconnects whenever it is lost.

The SDK's client cannot be used. It runs on an event loop that its module creates, requests the address with a blocking
call, reads the next frame only after a handler has returned, does not answer frames of type `card`, waits up to two
minutes to reconnect, stops for good after some refusals, and logs the address, with which others could connect.
https://open.feishu.cn/document/server-docs/event-subscription-guide/event-subscription-configure-/request-url-configuration-case
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial

import aiohttp

from bot.core.api import Json
from bot.core.network import DIRECT, Network
from bot.core.response_values import parse_json_object
from bot.core.secrets import Secret
from bot.lark.frames import CONTROL, DATA, Frame, FrameError, PayloadAssembler, decode, encode, ping
from bot.lark.stream_endpoint import ClientConfig, refused_handshake, request_address
from bot.transport import long_connection
from bot.transport.http_client import HttpClient, OnRequest, drop_if_costly
from bot.transport.long_connection import SILENT, log_refusal

PONG_TIMEOUT = 10.0
"""Seconds for the answer to a ping of the platform's protocol. Detects that the platform is gone behind a live proxy."""


class Connection(long_connection.Connection):
    def __init__(self, socket: aiohttp.ClientWebSocketResponse, service: int) -> None:
        super().__init__(socket)
        self.service = service
        self.payloads = PayloadAssembler()
        self.silent_since: float | None = None
        """When a ping was sent, unless a frame has arrived since."""

    async def send(self, frame: Frame) -> None:
        await self.socket.send_bytes(encode(frame))


class LongConnection(long_connection.LongConnection[Connection, bytes]):
    """Passes on the payload of each event. The handler's answer, unless None, is part of the acknowledgement."""

    log = logging.getLogger(__name__)
    data_type = aiohttp.WSMsgType.BINARY
    no_failures = frozenset({None, SILENT})

    def __init__(
        self,
        *,
        app_id: str,
        app_secret: Secret,
        open_url: str,
        on_event: Callable[[bytes], Awaitable[Json]],
        on_refusal: Callable[[str, str], None] = log_refusal,
        network: Network = DIRECT,
        on_request: OnRequest | None = None,
    ) -> None:
        super().__init__(on_event=on_event, on_refusal=on_refusal, network=network, on_request=on_request)
        self._app_id, self._app_secret, self._open_url = app_id, app_secret, open_url
        self._config = ClientConfig()
        self._answers_pings = False

    def _pause(self, failures: int, *, refused: bool) -> float:
        return self._config.pause(failures, refused=refused)

    async def _connect(self, http: HttpClient, session: aiohttp.ClientSession) -> Connection:
        address = await request_address(http, self._open_url, self._app_id, self._app_secret)
        self._config = self._config.updated(address.config)
        try:
            socket = await self._open_socket(session, address.url)
        except aiohttp.WSServerHandshakeError as problem:
            raise refused_handshake(problem.status, problem.headers or {}) from None
        return Connection(socket, address.service)

    async def _receive(self, connection: Connection) -> None:
        pinging = asyncio.create_task(self._keep_pinging(connection))
        try:
            await self._read(connection)
            await connection.close()
        finally:
            pinging.cancel()

    async def _keep_pinging(self, connection: Connection) -> None:
        """Ping at the interval that the platform sets, which may change at any time."""
        with contextlib.suppress(ConnectionError):
            while True:
                await connection.send(ping(connection.service))
                pinged = time.monotonic()
                connection.silent_since = connection.silent_since or pinged
                while time.monotonic() < pinged + self._config.ping_interval:
                    await asyncio.sleep(1)
                    await self._check_silence(connection)

    async def _check_silence(self, connection: Connection) -> None:
        """Close a connection whose ping was not answered, if this platform has ever answered one."""
        silent_since = connection.silent_since
        if self._answers_pings and silent_since and time.monotonic() > silent_since + PONG_TIMEOUT:
            connection.close_reason = SILENT
            await connection.close()

    async def _handle_frame(self, connection: Connection, data: bytes) -> None:
        connection.silent_since = None
        try:
            frame = decode(data)
            connection.count_readable()
            if frame.method == CONTROL and frame.header("type") == "pong":
                self._answers_pings = True
                self._config = self._config.updated(parse_json_object(drop_if_costly(frame.payload)))
                connection.count_idle()
            elif frame.method == DATA and frame.header("type") in {"event", "card"}:
                wasted = connection.payloads.wasted
                payload = connection.payloads.add(frame, time.monotonic())
                if connection.payloads.wasted > wasted:
                    connection.count_idle()
                if payload is not None:
                    self._start_accepting(partial(self._acknowledge, connection, frame, payload))
            else:
                connection.count_idle()
        except FrameError as problem:
            connection.count_unreadable()
            self._on_refusal("a frame could not be read", str(problem))

    async def _acknowledge(
        self, connection: Connection, frame: Frame, payload: bytes, *, has_room: bool
    ) -> None:
        """Acknowledge an event once it is accepted, with the handler's answer; otherwise ask for redelivery."""
        started = time.monotonic()
        accepted, result = await self._accept(connection, payload, has_room=has_room)
        answer: Json = {"code": 200 if accepted else 500}
        if result is not None:
            answer = {"code": 200, "data": encode_result(result)}
        took = round((time.monotonic() - started) * 1000)
        try:
            await connection.send(frame.answered(json.dumps(answer).encode(), took))
        except ConnectionError:
            self._on_refusal(
                "an event was not answered", "the connection was lost; the event will be redelivered"
            )


def encode_result(result: Json) -> str:
    return base64.b64encode(json.dumps(result).encode()).decode()

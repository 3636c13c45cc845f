"""The SDK's long-connection client, made fit to run beside other things. Importing this takes seconds.

What is kept of it: the frames, putting split payloads together, the handshake's refusals, the settings that the
platform sends. What is replaced, and why:

- its loop is a variable of its module, shared by all clients: here everything runs on the loop it is called from;
- asking for the connection's address blocks, without a timeout;
- handlers run before anything else is read, and frames of type `card` are never answered;
- after a loss it waits up to 30 seconds and then tries every 120; it ends for good on some refusals;
- it logs the connection's URL, which lets others connect.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import websockets
from lark_oapi.core.enum import LogLevel
from lark_oapi.ws.client import (
    Client,
    _new_ping_frame,
    _parse_ws_conn_exception,
    _ws_connect_kwargs,
)
from lark_oapi.ws.const import DEVICE_ID, GEN_ENDPOINT_URI, SERVICE_ID
from lark_oapi.ws.enum import FrameType
from lark_oapi.ws.model import ClientConfig
from lark_oapi.ws.pb.pbbp2_pb2 import Frame

from bot.core.model import Json, Secret, Unreachable
from bot.lark.api import Http, parse_object

log = logging.getLogger(__name__)

# The SDK's own handler writes to stdout, past the masking that all other lines go through.
logging.getLogger("Lark").handlers.clear()

CONNECT_WITHIN = 8.0
LONGEST_PAUSE = 10.0
"""Seconds. Together with `CONNECT_WITHIN`: back within 30 of the platform being back, wherever an attempt stood."""
FIRST_PAUSE = 1.0

KEEPALIVE = 8.0
"""Seconds between pings of the WebSocket, and until one counts as lost: notices a peer that vanished silently.
The platform's own pings (every two minutes) do not say anything about the peer in time."""

LARGEST_FRAME = 8 * 1024 * 1024
FINISH_WITHIN = 0.8
"""Seconds that events under way have at the end. The platform sends again what was not answered."""


class CannotConnect(Exception):
    """Words for the log."""


class StreamClient(Client):  # type: ignore[misc]
    """Stays connected until cancelled."""

    def __init__(
        self,
        app_id: str,
        app_secret: Secret,
        open_url: str,
        deliver: Callable[[bytes], Awaitable[Json]],
        on_state: Callable[[bool], None],
    ) -> None:
        # The SDK prints to standard output; what matters is logged here, in our own words.
        super().__init__(app_id, app_secret.reveal(), log_level=LogLevel.CRITICAL, domain=open_url)
        self._deliver = deliver
        self._on_state = on_state
        self._http = Http()
        self._handling: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Connects, receives, and connects again, whatever happens."""
        failures = 0
        try:
            while True:
                try:
                    async with asyncio.timeout(CONNECT_WITHIN):
                        await self._open()
                    failures = 0
                    await self._receive()
                except Exception as problem:
                    failures += 1
                    log.warning(
                        "no long connection", extra={"reason": reason_of(problem), "attempt": failures}
                    )
                await asyncio.sleep(pause_after(failures))
        finally:
            await self._end()

    # --- connecting

    async def _open(self) -> None:
        url = await self._address()
        query = parse_qs(urlsplit(url).query)
        if not query.get(DEVICE_ID) or not query.get(SERVICE_ID, [""])[0].isdecimal():
            raise CannotConnect("the platform gave an address without its parameters")
        self._service_id = query[SERVICE_ID][0]
        try:
            self._conn = await websockets.connect(
                url,
                open_timeout=CONNECT_WITHIN,
                close_timeout=1,
                ping_interval=KEEPALIVE,
                ping_timeout=KEEPALIVE,
                max_size=LARGEST_FRAME,
                **_ws_connect_kwargs(),
            )
        except websockets.exceptions.InvalidHandshake as refusal:
            _parse_ws_conn_exception(refusal)

    async def _address(self) -> str:
        """Where to connect. It is for one connection, and whoever has it can take our events."""
        body = {"AppID": self._app_id, "AppSecret": self._app_secret}
        answer = await self._http.fetch("POST", self._domain + GEN_ENDPOINT_URI, body=body)
        if isinstance(answer, Unreachable):
            raise CannotConnect(answer.reason)
        parsed = parse_object(answer.body) or {}
        if parsed.get("code") != 0:
            raise CannotConnect(f"HTTP {answer.status}, {parsed.get('code')} {parsed.get('msg')}")
        data = parsed.get("data")
        fields = data if isinstance(data, dict) else {}
        if isinstance(fields.get("ClientConfig"), dict):
            self._configure(ClientConfig(fields["ClientConfig"]))
        url = fields.get("URL")
        if not isinstance(url, str) or not url.startswith(("wss://", "ws://")):
            raise CannotConnect("the platform gave no address")
        return url

    def _configure(self, conf: Any) -> None:
        """Of the platform's wishes only the pings are taken: reconnecting is promised to be faster than it asks."""
        if isinstance(conf.PingInterval, int):
            self._ping_interval = min(max(conf.PingInterval, 1), 120)

    # --- receiving

    async def _receive(self) -> None:
        """Until the connection is lost."""
        self._on_state(True)
        log.info("long connection up")
        pinging = asyncio.create_task(self._keep_pinging())
        try:
            async for message in self._conn:
                task = asyncio.create_task(self._handle_message(message))
                self._handling.add(task)
                task.add_done_callback(self._handling.discard)
        except websockets.exceptions.ConnectionClosed:
            pass
        finally:
            self._on_state(False)
            pinging.cancel()
        log.warning("long connection lost", extra={"reason": close_reason(self._conn)})

    async def _keep_pinging(self) -> None:
        """The platform's own ping; its answer may carry new settings."""
        with contextlib.suppress(websockets.exceptions.ConnectionClosed):
            while True:
                await self._conn.send(_new_ping_frame(int(self._service_id)).SerializeToString())
                await asyncio.sleep(self._ping_interval)

    async def _handle_message(self, message: Any) -> None:
        try:
            frame = Frame()
            frame.ParseFromString(message)
            if frame.method == FrameType.CONTROL.value:
                await self._handle_control_frame(frame)
            elif frame.method == FrameType.DATA.value:
                await self._handle_data_frame(frame)
        except websockets.exceptions.ConnectionClosed:
            log.info("the long connection was lost before an event could be answered; it will come again")
        except Exception as problem:
            log.warning("a frame could not be read", extra={"reason": type(problem).__name__})

    async def _handle_data_frame(self, frame: Any) -> None:
        """Acknowledges an event once it was delivered, with what is to be answered; refuses it when that fails."""
        connection = self._conn
        headers = {header.key: header.value for header in frame.headers}
        parts = int(headers.get("sum", "1"))
        payload = frame.payload
        if parts > 1:
            payload = self._combine(headers["message_id"], parts, int(headers["seq"]), payload)
            if payload is None:
                return
        started = time.monotonic()
        try:
            result = await self._deliver(payload)
        except Exception as problem:
            # Without the traceback: it may quote what a person wrote. Whoever raised it has logged it.
            log.error("an event was not accepted", extra={"reason": type(problem).__name__})
            answer: Json = {"code": 500}
        else:
            answer = {"code": 200}
            if result is not None:
                answer["data"] = base64.b64encode(json.dumps(result, ensure_ascii=False).encode()).decode()
        took = frame.headers.add()
        took.key, took.value = "biz_rt", str(round((time.monotonic() - started) * 1000))
        frame.payload = json.dumps(answer, separators=(",", ":")).encode()
        await connection.send(frame.SerializeToString())

    # --- ending

    async def _end(self) -> None:
        if self._handling:
            await asyncio.wait(self._handling, timeout=FINISH_WITHIN)
        for task in self._handling:
            task.cancel()
        if self._conn is not None:
            await self._conn.close()
        await self._http.close()


def pause_after(failures: int) -> float:
    """Doubles with each failure, and is drawn from its upper half: many replicas lose their connections at once."""
    pause: float = min(FIRST_PAUSE * 2 ** min(failures, 10), LONGEST_PAUSE)
    return pause * random.uniform(0.5, 1)  # noqa: S311 - jitter


def reason_of(problem: Exception) -> str:
    """Never holds the connection's URL, which some exceptions quote."""
    if isinstance(problem, TimeoutError):
        return "no answer in time"
    if isinstance(problem, OSError):
        return "no connection"
    if isinstance(problem, websockets.exceptions.InvalidURI):
        return "the platform gave an address that is none"
    return str(problem) or type(problem).__name__


def close_reason(connection: Any) -> str:
    return f"{connection.close_code} {connection.close_reason or ''}".strip()

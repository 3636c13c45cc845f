"""The long connection: receives events over a WebSocket that the bot opens, and reconnects whenever it is lost.

The platform's own client cannot be used: it requests the address with a blocking call, reconnects without delay or limit
after a disconnection, and sends no response to a frame whose topic is unknown or whose handler raises.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial

import aiohttp

from bot.core.api import Json
from bot.core.network import DIRECT, Network
from bot.core.retry import SECOND, backoff, spread
from bot.core.secrets import Secret
from bot.dingtalk.frames import CALLBACK, EVENT, SYSTEM, Frame, FrameError, decode
from bot.dingtalk.stream_endpoint import request_address
from bot.transport import long_connection
from bot.transport.http_client import HttpClient, OnRequest
from bot.transport.long_connection import FINISH_TIMEOUT, CannotConnect, Connection, log_refusal

FIRST_PAUSE, LONGEST_PAUSE = SECOND, 15 * SECOND
"""Pauses between attempts. The longest pause and one attempt take less than 30 seconds, because the connection must be up
within that time after the platform is."""

REFUSED_PAUSE = 20 * SECOND
"""The pause after a refusal that only an operator can resolve."""

QUICK_PAUSE = timedelta(seconds=0.5)
"""The longest pause before a connection replaces one that worked and that the platform closed or asked to close."""

ASKED_TO_RECONNECT = "the platform asks to reconnect"


class LongConnection(long_connection.LongConnection[Connection, Frame]):
    """Passes on the frame of each event or callback. The handler's answer is part of the acknowledgement."""

    log = logging.getLogger(__name__)
    data_type = aiohttp.WSMsgType.TEXT
    no_failures = frozenset({None, ASKED_TO_RECONNECT})

    def __init__(
        self,
        *,
        app_id: str,
        app_secret: Secret,
        api_url: str,
        on_event: Callable[[Frame], Awaitable[Json]],
        on_refusal: Callable[[str, str], None] = log_refusal,
        network: Network = DIRECT,
        on_request: OnRequest | None = None,
    ) -> None:
        super().__init__(on_event=on_event, on_refusal=on_refusal, network=network, on_request=on_request)
        self._app_id, self._app_secret, self._api_url = app_id, app_secret, api_url

    def _pause(self, failures: int, *, refused: bool) -> float:
        jitter = random.random()  # noqa: S311 - spreads reconnections, guards nothing
        if refused:
            return spread(REFUSED_PAUSE, jitter).total_seconds()
        if failures == 0:
            return QUICK_PAUSE.total_seconds() * jitter
        return backoff(failures, jitter, first=FIRST_PAUSE, longest=LONGEST_PAUSE).total_seconds()

    def _outage_level(self, reason: str) -> int:
        return logging.INFO if reason == ASKED_TO_RECONNECT else logging.WARNING

    async def _connect(self, http: HttpClient, session: aiohttp.ClientSession) -> Connection:
        url = await request_address(http, self._api_url, self._app_id, self._app_secret)
        try:
            return Connection(await self._open_socket(session, url))
        except aiohttp.WSServerHandshakeError as problem:
            raise CannotConnect(f"the platform refused the connection: HTTP {problem.status}") from None

    async def _receive(self, connection: Connection) -> None:
        await self._read(connection)
        if connection.close_reason == ASKED_TO_RECONNECT and self._accepting:
            # The platform keeps the connection open for ten seconds, in which delivered frames can be acknowledged.
            await asyncio.wait(self._accepting, timeout=FINISH_TIMEOUT)
        await connection.close()

    async def _handle_frame(self, connection: Connection, data: str) -> None:
        try:
            frame = decode(data)
        except FrameError as problem:
            connection.count_unreadable()
            self._on_refusal("a frame could not be read", str(problem))
            return
        connection.count_readable()
        match frame.type, frame.topic:
            case "SYSTEM", "disconnect":
                connection.close_reason = ASKED_TO_RECONNECT
            case "SYSTEM", "ping":
                connection.count_idle()
                await connection.socket.send_str(frame.answer_ping())
            case kind, _ if kind == SYSTEM:
                connection.count_idle()
            case _:
                self._start_accepting(partial(self._acknowledge, connection, frame))

    async def _acknowledge(self, connection: Connection, frame: Frame, *, has_room: bool) -> None:
        """Acknowledge a frame once its event is accepted, with the handler's answer; otherwise reject it."""
        accepted, answer = await self._accept(connection, frame, has_room=has_room)
        try:
            await connection.socket.send_str(acknowledgement(frame, answer) if accepted else rejection(frame))
        except ConnectionError:
            self._on_refusal("an event was not answered", "the connection was lost")


def acknowledgement(frame: Frame, answer: Json) -> str:
    """Return the acknowledgement of a frame: a status for an event, the handler's answer for a callback."""
    if frame.type == EVENT:
        return frame.answer({"status": "SUCCESS", "message": "OK"})
    return frame.answer({"response": answer})


def rejection(frame: Frame) -> str:
    if frame.type == CALLBACK:
        return frame.answer({"response": None}, code=500)
    return frame.answer({"status": "LATER", "message": "not accepted"})

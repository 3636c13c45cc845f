"""Events by the long connection: on a thread with a loop of its own, so that the SDK can stall nothing but itself."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable

from bot.core.model import Json, Secret

log = logging.getLogger(__name__)

STOP_WITHIN = 2.0

OnEvent = Callable[[bytes], Awaitable[Json]]
"""Takes one event's payload, on the loop that called `start`. The event is acknowledged when it has returned, with
what it returned unless that is None; when it raises, the platform sends the event again."""


class LongConnection:
    """`await start()`, look at `up`, `await stop()`. Connects by itself for as long as it takes."""

    def __init__(self, *, app_id: str, app_secret: Secret, open_url: str, on_event: OnEvent) -> None:
        self._app_id, self._app_secret, self._open_url = app_id, app_secret, open_url
        self._on_event = on_event
        self._up = False
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._serving: asyncio.Task[None] | None = None

    @property
    def up(self) -> bool:
        """Whether events can come in at this moment."""
        return self._up

    async def start(self) -> None:
        """Returns when the SDK is imported, which takes seconds, and the first attempt to connect is under way."""
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        self._thread = threading.Thread(
            target=self._run, args=(loop, ready), name="lark-long-connection", daemon=True
        )
        self._thread.start()
        await ready

    async def stop(self) -> None:
        """Closes the connection; takes 2 seconds at most."""
        self._stopping = True
        if self._thread is None:
            return
        if self._loop is not None and self._serving is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._serving.cancel)
        await asyncio.to_thread(self._thread.join, STOP_WITHIN)
        self._up = False

    def _run(self, main: asyncio.AbstractEventLoop, ready: asyncio.Future[None]) -> None:
        """The thread."""
        try:
            asyncio.run(self._serve(main, ready))
        except asyncio.CancelledError:
            pass
        except Exception as problem:
            log.exception("the long connection ended")
            tell(main, ready, problem)

    async def _serve(self, main: asyncio.AbstractEventLoop, ready: asyncio.Future[None]) -> None:
        # Imported on this loop, because the SDK keeps whichever it finds.
        from bot.lark.stream_client import StreamClient  # noqa: PLC0415

        async def deliver(payload: bytes) -> Json:
            handled = asyncio.run_coroutine_threadsafe(awaited(self._on_event(payload)), main)
            return await asyncio.wrap_future(handled)

        client = StreamClient(self._app_id, self._app_secret, self._open_url, deliver, self._set_up)
        self._loop = asyncio.get_running_loop()
        self._serving = asyncio.create_task(client.serve())
        tell(main, ready, None)
        if not self._stopping:
            await self._serving

    def _set_up(self, up: bool) -> None:
        self._up = up


async def awaited(result: Awaitable[Json]) -> Json:
    return await result


def tell(main: asyncio.AbstractEventLoop, ready: asyncio.Future[None], problem: Exception | None) -> None:
    """Settles `ready` from the thread, unless it is settled or nobody is there any more."""

    def settle() -> None:
        if not ready.done():
            ready.set_exception(problem) if problem else ready.set_result(None)

    if not main.is_closed():
        main.call_soon_threadsafe(settle)

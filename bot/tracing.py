"""Traces with OpenTelemetry, for operators who have configured it by its standard variables (`OTEL_…`).

Needs the extra `bot-that-asks[otel]`. Without a configuration, nothing of it is imported. Spans are sent by OTLP over
HTTP, in a separate thread. A collector that is away costs the bot nothing but spans.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from bot.core.build import Build
from bot.core.endpoints import SentRequest, endpoint_of
from bot.flows import correlation
from bot.flows.tracing import Tracer

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Link, SpanContext

log = logging.getLogger(__name__)

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
HTTP = "http/protobuf"

CLOSE_TIMEOUT = 1.5
"""Seconds for the last spans at shutdown."""
MAX_REMEMBERED = 10_000
PROBLEM_INTERVAL = 600.0
"""Seconds between two log lines about a collector that does not answer."""


def variable_that_asks(environ: Mapping[str, str]) -> str | None:
    """Return the variable by which traces are configured, or None if they are not."""
    exporters = [each.strip() for each in environ.get("OTEL_TRACES_EXPORTER", "").split(",")]
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" or "none" in exporters:
        return None
    if "otlp" in exporters:
        return "OTEL_TRACES_EXPORTER"
    return (
        next((name for name in ENDPOINTS if environ.get(name, "").strip()), None)
        if exporters == [""]
        else None
    )


def tracer_for(environ: Mapping[str, str], build: Build, instance: str) -> Tracer:
    """Return what records spans, as the environment configures it. A mistake there is logged, and nothing is recorded."""
    variable = variable_that_asks(environ)
    if variable is None:
        return Tracer()
    name, protocol = next(((each, environ[each]) for each in PROTOCOLS if environ.get(each)), ("", HTTP))
    if protocol != HTTP:
        log.warning("no traces: set %s to %s, and the endpoint to the collector's port for it", name, HTTP)
        return Tracer()
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError:
        log.warning(
            "no traces: %s is set, but OpenTelemetry is not installed. Install bot-that-asks[otel]", variable
        )
        return Tracer()
    log_sparsely(logging.getLogger("opentelemetry"))
    logging.getLogger("urllib3").setLevel(logging.WARNING)
    named = {} if "OTEL_SERVICE_NAME" in environ else {"service.name": "bot-that-asks"}
    try:
        resource = Resource.create(
            {**named, "service.version": build.version, "service.instance.id": instance}
        )
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    except Exception as error:
        log.warning("no traces: the configuration in OTEL_… cannot be used", exc_info=error)
        return Tracer()
    return OpenTelemetryTracer(provider)


def log_sparsely(logger: logging.Logger) -> None:
    """Log one record of a library in a while: a collector that is away would otherwise fill the log."""
    logger.handlers[:] = [SparseHandler()]
    logger.propagate = False


class SparseHandler(logging.Handler):
    """Passes one record on to the log, and drops those of the next `PROBLEM_INTERVAL`."""

    def __init__(self) -> None:
        super().__init__()
        self._next = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + PROBLEM_INTERVAL
            logging.root.handle(record)


class OpenTelemetryTracer(Tracer):
    """Records spans with the ids of their story, and without the texts of exceptions, which may quote anything."""

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry import trace  # noqa: PLC0415 - see the head of this module
        from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415
            TraceContextTextMapPropagator,
        )

        self._provider, self._api = provider, trace
        self._tracer = provider.get_tracer("bot")
        self._propagator = TraceContextTextMapPropagator()
        self._events: OrderedDict[str, SpanContext] = OrderedDict()
        """The spans of the events that made calls, by the id of the call."""

    def span(
        self, name: str, *, call: str | None = None, is_arrival: bool = False, **attributes: str | int | None
    ) -> AbstractContextManager[None]:
        # A consent starts a separate trace, because a browser brings it, with a link to its event.
        event = self._events.get(correlation.bound().get("call", "")) if is_arrival else None
        links = [self._api.Link(event)] if event is not None else []
        return self._recorded(name, self._parent(call, is_arrival=is_arrival), is_arrival, links, attributes)

    @contextlib.contextmanager
    def _recorded(
        self,
        name: str,
        parent: Context | None,
        is_arrival: bool,
        links: Sequence[Link],
        attributes: Mapping[str, str | int | None],
    ) -> Iterator[None]:
        kinds, statuses = self._api.SpanKind, self._api.StatusCode
        with self._tracer.start_as_current_span(
            name,
            context=parent,
            kind=kinds.SERVER if is_arrival else kinds.INTERNAL,
            attributes=self._attributes(attributes),
            links=links,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except BaseException as error:
                span.set_status(statuses.ERROR, type(error).__name__)
                raise

    def _parent(self, call: str | None, *, is_arrival: bool) -> Context | None:
        """Return the context of what a span is below, or None for the current span."""
        if is_arrival:
            return self._propagator.extract({"traceparent": correlation.bound().get("traceparent", "")})
        event = self._events.get(call) if call is not None else None
        return self._api.set_span_in_context(self._api.NonRecordingSpan(event)) if event is not None else None

    def _attributes(self, attributes: Mapping[str, str | int | None]) -> dict[str, str | int]:
        ids = {name: value for name, value in correlation.bound().items() if name != "traceparent"}
        return {
            f"bot.{name}": value for name, value in {**ids, **attributes}.items() if value not in (None, "")
        }

    def remember(self, call: str) -> None:
        span = self._api.get_current_span()
        span.set_attribute("bot.call", call)
        self._events[call] = span.get_span_context()
        if len(self._events) > MAX_REMEMBERED:
            self._events.popitem(last=False)

    def request_sent(self, platform: str, sent: SentRequest) -> None:
        endpoint, started = endpoint_of(sent.path), int(sent.started_at * 1e9)
        attributes: dict[str, str | int] = {
            "http.request.method": sent.method,
            "url.template": endpoint,
            **self._attributes({"platform": platform, "code": sent.code}),
        }
        if sent.status is not None:
            attributes["http.response.status_code"] = sent.status
        span = self._tracer.start_span(
            f"{sent.method} {endpoint}",
            kind=self._api.SpanKind.CLIENT,
            attributes=attributes,
            start_time=started,
        )
        if sent.status is None or sent.status >= 400:
            span.set_status(self._api.StatusCode.ERROR)
        span.end(started + int(sent.seconds * 1e9))

    async def close(self) -> None:
        # In a thread that the process does not wait for: a collector that does not answer takes a long time.
        loop, closed = asyncio.get_running_loop(), asyncio.Event()

        def shut_down() -> None:
            self._provider.shutdown()
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(closed.set)

        threading.Thread(target=shut_down, daemon=True).start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await closed.wait()

"""A collector of traces that receives OTLP over HTTP, as the exporter of OpenTelemetry sends it."""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.ports import free_port


@dataclass(frozen=True)
class Span:
    name: str
    trace: str
    id: str
    parent: str
    attributes: dict[str, Any]
    links: list[str]
    kind: int
    failed: bool
    seconds: float


@dataclass
class Collector:
    port: int = field(default_factory=free_port)
    spans: list[Span] = field(default_factory=list)
    resources: list[dict[str, Any]] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        application = web.Application(client_max_size=64 * 1024**2)
        application.router.add_post("/v1/traces", self._receive)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        return self

    async def __aexit__(self, *problem: object) -> None:
        await self._runner.cleanup()

    async def _receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        if body[:2] == b"\x1f\x8b":
            body = gzip.decompress(body)
        for each in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resources.append(plain(each.resource.attributes))
            self.spans += [
                Span(
                    span.name,
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    plain(span.attributes),
                    [link.trace_id.hex() for link in span.links],
                    span.kind,
                    span.status.code == span.status.STATUS_CODE_ERROR,
                    (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
                )
                for scope in each.scope_spans
                for span in scope.spans
            ]
        return web.Response()

    def named(self, start: str) -> list[Span]:
        return [span for span in self.spans if span.name.startswith(start)]


def plain(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}

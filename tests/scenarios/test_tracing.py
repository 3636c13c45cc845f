"""Traces: an event, its call and its requests in one trace, sent to a collector if one is configured."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import textwrap
import time
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bot.tracing import log_sparsely, variable_that_asks
from tests.bot_process import REPOSITORY
from tests.ports import free_port

from .collector import Collector
from .webhook_client import WebhookClient
from .world import World

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SERVER, CLIENT = 2, 3
"""Kinds of spans."""


@pytest.fixture
async def collector(world: World) -> AsyncIterator[Collector]:
    async with Collector() as collector:
        world.settings |= {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.port}",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }
        yield collector


async def test_the_loop_is_a_trace(world: World, collector: Collector) -> None:
    await world.start(OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=test")
    asked = await world.authorized(world.sam)
    call = world.only("deferred_calls", message_id=asked)
    await world.until(lambda: len(collector.named("call tasks")) == 2, "both runs of the call")
    assert await world.stop() == 0
    (event,) = collector.named("event message")
    assert (event.kind, event.parent, event.failed) == (SERVER, "", False)
    assert event.attributes["bot.call"] == call["id"]
    assert event.attributes["bot.event"]
    for run in collector.named("call tasks"):
        assert (run.trace, run.parent) == (event.trace, event.id)
        assert run.attributes["bot.call"] == call["id"]
        assert run.attributes["bot.message_id"] == asked
    runs = {run.id for run in collector.named("call tasks")}
    steps = collector.named("call step")
    assert len(steps) >= 3
    assert {step.parent for step in steps} == runs
    requests = [span for span in collector.spans if span.kind == CLIENT and span.trace == event.trace]
    assert {"GET /open-apis/task/v2/tasks", "POST /open-apis/im/v1/messages/{id}/reply"} <= {
        span.name for span in requests
    }
    (listed,) = [span for span in requests if span.name == "GET /open-apis/task/v2/tasks"]
    assert listed.parent in {step.id for step in steps}
    assert listed.attributes["http.response.status_code"] == 200
    assert listed.attributes["bot.code"] == "0"
    assert 0 < listed.seconds < 10
    (consent,) = collector.named("consent")
    assert consent.links == [event.trace]
    assert consent.attributes["bot.call"] == call["id"]
    exchange = collector.named("POST /open-apis/authen/v2/oauth/token")[0]
    assert (exchange.trace, exchange.parent) == (consent.trace, consent.id)
    (resource,) = [dict(each) for each in {tuple(sorted(r.items())) for r in collector.resources}]
    assert resource["service.name"] == "bot-that-asks"
    assert resource["service.instance.id"]
    assert resource["service.version"]
    assert resource["deployment.environment.name"] == "test"


async def test_no_span_has_a_secret_or_what_was_written(world: World, collector: Collector) -> None:
    await world.start()
    await world.authorized(world.sam, "/search a-word-that-nobody-may-read")
    await world.say(world.sam, "/call GET /open-apis/contact/v3/users/ou_secretperson?x=secretquery")
    await world.until(lambda: collector.named("call call"), "the last call")
    await world.stop()
    told = json.dumps([[span.name, span.attributes] for span in collector.spans])
    app = world.tenant.app
    for secret in (
        app.app_secret,
        app.encrypt_key,
        world.key,
        "nobody-may-read",
        "secretperson",
        "secretquery",
    ):
        assert secret not in told


@pytest.mark.parametrize(
    ("flags", "recorded"), [("01", True), ("00", False)], ids=["sampled by the proxy", "not sampled"]
)
async def test_a_trace_of_the_proxy_is_continued(
    world: World, collector: Collector, flags: str, recorded: bool
) -> None:
    await world.start()
    client = WebhookClient(world)
    body = client.seal(client.message("/help"))
    await client.post(body, client.sign(body) | {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-{flags}"})
    await world.until(lambda: world.statuses("deferred_calls") == ["succeeded"], "the answer")
    await world.stop()
    names = {span.name: span for span in collector.spans if span.trace == TRACE}
    assert ({"event message", "call help", "call step"} <= names.keys()) == recorded
    if recorded:
        assert names["event message"].parent == "00f067aa0ba902b7"
    else:
        assert not collector.named("event")


@pytest.mark.parametrize(
    "header", ["00-xyz-00f067aa0ba902b7-01", "", "00-" + "0" * 32 + "-" + "0" * 16 + "-01"]
)
async def test_a_malformed_trace_of_a_stranger_begins_a_new_one(
    world: World, collector: Collector, header: str
) -> None:
    await world.start()
    client = WebhookClient(world)
    body = client.seal(client.message("/help"))
    status, _ = await client.post(body, client.sign(body) | {"traceparent": header})
    assert status == 200
    await world.until(lambda: collector.named("event message"), "the event")
    (event,) = collector.named("event message")
    assert event.parent == ""
    assert event.trace != "0" * 32


async def test_a_failure_is_an_error_without_its_text(world: World, collector: Collector) -> None:
    await world.start()
    await world.trouble({"path": "/open-apis/authen/v1/user_info"}, "status", status=400)
    await world.say(world.sam, "/me")
    card = await world.card_for(world.sam)
    await world.consent(world.sam, card)
    await world.until(lambda: [span for span in collector.spans if span.failed], "a failed request")
    failed = next(span for span in collector.spans if span.failed)
    assert failed.attributes["http.response.status_code"] == 400
    assert not any(name.startswith("exception") for name in failed.attributes)


async def test_a_collector_that_is_away_costs_nothing_but_spans(world: World) -> None:
    await world.start(
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{free_port()}", OTEL_BSP_SCHEDULE_DELAY="50"
    )
    await world.authorized(world.sam)
    for _ in range(3):
        await world.answer_to(await world.say(world.sam, "/help"))
    began = time.monotonic()
    assert await world.stop() == 0
    assert time.monotonic() - began < 8
    log = (world.directory / "bot.log").read_text()
    assert log.count("opentelemetry") <= 2
    assert "Traceback" not in log


def test_what_the_library_repeats_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("library-that-repeats")
    log_sparsely(logger)
    for number in range(100):
        logging.getLogger(f"{logger.name}.exporter.{number % 3}").error("away", extra={"number": number})
    assert [record.number for record in caplog.records] == [0]  # type: ignore[attr-defined]


async def test_a_consent_continues_the_trace_of_the_proxy_and_is_linked_to_its_event(
    world: World, collector: Collector
) -> None:
    await world.start()
    asked = await world.say(world.sam, "/tasks")
    card = await world.fresh_card(world.sam, asked)
    page = await world.decide(await world.open(card), world.sam)
    await world.get(page, traceparent=f"00-{TRACE}-00f067aa0ba902b7-01")
    await world.answer_to(asked)
    await world.until(lambda: collector.named("consent"), "the consent")
    (consent,) = collector.named("consent")
    (event,) = collector.named("event message")
    assert (consent.trace, consent.parent) == (TRACE, "00f067aa0ba902b7")
    assert consent.links == [event.trace]


# --- what is not configured ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "variable"),
    [
        ({}, None),
        ({"OTEL_SERVICE_NAME": "bot"}, None),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://c:4318"}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, None),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c"}, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, "OTEL_TRACES_EXPORTER"),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, None),
        ({"OTEL_TRACES_EXPORTER": "zipkin", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, None),
        ({"OTEL_SDK_DISABLED": "TRUE", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, None),
    ],
)
def test_the_standard_variables_decide(environment: dict[str, str], variable: str | None) -> None:
    assert variable_that_asks(environment) == variable


@pytest.mark.parametrize("configured", [False, True])
async def test_without_a_configuration_nothing_of_it_is_loaded_or_said(
    world: World, configured: bool
) -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    await world.start(**({"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint} if configured else {}))
    assert world.process is not None
    loaded = Path(f"/proc/{world.process.pid}/maps").read_text()
    assert ("google/_upb" in loaded) == configured, "the exporter's own library"
    await world.answer_to(await world.say(world.sam, "/help"))
    assert "OTEL" not in (world.directory / "bot.log").read_text()


WITHOUT_PACKAGE = """
    import sys
    from importlib.abc import MetaPathFinder

    class Missing(MetaPathFinder):
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] == "opentelemetry":
                raise ModuleNotFoundError(name)

    sys.meta_path.insert(0, Missing())
    import logging, asyncio
    import bot.app
    from bot.core.build import Build
    from bot.flows.tracing import Tracer
    from bot.tracing import tracer_for

    logging.basicConfig(format="%(message)s")
    tracer = tracer_for({environment!r}, Build("1", "1"), "i")
    assert type(tracer) is Tracer
    with tracer.span("event"):
        tracer.remember("call")
    assert not [name for name in sys.modules if name.startswith("opentelemetry")]
"""


@pytest.mark.parametrize("endpoint", ["", "http://127.0.0.1:4318"])
def test_without_the_package_the_bot_runs_and_says_what_to_install(endpoint: str) -> None:
    program = textwrap.dedent(WITHOUT_PACKAGE).replace(
        "{environment!r}", repr({"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint})
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=REPOSITORY
    )
    assert ran.returncode == 0, ran.stderr
    assert ("Install bot-that-asks[otel]" in ran.stderr) == bool(endpoint)
    assert len(ran.stderr.splitlines()) == (1 if endpoint else 0)


async def test_another_protocol_is_named(world: World, collector: Collector) -> None:
    await world.start(OTEL_EXPORTER_OTLP_PROTOCOL="grpc")
    await world.answer_to(await world.say(world.sam, "/help"))
    assert "set OTEL_EXPORTER_OTLP_PROTOCOL to http/protobuf" in (world.directory / "bot.log").read_text()
    assert collector.spans == []


def test_the_extra_is_not_locked_and_is_what_the_tests_install() -> None:
    extras: dict[str, Any] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    otel = extras["optional-dependencies"]["otel"]
    assert set(otel) <= set(extras["optional-dependencies"]["test"])
    assert "opentelemetry" not in (REPOSITORY / "docs" / "deploy" / "requirements.lock").read_text()

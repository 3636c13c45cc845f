"""Who this process is, whether it can serve, and what its events do; on the bot's port or on one of their own."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from importlib.metadata import version
from typing import Any

import pytest

from tests.ports import free_port
from tests.reused_databases import administer

from .raw_http import exchange, request
from .scrape import scrape, scrape_until
from .webhook_client import WebhookClient
from .world import World

ROUTES = ("healthz", "readyz", "metrics")


async def ready(world: World, port: int | None = None) -> tuple[int, dict[str, Any]]:
    status, _, body = await world.get(f"http://127.0.0.1:{port or world.port}/readyz")
    return status, json.loads(body)


async def ready_when(world: World, found: Callable[[int, dict[str, Any]], object]) -> dict[str, Any]:
    deadline = time.monotonic() + 20
    while not found(*(latest := await ready(world))):
        assert time.monotonic() < deadline, f"{latest}\n{world.log_tail()}"
        await asyncio.sleep(0.1)
    return latest[1]


async def test_liveness_tells_which_process_this_is(world: World) -> None:
    await world.start()
    instances = []
    for _ in range(2):
        status, _, body = await world.get(f"{world.public}/healthz")
        alive = json.loads(body)
        assert status == 200
        assert alive.keys() == {"status", "instance", "version"}
        assert (alive["status"], alive["version"]) == ("alive", version("bot-that-asks"))
        assert alive["instance"] == world.only("replicas")["id"]
        instances.append(alive["instance"])
        assert await world.stop() == 0
        await world.start()
    assert len(set(instances)) == 2, "one name for two processes"


# --- readiness -------------------------------------------------------------------------------------------


async def test_a_replica_is_ready_only_after_its_long_connection_was_up_once(world: World) -> None:
    world.tenant.app.events_by = "websocket"
    world.settings["LARK_EVENTS"] = "websocket"
    await world.control("app", enabled=False)
    world.process = world.fork(world.runs)
    await world.until(lambda: "no long connection" in world.log_tail(), "the first attempt", 30)
    before = await ready_when(world, lambda status, body: body["database"] == "up")
    status, body = await ready(world)
    assert status == 503
    assert (before["status"], body["events"]) == ("not ready", "down")
    assert "the app is disabled" in body["events_down_because"]
    assert (await world.get(f"{world.public}/healthz"))[0] == 200
    await world.control("app", enabled=True)
    up = await ready_when(world, lambda status, body: status == 200)
    assert up["events"] == "up"


@pytest.mark.parametrize("outage", ["the platform is down", "the app is disabled", "a proxy answers"])
async def test_an_outage_of_the_platform_takes_no_replica_away(world: World, outage: str) -> None:
    """Links and pages still work; the body and the metrics tell of the outage."""
    world.tenant.app.events_by = "websocket"
    await world.start(LARK_EVENTS="websocket")
    match outage:
        case "the platform is down":
            await world.platform_down()
        case "the app is disabled":
            await world.control("app", enabled=False)
        case _:
            await world.trouble({"path": "/callback/ws/endpoint"}, "html")
    if outage != "the platform is down":
        async with world.http.delete(f"{world.origin}/sandbox/api/connections?how=close"):
            pass
    deadline = time.monotonic() + 30
    while (latest := await ready(world))[1]["events"] != "down":
        assert latest[0] == 200
        assert time.monotonic() < deadline, latest
        await asyncio.sleep(0.1)
    status, body = await ready(world)
    assert (status, body["status"]) == (200, "ready")
    assert body["events_down_because"]
    assert (await world.get(f"{world.public}/permissions"))[0] == 200
    found = await scrape_until(
        world, lambda s: s.total("bot_platform_events_down_seconds", platform="lark") >= 1, "an outage"
    )
    assert found.total("bot_events_up") == 0
    if outage == "the platform is down":
        await world.platform_up()


async def test_the_apps_wrong_secret_is_told_although_webhooks_arrive(world: World) -> None:
    await world.start(LARK_APP_SECRET="not-the-secret-of-this-app")
    body = await ready_when(world, lambda status, body: body["platform"] == "down")
    assert "refuses the app's credentials" in body["platform_down_because"]
    assert body["platform_down_since"]
    assert (await ready(world))[0] == 200
    assert (await scrape(world)).total("bot_platform_down_seconds", platform="lark") >= 0
    assert "not-the-secret" not in json.dumps(body)


async def test_readiness_tells_the_last_event_and_the_refusals_by_reason(world: World) -> None:
    await world.start()
    _, body = await ready(world)
    assert (body["events"], body["events_last_at"], body["events_refused"]) == ("up", None, {})
    client = WebhookClient(world)
    await client.post(b"{}", {"Content-Type": "application/json"})
    _, body = await ready(world)
    assert (body["events"], body["events_refused"]) == ("up", {"not signed": 1}), "a stranger's request"
    sealed = client.seal(client.message())
    stranger = b'{"challenge":"x","type":"url_verification"}'
    elsewhere = client.seal(client.message(app_id="cli_other"))
    stolen = client.seal(client.message(token="guessed"))
    for _ in range(3):
        await client.post(sealed, client.sign(sealed, key="wrong-key"))
    for _ in range(2):
        await client.post(sealed, client.sign(sealed, ahead=-9 * 3600))
    await client.post(stranger, {"Content-Type": "application/json"})
    await client.post(elsewhere, client.sign(elsewhere))
    await client.post(stolen, client.sign(stolen))
    expected = {
        "the signature does not match": 3,
        "the signed timestamp is stale or ahead": 2,
        "not signed": 2,
        "for another app": 1,
        "the verification token does not match": 1,
    }
    status, body = await ready(world)
    assert status == 200
    assert body["events_refused"] == expected
    assert body["events_last_refused_at"]
    assert body["events_last_at"] is None
    refused = (await scrape(world)).find("bot_events_refused_total", platform="lark")
    assert refused == {(reason,): count for reason, count in expected.items()}
    before = time.time()
    await world.answer_to(await world.say(world.sam, "/help"))
    _, body = await ready(world)
    assert body["events_last_at"] is not None
    found = await scrape_until(world, lambda s: s.find("bot_last_event_timestamp_seconds"), "the last event")
    assert before - 1 < found.total("bot_last_event_timestamp_seconds", platform="lark") < time.time() + 1


@pytest.mark.parametrize("wrong", ["another key", "an older key", "no encryption"])
async def test_events_that_the_key_does_not_fit_are_told_until_one_arrives(world: World, wrong: str) -> None:
    """Every genuine event is refused, which looks like silence to users."""
    key = world.tenant.app.encrypt_key
    world.tenant.app.encrypt_key = {"another key": "k" * 32, "an older key": f"{key}-old"}.get(wrong, "")
    await world.start(LARK_ENCRYPT_KEY=key)
    await world.say(world.sam, "/help")
    body = await ready_when(world, lambda status, body: body["events_refused"])
    assert body["events"] == "refused"
    expected = "Encrypt Key" if wrong == "no encryption" else "the signature does not match"
    assert expected in body["events_refused_because"]
    await WebhookClient(world).post(b"{}", {"Content-Type": "application/json"})
    assert expected in (await ready(world))[1]["events_refused_because"], "a stranger's request hides it"
    world.tenant.app.encrypt_key = key
    await world.answer_to(await world.say(world.sam, "/help"))
    body = (await ready(world))[1]
    assert body["events"] == "up"
    assert body["events_last_at"] is not None
    assert "events_refused_because" not in body


# --- the database is away ----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["moved", "locked", "without its tables"])
async def test_metrics_do_not_fail_without_the_database(world: World, how: str) -> None:
    await world.start()
    await world.answer_to(await world.say(world.sam, "/help"))
    up = await scrape_until(world, lambda s: s.total("bot_database_up") == 1, "the database")
    assert up.find("bot_calls", status="queued") == {(): 0}
    elsewhere = world.database.with_suffix(".moved")
    other = sqlite3.connect(world.database, isolation_level=None)
    with closing(other):
        match how:
            case "moved":
                world.database.rename(elsewhere)
            case "locked":
                other.execute("BEGIN IMMEDIATE")
            case _:
                other.execute("ALTER TABLE scope_waits RENAME TO gone")
        down = await scrape_until(world, lambda s: s.total("bot_database_up") == 0, "outage", 40)
        assert down.total("bot_calls_ended_total", command="help", status="succeeded") == 1
        assert down.total("process_cpu_seconds_total") > 0
        if how != "locked":
            assert not down.find("bot_calls", status="queued"), "what was true once"
        match how:
            case "moved":
                elsewhere.rename(world.database)
            case "locked":
                other.execute("ROLLBACK")
            case _:
                other.execute("ALTER TABLE gone RENAME TO scope_waits")
        await scrape_until(world, lambda s: s.total("bot_database_up") == 1, "the database again", 40)


async def test_metrics_do_not_fail_without_postgresql(world: World, postgresql_url: str) -> None:
    await world.start(BOT_DATABASE_URL=postgresql_url)
    up = await scrape_until(world, lambda s: s.total("bot_database_up") == 1, "the database")
    assert abs(up.total("bot_clock_difference_seconds")) < 5
    assert up.find("bot_replicas", status="live") == {(): 1}
    server, _, name = postgresql_url.partition("?")[0].rpartition("/")
    query = postgresql_url.partition("?")[2]
    maintenance = f"{server}/postgres" + (f"?{query}" if query else "")
    administer(maintenance, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    administer(
        maintenance,
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
    )
    began = time.monotonic()
    down = await scrape_until(world, lambda s: s.total("bot_database_up") == 0, "outage", 30)
    assert down.names() & {"bot_calls", "bot_replicas"} == set()
    assert "bot_platform_requests_total" in down.names()
    assert (await ready(world))[0] == 503
    print(f"told after {time.monotonic() - began:.1f} s")
    administer(maintenance, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    await scrape_until(world, lambda s: s.total("bot_database_up") == 1, "the database again", 40)


async def test_many_scrapes_ask_the_database_once(world: World) -> None:
    """Anyone can ask for metrics, if no proxy prevents it."""
    await world.start()
    await scrape(world)
    began = time.monotonic()
    texts = await asyncio.gather(*(scrape(world) for _ in range(200)))
    lasted = time.monotonic() - began
    print(f"200 scrapes in {lasted:.2f} s, {len({each.text for each in texts})} readings")
    assert len({each.text for each in texts}) <= lasted + 2


# --- a port of their own -----------------------------------------------------------------------------------


async def test_with_a_port_of_their_own_they_are_served_there_alone(world: World) -> None:
    port = free_port()
    await world.start(BOT_METRICS_PORT=str(port))
    for route in ROUTES:
        status, _, page = await world.get(f"{world.public}/{route}")
        assert status == 404
        assert "Page not found" in page
        status, _, text = await world.get(f"http://127.0.0.1:{port}/{route}")
        assert status == 200, text
        assert (await exchange(world, request(f"GET /{route}"))).status == 404
    assert "bot_build_info" in (await scrape(world, port)).names()
    for path in ("permissions", "lark/events", "static/page.css", "authorize/x", "", "console", "METRICS"):
        status, _, text = await world.get(f"http://127.0.0.1:{port}/{path}")
        assert status == 404, path
    async with world.http.get(f"http://127.0.0.1:{port}/metrics") as response:
        assert response.headers["Content-Security-Policy"]
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Cache-Control"] == "no-store"
    async with world.http.post(f"http://127.0.0.1:{port}/metrics", data=b"x" * 100) as response:
        assert response.status == 405
    await world.answer_to(await world.say(world.sam, "/help"))
    assert f"metrics_port={port}" in (world.directory / "bot.log").read_text()
    assert await world.stop() == 0


@pytest.mark.parametrize("variable", ["BOT_METRICS_PORT", "BOT_PORT"])
async def test_a_port_that_is_taken_is_one_clear_line(world: World, variable: str) -> None:
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    world.settings |= {"BOT_METRICS_PORT": str(free_port()), variable: str(port)}
    code, _, errors = await world.cli("run")
    server.close()
    await server.wait_closed()
    (line,) = [each for each in errors.splitlines() if each.startswith("bot: ")]
    assert code == 1
    assert f"{variable}: port {port} of 127.0.0.1 is already in use" in line
    assert "choose another port" in line
    assert "Traceback" not in errors

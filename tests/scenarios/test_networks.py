"""Networks that people have: behind a proxy, behind an authority of their own, and with certificates gone wrong."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.bot_process import bot
from tests.ports import free_port
from tests.proxy_and_certificates import DAY, Authority, Proxy, running_proxy

from .world import World

OPEN, ACCOUNTS = "open.platform.example", "accounts.platform.example"
"""Names that no resolver knows: who reaches them has come through the proxy."""


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    async with running_proxy(Proxy()) as proxy:
        yield proxy


async def with_tls(world: World, context: ssl.SSLContext) -> int:
    """Opens the platform's door with a certificate, beside the plain one; returns its port."""
    port = free_port()
    await web.TCPSite(world.runner, "127.0.0.1", port, ssl_context=context).start()
    return port


@pytest.fixture
async def company(world: World, authority: Authority, proxy: Proxy) -> World:
    """A platform beyond a proxy, with the certificate of an authority that only SSL_CERT_FILE makes known."""
    port = await with_tls(world, authority.server(OPEN, ACCOUNTS))
    proxy.hosts |= {OPEN: port, ACCOUNTS: port}
    world.known_as = {f"https://{host}": world.origin for host in (OPEN, ACCOUNTS)}
    world.settings |= {
        "LARK_OPEN_URL": f"https://{OPEN}",
        "LARK_ACCOUNTS_URL": f"https://{ACCOUNTS}",
        "LARK_APPLINK_URL": "",
        "SSL_CERT_FILE": str(authority.file),
    }
    return world


async def readiness(world: World, what: str, patience: float = 20) -> dict[str, Any]:
    """What `/readyz` says once it says something of this kind."""
    deadline = asyncio.get_running_loop().time() + patience
    while asyncio.get_running_loop().time() < deadline:
        with contextlib.suppress(aiohttp.ClientError):
            body: dict[str, Any] = json.loads((await world.get(f"{world.public}/readyz"))[2])
            if body.get(what, "not connected yet") != "not connected yet":
                return body
        await asyncio.sleep(0.05)
    raise AssertionError(f"/readyz has no {what}.\n{world.log_tail()}")


async def doctor(world: World) -> tuple[int, str]:
    code, said, errors = await world.cli("doctor")
    assert errors == ""
    return code, said


# --- proxies -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "credentials", "written"),
    [
        ("HTTPS_PROXY", None, ""),
        ("https_proxy", "bot:hush-hush", "bot:hush-hush@"),
        ("HTTPS_PROXY", "us@r:p:ss/wörd", "us%40r:p%3Ass%2Fw%C3%B6rd@"),
    ],
)
@pytest.mark.parametrize("events", ["websocket", "webhook"])
async def test_the_whole_loop_goes_through_a_proxy(
    company: World, proxy: Proxy, variable: str, credentials: str | None, written: str, events: str
):
    """Calls, tokens, what is known of the app, revocation and the long connection alike."""
    proxy.credentials = credentials
    company.tenant.app.events_by = events
    company.settings[variable] = proxy.url.replace("://", f"://{written}")
    await company.start(LARK_EVENTS=events)
    await company.authorized(company.sam, "/tasks")
    await company.say(company.sam, "/revoke")
    await company.until(lambda: company.requests("/oauth/v1/revoke"), "the revocation")
    paths = {
        request["path"]
        for request in (change.data for change in company.tenant.feed.changes_after(0, "request"))
    }
    assert "/open-apis/authen/v2/oauth/token" in paths
    connections = company.tenant.feed.changes_after(0, "connection")
    assert bool(connections) == (events == "websocket")
    assert set(proxy.asked) == {f"CONNECT {host}:443 HTTP/1.1" for host in (OPEN, ACCOUNTS)}
    _, said = await doctor(company)
    assert f"through {proxy.url}" in said
    assert await company.stop() == 0
    log = (company.directory / "bot.log").read_text()
    for secret in ("hush", "ss/w", "%2Fw", "us@r", "us%40r"):
        assert secret not in log + said


async def test_the_long_connection_to_an_emulator_goes_through_a_proxy_on_this_machine(
    world: World, proxy: Proxy
):
    world.tenant.app.events_by = "websocket"
    await world.start(LARK_EVENTS="websocket", HTTP_PROXY=proxy.url)
    await world.authorized(world.sam, "/tasks")
    assert any(line.startswith("POST ") for line in proxy.asked)
    assert any("/ws/v2" in line for line in proxy.asked)


async def test_device_flow_goes_through_a_proxy(company: World, proxy: Proxy):
    company.tenant.behaviour.device_poll_seconds = 1
    await company.start(HTTPS_PROXY=proxy.url, BOT_PUBLIC_URL="")
    asked = await company.say(company.sam, "/tasks")
    card = await company.card_for(company.sam, "task:task:read")
    await company.click(company.sam, card, "authorize")
    codes = company.tenant.credentials.devices
    await company.until(lambda: codes, "a code")
    link = f"https://{ACCOUNTS}/oauth/v1/device/verify?user_code={next(iter(codes.values())).user_code}"
    _, target, _ = await company.get(link)
    await company.decide(target.split("id=")[1], company.sam)
    await company.answer_to(asked)


@pytest.mark.parametrize(
    ("trouble", "says"),
    [
        ({"refuses": 403}, "the proxy {0} refuses the connection (HTTP 403)"),
        ({"refuses": 502}, "the proxy {0} refuses the connection (HTTP 502)"),
        ({"credentials": "bot:other"}, "the proxy {0} requires other credentials (HTTP 407)"),
        (None, "no connection to the proxy {0}"),
    ],
)
async def test_proxy_errors_are_reported_as_proxy_errors(
    company: World, proxy: Proxy, trouble: dict[str, Any] | None, says: str
):
    for name, value in (trouble or {}).items():
        setattr(proxy, name, value)
    url = proxy.url if trouble else f"http://127.0.0.1:{free_port()}"
    says = says.format(url.removeprefix("http://"))
    company.settings["HTTPS_PROXY"] = url.replace("://", "://bot:hush-hush@")
    company.settings["LARK_EVENTS"] = "websocket"
    company.process = company.fork(bot("run"))
    assert says in (await readiness(company, "events_down_because"))["events_down_because"]
    code, said = await doctor(company)
    assert code == 1
    assert says in said
    await company.stop()
    log = (company.directory / "bot.log").read_text()
    assert says in log
    assert "hush" not in log + said


@pytest.mark.parametrize("value", ["socks5://127.0.0.1:1080", "http://us:hush#hush@proxy:3128", "http://"])
async def test_an_invalid_proxy_address_is_reported_at_the_start(world: World, value: str):
    world.settings["HTTPS_PROXY"] = value
    code, _, errors = await world.cli("run")
    assert code == 2
    assert errors.startswith("bot: HTTPS_PROXY: is not the address of an HTTP proxy.")
    assert errors.count("\n") == 1
    assert "hush" not in errors


async def test_a_proxy_is_not_asked_for_what_no_proxy_names_nor_a_distant_one_for_this_machine(
    world: World, authority: Authority, proxy: Proxy
):
    """In either the platform is there at once, though no proxy would lead to it."""
    port = await with_tls(world, authority.server("127.0.0.1", "localhost"))
    nowhere = f"http://127.0.0.1:{free_port()}"
    world.settings |= {"SSL_CERT_FILE": str(authority.file), "LARK_EVENTS": "websocket"}
    world.tenant.app.events_by = "websocket"
    for host, environ in (
        ("127.0.0.1", {"HTTPS_PROXY": nowhere, "NO_PROXY": "127.0.0.0/8"}),
        ("localhost", {"https_proxy": nowhere, "no_proxy": "example.com, localhost"}),
        ("127.0.0.1", {"HTTPS_PROXY": nowhere, "no_proxy": f"127.0.0.1:{port}"}),
        ("localhost", {"HTTPS_PROXY": "http://proxy.company.example:3128"}),
    ):
        origin = f"https://{host}:{port}"
        addresses = {f"LARK_{which}_URL": origin for which in ("OPEN", "ACCOUNTS")}
        _, said, _ = await with_settings(world, {**addresses, **environ}).cli("doctor")
        assert f"{origin} without a proxy" in said, said
        assert f"{origin} responds" in said
        assert "a long connection" in said
    for name in ("HTTP_PROXY", "http_proxy"):
        proxy.asked.clear()
        _, said, _ = await with_settings(world, {name: proxy.url}).cli("doctor")
        assert f"{world.origin} through {proxy.url}" in said
        assert f"GET {world.origin}/ HTTP/1.1" in proxy.asked


def with_settings(world: World, settings: dict[str, str]) -> World:
    """The same world with these settings, and without the proxies of another try."""
    kept = {name: value for name, value in world.settings.items() if not name.upper().endswith("_PROXY")}
    world.settings = {**kept, "LARK_OPEN_URL": world.origin, "LARK_ACCOUNTS_URL": world.origin, **settings}
    return world


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY"])
async def test_the_sandbox_needs_no_proxy(world: World, name: str):
    """Everything that its bot talks to is on this machine."""
    port, nowhere = free_port(), f"http://127.0.0.1:{free_port()}"
    call = bot("sandbox", "--port", str(port), "--no-browser")
    world.process = world.fork(call, **{name: nowhere})

    async def state() -> Any:
        with contextlib.suppress(aiohttp.ClientError):
            return json.loads((await world.get(f"http://127.0.0.1:{port}/sandbox/api/bot"))[2])["state"]

    deadline = asyncio.get_running_loop().time() + 40
    while (now := await state()) != "ready":
        assert now != "failed", world.log_tail()
        assert asyncio.get_running_loop().time() < deadline, world.log_tail()
        await asyncio.sleep(0.1)
    assert await world.stop() == 0


# --- certificates ------------------------------------------------------------------------------------------------


CERTIFICATES: dict[str, tuple[dict[str, Any], str]] = {
    "another authority's": ({}, "the certificate of 127.0.0.1 is not trusted; set SSL_CERT_FILE"),
    "its own": ({"self_signed": True}, "the certificate of 127.0.0.1 is not trusted; set SSL_CERT_FILE"),
    "expired": ({"since": -9 * DAY, "until": -DAY}, "the certificate of 127.0.0.1 has expired"),
    "early": ({"since": timedelta(hours=5)}, "the certificate of 127.0.0.1 is not valid yet"),
    "another's": (
        {"hosts": ["other.example", "127.0.0.2"]},
        "the certificate of 127.0.0.1 is for another name",
    ),
}


@pytest.mark.parametrize("which", CERTIFICATES)
async def test_a_rejected_certificate_is_reported_with_its_reason(
    world: World, authority: Authority, which: str
):
    """By doctor, in the log and at readyz; the first two need an authority, so that they are the only fault."""
    made, says = CERTIFICATES[which]
    port = await with_tls(world, authority.server(*made.pop("hosts", ["127.0.0.1"]), **made))
    origin = f"https://127.0.0.1:{port}"
    world.settings |= {"LARK_OPEN_URL": origin, "LARK_ACCOUNTS_URL": origin, "LARK_EVENTS": "websocket"}
    if "not trusted" not in says:
        world.settings["SSL_CERT_FILE"] = str(authority.file)
    world.process = world.fork(bot("run"))
    assert says in (await readiness(world, "events_down_because"))["events_down_because"]
    code, said = await doctor(world)
    assert code == 1
    assert f"{origin} is not reachable: {says}" in said
    await world.stop()
    assert says in (world.directory / "bot.log").read_text()


async def test_with_the_authority_in_ssl_cert_file_all_is_well(world: World, authority: Authority):
    """From a `.env` file as well, which OpenSSL itself would not read."""
    world.tenant.app.events_by = "websocket"
    origin = f"https://127.0.0.1:{await with_tls(world, authority.server('127.0.0.1'))}"
    (world.directory / ".env").write_text(f"SSL_CERT_FILE={authority.file}\n")
    (world.directory / ".env").chmod(0o600)
    world.known_as = {origin: world.origin}
    await world.start(
        LARK_OPEN_URL=origin, LARK_ACCOUNTS_URL=origin, LARK_APPLINK_URL="", LARK_EVENTS="websocket"
    )
    await world.authorized(world.sam, "/tasks")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"LARK_OPEN_URL": "https://127.0.0.1:{plain}"}, "no TLS with 127.0.0.1 ("),
        ({"LARK_ACCOUNTS_URL": "https://localhost:{port}"}, "the certificate of localhost is not trusted"),
        ({"LARK_OPEN_URL": "https://no-such-host.invalid"}, "no connection to no-such-host.invalid"),
    ],
)
async def test_each_host_is_looked_at_and_what_is_no_certificate_is_not_called_one(
    world: World, authority: Authority, settings: dict[str, str], says: str
):
    port, plain = await with_tls(world, authority.server("localhost")), world.origin.rpartition(":")[2]
    world.settings |= {name: value.format(port=port, plain=plain) for name, value in settings.items()}
    code, said = await doctor(world)
    assert code == 1
    assert says in said


async def test_by_webhook_readyz_and_the_log_tell_that_calls_cannot_go_out(
    world: World, authority: Authority
):
    """Such a bot is ready: events come in. That it cannot answer is in the body."""
    port = await with_tls(world, authority.server("127.0.0.1"))
    await world.start(LARK_OPEN_URL=f"https://127.0.0.1:{port}")
    body = await readiness(world, "platform_down_because")
    assert body["status"] == "ready"
    says = "the certificate of 127.0.0.1 is not trusted; set SSL_CERT_FILE"
    assert body["platform_down_because"] == says
    assert f"the platform cannot be reached host=127.0.0.1 reason={says}" in world.log_tail()
    await world.stop()
    await world.start(SSL_CERT_FILE=str(authority.file))
    await world.answer_to(await world.say(world.sam, "/help"))
    assert "platform_down_because" not in json.loads((await world.get(f"{world.public}/readyz"))[2])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read (No such file"),
        ("", "contains no certificate"),
        ("not PEM", "contains no certificate"),
    ],
)
async def test_an_ssl_cert_file_that_cannot_be_used_is_said_at_the_start(
    world: World, tmp_path: Path, content: str | None, says: str
):
    file = tmp_path / "mine.pem"
    if content is not None:
        file.write_text(content)
    world.settings["SSL_CERT_FILE"] = str(file)
    code, _, errors = await world.cli("run")
    assert code == 2
    assert errors.startswith("bot: SSL_CERT_FILE: ")
    assert says in errors
    assert errors.count("\n") == 1

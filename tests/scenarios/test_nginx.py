"""docs/deploy/nginx.conf, run by nginx in front of two replicas. Only addresses and files are replaced."""

from __future__ import annotations

import asyncio
import json
import os
import re
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.bot_process import REPOSITORY
from tests.debian import program
from tests.ports import free_port
from tests.proxy_and_certificates import Authority

from .replicas import Replicas
from .world import World

MAIN = """\
{user}
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/main.error.log;
events {{}}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/bot.conf;
}}
"""


class Nginx:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.plain, self.secure = free_port(), free_port()
        authority = Authority(folder)
        authority.server("bot.example.com", "localhost")
        (self.certificate,) = folder.glob("server-*.pem")
        self.trust = ssl.create_default_context(cafile=str(authority.file))

    def configure(self, ports: list[int]) -> None:
        source = (REPOSITORY / "docs" / "deploy" / "nginx.conf").read_text(encoding="utf-8")
        for before, after in {
            r"listen \[::\]:.*;": "",
            r"listen 80;": f"listen 127.0.0.1:{self.plain};",
            r"listen 443 ssl;": f"listen 127.0.0.1:{self.secure} ssl;",
            r"server 127\.0\.0\.1:8080": f"server 127.0.0.1:{ports[0]}",
            r"server 127\.0\.0\.1:8081": f"server 127.0.0.1:{ports[1]}",
            r"/etc/ssl/bot\.example\.com\.pem": str(self.certificate),
            r"/etc/ssl/private/bot\.example\.com\.key": str(self.certificate),
            r"/var/log/nginx": str(self.folder),
        }.items():
            source, count = re.subn(before, after, source)
            assert count, before
        (self.folder / "bot.conf").write_text(source)
        user = "user root;" if os.getuid() == 0 else ""
        (self.folder / "nginx.conf").write_text(MAIN.format(folder=self.folder, user=user))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        command = [program("nginx"), "-p", str(self.folder), "-c", str(self.folder / "nginx.conf")]
        checked = await asyncio.to_thread(
            subprocess.run, [*command, "-t"], capture_output=True, text=True, check=False
        )
        assert checked.returncode == 0, checked.stderr
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            while True:
                assert process.poll() is None, (self.folder / "main.error.log").read_text()
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.secure)
                except OSError:
                    await asyncio.sleep(0.02)
                    continue
                writer.close()
                break
            yield
        finally:
            process.terminate()
            await asyncio.to_thread(process.wait)

    def logged(self) -> list[dict[str, Any]]:
        lines = (self.folder / "bot.access.log").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def written(self) -> str:
        """Everything in the logs of nginx."""
        return "".join(each.read_text() for each in self.folder.glob("*.log"))


@pytest.fixture
async def behind(world: World, postgresql_url: str, tmp_path: Path) -> AsyncIterator[tuple[Nginx, Replicas]]:
    """Two replicas behind nginx, and a browser that trusts its certificate."""
    nginx = Nginx(tmp_path / "nginx")
    origin = f"https://localhost:{nginx.secure}"
    world.settings |= {"LARK_EVENTS": "websocket", "BOT_PUBLIC_URL": origin}
    world.tenant.app.events_by = "websocket"
    world.tenant.app.redirect_urls = [f"{origin}/oauth/lark/{page}" for page in ("callback", "client")]
    await world.http.close()
    world.http = aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(), connector=aiohttp.TCPConnector(ssl=nginx.trust)
    )
    async with Replicas(world, postgresql_url) as replicas:
        started = await replicas.start(2)
        nginx.configure([each.port for each in started])
        async with nginx.running():
            yield nginx, replicas


@pytest.mark.slow
async def test_two_replicas_behind_nginx_serve_and_its_logs_keep_tickets_and_codes_out(
    world: World, behind: tuple[Nginx, Replicas]
) -> None:
    nginx, replicas = behind
    secrets: list[str] = []
    for person in (world.sam, world.ada, world.wei):
        asked = await world.say(person, "/tasks")
        card = await world.fresh_card(person, asked)
        link = world.link_of(card)
        secrets.append(link.rpartition("/")[2])
        for spelling in (link.upper(), link.replace("/authorize", "//authorize"), f"{link}?x=1", f"{link}/"):
            await world.get(spelling.replace("HTTPS://LOCALHOST", "https://localhost"))
        back = await world.decide(await world.open(card), person)
        secrets += re.findall(r"(?:code|state)=([^&]+)", back)
        status, _, page = await world.get(back)
        assert status == 200, page
        await world.answer_to(asked)
        await world.get(back)  # a second time
    assert len(secrets) == 9
    written = nginx.written()
    assert [each for each in secrets if each.lower() in written.lower()] == []
    logged = nginx.logged()
    assert {"/authorize", "/oauth/lark/callback"} <= {each["path"] for each in logged}
    assert {each["upstream"] for each in logged if each["upstream"]} == {
        f"127.0.0.1:{each.port}" for each in replicas.all
    }
    assert all(each["request_id"] for each in logged)


@pytest.mark.slow
async def test_nginx_keeps_what_is_for_operators_and_survives_a_replica(
    world: World, behind: tuple[Nginx, Replicas]
) -> None:
    nginx, replicas = behind
    origin = f"https://localhost:{nginx.secure}"
    for path in ("/metrics", "/healthz", "/readyz", "//metrics", "/%6detrics", "/./healthz", "/x/../readyz"):
        async with world.http.get(f"{origin}{path}", allow_redirects=False) as response:
            assert response.status == 404, path
    async with world.http.get(
        f"http://localhost:{nginx.plain}/permissions", allow_redirects=False
    ) as response:
        assert (response.status, response.headers["Location"]) == (308, "https://bot.example.com/permissions")
    await replicas.all[0].kill()
    for _ in range(4):
        asked = await world.say(world.sam, "/help")
        async with world.http.get(f"{origin}/permissions", allow_redirects=False) as response:
            assert response.status in (200, 303)
        await world.answer_to(asked, patience=30)

"""No secret that ever existed can be read anywhere: files, log, cards, pages, addresses, numbers, operators' commands."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import aiohttp
import asyncpg
import pytest
from aiohttp import web
from sqlalchemy import make_url

from bot.sandbox.lark.tenant import Message, Person

from .secret_search import RecordingProxy, leaks, without_links
from .test_device import Room
from .test_sign_in import Browser
from .world import World, outcome_page

CLIENT = {"User-Agent": "Mozilla/5.0 (iPhone) AppleWebKit/605.1 Mobile Lark/7.30.6 LarkLocale/en_US"}
TOKEN_ENDPOINTS = (
    *("/open-apis/authen/v2/oauth", "/oauth/", "/open-apis/auth/", "/open-apis/authen/v1/oidc"),
    "/callback/ws/endpoint",
)
"""What is sent the app secret, and answers with secrets."""
BROWSERS = ("/open-apis/authen/v1/authorize", "/client/", "/sandbox/")
"""What a browser asks of the platform, and not the bot."""
TITLE = "a-title-that-nobody-else-reads"


@dataclass
class Watch:
    """Remembers every secret that a story brings about, and everything that can be read from outside."""

    world: World
    proxy: RecordingProxy
    secrets: dict[str, str] = field(default_factory=dict)
    places: dict[str, bytes] = field(default_factory=dict)
    pages: int = 0

    def secret(self, kind: str, value: str) -> str:
        self.secrets[value] = kind
        return value

    def saw(self, place: str, content: str | bytes) -> None:
        raw = content.encode() if isinstance(content, str) else content
        self.places[place] = self.places.get(place, b"") + b"\n" + raw

    # --- the browser ----------------------------------------------------------------------------------

    async def get(self, url: str, **headers: str) -> tuple[int, str, str]:
        """`World.get`, remembering what the bot's own pages hold."""
        async with self.world.http.get(url, allow_redirects=False, headers=headers) as response:
            text = await response.text()
            location = response.headers.get("Location", "")
            if url.startswith(self.world.public):
                self.read(response, text)
            if onward := outcome_page(url, response):
                return await self.get(onward, **headers)
            return response.status, location, text

    async def post(self, path: str, body: dict[str, str]) -> Any:
        """What the in-client page's script sends; its state is for its script, and for nobody else."""
        headers = {"Origin": self.world.public, **CLIENT}
        async with self.world.http.post(self.world.public + path, json=body, headers=headers) as response:
            answer = await response.json()
            shown = dict(answer)
            if "state" in shown:
                self.secret("in-client state", shown.pop("state"))
            self.read(response, json.dumps(shown))
            return answer

    def read(self, response: aiohttp.ClientResponse, text: str) -> None:
        """State and challenge belong into the address of the platform's page, the ticket behind the client page's."""
        headers = dict(response.headers)
        location = headers.pop("Location", "")
        if location.startswith(self.proxy.origin):
            query = parse_qs(urlsplit(location).query)
            self.secret("state", query["state"][0])
            location = re.sub(r"(state|code_challenge)=[^&]+", "", location)
        location = re.sub(r"#[\w-]{43}$", "", location)
        self.saw("a page", f"{headers} {location} {text}")
        self.pages += 1

    # --- people ----------------------------------------------------------------------------------------

    async def go_back(self, person: Person, card: Message, **decision: Any) -> str:
        """Opens a card's link and decides; returns where the browser is sent, with its code and state."""
        await self.world.until(lambda: self.world.links_of(card), "a link on the card", 40)
        link = self.world.link_of(card)
        self.secret("ticket", link.rsplit("/", 1)[1])
        return await self.world.decide(await self.world.open(link), person, **decision)

    async def consent(self, person: Person, card: Message, **decision: Any) -> int:
        status, _, _ = await self.world.get(await self.go_back(person, card, **decision))
        return status

    async def fault(self, **fault: Any) -> None:
        await self.world.control("faults", **fault)

    # --- everything there is to read ---------------------------------------------------------------------

    def collect(self) -> None:
        app, credentials = self.world.tenant.app, self.world.tenant.credentials
        for kind, values in {
            "app secret": {app.app_secret},
            "encrypt key": {app.encrypt_key},
            "verification token": {app.verification_token},
            "encryption key": set(self.world.settings["BOT_ENCRYPTION_KEYS"].split(",")),
            "access token": set(credentials.access),
            "refresh token": set(credentials.refresh),
            "app token": set(credentials.app_tokens),
            "code": set(credentials.codes) | self.proxy.fields("code"),
            "device code": set(credentials.devices),
            "user code": {each.user_code for each in credentials.devices.values()},
            "connection": self.proxy.connections(),
            "verifier": self.proxy.fields("code_verifier"),
        }.items():
            for value in values:
                self.secret(kind, value)
        for key in self.world.settings["BOT_ENCRYPTION_KEYS"].split(","):
            raw = base64.urlsafe_b64decode(key + "=" * (-len(key) % 4))
            self.secret("encryption key", raw.hex())

    def look_around(self) -> None:
        for file in self.world.directory.iterdir():
            self.saw(file.name, file.read_bytes())
        for request in self.proxy.requests:
            if request.path.startswith(BROWSERS):
                continue
            self.saw("an address at the platform", request.path)
            if not request.path.startswith(TOKEN_ENDPOINTS):
                self.saw("what the platform is sent", without_links(request.body))
                others = {n: v for n, v in request.headers.items() if n.lower() != "authorization"}
                self.saw("what the platform is sent", json.dumps(others))
        for message in self.world.tenant.messages.values():
            self.saw("a message", without_links(json.dumps(message.as_json()).encode()))


@pytest.fixture
async def watch(world: World) -> AsyncIterator[Watch]:
    proxy = RecordingProxy(world.origin)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", proxy.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    proxy.origin = f"http://127.0.0.1:{runner.addresses[0][1]}"
    for name in ("OPEN", "ACCOUNTS", "APPLINK"):
        world.settings[f"LARK_{name}_URL"] = proxy.origin
    world.settings["BOT_ENCRYPTION_KEYS"] = world.key
    watch = Watch(world, proxy)
    world.get = watch.get  # type: ignore[method-assign]
    yield watch
    await runner.cleanup()


# --- the search itself ---------------------------------------------------------------------------------


SECRET = "Zx9+Kq/7~secret?Ab-3_d"


@pytest.mark.parametrize(
    "leak",
    [
        f"token={SECRET}",
        f"token={quote(SECRET, safe='')}",
        json.dumps({"said": SECRET}),
        SECRET.encode().hex(),
        *(base64.b64encode(b"x" * n + SECRET.encode() + b"y").decode() for n in range(4)),
        *(base64.urlsafe_b64encode(b"x" * n + SECRET.encode()).decode() for n in range(4)),
        f"Basic {base64.b64encode(f'cli_1:{SECRET}'.encode()).decode()}",
    ],
)
def test_a_secret_is_found_in_every_form(leak: str):
    assert leaks({SECRET: "secret"}, {"here": b"\x00" + leak.encode() + b"\xff"}) == ["secret in here"]
    assert leaks({SECRET: "secret"}, {"here": SECRET[:-2].encode()}) == []


def test_a_ticket_may_stand_on_its_link_and_nowhere_else():
    ticket = "T" * 43
    card = f'{{"url": "https://a/client?url=https%3A%2F%2Fbot%2Fauthorize%2F{ticket}"}}'.encode()
    assert leaks({ticket: "ticket"}, {"card": without_links(card)}) == []
    assert leaks({ticket: "ticket"}, {"card": without_links(card + ticket.encode())}) == ["ticket in card"]


# --- everything that happens ------------------------------------------------------------------------------


async def until_answered(world: World, message_id: str, patience: float = 40.0) -> None:
    await world.answer_to(message_id, patience=patience)


async def consents_and_refusals(watch: Watch) -> None:
    world, sam = watch.world, watch.world.sam
    asked = await world.say(sam, "/tasks")
    card = await world.fresh_card(sam, asked)
    link = world.link_of(card)
    async with world.http.head(link) as preview:
        watch.read(preview, "")
    assert await watch.consent(world.ada, card) >= 400  # somebody else consents
    back = await watch.go_back(sam, card)
    assert (await world.get(back))[0] == 200
    assert (await world.get(back))[0] >= 400  # a second time
    await world.get(back.replace("code=", "code=x"))
    await world.get(f"{world.public}/oauth/lark/callback?code={SECRET}&state={'s' * 43}")
    await until_answered(world, asked)
    asked = await world.say(sam, "/doc welcome")
    card = await world.fresh_card(sam, asked)
    await watch.consent(sam, card, decision="refuse")
    await world.not_now(sam, card)
    asked = await world.say(sam, "/agenda", world.group)
    await watch.consent(sam, await world.fresh_card(sam, asked))
    asked = await world.say(sam, "/authorize docx:document:readonly search:docs:read")
    card = await world.fresh_card(sam, asked)
    await watch.consent(sam, card, scopes=["docx:document:readonly", "offline_access"])
    await until_answered(world, await world.say(sam, "/permissions"))
    await world.say(
        sam, "/call GET /open-apis/mail/v1/user_mailboxes/me/messages"
    )  # the administrator's lane


async def failing_exchanges(watch: Watch) -> None:
    """Every kind of answer of the token endpoint, each repeating the code, the verifier and the app secret."""
    world, wei = watch.world, watch.world.wei
    asked = await world.say(wei, "/tasks")
    card = await world.fresh_card(wei, asked)
    for status, code in ((400, 20003), (400, 20049), (400, 20010), (400, 20002), (400, 99), (200, 20071)):
        watch.proxy.echoes = {"/open-apis/authen/v2": (status, {"code": code, "error": SECRET})}
        assert await watch.consent(wei, card) >= 400
    watch.proxy.echoes = {"/open-apis/authen/v1/user_info": (200, {"code": 20005})}
    await watch.consent(wei, card)
    watch.proxy.echoes = {}
    for kind in ("drop_after", "html"):  # in doubt, and tried again
        await watch.fault(match={"path": "/open-apis/authen/v2"}, kind=kind, times=1)
        await watch.consent(wei, card)
    await until_answered(world, asked)


async def inside_the_client(watch: Watch) -> None:
    world, ada = watch.world, watch.world.ada
    asked = await world.say(ada, "/tasks")
    card = await world.fresh_card(ada, asked)
    ticket = watch.secret("ticket", world.link_of(card).rsplit("/", 1)[1])
    status, location, _ = await world.get(world.link_of(card), **CLIENT)
    assert (status, location) == (302, f"/oauth/lark/client#{ticket}")
    page = f"{world.public}/oauth/lark/client"
    await world.get(page, **CLIENT)
    attempt = await watch.post("/oauth/lark/client/attempts", {"ticket": ticket})
    await watch.post("/oauth/lark/client/results", {"state": attempt["state"], "error": "server_error"})
    attempt = await watch.post("/oauth/lark/client/attempts", {"ticket": ticket})
    given = await world.control(
        "in-client",
        person=ada.open_id,
        page_url=page,
        scope_list=attempt["scopeList"],
        decision="allow",
    )
    await watch.post("/oauth/lark/client/results", {"state": attempt["state"], "code": given["code"]})
    await watch.post("/oauth/lark/client/results", {"state": attempt["state"], "code": given["code"]})
    await until_answered(world, asked)


async def refreshes(watch: Watch) -> None:
    world, sam = watch.world, watch.world.sam
    expire = {"person": sam.open_id, "which": "access"}
    await world.control("tokens/expire", **expire)
    await until_answered(world, await world.say(sam, "/tasks"))
    await world.control("tokens/expire", **expire)
    await watch.fault(
        match={"path": "/open-apis/authen/v2", "grant_type": "refresh_token"}, kind="drop_after", times=1
    )
    asked = await world.say(sam, "/tasks")  # in doubt, then spent
    await watch.consent(sam, await world.fresh_card(sam, asked))
    await until_answered(world, asked)
    await world.control("tokens/expire", **expire)
    watch.proxy.echoes = {"/open-apis/authen/v2": (400, {"code": 20026, "error": "invalid_grant"})}
    asked = await world.say(sam, "/tasks")  # refused
    card = await world.fresh_card(sam, asked)
    watch.proxy.echoes = {}
    await watch.consent(sam, card)
    await until_answered(world, asked)


async def echoing_apis(watch: Watch) -> None:
    world, sam = watch.world, watch.world.sam
    for status, fields in (
        (200, {"code": 0}),
        (400, {"code": 1470400}),
        (500, {"code": 1}),
    ):
        watch.proxy.echoes = {"/open-apis/task": (status, fields)}
        asked = await world.say(sam, "/call GET /open-apis/task/v2/tasks")
        if status != 500:
            await until_answered(world, asked)
            await until_answered(world, await world.say(sam, "/tasks"))
        else:
            await asyncio.sleep(1)
        watch.proxy.echoes = {}
        await until_answered(world, asked)
    watch.proxy.echoes = {"/open-apis/im/v1/messages": (400, {"code": 230099})}
    asked = await world.say(sam, "/help")
    await asyncio.sleep(1.5)
    watch.proxy.echoes = {"/open-apis/application": (403, {"code": 99991672})}
    await world.say(sam, "/search roadmap")
    await asyncio.sleep(1)
    watch.proxy.echoes = {}


async def crash_in_the_exchange(watch: Watch) -> None:
    world, wei = watch.world, watch.world.wei
    asked = await world.say(wei, f"/task {TITLE}")
    card = await world.fresh_card(wei, asked)
    back = await watch.go_back(wei, card)
    before = len(world.tenant.credentials.access)
    await watch.fault(match={"path": "/open-apis/authen/v2"}, kind="delay_after", seconds=30, times=1)
    landing = asyncio.create_task(world.get(back))
    await world.until(lambda: len(world.tenant.credentials.access) > before, "the exchange")
    await world.kill()
    await world.lift()
    with suppress(aiohttp.ClientError):
        await landing
    await world.start()
    await watch.consent(wei, card)  # the platform had spent the code
    await until_answered(world, asked)


async def strangers(watch: Watch) -> None:
    world, app = watch.world, watch.world.tenant.app
    bodies: list[bytes] = [
        b"{",
        json.dumps({"token": app.verification_token, "type": "url_verification", "challenge": "c"}).encode(),
        json.dumps({"encrypt": app.encrypt_key}).encode(),
        json.dumps({"schema": "2.0", "header": {"token": app.verification_token}}).encode(),
    ]
    for body in bodies:
        for headers in ({}, {"X-Lark-Signature": app.encrypt_key, "X-Lark-Request-Timestamp": "1"}):
            async with world.http.post(f"{world.public}/lark/events", data=body, headers=headers) as response:
                watch.read(response, await response.text())
    for path in (
        "/authorize/nothing",
        f"/authorize/{'x' * 43}",
        "/oauth/lark/callback?state=x&code=y&code=z",
    ):
        await world.get(world.public + path)


async def endings(watch: Watch) -> None:
    world = watch.world
    await world.control("revoke", person=world.wei.open_id)
    await until_answered(world, await world.say(world.sam, "/cancel"))
    await until_answered(world, await world.say(world.sam, "/revoke"))
    code, out, err = await world.cli("revoke", world.ada.open_id)
    assert code == 0, err
    watch.saw("bot revoke", out + err)
    await asyncio.sleep(3)


COMMANDS = ["status", "users", "requests", "calls", "audit", "doctor"]


async def operators(watch: Watch) -> None:
    world = watch.world
    explained = [["explain", each.open_id] for each in (world.sam, world.ada, world.wei)]
    for command in [[name] for name in COMMANDS] + explained:
        for more in ([], ["--json"]):
            code, out, err = await world.cli(*command, *more)
            assert code == 0 or command == ["doctor"], err
            watch.saw(f"bot {command[0]}", out + err)
    for path in ("/metrics", "/readyz", "/healthz"):
        status, _, text = await world.get(world.public + path)
        assert status == 200, text
    _, fresh, _ = await world.cli("keys", "new")
    world.settings["BOT_ENCRYPTION_KEYS"] = f"{fresh.strip()},{world.key}"
    code, out, err = await world.cli("keys", "rotate")
    watch.saw("bot keys rotate", out + err)
    assert code == 1, "The running bot lacks the key."
    await world.stop()
    for keys in ("A" * 43, f"{world.key},short", fresh.strip()[:-3]):
        world.settings["BOT_ENCRYPTION_KEYS"] = keys
        code, out, err = await world.cli("run")
        assert code in {1, 2}
        watch.saw("bot run", out + err)
    world.settings["BOT_ENCRYPTION_KEYS"] = f"{fresh.strip()},{world.key}"


async def test_no_secret_that_ever_existed_can_be_read_anywhere(watch: Watch, database_url: str):
    world, in_files = watch.world, database_url.startswith("sqlite")
    world.tenant.behaviour.rate_limits = False
    world.settings["BOT_DATABASE_URL"] = database_url
    await world.start(BOT_LOG_LEVEL="debug", BOT_LOG_FORMAT="text" if in_files else "json")
    for chapter in (
        consents_and_refusals,
        failing_exchanges,
        inside_the_client,
        refreshes,
        echoing_apis,
        crash_in_the_exchange,
        strangers,
        endings,
    ):
        await chapter(watch)
        watch.collect()
        watch.look_around()  # what is erased later may be readable now
    await operators(watch)
    watch.collect()
    watch.look_around()
    if not in_files:
        watch.saw("the database", await dump(world.settings["BOT_DATABASE_URL"]))
    kinds = set(watch.secrets.values())
    assert kinds >= {
        "ticket", "state", "in-client state", "verifier", "code", "access token", "refresh token", "app token",
        "app secret", "encrypt key", "verification token", "encryption key",
    }, kinds  # fmt: skip
    assert len(watch.secrets) > 60
    assert watch.pages > 30
    assert leaks(watch.secrets, watch.places) == []
    # What people write is nobody's secret key, but it does not belong into a log either.
    assert leaks({TITLE: "what somebody wrote"}, {"bot.log": watch.places["bot.log"]}) == []


# --- the newer doors --------------------------------------------------------------------------------------


async def signing_in(watch: Watch) -> None:
    """Web login, completed and failed, and all that a session can do on My permissions."""
    world, browser = watch.world, Browser(watch.world)
    try:
        for decision in ("refuse", "allow"):
            back = await browser.way_back(world.sam, decision)
            for name, value in browser.cookies().items():
                watch.secret(f"cookie {name}", value)
            query = parse_qs(urlsplit(back).query)
            watch.secret("sign-in state", query["state"][0])
            status, _, page = await browser.get(back)
            watch.saw("a page", f"{status} {page}")
        for name, value in browser.cookies().items():
            watch.secret(f"cookie {name}", value)
        proof = await browser.proof()
        watch.secret("proof", proof["proof"])
        watch.saw("a page", (await browser.permissions()).replace(proof["proof"], ""))
        for path in ("/permissions/cancel", "/permissions/revoke", "/logout"):
            status, _, page = await browser.post(path, proof, Origin=world.public)
            assert status == 303, (path, status, page)
            watch.saw("a page", page)
    finally:
        await browser.http.close()


async def by_link(watch: Watch) -> None:
    world, sam = watch.world, watch.world.sam
    asked = await world.say(sam, "/tasks")
    card = await world.fresh_card(sam, asked)
    assert await watch.consent(world.ada, card) >= 400
    await watch.consent(sam, card)
    await until_answered(world, asked)
    await world.control("tokens/expire", person=sam.open_id, which="access")
    await until_answered(world, await world.say(sam, "/tasks"))


async def by_device(watch: Watch) -> None:
    world, sam, room = watch.world, watch.world.sam, Room(watch.world)
    asked, card = await room.asked(sam, "/tasks")
    await room.press(sam, card)
    await room.decide(await room.link(card), sam, "refuse")
    await room.says(card, "Declined on the page")
    await world.not_now(sam, card)
    asked, card = await room.asked(sam, "/tasks")
    await room.press(sam, card)
    await room.decide(await room.link(card), world.ada)
    await room.says(card, "confirmed with another account")
    await room.press(sam, card)
    await room.decide(await room.link(card), sam)
    await until_answered(world, asked)
    await world.control("tokens/expire", person=sam.open_id, which="access")
    await until_answered(world, await world.say(sam, "/tasks"))


@pytest.mark.parametrize(("generation", "road"), [("v1", by_link), ("v3", by_link), ("v3", by_device)])
async def test_no_secret_can_be_read_after_using_every_other_way_in(
    watch: Watch, generation: str, road: Callable[[Watch], Awaitable[None]]
):
    """The long connection, sign-in and My permissions, the device flow, and the other generations' endpoints."""
    world = watch.world
    world.tenant.behaviour.rate_limits = False
    world.tenant.app.events_by = "websocket"
    world.settings |= {"LARK_EVENTS": "websocket", "LARK_OAUTH": generation}
    if road is by_device:
        world.tenant.behaviour.device_poll_seconds = 1
        world.tenant.app.redirect_urls = []
        world.settings["BOT_PUBLIC_URL"] = ""
        # The emulator's page for the code is at its own address, which has to be one of the platform's.
        world.settings["LARK_APPLINK_URL"] = world.origin
    await world.start(BOT_LOG_LEVEL="debug")
    await road(watch)
    watch.collect()
    watch.look_around()
    if road is by_link:
        await signing_in(watch)
    await world.stop()
    watch.collect()
    watch.look_around()
    kinds = set(watch.secrets.values())
    own = {"ticket", "sign-in state"} if road is by_link else {"device code", "user code"}
    assert kinds >= own | {"connection", "access token", "refresh token", "app secret"}, kinds
    # A card has to show its reader the code that the platform's page asks for.
    shown = {"user code in a message", "user code in what the platform is sent"}
    assert set(leaks(watch.secrets, watch.places)) - shown == set()


async def dump(url: str) -> str:
    """Every column of every row of a PostgreSQL database."""
    connection = await asyncpg.connect(
        make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    )
    try:
        tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        rows = [await connection.fetch(f'SELECT * FROM "{table[0]}"') for table in tables]
        return "\n".join(str(list(row.values())) for found in rows for row in found)
    finally:
        await connection.close()

"""The world of a story: the emulated platform in this process, and the real `bot run` in another."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import aiohttp
from aiohttp import web

from bot.sandbox.lark.faults import Fault
from bot.sandbox.lark.sample_tenant import sample_tenant
from bot.sandbox.lark.server import build_platform
from bot.sandbox.lark.tenant import Chat, Message, Person, Tenant
from tests.bot_process import REPOSITORY, Call, Forker, Process, bot
from tests.ports import free_port

from .card_content import (
    ACKNOWLEDGEMENTS,
    actions_on,
    has_link,
    is_acknowledgement,
    text_of,
    value_on,
    without_acknowledgements,
)

PATIENCE = 15.0


class World:
    """The platform, its people and the bot of one story."""

    def __init__(self, tenant: Tenant, origin: str, directory: Path, forker: Forker) -> None:
        self.tenant = tenant
        self.origin = origin
        self.directory = directory
        self.forker = forker
        self.database = directory / "bot.db"
        self.port = free_port()
        self.public = f"http://127.0.0.1:{self.port}"
        self.settings: dict[str, str] = {}
        self.runs = bot("run")
        """The call that starts the bot."""
        self.known_as: dict[str, str] = {}
        """Origins that only the bot can reach, and the ones that a test uses instead."""
        self.process: Process | None = None
        self.processes: list[Process] = []
        """Every process that was started in this world."""
        self.key = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
        self.http = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())

    # --- the platform ---------------------------------------------------------------------------------

    async def platform_up(self) -> None:
        self.runner = web.AppRunner(build_platform(self.tenant), access_log=None, shutdown_timeout=1)
        await self.runner.setup()
        port = int(self.origin.rsplit(":", 1)[1])
        await web.TCPSite(self.runner, "127.0.0.1", port, reuse_address=True).start()

    async def platform_down(self) -> None:
        """Stop the platform. Unacknowledged events are lost; the tenant and its people stay."""
        await self.runner.cleanup()

    # --- people and chats ---------------------------------------------------------------------------

    def person(self, name: str) -> Person:
        return next(p for p in self.tenant.people.values() if name in (p.en_name, p.name))

    def id_of(self, person: Person) -> str:
        """The id by which the platform's control API and the bot know a person."""
        return person.open_id

    @property
    def ada(self) -> Person:
        return self.person("Ada Meyer")

    @property
    def sam(self) -> Person:
        return self.person("Sam Rivera")

    @property
    def wei(self) -> Person:
        return next(p for p in self.tenant.people.values() if p.locale == "zh_cn")

    @property
    def group(self) -> Chat:
        return next(c for c in self.tenant.chats.values() if c.kind == "group")

    def direct(self, person: Person) -> Chat:
        chat = self.tenant.direct_chat(person.open_id)
        assert chat is not None
        return chat

    async def control(self, path: str, **body: Any) -> Any:
        async with self.http.post(f"{self.origin}/sandbox/api/{path}", json=body) as response:
            assert response.status == 200, await response.text()
            return await response.json()

    async def say(
        self,
        person: Person,
        text: str,
        chat: Chat | None = None,
        mentioning: Sequence[Person] = (),
        **more: Any,
    ) -> str:
        """Send a message to the bot, in a group by mentioning it. Returns the message's id.

        `mentioning`: the people who are `@_user_2` and so on in the message.
        """
        said = await self.control(
            "messages",
            person=person.open_id,
            text=text,
            chat_id=chat.chat_id if chat else None,
            mention_bot=chat is not None and chat.kind == "group",
            mentions=[each.open_id for each in mentioning],
            **more,
        )
        return str(said["message_id"])

    # --- what the bot says ------------------------------------------------------------------------------

    def from_bot(self, chat: Chat, since: str | None = None) -> list[Message]:
        """Return the bot's messages in a chat, after the message `since`."""
        ids = list(self.tenant.messages)
        start = ids.index(since) + 1 if since else 0
        messages = (self.tenant.messages[each] for each in ids[start:])
        return [m for m in messages if m.sender_type == "bot" and m.chat_id == chat.chat_id]

    async def until(self, found: Callable[[], Any], what: str = "it", patience: float = PATIENCE) -> Any:
        """Wait until `found` returns a true value, and return it."""
        deadline = asyncio.get_running_loop().time() + patience
        while not (result := found()):
            if asyncio.get_running_loop().time() > deadline:
                raise AssertionError(f"Timed out waiting for {what}.\n{self.log_tail()}")
            await asyncio.sleep(0.02)
        return result

    async def answer_to(self, message_id: str, containing: str = "", patience: float = PATIENCE) -> Message:
        """Wait for the bot's reply to a message.

        An acknowledgement is no answer, unless asked for.
        """

        asked_for = any(words in containing for words in ACKNOWLEDGEMENTS)

        def is_wanted(message: Message) -> bool:
            if message.reply_to != message_id or message.sender_type != "bot":
                return False
            return containing in text_of(message.content) and (asked_for or not is_acknowledgement(message))

        def found() -> Message | None:
            return next(filter(is_wanted, self.tenant.messages.values()), None)

        reply: Message = await self.until(found, f"an answer with {containing!r}", patience)
        return reply

    async def shown_alone(
        self, person: Person, since: str, containing: str = "", patience: float = PATIENCE
    ) -> Message:
        """Wait for a message that the bot shows to this person only, in the group, after the message `since`."""

        def found() -> Message | None:
            alone = (m for m in self.from_bot(self.group, since) if m.ephemeral_for == person.open_id)
            return next((m for m in alone if containing in text_of(m.content)), None)

        shown: Message = await self.until(found, f"an ephemeral message with {containing!r}", patience)
        return shown

    def seen_by_all(self, since: str) -> str:
        """Return the text of all messages that the whole group sees, after the message `since`.

        Acknowledgements are left out.
        """
        answers = without_acknowledgements(self.from_bot(self.group, since))
        return "\n".join(text_of(m.content) for m in answers if m.ephemeral_for is None)

    async def card_for(self, person: Person, containing: str = "", patience: float = PATIENCE) -> Message:
        """Wait for the newest card in the person's direct chat that contains this text."""

        def found() -> Message | None:
            cards = [m for m in self.from_bot(self.direct(person)) if m.msg_type == "interactive"]
            return next((m for m in reversed(cards) if containing in text_of(m.content)), None)

        card: Message = await self.until(found, f"a card with {containing!r}", patience)
        return card

    async def fresh_card(self, person: Person, since: str) -> Message:
        """Wait for the authorization card that was sent to the person after the message `since`."""

        def found() -> Message | None:
            return next((m for m in self.from_bot(self.direct(person), since) if has_link(m)), None)

        card: Message = await self.until(found, "a fresh card")
        return card

    def links_of(self, card: Message) -> list[str]:
        """Return the links that the card shows now, without their AppLinks."""
        links = re.findall(r'"default_url": "([^"]+)"', json.dumps(card.content))
        wrapped = [re.search(r"[?&]url=([^&]+)", link) for link in links]
        return [unquote(w[1]) if w else link for w, link in zip(wrapped, links, strict=True)]

    def link_of(self, card: Message) -> str:
        """Return the only link of a card."""
        links = self.links_of(card)
        assert len(links) == 1, links
        return links[0]

    async def not_now(self, person: Person, card: Message) -> None:
        """Press "Not now" and wait until the card says that nothing was run. No message is sent for it."""
        await self.click(person, card, "not_now")
        await self.until(lambda: "I didn't run" in text_of(card.content), "the card that was declined")

    async def drawn(self) -> None:
        """Wait until the bot has recorded that every card shows its wanted state."""
        unfinished = "SELECT 1 FROM cards WHERE shown < wanted"
        await self.until(lambda: not self.rows(unfinished), "every card")

    async def expires(self, card: Message) -> None:
        """Let all that waits expire, and wait until its card says so. No message is sent for it."""
        await self.drawn()
        self.let_expire()
        await self.until(lambda: "request expired" in text_of(card.content), "the expired card", 40)

    async def click(self, person: Person, card: Message, action: str) -> Any:
        """Press the callback button that sends this action."""
        return await self.control(
            "clicks", person=person.open_id, message_id=card.message_id, value=value_on(card, action)
        )

    async def see_page_error(self, card: Message) -> None:
        """Open the card's link, and wait until the card offers to report an error of the page."""
        await self.open(card)
        await self.until(lambda: "page_error" in actions_on(card), "the card's second control")

    async def report_page_error(self, person: Person, card: Message, which: str = "scope") -> Any:
        """Report on a card whose link was opened which error the page shows. Returns the last click's answer."""
        await self.until(lambda: "page_error" in actions_on(card), "the card's second control")
        await self.drawn()  # A card that is updated between the clicks no longer asks which error it is.
        await self.click(person, card, "page_error")
        return await self.click(person, card, f"page_error_{which}")

    async def answers_to(self, message_id: str, count: int, patience: float = 30) -> list[Message]:
        """Wait for `count` replies of the bot to a message, other than acknowledgements."""

        def found() -> list[Message] | None:
            replies = without_acknowledgements(
                m
                for m in self.tenant.messages.values()
                if m.reply_to == message_id and m.sender_type == "bot"
            )
            return replies if len(replies) >= count else None

        replies: list[Message] = await self.until(found, f"{count} answers", patience)
        return replies

    async def authorized(self, person: Person, command: str = "/tasks") -> str:
        """Ask, consent and wait for the answer. Returns the id of the message that asked."""
        asked = await self.say(person, command)
        await self.consent(person, await self.fresh_card(person, asked))
        await self.answer_to(asked)
        return asked

    # --- trouble at the platform ------------------------------------------------------------------------

    async def trouble(self, match: dict[str, str], kind: str, **options: Any) -> Fault:
        """Inject a fault at the platform, until it is lifted or has struck the given number of `times`."""
        made = await self.control("faults", match=match, kind=kind, **options)
        return self.tenant.faults.all[made["fault_id"]]

    async def struck(self, fault: Fault) -> None:
        """Wait until the fault has struck a request."""
        await self.until(lambda: fault.struck, "the trouble")

    async def lift(self, *faults: Fault) -> None:
        """Remove these faults, or all of them. Delayed requests continue."""
        paths = [f"faults/{each.fault_id}" for each in faults] or ["faults"]
        for path in paths:
            async with self.http.delete(f"{self.origin}/sandbox/api/{path}") as response:
                assert response.status == 200

    # --- the browser -----------------------------------------------------------------------------------

    async def get(self, url: str, **headers: str) -> tuple[int, str, str]:
        """Return status, Location and text of a page; for a callback, those of the page it redirects to."""
        for known, found in self.known_as.items():
            url = url.replace(known, found, 1) if url.startswith(known) else url
        async with self.http.get(url, allow_redirects=False, headers=headers) as response:
            if onward := outcome_page(url, response):
                return await self.get(onward, **headers)
            return response.status, response.headers.get("Location", ""), await response.text()

    async def open(self, way: str | Message) -> str:
        """Follow a link, or the link of a card, to the consent page. Returns the consent's id.

        A card shows no link while a consent is being processed: waits until it does.
        """
        if isinstance(way, Message):
            card = way
            await self.until(lambda: self.links_of(card), "a link on the card")
            way = self.link_of(card)
        status, target, page = await self.get(way)
        assert status == 302, page
        status, target, page = await self.get(target)
        assert status == 302, page
        return target.split("id=")[1]

    async def decide(
        self, consent_id: str, person: Person, decision: str = "allow", scopes: list[str] | None = None
    ) -> str:
        """Decide on the consent page. Returns the address to which the browser is redirected."""
        body: dict[str, Any] = {"person": person.open_id, "decision": decision}
        if scopes is not None:
            body["scopes"] = scopes
        return str((await self.control(f"consents/{consent_id}", **body))["redirect"])

    async def consent(self, person: Person, card: Message, decision: str = "allow") -> tuple[int, str]:
        """Follow a card's link, decide, and return status and text of the last page."""
        consent_id = await self.open(card)
        status, _, page = await self.get(await self.decide(consent_id, person, decision))
        return status, page

    # --- the bot's process --------------------------------------------------------------------------------

    def environment(self) -> dict[str, str]:
        app = self.tenant.app
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("LARK_", "BOT_", "SSL_CERT_")) and not name.upper().endswith("_PROXY")
        }
        return {
            **inherited,
            "PYTHONPATH": str(REPOSITORY),
            "LARK_APP_ID": app.app_id,
            "LARK_APP_SECRET": app.app_secret,
            "LARK_OPEN_URL": self.origin,
            "LARK_ACCOUNTS_URL": self.origin,
            "LARK_APPLINK_URL": self.origin,
            "LARK_EVENTS": "webhook",
            "LARK_ENCRYPT_KEY": app.encrypt_key,
            "LARK_VERIFICATION_TOKEN": app.verification_token,
            "BOT_PUBLIC_URL": self.public,
            "BOT_PORT": str(self.port),
            "BOT_DATABASE_URL": f"sqlite+aiosqlite:///{self.database}",
            "BOT_ENCRYPTION_KEYS": self.key,
            "BOT_ADMINS": app.owner,
            "BOT_LOG_LEVEL": "debug",
            **self.settings,
        }

    async def start(self, **settings: str) -> None:
        """Start the bot and wait until it is ready."""
        self.settings.update(settings)
        self.process = self.fork(self.runs)
        ready = f"http://127.0.0.1:{self.settings.get('BOT_METRICS_PORT', self.port)}/readyz"
        deadline = asyncio.get_running_loop().time() + 30
        while True:
            assert self.process.returncode is None, self.log_tail()
            assert asyncio.get_running_loop().time() < deadline, self.log_tail()
            try:
                async with self.http.get(ready) as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.05)

    def fork(self, call: Call, **settings: str) -> Process:
        """Start a process of the bot whose output goes to the log file."""
        with (self.directory / "bot.log").open("ab") as log:
            process = self.forker.start(
                call,
                directory=self.directory,
                environment=self.environment() | settings,
                output=log.fileno(),
            )
        self.processes.append(process)
        return process

    async def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        await self.process.wait()

    async def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), 12)

    async def cli(self, *arguments: str) -> tuple[int, str, str]:
        """Run another command of the bot. Returns exit code, standard output and standard error."""
        call = bot(*arguments)
        done = await asyncio.to_thread(
            self.forker.run, call, directory=self.directory, environment=self.environment()
        )
        return done.returncode, done.stdout, done.stderr

    def log_tail(self) -> str:
        file = self.directory / "bot.log"
        return "\n".join(file.read_text().splitlines()[-40:]) if file.exists() else ""

    def rows(self, query: str, *parameters: Any) -> list[dict[str, Any]]:
        """Run a query on the bot's SQLite file, read-only."""
        connection = sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)
        connection.row_factory = sqlite3.Row
        try:
            return [dict(row) for row in connection.execute(query, parameters)]
        finally:
            connection.close()

    def find(self, table: str, **values: Any) -> list[dict[str, Any]]:
        """Return the rows of a table that have these values, oldest first.

        None stands for NULL. A tuple stands for any of its members.
        """
        conditions = ["1"]
        parameters: list[Any] = []
        for column, value in values.items():
            members = value if isinstance(value, tuple) else (value,)
            places = ", ".join("?" for _ in members)
            conditions.append(f"{column} IS NULL" if value is None else f"{column} IN ({places})")
            parameters += members if value is not None else ()
        return self.rows(
            f"SELECT * FROM {table} WHERE {' AND '.join(conditions)} ORDER BY rowid", *parameters
        )

    def only(self, table: str, **values: Any) -> dict[str, Any]:
        """Return the one row of a table that has these values."""
        (row,) = self.find(table, **values)
        return row

    def count(self, table: str, **values: Any) -> int:
        """Return how many rows of a table have these values."""
        return len(self.find(table, **values))

    def statuses(self, table: str, **values: Any) -> list[str]:
        """Return the statuses of the rows that have these values, oldest first."""
        return [row["status"] for row in self.find(table, **values)]

    def status_of(self, message_id: str) -> str:
        """Return the status of the call that a message made."""
        return str(self.only("deferred_calls", message_id=message_id)["status"])

    def change(self, statement: str) -> None:
        """Change rows of the bot, for example to let time pass: the sandbox's clock does not reach them."""
        with contextlib.closing(sqlite3.connect(self.database, timeout=10)) as connection, connection:
            connection.execute(statement)

    def let_expire(self, *tables: str) -> None:
        """Let all rows in these tables expire."""
        for table in tables or ("deferred_calls", "authorization_requests"):
            self.change(f"UPDATE {table} SET expires_at = datetime('now', '-1 minute') || '.000000'")

    def requests(self, path: str, method: str | None = None) -> list[dict[str, Any]]:
        """Return the requests that reached the platform at paths that contain `path`."""
        changes = [change.data for change in self.tenant.feed.changes_after(0, "request")]
        return [c for c in changes if path in c["path"] and method in (None, c["method"])]

    async def close(self) -> None:
        # A socket that is left open would be a warning in a later test.
        for process in self.processes:
            process.kill()
            await process.wait()
        await self.http.close()


def outcome_page(url: str, response: aiohttp.ClientResponse) -> str | None:
    """Return the address of the outcome page that a callback redirects to, which contains no code or state."""
    parts, target = urlsplit(url), response.headers.get("Location", "")
    if not re.fullmatch("/oauth/[a-z]+/callback", parts.path) or target.startswith(
        ("/permissions", "/console")
    ):
        return None
    assert response.status == 303, (response.status, target)
    assert re.fullmatch(r"/(authorization|login)/[a-z_]+(\?with=[a-z]+)?", target), target
    return f"{parts.scheme}://{parts.netloc}{target}"


async def forged_click(world: World, person: Person, value: dict[str, Any]) -> Any:
    """Send a click that no client would allow, for example on another person's card or a deleted one."""
    event = {
        "operator": {"open_id": person.open_id, "tenant_key": world.tenant.app.tenant_key},
        "token": "c-1",
        "action": {"value": value, "tag": "button"},
        "context": {},
    }
    return await world.control("events", event={"event_type": "card.action.trigger", "event": event})


@contextlib.asynccontextmanager
async def world_in(directory: Path, forker: Forker) -> AsyncIterator[World]:
    """Start the platform. The story starts the bot."""
    tenant = sample_tenant()
    world = World(tenant, f"http://127.0.0.1:{free_port()}", directory, forker)
    await world.platform_up()
    # A busy machine may miss a delivery, and a story does not wait for the platform's first repetition after 15 seconds.
    tenant.behaviour.redelivery_seconds = (5.0, *tenant.behaviour.redelivery_seconds)
    tenant.app.events_url = f"{world.public}/lark/events"
    tenant.app.redirect_urls = [f"{world.public}/oauth/lark/{page}" for page in ("callback", "client")]
    try:
        yield world
    finally:
        await world.close()
        await world.platform_down()


@contextlib.asynccontextmanager
async def migrated_world_in(directory: Path, forker: Forker, template: Path) -> AsyncIterator[World]:
    """Start the platform, with a database that is already migrated."""
    async with world_in(directory, forker) as world:
        shutil.copy(template, world.database)
        yield world

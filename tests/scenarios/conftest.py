"""A world for each story: the emulated platform in this process, the real `bot run` as another."""

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
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import aiohttp
import pytest
from aiohttp import web

from bot.sandbox.lark.faults import Fault
from bot.sandbox.lark.sample_tenant import sample_tenant
from bot.sandbox.lark.server import build_platform
from bot.sandbox.lark.tenant import Chat, Message, Person, Tenant
from tests.forking import REPOSITORY, Call, Forker, Process, bot
from tests.moves import refuse_other_moves
from tests.ports import free_port

PATIENCE = 15.0


def text_of(value: Any) -> str:
    """Every string of a message's content, one after another."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return "\n".join(text_of(each) for each in value.values())
    if isinstance(value, list):
        return "\n".join(text_of(each) for each in value)
    return ""


class World:
    """What a story is told with."""

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
        """How the bot is started."""
        self.known_as: dict[str, str] = {}
        """Origins that only the bot can reach, and where a test finds them."""
        self.process: Process | None = None
        self.processes: list[Process] = []
        """All that were started in this world."""
        self.key = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
        self.http = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())

    # --- the platform ---------------------------------------------------------------------------------

    async def platform_up(self) -> None:
        self.runner = web.AppRunner(build_platform(self.tenant), access_log=None, shutdown_timeout=1)
        await self.runner.setup()
        port = int(self.origin.rsplit(":", 1)[1])
        await web.TCPSite(self.runner, "127.0.0.1", port, reuse_address=True).start()

    async def platform_down(self) -> None:
        """What was not acknowledged yet is forgotten; the tenant and its people stay."""
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
        """The person says something to the bot (in a group by mentioning it). Returns the message's id.

        `mentioning`: the people who are `@_user_2` and so on in it.
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
        """The bot's messages in a chat, after the message `since`."""
        ids = list(self.tenant.messages)
        start = ids.index(since) + 1 if since else 0
        messages = (self.tenant.messages[each] for each in ids[start:])
        return [m for m in messages if m.sender_type == "bot" and m.chat_id == chat.chat_id]

    async def until(self, found: Callable[[], Any], what: str = "it", patience: float = PATIENCE) -> Any:
        """Waits until `found` gives something, and returns that."""
        deadline = asyncio.get_running_loop().time() + patience
        while not (result := found()):
            if asyncio.get_running_loop().time() > deadline:
                raise AssertionError(f"Waited in vain for {what}.\n{self.log_tail()}")
            await asyncio.sleep(0.02)
        return result

    async def answer_to(self, message_id: str, containing: str = "", patience: float = PATIENCE) -> Message:
        """The bot's reply to a message."""

        def found() -> Message | None:
            return next(
                (
                    m
                    for m in self.tenant.messages.values()
                    if m.reply_to == message_id
                    and m.sender_type == "bot"
                    and containing in text_of(m.content)
                ),
                None,
            )

        reply: Message = await self.until(found, f"an answer with {containing!r}", patience)
        return reply

    async def shown_alone(
        self, person: Person, since: str, containing: str = "", patience: float = PATIENCE
    ) -> Message:
        """What the bot shows one person alone in the group, after the message `since`."""

        def found() -> Message | None:
            alone = (m for m in self.from_bot(self.group, since) if m.ephemeral_for == person.open_id)
            return next((m for m in alone if containing in text_of(m.content)), None)

        shown: Message = await self.until(found, f"a word to one alone with {containing!r}", patience)
        return shown

    def seen_by_all(self, since: str) -> str:
        """All that the bot says in the group for everybody to see, after the message `since`."""
        return "\n".join(
            text_of(m.content) for m in self.from_bot(self.group, since) if m.ephemeral_for is None
        )

    async def card_for(self, person: Person, containing: str = "", patience: float = PATIENCE) -> Message:
        """The newest authorization card in the person's direct chat that contains this text."""

        def found() -> Message | None:
            cards = [m for m in self.from_bot(self.direct(person)) if m.msg_type == "interactive"]
            return next((m for m in reversed(cards) if containing in text_of(m.content)), None)

        card: Message = await self.until(found, f"a card with {containing!r}", patience)
        return card

    async def fresh_card(self, person: Person, since: str) -> Message:
        """The card that was sent to the person after the message `since`."""

        def found() -> Message | None:
            return next((m for m in self.from_bot(self.direct(person), since) if has_link(m)), None)

        card: Message = await self.until(found, "a fresh card")
        return card

    def links_of(self, card: Message) -> list[str]:
        """The links on the card's present face, each out of its AppLink."""
        links = re.findall(r'"default_url": "([^"]+)"', json.dumps(card.content))
        wrapped = [re.search(r"[?&]url=([^&]+)", link) for link in links]
        return [unquote(w[1]) if w else link for w, link in zip(wrapped, links, strict=True)]

    def link_of(self, card: Message) -> str:
        """The one link on a card."""
        links = self.links_of(card)
        assert len(links) == 1, links
        return links[0]

    async def not_now(self, person: Person, card: Message) -> None:
        """Declines on the card, which says that nothing was run. No message says so as well."""
        await self.click(person, card, "not_now")
        await self.until(lambda: "I didn't run" in text_of(card.content), "the card that was declined")

    async def drawn(self) -> None:
        """Waits until the bot has noted that every card shows what it should."""
        unfinished = "SELECT 1 FROM cards WHERE shown < wanted"
        await self.until(lambda: not self.rows(unfinished), "every card")

    async def expires(self, card: Message) -> None:
        """The time of all that waits is up, and its card says so. No message says so as well."""
        await self.drawn()
        self.let_expire()
        await self.until(lambda: "request expired" in text_of(card.content), "the expired card", 40)

    async def click(self, person: Person, card: Message, action: str) -> Any:
        """Presses the callback button that sends this action."""
        return await self.control(
            "clicks", person=person.open_id, message_id=card.message_id, value=value_on(card, action)
        )

    async def see_page_error(self, card: Message) -> None:
        """Opens the card's link, for a page that may show an error; the card then offers to say so."""
        await self.open(card)
        await self.until(lambda: "page_error" in actions_on(card), "the card's second control")

    async def report_page_error(self, person: Person, card: Message, which: str = "scope") -> Any:
        """Says on a card, whose link was opened, which error the page shows. Returns the last click's answer."""
        await self.until(lambda: "page_error" in actions_on(card), "the card's second control")
        await self.click(person, card, "page_error")
        return await self.click(person, card, f"page_error_{which}")

    async def answers_to(self, message_id: str, count: int, patience: float = 30) -> list[Message]:
        """The bot's replies to a message, once there are so many."""

        def found() -> list[Message] | None:
            replies = [
                m
                for m in self.tenant.messages.values()
                if m.reply_to == message_id and m.sender_type == "bot"
            ]
            return replies if len(replies) >= count else None

        replies: list[Message] = await self.until(found, f"{count} answers", patience)
        return replies

    async def authorized(self, person: Person, command: str = "/tasks") -> str:
        """The person has consented to a command, and it was answered. Returns the message that asked."""
        asked = await self.say(person, command)
        await self.consent(person, await self.fresh_card(person, asked))
        await self.answer_to(asked)
        return asked

    # --- trouble at the platform ------------------------------------------------------------------------

    async def trouble(self, match: dict[str, str], kind: str, **options: Any) -> Fault:
        """Trouble on purpose, until it is lifted (or has struck so many `times`)."""
        made = await self.control("faults", match=match, kind=kind, **options)
        return self.tenant.faults.all[made["fault_id"]]

    async def struck(self, fault: Fault) -> None:
        """Waits until the trouble has met a request."""
        await self.until(lambda: fault.struck, "the trouble")

    async def lift(self, *faults: Fault) -> None:
        """Ends this trouble, or all there is; requests that it delays go on."""
        paths = [f"faults/{each.fault_id}" for each in faults] or ["faults"]
        for path in paths:
            async with self.http.delete(f"{self.origin}/sandbox/api/{path}") as response:
                assert response.status == 200

    # --- the browser -----------------------------------------------------------------------------------

    async def get(self, url: str, **headers: str) -> tuple[int, str, str]:
        """Status, Location and text of a page; of a callback those of the page at which it ends."""
        for known, found in self.known_as.items():
            url = url.replace(known, found, 1) if url.startswith(known) else url
        async with self.http.get(url, allow_redirects=False, headers=headers) as response:
            if onward := outcome_page(url, response):
                return await self.get(onward, **headers)
            return response.status, response.headers.get("Location", ""), await response.text()

    async def open(self, way: str | Message) -> str:
        """Follows a link, or the one that a card shows (soon again, while a consent is under way), to the
        consent page; returns the consent's id."""
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
        """Decides on the consent page; returns where the browser goes."""
        body: dict[str, Any] = {"person": person.open_id, "decision": decision}
        if scopes is not None:
            body["scopes"] = scopes
        return str((await self.control(f"consents/{consent_id}", **body))["redirect"])

    async def consent(self, person: Person, card: Message, decision: str = "allow") -> tuple[int, str]:
        """All the way from a card's link to the page at its end: its status and text."""
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
        """Starts the bot and waits until it is ready."""
        self.settings.update(settings)
        self.process = self.fork(self.runs)
        deadline = asyncio.get_running_loop().time() + 30
        while True:
            assert self.process.returncode is None, self.log_tail()
            assert asyncio.get_running_loop().time() < deadline, self.log_tail()
            try:
                async with self.http.get(f"http://127.0.0.1:{self.port}/readyz") as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.05)

    def fork(self, call: Call, **settings: str) -> Process:
        """Starts a process of the bot's, whose words go into the log."""
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
        """Runs another command of the bot; exit code, standard output, standard error."""
        call = bot(*arguments)
        done = await asyncio.to_thread(
            self.forker.run, call, directory=self.directory, environment=self.environment()
        )
        return done.returncode, done.stdout, done.stderr

    def log_tail(self) -> str:
        file = self.directory / "bot.log"
        return "\n".join(file.read_text().splitlines()[-40:]) if file.exists() else ""

    def rows(self, query: str, *parameters: Any) -> list[dict[str, Any]]:
        """Reads the bot's SQLite file as an operator would."""
        connection = sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)
        connection.row_factory = sqlite3.Row
        try:
            return [dict(row) for row in connection.execute(query, parameters)]
        finally:
            connection.close()

    def change(self, statement: str) -> None:
        """Makes time pass for rows of the bot's, which the sandbox's clock does not reach."""
        with contextlib.closing(sqlite3.connect(self.database, timeout=10)) as connection, connection:
            connection.execute(statement)

    def let_expire(self, *tables: str) -> None:
        """The time is over for all that waits in these tables."""
        for table in tables or ("deferred_calls", "authorization_requests"):
            self.change(f"UPDATE {table} SET expires_at = datetime('now', '-1 minute') || '.000000'")

    def requests(self, path: str, method: str | None = None) -> list[dict[str, Any]]:
        """The requests that reached the platform, by path."""
        changes = [change.data for change in self.tenant.feed.changes_after(0, "request")]
        return [c for c in changes if path in c["path"] and method in (None, c["method"])]

    async def close(self) -> None:
        # All have ended, and their ends were heard: a socket that is left open is a warning in some later test.
        for process in self.processes:
            process.kill()
            await process.wait()
        await self.http.close()


def outcome_page(url: str, response: aiohttp.ClientResponse) -> str | None:
    """Where a callback leads that ends at a page about its outcome: to an address that holds nothing of it."""
    parts, target = urlsplit(url), response.headers.get("Location", "")
    if not re.fullmatch("/oauth/[a-z]+/callback", parts.path) or target.startswith("/permissions"):
        return None
    assert response.status == 303, (response.status, target)
    assert re.fullmatch(r"/(authorization|login)/[a-z_]+(\?with=[a-z]+)?", target), target
    return f"{parts.scheme}://{parts.netloc}{target}"


def has_link(message: Message) -> bool:
    """Whether there is a way to authorize on it, plain or inside an AppLink."""
    return bool(re.search(r"(/|%2F)authorize(/|%2F)", json.dumps(message.content)))


def values_of(content: Any) -> list[dict[str, Any]]:
    """The values of all callback buttons of a card."""
    if isinstance(content, list):
        return [value for each in content for value in values_of(each)]
    if not isinstance(content, dict):
        return []
    own = [content["value"]] if content.get("type") == "callback" else []
    return own + [value for each in content.values() for value in values_of(each)]


def within(content: Any) -> Iterator[dict[str, Any]]:
    """Every object of a card, however deep."""
    if isinstance(content, dict):
        yield content
    inner = content.values() if isinstance(content, dict) else content if isinstance(content, list) else ()
    for each in inner:
        yield from within(each)


def value_on(card: Message, action: str) -> dict[str, Any]:
    """The value of the callback button that sends this action."""
    return next(value for value in values_of(card.content) if value.get("action") == action)


def kinds_of_buttons(card: Message) -> dict[str, str]:
    """How prominent a card's buttons are, by their words. Without those that are only text."""
    buttons = [each for each in within(card.content["body"]) if each.get("tag") == "button"]
    return {each["text"]["content"]: each["type"] for each in buttons if each["type"] != "text"}


def actions_on(card: Message) -> list[str]:
    """What its callback buttons do."""
    return [str(value["action"]) for value in values_of(card.content)]


async def forged_click(world: World, person: Person, value: dict[str, Any]) -> Any:
    """A click that no client would let through: on somebody else's card, say, or on one that is gone."""
    event = {
        "operator": {"open_id": person.open_id, "tenant_key": world.tenant.app.tenant_key},
        "token": "c-1",
        "action": {"value": value, "tag": "button"},
        "context": {},
    }
    return await world.control("events", event={"event_type": "card.action.trigger", "event": event})


@contextlib.asynccontextmanager
async def world_in(directory: Path, forker: Forker) -> AsyncIterator[World]:
    """The platform is up; the story starts the bot itself."""
    tenant = sample_tenant()
    world = World(tenant, f"http://127.0.0.1:{free_port()}", directory, forker)
    await world.platform_up()
    tenant.app.events_url = f"{world.public}/lark/events"
    tenant.app.redirect_urls = [f"{world.public}/oauth/lark/{page}" for page in ("callback", "client")]
    try:
        yield world
    finally:
        await world.close()
        await world.platform_down()


@contextlib.asynccontextmanager
async def migrated_world_in(directory: Path, forker: Forker, template: Path) -> AsyncIterator[World]:
    """The same, with a database that the bot need not migrate."""
    async with world_in(directory, forker) as world:
        shutil.copy(template, world.database)
        refuse_other_moves(world.database)
        yield world


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Where bots die: the points are the flows', whatever the database, so the short walk is over one of them."""
    if "databases" in metafunc.fixturenames:
        walks = "name" in metafunc.fixturenames and not metafunc.config.getoption("--long")
        metafunc.parametrize("databases", ["sqlite"] if walks else ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def databases(request: pytest.FixtureRequest) -> Callable[[Path], contextlib.AbstractContextManager[str]]:
    """Makes a migrated database for a world, and gives its URL."""
    if request.param == "postgresql":
        copies: Callable[[], contextlib.AbstractContextManager[str]] = request.getfixturevalue(
            "postgresql_copies"
        )
        return lambda _: copies()
    template: Path = request.getfixturevalue("sqlite_template")

    def copied(directory: Path) -> contextlib.AbstractContextManager[str]:
        shutil.copy(template, directory / "bot.db")
        refuse_other_moves(directory / "bot.db")
        return contextlib.nullcontext(f"sqlite+aiosqlite:///{directory}/bot.db")

    return copied


@pytest.fixture
async def world(tmp_path: Path, forker: Forker, sqlite_template: Path) -> AsyncIterator[World]:
    async with migrated_world_in(tmp_path, forker, sqlite_template) as world:
        yield world


Case = TypeVar("Case")


class AtOnce:
    """Runs a story for several cases at the same time, each in a world of its own: most of a story is waiting."""

    def __init__(self, directory: Path, forker: Forker, template: Path) -> None:
        self._directory, self._forker, self._template = directory, forker, template

    async def __call__(
        self, cases: Mapping[str, Case], story: Callable[[World, Case], Awaitable[None]]
    ) -> None:
        """Every case is run to its end; then all that failed are raised, each with its name."""

        async def run(name: str, case: Case, directory: Path) -> None:
            directory.mkdir()
            try:
                async with migrated_world_in(directory, self._forker, self._template) as world:
                    await story(world, case)
            except Exception as error:
                error.add_note(f"In the case {name!r}")
                raise

        runs = [
            run(name, case, self._directory / f"world-{number}")
            for number, (name, case) in enumerate(cases.items())
        ]
        ended = await asyncio.gather(*runs, return_exceptions=True)
        if failed := [each for each in ended if isinstance(each, Exception)]:
            raise ExceptionGroup(f"{len(failed)} of {len(cases)} cases", failed)


@pytest.fixture
def at_once(tmp_path: Path, forker: Forker, sqlite_template: Path) -> AtOnce:
    return AtOnce(tmp_path, forker, sqlite_template)


def in_groups(cases: Mapping[str, Case], size: int = 4) -> Any:
    """Parametrizes a test by `cases`, so many at a time as one machine can well run at once."""
    names = list(cases)
    groups = [names[start : start + size] for start in range(0, len(names), size)]
    return pytest.mark.parametrize(
        "cases",
        [{name: cases[name] for name in group} for group in groups],
        ids=[" + ".join(group) for group in groups],
    )

"""A world whose bot dies now and then and is started again, and whose people insist, as people do.

When the story is told, `account` looks at the platform and into the database: nothing may be lost, nothing done twice,
and nothing left lying about that says or shows what is not so.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import aiohttp

from bot.core.words import cards as card_words
from bot.sandbox.lark.tenant import Chat, Message, Person
from tests.bot_process import Forker, Process
from tests.ports import free_port
from tests.sql import Rows, Sql

from .card_content import has_link, text_of, values_of
from .crash_points import crashing_bot
from .replicas import Proxy
from .world import World, world_in

PATIENCE = 60.0
"""Seconds that a person waits for what was promised: some leases, redeliveries and repeats."""

SUCCEEDED = frozenset({"succeeded"})
CANCELLED = frozenset({"cancelled"})
PERHAPS = frozenset({"succeeded", "outcome_unknown"})
"""How a write without an idempotency key may end when its process dies."""

Road = Literal["browser", "client", "device"]
"""Where a person consents."""

TITLES = {
    "granted": card_words.AUTHORIZED_TITLE,
    "declined": card_words.DECLINED_TITLE,
    "expired": card_words.EXPIRED_TITLE,
}


@dataclass
class Replica:
    port: int
    process: Process | None = None


@dataclass
class Figures:
    """What came of a story."""

    deaths: int = 0
    messages: int = 0
    answers: int = 0
    writes: int = 0
    unknown: int = 0
    consents: int = 0
    doubled: int = 0
    """Messages that came a second time, where the platform has no key to know them by."""
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.deaths} kills, {self.messages} messages, {self.answers} answers, {self.writes} writes, "
            f"{self.consents} consents, {self.unknown} unknown outcomes, {self.doubled} messages twice, "
            f"{len(self.faults)} faults"
        )


class CrashWorld:
    """A `World` whose bot comes back whenever it is gone."""

    title_field = "summary"
    """Where the body of a write has its title."""
    silent_ends: frozenset[str] = frozenset({"not_now"})
    """Outcomes of calls that no message of their own tells of: the card, or the answer to another message, does."""
    own_settings: Mapping[str, str] = {}
    """What every bot of such a world is started with."""

    def __init__(self, world: World, url: str, *, replicas: int = 1) -> None:
        self.world, self.url = world, url
        self.replicas = [Replica(world.port)]
        if replicas > 1:
            self.replicas = [Replica(free_port()) for _ in range(replicas)]
        self.settings = {"BOT_DATABASE_URL": url, "BOT_AUTO_MIGRATE": "false", "BOT_LOG_LEVEL": "info"}
        self.settings |= self.own_settings
        self.record = world.directory / "points"
        self.deaths = 0
        self.ends: dict[str, frozenset[str]] = {}
        """How each message may end."""
        self.recalled: set[str] = set()
        self.writes: dict[str, str] = {}
        """The message that asks for each title."""
        self.sql = Sql(url)
        self.background_tasks: list[asyncio.Task[None]] = []
        world.tenant.behaviour.rate_limits = False
        world.tenant.behaviour.redelivery_seconds = (0.3, 0.3, 0.5, 0.5, 1, 1, 2, 2, 4, 8, 16, 32, 64)

    # --- the bot ------------------------------------------------------------------------------------------

    async def begin(self, die_at: str = "") -> None:
        """Starts the bot (which dies at that point), and sees to it that there always is one."""
        for replica in self.replicas:
            process = self.start(replica, die_at)
            self.background_tasks.append(asyncio.create_task(self.keep_alive(replica, process)))
        for replica in self.replicas:
            await self.ready(replica)

    def start(self, replica: Replica, die_at: str = "") -> Process:
        replica.process = self.world.fork(
            crashing_bot(die_at=die_at, record=str(self.record)), **self.settings, BOT_PORT=str(replica.port)
        )
        return replica.process

    async def keep_alive(self, replica: Replica, process: Process) -> None:
        while True:
            await process.wait()
            self.deaths += 1
            process = self.start(replica)

    async def ready(self, replica: Replica) -> None:
        await self.page(f"http://127.0.0.1:{replica.port}/readyz")

    async def end(self) -> None:
        for task in self.background_tasks:
            task.cancel()
        await asyncio.gather(*self.background_tasks, return_exceptions=True)
        for replica in self.replicas:
            if replica.process is not None:
                replica.process.kill()
                await replica.process.wait()
        await self.sql.close()

    async def rows(self, statement: str, **parameters: Any) -> Rows:
        return await self.sql.rows(statement, **parameters)

    async def until(self, found: Any, what: str, patience: float = PATIENCE) -> Any:
        """Waits until `found()` gives something, and returns that."""
        deadline = asyncio.get_running_loop().time() + patience
        while not (result := await found()):
            if asyncio.get_running_loop().time() > deadline:
                raise AssertionError(f"Waited in vain for {what}.\n{await self.state()}")
            await asyncio.sleep(0.1)
        return result

    async def state(self) -> str:
        """What a reader of a failure wants to see."""
        tables = {
            "deferred_calls": "id, command, arguments, status, waits_for, outcome, attempts, claim, message_id",
            "authorization_requests": "id, status, failure",
            "cards": "id, wanted, shown, message_id",
            "authorization_attempts": "id, status, outcome",
            "outgoing_messages": "kind, delivery_key, status, attempts, message_id, reason",
            "grants": "user_key, status, generation, end_reason",
        }
        parts = []
        for table, columns in tables.items():
            rows = await self.rows(f"SELECT {columns} FROM {table} ORDER BY 1")
            parts.append("\n".join([table, *(f"  {json.dumps(row, default=str)}" for row in rows)]))
        return "\n".join([*parts, self.world.log_tail()])

    # --- people -------------------------------------------------------------------------------------------

    @property
    def sam(self) -> Person:
        return self.world.sam

    @property
    def ada(self) -> Person:
        return self.world.ada

    async def page(self, url: str, method: str = "GET", **options: Any) -> tuple[int, str, str]:
        """Loads a page as a person does who reloads it until it is there: status, Location, text."""

        async def found() -> tuple[int, str, str] | None:
            try:
                async with self.world.http.request(method, url, allow_redirects=False, **options) as response:
                    if response.status in (502, 503):
                        return None
                    return response.status, response.headers.get("Location", ""), await response.text()
            except aiohttp.ClientError:
                return None

        loaded: tuple[int, str, str] = await self.until(found, f"the page {url}")
        return loaded

    async def say(
        self, person: Person, words: str, chat: Chat | None = None, ends: frozenset[str] = SUCCEEDED
    ) -> str:
        """The person says something. It is known how that may end, and what it may write."""
        message = await self.world.say(person, words, chat)
        self.ends[message] = ends
        if words.startswith("/task "):
            self.writes[words.removeprefix("/task ")] = message
        if words.startswith("/call POST"):
            self.writes[json.loads(words.split(None, 3)[3])[self.title_field]] = message
        return message

    async def answered(self, message: str) -> bool:
        """By a message, or by the card on which "Not now" was pressed, or which shows that it expired."""
        silent = ", ".join(f"'{each}'" for each in sorted(self.silent_ends))
        return bool(
            await self.rows(
                "SELECT 1 FROM deferred_calls c LEFT JOIN outgoing_messages o ON o.call_id = c.id "
                "LEFT JOIN authorization_requests r ON r.id = c.request_id LEFT JOIN cards d ON d.id = r.id "
                f"WHERE c.message_id = :message AND (c.outcome IN ({silent}) "
                "OR (o.kind = 'answer' AND o.status = 'sent') "
                "OR (c.outcome = 'expired' AND r.status = 'expired' AND d.shown = d.wanted))",
                message=message,
            )
        )

    async def is_asked(self, person: Person) -> Message | None:
        """The card that asks the person and waits for them."""
        found = await self.rows(
            "SELECT d.message_id FROM authorization_requests r JOIN cards d ON d.id = r.id "
            "WHERE r.status = 'open' AND d.message_id IS NOT NULL AND r.user_key LIKE :person",
            person=f"%{self.world.id_of(person)}",
        )
        card = self.message_of(found[0]["message_id"]) if found else None
        asks = card is not None and (has_link(card) or is_for_device(card)) and not card.recalled
        return card if asks else None

    async def see_to(
        self, message: str, person: Person, decision: str = "allow", by: Road = "browser"
    ) -> None:
        """Waits for the answer, and decides about every card that comes before it."""
        while True:

            async def news() -> Any:
                return await self.answered(message) or await self.is_asked(person)

            found = await self.until(news, f"the answer to {self.world.tenant.messages[message].content}")
            if found is True:
                return
            match by:
                case "browser":
                    await self.consent(person, found, decision)
                case "client":
                    await self.consent_in_client(person, found)
                case "device":
                    await self.consent_by_device(person, found)
            await self.settled(message, person)

    async def refuse(self, message: str, person: Person) -> None:
        """The person declines on the page, which ends the attempt alone, and then by the button of the card."""

        async def news() -> Any:
            return await self.answered(message) or await self.is_asked(person)

        found = await self.until(news, "the card")
        if found is not True:
            await self.consent(person, found, "refuse")
            await self.press(person, found, "not_now", message)

    async def settled(self, message: str, person: Person) -> None:
        """Waits a moment after a consent: for the answer, or until the card asks (again)."""

        async def moved_on() -> bool:
            if await self.answered(message):
                return True
            redeeming = await self.rows(
                "SELECT 1 FROM authorization_requests WHERE status = 'redeeming' AND user_key LIKE :person",
                person=f"%{self.world.id_of(person)}",
            )
            return not redeeming

        await self.until(moved_on, "the consent to count, or the card to ask again")

    async def consent(self, person: Person, card: Message, decision: str = "allow") -> str:
        """From the card's link to the page at its end, whose text is returned."""
        link = self.world.link_of(card)
        status, target, page = await self.page(link)
        if status != 302:
            return page
        _, consent_page, _ = await self.page(target)
        back = await self.world.decide(consent_page.split("id=")[1], person, decision)
        return (await self.page(back))[2]

    async def consent_in_client(self, person: Person, card: Message) -> str:
        """What the page inside the client does."""
        world, link = self.world, self.world.link_of(card)
        own = {"method": "POST", "headers": {"Origin": world.public}}
        ticket = link.rsplit("/", 1)[1]
        base = f"{world.public}/oauth/lark/client"
        status, _, begun = await self.page(f"{base}/attempts", json={"ticket": ticket}, **own)
        asked = json.loads(begun)
        if status != 200 or "state" not in asked:
            return begun
        given = await world.control(
            "in-client", person=person.open_id, page_url=base, scope_list=asked["scopeList"],
            state=asked["state"], decision="allow",
        )  # fmt: skip
        result = {"state": asked["state"], "code": given["code"]}
        return (await self.page(f"{base}/results", json=result, **own))[2]

    async def consent_by_device(self, person: Person, card: Message) -> None:
        """One move of a person before a card without an address of ours: its button first, then the platform's link."""
        if any(value.get("action") == "authorize" for value in values_of(card.content)):
            await self.world.click(person, card, "authorize")
        elif links := device_links(card):
            _, consent_page, _ = await self.page(links[0])
            if "id=" in consent_page:
                with contextlib.suppress(AssertionError):  # it was decided before
                    await self.world.decide(consent_page.split("id=")[1], person)
        await asyncio.sleep(0.2)

    async def press(self, person: Person, card: Message, action: str, message: str) -> None:
        """Presses a button of a card until that is seen to have worked: the message is answered."""
        while not await self.answered(message):
            if self.offers(card, action):
                await self.world.click(person, card, action)
            with contextlib.suppress(AssertionError):
                await self.until(lambda: self.answered(message), "the answer", 4)

    def offers(self, card: Message, action: str) -> bool:
        """Whether the card has a button that sends this action."""
        return any(value.get("action") == action for value in values_of(card.content))

    async def recall(self, person: Person, message: str) -> None:
        """The person takes their message back."""
        self.recalled.add(message)
        await self.world.control("recall", message_id=message)
        told = {"message_id": message, "chat_id": self.world.direct(person).chat_id, "recall_time": "1"}
        await self.world.control("events", event={"event_type": "im.message.recalled_v1", "event": told})

    async def ask(
        self, person: Person, words: str, chat: Chat | None = None, ends: frozenset[str] = SUCCEEDED
    ) -> str:
        """Says something, allows what is asked for, and waits for the answer."""
        message = await self.say(person, words, chat, ends)
        await self.see_to(message, person)
        return message

    def message_of(self, message_id: str | None) -> Message | None:
        """The message that the bot knows by this id."""
        return self.world.tenant.messages.get(message_id or "")

    def titles(self) -> list[str]:
        """What was written at the platform."""
        return [task["summary"] for task in self.world.tenant.work.tasks]

    # --- afterwards ---------------------------------------------------------------------------------------

    async def account(self) -> Figures:
        """Waits until nothing is under way any more, and says what came of everything."""
        await self.until(self.is_quiet, "everything to come to its end")
        figures = Figures(deaths=self.deaths, messages=len(self.ends), writes=len(self.writes))
        await self.account_for_messages(figures)
        await self.account_for_writes(figures)
        await self.account_for_cards(figures)
        figures.consents = len(
            await self.rows("SELECT 1 FROM authorization_attempts WHERE status = 'completed'")
        )
        return figures

    async def is_quiet(self) -> bool:
        """Nothing runs, is due, is being sent, or shows what it should not."""
        known = await self.rows("SELECT message_id FROM deferred_calls WHERE message_id IS NOT NULL")
        if {row["message_id"] for row in known} < set(self.ends):
            return False
        busy = [
            "SELECT 1 FROM deferred_calls WHERE status IN ('queued', 'running')",
            "SELECT 1 FROM outgoing_messages WHERE status IN ('queued', 'sending')",
            "SELECT 1 FROM authorization_requests WHERE status = 'redeeming'",
            "SELECT 1 FROM cards WHERE shown < wanted",
            "SELECT 1 FROM authorization_attempts WHERE status = 'redeeming'",
            "SELECT 1 FROM device_authorizations WHERE status IN ('requesting', 'polling')",
            "SELECT 1 FROM revocations WHERE status = 'queued'",
            "SELECT 1 FROM scope_waits WHERE status = 'waiting'",
        ]
        # In one statement: between two, what was not yet due becomes due.
        return not await self.rows(" UNION ALL ".join(busy))

    async def account_for_messages(self, figures: Figures) -> None:
        calls = await self.rows(
            "SELECT c.id, c.message_id, c.status, c.outcome, d.message_id AS card_message_id FROM deferred_calls c "
            "LEFT JOIN cards d ON d.id = c.request_id WHERE c.message_id IS NOT NULL"
        )
        answers = Counter(
            row["call_id"]
            for row in await self.rows(
                "SELECT call_id FROM outgoing_messages WHERE kind = 'answer' AND status = 'sent'"
            )
        )
        recorded = Counter(call["message_id"] for call in calls)
        for message in self.ends:
            if recorded[message] != 1:
                figures.faults.append(f"message {message} was recorded {recorded[message]} times")
        for call in calls:
            figures.answers += answers[call["id"]]
            figures.unknown += call["status"] == "outcome_unknown"
            if call["status"] not in self.ends[call["message_id"]]:
                figures.faults.append(f"call {call['id']} ended as {call['status']}")
            # The card says of what was declined on it, or expired with it, that it was not run.
            card = self.message_of(call["card_message_id"])
            expired = (
                call["outcome"] == "expired"
                and card is not None
                and "request expired" in text_of(card.content)
            )
            silent = call["outcome"] in self.silent_ends or expired
            wanted = call["message_id"] not in self.recalled and not silent
            if answers[call["id"]] != wanted:
                figures.faults.append(f"call {call['id']} has {answers[call['id']]} answers")
        await self.account_for_what_was_sent(figures)

    async def account_for_what_was_sent(self, figures: Figures) -> None:
        """Every message of the bot at the platform is one that the database knows to be there, and the reverse."""
        there = {
            m.message_id
            for m in self.world.tenant.messages.values()
            if m.sender_type == "bot" and m.ephemeral_for is None
        }
        known = [
            *await self.rows("SELECT message_id FROM outgoing_messages WHERE status = 'sent'"),
            *await self.rows("SELECT message_id FROM cards WHERE request_id IS NOT NULL AND NOT ephemeral"),
        ]
        times = Counter(row["message_id"] for row in known if row["message_id"] is not None)
        ephemeral = {m.message_id for m in self.world.tenant.messages.values() if m.ephemeral_for}
        if twice := [each for each, n in times.items() if n > 1]:
            figures.faults.append(f"noted twice: {twice}")
        if stray := there - set(times):
            words = [text_of(self.world.tenant.messages[each].content)[:200] for each in stray]
            figures.faults.append(f"at the platform, and not in the database: {words}")
        if missing := set(times) - there - ephemeral:
            figures.faults.append(f"in the database, and not at the platform: {missing}")
        await self.account_for_undelivered(figures)

    async def account_for_undelivered(self, figures: Figures) -> None:
        unsent = await self.rows(
            "SELECT kind, status, reason FROM outgoing_messages WHERE status NOT IN ('sent', 'queued', 'sending') "
            # An interim note that was not sent in time has no use after the answer.
            "AND NOT (kind = 'interim' AND reason = 'the answer was sent first')"
        )
        figures.faults.extend(f"not delivered: {row}" for row in unsent)

    async def account_for_writes(self, figures: Figures) -> None:
        done = Counter(self.titles())
        status = {
            row["message_id"]: row["status"]
            for row in await self.rows("SELECT message_id, status FROM deferred_calls")
        }
        for title, message in self.writes.items():
            ended = status.get(message)
            wanted = {"succeeded": {1}, "outcome_unknown": {0, 1}}.get(str(ended), {0})
            if done[title] not in wanted:
                figures.faults.append(f"{title!r} was written {done[title]} times, and the call is {ended}")
        told = await self.rows(
            "SELECT o.message_id FROM deferred_calls c JOIN outgoing_messages o ON o.call_id = c.id "
            "AND o.kind = 'answer' WHERE c.status = 'outcome_unknown'"
        )
        for row in told:
            answer = self.message_of(row["message_id"])
            if answer is not None and "Check in the app first" not in text_of(answer.content):
                figures.faults.append("an unknown outcome was not told as one")

    async def account_for_cards(self, figures: Figures) -> None:
        requests = await self.rows(
            "SELECT r.id, r.status, r.refused, r.failure, d.message_id AS card_message_id, "
            "d.ephemeral AS card_ephemeral FROM authorization_requests r JOIN cards d ON d.id = r.id"
        )
        waiting = await self.rows("SELECT request_id FROM deferred_calls WHERE status = 'suspended'")
        for request in requests:
            if request["status"] == "open" and {"request_id": request["id"]} not in waiting:
                figures.faults.append(f"request {request['id']} asks, and nothing waits for it")
            card = self.message_of(request["card_message_id"])
            if card is None or card.recalled or request["card_ephemeral"]:
                continue
            if has_link(card) != (request["status"] == "open"):
                figures.faults.append(f"the card of a request that is {request['status']} is not true")
            title = TITLES.get(request["status"])
            partly = request["refused"] not in ("[]", [])
            shown = text_of(card.content)
            if title and not partly and title.en not in shown and title.zh not in shown:
                figures.faults.append(f"the card of a request that is {request['status']} does not say so")
        for row in await self.rows(
            "SELECT message_id FROM outgoing_messages WHERE kind = 'administrator_card'"
        ):
            card = self.message_of(row["message_id"])
            if card is None or card_words.ADMINISTRATOR_DONE_TITLE.en not in text_of(card.content):
                figures.faults.append("the administrator's card does not show that it is done")


def device_links(card: Message) -> list[str]:
    return re.findall(r'"default_url": "([^"]+/device/verify[^"]*)"', json.dumps(card.content))


def is_for_device(card: Message) -> bool:
    """Whether the card leads to the platform's own page."""
    return bool(device_links(card)) or any(v.get("action") == "authorize" for v in values_of(card.content))


@dataclass(frozen=True)
class Kind:
    """A platform on which the crash stories are told."""

    make_world: type[CrashWorld]
    world_in: Callable[[Path, Forker], contextlib.AbstractAsyncContextManager[World]]


LARK = Kind(CrashWorld, world_in)


@contextlib.asynccontextmanager
async def crash_world(
    directory: Path, forker: Forker, url: str, *, replicas: int = 1, kind: Kind = LARK
) -> AsyncIterator[CrashWorld]:
    directory.mkdir(exist_ok=True)
    async with kind.world_in(directory, forker) as world, contextlib.AsyncExitStack() as more:
        crashing = kind.make_world(world, url, replicas=replicas)
        if replicas > 1:
            await more.enter_async_context(Proxy(world.port, [each.port for each in crashing.replicas]))
        try:
            yield crashing
        finally:
            await crashing.end()

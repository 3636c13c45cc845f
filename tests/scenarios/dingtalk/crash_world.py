"""A world on DingTalk whose bot dies now and then, and what is accounted for there in another way.

A plain card cannot be changed: its link says how its request ended, and a short message tells of a consent. Messages have
no idempotency key: one whose sending was interrupted is sent again, and may have come twice.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from bot.core.words import cards as card_words
from tests.bot_process import Forker
from tests.scenarios.card_content import has_link, text_of
from tests.scenarios.crash_world import SUCCEEDED, CrashWorld, Figures, Kind
from tests.scenarios.dingtalk.conftest import IN_CLIENT, buttons_of, dingtalk_world_in
from tests.scenarios.world import World

INSTEAD = {"not_now": "/cancel", "confirm": "/confirm", "discard": "/cancel"}
"""What a person sends who has no button to press."""


class DingTalkCrashWorld(CrashWorld):
    title_field = "subject"
    silent_ends = frozenset({"not_now", "cancelled_by_user"})

    @property
    def changes_cards(self) -> bool:
        return "DINGTALK_CARD_TEMPLATE_ID" in self.settings

    def message_of(self, message_id: str | None) -> Any:
        """The message with this key or card id; of one that came twice the one that the bot knows."""
        messages: Any = self.world.tenant.messages
        return next(
            (
                m
                for m in messages.values()
                if message_id and message_id in (m.process_query_key, m.out_track_id)
            ),
            None,
        )

    def titles(self) -> list[str]:
        work: Any = self.world.tenant.work
        return [todo["subject"] for todo in work.todos.values()]

    # --- people

    def offers(self, card: Any, action: str) -> bool:
        return any(each.get("id", "").split(":")[0] == action for each in buttons_of(card))

    async def press(self, person: Any, card: Any, action: str, message: str) -> None:
        """Without the button the person sends the command that the card names, again if nothing comes of it."""
        if self.changes_cards:
            await super().press(person, card, action, message)
            return
        while not await self.answered(message):
            await self.say(person, INSTEAD[action], ends=SUCCEEDED)
            with contextlib.suppress(AssertionError):
                await self.until(lambda: self.answered(message), "the answer", 8)

    async def have_it_checked(self, administrator: Any, card: Any, news: Any) -> None:
        """The administrator has the bot check again until there is news of it."""
        while not await news():
            if self.changes_cards:
                if self.offers(card, "check_again"):
                    await self.world.click(administrator, card, "check_again")
            else:
                await self.say(administrator, "/check", ends=SUCCEEDED)
            with contextlib.suppress(AssertionError):
                await self.until(news, "news", 8)

    async def consent_in_client(self, person: Any, card: Any) -> str:
        world = self.world
        own = {"method": "POST", "headers": {"Origin": world.public, "User-Agent": IN_CLIENT}}
        base = f"{world.public}/oauth/dingtalk/client"
        ticket = world.link_of(card).rsplit("/", 1)[1]
        status, _, begun = await self.page(f"{base}/attempts", json={"ticket": ticket}, **own)
        asked = json.loads(begun)
        if status != 200 or "state" not in asked:
            return begun
        given = await world.control(
            "in-client",
            person=world.id_of(person),
            decision="ok",
            type="0",
            clientId=asked["clientId"],
            corpId=asked["corpId"],
            rpcScope=",".join(asked["rpcScope"]),
            fieldScope=",".join(asked["fieldScope"]),
        )
        result = {"state": asked["state"], "authCode": given["result"]["authCode"]}
        return (await self.page(f"{base}/results", json=result, **own))[2]

    # --- afterwards

    async def account_for_what_was_sent(self, figures: Figures) -> None:
        """What came is what the database knows to have been sent, and only what was interrupted came twice."""
        messages: Any = self.world.tenant.messages
        left = [m for m in messages.values() if m.sender_type == "bot"]
        sendings: Counter[tuple[str, str]] = Counter()
        """How often each text may have been sent to each chat."""
        rows = await self.rows(
            "SELECT o.message_id, o.attempts, c.message_id AS asked FROM outgoing_messages o "
            "LEFT JOIN deferred_calls c ON c.id = o.call_id WHERE o.status = 'sent'"
        )
        cards = await self.rows("SELECT message_id FROM cards WHERE message_id IS NOT NULL")
        known = [*rows, *({**row, "attempts": 1, "asked": None} for row in cards)]
        for row in known:
            found = self.message_of(row["message_id"]) or next(
                (m for m in left if m.reply_to and m.reply_to == row["asked"]), None
            )
            if found not in left:
                figures.faults.append(f"in the database, and not at the platform: {row}")
                continue
            left.remove(found)
            sendings[said_in(found)] += row["attempts"] - 1
        (moved,) = await self.rows("SELECT coalesce(sum(moves), 0) AS cards FROM cards")
        replaced, interrupted = moved["cards"], self.deaths
        """Cards that were sent again with more scopes on them, or perhaps in another state after an interruption."""
        for message in left:
            is_card = has_link(message) or card_words.REDEEMING_TITLE.en in text_of(message.content)
            if is_card and replaced:
                replaced -= 1
                continue
            figures.doubled += 1
            if is_card and interrupted:
                interrupted -= 1
            elif self.deaths and sendings[said_in(message)]:
                sendings[said_in(message)] -= 1
            elif self.deaths and text_of(message.content).endswith("working on it…"):
                continue  # sent when the process died, and given up once the answer was sent
            else:
                figures.faults.append(f"at the platform once too often: {text_of(message.content)[:200]}")
        await self.account_for_undelivered(figures)

    async def account_for_cards(self, figures: Figures) -> None:
        if self.changes_cards:
            await super().account_for_cards(figures)
            return
        requests = await self.rows(
            "SELECT r.id, r.status, d.message_id FROM authorization_requests r JOIN cards d ON d.id = r.id"
        )
        waiting = await self.rows("SELECT request_id FROM deferred_calls WHERE status = 'suspended'")
        notices = await self.rows("SELECT delivery_key FROM outgoing_messages WHERE kind = 'notice'")
        for request in requests:
            if request["status"] == "open" and {"request_id": request["id"]} not in waiting:
                figures.faults.append(f"request {request['id']} asks, and nothing waits for it")
            told = [n for n in notices if request["id"] in n["delivery_key"]]
            if len(told) != (request["status"] == "granted"):
                figures.faults.append(f"a request that is {request['status']} has {len(told)} notices")
            card = self.message_of(request["message_id"])
            if card is None or not has_link(card) or request["status"] == "open":
                continue
            status, _, page = await self.page(self.world.link_of(card))
            if status not in (200, 410):
                figures.faults.append(
                    f"the link of a request that is {request['status']}: {status} {page[:200]}"
                )


def said_in(message: Any) -> tuple[str, str]:
    """A message's chat, and its words without their form: a repeated one may go another way."""
    return message.chat_id, "".join(text_of(message.content).split())


@contextlib.asynccontextmanager
async def dingtalk_crash_world_in(directory: Path, forker: Forker) -> AsyncIterator[World]:
    async with dingtalk_world_in(directory, forker) as world:
        yield world


DINGTALK = Kind(DingTalkCrashWorld, dingtalk_crash_world_in)

"""A world for each story on DingTalk: the emulated platform in this process, the real `bot run` as another."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from bot.sandbox.dingtalk.sample_tenant import TEMPLATE_ID, sample_tenant
from bot.sandbox.dingtalk.server import build_platform
from tests.bot_process import REPOSITORY, Forker
from tests.ports import free_port
from tests.scenarios.card_content import text_of
from tests.scenarios.world import PATIENCE, World

IN_CLIENT = "Mozilla/5.0 (Macintosh) DingTalk(7.6.0-macOS) nw DingTalk/7.6.0"


class DingTalkWorld(World):
    """What a story on DingTalk is told with. People, chats and messages are the emulator's, which has the same names."""

    tenant: Any

    async def platform_up(self) -> None:
        self.runner = web.AppRunner(build_platform(self.tenant), access_log=None, shutdown_timeout=1)
        await self.runner.setup()
        port = int(self.origin.rsplit(":", 1)[1])
        await web.TCPSite(self.runner, "127.0.0.1", port, reuse_address=True).start()

    def id_of(self, person: Any) -> str:
        return str(person.user_id)

    def direct(self, person: Any) -> Any:
        return self.tenant.direct_chat(person.user_id)

    async def say(self, person: Any, text: str, chat: Any = None, mentioning: Any = (), **more: Any) -> str:
        said = await self.control(
            "messages",
            person=person.user_id,
            text=text,
            chat_id=chat.chat_id if chat else None,
            mention_bot=chat is not None and chat.kind == "group",
            mentions=[each.user_id for each in mentioning],
            **more,
        )
        return str(said["message_id"])

    def environment(self) -> dict[str, str]:
        app = self.tenant.app
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("LARK_", "DINGTALK_", "BOT_", "SSL_CERT_"))
            and not name.upper().endswith("_PROXY")
        }
        return {
            **inherited,
            "PYTHONPATH": str(REPOSITORY),
            "DINGTALK_CLIENT_ID": app.client_id,
            "DINGTALK_CLIENT_SECRET": app.client_secret,
            "DINGTALK_CORP_ID": app.corp_id,
            "DINGTALK_ROBOT_CODE": app.robot_code,
            "DINGTALK_EVENTS": "stream",
            "DINGTALK_API_URL": self.origin,
            "DINGTALK_OAPI_URL": self.origin,
            "DINGTALK_LOGIN_URL": self.origin,
            "DINGTALK_JSAPI_URL": f"{self.origin}/sandbox/jsapi.js",
            "BOT_PUBLIC_URL": self.public,
            "BOT_PORT": str(self.port),
            "BOT_DATABASE_URL": f"sqlite+aiosqlite:///{self.database}",
            "BOT_ENCRYPTION_KEYS": self.key,
            "BOT_ADMINS": app.owner,
            "BOT_LOG_LEVEL": "debug",
            **self.settings,
        }

    async def start(self, **settings: str) -> None:
        if settings.get("DINGTALK_EVENTS") == "webhook":
            self.tenant.app.events_by = "webhook"
        await super().start(**settings)

    # --- what the bot says

    async def said(
        self, chat: Any, containing: str, since: str | None = None, patience: float = PATIENCE
    ) -> Any:
        """A message of the bot in a chat with this text, after the message `since`."""

        def found() -> Any:
            return next((m for m in self.from_bot(chat, since) if containing in text_of(m.content)), None)

        return await self.until(found, f"a message with {containing!r}", patience)

    async def told(
        self, person: Any, containing: str, since: str | None = None, patience: float = PATIENCE
    ) -> Any:
        return await self.said(self.direct(person), containing, since, patience)

    async def card_for(self, person: Any, containing: str = "", patience: float = PATIENCE) -> Any:
        """The newest message in the person's direct chat with a link to authorize."""

        def found() -> Any:
            cards = [m for m in self.from_bot(self.direct(person)) if link_in(m)]
            return next((m for m in reversed(cards) if containing in text_of(m.content)), None)

        return await self.until(found, f"a card with {containing!r}", patience)

    def link_of(self, card: Any) -> str:
        link = link_in(card)
        assert link is not None
        return link

    def links_of(self, card: Any) -> list[str]:
        return [link] if (link := link_in(card)) else []

    async def open(self, way: Any) -> str:
        return await super().open(way if isinstance(way, str) else self.link_of(way))

    async def decide(
        self, consent_id: str, person: Any, decision: str = "allow", scopes: list[str] | None = None
    ) -> str:
        body = {"person": person.user_id, "decision": decision}
        return str((await self.control(f"consents/{consent_id}", **body))["redirect"])

    async def click(self, person: Any, card: Any, action: str) -> Any:
        """Press the button of an interactive card that sends this action."""
        ids = [each["id"] for each in buttons_of(card) if each.get("id", "").split(":")[0] == action]
        assert ids, (action, buttons_of(card))
        value = {"actionIds": ids[:1], "params": {}}
        return await self.control("clicks", person=person.user_id, message_id=card.message_id, value=value)

    # --- the page in the client

    async def post_from_page(self, path: str, **fields: str) -> tuple[int, Any]:
        async with self.http.post(
            f"{self.public}/oauth/dingtalk/client/{path}",
            json=fields,
            headers={"Origin": self.public, "User-Agent": IN_CLIENT},
        ) as response:
            return response.status, await response.json()

    async def authorize_in_client(self, person: Any, card: Any, decision: str = "ok") -> tuple[int, Any]:
        """Do what the page's script does; returns the page at its end."""
        status, attempt = await self.post_from_page("attempts", ticket=self.link_of(card).rsplit("/", 1)[1])
        assert status == 200, attempt
        asked = {
            "type": "0",
            "clientId": attempt["clientId"],
            "corpId": attempt["corpId"],
            "rpcScope": ",".join(attempt["rpcScope"]),
            "fieldScope": ",".join(attempt["fieldScope"]),
        }
        answer = await self.control("in-client", person=person.user_id, decision=decision, **asked)
        if answer["status"] == "ok":
            code = answer["result"]["authCode"]
            return await self.post_from_page("results", state=attempt["state"], authCode=code)
        assert answer["status"] == "cancel", answer
        return await self.post_from_page("results", state=attempt["state"], error="access_denied")


def link_in(message: Any) -> str | None:
    """The link to authorize on a message, plain or interactive."""
    if url := message.content.get("singleURL"):
        return str(url) if "/authorize/" in url else None
    return next((each["url"] for each in buttons_of(message) if "/authorize/" in each.get("url", "")), None)


def buttons_of(message: Any) -> list[dict[str, Any]]:
    drawn = message.content.get("data", {}).get("sys_full_json_obj")
    return list(json.loads(drawn)["msgButtons"]) if drawn else []


Change = Callable[[Any], None]


@contextlib.asynccontextmanager
async def dingtalk_world_in(directory: Path, forker: Forker) -> AsyncIterator[DingTalkWorld]:
    tenant = sample_tenant()
    world = DingTalkWorld(tenant, f"http://127.0.0.1:{free_port()}", directory, forker)  # type: ignore[arg-type]
    await world.platform_up()
    tenant.app.events_url = f"{world.public}/dingtalk/events"
    tenant.app.redirect_urls = [f"{world.public}/oauth/dingtalk/callback"]
    try:
        yield world
    finally:
        await world.close()
        await world.platform_down()


@pytest.fixture
async def world(tmp_path: Path, forker: Forker, sqlite_template: Path) -> AsyncIterator[DingTalkWorld]:
    async with dingtalk_world_in(tmp_path, forker) as world:
        shutil.copy(sqlite_template, world.database)
        yield world


@pytest.fixture(params=["plain cards", "interactive cards"])
def cards(request: pytest.FixtureRequest, world: DingTalkWorld) -> str:
    """Stories that are the same with either kind of card."""
    if request.param == "interactive cards":
        world.settings["DINGTALK_CARD_TEMPLATE_ID"] = TEMPLATE_ID
    return str(request.param)

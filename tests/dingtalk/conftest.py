"""The adapter against the emulated platform, over HTTP."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import web

from bot.core.messages import Destination
from bot.core.people import UserKey
from bot.core.secrets import Secret
from bot.dingtalk.platform import DingTalkPlatform
from bot.sandbox.dingtalk.sample_tenant import ADA, TEMPLATE_ID, sample_tenant
from bot.sandbox.dingtalk.server import build_platform
from bot.sandbox.dingtalk.tenant import Tenant
from bot.sandbox.dingtalk.tokens import new_code
from bot.sandbox.faults import Fault


@dataclass
class EmulatedDingTalk:
    """The emulated platform at `url`, and the adapter that calls it."""

    tenant: Tenant
    url: str
    platform: DingTalkPlatform

    def user(self, staff_id: str = ADA) -> UserKey:
        return self.platform.user_key(staff_id, self.tenant.app.corp_id)

    def trouble(
        self, kind: Any, times: int | None = None, match: dict[str, str] | None = None, **options: Any
    ) -> None:
        name = f"f{len(self.tenant.faults.all)}"
        self.tenant.faults.all[name] = Fault(name, kind, match or {}, times, options)

    def calm(self) -> None:
        self.tenant.faults.remove_all()

    def code(self, *scopes: str, staff_id: str = ADA, **more: Any) -> Secret:
        """Create an authorization code, as the panel in the client does."""
        return Secret(new_code(self.tenant, self.tenant.people[staff_id], frozenset(scopes), **more).code)

    async def token(self, *scopes: str, staff_id: str = ADA) -> Secret:
        tokens = await self.platform.exchange_code(
            self.code("Contact.User.Read", *scopes, staff_id=staff_id),
            redirect_uri=None,
            verifier=None,
            scopes=None,
        )
        return tokens.access_token  # type: ignore[union-attr]

    def to(self, staff_id: str = ADA, **where: Any) -> Destination:
        return Destination(self.user(staff_id), **where)

    def shown_to(self, staff_id: str = ADA) -> list[Any]:
        """Return what the bot has sent to a person's direct chat, oldest first."""
        chat = self.tenant.direct_chat(staff_id)
        assert chat is not None
        return [
            each
            for each in self.tenant.messages.values()
            if each.chat_id == chat.chat_id and each.sender_type == "bot"
        ]

    def another(self, **changes: Any) -> DingTalkPlatform:
        """Return another adapter for the same app with changed settings."""
        app = self.tenant.app
        given = {
            "client_id": app.client_id,
            "client_secret": Secret(app.client_secret),
            "corp_id": app.corp_id,
            "robot_code": app.robot_code,
            "api_url": self.url,
            "oapi_url": self.url,
            "login_url": self.url,
        }
        return DingTalkPlatform(**(given | changes))

    def with_cards(self, **changes: Any) -> DingTalkPlatform:
        return self.another(card_template_id=TEMPLATE_ID, **changes)


@pytest.fixture
async def world() -> AsyncIterator[EmulatedDingTalk]:
    tenant = sample_tenant()
    runner = web.AppRunner(build_platform(tenant))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made = EmulatedDingTalk(tenant, f"http://127.0.0.1:{runner.addresses[0][1]}", None)  # type: ignore[arg-type]
    async with made.another() as platform:
        made.platform = platform
        yield made
    await runner.cleanup()

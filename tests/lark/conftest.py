"""The adapter against the emulated platform, over HTTP."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from bot.core.people import UserKey
from bot.core.secrets import Secret
from bot.lark.platform import LarkPlatform
from bot.sandbox.lark.faults import Fault
from bot.sandbox.lark.sample_tenant import WEI, sample_tenant
from bot.sandbox.lark.server import build_platform
from bot.sandbox.lark.tenant import Tenant
from bot.sandbox.lark.tokens import new_code

PAYLOADS = Path(__file__).parent.parent / "payloads"


@pytest.fixture
def payload():
    """Return a function that reads a captured payload by its name."""

    def read(name: str) -> Any:
        return json.loads((PAYLOADS / f"{name}.json").read_text())

    return read


@dataclass
class EmulatedLark:
    """The emulated platform at `url`, and the adapter that calls it."""

    tenant: Tenant
    url: str
    platform: LarkPlatform

    def user(self, open_id: str = WEI) -> UserKey:
        return self.platform.user_key(open_id, self.tenant.app.tenant_key)

    def trouble(
        self, kind: Any, times: int | None = None, match: dict[str, str] | None = None, **options: Any
    ):
        name = f"f{len(self.tenant.faults.all)}"
        self.tenant.faults.all[name] = Fault(name, kind, match or {}, times, options)

    def calm(self) -> None:
        self.tenant.faults.remove_all()

    def code(self, *scopes: str, open_id: str = WEI, **more: Any) -> Secret:
        """Create an authorization code, as the consent page does."""
        more.setdefault("redirect_uri", "https://bot.example/cb")
        return Secret(new_code(self.tenant, self.tenant.people[open_id], frozenset(scopes), **more).code)

    def another(self, **changes: Any) -> LarkPlatform:
        """Return another adapter for the same app with changed settings."""
        app = self.tenant.app
        given = {
            "app_id": app.app_id,
            "app_secret": Secret(app.app_secret),
            "open_url": self.url,
            "accounts_url": self.url,
        }
        return LarkPlatform(**(given | changes))


@pytest.fixture
async def world() -> AsyncIterator[EmulatedLark]:
    tenant = sample_tenant()
    runner = web.AppRunner(build_platform(tenant))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    app = tenant.app
    platform = LarkPlatform(
        app_id=app.app_id,
        app_secret=Secret(app.app_secret),
        open_url=url,
        accounts_url=url,
        applink_url="https://applink.larksuite.com",
        encrypt_key=Secret(app.encrypt_key),
        verification_token=Secret(app.verification_token),
    )
    async with platform:
        yield EmulatedLark(tenant, url, platform)
    await runner.cleanup()

"""The Lark emulator as `bot sandbox` runs it: one tenant behind the interface in `bot.sandbox.platform`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from aiohttp import web

from bot.sandbox.clock import Clock
from bot.sandbox.feed import Feed
from bot.sandbox.json_http import Json
from bot.sandbox.lark.client import client_user_agent
from bot.sandbox.lark.control.state import state_json
from bot.sandbox.lark.sample_tenant import sample_tenant
from bot.sandbox.lark.server import build_platform
from bot.sandbox.lark.snapshot import load_snapshot, restore_tenant, save_snapshot
from bot.sandbox.lark.tenant import Tenant

EVENTS_BY: Literal["websocket", "webhook"] = "websocket"


class LarkEmulator:
    """Implements `bot.sandbox.platform.Emulator`, with the sample tenant unless another is given."""

    def __init__(self, tenant: Tenant | None = None) -> None:
        self.tenant = tenant or sample_tenant()

    @property
    def clock(self) -> Clock:
        return self.tenant.clock

    @property
    def feed(self) -> Feed:
        return self.tenant.feed

    @property
    def administrator(self) -> str:
        return self.tenant.app.owner

    @property
    def bot_settings(self) -> Mapping[str, tuple[str, ...]]:
        return {}

    def state(self) -> Json:
        return state_json(self.tenant)

    def has_person(self, person: str) -> bool:
        return person in self.tenant.people

    def application(self) -> web.Application:
        return build_platform(self.tenant)

    def client_user_agent(self, request: web.Request) -> str | None:
        return client_user_agent(self.tenant, request)

    def connect_bot(self, origin: str, bot_url: str, public_url: str) -> dict[str, str]:
        app = self.tenant.app
        app.events_by = EVENTS_BY
        app.events_url = bot_url + "/lark/events"
        app.redirect_urls = [public_url + "/oauth/lark/callback", public_url + "/oauth/lark/client"]
        return {
            "LARK_APP_ID": app.app_id,
            "LARK_APP_SECRET": app.app_secret,
            "LARK_OPEN_URL": origin,
            "LARK_ACCOUNTS_URL": origin,
            "LARK_APPLINK_URL": origin,
            "LARK_JSSDK_URL": f"{origin}/sandbox/jssdk.js",
            "LARK_EVENTS": EVENTS_BY,
            "LARK_ENCRYPT_KEY": app.encrypt_key,
            "LARK_VERIFICATION_TOKEN": app.verification_token,
        }

    def restore(self, directory: Path) -> dict[str, int]:
        snapshot = load_snapshot(directory)
        restore_tenant(self.tenant, snapshot)
        return snapshot.ports

    def save(self, directory: Path, ports: dict[str, int]) -> None:
        save_snapshot(self.tenant, directory, ports)

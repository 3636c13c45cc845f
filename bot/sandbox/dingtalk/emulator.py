"""The DingTalk emulator as `bot sandbox` runs it: one app behind the interface in `bot.sandbox.platform`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from aiohttp import web

from bot.sandbox.clock import Clock
from bot.sandbox.dingtalk.client import client_user_agent
from bot.sandbox.dingtalk.control.state import state_json
from bot.sandbox.dingtalk.sample_tenant import TEMPLATE_ID, sample_tenant
from bot.sandbox.dingtalk.server import build_platform
from bot.sandbox.dingtalk.snapshot import load_snapshot, restore_tenant, save_snapshot
from bot.sandbox.dingtalk.tenant import Tenant
from bot.sandbox.feed import Feed
from bot.sandbox.json_http import Json

EVENTS_BY: Literal["stream", "webhook"] = "stream"


class DingTalkEmulator:
    """Implements `bot.sandbox.platform.Emulator`, with the sample organization unless another tenant is given."""

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
        return {"DINGTALK_CARD_TEMPLATE_ID": ("", TEMPLATE_ID)}

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
        app.events_url = bot_url + "/dingtalk/events"
        app.redirect_urls = [public_url + "/oauth/dingtalk/callback"]
        return {
            "DINGTALK_CLIENT_ID": app.client_id,
            "DINGTALK_CLIENT_SECRET": app.client_secret,
            "DINGTALK_CORP_ID": app.corp_id,
            "DINGTALK_ROBOT_CODE": app.robot_code,
            "DINGTALK_EVENTS": EVENTS_BY,
            "DINGTALK_API_URL": origin,
            "DINGTALK_OAPI_URL": origin,
            "DINGTALK_LOGIN_URL": origin,
            "DINGTALK_JSAPI_URL": f"{origin}/sandbox/jsapi.js",
        }

    def restore(self, directory: Path) -> dict[str, int]:
        snapshot = load_snapshot(directory)
        restore_tenant(self.tenant, snapshot)
        return snapshot.ports

    def save(self, directory: Path, ports: dict[str, int]) -> None:
        save_snapshot(self.tenant, directory, ports)

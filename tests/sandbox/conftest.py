"""A client of the emulated Lark: what a bot, a user and a browser do, in one call each."""

import asyncio
import base64
import contextlib
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import ClientResponse, web
from pytest_aiohttp import AiohttpClient, AiohttpServer

from bot.sandbox.lark.emulator import LarkEmulator
from bot.sandbox.lark.sample_tenant import ADA, sample_tenant
from bot.sandbox.lark.server import build_platform
from bot.sandbox.lark.tenant import Tenant
from bot.sandbox.page.server import add_page_api

REDIRECT = "https://bot.example/oauth/lark/callback"
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
V2 = "/open-apis/authen/v2/oauth/token"


@dataclass
class Answer:
    status: int
    body: Any
    headers: Any

    @property
    def code(self) -> Any:
        return self.body.get("code")


@dataclass
class LarkClient:
    """Calls the emulator's routes."""

    tenant: Tenant
    client: Any

    async def request(self, method: str, path: str, token: str | None = None, **kwargs: Any) -> Answer:
        headers = kwargs.pop("headers", {})
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        response: ClientResponse = await self.client.request(
            method, path, headers=headers, allow_redirects=False, **kwargs
        )
        text = await response.text()
        try:
            body = json.loads(text)
        except ValueError:
            body = text
        return Answer(response.status, body, response.headers)

    async def get(self, path: str, token: str | None = None, **kwargs: Any) -> Answer:
        return await self.request("GET", path, token, **kwargs)

    async def post(self, path: str, token: str | None = None, **kwargs: Any) -> Answer:
        return await self.request("POST", path, token, **kwargs)

    async def control(self, path: str, **body: Any) -> Any:
        answer = await self.post(f"/sandbox/api/{path}", json=body)
        assert answer.status == 200, answer.body
        return answer.body

    # The app

    async def tenant_token(self) -> str:
        app = self.tenant.app
        answer = await self.post(
            "/open-apis/auth/v3/tenant_access_token/internal",
            json={"app_id": app.app_id, "app_secret": app.app_secret},
        )
        return str(answer.body["tenant_access_token"])

    # The user's consent

    async def open_page(self, scope: str = "", **query: str) -> Answer:
        """Open an authorize link and return what the consent page shows."""
        given = {
            "client_id": self.tenant.app.app_id,
            "response_type": "code",
            "redirect_uri": REDIRECT,
            "state": "st",
            **query,
        }
        if scope:
            given["scope"] = scope
        answer = await self.get("/open-apis/authen/v1/authorize", params=given)
        assert answer.status == 302
        location = urlsplit(answer.headers["Location"])
        assert location.path == "/sandbox/consent"
        consent_id = parse_qs(location.query)["id"][0]
        shown = await self.get(f"/sandbox/api/consents/{consent_id}", params={"person": ADA})
        shown.body["id"] = consent_id
        return shown

    async def decide(self, consent_id: str, person: str = ADA, decision: str = "allow", **more: Any) -> str:
        body = await self.control(f"consents/{consent_id}", person=person, decision=decision, **more)
        return str(body["redirect"])

    async def code(self, scope: str = "", person: str = ADA, **query: str) -> str:
        page = await self.open_page(scope, **query)
        redirect = await self.decide(page.body["id"], person)
        return parse_qs(urlsplit(redirect).query)["code"][0]

    async def exchange(self, code: str, path: str = V2, **more: Any) -> Answer:
        app = self.tenant.app
        form = {
            "grant_type": "authorization_code",
            "client_id": app.app_id,
            "client_secret": app.app_secret,
            "code": code,
            "redirect_uri": REDIRECT,
            **more,
        }
        return await self.post(path, json={k: v for k, v in form.items() if v is not None})

    async def refresh(self, token: str, path: str = V2, **more: Any) -> Answer:
        app = self.tenant.app
        form = {
            "grant_type": "refresh_token",
            "client_id": app.app_id,
            "client_secret": app.app_secret,
            "refresh_token": token,
            **more,
        }
        return await self.post(path, json=form)

    async def tokens(self, scope: str = "", person: str = ADA) -> dict[str, Any]:
        answer = await self.exchange(await self.code(scope, person))
        assert answer.status == 200, answer.body
        return dict(answer.body)

    async def user_token(self, scope: str = "", person: str = ADA) -> str:
        return str((await self.tokens(scope, person))["access_token"])

    # Messages

    async def send(self, receive_id: str, msg_type: str, content: Any, **more: Any) -> Answer:
        token = more.pop("token", None) or await self.tenant_token()
        kind = more.pop("kind", "open_id")
        body = {"receive_id": receive_id, "msg_type": msg_type, "content": json.dumps(content), **more}
        return await self.post(
            "/open-apis/im/v1/messages", token, params={"receive_id_type": kind}, json=body
        )


@pytest.fixture
async def world(aiohttp_client: AiohttpClient) -> LarkClient:
    tenant = sample_tenant()
    tenant.app.redirect_urls = [REDIRECT]
    app = build_platform(tenant)
    add_page_api(app, LarkEmulator(tenant))
    return LarkClient(tenant, await aiohttp_client(app))


@dataclass
class Receiver:
    """A bot's webhook that records requests and gives configured answers."""

    url: str = ""
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    answer: Any = field(default_factory=dict)
    delay: float = 0.0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    hurry: asyncio.Event = field(default_factory=asyncio.Event)
    """Ends the delay when set."""

    async def handle(self, request: web.Request) -> web.Response:
        self.got.append((dict(request.headers), await request.read()))
        self.arrived.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.delay):
                await self.hurry.wait()
        status = self.statuses.pop(0) if self.statuses else 200
        if isinstance(self.answer, str):
            return web.Response(status=status, text=self.answer)
        return web.json_response(self.answer, status=status)


@pytest.fixture
async def receiver(world: LarkClient, aiohttp_server: AiohttpServer) -> Receiver:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/lark/events", receiver.handle)
    server = await aiohttp_server(app)
    receiver.url = str(server.make_url("/lark/events"))
    world.tenant.app.events_url = receiver.url
    return receiver


def s256(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


@pytest.fixture
def challenge() -> dict[str, str]:
    return {"code_challenge": s256(VERIFIER), "code_challenge_method": "S256"}


@pytest.fixture
def verifier() -> str:
    return VERIFIER


@pytest.fixture
def card() -> dict[str, Any]:
    return {
        "schema": "2.0",
        "config": {"update_multi": True, "locales": ["en_us", "zh_cn"]},
        "header": {
            "title": {
                "tag": "plain_text",
                "content": "Authorize to continue",
                "i18n_content": {"zh_cn": "请授权以继续", "en_us": "Authorize to continue"},
            },
            "template": "blue",
        },
        "body": {
            "elements": [
                {"tag": "markdown", "content": "Needs: **calendar**", "element_id": "md_scope"},
                {
                    "tag": "button",
                    "element_id": "btn_auth",
                    "type": "primary",
                    "text": {"tag": "plain_text", "content": "Authorize now"},
                    "behaviors": [{"type": "open_url", "default_url": "https://bot.example/authorize/6f1d"}],
                },
                {
                    "tag": "button",
                    "element_id": "btn_no",
                    "text": {"tag": "plain_text", "content": "Not now"},
                    "behaviors": [{"type": "callback", "value": {"action": "cancel", "flow": "6f1d"}}],
                },
            ]
        },
    }

"""A client of the emulated DingTalk: what a bot, a user and a browser do, in one call each."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import ClientResponse, web
from pytest_aiohttp import AiohttpClient, AiohttpServer

from bot.sandbox.dingtalk.emulator import DingTalkEmulator
from bot.sandbox.dingtalk.sample_tenant import ADA, sample_tenant
from bot.sandbox.dingtalk.server import build_platform
from bot.sandbox.dingtalk.tenant import Tenant
from bot.sandbox.page.server import add_page_api

REDIRECT = "https://bot.example/oauth/dingtalk/callback"
TOPICS = ("/v1.0/im/bot/messages/get", "/v1.0/card/instances/callback")


@dataclass
class Answer:
    status: int
    body: Any
    headers: Any

    @property
    def code(self) -> Any:
        return self.body.get("code")

    @property
    def errcode(self) -> Any:
        assert self.status == 200
        return self.body["errcode"]


@dataclass
class DingTalkClient:
    """Calls the emulator's routes."""

    tenant: Tenant
    client: Any
    streams: list["Stream"] = field(default_factory=list)

    async def request(self, method: str, path: str, token: str | None = None, **kwargs: Any) -> Answer:
        headers = kwargs.pop("headers", {})
        if token is not None:
            headers["x-acs-dingtalk-access-token"] = token
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

    @property
    def credentials(self) -> dict[str, str]:
        return {"clientId": self.tenant.app.client_id, "clientSecret": self.tenant.app.client_secret}

    # Tokens

    async def app_token(self) -> str:
        app = self.tenant.app
        answer = await self.post(
            "/v1.0/oauth2/accessToken", json={"appKey": app.client_id, "appSecret": app.client_secret}
        )
        return str(answer.body["accessToken"])

    async def open_page(self, scope: str = "openid corpid", **query: str) -> Answer:
        """Open a login link and return what the page shows."""
        given = {
            "client_id": self.tenant.app.client_id,
            "response_type": "code",
            "redirect_uri": REDIRECT,
            "state": "st",
            "prompt": "consent",
            "scope": scope,
            **query,
        }
        answer = await self.get("/oauth2/auth", params={k: v for k, v in given.items() if v})
        assert answer.status == 302
        location = urlsplit(answer.headers["Location"])
        assert location.path == "/sandbox/consent"
        consent_id = parse_qs(location.query)["id"][0]
        shown = await self.get(f"/sandbox/api/consents/{consent_id}", params={"person": ADA})
        shown.body["id"] = consent_id
        return shown

    async def decide(self, consent_id: str, person: str = ADA, decision: str = "allow") -> dict[str, str]:
        """Decide a consent and return the query of the redirect."""
        body = await self.control(f"consents/{consent_id}", person=person, decision=decision)
        target = urlsplit(body["redirect"])
        assert body["redirect"].startswith(REDIRECT)
        return {name: values[0] for name, values in parse_qs(target.query).items()}

    async def code(self, person: str = ADA, **query: str) -> str:
        page = await self.open_page(**query)
        return (await self.decide(page.body["id"], person))["authCode"]

    async def client_code(self, *scopes: str, person: str = ADA, **more: str) -> str:
        """Return a code of `openAuth`."""
        answer = await self.control("in-client", **self.open_auth(*scopes, person=person, **more))
        return str(answer["result"]["authCode"])

    def open_auth(self, *scopes: str, person: str = ADA, **more: str) -> dict[str, str]:
        app = self.tenant.app
        asked = {"clientId": app.client_id, "corpId": app.corp_id, "type": "0", "rpcScope": ",".join(scopes)}
        return {"person": person, **asked, **more}

    async def exchange(self, code: str, /, **more: Any) -> Answer:
        body = {**self.credentials, "grantType": "authorization_code", "code": code, **more}
        return await self.post("/v1.0/oauth2/userAccessToken", json=body)

    async def refresh(self, token: str, /, **more: Any) -> Answer:
        body = {**self.credentials, "grantType": "refresh_token", "refreshToken": token, **more}
        return await self.post("/v1.0/oauth2/userAccessToken", json=body)

    async def user_token(self, *scopes: str, person: str = ADA) -> str:
        """Return a token with these scopes, from `openAuth`; without any, with all from the login page."""
        code = await self.client_code(*scopes, person=person) if scopes else await self.code(person)
        answer = await self.exchange(code)
        assert answer.status == 200, answer.body
        return str(answer.body["accessToken"])

    # Stream

    async def ticket(self, *topics: str, events: bool = False) -> dict[str, str]:
        subscriptions = [{"type": "CALLBACK", "topic": topic} for topic in topics or TOPICS]
        if events:
            subscriptions.append({"type": "EVENT", "topic": "*"})
        answer = await self.post(
            "/v1.0/gateway/connections/open",
            json={**self.credentials, "subscriptions": subscriptions, "ua": "test", "localIp": "127.0.0.1"},
            headers={"Accept": "application/json"},
        )
        assert answer.status == 200, answer.body
        return dict(answer.body)

    async def connect(self, *topics: str, events: bool = False) -> "Stream":
        opened = await self.ticket(*topics, events=events)
        socket = await self.client.session.ws_connect(opened["endpoint"], params={"ticket": opened["ticket"]})
        self.streams.append(Stream(socket))
        return self.streams[-1]


@dataclass
class Stream:
    """One stream connection of a bot."""

    socket: Any

    async def frame(self) -> dict[str, Any]:
        """Return the next frame."""
        async with asyncio.timeout(10):
            return dict(json.loads(await self.socket.receive_str()))

    async def ack(self, frame: dict[str, Any], data: Any = None, code: int = 200) -> None:
        headers = {"messageId": frame["headers"]["messageId"], "contentType": "application/json"}
        answer = {"code": code, "headers": headers, "message": "OK", "data": json.dumps(data)}
        await self.socket.send_str(json.dumps(answer))

    async def message(self) -> dict[str, Any]:
        """Acknowledge the next frame, which must be a bot message, and return its data."""
        frame = await self.frame()
        assert frame["headers"]["topic"] == TOPICS[0]
        await self.ack(frame, {"response": None})
        return dict(json.loads(frame["data"]))


async def until(condition: Any) -> None:
    """Wait until a fact holds that the platform works towards on its own."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture
async def world(aiohttp_client: AiohttpClient) -> AsyncIterator[DingTalkClient]:
    tenant = sample_tenant()
    tenant.app.redirect_urls = [REDIRECT]
    app = build_platform(tenant)
    add_page_api(app, DingTalkEmulator(tenant))
    world = DingTalkClient(tenant, await aiohttp_client(app))
    yield world
    for stream in world.streams:
        await stream.socket.close()


@dataclass
class Receiver:
    """A bot's HTTP address that records requests and gives a configured answer."""

    url: str = ""
    got: list[tuple[dict[str, str], Any]] = field(default_factory=list)
    status: int = 200
    answer: Any = field(default_factory=lambda: {"msgtype": "empty"})

    async def handle(self, request: web.Request) -> web.Response:
        self.got.append((dict(request.headers), await request.json()))
        return web.json_response(self.answer, status=self.status)


@pytest.fixture
async def receiver(aiohttp_server: AiohttpServer) -> Receiver:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/bot", receiver.handle)
    server = await aiohttp_server(app)
    receiver.url = str(server.make_url("/bot"))
    return receiver

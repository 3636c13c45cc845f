"""No secret of DingTalk that ever existed can be read anywhere: codes, tokens, session webhooks, tickets."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from bot.sandbox.dingtalk.sample_tenant import TEMPLATE_ID
from tests.scenarios.dingtalk.conftest import IN_CLIENT, DingTalkWorld
from tests.scenarios.secret_search import RecordingProxy, leaks, without_links
from tests.scenarios.test_secrets import Watch, dump
from tests.sql import Sql

GETS_THE_SECRET = ("/v1.0/oauth2/", "/v1.0/gateway/connections/open", "/v1.0/card/callbacks/register")
"""What is sent the app's secret, or answers with secrets."""
SECRET_ADDRESSES = ("/topapi/", "/robot/sendBySession")
"""Whose address holds a secret, because the platform wants it there."""
BROWSERS = ("/oauth2/auth", "/sandbox/")
TITLE = "a-title-that-nobody-else-reads"
SECRET = "Zx9+Kq/7~secret?Ab-3_d"


class DingTalkWatch(Watch):
    world: DingTalkWorld
    sql: Sql

    async def post(self, path: str, body: dict[str, str]) -> Any:
        headers = {"Origin": self.world.public, "User-Agent": IN_CLIENT}
        async with self.world.http.post(self.world.public + path, json=body, headers=headers) as response:
            answer = await response.json()
            shown = dict(answer)
            if "state" in shown:
                self.secret("in-client state", shown.pop("state"))
            self.read(response, json.dumps(shown))
            return answer

    def collect(self) -> None:
        tenant = self.world.tenant
        answered = b"\n".join(self.proxy.answers)
        for kind, values in {
            "client secret": {tenant.app.client_secret},
            "encryption key": set(self.world.settings["BOT_ENCRYPTION_KEYS"].split(",")),
            "access token": set(tenant.credentials.access),
            "refresh token": set(tenant.credentials.refresh),
            "app token": set(tenant.credentials.app_tokens),
            "code": set(tenant.credentials.codes) | self.proxy.fields("code"),
            "session webhook": set(tenant.sessions),
            "stream ticket": {each.decode() for each in re.findall(rb'"ticket": ?"([^"]+)"', answered)},
            "card webhook's secret": {each.api_secret for each in tenant.callback_routes.values()},
        }.items():
            for value in values:
                self.secret(kind, value)
        for key in self.world.settings["BOT_ENCRYPTION_KEYS"].split(","):
            raw = base64.urlsafe_b64decode(key + "=" * (-len(key) % 4))
            self.secret("encryption key", raw.hex())

    def look_around(self) -> None:
        for file in self.world.directory.iterdir():
            if file.is_file():
                self.saw(file.name, file.read_bytes())
        for request in self.proxy.requests:
            if request.path.startswith(BROWSERS):
                continue
            if not request.path.startswith(SECRET_ADDRESSES):
                self.saw("an address at the platform", request.path)
            if not request.path.startswith(GETS_THE_SECRET):
                self.saw("what the platform is sent", without_links(request.body))
                others = {
                    n: v for n, v in request.headers.items() if n.lower() != "x-acs-dingtalk-access-token"
                }
                self.saw("what the platform is sent", json.dumps(others))
        for message in self.world.tenant.messages.values():
            self.saw("a message", without_links(json.dumps(message.as_json()).encode()))


@pytest.fixture
async def watch(world: DingTalkWorld, database_url: str) -> AsyncIterator[DingTalkWatch]:
    proxy = RecordingProxy(world.origin, names_itself="/sandbox/api/messages")
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", proxy.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    proxy.origin = f"http://127.0.0.1:{runner.addresses[0][1]}"
    for name in ("API", "OAPI", "LOGIN"):
        world.settings[f"DINGTALK_{name}_URL"] = proxy.origin
    world.settings["BOT_ENCRYPTION_KEYS"] = world.key
    # Session webhooks are at the address at which the platform is asked.
    world.origin = proxy.origin
    watch = DingTalkWatch(world, proxy)
    watch.sql = Sql(database_url)
    world.get = watch.get  # type: ignore[method-assign]
    yield watch
    await watch.sql.close()
    await runner.cleanup()


async def until_succeeded(watch: DingTalkWatch, asked: str) -> None:
    """Waits until what a message asked for was done."""
    statement = "SELECT 1 FROM deferred_calls WHERE message_id = :asked AND status = 'succeeded'"
    async with asyncio.timeout(40):
        while not await watch.sql.rows(statement, asked=asked):
            await asyncio.sleep(0.05)


async def consents_and_refusals(watch: DingTalkWatch) -> None:
    world, sam = watch.world, watch.world.sam
    asked = await world.say(sam, "/tasks")
    card = await world.card_for(sam)
    async with world.http.head(world.link_of(card)) as preview:
        watch.read(preview, "")
    assert await watch.consent(world.ada, card) >= 400  # somebody else consents
    assert await watch.consent(sam, card, decision="refuse") == 200
    back = await watch.go_back(sam, card)
    assert (await world.get(back))[0] == 200
    assert (await world.get(back))[0] >= 400  # a second time
    await world.get(back.replace("authCode=", "authCode=x"))
    await world.get(f"{world.public}/oauth/dingtalk/callback?authCode={SECRET}&state={'s' * 43}")
    await until_succeeded(watch, asked)
    asked = await world.say(sam, "/agenda", world.group)
    await watch.consent(sam, await world.fresh_card(sam, asked))
    await until_succeeded(watch, asked)
    asked = await world.say(sam, "/help")
    await world.answer_to(asked)
    await world.say(sam, "/permissions")


async def failing_exchanges(watch: DingTalkWatch) -> None:
    """Answers of the token endpoint that repeat the code and the secret that it was sent."""
    world, wei = watch.world, watch.world.wei
    asked = await world.say(wei, "/tasks")
    card = await world.fresh_card(wei, asked)
    for status, code in (
        (400, "invalidParameter.authCode.notFound"),
        (400, "invalidClientIdOrSecret"),
        (400, "somethingElse"),
        (403, "Forbidden.AccessDenied.AccessTokenPermissionDenied"),
        (200, "0"),
    ):
        watch.proxy.echoes = {"/v1.0/oauth2/userAccessToken": (status, {"code": code})}
        await watch.consent(wei, card)
    for status, fields in ((200, {"unionId": SECRET}), (403, {"code": "Forbidden"}), (400, {"code": "x"})):
        watch.proxy.echoes = {"/v1.0/contact/users/me": (status, fields)}
        await watch.consent(wei, card)
    watch.proxy.echoes = {}
    for kind in ("drop_after", "html"):  # in doubt, and tried again
        await watch.fault(match={"path": "/v1.0/oauth2/userAccessToken"}, kind=kind, times=1)
        await watch.consent(wei, card)
    await until_succeeded(watch, asked)


async def inside_the_client(watch: DingTalkWatch) -> None:
    world, ada = watch.world, watch.world.ada
    asked = await world.say(ada, "/tasks")
    card = await world.fresh_card(ada, asked)
    ticket = watch.secret("ticket", world.link_of(card).rsplit("/", 1)[1])
    status, location, _ = await world.get(world.link_of(card), **{"User-Agent": IN_CLIENT})
    assert (status, location) == (302, f"/oauth/dingtalk/client#{ticket}")
    await world.get(f"{world.public}/oauth/dingtalk/client", **{"User-Agent": IN_CLIENT})
    attempt = await watch.post("/oauth/dingtalk/client/attempts", {"ticket": ticket})
    await watch.post("/oauth/dingtalk/client/results", {"state": attempt["state"], "error": "access_denied"})
    attempt = await watch.post("/oauth/dingtalk/client/attempts", {"ticket": ticket})
    given = await world.control(
        "in-client",
        person=ada.user_id,
        decision="ok",
        type="0",
        clientId=attempt["clientId"],
        corpId=attempt["corpId"],
        rpcScope=",".join(attempt["rpcScope"]),
        fieldScope=",".join(attempt["fieldScope"]),
    )
    result = {"state": attempt["state"], "authCode": given["result"]["authCode"]}
    await watch.post("/oauth/dingtalk/client/results", result)
    await watch.post("/oauth/dingtalk/client/results", result)
    await until_succeeded(watch, asked)


async def refreshes(watch: DingTalkWatch) -> None:
    world, sam = watch.world, watch.world.sam
    expire = {"person": sam.user_id, "which": "access"}
    await world.control("tokens/expire", **expire)
    asked = await world.say(sam, "/tasks")
    await until_succeeded(watch, asked)
    await world.control("tokens/expire", **expire)
    match = {"path": "/v1.0/oauth2/userAccessToken", "grant_type": "refresh_token"}
    await watch.fault(match=match, kind="drop_after", times=1)
    asked = await world.say(sam, "/tasks")  # in doubt, then spent
    await watch.consent(sam, await world.fresh_card(sam, asked))
    await until_succeeded(watch, asked)
    await world.control("tokens/expire", **expire)
    watch.proxy.echoes = {
        "/v1.0/oauth2/userAccessToken": (400, {"code": "invalidParameter.authCode.notFound"})
    }
    asked = await world.say(sam, "/tasks")  # refused
    card = await world.fresh_card(sam, asked)
    watch.proxy.echoes = {}
    await watch.consent(sam, card)
    await until_succeeded(watch, asked)


async def echoing_apis(watch: DingTalkWatch) -> None:
    world, sam = watch.world, watch.world.sam
    for status, fields in (
        (200, {"todoCards": []}),
        (400, {"code": "todo.taskQuery.paramError"}),
        (403, {"code": "Forbidden.AccessDenied.Other"}),
        (400, {"code": "InvalidAuthentication"}),
    ):
        watch.proxy.echoes = {"/v1.0/todo": (status, fields)}
        for words in ("/tasks", "/call GET /v1.0/todo/users/me/x"):
            await world.say(sam, words)
            await asyncio.sleep(1)
    watch.proxy.echoes = {"/v1.0/robot": (400, {"code": "x"}), "/robot": (200, {"errcode": 300001})}
    await world.say(sam, "/help")
    await asyncio.sleep(1.5)
    watch.proxy.echoes = {"/topapi": (200, {"errcode": 88, "sub_code": "60011"})}
    await world.say(world.wei, "/me")
    await asyncio.sleep(1)
    watch.proxy.echoes = {}


async def crash_in_the_exchange(watch: DingTalkWatch) -> None:
    world, wei = watch.world, watch.world.wei
    asked = await world.say(wei, f"/task {TITLE}")
    card = await world.fresh_card(wei, asked)
    back = await watch.go_back(wei, card)
    before = len(world.tenant.credentials.access)
    match = {"path": "/v1.0/oauth2/userAccessToken"}
    await watch.fault(match=match, kind="delay_after", seconds=30, times=1)
    landing = asyncio.create_task(world.get(back))
    await world.until(lambda: len(world.tenant.credentials.access) > before, "the exchange")
    await world.kill()
    await world.lift()
    with suppress(aiohttp.ClientError):
        await landing
    await world.start()
    await watch.consent(wei, card)  # the platform had spent the code
    await until_succeeded(watch, asked)


async def strangers(watch: DingTalkWatch) -> None:
    world, secret = watch.world, watch.world.tenant.app.client_secret
    for path in ("/dingtalk/events", "/dingtalk/cards"):
        for body in (b"{", b"{}", json.dumps({"msgId": secret, "sign": secret}).encode()):
            for headers in ({}, {"timestamp": "1", "sign": secret}):
                async with world.http.post(world.public + path, data=body, headers=headers) as response:
                    watch.read(response, await response.text())
    for path in (
        "/authorize/nothing",
        f"/authorize/{'x' * 43}",
        "/oauth/dingtalk/callback?state=x&authCode=y&code=z",
    ):
        await world.get(world.public + path)


async def operators(watch: DingTalkWatch) -> None:
    world = watch.world
    explained = [["explain", each.user_id] for each in (world.sam, world.ada, world.wei)]
    for command in [[name] for name in ("status", "users", "requests", "calls", "audit")] + explained:
        for more in ([], ["--json"]):
            code, out, err = await world.cli(*command, *more)
            assert code == 0, err
            watch.saw(f"bot {command[0]}", out + err)
    _, out, err = await world.cli("doctor")
    watch.saw("bot doctor", out + err)
    for path in ("/metrics", "/readyz", "/healthz"):
        status, _, text = await world.get(world.public + path)
        assert status == 200, text
    await world.say(world.sam, "/revoke")
    await world.told(world.sam, "App authorizations")
    code, out, err = await world.cli("revoke", world.ada.user_id)
    watch.saw("bot revoke", out + err)
    await world.stop()


@pytest.mark.parametrize(
    ("events", "template"),
    [("stream", None), ("webhook", TEMPLATE_ID)],
    ids=["stream", "webhook and template"],
)
async def test_no_secret_that_ever_existed_can_be_read_anywhere(
    watch: DingTalkWatch, database_url: str, events: str, template: str | None
):
    world, in_files = watch.world, database_url.startswith("sqlite")
    world.tenant.behaviour.rate_limits = False
    world.tenant.behaviour.honours_scope_codes = True
    world.settings["BOT_DATABASE_URL"] = database_url
    if template:
        world.settings["DINGTALK_CARD_TEMPLATE_ID"] = template
    await world.start(
        BOT_LOG_LEVEL="debug", BOT_LOG_FORMAT="text" if in_files else "json", DINGTALK_EVENTS=events
    )
    for chapter in (
        consents_and_refusals,
        failing_exchanges,
        inside_the_client,
        refreshes,
        echoing_apis,
        crash_in_the_exchange,
        strangers,
    ):
        await chapter(watch)
        watch.collect()
        watch.look_around()  # what is erased later may be readable now
    await operators(watch)
    watch.collect()
    watch.look_around()
    if not in_files:
        watch.saw("the database", await dump(database_url))
    kinds = set(watch.secrets.values())
    wanted = {
        "ticket", "state", "in-client state", "code", "access token", "refresh token", "app token",
        "client secret", "session webhook", "encryption key",
    }  # fmt: skip
    assert kinds >= wanted | {"stream ticket" if events == "stream" else "card webhook's secret"}, kinds
    assert len(watch.secrets) > 60
    assert watch.pages > 30
    assert leaks(watch.secrets, watch.places) == []
    # What people write is nobody's secret key, but it does not belong into a log either.
    assert leaks({TITLE: "what somebody wrote"}, {"bot.log": watch.places["bot.log"]}) == []

"""The webhook and the other pages; how the process starts and stops."""

from __future__ import annotations

import asyncio
import io
import json

import pytest

from .raw_http import exchange, request
from .world import World


async def post_event(world: World, body: bytes, **headers: str) -> tuple[int, str]:
    async with world.http.post(
        f"{world.public}/lark/events", data=io.BytesIO(body), headers=headers
    ) as response:
        return response.status, await response.text()


async def test_unauthentic_webhooks_change_nothing(world: World):
    await world.start()
    attempts = [
        await post_event(world, b""),
        await post_event(world, b"{}"),
        await post_event(world, b'{"encrypt":"AAAA"}'),
        await post_event(world, json.dumps({"schema": "2.0", "header": {}, "event": {}}).encode()),
        await post_event(world, b"[" * 100_000),
        await post_event(world, b'{"encrypt":"' + b"A" * 2_000_000 + b'"}'),
        await post_event(
            world,
            b'{"encrypt":"AAAA"}',
            **{
                "X-Lark-Signature": "0" * 64,
                "X-Lark-Request-Timestamp": "1767225600",
                "X-Lark-Request-Nonce": "n",
            },
        ),
    ]
    assert all(400 <= status < 500 for status, _ in attempts), attempts
    assert world.count("events") == 0


async def test_the_address_check_is_answered(world: World):
    await world.start()
    assert await world.control("subscription", by="webhook", url=f"{world.public}/lark/events") == {}


async def test_a_person_who_opens_the_chat_for_the_first_time_is_welcomed_once(world: World):
    await world.start()
    await world.control("enter", person=world.sam.open_id)
    await world.until(lambda: world.from_bot(world.direct(world.sam)), "the welcome")
    await world.control("enter", person=world.sam.open_id)
    await asyncio.sleep(0.5)
    assert len(world.from_bot(world.direct(world.sam))) == 1


async def test_health_readiness_and_metrics(world: World):
    await world.start()
    await world.answer_to(await world.say(world.sam, "/help"))
    for path in (
        "/healthz",
        "/readyz",
        "/metrics",
        "/authorize/nothing",
        "/oauth/lark/callback",
        "/static/page.css",
    ):
        async with world.http.get(world.public + path) as response:
            headers = response.headers
            assert response.status < 500
            assert "default-src 'none'" in headers["Content-Security-Policy"]
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Referrer-Policy"] == "no-referrer"
            assert headers["Cache-Control"] == "no-store"
            text = await response.text()
        if path == "/metrics":
            assert "bot_events_up 1.0" in text


async def test_the_callback_reflects_nothing_of_what_it_is_given(world: World):
    await world.start()
    for query in (
        "code=<script>x</script>&state=abc",
        "error=<b>&state=abc",
        "state=<i>",
        "code=1&code=2&state=3",
    ):
        status, _, page = await world.get(f"{world.public}/oauth/lark/callback?{query}")
        assert status == 400
        assert "<script" not in page
        assert "abc" not in page


@pytest.mark.parametrize("integrity", ["", "sha384-" + "x" * 64])
async def test_the_clients_script_is_the_one_that_is_named_and_no_other(world: World, integrity: str):
    url = "https://cdn.example/lark/sdk-1.5.16.js"
    await world.start(LARK_JSSDK_URL=f"{url}?v=1#{integrity}" if integrity else f"{url}?v=1")
    async with world.http.get(f"{world.public}/oauth/lark/client") as response:
        page = await response.text()
        parts = [each.split() for each in response.headers["Content-Security-Policy"].split(";")]
        policy = {name: values for name, *values in parts}
        assert response.headers["Cross-Origin-Opener-Policy"] == "unsafe-none"
    assert policy["script-src"] == ["'self'", url]
    assert policy["connect-src"] == [f"{world.public}/oauth/lark/client/"]
    for name in ("worker-src", "default-src", "form-action", "frame-ancestors", "base-uri"):
        assert policy[name] == ["'none'"]
    assert (f'src="{url}?v=1" integrity="{integrity}" crossorigin="anonymous"' in page) == bool(integrity)
    assert ("integrity" in page) == bool(integrity)
    for path in ("", "x", "attempts", "results/x", "../client/x?code=1&state=2"):
        headers = {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}
        status, target, _ = await world.get(f"{world.public}/oauth/lark/client/{path}", **headers)
        assert (status in {404, 405}, target) == (True, ""), path


async def test_operators_see_what_happened(world: World):
    await world.start()
    asked = await world.say(world.sam, "/tasks")
    await world.consent(world.sam, await world.fresh_card(world.sam, asked))
    await world.answer_to(asked)
    for command in ("status", "users", "requests", "calls", "audit"):
        code, out, err = await world.cli(command, "--json")
        assert code == 0, err
        json.loads(out)
        assert (await world.cli(command))[0] == 0
    code, out, err = await world.cli("explain", world.sam.open_id)
    assert code == 0, err
    assert "task:task:read" in out
    assert (await world.cli("explain", "nobody"))[0] == 1
    code, out, err = await world.cli("revoke", world.sam.open_id)
    assert code == 0, err
    assert world.statuses("grants") == ["ended"]
    code, out, err = await world.cli("doctor")
    assert code == 0, out + err


ANSWERS = {
    "a page": (request("GET /permissions"), 200),
    "a file": (request("GET /static/page.css"), 200),
    "a file that is known": (
        request("GET /static/page.css", "If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT"),
        304,
    ),
    "JSON": (request("GET /healthz"), 200),
    "no body": (request("HEAD /healthz"), 200),
    "a redirect": (request("GET /login"), 303),
    "no such page": (request("GET /nowhere"), 404),
    "no such method": (request("PUT /lark/events"), 405),
    "no such expectation": (request("GET /healthz", "Expect: miracles"), 417),
    "too large": (request("POST /lark/events", "Content-Length: 9000000"), 413),
    "compressed": (request("POST /lark/events", "Content-Encoding: gzip", body=b"x"), 415),
    "no HTTP": (b"NONSENSE\r\n\r\n", 400),
    "no such protocol": (b"GET / HTTP/9.9\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "too many headers": (request("GET /healthz", *["X: y"] * 500), 400),
}


async def test_no_answer_tells_versions_and_each_holds_browsers_to_tls(world: World):
    await world.start(BOT_PUBLIC_URL="https://bot.example")
    for what, (sent, status) in ANSWERS.items():
        answer = await exchange(world, sent)
        assert answer.status == status, what
        assert answer.headers["server"] == "bot", what
        assert answer.headers["strict-transport-security"] == "max-age=31536000", what
        assert answer.headers["x-content-type-options"] == "nosniff", what
        assert answer.headers["content-security-policy"].startswith("default-src 'none'"), what
        assert not any(name in answer.body for name in ("aiohttp", "Python/")), what


async def test_without_tls_browsers_are_not_held_to_it(world: World):
    await world.start()
    for sent, _ in ANSWERS.values():
        assert "strict-transport-security" not in (await exchange(world, sent)).headers


@pytest.mark.parametrize(
    ("sent", "clears"),
    [
        (request("GET /permissions", "Cookie: " + "a" * 9000), True),
        (request("GET /permissions", "Cookie: " + "a=b; " * 4000), True),
        (request("GET /healthz", "Cookie: a=b", "Cookie: " + "c=d; " * 10_000), True),
        (request(f"GET /permissions?{'a' * 9000}", "Cookie: a=b"), False),
        (request(f"GET /{'a' * 70_000}"), False),
        (request("GET /permissions", "Cookie: a\x00b"), False),
        (b"NONSENSE\r\n\r\n", False),
    ],
)
async def test_more_cookies_than_are_read_lock_nobody_out(world: World, sent: bytes, clears: bool):
    await world.start()
    answer = await exchange(world, sent)
    assert answer.status == 400
    assert answer.headers.get("clear-site-data") == ('"cookies"' if clears else None)
    assert ("clear the cookies" in answer.body) == clears
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")


@pytest.mark.parametrize("route", ["metrics", "healthz", "readyz"])
async def test_an_operators_route_has_one_spelling(world: World, route: str):
    """A proxy that keeps them from the public compares text."""
    await world.start()
    assert (await exchange(world, request(f"GET /{route}"))).status == 200
    first, rest = route[0], route[1:]
    for path in (
        f"/%{ord(first):x}{rest}",
        f"/{route[:-1]}%{ord(route[-1]):X}",
        f"/%25{ord(first):x}{rest}",
        f"/{route}%2f",
        f"/{route}%00",
        f"/{route}%20",
        f"/{route}/",
        f"/{route}/.",
        f"/{route};x",
        f"/{route}#x",
        f"//{route}",
        f"///{route}",
        f"/./{route}",
        f"/x/../{route}",
        f"/static/../{route}",
        f"/static/%2e%2e/{route}",
        f"/\\{route}",
        f"/{route.upper()}",
        f"http://bot.example/{route}",
        f"http://bot.example//{route}",
    ):
        answer = await exchange(world, request(f"GET {path}"))
        assert answer.status == 404, path
        assert "Page not found" in answer.body, path

"""Links, states and pages in the wrong hands: robots, strangers, colleagues, and other sites."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import random
import secrets
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from bot.sandbox.lark.tenant import Person

from .card_content import has_link
from .world import World

BROWSER = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36"
IN_CLIENT = f"{BROWSER} Lark/7.30.6 LarkLocale/en_US"

ROBOTS = [
    "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
    "Slack-ImgProxy (+https://api.slack.com/robots)",
    "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
    "facebookexternalhit/1.1 Facebot Twitterbot/1.0",
    "meta-externalfetcher/1.1",
    "WhatsApp/2.23.20.0",
    "Mozilla/5.0 (compatible; Discordbot/2.0; +https://discordapp.com)",
    "TelegramBot (like TwitterBot)",
    "LinkedInBot/1.0 (compatible; Mozilla/5.0; Apache-HttpClient +http://www.linkedin.com)",
    "Mozilla/5.0 (Windows NT 6.1; WOW64) SkypeUriPreview Preview/0.5",
    "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; BingPreview/1.0b) Chrome/100 Safari/537.36",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "DingTalkBot-LinkService/1.0 (+https://open-doc.dingtalk.com)",
    "Mozilla/5.0 (compatible; Bytespider; spider-feedback@bytedance.com)",
    f"{IN_CLIENT} url-preview",
    "Mozilla/5.0 (compatible; LarkUrlPreview/1.0)",
    "Mozilla/5.0 (compatible; Feishu-LinkPreview/1.0)",
    "Iframely/1.3.1 (+https://iframely.com/docs/about)",
]
LOOKS = [
    {"Sec-Purpose": "prefetch"},
    {"Sec-Purpose": "prefetch;prerender"},
    {"Sec-Purpose": "prefetch;anonymous-client-ip"},
    {"Purpose": "prefetch"},
    {"X-Purpose": "preview"},
    {"X-Moz": "prefetch"},
]


async def asked_for(world: World, person: Person | None = None, command: str = "/tasks") -> tuple[str, Any]:
    """Somebody (Sam) has asked, and has a card."""
    asked = await world.say(person or world.sam, command)
    return asked, await world.fresh_card(person or world.sam, asked)


def state_in(back: str) -> str:
    return parse_qs(urlsplit(back).query)["state"][0]


async def come_back(world: World, **query: str) -> tuple[int, str]:
    text = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
    status, _, page = await world.get(f"{world.public}/oauth/lark/callback?{text}")
    return status, page


def attempts(world: World) -> list[str]:
    return world.statuses("authorization_attempts")


# --- looking at a link ------------------------------------------------------------------------------------------


async def test_robots_and_prefetching_browsers_use_nothing_up(world: World):
    await world.start()
    asked, card = await asked_for(world)
    link = world.link_of(card)
    for headers in [{"User-Agent": name} for name in ROBOTS] + [
        {"User-Agent": BROWSER} | each for each in LOOKS
    ]:
        for url in (link, f"{link}?browser"):
            status, target, page = await world.get(url, **headers)
            assert (status, target) == (200, ""), headers
            assert "task:task:read" not in page
        async with world.http.head(link, headers=headers, allow_redirects=False) as response:
            assert (response.status, response.headers.get("Location")) == (200, None)
    assert attempts(world) == []
    assert world.rows("SELECT opened_at FROM authorization_requests") == [{"opened_at": None}]
    # More than twenty of them were there, and the person still gets through.
    assert (await world.consent(world.sam, card))[0] == 200
    await world.answer_to(asked)


async def test_looking_from_inside_the_client_begins_nothing_either(world: World):
    await world.start()
    _, card = await asked_for(world)
    for _ in range(30):
        status, target, _ = await world.get(world.link_of(card), **{"User-Agent": IN_CLIENT})
        assert status == 302
        assert target.startswith("/oauth/lark/client#"), "no host: it stays where it was opened"
        assert (await world.get(f"{world.public}/oauth/lark/client"))[0] == 200
    assert attempts(world) == []


async def test_the_twenty_live_openings_are_a_requests_own_and_come_free_again(world: World):
    await world.start()
    asked, card = await asked_for(world)
    _, other = await asked_for(world, world.wei)
    at_once = await asyncio.gather(*(world.get(world.link_of(card)) for _ in range(30)))
    assert sorted(status for status, _, _ in at_once) == [302] * 20 + [429] * 10
    assert (await world.get(world.link_of(other)))[0] == 302, "somebody else's link is not concerned"
    post = {"ticket": world.link_of(card).rpartition("/")[2]}
    assert (await in_client(world, "attempts", post))[0] == 429, "both doors count together"
    world.let_expire("authorization_attempts")
    assert (await world.consent(world.sam, card))[0] == 200
    await world.answer_to(asked)


# --- guessing ----------------------------------------------------------------------------------------------------


async def test_guessed_tickets_lead_nowhere(world: World):
    await world.start()
    _, card = await asked_for(world)
    link = world.link_of(card)
    ticket = link.rpartition("/")[2]
    request = world.only("authorization_requests")
    guesses = [
        "a", "A" * 43, ticket[:-1], ticket + "A", ticket.swapcase(), f"{ticket}%00", f"{ticket}%20", f"%20{ticket}",
        f"{ticket}%0d%0aSet-Cookie:%20a=b", f"{ticket}/..", f"{ticket}%2f..", "%2e%2e%2fcallback", "%ff%fe",
        "%F0%9D%94%B8" * 43, "..", ".", "'%20OR%20'1'='1", "*", "%25", ticket.replace(ticket[0], "%EF%BC%A1", 1),
        request["id"], request["ticket_digest"], secrets.token_urlsafe(32),
    ]  # fmt: skip
    for guess in guesses:
        for agent in (BROWSER, IN_CLIENT):
            status, target, page = await world.get(
                f"{world.public}/authorize/{guess}", **{"User-Agent": agent}
            )
            assert (status, target) == (404, ""), guess
            assert "Traceback" not in page
        if guess.isascii() and "%" not in guess:
            assert (await in_client(world, "attempts", {"ticket": guess}))[0] == 404
    assert attempts(world) == []


async def test_guessed_reused_and_foreign_states_store_nothing(world: World):
    await world.start()
    asked, card = await asked_for(world)
    back = await world.decide(await world.open(card), world.sam)
    state, code = state_in(back), parse_qs(urlsplit(back).query)["code"][0]
    attempt = world.only("authorization_attempts")
    ticket = world.link_of(card).rpartition("/")[2]
    for guess in (
        "x",
        state[:-1],
        state + "A",
        state.swapcase(),
        attempt["state_digest"],
        attempt["id"],
        ticket,
    ):
        assert (await come_back(world, code=code, state=guess))[0] == 400, guess
    assert attempts(world) == ["live"]
    assert not world.requests("oauth/token")
    assert (await world.get(back))[0] == 200
    await world.answer_to(asked)
    again = await come_back(world, code=code, state=state)
    assert again[0] == 400
    assert "Already done" in again[1]
    assert len(world.requests("oauth/token")) == 1
    # Strangers leave nothing behind in a log that is kept for months.
    rejected = world.rows("SELECT detail FROM audit_log WHERE action = 'callback_rejected'")
    assert [json.loads(row["detail"]) for row in rejected] == [{"reason": "used"}]


async def test_a_state_that_came_too_late_or_was_taken_by_two_at_once_counts_once(world: World):
    await world.start()
    asked, card = await asked_for(world)
    late = await world.decide(await world.open(card), world.sam)
    world.let_expire("authorization_attempts")
    status, _, page = await world.get(late)
    assert (status, "Timed out" in page) == (400, True)
    back = await world.decide(await world.open(card), world.sam)
    answers = await asyncio.gather(*(world.get(back) for _ in range(8)))
    assert sorted(status for status, _, _ in answers) == [200] + [400] * 7
    await world.answer_to(asked)


MALFORMED = [
    "",
    "code=c",
    "state=s",
    "state=s&code=",
    "state=&code=c",
    "state=s&code=c&error=access_denied",
    "state=s&state=s&code=c",
    "state=s&code=c&code=d",
    "state=s&code=c&x=1&x=2",
    "state=s%00&code=c",
    "state=s&code=c%0d%0aX-Injected:%20y",
    "state=%ED%A0%80&code=c",
    "state=%ff&code=c",
    "state=s&code=%F0%9F%98%80",
    "state=s&error=%3Cscript%3E%0a",
    f"state={'s' * 4097}&code=c",
    f"state=s&code={'c' * 4097}",
    "state[]=s&code=c",
    "STATE=s&CODE=c",
    ";state=s;code=c",
]


async def test_a_malformed_callback_is_told_from_a_failure_and_leaves_nothing(world: World):
    await world.start()
    for query in MALFORMED:
        status, target, page = await world.get(f"{world.public}/oauth/lark/callback?{query}")
        assert (status, target) == (400, ""), query
        assert "Incomplete link" in page or "Unknown link" in page
        assert "script>" not in page
    assert world.count("audit_log") == 0
    assert "Traceback" not in (world.directory / "bot.log").read_text()


async def test_a_code_with_odd_characters_arrives_at_the_platform_as_it_was(world: World):
    await world.start()
    _, card = await asked_for(world)
    back = await world.decide(await world.open(card), world.sam)
    for code in ("a+b/c=d&e%2F#?\"'<>;", "{}[]\\|^` ~"):
        state = state_in(back)
        status, _ = await come_back(world, state=state, code=code)
        assert status == 400, "the platform knows no such code"
        back = await world.decide(await world.open(card), world.sam)
    assert len(world.requests("oauth/token")) == 2
    await world.until(lambda: has_link(world.tenant.messages[card.message_id]), "the link")


# --- the wrong person ---------------------------------------------------------------------------------------------


async def test_a_forwarded_link_gives_neither_of_the_two_anything(world: World):
    """Ada follows Sam's link and consents: nothing of hers is kept, nothing of his is gained, and he can go on."""
    await world.start()
    asked, card = await asked_for(world)
    ticket = world.link_of(card).rpartition("/")[2]
    for door in ("browser", "client"):
        if door == "browser":
            status, page = await world.consent(world.ada, card)
            assert (status, "someone else" in page) == (403, True)
        else:
            status, begun = await in_client(world, "attempts", {"ticket": ticket})
            assert status == 200
            page_url = f"{world.public}/oauth/lark/client"
            given = {"person": world.ada.open_id, "scopes": begun["scopeList"], "page_url": page_url}
            code = (await world.control("in-client", app_id=begun["appID"], **given))["code"]
            status, said = await in_client(world, "results", {"state": begun["state"], "code": code})
            assert (status, said["title"]) == (403, "Wrong account")
    assert world.count("grants") == 0
    assert world.statuses("deferred_calls") == ["suspended"]
    assert not world.requests("oauth/v1/revoke"), "that might end Ada's own grant"
    theirs = await world.say(world.ada, "/tasks")
    assert has_link(await world.fresh_card(world.ada, theirs)), "Ada is asked for herself"
    assert (await world.consent(world.sam, card))[0] == 200
    await world.answer_to(asked)
    grant = world.only("grants")
    assert world.sam.open_id in grant["user_key"]


async def test_a_code_planted_with_somebody_elses_state_is_dropped(world: World):
    """Login CSRF in both directions: Ada's code with Sam's state, and Sam's code with Ada's."""
    await world.start()
    sams, sams_card = await asked_for(world)
    adas, adas_card = await asked_for(world, world.ada)
    of_sam = await world.decide(await world.open(sams_card), world.sam)
    of_ada = await world.decide(await world.open(adas_card), world.ada)
    codes = [parse_qs(urlsplit(back).query)["code"][0] for back in (of_sam, of_ada)]
    assert (await come_back(world, state=state_in(of_sam), code=codes[1]))[0] in {400, 403}
    assert (await come_back(world, state=state_in(of_ada), code=codes[0]))[0] in {400, 403}
    assert world.count("grants") == 0
    for person, asked, card in ((world.sam, sams, sams_card), (world.ada, adas, adas_card)):
        assert (await world.consent(person, card))[0] == 200
        await world.answer_to(asked)


async def test_a_strangers_refusal_needs_the_state_and_the_ticket_is_not_one(world: World):
    await world.start()
    _, card = await asked_for(world)
    await world.open(card)
    ticket = world.link_of(card).rpartition("/")[2]
    for guess in (ticket, "x", secrets.token_urlsafe(32)):
        assert (await come_back(world, state=guess, error="access_denied"))[0] == 400
        assert (await in_client(world, "results", {"state": guess, "error": "access_denied"}))[0] == 400
    assert world.statuses("authorization_requests") == ["open"]


# --- posts from elsewhere -------------------------------------------------------------------------------------------


async def in_client(world: World, what: str, fields: Any, **headers: str) -> tuple[int, Any]:
    """A post as our own page makes it, unless told otherwise."""
    given = {"Origin": world.public, "Content-Type": "application/json"} | headers
    body = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    url = f"{world.public}/oauth/lark/client/{what}"
    async with world.http.post(url, data=io.BytesIO(body), headers=given) as response:
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert "Access-Control-Allow-Origin" not in response.headers
        text = await response.text()
        return response.status, json.loads(text) if response.content_type == "application/json" else text


async def test_only_our_own_page_begins_and_ends_attempts(world: World):
    await world.start()
    _, card = await asked_for(world)
    fields = {"ticket": world.link_of(card).rpartition("/")[2]}
    port = str(world.port)
    for origin in (
        "null", "https://evil.example", world.public + "/", world.public.replace("127.0.0.1", "localhost"),
        f"{world.public}.evil.example", f"http://evil.example#{world.public}", world.public.replace("http", "ftp"),
        f"https://127.0.0.1:{port}", f"http://127.0.0.1:{port}0", f"http://user@127.0.0.1:{port}", "",
    ):  # fmt: skip
        for what in ("attempts", "results"):
            assert (await in_client(world, what, fields, Origin=origin))[0] == 403, origin
    url = f"{world.public}/oauth/lark/client/attempts"
    async with world.http.post(url, json=fields) as response:
        assert response.status == 403, "without an Origin"
    async with world.http.post(
        url, json=fields, headers={"Referer": f"{world.public}/oauth/lark/client"}
    ) as response:
        assert response.status == 403
    for kind in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/json",
    ):
        assert (await in_client(world, "attempts", fields, **{"Content-Type": kind}))[0] == 403, kind
    async with world.http.options(url, headers={"Origin": "https://evil.example"}) as response:
        assert response.status == 405
        assert "Access-Control-Allow-Origin" not in response.headers
    assert attempts(world) == []


async def test_whatever_is_posted_is_answered_in_words(world: World):
    await world.start()
    for body, status in (
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b"null", 400),
        (b'"x"', 400),
        (b"9" * 5000, 400),
        (b"\xff\xfe", 400),
        (b"[" * 10_000, 400),
        (b'{"a":' * 3000, 400),
        (b" " * 20_000, 413),
        (b" " * 1_100_000, 413),
    ):
        for what in ("attempts", "results"):
            assert (await in_client(world, what, body))[0] == status, body[:20]
    odd = (
        "\ud800",
        "\x00",
        "é",
        "s" * 5000,
        7,
        None,
        [],
        {},
        True,
        "",
        "\u202e",
        "%00",
        "<script>alert(1)</script>",
    )
    for value in odd:
        assert (await in_client(world, "attempts", {"ticket": value}))[0] == 404
        for fields in (
            {"state": value, "code": "c"},
            {"state": "s", "code": value},
            {"state": "s", "error": value},
        ):
            status, said = await in_client(world, "results", fields)
            assert status == 400, fields
            assert set(said) == {"tone", "title", "text", "again"}
            assert "<script>" not in json.dumps(said)
    chance = random.Random(11)
    for _ in range(100):
        fuzz = chance.randbytes(chance.randrange(60))
        assert (await in_client(world, "results", fuzz))[0] == 400
    assert "Traceback" not in (world.directory / "bot.log").read_text()
    assert world.count("audit_log") == 0


# --- hosts, methods, headers, files -----------------------------------------------------------------------------------


async def test_a_forged_host_leads_nowhere_else(world: World):
    await world.start()
    _, card = await asked_for(world)
    link = world.link_of(card)
    forged = {
        "Host": "evil.example",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Prefix": "/evil",
        "X-Original-URL": "/evil",
        "X-Rewrite-URL": "/metrics",
        "Forwarded": "host=evil.example;proto=https",
    }
    status, target, page = await world.get(link, **forged)
    assert status == 302
    assert "evil" not in target + page
    assert parse_qs(urlsplit(target).query)["redirect_uri"] == [f"{world.public}/oauth/lark/callback"]
    for extra in (
        "?browser=https://evil.example",
        "?browser&next=//evil.example",
        "?redirect_uri=https://evil.example",
    ):
        for agent in (BROWSER, IN_CLIENT):
            _, target, _ = await world.get(link + extra, **{"User-Agent": agent})
            assert target.startswith(
                (f"{world.origin}/open-apis/authen/v1/authorize?", "/oauth/lark/client#")
            ), extra
            assert "evil" not in target


async def raw(world: World, request: bytes) -> tuple[str, dict[str, str], str]:
    """What a client gets that keeps to no rules: status line, headers, body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
    writer.write(request)
    head, _, body = (await asyncio.wait_for(reader.read(100_000), 5)).decode("latin-1").partition("\r\n\r\n")
    writer.close()
    status, *lines = head.split("\r\n")
    return (
        status,
        {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)},
        body,
    )


REQUESTS = [
        "GET /nowhere", "GET //evil.example/%2e%2e", "GET /%5cevil.example", "GET /authorize/", "GET /authorize//x",
        "GET http://evil.example/authorize/x", "OPTIONS *", "TRACE /", "CONNECT evil.example:443", "POST /authorize/x",
        "DELETE /healthz", "PUT /lark/events", "POST /oauth/lark/callback", "HEAD /oauth/lark/callback",
        "GET /oauth/lark/client/attempts", "GET /oauth/lark/client", "GET /oauth/lark/callback", "GET /healthz",
        "PROPFIND /", "GET /static/", "GET /static/../routes.py", "GET /static/%2e%2e/routes.py",
        "GET /static/..%2froutes.py", "GET /static/%2e%2e%2froutes.py", "GET /static//etc/passwd", "GET /static/%00",
        "GET /static/%2fetc%2fpasswd", "GET /static/..%5croutes.py", "GET /static/page.css/..", "GET /static/.",
        "GET /static/%252e%252e/routes.py", "GET /static/page.css", "GET /.env", "GET /bot.db",
    ]  # fmt: skip


async def test_every_answer_carries_the_headers_and_gives_no_file_away(world: World):
    await world.start()
    for request_line, more in itertools.product(REQUESTS, ("", "Expect: miracles\r\n")):
        status, headers, body = await raw(
            world, f"{request_line} HTTP/1.1\r\nHost: x\r\n{more}Connection: close\r\n\r\n".encode()
        )
        if " /oauth/lark/callback" in request_line and not more:
            assert (status.split()[1], headers.pop("location")) == ("303", "/authorization/malformed")
        else:
            assert status.split()[1][0] in "24", status
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
        assert headers["x-frame-options"] == "DENY"
        assert "set-cookie" not in headers
        assert "location" not in headers
        assert not any(word in body for word in ("import ", "root:", "Traceback", "SQLite"))


async def test_bytes_that_are_no_http_are_refused_before_they_are_a_request(world: World):
    await world.start()
    for nonsense in (
        b"GE T / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 9000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX-A: b\rX-C: d\r\n\r\n",
        b"POST /lark/events HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /lark/events HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"POST /lark/events HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /lark/events HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ):
        status, headers, _ = await raw(world, nonsense)
        assert " 400 " in status, nonsense[:40]
        assert headers["content-type"].startswith("text/plain")
    assert (await world.get(f"{world.public}/healthz"))[0] == 200


@pytest.mark.parametrize("log_format", ["text", "json"])
async def test_no_visitor_writes_a_line_into_the_log(world: World, log_format: str):
    await world.start(BOT_LOG_FORMAT=log_format)
    marks = "\x1b[31m\u2028\x85\u202eFORGED"
    agent = f"Lark/7 {marks}"
    for path in (
        "/authorize/x%0a2026-01-01T00:00:00Z%20INFO%20FORGED",
        "/%0d%0aFORGED",
        "/oauth/lark/callback?state=%0aFORGED",
    ):
        request = f"GET {path} HTTP/1.1\r\nHost: x\r\nUser-Agent: {agent}\r\nConnection: close\r\n\r\n"
        await raw(world, request.encode())
    await world.say(world.sam, f"/help\n2026-01-01T00:00:00Z INFO FORGED {marks}")
    await world.answer_to(await world.say(world.sam, f"/call GET /open-apis/x%0aFORGED{marks}"))
    event = {"operator": {"open_id": world.sam.open_id}, "action": {"value": {"action": "x\nFORGED"}}}
    await world.control("events", event={"event_type": f"nothing {marks}", "event": event})
    await world.control("events", event={"event_type": "card.action.trigger", "event": event})
    assert await world.stop() == 0
    for line in (world.directory / "bot.log").read_text().splitlines():
        assert line.isprintable(), line
        assert not line.startswith("2026-01-01")
        if log_format == "json":
            json.loads(line)

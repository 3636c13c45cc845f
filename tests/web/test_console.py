"""The console in the bot's web application: who may open it, what it shows of hostile rows, and its two buttons.

Two apps share the database and the process. Each has an administrator of its own.
"""

from __future__ import annotations

import json
import re
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from pytest_aiohttp import AiohttpClient
from sqlalchemy import insert, text, update

from bot.core.language import Words
from bot.core.oauth import digest
from bot.core.people import UserKey
from bot.core.words import console as console_words
from bot.flows.bot import Bot
from bot.store import console_queries, sessions, users
from bot.store.keyring import Keyring, new_key
from bot.store.open_database import open_database
from bot.store.schema import api_calls, audit_log, scope_waits
from bot.store.schema import users as user_rows
from bot.web import console
from bot.web.routes import build
from tests.console_rows import lively
from tests.flows.tiny_platform import TinyPlatform

PUBLIC = "http://localhost:8080"
TENANT = "corp 1"


class OtherPlatform(TinyPlatform):
    name, app_id, app = "other", "b", "other:b"
    callback_path = "/other/done"
    display_name = Words("Other", "另一平台")


@dataclass
class Console:
    bot: Bot
    client: TestClient[web.Request, web.Application]
    people: list[UserKey]
    foreign: list[UserKey]
    """People of the other app."""
    calls: dict[str, str]
    """A call of each app."""

    async def session(self, user: UserKey, name: str = "Boss") -> str:
        session = secrets.token_urlsafe(32)
        now = datetime.now(UTC)

        def work(c: Any) -> None:
            users.seen(c, user, language=None, union_id=None, now=now)
            users.name_user(c, user, name, now)
            sessions.begin(c, digest(session), user, now)

        await self.bot.database.write(work)
        return session

    async def get(self, path: str, session: str | None = None, **headers: str) -> tuple[int, str]:
        if session is not None:
            headers["Cookie"] = f"bot_session={session}"
        async with self.client.get(path, headers=headers, allow_redirects=False) as response:
            return response.status, await response.text()

    async def post(
        self, path: str, session: str | None, fields: dict[str, str], **headers: str
    ) -> tuple[int, str, str]:
        if session is not None:
            headers["Cookie"] = f"bot_session={session}"
        async with self.client.post(path, data=fields, headers=headers, allow_redirects=False) as response:
            return response.status, response.headers.get("Location", ""), await response.text()

    async def token(self, session: str, path: str = console.CHECK) -> str:
        _, html = await self.get(path, session)
        found = re.search(r'name="proof" value="([^"]+)"', html)
        assert found is not None
        return found[1]

    async def rows(self, query: str, **values: Any) -> list[Any]:
        return await self.bot.database.read(lambda c: list(c.execute(text(query), values).all()))

    async def active(self, user: UserKey) -> bool:
        (status,) = await self.rows("SELECT status FROM grants WHERE user_key = :user", user=str(user))
        return bool(status[0] == "active")

    async def paths(self) -> list[str]:
        """Return every page of the console, with ids of this app."""
        key = quote(str(self.people[0]))
        ids = {console.PERSON: f"user={key}", console.DONE: f"user={key}", console.REVOKE: f"user={key}"}
        ids[console.STORY] = f"call={self.calls['tiny:app/7']}"
        return [f"{path}?{ids[path]}" if path in ids else path for path in console.PAGES]


BOSS, CHIEF = UserKey("tiny", "app/7", TENANT, "boss"), UserKey("other", "b", TENANT, "chief")
CLERK = UserKey("tiny", "app/7", TENANT, "clerk")


@pytest.fixture
async def world(sqlite_url: str, aiohttp_client: AiohttpClient) -> AsyncIterator[Console]:
    one, other = TinyPlatform(), OtherPlatform()
    platforms: dict[str, Any] = {one.app: one, other.app: other}
    database = await open_database(sqlite_url, Keyring([new_key()]), *platforms)
    bot = Bot(
        database=database,
        platforms=platforms,
        commands={app: {} for app in platforms},  # type: ignore[misc]
        worker="worker",
        public_url=PUBLIC,
        key_ids=database.key_ids,
        admins={one.app: ("boss",), other.app: ("chief",)},
        authorization_ttl=timedelta(minutes=5),
        deferred_ttl=timedelta(hours=1),
    )
    now = datetime.now(UTC)
    people = await database.write(lambda c: lively(c, one.app, TENANT, now, people=8))
    foreign = await database.write(lambda c: lively(c, other.app, TENANT, now, people=8))
    calls = await database.read(
        lambda c: {
            app: id_ for id_, app in c.execute(text("SELECT min(id), app FROM deferred_calls GROUP BY app"))
        }
    )
    yield Console(bot, await aiohttp_client(build(bot, {})), people, foreign, calls)
    for task in bot.background_tasks:
        task.cancel()
    await database.close()


# --- what every page is like ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accepted", "lang", "title"), [("en", "en", "Overview"), ("zh-CN", "zh-CN", "概览")]
)
async def test_every_page_is_there_in_both_languages_without_inline_code(
    world: Console, accepted: str, lang: str, title: str
):
    session = await world.session(BOSS)
    for path in await world.paths():
        headers = {"Cookie": f"bot_session={session}", "Accept-Language": accepted}
        async with world.client.get(path, headers=headers) as response:
            html = await response.text()
            assert response.status == 200, path
            policy = response.headers["Content-Security-Policy"]
        assert f'<html lang="{lang}">' in html
        assert "default-src 'none'" in policy
        assert "script-src" not in policy
        assert "unsafe" not in policy
        assert not re.search(r"<script|<style|\sstyle=|\son[a-z]+=|javascript:", html, re.IGNORECASE), path
        assert 'aria-current="page"' in html
        assert title in html


def read_by_people(html: str) -> str:
    """The text of a page, without what is set as code."""
    return re.sub(r"<[^>]+>", " ", re.sub(r"<(code|title)\b.*?</\1>", " ", html, flags=re.DOTALL))


async def test_what_is_stored_in_codes_is_told_in_the_language_of_the_page(world: Console):
    """Outcomes, reasons and results on every page and in the stories of a call that failed and one that did not."""
    session = await world.session(BOSS)
    calls = await world.rows(
        "SELECT min(id), outcome FROM deferred_calls WHERE app = 'tiny:app/7' GROUP BY status, outcome"
    )
    outcomes = {outcome for _, outcome in calls if outcome}
    assert len(outcomes) >= 4, outcomes
    pages = [*await world.paths(), *(f"{console.STORY}?call={call}" for call, _ in calls)]
    shown = ""
    for path in pages:
        for accepted in ("zh-CN", "en"):
            text_of_page = read_by_people(
                (await world.get(path, session, **{"Accept-Language": accepted}))[1]
            )
            codes = [each for each in console_words.REASONS if "_" in each and each in text_of_page]
            assert codes == [], path
            assert not re.search(r"(?<![a-z])(refused_|refresh_refused_)", text_of_page), path
            if accepted == "zh-CN":
                assert "code " not in text_of_page, path
                shown += text_of_page
    for outcome in outcomes:
        said = console_words.reason(outcome)
        assert said is not None, outcome
        assert said.zh in shown


async def test_every_link_leads_somewhere(world: Console):
    """From the overview to every page, and to the first pages of each kind."""
    now = datetime.now(UTC)
    wait = {
        "id": "w1",
        "platform": "tiny",
        "app_id": "app/7",
        "scopes": frozenset({"one"}),
        "status": "waiting",
    }
    await world.bot.database.write(lambda c: c.execute(insert(scope_waits).values(**wait, created_at=now)))
    session = await world.session(BOSS)
    waiting, seen, opened = [console.PATH], {console.PATH}, Counter[str]()
    while waiting:
        path = waiting.pop(0)
        page = path.partition("?")[0]
        if opened[page] == 20:
            continue
        opened[page] += 1
        status, html = await world.get(path, session)
        assert status == 200, path
        found = sorted({unescape(each) for each in re.findall(r'href="(/console[^"#]*)"', html)} - seen)
        seen.update(found)
        waiting += found
    assert opened.keys() == console.PAGES.keys()


async def test_charts_have_their_numbers_as_text(world: Console):
    _, html = await world.get(console.PATH, await world.session(BOSS))
    charts = re.findall(r'<svg class="columns".*?</svg>', html, re.DOTALL)
    assert len(charts) == 2
    for chart in charts:
        assert 'role="img"' in chart
        assert "<desc>" in chart
        assert chart.count("<title>") in {8, 14}
    assert html.count("<details>") == 2
    decoration = re.findall(r"<svg(?![^>]*role=)[^>]*>", html)
    assert [
        each
        for each in decoration
        if "aria-hidden" not in each and "legend" not in each and "10 10" not in each
    ] == []


async def test_an_app_without_rows_has_empty_pages(world: Console):
    await world.bot.database.write(forget_all)
    session = await world.session(BOSS)
    for path in (console.PATH, console.REQUESTS, console.CALLS, console.ERRORS, console.ADMINISTRATORS):
        status, html = await world.get(path, session)
        assert (status, 'class="empty"' in html) == (200, True), path


def forget_all(c: Any) -> None:
    for table in (
        "api_calls", "outgoing_messages", "authorization_attempts", "cards", "deferred_calls", "authorization_requests",
        "granted_scopes", "grants",
    ):  # fmt: skip
        c.execute(text(f"DELETE FROM {table}"))


# --- who may ----------------------------------------------------------------------------------------


async def test_a_visitor_is_asked_to_sign_in_and_sees_nothing(world: Console):
    for path in await world.paths():
        status, html = await world.get(path)
        assert status == 200
        assert "/login?to=/console" in html
        assert "Ada Lovelace" not in html
        assert "ou_0" not in html.replace(quote(path), "")
    for path in console.FORMS:
        status, _, html = await world.post(path, None, {"user": str(world.people[0]), "proof": "x"})
        assert (status, "been signed out" in unescape(html)) == (200, True)


@pytest.mark.parametrize("accepted", ["en", "zh"])
async def test_who_is_no_administrator_is_told_so_and_learns_nothing(world: Console, accepted: str):
    session = await world.session(CLERK, "Clerk")
    told = set()
    unknown = [
        f"{console.PERSON}?user=nobody",
        f"{console.STORY}?call=nothing",
        f"{console.CALLS}?status=failed",
    ]
    for path in [*await world.paths(), *unknown]:
        status, html = await world.get(path, session, **{"Accept-Language": accepted})
        assert status == 403
        told.add(html)
    (page,) = told
    assert ("For administrators only" if accepted == "en" else "仅限管理员") in page
    assert "boss" not in page.lower()
    for path in console.FORMS:
        status, _, html = await world.post(path, session, {"user": str(world.people[0]), "proof": "x"})
        assert status == 403
    assert (
        await world.rows("SELECT 1 FROM audit_log WHERE action IN ('revoked_by_operator', 'scopes_checked')")
        == []
    )


async def test_the_list_of_administrators_is_read_at_every_request(world: Console):
    session = await world.session(BOSS)
    token = await world.token(session)
    admins: Any = world.bot.admins
    admins["tiny:app/7"] = ("someone else",)
    assert (await world.get(console.PATH, session))[0] == 403
    fields = {"user": str(world.people[0]), "proof": token}
    assert (await world.post(console.REVOKE, session, fields))[0] == 403
    assert (await world.get(console.PATH, await world.session(CHIEF)))[0] == 200


async def test_administrators_of_one_app_find_nothing_of_another(world: Console):
    session = await world.session(BOSS)
    token = await world.token(session)
    theirs, call = str(world.foreign[0]), world.calls["other:b"]
    for path in (console.PERSON, console.DONE, console.REVOKE, console.CALLS, console.REQUESTS):
        status, html = await world.get(f"{path}?{urlencode({'user': theirs})}", session)
        assert (status, world.foreign[0].open_id in html) == (404, False), path
    assert (await world.get(f"{console.STORY}?call={call}", session))[0] == 404
    status, html = await world.get(f"{console.PEOPLE}?search={world.foreign[0].open_id[:12]}", session)
    assert (status, "No one matches" in html) == (200, True)
    status, _, _ = await world.post(console.REVOKE, session, {"user": theirs, "proof": token})
    assert status == 404
    assert await world.rows("SELECT 1 FROM audit_log WHERE action = 'revoked_by_operator'") == []
    for path in await world.paths():
        assert "other:b" not in (await world.get(path, session))[1]
    # The administrator of the other app sees the other rows, and only those.
    status, html = await world.get(
        f"{console.PERSON}?{urlencode({'user': theirs})}", await world.session(CHIEF)
    )
    assert (status, world.foreign[0].open_id in html) == (200, True)
    assert (
        await world.get(
            f"{console.PERSON}?{urlencode({'user': str(world.people[0])})}", await world.session(CHIEF)
        )
    )[0] == 404


async def ids_of(world: Console, app: str) -> dict[str, tuple[str, str]]:
    """Return an id of each kind in an app, and the call that it belongs to."""
    queries = {
        "call": "SELECT id, id FROM deferred_calls WHERE app = :app LIMIT 1",
        "message": "SELECT message_id, id FROM deferred_calls WHERE app = :app LIMIT 1",
        "answer": "SELECT message_id, call_id FROM outgoing_messages WHERE app = :app AND kind = 'answer' LIMIT 1",
        "request": "SELECT request_id, id FROM deferred_calls WHERE app = :app AND request_id IS NOT NULL LIMIT 1",
        "card": "SELECT cards.message_id, calls.id FROM cards "
        "JOIN deferred_calls AS calls ON calls.request_id = cards.id WHERE calls.app = :app LIMIT 1",
        "opening": "SELECT openings.id, calls.id FROM authorization_attempts AS openings "
        "JOIN deferred_calls AS calls ON calls.request_id = openings.request_id WHERE calls.app = :app LIMIT 1",
        "log": "SELECT log_id, call_id FROM api_calls WHERE app = :app AND log_id IS NOT NULL LIMIT 1",
    }
    return {kind: tuple((await world.rows(query, app=app))[0]) for kind, query in queries.items()}


async def location_of(world: Console, path: str, session: str) -> str | None:
    headers = {"Cookie": f"bot_session={session}"}
    async with world.client.get(path, headers=headers, allow_redirects=False) as response:
        assert response.status in {200, 303}
        return response.headers.get("Location")


async def test_the_search_takes_any_id_and_leads_to_the_story(world: Console):
    session = await world.session(BOSS)
    for kind, (wanted, call) in (await ids_of(world, "tiny:app/7")).items():
        path = f"{console.PEOPLE}?{urlencode({'search': f' {wanted} '})}"
        assert await location_of(world, path, session) == f"{console.STORY}?call={call}", kind
    for path in (console.PEOPLE, console.REQUESTS, console.CALLS, console.ERRORS):
        assert f'action="{console.PEOPLE}"' in (await world.get(path, session))[1]


async def test_a_story_counts_the_calls_to_the_platform_and_does_not_begin_with_its_end(world: Console):
    ((call, number),) = await world.rows(
        "SELECT call_id, count(*) FROM api_calls WHERE app = 'tiny:app/7' GROUP BY call_id ORDER BY 2 DESC LIMIT 1"
    )
    # It waited again: the attempts count from 0.
    reset = text("UPDATE deferred_calls SET attempts = 0 WHERE id = :call")
    await world.bot.database.write(lambda c: c.execute(reset, {"call": call}))
    _, html = await world.get(f"{console.STORY}?call={call}", await world.session(BOSS))
    assert f"<dt>Calls to the platform</dt><dd>{number}</dd>" in html
    assert "Attempts" not in html
    first = html.partition('<ol class="timeline')[2].partition("</li>")[0]
    assert "Asked" in first
    assert "Result" not in first


async def test_the_search_finds_no_id_of_another_app(world: Console):
    session = await world.session(BOSS)
    for wanted, _ in (await ids_of(world, "other:b")).values():
        path = f"{console.PEOPLE}?{urlencode({'search': wanted})}"
        assert await location_of(world, path, session) is None
        assert "No one matches" in (await world.get(path, session))[1]
        status, html = await world.get(f"{console.ERRORS}?{urlencode({'id': wanted})}", session)
        assert (status, "No errors recorded" in html) == (200, True)


async def test_an_id_that_both_apps_have_leads_to_the_call_of_the_own_app(world: Console):
    mine, theirs = (await ids_of(world, "tiny:app/7"))["message"], (await ids_of(world, "other:b"))["message"]
    rename = text("UPDATE deferred_calls SET message_id = 'om_shared' WHERE message_id IN (:one, :other)")
    await world.bot.database.write(lambda c: c.execute(rename, {"one": mine[0], "other": theirs[0]}))
    path = f"{console.PEOPLE}?search=om_shared"
    for user, (_, call) in ((BOSS, mine), (CHIEF, theirs)):
        assert await location_of(world, path, await world.session(user)) == f"{console.STORY}?call={call}"


async def test_the_log_id_of_a_call_that_is_deleted_leads_to_the_list_of_errors(world: Console):
    session = await world.session(BOSS)
    ((log_id,),) = await world.rows(
        "SELECT log_id FROM api_calls WHERE app = 'tiny:app/7' AND log_id IS NOT NULL LIMIT 1"
    )
    await world.bot.database.write(forget_calls)
    location = await location_of(world, f"{console.PEOPLE}?search={log_id}", session)
    assert location == f"{console.ERRORS}?id={log_id}"
    _, html = await world.get(location, session)
    assert html.count(log_id) >= 2
    assert "with the ID" in html


def forget_calls(c: Any) -> None:
    for table in ("outgoing_messages", "deferred_calls"):
        c.execute(text(f"DELETE FROM {table}"))


async def test_a_request_of_several_calls_leads_to_their_list(world: Console):
    session = await world.session(BOSS)
    ((request, user),) = await world.rows(
        "SELECT request_id, user_key FROM deferred_calls WHERE app = 'tiny:app/7' AND request_id IS NOT NULL LIMIT 1"
    )
    widen = text("UPDATE deferred_calls SET request_id = :request WHERE user_key = :user")
    await world.bot.database.write(lambda c: c.execute(widen, {"request": request, "user": user}))
    location = await location_of(world, f"{console.PEOPLE}?search={request}", session)
    assert location == f"{console.CALLS}?request={request}"
    assert (await world.get(location, session))[0] == 200


async def test_an_administrator_of_one_app_is_none_of_another_with_the_same_id(world: Console):
    same_id = UserKey("other", "b", TENANT, "boss")
    assert (await world.get(console.PATH, await world.session(same_id)))[0] == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Dest": "iframe"},
        {"Sec-Fetch-Mode": "cors"},
        {"Sec-Fetch-Dest": "image", "Sec-Fetch-Mode": "no-cors"},
    ],
    ids=["frame", "fetch", "image"],
)
async def test_no_page_can_be_embedded_or_fetched(world: Console, headers: dict[str, str]):
    session = await world.session(BOSS)
    for path in await world.paths():
        assert (await world.get(path, session, **headers))[0] == 403
    for path in console.FORMS:
        assert (await world.post(path, session, {"proof": "x"}, **headers))[0] == 403


# --- signing in -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wanted",
    [
        "https://evil.example/console", "//evil.example", "/console/../permissions", "/console//evil.example",
        "/console\r\nSet-Cookie: a=b", "/permissions", "console", "/console/people/x", "/console?x=<script>", "\\evil",
        "/consoles", "/console/" + "a" * 400, "",
    ],
)  # fmt: skip
async def test_a_sign_in_leads_to_no_other_place(world: Console, wanted: str):
    query = urlencode({"to": wanted, "with": "tiny"})
    async with world.client.get(f"/login?{query}", allow_redirects=False) as response:
        assert "bot_destination" not in str(response.headers.getall("Set-Cookie", []))


async def test_a_sign_in_returns_to_the_page_that_was_asked_for(world: Console):
    for path in (console.PATH, f"{console.STORY}?call=abc", f"{console.PERSON}?user=tiny%3Aapp%2F7%3Ax%3Ay"):
        _, html = await world.get(path)
        links = [unescape(each) for each in re.findall(r'href="(/login[^"]+)"', html)]
        assert len(links) == 2  # one for each platform
        async with world.client.get(links[0], allow_redirects=False) as response:
            assert response.status == 303
            assert "bot_destination" in str(response.headers.getall("Set-Cookie"))


@pytest.mark.parametrize(
    "planted", ["A", "AA", "Lw", "L2NvbnNvbGVcXGV2aWw", "aHR0cHM6Ly9ldmlsLmV4YW1wbGU", "____", "gICAgA"]
)
async def test_a_destination_that_was_planted_has_no_effect(world: Console, planted: str):
    headers = {"Cookie": f"bot_destination={planted}"}
    async with world.client.get("/login/declined?with=tiny", headers=headers) as response:
        assert response.status == 200
        assert "evil" not in await response.text()


# --- the buttons ------------------------------------------------------------------------------------


async def active_person(world: Console) -> UserKey:
    (row,) = await world.rows(
        "SELECT user_key FROM grants WHERE status = 'active' AND app = 'tiny:app/7' ORDER BY user_key LIMIT 1"
    )
    return UserKey.parse(row[0])


async def test_revoking_is_confirmed_done_and_audited(world: Console):
    session, person = await world.session(BOSS), await active_person(world)
    query = urlencode({"user": str(person)})
    _, html = await world.get(f"{console.PERSON}?{query}", session)
    assert "Revoke…" in html
    status, html = await world.get(f"{console.REVOKE}?{query}", session)
    assert (status, await world.active(person)) == (200, True)
    fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', html))
    fields = {name: unescape(value) for name, value in fields.items()}
    status, location, _ = await world.post(console.REVOKE, session, fields)
    assert (status, location) == (303, f"{console.PERSON}?{query}&revoked")
    assert not await world.active(person)
    (row,) = await world.rows("SELECT user_key, detail FROM audit_log WHERE action = 'revoked_by_operator'")
    assert row[0] == str(person)
    assert json.loads(row[1])["operator"] == str(BOSS)
    _, html = await world.get(f"{console.PERSON}?{query}", session)
    assert "Revoked by an operator" in html
    assert "Boss" in html.partition('id="content"')[2]
    # Once more: there is nothing to revoke, which is audited, too.
    status, location, _ = await world.post(console.REVOKE, session, fields)
    assert location.endswith("&nothing")


async def test_what_was_done_is_said_once_and_only_in_the_session(world: Console):
    session, other = await world.session(BOSS), await world.session(BOSS)
    fields = {"user": str(await active_person(world)), "proof": await world.token(session)}
    headers = {"Cookie": f"bot_session={session}"}
    async with world.client.post(
        console.REVOKE, data=fields, headers=headers, allow_redirects=False
    ) as response:
        location = response.headers["Location"]
        flash = response.cookies["bot_done"].value
    for cookie, said in (
        (f"bot_session={session}; bot_done={flash}", True),
        (f"bot_session={other}; bot_done={flash}", False),
    ):
        async with world.client.get(location, headers={"Cookie": cookie}) as response:
            assert ("no longer has access" in await response.text()) is said
            assert "bot_done" in str(response.headers.getall("Set-Cookie"))
    assert "no longer has access" not in (await world.get(location, session))[1]


async def test_who_revokes_their_own_grant_is_signed_out(world: Console):
    session = await world.session(BOSS)
    _, html = await world.get(f"{console.REVOKE}?{urlencode({'user': str(BOSS)})}", session)
    assert "your own account" in html
    fields = {"user": str(BOSS), "proof": await world.token(session)}
    assert (await world.post(console.REVOKE, session, fields))[0] == 303
    assert "Ada Lovelace" not in (await world.get(console.PEOPLE, session))[1]


async def test_checking_again_is_confirmed_done_and_audited(world: Console):
    session = await world.session(BOSS)
    token = await world.token(session)
    assert await world.rows("SELECT 1 FROM audit_log WHERE action = 'scopes_checked'") == []
    status, location, _ = await world.post(console.CHECK, session, {"proof": token})
    assert (status, location) == (303, f"{console.ADMINISTRATORS}?checked")
    (row,) = await world.rows("SELECT detail FROM audit_log WHERE action = 'scopes_checked'")
    assert json.loads(row[0]) == {"operator": str(BOSS), "released": 0}


@pytest.mark.parametrize("path", [*console.FORMS])
async def test_a_form_of_another_site_or_session_changes_nothing(world: Console, path: str):
    session, other = await world.session(BOSS), await world.session(BOSS)
    person = await active_person(world)
    own, foreign = await world.token(session), await world.token(other)
    fields = {"user": str(person)}
    attempts: list[tuple[dict[str, str], dict[str, str]]] = [
        (fields, {}),
        (fields | {"proof": foreign}, {}),
        (fields | {"proof": own[:-1]}, {}),
        (fields | {"proof": "\u00e4"}, {}),
        (fields | {"proof": own}, {"Origin": "https://evil.example"}),
        (fields | {"proof": own}, {"Sec-Fetch-Site": "cross-site"}),
        (fields | {"proof": own}, {"Sec-Fetch-Site": "same-site"}),
    ]
    for posted, headers in attempts:
        status, _, html = await world.post(path, session, posted, **headers)
        assert (status, "Please try again" in html) == (403, True), (posted, headers)
    # A token in the address does not count, and a GET only asks.
    status, _, _ = await world.post(f"{path}?{urlencode({'proof': own})}", session, fields)
    assert status == 403
    await world.get(f"{path}?{urlencode({'proof': own, **fields})}", session)
    assert await world.active(person)
    assert (
        await world.rows("SELECT 1 FROM audit_log WHERE action IN ('revoked_by_operator', 'scopes_checked')")
        == []
    )


async def test_a_session_that_has_ended_in_between_changes_nothing(world: Console):
    session, person = await world.session(BOSS), await active_person(world)
    fields = {"user": str(person), "proof": await world.token(session)}
    await world.bot.database.write(lambda c: sessions.end_all(c, BOSS, "test", datetime.now(UTC)))
    status, location, html = await world.post(console.REVOKE, session, fields)
    assert (status, location, "been signed out" in unescape(html)) == (200, "", True)
    assert await world.active(person)


@pytest.mark.parametrize(
    "user", ["", "nobody", "tiny:app/7:corp 1:nobody", "\x00", "a" * 3000, "%", "' OR 1=1 --"]
)
async def test_a_person_that_there_is_not_cannot_be_revoked(world: Console, user: str):
    session = await world.session(BOSS)
    fields = {"user": user, "proof": await world.token(session)}
    assert (await world.post(console.REVOKE, session, fields))[0] == 404
    assert await world.rows("SELECT 1 FROM audit_log WHERE action = 'revoked_by_operator'") == []


# --- what others wrote ------------------------------------------------------------------------------

HOSTILE = "{{7*7}}</td><script>alert('1')</script><img src=x onerror=alert(1)>\"'&"
UNSEEN = "Anna\u202egro.live\u200b\u2066\x1b[31m"


async def spoil(world: Console, hostile: str) -> UserKey:
    """Write a text wherever users, the platform or another program can have written one."""
    person, now = await active_person(world), datetime.now(UTC)

    def work(c: Any) -> None:
        own = {"user": str(person)}
        c.execute(
            update(user_rows).where(user_rows.c.user_key == person).values(name=hostile, time_zone=hostile)
        )
        named = json.dumps([hostile])
        c.execute(
            text("UPDATE grants SET scopes = :x, scopes_ever = :x WHERE user_key = :user"),
            {"x": named, **own},
        )
        c.execute(
            text(
                "UPDATE authorization_requests SET scopes = :x, reasons = :x, granted = :x, refused = :x "
                "WHERE user_key = :user"
            ),
            {"x": named, **own},
        )
        c.execute(
            text(
                "UPDATE deferred_calls SET command = :h, needs = :n, outcome = :h, message_id = :h || id "
                "WHERE user_key = :user"
            ),
            {"h": hostile, "n": json.dumps([[hostile, hostile]]), **own},
        )
        call = c.execute(text("SELECT max(id) FROM deferred_calls WHERE user_key = :user"), own).scalar_one()
        c.execute(
            insert(api_calls).values(
                id="ffffffffffffff", at=now, user_key=person, call_id=call, step=0, attempt=1, method=hostile,
                path=hostile, status=500, code=hostile, log_id=hostile, milliseconds=1, outcome="refused",
            )
        )  # fmt: skip
        for detail in (
            json.dumps({hostile: hostile, "scopes": [hostile, [hostile]], "operator": hostile}),
            hostile,
            "[" * 900,
        ):
            c.execute(
                insert(audit_log).values(
                    at=now, action=hostile, user_key=person, app=person.app, subject_kind="call", subject_id=call,
                    detail=detail,
                )
            )  # fmt: skip
        c.execute(
            insert(scope_waits).values(
                id="w1", platform="tiny", app_id="app/7", scopes=frozenset({hostile}), status="waiting", created_at=now
            )
        )  # fmt: skip

    await world.bot.database.write(work)
    return person


async def hostile_pages(world: Console, person: UserKey) -> dict[str, str]:
    session = await world.session(BOSS, HOSTILE)
    key = urlencode({"user": str(person)})
    (call,) = await world.rows("SELECT max(id) FROM deferred_calls WHERE user_key = :user", user=str(person))
    paths = [
        console.PATH, console.PEOPLE, console.REQUESTS, console.CALLS, console.ERRORS, console.ADMINISTRATORS,
        *(f"{path}?{key}" for path in (console.PERSON, console.DONE, console.REVOKE, console.CALLS, console.REQUESTS)),
        f"{console.STORY}?call={call[0]}", f"{console.PEOPLE}?{urlencode({'search': HOSTILE})}",
        f"{console.CALLS}?{urlencode({'request': HOSTILE})}",
    ]  # fmt: skip
    pages = {}
    for path in paths:
        status, pages[path] = await world.get(path, session)
        assert status == 200, path
    return pages


async def test_what_others_wrote_is_text_on_every_page(world: Console):
    person = await spoil(world, HOSTILE)
    for path, html in (await hostile_pages(world, person)).items():
        assert "<script" not in html, path
        assert "<img" not in html, path
        assert not {"onerror", "src"} & attributes(html), path
        assert "{{7*7}}" in html, path
        assert "&lt;script&gt;" in html, path
        assert 49 not in [int(each) for each in re.findall(r">(\d+)<", html)], path


def attributes(html: str) -> set[str]:
    """Return the names of all attributes in a page."""
    found: set[str] = set()

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.update(name for name, _ in attrs)

    Reader().feed(html)
    return found


async def test_invisible_characters_are_escaped_and_long_texts_are_cut(world: Console):
    person = await spoil(world, UNSEEN + "x" * 5_000)
    for path, html in (await hostile_pages(world, person)).items():
        for character in ("\u202e", "\u200b", "\u2066", "\x1b"):
            assert character not in html, path
        assert "x" * 250 not in html, path
        assert len(html) < 400_000, path
    assert "\\u202e" in (await hostile_pages(world, person))[console.PEOPLE]


@pytest.mark.parametrize(
    "query",
    [
        "after=%00", "after=~", "after=" + "9" * 300, "after=1~%00", "after=%FF%FE", "user=%00", "user=:::", "call=%00",
        "status=%00", "status=nonsense", "request=%00", "search=%00", "search=%FF", "search=" + "%F0%9F%98%80" * 200,
        "after=1~a&after=2~b", "user=a:b:c:d", "search=%25%25", "call=" + "a" * 3000, "code=1&state=2",
    ],
)  # fmt: skip
async def test_no_query_breaks_a_page(world: Console, query: str):
    session = await world.session(BOSS)
    for path in console.PAGES:
        status, html = await world.get(f"{path}?{query}", session)
        assert status in {200, 303, 404}, (path, html[:300])


def test_secrets_have_no_column_in_the_console() -> None:
    """The console's queries name no sealed column but to ask whether there is a refresh token."""
    source = Path(console_queries.__file__).read_text(encoding="utf-8")
    assert set(
        re.findall(
            r"access_token\b|refresh_token\b|ticket\w*|verifier|device_code|\.c\.code\b|seal\b|content\b",
            source,
        )
    ) <= {
        "refresh_token",
        ".c.code",
    }
    assert not re.search(r"(?<!_)arguments", source)

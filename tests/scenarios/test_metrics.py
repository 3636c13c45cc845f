"""What Prometheus reads: counters and histograms of the process, and gauges of the whole database."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.monitoring import queries

from .scrape import Scrape, scrape, scrape_until
from .test_administrator import without
from .webhook_client import WebhookClient
from .world import World

OPERATING = Path(__file__).resolve().parents[2] / "docs" / "operating.md"


def calls(found: Scrape, status: str, **labels: str) -> float:
    return found.total("bot_calls_ended_total", status=status, **labels)


async def test_a_loop_is_counted_from_its_event_to_its_answer(world: World) -> None:
    await world.start()
    await world.authorized(world.sam)
    await world.answer_to(await world.say(world.sam, "/help"))
    answers: dict[str, str] = {"kind": "answer", "status": "sent"}
    found = await scrape_until(
        world,
        lambda s: calls(s, "succeeded") == s.total("bot_messages_settled_total", **answers) == 2,
        "two answers",
    )
    assert found.total("bot_events_total", platform="lark", type="message", result="accepted") == 2
    assert found.total("bot_event_acknowledgement_seconds_count", platform="lark") == 2
    assert found.find("bot_calls_suspended_total", waits_for="authorization") == {("tasks", "lark"): 1}
    assert calls(found, "succeeded", command="tasks", outcome="answered") == 1
    assert calls(found, "succeeded", command="help", outcome="answered") == 1
    answered = "bot_call_asked_to_answered_seconds_count"
    assert found.find(answered, platform="lark") == {("tasks", "yes"): 1, ("help", "no"): 1}
    assert found.total("bot_call_asked_to_consented_seconds_count", platform="lark") == 1
    assert found.total("bot_call_consented_to_answered_seconds_count", platform="lark") == 1
    whole = found.total("bot_call_asked_to_answered_seconds_sum", command="tasks")
    parts = [
        found.total(f"bot_call_{each}_seconds_sum")
        for each in ("asked_to_consented", "consented_to_answered")
    ]
    assert sum(parts) == pytest.approx(whole, abs=0.01)
    assert found.find("bot_consents_total", platform="lark") == {("none", "granted"): 1}
    assert found.find("bot_authorization_requests_ended_total", platform="lark") == {("granted",): 1}
    requested = {"endpoint": "/open-apis/task/v2/tasks", "method": "GET", "status": "200", "code": "0"}
    assert found.total("bot_platform_requests_total", **requested) == 1
    token = {"endpoint": "/open-apis/authen/v2/oauth/token", "method": "POST", "platform": "lark"}
    assert found.total("bot_platform_request_seconds_count", **token) == 1
    assert 0 < found.total("bot_platform_request_seconds_sum", **token) < 10
    assert found.total("process_resident_memory_bytes") > 1e6
    (build,) = found.find("bot_build_info")
    assert re.fullmatch(r"3\.\d+\.\d+", build[0])


async def test_counters_are_those_of_the_process_and_survive_a_scrape(world: World) -> None:
    await world.start()
    for count in (1, 2, 3):
        await world.answer_to(await world.say(world.sam, "/help"))
        found = await scrape_until(world, lambda s, n=count: calls(s, "succeeded") == n, f"{count} answers")  # type: ignore[misc]
        assert found.total("bot_events_total", result="accepted") == count
    assert await world.stop() == 0
    await world.start()
    assert calls(await scrape(world), "succeeded") == 0


async def test_what_fails_is_counted_by_what_failed(world: World) -> None:
    await world.start()
    client = WebhookClient(world)
    event = client.message("/help")
    for _ in range(3):
        await client.send(event)
    declined = await world.say(world.sam, "/tasks")
    await world.consent(world.sam, await world.fresh_card(world.sam, declined), "refuse")
    asked = await world.say(world.ada, "/doc welcome")
    card = await world.fresh_card(world.ada, asked)
    await world.consent(world.sam, card)  # with another account
    await world.not_now(world.ada, card)
    found = await scrape_until(world, lambda s: calls(s, "cancelled") == 1, "the cancelled call")
    assert found.find("bot_events_total", type="message", result="repeated") == {("lark",): 2}
    consents = found.find("bot_consents_total", platform="lark")
    assert consents[("access_denied", "denied")] == 1
    assert consents[("wrong_person", "failed")] == 1
    assert found.total("bot_authorization_requests_ended_total", status="declined") == 1
    assert found.total("bot_events_total", type="click", result="accepted") == 1
    await world.authorized(world.wei)
    unreachable = await world.trouble({"path": "/open-apis/task/v2/tasks"}, "drop_before")
    failing = await world.trouble({"path": "/open-apis/calendar/v4/calendars/primary"}, "status", status=403)
    await world.say(world.wei, "/tasks")
    await world.struck(unreachable)
    requests = {"endpoint": "/open-apis/task/v2/tasks", "status": "none", "code": "none"}
    await scrape_until(
        world, lambda s: s.total("bot_platform_requests_total", **requests) >= 1, "no response"
    )
    await world.lift(failing, unreachable)


async def test_refreshes_and_ended_grants_are_counted(world: World) -> None:
    await world.start()
    await world.authorized(world.sam)
    world.change("UPDATE grants SET access_expires_at = datetime('now', '-1 minute') || '.000000'")
    await world.answer_to(await world.say(world.sam, "/tasks"))
    await scrape_until(
        world, lambda s: s.total("bot_token_refreshes_total", result="refreshed") == 1, "a refresh"
    )
    refresh = {"path": "/open-apis/authen/v2/oauth/token"}
    trouble = await world.trouble(refresh, "status", status=503)
    world.change("UPDATE grants SET access_expires_at = datetime('now', '-1 minute') || '.000000'")
    await world.say(world.sam, "/tasks")
    failed = await scrape_until(
        world,
        lambda s: (
            s.total("bot_token_refreshes_total") > s.total("bot_token_refreshes_total", result="refreshed")
        ),
        "a failed refresh",
    )
    assert failed.total("bot_token_refreshes_total", result="refreshed") == 1
    await world.lift(trouble)
    await world.say(world.sam, "/revoke")
    await scrape_until(world, lambda s: s.total("bot_grants_ended_total") == 1, "the ended grant")


HOSTILE = (
    "/call GET /open-apis/contact/v3/users/ou_0123456789abcdef0123456789abcdef",
    "/call GET /open-apis/contact/v3/users/samrivera",
    "/call GET /open-apis/docx/v1/documents/doxcnSecretTokenOfADocument/raw_content",
    "/call GET /open-apis/calendar/v4/calendars/private@group.calendar.example/events",
    "/call GET /open-apis/drive/v1/files/topsecretplan/comments/reorganization",
    "/call GET /open-apis/no/such/place/where/the-treasure-is",
    '/call GET /open-apis/x"}bad{y="1/v1/z',
)


async def test_no_label_holds_what_a_user_typed(world: World) -> None:
    world.tenant.behaviour.rate_limits = False
    await world.start()
    await world.authorized(world.sam)
    for text in HOSTILE:
        await world.say(world.sam, text)
        await world.say(world.sam, f"please-{text[-9:]}")
    ended = len(HOSTILE) * 2
    await world.until(lambda: len(world.find("deferred_calls")) - ended == 1, "all calls")
    await world.until(
        lambda: not world.count("deferred_calls", status=("queued", "running")), "all answers", 40
    )
    found = await scrape(world)
    for typed in (
        "samrivera",
        "ou_",
        "doxcn",
        "private",
        "topsecret",
        "reorganization",
        "treasure",
        "bad{",
        "please",
    ):
        assert typed not in found.text, typed
    endpoints = {sample.labels["endpoint"] for sample in found.samples() if "endpoint" in sample.labels}
    print(sorted(endpoints))
    assert all(re.fullmatch(r"(/(?:[\w.-]+|\{id\}))+|other", each) for each in endpoints)
    for label in {name for sample in found.samples() for name in sample.labels} - {"le"}:
        values = {sample.labels[label] for sample in found.samples() if label in sample.labels}
        assert len(values) <= 110, label
        assert not any(re.search(r"\b(o[ucmn]_|cli_)", value) for value in values), label


async def test_the_age_of_what_waits_grows(world: World) -> None:
    await world.start()
    found = await scrape(world)
    for what in ("due_call", "unsent_message", "scope_wait"):
        assert found.total(f"bot_oldest_{what}_age_seconds") == 0
    trouble = await world.trouble({"path": "/open-apis/im/v1/messages"}, "status", status=503)
    await world.say(world.sam, "/help")
    await world.struck(trouble)
    await scrape_until(
        world, lambda s: s.total("bot_oldest_unsent_message_age_seconds") > 1, "an unsent message"
    )
    await world.lift(trouble)
    await scrape_until(
        world, lambda s: s.total("bot_oldest_unsent_message_age_seconds") == 0, "the message being sent", 40
    )
    await without(world, "task:task:read", "task:task:write")
    await world.say(world.sam, "/tasks")
    waiting = await scrape_until(
        world, lambda s: s.total("bot_oldest_scope_wait_age_seconds") > 1, "an administrator's task"
    )
    assert waiting.total("bot_scope_waits", status="waiting") == 1
    assert waiting.total("bot_calls_suspended_total", waits_for="administrator") == 1


async def test_every_metric_that_is_asked_for_exists_and_is_documented(
    world: World, postgresql_url: str
) -> None:
    """By the alerts, by the dashboard and in docs/operating.md."""
    await world.start(BOT_DATABASE_URL=postgresql_url)
    client = WebhookClient(world)
    body = client.seal(client.message())
    await client.post(body, client.sign(body, key="wrong"))
    asked = await world.say(world.sam, "/tasks")
    await world.consent(world.sam, await world.fresh_card(world.sam, asked))
    await world.answer_to(asked)
    await world.say(world.sam, "/revoke")
    found = await scrape_until(
        world,
        lambda s: s.find("bot_grants_ended_total") and s.find("bot_clock_difference_seconds"),
        "all that a loop counts",
    )
    labels: dict[str, set[str]] = {}
    for family in found.families():
        for name in names_of(family):
            labels.setdefault(name, set())
        for sample in family.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
    for query in queries():
        selectors = list(query.selectors())
        assert {each.name for each in selectors} <= labels.keys(), query.where
        known = {"instance", "le"}.union(*(labels[each.name] for each in selectors))
        unseen = {"what"}  # of failures, which a test must not have
        assert query.labels() <= known | unseen, query.where
    documented = dict(re.findall(r"^\| `(\w+)` \| (\w+) \|", section("Metrics"), re.MULTILINE))
    told = {name: family.type for family in found.families() for name in [documented_name(family)]}
    assert documented == told


def section(title: str) -> str:
    """Return a section of docs/operating.md, which has tables of other things in others."""
    found = re.search(
        rf"^## {title}$(.*?)(?=^## |\Z)", OPERATING.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    assert found is not None
    return found[1]


def names_of(family: object) -> list[str]:
    name, kind = family.name, family.type  # type: ignore[attr-defined]
    if kind == "counter":
        return [f"{name}_total"]
    return [f"{name}_{part}" for part in ("bucket", "count", "sum")] if kind == "histogram" else [name]


def documented_name(family: object) -> str:
    kind, name = family.type, family.name  # type: ignore[attr-defined]
    return f"{name}_total" if kind == "counter" else str(name)

"""Too many requests, in every form in which platforms say it: postponed, and delivered once."""

from __future__ import annotations

from typing import Any

from bot.sandbox.lark.tenant import Message

from .at_once import AtOnce, in_groups
from .card_content import is_interim, text_of
from .world import World

Limit = dict[str, Any]
Limits = dict[str, Limit]

LIMITS: Limits = {
    "the platform as a whole": {"status": 400, "code": 11232},
    "one chat": {"status": 400, "code": 11233},
    "inside the platform": {"status": 400, "code": 11247, "msg": "internal"},
    "messages": {"status": 200, "code": 230020},
    "with success as status": {"status": 200, "code": 99991400},
    "Base": {"status": 200, "code": 1254290},
    "sheets": {"status": 200, "code": 90217},
    "a page of a gateway": {"status": 429, "body": "<html><h1>429</h1></html>"},
    "no body": {"status": 429, "body": ""},
    "a code of success": {"status": 429, "body": {"code": 0, "msg": "ok", "data": {}}},
    "a refusal for want of a scope": {"status": 429, "code": 99991679, "msg": "required: [task:task:read]"},
    "a list": {"status": 429, "body": [1]},
    "a code nobody knows, in words": {"status": 200, "code": 77001, "msg": "Too many requests, slow down"},
    "in Chinese": {"status": 400, "code": 77002, "msg": "请求过于频繁，请稍后再试"},
    "a code nobody knows that says when": {"status": 400, "code": 77003, "headers": {"Retry-After": "1"}},
    "its own header": {"status": 400, "code": 77004, "headers": {"x-ogw-ratelimit-reset": "1"}},
}


REPLIES = "/open-apis/im/v1/messages/*/reply"


def limits(*left_out: str) -> Any:
    return in_groups({name: limit for name, limit in LIMITS.items() if name not in left_out})


async def limited(world: World, limit: Limit, path: str, times: int = 2, **match: str) -> None:
    await world.trouble({"path": path, **match}, "status", times=times, **limit)


def answers(world: World, asked: str) -> list[Message]:
    """What the person was sent since, without the word that it is being retried."""
    return [m for m in world.from_bot(world.direct(world.sam), asked) if not is_interim(m)]


@limits()
async def test_a_limited_message_is_postponed_and_delivered_once(at_once: AtOnce, cases: Limits):
    async def story(world: World, limit: Limit) -> None:
        await world.start()
        await limited(world, limit, REPLIES)
        asked = await world.say(world.sam, "/help")
        await world.answer_to(asked)
        await world.until(
            lambda: (
                not world.rows("SELECT 1 FROM outgoing_messages WHERE status <> 'sent' AND kind = 'answer'")
            ),
            "it to be settled",
        )
        assert len(answers(world, asked)) == 1
        assert len(world.requests("/reply", "POST")) == 3

    await at_once(cases, story)


@limits()
async def test_a_limited_call_is_postponed_and_answered_once(at_once: AtOnce, cases: Limits):
    async def story(world: World, limit: Limit) -> None:
        await world.start()
        await world.authorized(world.sam, "/task warm up")
        await limited(world, limit, "/open-apis/task")
        asked = await world.say(world.sam, "/task Buy milk")
        await world.answer_to(asked, "Buy milk", patience=30)
        assert len(answers(world, asked)) == 1
        assert text_of(world.tenant.work.as_json()).splitlines().count("Buy milk") == 1

    await at_once(cases, story)


@limits()
async def test_a_limited_card_comes_once(at_once: AtOnce, cases: Limits):
    async def story(world: World, limit: Limit) -> None:
        await world.start()
        await limited(world, limit, "/open-apis/im/v1/messages", 1, receive_id_type="open_id")
        asked = await world.say(world.sam, "/tasks")
        card = await world.fresh_card(world.sam, asked)
        await limited(world, limit, f"/open-apis/im/v1/messages/{card.message_id}", 1, method="PATCH")
        await world.consent(world.sam, card)
        await world.answer_to(asked)
        await world.until(lambda: "/authorize/" not in text_of(card.content), "its last face", 30)
        cards = [m for m in world.from_bot(world.direct(world.sam), asked) if m.msg_type == "interactive"]
        assert len([m for m in cards if m.reply_to is None]) == 1

    await at_once(cases, story)


@limits()
async def test_a_rate_limit_at_the_token_endpoint_ends_no_grant(at_once: AtOnce, cases: Limits):
    async def story(world: World, limit: Limit) -> None:
        await world.start()
        await world.authorized(world.sam)
        await world.control("tokens/expire", person=world.sam.open_id, which="access")
        await limited(world, limit, "/open-apis/authen/v2/oauth/token", 1)
        asked = await world.say(world.sam, "/tasks")
        await world.answer_to(asked, "open tasks", patience=40)
        assert not world.rows("SELECT 1 FROM grants WHERE status <> 'active'")
        assert len(answers(world, asked)) == 1

    await at_once(cases, story)


@limits("a refusal for want of a scope")
async def test_a_limit_on_what_is_asked_of_the_app_delays_and_loses_nothing(at_once: AtOnce, cases: Limits):
    """Its token, its scopes, its owner: all limited at the first tries."""

    async def story(world: World, limit: Limit) -> None:
        await limited(world, limit, "/open-apis/auth/v3/*", 2)
        await limited(world, limit, "/open-apis/application/*", 2)
        await limited(world, limit, "/open-apis/bot/v3/info", 1)
        await world.start()
        asked = await world.say(world.sam, "/tasks")
        card = await world.fresh_card(world.sam, asked)
        await world.consent(world.sam, card)
        await world.answer_to(asked, "open tasks", patience=30)
        mentioned = await world.say(world.sam, "/help", world.group)
        await world.answer_to(mentioned, patience=30)

    await at_once(cases, story)


@in_groups(
    {
        f"{status}-{header}": {"status": status, "code": 11232, "headers": {header: "4"}}
        for status in (200, 400, 429)
        for header in ("x-ogw-ratelimit-reset", "Retry-After")
    },
    3,
)
async def test_a_limit_that_says_when_is_not_asked_before(at_once: AtOnce, cases: Limits):
    async def story(world: World, limit: Limit) -> None:
        await world.start()
        await limited(world, limit, REPLIES, 1)
        asked = await world.say(world.sam, "/help")
        await world.answer_to(asked)
        await world.until(lambda: len(world.requests("/reply")) >= 2, "both requests")
        changes = world.tenant.feed.changes_after(0, "request")
        first, second = [each.at for each in changes if each.data["path"].endswith("/reply")]
        assert second - first >= 3900

    await at_once(cases, story)


async def test_the_months_quota_is_no_limit_that_passes(world: World):
    await world.start()
    await world.authorized(world.sam)
    await world.trouble(
        {"path": "/open-apis/task"}, "status", status=429, code=99991403, msg="quota exceeded"
    )
    asked = await world.say(world.sam, "/tasks")
    await world.answer_to(asked, "99991403")
    assert len([each for each in world.requests("/open-apis/task") if each.get("code") == 99991403]) <= 1

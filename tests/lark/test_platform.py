"""The bot's messages and what it knows of its app, against the emulated platform."""

import asyncio
import json
from urllib.parse import parse_qs, urlsplit

import pytest

from bot.core.api import ApiCall, Outcome, Succeeded, Unreachable
from bot.core.language import Words
from bot.core.messages import Content, Destination, DirectChat, NotSent, Reply, Sent, Span
from bot.core.platform import Platform
from bot.lark.app_info import (
    OWNER_LIFETIME,
    AppInfo,
    described_scopes,
    read_owner,
    ungranted_scopes,
    user_scopes_granted,
)
from bot.sandbox.lark.sample_tenant import ADA, GROUP, SAM, WEI
from bot.sandbox.lark.tenant import DAY, ScopeSwitch

CARD = Content(
    "interactive",
    '{"schema":"2.0","config":{"update_multi":true},"body":{"elements":[{"tag":"markdown","content":"hi"}]}}',
)


def text(platform, words="hello"):
    return platform.render_reply(Reply(None, ((Span(words),),)))


def message(world, sent):
    return world.tenant.messages[sent.message_id]


async def said(world, person, chat_id, words="/help"):
    """A message of a person, to be answered."""
    from bot.sandbox.lark.tenant import Message, new_id

    clock = world.tenant.clock
    asked = Message(
        new_id("om_"),
        chat_id,
        "user",
        person,
        "text",
        {"text": words},
        clock.wall_ms(),
        clock.wall_ms(),
        clock.now(),
    )
    world.tenant.add_message(asked)
    return asked


def test_the_adapter_implements_the_port(world):
    port: Platform = world.platform
    assert port.name == "lark"
    assert port.uses_pkce


async def test_a_reply_answers_the_message_that_asked(world):
    asked = await said(world, WEI, GROUP)
    sent = await world.platform.send(
        Destination(world.user(), GROUP, asked.message_id), text(world.platform), "key-1"
    )
    assert message(world, sent).reply_to == asked.message_id
    assert not sent.ephemeral


@pytest.mark.parametrize("gone", ["recalled", "deleted"])
async def test_when_the_message_is_gone_the_chat_gets_the_answer(world, gone):
    asked = await said(world, WEI, GROUP)
    setattr(asked, gone, True)
    sent = await world.platform.send(
        Destination(world.user(), GROUP, asked.message_id), text(world.platform), "key-1"
    )
    assert message(world, sent).chat_id == GROUP
    assert message(world, sent).reply_to is None


@pytest.mark.parametrize("gone", ["recalled", "deleted"])
async def test_an_answer_that_must_not_outlive_its_question_says_that_this_was_recalled(world, gone):
    asked = await said(world, WEI, GROUP)
    setattr(asked, gone, True)
    to = Destination(world.user(), GROUP, asked.message_id, unless_recalled=True)
    sent = await world.platform.send(to, text(world.platform), "key-1")
    assert isinstance(sent, NotSent) == (gone == "recalled")
    if isinstance(sent, NotSent):
        assert (sent.recalled, sent.retry, sent.no_route) == (True, False, False)


@pytest.mark.parametrize("code", [230101, 230038, 230035, 230001, 232009, 1])
@pytest.mark.parametrize("closed", [("open_id",), ("open_id", "chat_id"), ("open_id", "chat_id", "reply")])
async def test_what_is_private_takes_each_way_in_turn(world, closed, code):
    asked = await said(world, WEI, world.tenant.direct_chat(WEI).chat_id)
    paths = {"reply": {"path": "/open-apis/im/v1/messages/*/reply"}}
    for way in closed:
        match = paths.get(way, {"path": "/open-apis/im/v1/messages", "receive_id_type": way})
        world.trouble("status", match=match, status=400, code=code, msg="no")
    direct = DirectChat(asked.chat_id, asked.message_id)
    to = Destination(world.user(), GROUP, private=True, direct=direct)
    sent = await world.platform.send(to, CARD, "key-1")
    if code == 1:  # "system busy": nothing is known of this way, so that no other is tried
        assert isinstance(sent, NotSent)
        assert sent.retry
        assert len([m for m in world.tenant.messages.values() if m.sender_type == "bot"]) == 0
        return
    found = message(world, sent)
    assert (found.chat_id == GROUP) == (len(closed) == 3) == sent.ephemeral
    assert (found.reply_to == asked.message_id) == (len(closed) == 2)


async def test_when_every_way_is_closed_that_is_said(world):
    world.trouble("status", match={"path": "/open-apis/im/"}, status=400, code=230101, msg="no")
    world.trouble("status", match={"path": "/open-apis/ephemeral/"}, status=400, code=19001, msg="no")
    to = Destination(world.user(), GROUP, private=True, direct=DirectChat("oc_x", "om_x"))
    sent = await world.platform.send(to, CARD, "key-1")
    assert (sent.no_route, sent.retry, sent.reason) == (True, False, "230101 no")


@pytest.mark.parametrize("code", [230022, 230025, 230028, 230055, 230099])
async def test_a_refusal_of_the_content_is_the_last_word(world, code):
    world.trouble("status", match={"path": "/open-apis/im/"}, status=400, code=code, msg="no")
    to = Destination(world.user(), GROUP, private=True, direct=DirectChat("oc_x", "om_x"))
    sent = await world.platform.send(to, CARD, "key-1")
    assert (sent.no_route, sent.retry, sent.reason) == (False, False, f"{code} no")
    assert sum(c.kind == "request" and "/im/v1/" in c.data["path"] for c in world.tenant.feed.changes) == 1


@pytest.mark.parametrize("change", [{"has_bot": False}, {"dissolved": True}])
async def test_when_the_chat_is_gone_the_person_gets_the_answer(world, change):
    asked = await said(world, WEI, GROUP)
    for name, value in change.items():
        setattr(world.tenant.chats[GROUP], name, value)
    sent = await world.platform.send(
        Destination(world.user(), GROUP, asked.message_id), text(world.platform), "key-1"
    )
    assert message(world, sent).chat_id == world.tenant.direct_chat(WEI).chat_id


async def test_what_is_private_never_reaches_the_group(world):
    sent = await world.platform.send(Destination(world.user(), GROUP, private=True), CARD, "key-1")
    assert message(world, sent).chat_id == world.tenant.direct_chat(WEI).chat_id
    assert not sent.ephemeral


@pytest.mark.parametrize("change", [{"blocked_bot": True}, {"available": False}])
@pytest.mark.parametrize("kind", ["card", "answer"])
async def test_a_refused_direct_message_is_shown_in_the_group_to_them_alone(world, change, kind):
    for name, value in change.items():
        setattr(world.tenant.people[WEI], name, value)
    content = CARD if kind == "card" else text(world.platform)
    sent = await world.platform.send(Destination(world.user(), GROUP, private=True), content, "key-1")
    assert sent.ephemeral
    assert message(world, sent).ephemeral_for == WEI
    assert isinstance(await world.platform.update_card(sent.message_id, CARD), NotSent)
    assert await world.platform.withdraw(sent.message_id) is None
    assert await world.platform.withdraw(sent.message_id) is None


async def test_somebody_who_cannot_be_reached_at_all_is_given_up(world):
    world.tenant.people[WEI].status = "resigned"
    result = await world.platform.send(Destination(world.user()), text(world.platform), "key-1")
    assert isinstance(result, NotSent)
    assert not result.retry


async def test_a_key_sends_one_message(world):
    to = Destination(world.user(), GROUP)
    first = await world.platform.send(to, text(world.platform), "key-1")
    assert await world.platform.send(to, text(world.platform), "key-1") == first
    longest = "k" * 80
    long = await world.platform.send(to, text(world.platform), longest)
    assert isinstance(long, Sent)
    assert await world.platform.send(to, text(world.platform), longest + "2") != long


@pytest.mark.parametrize("kind", ["drop_after", "truncate", "delay_after"])
async def test_an_answer_that_was_lost_is_not_sent_again_another_way(world, kind):
    asked = await said(world, WEI, GROUP)
    to = Destination(world.user(), GROUP, asked.message_id)
    world.trouble(kind, times=1, match={"path": "/open-apis/im/"}, seconds=0.01)
    result = await world.platform.send(to, text(world.platform), "key-1")
    if kind != "delay_after":
        assert isinstance(result, NotSent)
        assert (result.retry, result.may_have_arrived) == (True, True)
    again = await world.platform.send(to, text(world.platform), "key-1")
    assert isinstance(again, Sent)
    assert sum(m.sender_type == "bot" for m in world.tenant.messages.values()) == 1


async def test_a_busy_platform_says_when(world):
    world.trouble("rate_limit", match={"path": "/open-apis/im/"}, reset=3)
    result = await world.platform.send(Destination(world.user()), text(world.platform), "key-1")
    assert isinstance(result, NotSent)
    assert (result.retry, result.retry_after, result.may_have_arrived) == (True, 3, False)


async def test_a_scope_that_the_app_lacks_does_not_lose_the_message(world):
    world.tenant.app.scopes["im:message:send_as_bot"] = ScopeSwitch()
    result = await world.platform.send(Destination(world.user()), text(world.platform), "key-1")
    assert isinstance(result, NotSent)
    assert result.retry


async def test_a_card_changes_its_face_until_it_is_gone(world):
    sent = await world.platform.send(Destination(world.user()), CARD, "key-1")
    assert await world.platform.update_card(sent.message_id, CARD) is None
    world.tenant.clock.advance(15 * DAY)
    too_old = await world.platform.update_card(sent.message_id, CARD)
    assert too_old.gone
    assert not too_old.retry
    fresh = await world.platform.send(Destination(world.user()), CARD, "key-2")
    message(world, fresh).recalled = True
    assert (await world.platform.update_card(fresh.message_id, CARD)).gone


async def test_content_that_the_platform_refuses_is_given_up(world):
    result = await world.platform.send(Destination(world.user()), Content("interactive", "{}"), "key-1")
    assert not result.retry


# --- the app


async def test_the_scopes_for_user_identity_are_read(world):
    assert await world.platform.enabled_scopes() == world.tenant.app.enabled_scopes("user")


async def test_the_list_is_kept_for_seconds_and_read_again_on_request(world):
    before = await world.platform.enabled_scopes()
    world.tenant.app.scopes["docx:document"] = ScopeSwitch(user=True)
    assert await world.platform.enabled_scopes() == before
    assert "docx:document" in await world.platform.enabled_scopes(fresh=True)
    assert "docx:document" in await world.platform.enabled_scopes()


async def test_asked_at_once_the_list_is_read_once(world):
    await asyncio.gather(*(world.platform.enabled_scopes() for _ in range(10)))
    assert requests(world, "/open-apis/application/v6/scopes") == 1


async def test_visitors_share_a_reading_that_is_newer_than_the_list_that_is_kept(world):
    before = await world.platform.enabled_scopes()
    world.tenant.app.scopes["docx:document"] = ScopeSwitch(user=True)
    looks = await asyncio.gather(*(world.platform.enabled_scopes_for_visitors() for _ in range(10)))
    assert {"docx:document" in look for look in looks} == {True}
    assert before != looks[0] == await world.platform.enabled_scopes_for_visitors()
    assert requests(world, "/open-apis/application/v6/scopes") == 2


def requests(world, path):
    return sum(c.kind == "request" and c.data["path"] == path for c in world.tenant.feed.changes)


async def test_a_list_without_identities_is_completed_by_the_apps_description(world):
    listed = [{"scope_name": s, "grant_status": 1} for s in world.tenant.app.scopes if s != "task:task:read"]
    listed.append({"scope_name": "task:task:read", "grant_status": 2})
    world.trouble(
        "status",
        match={"path": "/open-apis/application/v6/scopes"},
        status=200,
        body={"code": 0, "data": {"scopes": listed}},
    )
    expected = world.tenant.app.enabled_scopes("user") - {"task:task:read"}
    assert await world.platform.enabled_scopes() == expected
    del world.tenant.app.scopes["application:application:self_manage"]
    assert await world.platform.enabled_scopes(fresh=True) is None


async def test_a_list_that_cannot_be_read_is_no_empty_list(world):
    world.trouble("html", match={"path": "/open-apis/application/*"})
    assert await world.platform.enabled_scopes() is None
    assert await world.platform.administrators() == ()
    world.calm()
    assert await world.platform.enabled_scopes(fresh=True)
    assert await world.platform.administrators() == (ADA,)


@pytest.mark.parametrize(
    "body", [{}, {"data": None}, {"data": {"scopes": 7}}, {"data": {"scopes": [None, 7, {}]}}]
)
async def test_odd_lists_are_read_without_failing(world, body):
    world.trouble("status", match={"path": "/open-apis/application/*"}, status=200, body={"code": 0, **body})
    await world.platform.enabled_scopes()
    await world.platform.describe_scopes(frozenset({"a:b"}))
    assert await world.platform.administrators() == ()


def test_only_granted_scopes_of_users_count():
    listed = [
        {"scope_name": "a", "grant_status": 1, "scope_type": "user"},
        {"scope_name": "b", "grant_status": 2, "scope_type": "user"},
        {"scope_name": "c", "grant_status": 1, "scope_type": "tenant"},
    ]
    assert user_scopes_granted(listed) == {"a"}
    assert user_scopes_granted([{"scope_name": "a", "grant_status": 1}]) is None
    assert ungranted_scopes(listed) == {"b"}
    described = [{"scope": "a", "token_types": ["user"]}, {"scope": "b", "token_types": ["tenant"]}]
    assert described_scopes(described, "user") == {"a"}
    assert described_scopes(described, "tenant") == {"b"}


async def test_a_former_owner_is_no_administrator_when_the_owner_cannot_be_read():
    answers: list[Outcome] = [
        Succeeded({"code": 0, "data": {"app": {"owner": {"type": 2, "owner_id": "ou_former"}}}}),
        Unreachable("no answer", may_have_arrived=False),
        Succeeded({"code": 0, "data": {"app": {"owner": {"type": 2, "owner_id": "ou_new"}}}}),
    ]
    seconds = [0.0]

    async def call(_: ApiCall) -> Outcome:
        return answers.pop(0)

    info = AppInfo("cli_1", call, clock=lambda: seconds[0])
    assert await info.administrators() == ("ou_former",)
    assert await info.administrators() == ("ou_former",), "kept for a while"
    seconds[0] = OWNER_LIFETIME + 1
    assert await info.administrators() == ()
    assert await info.administrators() == ("ou_new",)
    await info.close()


@pytest.mark.parametrize(
    ("app", "owner"),
    [
        ({"owner": {"type": 2, "owner_id": "ou_1"}, "creator_id": "ou_2"}, "ou_1"),
        ({"owner": {"owner_type": 2, "owner_id": "ou_1"}}, "ou_1"),
        ({"owner": {"type": 1, "owner_id": "x"}, "creator_id": "ou_2"}, "ou_2"),
        ({"creator_id": "ou_2"}, "ou_2"),
        ({"owner": None}, None),
    ],
)
def test_the_owner_is_a_person_or_the_creator_of_the_app(app, owner):
    assert read_owner(app) == owner


async def test_scopes_are_described_by_the_platform_else_by_us_else_by_name(world):
    """The platform's may take too long for the first time that they are wanted: then they are there for the next."""
    asked = frozenset({"docx:document:readonly", "mail:user_mailbox.message:send", "x:y"})
    async with asyncio.timeout(20):
        while (described := await world.platform.describe_scopes(asked))["docx:document:readonly"] != Words(
            "View documents", "查看新版文档"
        ):
            await asyncio.sleep(0.05)
    assert described["mail:user_mailbox.message:send"].en == "Send mail as you"
    assert described["x:y"] == Words("x:y", "x:y")


async def test_descriptions_are_not_waited_for_long(world):
    world.trouble("delay", match={"path": "/open-apis/application/*"}, seconds=60)
    started = asyncio.get_running_loop().time()
    described = await world.platform.describe_scopes(frozenset({"task:task:read"}))
    assert asyncio.get_running_loop().time() - started < 4, "much less than a request that times out takes"
    assert described["task:task:read"].en == "See your tasks"
    world.calm()


async def test_the_owner_is_the_administrator(world):
    assert await world.platform.administrators() == (ADA,)
    assert SAM not in await world.platform.administrators()


async def test_group_messages_count_once_the_bot_knows_its_own_name(world, payload):
    group = payload("message_group")
    group["header"]["token"] = ""
    for _ in range(100):
        event = world.platform.parse(json.dumps(group).encode())
        if getattr(event, "status", None) != 503:
            break
        await asyncio.sleep(0.02)
    assert event.text == "/task ask @_user_2 for the plan"
    assert event.mentions == {"@_user_2": "Sam Rivera"}


async def test_links_lead_where_they_should(world):
    link = world.platform.card_link("https://bot.example/authorize/a?b=c&d")
    assert link.startswith("https://applink.larksuite.com/client/web_url/open?")
    assert parse_qs(urlsplit(link).query) == {
        "mode": ["sidebar-semi"],
        "url": ["https://bot.example/authorize/a?b=c&d"],
    }
    straight = world.another()
    assert straight.card_link("https://bot.example/x") == "https://bot.example/x"
    console = world.platform.console_link(frozenset({"b:c", "a:b"}))
    assert (
        console == f"{world.url}/app/{world.platform.app_id}/auth?q=a:b,b:c&op_from=openapi&token_type=user"
    )

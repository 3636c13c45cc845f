"""Tokens, identities, messages and cards, against the emulated platform."""

import dataclasses
import json
from urllib.parse import parse_qs, urlsplit

import pytest

from bot.core.api import ApiCall, InsufficientScope, Refused, Succeeded, TokenRejected, Unreachable
from bot.core.language import Words
from bot.core.messages import NotSent, Reply, Sent, Span
from bot.core.oauth import Approved, Denied, Malformed, TokenProblem, TokenRefused, TokenSet
from bot.core.secrets import Secret
from bot.sandbox.dingtalk.sample_tenant import ADA, GROUP, NIKO, OTHER_CORP_ID, SAM, WEI
from bot.sandbox.dingtalk.tenant import Session

ME = ApiCall("GET", "/v1.0/contact/users/me")
HELLO = Reply(Words("Hello", "你好"), ((Span(Words("to you", "世界")),),))


async def exchange(world, code):
    return await world.platform.exchange_code(code, redirect_uri=None, verifier=None, scopes=None)


# --- tokens --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["expireIn", "expiresIn"])
async def test_a_code_becomes_tokens_with_thirty_days_and_no_scopes(world, field):
    world.tenant.behaviour.expiry_field = field
    world.tenant.behaviour.access_token_seconds = 1234
    tokens = await exchange(world, world.code("Todo.Todo.Read", tells_corp_id=True))
    assert isinstance(tokens, TokenSet)
    assert (tokens.expires_in, tokens.refresh_expires_in, tokens.scopes) == (1234, 30 * 86400, None)
    assert tokens.tenant_key == world.tenant.app.corp_id


async def test_a_used_code_and_a_dead_refresh_token_have_the_same_code_and_different_meanings(world):
    code = world.code("Todo.Todo.Read")
    tokens = await exchange(world, code)
    assert isinstance(tokens, TokenSet)
    again = await exchange(world, code)
    assert isinstance(again, TokenRefused)
    assert again.problem is TokenProblem.CODE
    assert tokens.refresh_token is not None
    renewed = await world.platform.refresh(tokens.refresh_token, scopes=frozenset({"A.B.C"}))
    assert isinstance(renewed, TokenSet)
    assert renewed.scopes == {"A.B.C"}
    dead = await world.platform.refresh(tokens.refresh_token)
    assert isinstance(dead, TokenRefused)
    assert dead.problem is TokenProblem.OVER


@pytest.mark.parametrize("code", ["invalid.client", "somethingNew", "invalidParameter.clientSecret.wrong"])
async def test_an_unknown_refusal_never_ends_a_grant(world, code):
    world.trouble(
        "status", match={"path": "*/userAccessToken"}, status=400, body={"code": code, "message": "x"}
    )
    refused = await world.platform.refresh(Secret("rt-1"))
    assert isinstance(refused, TokenRefused)
    assert refused.problem in {TokenProblem.APP, TokenProblem.TRANSIENT, TokenProblem.IN_DOUBT}


async def test_the_secret_stands_in_no_refusal(world):
    platform = world.another(client_secret=Secret("wrong-secret-0123456789"))
    async with platform:
        for refused in (
            await platform.exchange_code(
                Secret("code-012345678"), redirect_uri=None, verifier=None, scopes=None
            ),
        ):
            assert isinstance(refused, TokenRefused)
            assert "wrong-secret" not in refused.message
        outcome = await platform.call_as_app(ME)
        assert not isinstance(outcome, Succeeded)
        assert "wrong-secret" not in repr(outcome)


def test_the_link_asks_for_openid_and_corpid_before_the_scopes(world):
    url = world.platform.authorize_url(
        redirect_uri="https://bot.example/cb?x",
        scopes=frozenset({"Todo.Todo.Write"}),
        state="s t",
        challenge=None,
        prompt=False,
    )
    query = parse_qs(urlsplit(url).query)
    assert query["scope"] == ["openid corpid Contact.User.Read Todo.Todo.Write"]
    assert query["prompt"] == ["consent"]
    assert query["state"] == ["s t"]
    assert query["redirect_uri"] == ["https://bot.example/cb?x"]
    assert "+" not in urlsplit(url).query


@pytest.mark.parametrize(
    ("query", "kind"),
    [
        ({"authCode": "a", "state": "s"}, Approved),
        ({"code": "a", "state": "s"}, Approved),
        ({"authCode": "a", "code": "a", "state": "s"}, Approved),
        ({"authCode": "a", "code": "b", "state": "s"}, Malformed),
        ({"error": "access_denied", "state": "s"}, Denied),
        ({"state": "s"}, Malformed),
        ({"authCode": "a"}, Malformed),
    ],
)
def test_the_callback_takes_either_name_of_the_code(world, query, kind):
    assert isinstance(world.platform.parse_callback(query), kind)


# --- who consented ------------------------------------------------------------------------------------


@pytest.mark.parametrize("staff_id", [ADA, WEI, SAM])
async def test_a_token_belongs_to_the_user_id_of_its_union_id(world, staff_id):
    identity = await world.platform.identify(await world.token(staff_id=staff_id))
    assert (identity.open_id, identity.tenant_key) == (staff_id, world.tenant.app.corp_id)
    assert identity.union_id == world.tenant.people[staff_id].union_id


async def test_a_person_of_another_organization_is_nobody_here(world):
    identity = await world.platform.identify(await world.token(staff_id=NIKO))
    assert identity.tenant_key != world.tenant.app.corp_id
    assert identity.open_id != NIKO


async def test_without_the_directory_the_event_tells_who_somebody_is(world):
    world.tenant.app.scopes["qyapi_get_member"].tenant = False
    token = await world.token(staff_id=SAM)
    refused = await world.platform.identify(token)
    assert isinstance(refused, Refused)
    assert "qyapi_get_member" in refused.message
    world.platform._identities.learn(world.tenant.people[SAM].union_id, SAM)
    assert (await world.platform.identify(token)).open_id == SAM


async def test_a_token_that_may_not_say_whose_it_is_is_worth_another_try(world):
    tokens = await exchange(world, world.code("Todo.Todo.Read"))
    assert isinstance(await world.platform.identify(tokens.access_token), Unreachable)


# --- calls --------------------------------------------------------------------------------------------


async def test_calls_carry_the_token_in_its_header(world):
    token = await world.token("Contact.User.mobile")
    outcome = await world.platform.call(ME, token)
    assert isinstance(outcome, Succeeded)
    assert outcome.data["mobile"] == world.tenant.people[ADA].mobile
    assert isinstance(await world.platform.call(ME, Secret("nonsense")), TokenRejected)
    tasks = ApiCall(
        "POST",
        f"/v1.0/todo/users/{world.tenant.people[ADA].union_id}/org/tasks/query",
        {},
        {"isDone": False},
        read=True,
    )
    lacking = await world.platform.call(tasks, token)
    assert isinstance(lacking, InsufficientScope)
    assert lacking.requirement == (("Todo.Todo.Read",),)


@pytest.mark.parametrize("path", ["@evil.example/", "/topapi/x", "/v2.0/x", "/oauth2/auth", ""])
async def test_a_token_is_sent_to_no_other_path(world, path):
    with pytest.raises(ValueError, match="Not the path"):
        await world.platform.call(ApiCall("GET", path), Secret("t"))


# --- messages -----------------------------------------------------------------------------------------


async def test_a_direct_message_goes_by_the_robot(world):
    sent = await world.platform.send(
        world.to(chat_id="direct:cid1"), world.platform.render_reply(HELLO, "zh"), "k"
    )
    assert isinstance(sent, Sent)
    (message,) = world.shown_to()
    assert message.sent_by == "batchSend"
    assert message.content == {"title": "你好", "text": "### 你好\n\n世界"}


async def test_a_group_gets_no_buttons_and_a_private_message_stays_private(world):
    content = world.platform.render_reply(HELLO)
    assert isinstance(await world.platform.send(world.to(chat_id=GROUP), content, "k1"), Sent)
    assert isinstance(await world.platform.send(world.to(chat_id=GROUP, private=True), content, "k2"), Sent)
    assert [
        m.sent_by for m in world.tenant.messages.values() if m.chat_id == GROUP and m.sender_type == "bot"
    ] == ["groupMessages"]
    assert len(world.shown_to()) == 1


@pytest.mark.parametrize("gone", ["dissolved", "has_bot"])
async def test_where_the_group_is_closed_the_user_is_reached_directly(world, gone):
    setattr(world.tenant.chats[GROUP], gone, gone == "dissolved")
    assert isinstance(
        await world.platform.send(world.to(chat_id=GROUP), world.platform.render_reply(HELLO), "k"), Sent
    )
    assert len(world.shown_to()) == 1


async def test_what_was_not_delivered_is_read_from_the_lists(world):
    content = world.platform.render_reply(HELLO)
    unknown = await world.platform.send(world.to("nobody"), content, "k")
    assert isinstance(unknown, NotSent)
    assert (unknown.retry, unknown.no_route) == (False, True)
    world.tenant.people[ADA].throttled = True
    throttled = await world.platform.send(world.to(), content, "k")
    assert isinstance(throttled, NotSent)
    assert throttled.retry
    assert throttled.rate_limited
    stranger = await world.platform.send(world.to("$:LWCP_v1:$x"), content, "k")
    assert isinstance(stranger, NotSent)
    assert not stranger.retry


@pytest.mark.parametrize("status", [500, 504])
async def test_a_failure_may_have_arrived(world, status):
    world.trouble("status", match={"path": "*/batchSend"}, status=status)
    failed = await world.platform.send(world.to(), world.platform.render_reply(HELLO), "k")
    assert isinstance(failed, NotSent)
    assert failed.retry
    assert failed.may_have_arrived


async def test_a_long_reply_is_cut_to_what_one_message_holds(world):
    reply = Reply(None, tuple((Span("任务 " * 300),) for _ in range(60)))
    sent = await world.platform.send(world.to(), world.platform.render_reply(reply, "zh"), "k")
    assert isinstance(sent, Sent)
    assert "已截断" in world.shown_to()[0].content["text"]


@pytest.mark.parametrize(
    "text",
    [
        "[click](https://evil.example)",
        "<a href='https://evil.example'>x</a>",
        "![x](https://evil.example/x.png)",
    ],
)
def test_text_from_elsewhere_makes_no_link(world, text):
    shown = json.loads(world.platform.render_reply(Reply(None, ((Span(text),),))).body)["text"]
    assert "](" not in shown
    assert "<" not in shown


def test_only_the_platform_and_the_bot_are_linked_to(world):
    def shown(url):
        reply = Reply(None, ((Span("here", url=url),),))
        return json.loads(world.platform.render_reply(reply).body)["text"]

    assert shown("https://im.dingtalk.com/x") == "[here](https://im.dingtalk.com/x)"
    for evil in (
        "https://dingtalk.com.evil.example/",
        "https://evil.example/dingtalk.com",
        "javascript:alert(1)",
    ):
        assert "](" not in shown(evil)


# --- replies ------------------------------------------------------------------------------------------


def received(world, **changes):
    """A message of Ada's in her direct chat, as it was pushed, with a session."""
    app, person = world.tenant.app, world.tenant.people[ADA]
    chat = world.tenant.direct_chat(ADA)
    now = world.tenant.clock.wall_ms()
    world.tenant.sessions["s1"] = Session("s1", chat.chat_id, "m1", world.tenant.clock.now() + 3600)
    data = {
        "conversationId": chat.chat_id,
        "conversationType": "1",
        "msgId": "m1",
        "msgtype": "text",
        "text": {"content": "/me"},
        "createAt": now,
        "senderId": person.sender_id,
        "senderStaffId": ADA,
        "senderCorpId": app.corp_id,
        "sessionWebhook": f"{world.url}/robot/sendBySession?session=s1",
        "sessionWebhookExpiredTime": now + 3_600_000,
    }
    data = {name: value for name, value in (data | changes).items() if value is not None}
    frame = {
        "type": "CALLBACK",
        "headers": {"topic": "/v1.0/im/bot/messages/get", "messageId": "f1"},
        "data": json.dumps(data),
    }
    from bot.dingtalk.frames import decode

    return world.platform.parse_frame(decode(json.dumps(frame)))


async def test_a_prompt_answer_is_a_reply_to_its_message(world):
    event = received(world)
    destination = world.to(chat_id=event.chat.chat_id, reply_to=event.message_id)
    await world.platform.send(destination, world.platform.render_reply(HELLO), "k")
    assert [each.sent_by for each in world.shown_to()] == ["sessionWebhook"]


@pytest.mark.parametrize(
    "over", ["expired here", "expired there", "elsewhere", "another port", "after a card"]
)
async def test_no_answer_relies_on_the_session(world, over):
    changes = {}
    if over == "expired here":
        changes = {"sessionWebhookExpiredTime": 1}
    if over == "elsewhere":
        changes = {"sessionWebhook": "https://evil.example/robot/sendBySession?session=s1"}
    if over == "another port":
        changes = {"sessionWebhook": "http://127.0.0.1:1/robot/sendBySession?session=s1"}
    event = received(world, **changes)
    if over == "expired there":
        world.tenant.sessions.clear()
    if over == "after a card":
        card = dataclasses.replace(world.platform.render_reply(HELLO), kind="card")
        await world.platform.send(world.to(), card, "card")
    destination = world.to(chat_id=event.chat.chat_id, reply_to=event.message_id)
    assert isinstance(await world.platform.send(destination, world.platform.render_reply(HELLO), "k"), Sent)
    assert {each.sent_by for each in world.shown_to()} == {"batchSend"}


@pytest.mark.parametrize("corp_id", [OTHER_CORP_ID, None])
def test_a_person_of_another_organization_is_foreign(world, corp_id):
    event = received(world, senderCorpId=corp_id, senderStaffId=None)
    assert event.foreign
    assert event.user.open_id == world.tenant.people[ADA].sender_id


def test_an_unpublished_app_is_said_in_the_log(world, caplog):
    assert received(world, senderStaffId="").foreign
    assert "publish a version" in caplog.text

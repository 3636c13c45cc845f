"""Cards: what they show, interactive or not, and how they change."""

import json
from datetime import UTC, datetime

import pytest

from bot.core.cards import AdministratorCard, AuthorizationCard, ConfirmationCard, Face, UnusedCard
from bot.core.language import Language, Words
from bot.core.messages import Control, NotSent, Reply, Sent, Span
from bot.core.words import replies
from bot.dingtalk.rendered_messages import MAX_VALUE_BYTES, card_values, parse_content
from bot.dingtalk.scope_descriptions import describe_scope
from bot.sandbox.dingtalk.sample_tenant import ADA

AT = datetime(2026, 11, 28, 18, 2, tzinfo=UTC)
LINK = "https://bot.example/authorize/" + "t" * 43


def card(face=Face.WAITING, scopes=("Contact.User.Read", "Todo.Todo.Write"), **changes):
    given = {
        "request_id": "R1",
        "face": face,
        "scopes": {scope: describe_scope(scope) for scope in scopes},
        "granted": frozenset(),
        "refused": frozenset(),
        "commands": ("/task",),
        "link": LINK if face is Face.WAITING else None,
        "expires_at": AT,
    }
    return AuthorizationCard(**(given | changes))


@pytest.mark.parametrize(
    ("language", "word"), [("en", "To run **/task** as you"), ("zh", "以你的身份执行 **/task**")]
)
async def test_a_plain_card_has_one_short_link_and_names_each_scope(world, language, word):
    sent = await world.platform.send(world.to(), world.platform.render_card(card(), language), "k")
    assert isinstance(sent, Sent)
    (message,) = world.shown_to()
    assert message.msg_type == "sampleActionCard"
    assert message.content["singleURL"] == LINK
    text = message.content["text"]
    assert word in text
    assert "Contact.User.Read" in text
    assert "Todo.Todo.Write" in text
    assert "/cancel" in text


async def test_a_plain_card_is_never_changed(world):
    sent = await world.platform.send(world.to(), world.platform.render_card(card()), "k")
    failed = await world.platform.update_card(
        sent.message_id, world.platform.render_card(card(Face.AUTHORIZED))
    )
    assert isinstance(failed, NotSent)
    assert failed.gone
    assert not world.platform.limits.card_edit_window


@pytest.mark.parametrize("face", [each for each in Face if each is not Face.WAITING])
async def test_an_interactive_card_changes_its_face(world, face):
    async with world.with_cards() as platform:
        sent = await platform.send(world.to(), platform.render_card(card()), "k")
        assert isinstance(sent, Sent)
        assert (
            await platform.update_card(
                sent.message_id,
                platform.render_card(
                    card(
                        face, granted=frozenset({"Contact.User.Read"}), refused=frozenset({"Todo.Todo.Write"})
                    )
                ),
            )
            is None
        )
        (message,) = world.shown_to()
        data = message.content["data"]
        assert data["title"] == parse_content(platform.render_card(card(face))).title
        assert LINK not in json.dumps(data)


async def test_an_interactive_card_has_a_link_and_buttons(world):
    async with world.with_cards() as platform:
        await platform.send(world.to(), platform.render_card(card()), "k")
        (message,) = world.shown_to()
        buttons = json.loads(message.content["data"]["sys_full_json_obj"])["msgButtons"]
        assert buttons[0]["url"] == LINK
        assert buttons[1]["id"] == "not_now:R1"


async def test_a_repeated_card_is_one_card(world):
    async with world.with_cards() as platform:
        first = await platform.send(world.to(), platform.render_card(card()), "k")
        second = await platform.send(world.to(), platform.render_card(card()), "k")
        assert first == second
        assert len(world.shown_to()) == 1


@pytest.mark.parametrize("problem", ["no such template", "unknown user"])
async def test_a_card_that_is_not_delivered_is_said(world, problem):
    template = {"card_template_id": "none.schema"} if problem == "no such template" else {}
    async with (
        world.another(**({"card_template_id": "x"} | template))
        if template
        else world.with_cards() as platform
    ):
        target = world.to("nobody") if problem == "unknown user" else world.to()
        failed = await platform.send(target, platform.render_card(card()), "k")
        assert isinstance(failed, NotSent)
        assert not failed.retry


MANY = tuple(f"Some.Very.LongScopeName{number:03}.Read" for number in range(40))


@pytest.mark.parametrize(
    "shown",
    [
        card(scopes=MANY, commands=tuple(f"/command{number}" for number in range(40))),
        card(Face.FAILED, failure=Words("x" * 5000, "错" * 5000)),
        AdministratorCard(
            "S1",
            {each: Words(each, each) for each in MANY},
            tuple(f"staff{n:04}" for n in range(30)),
            ("/task",),
            "https://open-dev.dingtalk.com/x",
        ),
        AdministratorCard("S1", {}, (), (), "https://open-dev.dingtalk.com/x"),
        AdministratorCard("S1", {}, ("s",), ("/a",), "https://open-dev.dingtalk.com/x", done=True),
        ConfirmationCard("C1", "/task " + "任务" * 900, AT),
        ConfirmationCard("C1", "/task x", AT, confirmed=True),
        UnusedCard({"Todo.Todo.Read": Words("a", "b")}, subject="x"),
    ],
)
@pytest.mark.parametrize("language", ["en", "zh"])
async def test_every_card_fits(world, shown, language):
    content = world.platform.render_card(shown, language)
    assert all(
        len(value.encode()) <= MAX_VALUE_BYTES for value in card_values(parse_content(content)).values()
    )
    assert isinstance(await world.platform.send(world.to(), content, "k"), Sent)
    async with world.with_cards() as platform:
        assert isinstance(await platform.send(world.to(), content, "k"), Sent)


def test_without_buttons_a_reply_says_what_to_do(world):
    reply = Reply(None, ((Span("It expired."),),), control=Control(Words("Try again", "重试"), "retry", "C1"))
    plain = parse_content(world.platform.render_reply(reply))
    assert not plain.buttons
    assert "Send the command again" in plain.text
    with_buttons = parse_content(world.with_cards().render_reply(reply))
    assert [(each.action, each.subject) for each in with_buttons.buttons] == [("retry", "C1")]


@pytest.mark.parametrize(
    ("language", "title", "tips"), [("en", "Not authorized", "Done."), ("zh", "未授权", "已处理。")]
)
@pytest.mark.parametrize("face", [Face.DECLINED, None])
def test_the_answer_to_a_click_changes_the_card(world, face, language, title, tips):
    content = world.platform.render_card(card(face), language) if face else None
    answer = world.platform.click_answer(Words("Done.", "已处理。"), language, "info", content)
    values = answer["cardData"]["cardParamMap"]
    assert values.get("title") == (title if face else None)
    assert values["tips"] == tips
    assert ADA not in json.dumps(answer)


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize(
    "reply",
    [
        replies.added_to_earlier_card("/task", "R1"),
        replies.with_retry(replies.expired("/tasks"), "C1"),
        replies.with_retry(replies.expired_before_start("/agenda"), "C1"),
        replies.with_retry(replies.crashed("/me"), "C1"),
    ],
)
def test_a_card_says_nothing_twice(world, reply: Reply, language: Language):
    values = card_values(parse_content(world.with_cards().render_reply(reply, language)))
    words = reply.lines[0][0].text.to(language)
    assert [words in values["title"], words in values["markdown"]].count(True) == 1

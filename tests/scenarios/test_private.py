"""What a group sees of an answer, and what the asker alone sees."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.sandbox.lark.sample_work_data import WELCOME
from bot.sandbox.lark.tenant import Message, Person

from .card_content import has_link, text_of
from .test_commands_of_others import broken, with_packages
from .world import World

PERSONAL = {
    "/agenda week": "·",
    "/tasks": "open tasks",
    "/search welcome": "esults for",
    "/permissions": "task:task:read",
    "/call GET /open-apis/task/v2/tasks": "GET /open-apis/task/v2/tasks",
    "/authorize task:task:read": "task:task:read",
}


async def grant_all(world: World, person: Person) -> None:
    asked = await world.say(
        person, "/authorize calendar:calendar:readonly task:task:read search:docs:read docx:document:readonly"
    )
    await world.consent(person, await world.fresh_card(person, asked))
    await world.answer_to(asked)


async def in_direct_chat(world: World, person: Person, since: str, containing: str) -> Message:
    def found() -> Message | None:
        said = world.from_bot(world.direct(person), since)
        return next((m for m in said if containing in text_of(m.content)), None)

    message: Message = await world.until(found, f"{containing!r} in the direct chat")
    return message


@pytest.mark.parametrize("said", PERSONAL)
async def test_a_personal_answer_is_shown_to_the_asker_alone(world: World, said: str):
    await world.start()
    await grant_all(world, world.sam)
    asked = await world.say(world.sam, said, world.group)
    await world.shown_alone(world.sam, asked, PERSONAL[said])
    assert world.seen_by_all(asked) == ""
    assert not world.from_bot(world.direct(world.sam), asked), "said once"


@pytest.mark.parametrize("said", ["/agenda", "/tasks", "/permissions"])
async def test_where_a_group_shows_nothing_to_one_alone_the_answer_is_sent_and_the_group_told(
    world: World, said: str
):
    await world.start()
    await grant_all(world, world.sam)
    await world.trouble(
        {"path": "/open-apis/ephemeral/v1/send"}, "status", status=400, body={"code": 18053, "msg": "no"}
    )
    asked = await world.say(world.sam, said, world.group)
    note = await world.answer_to(asked, "I've sent you the result")
    await in_direct_chat(world, world.sam, asked, "")
    assert world.seen_by_all(asked) == text_of(note.content), "and nothing else"


@pytest.mark.parametrize(
    ("said", "path", "told"),
    [
        ("/doc welcome", "/open-apis/docx/", "The platform refused"),
        ("/me", "/open-apis/authen/v1/user_info", "The platform refused"),
        ("/task Order flowers", "/open-apis/task/", "The platform refused"),
        ("/doc no document at all", None, "How to use /doc"),
        ("/task", None, "How to use /task"),
        ("rain in the garden", None, "Sorry, I don't know"),
    ],
)
async def test_refusals_and_mistakes_are_told_to_the_asker_alone(
    world: World, said: str, path: str | None, told: str
):
    await world.start()
    if path is not None:
        await world.authorized(world.sam, said)
        refusal = {"code": 7777777, "msg": "refused by the story"}
        await world.trouble({"path": path}, "status", status=400, body=refusal)
    asked = await world.say(world.sam, said, world.group)
    await world.shown_alone(world.sam, asked, told)
    assert world.seen_by_all(asked) == ""


@pytest.mark.parametrize("person", ["Sam Rivera", "Ada Meyer", "Wei Lan"])
async def test_what_everybody_sees_says_whose_it_is(world: World, person: str):
    await world.start()
    asker = world.person(person)
    for said in ("/doc welcome", f"/task Water the plants of {person}"):
        alone = await world.answer_to(await world.authorized(asker, said))
        assert "On behalf of" not in text_of(alone.content)
    for said in ("/doc welcome", "/me", f"/task Water the flowers of {person}"):
        in_group = await world.say(asker, said, world.group)
        answer = await world.answer_to(in_group)
        assert answer.ephemeral_for is None
        assert f"On behalf of {asker.name}" in text_of(answer.content)
        assert f"以 {asker.name} 的身份" in text_of(answer.content)


async def test_an_answer_without_personal_data_names_no_asker(world: World):
    await world.start()
    answer = await world.answer_to(await world.say(world.sam, "/help", world.group))
    assert "On behalf of" not in text_of(answer.content)


@pytest.mark.parametrize("end", ["not_now", "partly", "expired", "/cancel"])
async def test_how_an_authorization_ended_is_told_to_the_asker_alone(world: World, end: str):
    await world.start()
    asked = await world.say(world.sam, "/doc welcome", world.group)
    note = await world.answer_to(asked)
    card = await world.fresh_card(world.sam, asked)
    if end == "not_now":
        await world.click(world.sam, card, "not_now")
    elif end == "partly":
        consent_id = await world.open(card)
        await world.get(await world.decide(consent_id, world.sam, scopes=["offline_access"]))
    elif end == "expired":
        world.let_expire()
    else:
        await world.say(world.sam, "/cancel")
    await world.shown_alone(world.sam, asked, "/doc", patience=40)
    assert world.seen_by_all(asked) == text_of(note.content)


@pytest.mark.parametrize("said", ["/doc welcome", "/task Bake bread", "/search bread"])
async def test_only_the_asker_is_told_that_the_administrator_must_act(world: World, said: str):
    await world.start()
    for scope, switch in world.tenant.app.scopes.items():
        if switch.user and scope.split(":")[0] in {"docx", "docs", "task", "search", "wiki", "drive"}:
            await world.control("app-scopes", scope=scope, user=False)
    asked = await world.say(world.sam, said, world.group)
    await world.shown_alone(world.sam, asked, "administrator")
    assert world.seen_by_all(asked) == ""


async def test_a_person_whom_the_group_cannot_show_it_alone_is_told_of_the_trouble_directly(world: World):
    await world.start()
    await world.trouble(
        {"path": "/open-apis/ephemeral/v1/send"}, "status", status=400, body={"code": 18053, "msg": "no"}
    )
    asked = await world.say(world.sam, "/task", world.group)
    await in_direct_chat(world, world.sam, asked, "How to use /task")
    note = await world.answer_to(asked, "direct")
    assert "How to use" not in text_of(note.content)


async def test_what_is_shown_to_one_alone_keeps_its_links(world: World):
    await world.start()
    await grant_all(world, world.sam)
    asked = await world.say(world.sam, "/search welcome", world.group)
    shown = await world.shown_alone(world.sam, asked, "esults for")
    assert WELCOME in text_of(shown.content)
    assert "](http" in text_of(shown.content)


# --- after a refusal ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", ["/agenda tomorrow", "/task Feed the cat", "/doc welcome", "/search news"])
@pytest.mark.parametrize("times", [1, 2])
async def test_after_not_now_every_new_command_in_a_group_is_answered_with_its_note(
    world: World, said: str, times: int
):
    await world.start()
    for _ in range(times):
        first = await world.say(world.sam, "/tasks", world.group)
        await world.answer_to(first)
        await world.click(world.sam, await world.fresh_card(world.sam, first), "not_now")
        await world.shown_alone(world.sam, first, "/tasks")
    asked = await world.say(world.sam, said, world.group)
    note = await world.answer_to(asked, "I've sent you a card in our direct chat")
    assert not has_link(note)
    await world.consent(world.sam, await world.fresh_card(world.sam, asked))
    await world.until(lambda: len(world.from_bot(world.group, asked)) > 1, "the answer")


async def test_after_not_now_a_command_below_an_older_card_is_told_where_that_is(world: World):
    await world.start()
    first = await world.say(world.sam, "/tasks")
    await world.click(world.sam, await world.fresh_card(world.sam, first), "not_now")
    second = await world.say(world.sam, "/agenda")
    await world.fresh_card(world.sam, second)
    world.change("UPDATE authorization_requests SET created_at = datetime('now', '-5 minutes') || '.000000'")
    for said in ("/doc welcome", "/task Call home", "/agenda week"):
        asked = await world.say(world.sam, said)
        await world.answer_to(asked, "the card above")


# --- commands of other packages ----------------------------------------------------------------------------------

SECRETIVE = """
from bot.commands import ApiCall, Reply, Words, command

@command("diary", summary=Words("a", "一"), private=True)
def diary(ask):
    yield from ()
    return Reply(Words("My diary", "日记"))

@command("notice", summary=Words("a", "一"))
def notice(ask):
    yield from ()
    return Reply(Words("For everybody", "大家好"))

@command("hush", summary=Words("a", "一"))
def hush(ask):
    yield from ()
    return Reply(Words("Only for you", "仅你可见"), confidential=True)
"""


async def test_a_command_of_another_package_says_who_sees_its_answer(world: World, tmp_path: Path):
    broken(tmp_path, SECRETIVE, "\n".join(f"{each} = bot_odd:{each}" for each in ("diary", "notice", "hush")))
    with_packages(world, tmp_path)
    await world.start()
    for said, words in (("/diary", "My diary"), ("/hush", "Only for you")):
        asked = await world.say(world.sam, said, world.group)
        await world.shown_alone(world.sam, asked, words)
        assert world.seen_by_all(asked) == ""
        await world.answer_to(await world.say(world.sam, said), words)
    asked = await world.say(world.sam, "/notice", world.group)
    await world.answer_to(asked, "For everybody")

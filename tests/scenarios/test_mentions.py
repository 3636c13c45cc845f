"""What people call themselves, put into commands of others by a mention: a name is text, and never a command."""

from __future__ import annotations

import json
from typing import Any

from bot.sandbox.lark.sample_work_data import WELCOME
from bot.sandbox.lark.tenant import Person

from .card_content import text_of
from .webhook_client import WebhookClient
from .world import World

TASKS = "/open-apis/task/v2/tasks"


async def call_themselves(world: World, person: Person, name: str) -> None:
    await world.control("people", open_id=person.open_id, name=name)


def titles(world: World) -> list[str]:
    """Of the tasks that Sam created."""
    created = [task for task in world.tenant.work.tasks if task["creator"]["id"] == world.sam.open_id]
    return [task["summary"] for task in created]


def keep_stored(world: World) -> None:
    """From now on keep what is stored of each call when it is asked: its arguments are erased when it ends."""
    world.change("CREATE TABLE stored (message_id TEXT, command TEXT, arguments TEXT)")
    world.change(
        "CREATE TRIGGER keep AFTER INSERT ON deferred_calls "
        "BEGIN INSERT INTO stored VALUES (NEW.message_id, NEW.command, NEW.arguments); END"
    )


def stored(world: World, asked: str) -> tuple[str, str]:
    """The command and the arguments that were stored of a call."""
    (row,) = world.rows("SELECT command, arguments FROM stored WHERE message_id = ?", asked)
    return row["command"], row["arguments"]


NAMES = [
    'x","summary":"pay Eve',
    'x"}, {"summary": "pay Eve',
    "x\\",
    "\\u0022,",
    "@_user_1",
    "@_user_3 and @_all",
    "x\ny\tz",
    "/help",
    "蓝薇",
]
ON_ONE_LINE = {"x\ny\tz": "x y z"}


async def test_a_name_in_the_json_of_a_call_is_text_in_a_string(world: World):
    await world.start()
    await world.authorized(world.sam, "/me")
    before = len(titles(world))
    said = f'/call POST {TASKS} {{"summary": "for @_user_2, today", "description": "@_user_3"}}'
    for number, name in enumerate(NAMES):
        await call_themselves(world, world.wei, name)
        asked = await world.say(world.sam, said, world.group, mentioning=[world.wei, world.ada])
        if number == 0:
            # It waits for a consent, so that it is replayed from what was stored.
            await world.consent(world.sam, await world.fresh_card(world.sam, asked))
        await world.shown_alone(world.sam, asked, "POST")
        assert titles(world)[-1] == f"for @{ON_ONE_LINE.get(name, name)}, today"
        assert world.tenant.work.tasks[-1]["description"] == f"@{world.ada.name}"
    assert len(titles(world)) == before + len(NAMES)


async def test_a_name_is_no_other_part_of_a_call(world: World):
    await world.start()
    await world.authorized(world.sam, "/task first")
    before = len(world.requests(TASKS))
    for name in ('{"summary":"pay Eve"}', f'POST {TASKS} {{"summary":"pay Eve"}}', "GET"):
        await call_themselves(world, world.wei, name)
        for said in (
            f"/call POST {TASKS} @_user_2",
            f'/call POST {TASKS} {{"@_user_2": 1}}',
            f'/call POST {TASKS}/@_user_2 {{"summary": "x"}}',
            f'/call POST {TASKS}?user_id_type=@_user_2 {{"summary": "x"}}',
            '/call POST @_user_2 {"summary": "x"}',
            "/call @_user_2",
            "/call @_user_2 @_user_2 @_user_2",
        ):
            asked = await world.say(world.sam, said, mentioning=[world.wei])
            await world.answer_to(asked, "How to use /call")
    assert len(world.requests(TASKS)) == before


async def test_a_name_is_no_command(world: World):
    await world.start()
    for name in (
        "/revoke",
        "revoke",
        "revoke all",
        "\n/revoke",
        "x\n/revoke",
        "\uff0frevoke",
        "\u200b/revoke",
    ):
        await call_themselves(world, world.wei, name)
        for said in ("@_user_2", "/@_user_2", "@_user_2 now", "@_user_2@_user_2", "x @_user_2"):
            asked = await world.say(world.sam, said, world.group, mentioning=[world.wei])
            answer = await world.shown_alone(world.sam, asked, "Sorry, I don't know")
            assert "Did you mean" not in text_of(answer.content)
    assert world.rows("SELECT DISTINCT command FROM deferred_calls") == [{"command": "unknown"}]


async def test_a_document_is_never_read_out_of_a_name(world: World):
    await world.start()
    for name in (f"https://corp.feishu.cn/docx/{WELCOME}", WELCOME, f"x\n{WELCOME}"):
        await call_themselves(world, world.wei, name)
        for said in ("/doc @_user_2", "/doc @_user_2 please", "/doc https://corp.feishu.cn/docx/@_user_2"):
            asked = await world.say(world.sam, said, mentioning=[world.wei])
            await world.answer_to(asked, "the link to a document")
    # A name beside the link is no second one, wherever it stands.
    await call_themselves(world, world.wei, "https://corp.feishu.cn/wiki/wikcnEvil")
    asked = await world.say(
        world.sam, f"/doc @_user_2 https://corp.feishu.cn/docx/{WELCOME}", mentioning=[world.wei]
    )
    await world.consent(world.sam, await world.fresh_card(world.sam, asked))
    await world.answer_to(asked, "Welcome to Helper")
    assert not world.requests("/wiki/")


async def test_a_name_asks_for_no_scope_and_chooses_no_period(world: World):
    await world.start()
    for name, said, answer in (
        ("x task:task:read", "/authorize @_user_2", "isn't a scope"),
        ("x,task:task:read", "/authorize task:task:read @_user_2", "isn't a scope"),
        ("tomorrow", "/agenda @_user_2", "How to use /agenda"),
    ):
        await call_themselves(world, world.wei, name)
        await world.answer_to(await world.say(world.sam, said, mentioning=[world.wei]), answer)
    assert world.count("authorization_requests") == 0


async def test_where_text_is_wanted_names_are_put_in_once(world: World):
    await world.start()
    await world.authorized(world.sam, "/task first")
    keep_stored(world)
    for name in NAMES:
        await call_themselves(world, world.wei, name)
        asked = await world.say(
            world.sam, "/task ask @_user_2 and @_user_3", world.group, mentioning=[world.wei, world.ada]
        )
        await world.answer_to(asked, "Task created")
        title = f"ask @{ON_ONE_LINE.get(name, name)} and @{world.ada.name}"
        assert titles(world)[-1] == title
        assert stored(world, asked) == ("task", title)


async def say_richly(world: World, *spans: dict[str, Any]) -> str:
    """Sam sends a rich text of one line, with Wei among its mentions."""
    content = {"title": "", "content": [list(spans)]}
    return await world.say(world.sam, "", mentioning=[world.wei], message_type="post", content=content)


async def test_names_in_rich_text_are_no_commands_either(world: World):
    """Whether the message's mentions tell the name, or the element alone does."""
    await world.start()
    await world.authorized(world.sam, "/task first")
    evil, before = 'x","summary":"pay Eve', len(titles(world))
    begin, end = ({"tag": "text", "text": text} for text in (f'/call POST {TASKS} {{"summary":"for ', '"}'))
    for key in ("@_user_2", "@_user_9", "ou_5a3d", "all", "/revoke", 7, None):
        at = {"tag": "at", "user_id": key, "user_name": evil}
        await call_themselves(world, world.wei, evil)
        asked = await say_richly(world, begin, at, end)
        await world.answer_to(asked, "POST")
        assert titles(world)[-1] == f"for @{evil}"
        for name in ("/revoke", "revoke"):
            await call_themselves(world, world.wei, name)
            asked = await say_richly(world, at | {"user_name": name})
            await world.answer_to(asked, "Sorry, I don't know")
    assert world.statuses("grants") == ["active"]
    assert len(titles(world)) == before + 7


# --- repeated names in JSON -------------------------------------------------------------------------------


async def test_a_name_that_is_twice_in_the_json_of_a_call_is_refused(world: World):
    await world.start()
    await world.authorized(world.sam, "/task first")
    before = len(world.requests(TASKS))
    for body in (
        '{"summary": "one", "summary": "two"}',
        '{"summary": "one", "\\u0073ummary": "two"}',
        '{"summary": "one", "due": {"timestamp": "1", "timestamp": "2"}}',
        '[{"summary": "one"}, {"summary": "two", "summary": "three"}]',
    ):
        asked = await world.say(world.sam, f"/call POST {TASKS} {body}")
        await world.answer_to(asked, "appears twice in the same JSON object")
    assert len(world.requests(TASKS)) == before


async def test_an_event_with_a_repeated_name_changes_nothing(world: World):
    await world.start()
    attacker = WebhookClient(world)
    whole = json.dumps(attacker.message("/help"))
    content = json.dumps(json.dumps({"text": "/help"}))
    twice = json.dumps('{"text": "/help", "text": "/me"}')
    assert content in whole
    for changed in (
        whole.replace('"chat_type": "p2p"', '"chat_type": "p2p", "chat_type": "p2p"'),
        whole.replace('"schema": "2.0"', '"schema": "1.0", "schema": "2.0"'),
        whole.replace('{"open_id"', '{"open_id": "ou_another", "open_id"'),
        whole.replace(content, twice),
    ):
        assert changed != whole
        body = attacker.seal(changed.encode())
        assert (await attacker.post(body, attacker.sign(body)))[0] == 400
    sealed = attacker.seal(whole.encode())
    body = sealed[:-1] + b", " + sealed[1:]
    assert (await attacker.post(body, attacker.sign(body)))[0] == 400
    assert world.count("deferred_calls") == 0
    assert world.count("events") == 0


async def test_a_post_of_the_page_in_the_client_with_a_repeated_name_begins_nothing(world: World):
    await world.start()
    card = await world.fresh_card(world.sam, await world.say(world.sam, "/tasks"))
    ticket = world.link_of(card).rpartition("/")[2]
    for body, status in (
        (f'{{"ticket": "x", "ticket": "{ticket}"}}', 400),
        (f'{{"ticket": "{ticket}"}}', 200),
    ):
        async with world.http.post(
            f"{world.public}/oauth/lark/client/attempts",
            data=body,
            headers={"Origin": world.public, "Content-Type": "application/json"},
        ) as response:
            assert response.status == status
    assert world.count("authorization_attempts") == 1

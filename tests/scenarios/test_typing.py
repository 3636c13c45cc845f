"""What people type on phones and Chinese keyboards, and what clients make of it, is understood as it was meant."""

from __future__ import annotations

from typing import Any

import pytest

from bot.sandbox.lark.sample_work_data import PLAN, WELCOME, WIKI_NODE
from bot.sandbox.lark.tenant import Chat, Person

from .card_content import text_of
from .world import World

LINK = f"https://corp.feishu.cn/docx/{WELCOME}"
FAMILY = "👩\u200d👩\u200d👧 ❤️\u200d🔥 می\u200cخواهم"


async def post(world: World, person: Person, content: dict[str, Any], chat: Chat | None = None) -> str:
    return await world.say(person, "", chat, message_type="post", content=content)


def flat(*elements: dict[str, Any]) -> dict[str, Any]:
    return {"title": "", "content": [list(elements)]}


def words(text: str) -> dict[str, Any]:
    return {"tag": "text", "text": text}


def named(text: str, address: str = LINK) -> dict[str, Any]:
    return {"tag": "a", "href": address, "text": text}


def titles(world: World) -> list[str]:
    """Of the tasks that Sam created, in the order of their creation."""
    return [task["summary"] for task in world.tenant.work.tasks if task["creator"]["id"] == world.sam.open_id]


def read_documents(world: World) -> list[str]:
    return [request["path"].split("/")[-2] for request in world.requests("/blocks")]


# --- rich text ------------------------------------------------------------------------------------------


async def test_a_link_under_a_name_leads_to_its_document(world: World):
    await world.start()
    await world.authorized(world.sam, f"/doc {LINK}")
    before = len(read_documents(world))
    wiki = f"https://corp.feishu.cn/wiki/{WIKI_NODE}"
    said = [
        flat(words("/doc "), named("Quarterly plan")),
        flat(words("/doc"), named("季度计划")),
        flat(words("/doc "), named("see https://corp.feishu.cn/docx/other for more")),
        {"title": "/doc", "content": [[named("the welcome")]]},
        {"zh_cn": flat(words("/doc "), named("欢迎"))},
        flat({"tag": "markdown", "content": f"**/doc** [Quarterly plan]({LINK})"}),
        flat({"tag": "md", "text": f"/doc <{LINK}>"}),
        flat({"tag": "at", "user_id": world.tenant.app.bot_open_id}, words(" /doc "), named("Plan")),
    ]
    for content in said:
        await world.answer_to(await post(world, world.sam, content), "Welcome to Helper")
    assert read_documents(world)[before:] == [WELCOME] * len(said)
    # In a text message the platform itself writes a link under a name as Markdown does.
    await world.answer_to(
        await world.say(world.sam, f"/doc [Launch plan]({LINK[: -len(WELCOME)]}{PLAN})"), "Launch plan"
    )
    asked = await post(world, world.sam, flat(words("/doc "), named("Launch home", wiki)))
    await world.fresh_card(world.sam, asked)


async def test_posts_in_the_form_in_which_they_are_sent_are_commands(world: World):
    await world.start()
    await world.authorized(world.sam, "/task first")
    await world.authorized(world.wei, "/agenda")
    today, me = flat(words("/agenda 今天")), flat(words("/me"))
    await world.answer_to(await post(world, world.wei, {"zh_cn": today}), "今天")
    await world.answer_to(await post(world, world.wei, {"en_us": me, "zh_cn": today}), "今天")
    await world.answer_to(await post(world, world.sam, {"zh_cn": today, "en_us": me}), world.sam.name)
    await world.answer_to(await post(world, world.sam, {"ja_jp": flat(words("/me"))}), world.sam.name)
    bot = {"tag": "at", "user_id": world.tenant.app.bot_open_id}
    asked = await post(world, world.sam, {"zh_cn": flat(bot, words(" /me"))}, world.group)
    await world.answer_to(asked, world.sam.name)
    code = {"tag": "code_block", "language": "TEXT", "text": "/task from a block of code"}
    smile, image = {"tag": "emotion", "emoji_type": "SMILE"}, {"tag": "img", "image_key": "img_1"}
    await world.answer_to(await post(world, world.sam, flat(image, smile, code)), "Task created")
    await world.answer_to(
        await post(world, world.sam, flat(words("/task Read "), named("the plan"))), "Task created"
    )
    assert titles(world)[-2:] == ["from a block of code", f"Read [the plan]({LINK})"]


# --- typing ---------------------------------------------------------------------------------------------


async def test_what_cannot_be_seen_around_a_command_does_not_matter(world: World):
    await world.start()
    await world.authorized(world.sam, "/task first")
    for said in (
        "\u200b/task {}",
        "\ufeff/\u2060ta\u200bsk\u200e {}",
        "\u200e\u200f/task\u00a0{}",
        "/task\u200b\u00a0\u2060{}\u200b",
        "\u00ad/task\u202f{}",
        "／task\u3000{}",
        "/\u2063task\u2007{}\u061c",
        "\u2068/task {}\u2069",
    ):
        await world.answer_to(await world.say(world.sam, said.format(FAMILY)), "Task created")
        assert titles(world)[-1] == FAMILY


@pytest.mark.parametrize("person", ["sam", "wei"])
async def test_a_command_is_understood_as_keyboards_write_it(world: World, person: str):
    await world.start()
    asker = getattr(world, person)
    await world.authorized(asker, "/agenda")
    tomorrow = world.requests("/events")
    for said in (
        "／agenda 明天",
        "、agenda　明天",
        "/agenda明天",
        "/ agenda 明天。",
        "/agenda：明天",
        "agenda: tomorrow",
        "“/agenda” “明天”",
        "`/agenda tomorrow`",
        "／ＡＧＥＮＤＡ　ｔｏｍｏｒｒｏｗ！",
        "/agenda <tomorrow>",
        "/agenda 《明日》",
        "/agenda [tomorrow]?",
    ):
        await world.answer_to(await world.say(asker, said), "明天" if person == "wei" else "Tomorrow")
    assert len(world.requests("/events")) == len(tomorrow) + 12
    for said in ("/help。", "help!", "／permissions，", "/cancel…", "Me。", "/me？"):
        asked = await world.say(asker, said)
        await world.answer_to(asked)
        call = world.only("deferred_calls", message_id=asked)
        assert call["command"] == said.strip("／/。！!，…？").lower()


async def test_a_document_is_found_however_its_link_is_written(world: World):
    await world.start()
    await world.authorized(world.sam, f"/doc {LINK}")
    before = len(read_documents(world))
    bare = LINK.removeprefix("https://")
    said = [
        f"/doc {LINK}请看一下",
        f"/doc <{LINK}>",
        f"/doc 《{LINK}》",
        f"/doc {bare}",
        f"/doc 链接{bare}，谢谢",
        f"/doc{LINK}",
        f"/doc：{LINK}？from=copy",
        f"/doc “{LINK}”。",
        f"/doc see https://example.com/a and ({LINK}).",
        f"/doc /docx/{WELCOME}",
        f"/doc <{WELCOME}>",
        f"/doc {WELCOME}请看一下",
        f"doc: {LINK}#part（必读）",
    ]
    for text in said:
        await world.answer_to(await world.say(world.sam, text), "Welcome to Helper")
    assert read_documents(world)[before:] == [WELCOME] * len(said)


async def test_a_call_is_understood_as_keyboards_write_it(world: World):
    await world.start()
    await world.authorized(world.sam, "/task first")
    path = "/open-apis/task/v2/tasks"
    for number, said in enumerate(
        (
            "／call　POST　{path}　{{“summary”：“{title}”}}",
            "/call：post {path} ｛“summary”：“{title}”｝",
            "“/call POST {path} {{＂summary＂: “{title}”}}”",
            '/call ＰＯＳＴ “{path}” {{"summary"："{title}"}}',
        )
    ):
        title = f"“{number}”，好：的" if number == 3 else f"第{number}，好：的"
        asked = await world.say(world.sam, said.format(path=path, title=title))
        await world.answer_to(asked, "POST")
        assert titles(world)[-1] == title
    await world.answer_to(await world.say(world.sam, "/call GET /open-apis/authen/v1/user_info。"), "open_id")


async def test_scopes_are_understood_as_keyboards_write_them(world: World):
    await world.start()
    said = "／authorize　“task：task：read”，`calendar:calendar:readonly`；docx:document:readonly。"
    card = await world.fresh_card(world.sam, await world.say(world.sam, said))
    for scope in ("task:task:read", "calendar:calendar:readonly", "docx:document:readonly"):
        assert scope in text_of(card.content)


# --- everyone -------------------------------------------------------------------------------------------


async def test_a_mention_of_everyone_beside_the_bots_is_no_part_of_the_command(world: World):
    await world.start()
    await world.authorized(world.sam, "/task first")
    for how in ("listed", "unlisted"):
        asked = await world.say(world.sam, f"/task {how}", world.group, mention_all=how)
        await world.answer_to(asked, "Task created")
        assert titles(world)[-1] == how
        # Wherever it stands, and named where a text is wanted.
        for content, command in (
            ({"text": "@_user_1 @_all /me"}, "me"),
            ({"text": "@_all\u00a0@_user_1 @_all /help"}, "help"),
            ({"text": f"@_user_1 /doc {LINK} @_all"}, "doc"),
            ({"text": "@_user_1 /call GET /open-apis/authen/v1/user_info @_all"}, "call"),
        ):
            asked = await world.say(world.sam, "", world.group, content=content, mention_all=how)
            await world.until(
                lambda asked=asked, command=command: world.count(
                    "deferred_calls", message_id=asked, command=command
                ),
                command,
            )
        content = {"text": "@_user_1 /task tell @_all tomorrow"}
        asked = await world.say(world.sam, "", world.group, content=content, mention_all=how)
        await world.answer_to(asked, "Task created")
        assert titles(world)[-1] == f"tell @{'所有人' if how == 'listed' else 'all'} tomorrow"
        at = {"tag": "at", "user_id": "all", "user_name": "Everyone"}
        bot = {"tag": "at", "user_id": "@_user_1", "user_name": "Helper"}
        content = flat(at, words(" "), bot, words(" /task from rich text"))
        asked = await world.say(
            world.sam, "", world.group, content=content, message_type="post", mention_all=how
        )
        await world.answer_to(asked, "Task created")
        assert titles(world)[-1] == "from rich text"


async def test_a_mention_of_everyone_alone_is_not_for_the_bot(world: World):
    await world.start()
    for how in ("listed", "unlisted"):
        for text in ("/tasks", "hello", "/help"):
            said = await world.control(
                "messages",
                person=world.sam.open_id,
                text=text,
                chat_id=world.group.chat_id,
                mention_all=how,
            )
            assert said["event_id"], "the platform delivers it"
            event = said["event_id"]
            await world.until(
                lambda event=event: world.tenant.events[event].acknowledged, "its acknowledgement"
            )
    # What was said afterwards is answered, and nothing before it.
    await world.answer_to(await world.say(world.sam, "/help", world.group))
    assert world.count("deferred_calls") == 1

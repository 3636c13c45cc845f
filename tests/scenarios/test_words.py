"""What people read: greetings and unknown words, usage in their language, documents as they look, cards at a glance."""

from __future__ import annotations

import re
from typing import Any

from bot.sandbox.lark.sample_work_data import PLAN, WELCOME

from .card_content import kinds_of_buttons, text_of, within
from .world import World

EN, ZH = "en_us", "zh_cn"


def lines(content: Any, locale: str) -> list[str]:
    """A rich-text answer as its reader sees it: its title, if it has one, and its lines."""
    post = content[locale]
    shown = ["".join(each["text"] for each in paragraph) for paragraph in post["content"]]
    return [post["title"], *shown] if post["title"] else shown


async def test_a_greeting_gets_the_welcome_wherever_it_is_said(world: World):
    await world.start()
    for said in ("早上好！", "Hey there 👋", "您好，小助手", "GOOD EVENING", "hola"):
        for chat in (None, world.group):
            answer = await world.answer_to(await world.say(world.wei, said, chat))
            assert lines(answer.content, EN)[0] == "Hello!", said
            assert lines(answer.content, ZH)[-1] == "发送 /help 查看全部命令。", said


async def test_an_unknown_word_gets_one_line(world: World):
    await world.start()
    for said in ("报销流程", "xyzzy", "/nosuch thing", "hello, could you book me a flight"):
        answer = await world.answer_to(await world.say(world.sam, said))
        for locale in (EN, ZH):
            (line,) = lines(answer.content, locale)
            assert said in line
            assert "/help" in line
    answer = await world.answer_to(await world.say(world.sam, "/agneda"))
    assert lines(answer.content, EN) == ['Sorry, I don\'t know "/agneda". Did you mean /agenda?']
    assert lines(answer.content, ZH) == ["暂不支持“/agneda”，你是不是想发送 /agenda？"]


USAGE = {
    "/task": ("/task TITLE", "/task 标题"),
    "/doc": ("/doc LINK-OR-TOKEN", "/doc 链接"),
    "/search": ("/search WORDS", "/search 关键词"),
    "/call": ("/call METHOD PATH [JSON]", "/call 方法 路径 [JSON]"),
    "/authorize": ("/authorize SCOPE…", "/authorize 权限标识…"),
    "/agenda whenever": ("/agenda [today|tomorrow|week]", "/agenda [今天|明天|本周]"),
}


async def test_usage_is_told_in_the_readers_language(world: World):
    await world.start()
    everything = await world.answer_to(await world.say(world.sam, "/help"))
    for said, (english, chinese) in USAGE.items():
        answer = await world.answer_to(await world.say(world.sam, said))
        assert english in lines(answer.content, EN)
        assert chinese in lines(answer.content, ZH)
        assert any(line.startswith(f"{english} – ") for line in lines(everything.content, EN))
        assert any(line.startswith(f"{chinese} – ") for line in lines(everything.content, ZH))


WRITTEN = """Team handbook

## Before you start
- Read the [plan](https://corp.feishu.cn/docx/doxcnPlan)
  - and **what changed**
- Ask [a stranger](https://elsewhere.example/page)

1. First
2. Second

[x] Done
[ ] Not done

> Slow is smooth.

```
make test
  make ship
```
"""


async def test_a_document_keeps_its_headings_lists_and_links(world: World):
    world.tenant.work.documents[WELCOME].text = WRITTEN
    await world.start()
    asked = await world.say(world.sam, f"/doc https://corp.feishu.cn/docx/{WELCOME}")
    await world.consent(world.sam, await world.fresh_card(world.sam, asked))
    answer = await world.answer_to(asked, "Team handbook")
    assert lines(answer.content, EN)[:-1] == [
        "Team handbook",
        "Before you start",
        "• Read the plan",
        "\u2003• and what changed",
        "• Ask a stranger (elsewhere.example)",
        "1. First",
        "2. Second",
        "☑ Done",
        "☐ Not done",
        "│ Slow is smooth.",
        "make test\n  make ship",
    ]
    pieces = [each for paragraph in answer.content[EN]["content"] for each in paragraph]
    assert {"tag": "a", "text": "plan", "href": "https://corp.feishu.cn/docx/doxcnPlan"} in pieces
    bold = [each["text"] for each in pieces if each.get("style") == ["bold"]]
    assert bold == ["Before you start", "what changed"]
    assert [each["tag"] for each in pieces].count("code_block") == 1


async def test_a_search_shows_what_was_found_in_each_document(world: World):
    await world.start()
    for words, snippet in (
        ("rehearsal", "Dress rehearsal with the support team (Sam). Tomorrow."),
        ("DEPOSIT", "The hotel for the launch party wants a deposit, which is in the budget."),
        ("bibimbap", "Thursday: bibimbap"),
    ):
        asked = await world.say(world.sam, f"/search {words}")
        if words == "rehearsal":
            await world.consent(world.sam, await world.fresh_card(world.sam, asked))
        answer = await world.answer_to(asked, "Results for")
        assert snippet in lines(answer.content, EN)


async def test_a_card_is_a_sentence_a_list_a_button_and_a_grey_line(world: World):
    await world.start()
    asked = await world.say(world.sam, f"/doc {PLAN}")
    first = await world.fresh_card(world.sam, asked)
    sentence, scopes, button, controls, promise = first.content["body"]["elements"]
    assert sentence["content"] == "To run **/doc** as you, I need:"
    assert sentence["i18n_content"][ZH] == "以你的身份执行 **/doc** 需要以下权限："
    assert re.fullmatch(r"• \*\*[^\n]+\*\* · docx:document:readonly", scopes["content"])
    assert kinds_of_buttons(first) == {"Authorize": "primary", "Not now": "default"}
    assert (button["tag"], controls["tag"]) == ("button", "column_set")
    assert {each["size"] for each in within(controls) if each.get("tag") == "button"} == {"small"}
    # Only markdown can hold the client's local time; in plain text the element would be shown as it is written.
    grey = promise
    assert (grey["tag"], grey["text_size"]) == ("markdown", "notation")
    clock = r"</font>(<local_datetime [^>]*></local_datetime> ?){2}<font color='grey'>"
    assert re.search(
        rf"^<font color='grey'>.*Expires {clock} · /revoke undoes it any time\.", grey["content"]
    )
    assert re.search(rf"请在{clock} 前完成", grey["i18n_content"][ZH])
    assert text_of(first.content).count("offline_access") == 3  # The text, and in two languages.
    assert "offline_access" in grey["content"]

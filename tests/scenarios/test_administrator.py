"""What only an administrator can fix: who is told what, whose clicks count, and how everybody goes on."""

from __future__ import annotations

import asyncio
import os
import re
from datetime import timedelta
from html import unescape
from typing import Any

import pytest

from bot.sandbox.lark.scopes import SCOPES
from bot.sandbox.lark.tenant import Message, Person
from tests.bot_process import REPOSITORY

from .card_content import actions_on, has_link, text_of, value_on
from .world import World, forged_click

TASKS = ("task:task:read", "task:task:write")


async def without(world: World, *scopes: str, pending: bool = False) -> None:
    for scope in scopes:
        await world.control("app-scopes", scope=scope, user=False, pending=pending)


async def told(world: World, *words: str) -> Message:
    """The administrator's card, once it says all of this."""

    def found() -> Message | None:
        cards = [m for m in world.from_bot(world.direct(world.ada)) if m.msg_type == "interactive"]
        return next((m for m in cards if all(word in text_of(m.content) for word in words)), None)

    card: Message = await world.until(found, f"a card with {words}")
    return card


def toast_of(clicked: Any) -> str:
    return str(clicked["response"]["toast"]["content"])


async def through(world: World, person: Person, asked: str) -> None:
    """The person's own consent, and the answer after it."""
    await world.consent(person, await world.fresh_card(person, asked))
    await world.until(
        lambda: any(
            m.reply_to == asked and "administrator" not in text_of(m.content)
            for m in world.from_bot(world.direct(person), asked)
        ),
        "the answer",
    )


async def test_one_card_names_everybody_who_waits_and_says_when_it_is_done(world: World):
    await world.start()
    await without(world, *TASKS)
    first = await world.say(world.sam, "/tasks")
    card = await told(world, "/tasks", "task:task:read")
    second = await world.say(world.wei, "/tasks")
    await world.answer_to(second, "administrator")
    changed = await told(world, world.sam.open_id, world.wei.open_id)
    assert changed.message_id == card.message_id
    assert "apply" not in actions_on(changed)
    await world.control("app-scopes", scope="task:task:read", user=True)
    await through(world, world.sam, first)
    await through(world, world.wei, second)
    done = await told(world, "Waiting requests are being continued")
    assert done.message_id == card.message_id
    assert actions_on(done) == []
    assert len(world.from_bot(world.direct(world.ada))) == 1


async def test_an_update_that_the_answer_to_a_click_undid_is_made_again(world: World):
    """The wait ends, and the card says so, while the platform waits for the answer to a click on it."""
    await world.start()
    await without(world, *TASKS)
    asked = await world.say(world.sam, "/tasks")
    card = await told(world, "/tasks")
    waiting, pressed = card.content, value_on(card, "check_again")
    await world.control("app-scopes", scope="task:task:read", user=True)
    await through(world, world.sam, asked)
    await told(world, "Waiting requests are being continued")
    await world.drawn()
    await forged_click(world, world.ada, pressed)
    card.content = waiting
    await told(world, "Waiting requests are being continued")


async def test_the_card_does_not_name_people_who_no_longer_wait(world: World):
    await world.start(BOT_DEFERRED_TTL="15")
    await without(world, *TASKS)
    first = await world.say(world.sam, "/tasks")
    await world.answer_to(first, "administrator")
    await world.say(world.wei, "/tasks")
    card = await told(world, world.sam.open_id, world.wei.open_id)
    await world.say(world.sam, "/cancel")
    await world.until(lambda: world.sam.open_id not in text_of(card.content), "a card without Sam")
    assert world.wei.open_id in text_of(card.content)
    await world.until(lambda: "No longer needed" in text_of(card.content), "expiry", patience=40)
    assert actions_on(card) == []
    await world.say(world.sam, "/tasks")
    await world.until(lambda: world.sam.open_id in text_of(card.content), "Sam, who asks again")
    assert "check_again" in actions_on(card)
    assert len(world.from_bot(world.direct(world.ada))) == 1


async def test_a_card_that_can_no_longer_be_updated_is_followed_by_another_for_new_waiters(world: World):
    await world.start()
    await without(world, *TASKS)
    await world.say(world.sam, "/tasks")
    old = await told(world, world.sam.open_id)
    old.sent_at -= timedelta(days=15).total_seconds()
    await world.say(world.sam, "/cancel")
    asked = await world.say(world.wei, "/tasks")
    await world.answer_to(asked, "administrator")
    fresh = await told(world, world.wei.open_id)
    assert fresh.message_id != old.message_id
    await world.control("app-scopes", scope="task:task:read", user=True)
    await through(world, world.wei, asked)
    assert (await told(world, "Waiting requests are being continued")).message_id == fresh.message_id
    assert len(world.from_bot(world.direct(world.ada))) == 2


async def test_what_cannot_be_a_scope_reaches_no_administrator(world: World):
    await world.start()
    for nonsense in ("NONSENSE", "nonsense", "everything:", ":read", "task:Task:read"):
        await world.answer_to(await world.say(world.sam, f"/authorize {nonsense}"), "isn't a scope")
    assert world.count("scope_waits") == 0
    assert world.from_bot(world.direct(world.ada)) == []


async def test_the_platform_is_asked_to_ask_by_an_administrator_and_by_nobody_else(world: World):
    await world.start()
    await without(world, *TASKS, pending=True)
    await world.say(world.sam, "/tasks")
    card = await told(world, "/tasks")
    assert "apply" in actions_on(card)
    await forged_click(world, world.sam, value_on(card, "apply"))
    assert not world.tenant.app.applied_for_scopes
    assert "have been asked" in toast_of(await world.click(world.ada, card, "apply"))
    assert world.tenant.app.applied_for_scopes
    assert "already been asked" in toast_of(await world.click(world.ada, card, "apply"))
    (audited, _) = world.rows("SELECT user_key FROM audit_log WHERE action = 'scopes_applied_for'")
    assert world.ada.open_id in audited["user_key"]


async def test_the_administrators_hear_of_it_though_the_bot_died_before_it_told_them(world: World):
    await world.start()
    await without(world, *TASKS)
    await world.trouble({"path": "/open-apis/im/v1/messages"}, "delay", seconds=30)
    await world.say(world.sam, "/tasks")
    await world.until(lambda: world.count("scope_waits"), "somebody who waits")
    await world.kill()
    await world.lift()
    await world.start()
    await world.until(lambda: world.from_bot(world.direct(world.ada)), "the administrator's card", 45)


async def waits_by_its_card(world: World) -> tuple[str, Message]:
    """Sam's question, and his card, which says that it waits for the administrator."""
    asked = await world.say(world.sam, "/search welcome")
    card = await world.fresh_card(world.sam, asked)
    await world.see_page_error(card)
    await without(world, "search:docs:read")
    await world.report_page_error(world.sam, card)
    waiting = world.tenant.messages[card.message_id]
    await world.until(lambda: "cancel" in actions_on(waiting), "the card that waits")
    return asked, waiting


async def test_what_waits_for_the_administrator_is_cancelled_on_its_card(world: World):
    await world.start()
    asked, card = await waits_by_its_card(world)
    await forged_click(world, world.wei, value_on(card, "cancel"))
    assert "cancel" in actions_on(card)
    await world.click(world.sam, card, "cancel")
    await world.answer_to(asked, "cancelled")
    await world.until(lambda: "Not authorized" in text_of(card.content), "the card's last face")
    await world.control("app-scopes", scope="search:docs:read", user=True)
    call = world.only("deferred_calls", command="search")
    assert (call["status"], call["outcome"]) == ("cancelled", "cancelled_by_user")


async def test_a_card_that_waits_for_the_administrator_shows_that_its_call_was_cancelled_or_expired(
    world: World,
):
    await world.start()
    asked, card = await waits_by_its_card(world)
    await world.say(world.sam, "/cancel")
    await world.answer_to(asked, "cancelled")
    await world.until(lambda: "Not authorized" in text_of(card.content), "the cancelled card")
    await world.control("app-scopes", scope="search:docs:read", user=True)
    asked, card = await waits_by_its_card(world)
    await world.expires(card)
    assert not [
        m for m in world.tenant.messages.values() if m.reply_to == asked and "expired" in text_of(m.content)
    ]
    await world.click(world.sam, card, "retry_expired")
    await world.until(lambda: world.count("deferred_calls", command="search") == 3, "a third run")


async def test_a_link_never_leads_to_a_page_for_a_scope_that_the_app_has_lost(world: World):
    await world.start()
    asked = await world.say(world.sam, "/tasks")
    card = await world.fresh_card(world.sam, asked)
    await without(world, "task:task:read")
    status, target, _ = await world.get(world.link_of(card))
    assert status == 302
    assert "task%3Atask%3Awrite" in target
    assert "task%3Atask%3Aread" not in target
    await without(world, "task:task:write")
    # The list that the last opening has read serves others for some seconds.
    deadline = asyncio.get_running_loop().time() + 10
    while (opened := await world.get(world.link_of(card)))[0] == 302:
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.6)
    assert "administrator" in opened[2]
    await world.until(lambda: not has_link(world.tenant.messages[card.message_id]), "the card without a link")
    await told(world, "/tasks")
    await world.control("app-scopes", scope="task:task:write", user=True)
    await world.until(lambda: has_link(world.tenant.messages[card.message_id]), "the link")
    await through(world, world.sam, asked)


@pytest.mark.slow
async def test_the_list_of_scopes_is_left_alone_once_nobody_waits_for_it(world: World):
    await world.start(BOT_DEFERRED_TTL="8")
    await without(world, *TASKS)
    asked = await world.say(world.sam, "/tasks")
    await told(world, "/tasks")

    def looks() -> int:
        return len(world.requests("/application/v6/scopes"))

    before = looks()
    await world.until(lambda: looks() > before, "a look at the list while somebody waits")
    await world.say(world.sam, "/cancel")
    # It may have expired before.
    await world.until(lambda: world.status_of(asked) in {"cancelled", "expired"}, "the end of the call")
    await asyncio.sleep(8 + 20 + 5)
    before = looks()
    await asyncio.sleep(6)
    assert looks() == before


async def test_one_person_cannot_flood_the_administrators(world: World):
    """Each scope that the app has applied for, and not got, was a card for each administrator."""
    enabled = world.tenant.app.enabled_scopes("user")
    pending = [scope for scope, about in SCOPES.items() if about.user and scope not in enabled][:16]
    await without(world, *pending, pending=True)
    await world.start()
    asked = [await world.say(world.sam, f"/authorize {scope}") for scope in pending[:15]]
    for each in asked[:10]:
        await world.answer_to(each, "Waiting for your administrator", patience=60)
    for each in asked[10:]:
        await world.answer_to(each, "please ask an administrator directly", patience=60)

    def cards() -> list[Message]:
        return [m for m in world.from_bot(world.direct(world.ada)) if m.msg_type == "interactive"]

    await world.until(lambda: len(cards()) == 10, "ten cards")
    again = await world.say(world.sam, f"/authorize {pending[3]}")
    await world.answer_to(again, "Waiting for your administrator")
    other = await world.say(world.wei, f"/authorize {pending[15]}")
    await world.answer_to(other, "等待管理员开通")
    await world.until(lambda: len(cards()) == 11, "another person's card")


async def test_the_card_tells_method_and_path_of_a_call_and_nothing_else_of_it(world: World):
    """Users who wait are mentioned by id, so that the client shows their names."""
    await world.start()
    await world.authorized(world.sam, "/me")
    for said, shown, scope in (
        (
            "/call GET /open-apis/mail/v1/user_mailboxes/me/messages?page_size=5",
            "",
            "mail:user_mailbox.message:readonly",
        ),
        (
            '/call post /open-apis/mail/v1/user_mailboxes/me/messages/send {"subject": "my secret"}',
            "/call POST /open-apis/mail/v1/user_mailboxes/me/messages/send",
            "mail:user_mailbox.message:send",
        ),
        (
            "/call GET /open-apis/minutes/v1/minutes/obcnweekly5t8q2m1z7x4c?user_id_type=open_id",
            "/call GET /open-apis/minutes/v1/minutes/obcnweekly5t8q2m1z7x4c",
            "minutes:minutes.basic:read",
        ),
        ("/search my secret", "/search", "search:docs:read"),
    ):
        for each in ("minutes:minutes", "minutes:minutes:readonly", scope):
            await without(world, each)
        asked = await world.say(world.sam, said)
        await world.answer_to(asked, "administrator")
        card = await told(world, scope, f"<at id={world.sam.open_id}></at>")
        for locale in ("en_us", "zh_cn"):
            sentence = card.content["body"]["elements"][0]["i18n_content"][locale]
            command = re.search(r"\*\*(.*)\*\*", sentence)
            assert command is not None
            assert unescape(command[1]) == (shown or said.partition("?")[0])
        assert "secret" not in text_of(card.content)
        await world.answer_to(await world.say(world.sam, "/cancel"))


@pytest.mark.parametrize(
    "scope",
    ["made:up.1", "calendar:calender:readonly", "task:task:red", "docx:documents", "im:message:send_as_bot"],
)
async def test_what_does_not_exist_reaches_no_administrator(world: World, scope: str):
    """It looks like a scope; the platform has no such one for users."""
    await world.start()
    for typed in (scope, f"task:task:read {scope}"):
        answer = await world.answer_to(await world.say(world.sam, f"/authorize {typed}"), scope)
        assert "doesn't list" in text_of(answer.content)
        assert "权限列表中没有" in text_of(answer.content)
        assert "task:task:read" not in text_of(answer.content)
    assert world.count("scope_waits") == 0
    assert world.from_bot(world.direct(world.ada)) == []
    await world.authorized(world.sam, "/authorize task:task:read")


WRONG = """
from bot.commands import ApiCall, Reply, Words, all_of, any_of, command

def make(name, needs):
    @command(name, summary=Words("x", "x"), needs=needs)
    def run(ask):
        yield ApiCall("GET", "/open-apis/task/v2/tasks", {"page_size": "1"})
        return Reply(Words("Done", "Done"))
    return run

wrong = make("wrong", any_of("task:task:red"))
half = make("half", all_of("docx:document:readonly", any_of("calender:calender:readonly")))
either = make("either", any_of("task:tasks:read", "mail:user_mailbox.message:readonly"))
"""


async def test_a_scope_that_a_command_names_wrongly_reaches_no_administrator(world: World):
    package = world.directory / "wrong_scopes"
    package.mkdir()
    (package / "wrong_scopes.py").write_text(WRONG)
    metadata = package / "wrong_scopes-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: wrong-scopes\nVersion: 1\n")
    entries = "\n".join(f"{name} = wrong_scopes:{name}" for name in ("wrong", "half", "either"))
    (metadata / "entry_points.txt").write_text(f"[bot.commands]\n{entries}\n")
    world.settings["PYTHONPATH"] = os.pathsep.join([str(REPOSITORY), str(package)])
    await world.start()
    for name, scope in (("wrong", "task:task:red"), ("half", "calender:calender:readonly")):
        answer = await world.answer_to(await world.say(world.sam, f"/{name}"), scope)
        assert "can't be run" in text_of(answer.content)
        assert "无法执行" in text_of(answer.content)
    assert world.count("scope_waits") == 0
    assert "does not list" in (world.directory / "bot.log").read_text()
    # Of alternatives the one that exists is asked for.
    asked = await world.say(world.sam, "/either")
    await world.answer_to(asked, "Waiting for your administrator")
    card = await told(world, "mail:user_mailbox.message:readonly")
    assert "task:tasks:read" not in text_of(card.content)


async def test_what_the_platform_names_in_a_refusal_exists(world: World):
    """Whether or not any list has it."""
    await world.start()
    await world.authorized(world.sam)
    msg = "Access denied. One of the following scopes is required: [brand:new.thing:read]"
    await world.trouble(
        {"path": "/open-apis/task"}, "status", status=400, body={"code": 99991672, "msg": msg}
    )
    asked = await world.say(world.sam, "/call GET /open-apis/task/v2/tasks")
    await world.answer_to(asked, "administrator")
    await told(world, "brand:new.thing:read")

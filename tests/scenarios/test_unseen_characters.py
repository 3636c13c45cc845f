"""Control and format characters in what people and the platform send: neither stored nor printed."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import unicodedata
from collections.abc import Iterator

from .card_content import text_of
from .world import World

ODD = "\x1b[31m\x07\x9b2J\u202e\u2066\u200b\ufeff\u200d\U000e0068\u3164\u180b\u180f"
"""Colours, a bell, the reading direction, what has no width, and what looks like nothing at all."""
SENDING = {"path": "/open-apis/im/v1/messages"}
NEEDED = "می\u200cخواهم 👩\u200d💻 葛\U000e0100"


def unseen(text: str) -> set[str]:
    """What of a text a terminal obeys or nobody sees, beside line ends and tabs, and what `NEEDED` holds."""
    found = {
        each
        for each in text
        if unicodedata.category(each) in {"Cc", "Cf", "Cs", "Zl", "Zp"} or each in "\u3164\u180b\u180f"
    }
    return found - set("\n\t" + NEEDED)


def every_text(world: World) -> Iterator[tuple[str, str]]:
    """Every text in the bot's database, as a database shell prints it."""
    with contextlib.closing(sqlite3.connect(f"file:{world.database}?mode=ro", uri=True)) as connection:
        tables = [
            name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        for table in tables:
            for row in connection.execute(f"SELECT * FROM {table}"):
                yield from ((table, value) for value in row if isinstance(value, str))


async def test_what_nobody_sees_is_not_stored(world: World):
    await world.start()
    sam, wei = world.sam, world.wei
    await world.control("people", open_id=sam.open_id, name=f"Sam{ODD} {NEEDED}")
    await world.control("people", open_id=wei.open_id, name=f"{ODD}Wei{ODD}")
    await world.authorized(sam, f"/task {ODD}one\ntwo {NEEDED}{ODD}")
    await world.answer_to(await world.say(sam, f"nonsense{ODD} of mine {NEEDED}"), "Sorry, I don't know")
    # A call that waits: what its user wrote is erased when it ends.
    await world.fresh_card(wei, await world.say(wei, f"/task {ODD}one\ntwo {NEEDED}{ODD}"))
    for said in (
        "/task",
        "/search",
        "/doc",
        "/authorize",
        '/call POST /open-apis/task/v2/tasks {"summary":"',
    ):
        await world.say(sam, f'{said} {ODD}@_user_2{ODD}"}}', world.group, mentioning=[wei])
    # What the platform says of a message that it does not take is stored with the message.
    refusal = await world.trouble(SENDING, "status", status=400, code=230001, msg=f"no{ODD}!")
    await world.say(sam, "/help")
    await world.until(
        lambda: world.rows("SELECT 1 FROM outgoing_messages WHERE reason LIKE '%no%!%'"), "a reason"
    )
    await world.lift(refusal)
    await world.until(
        lambda: not world.count("deferred_calls", status=("queued", "running")),
        "the end",
    )
    kept = list(every_text(world))
    assert [(table, text) for table, text in kept if unseen(text)] == []
    assert ("users", f"Sam[31m2J {NEEDED}") in kept, "what a script or an emoji needs stays"
    assert any(text == f"[31m2Jone\ntwo {NEEDED}[31m2J" for _, text in kept), "and so do line ends"


async def test_what_nobody_sees_is_not_printed_either(world: World):
    """What an earlier version has stored is still there."""
    await world.start()
    asked = await world.authorized(world.sam)
    world.change(f"UPDATE users SET name = 'Sam{ODD}' WHERE name IS NOT NULL")
    world.change(f"UPDATE deferred_calls SET outcome = 'answered{ODD}' WHERE message_id = '{asked}'")
    world.change(f"UPDATE authorization_requests SET reasons = '{json.dumps([f'/tasks{ODD}'])}'")
    for question in (
        ("users",),
        ("calls",),
        ("requests",),
        ("audit",),
        ("status",),
        ("explain", world.sam.open_id),
    ):
        for form in ((), ("--json",)):
            code, told, complained = await world.cli(*question, *form)
            assert code == 0, complained
            assert not unseen(told.replace("\r", "")), (question, form)
            assert not unseen(complained)
            if question[0] in {"users", "explain"}:
                name = f"Sam{ODD}" if form else "Sam\\x1b[3"
                assert name in (text_of(json.loads(told)) if form else told), "it is spelled out"
    code, told, complained = await world.cli("explain", f"nobody{ODD}")
    assert code == 1
    assert not unseen(told + complained)
    code, told, complained = await world.cli("revoke", f"nobody{ODD}")
    assert code == 1
    assert not unseen(told + complained)
    assert not unseen((world.directory / "bot.log").read_text())


async def test_doctor_and_the_log_spell_out_what_the_platform_says(world: World):
    await world.start()
    bot = {"path": "/open-apis/bot/v3/info"}
    await world.trouble(bot, "status", status=400, code=99991, msg=f"no bot{ODD}!")
    await world.trouble(SENDING, "status", status=400, code=230001, msg=f"no message{ODD}!")
    _, told, complained = await world.cli("doctor")
    assert "no bot[31m2J!" in told
    assert not unseen(told + complained)
    await world.say(world.sam, "/help")
    log = world.directory / "bot.log"
    await world.until(lambda: "no message" in log.read_text(), "a line in the log")
    assert not unseen(log.read_text())


# --- what is no command ------------------------------------------------------------------------------------


async def test_only_the_part_of_a_non_command_that_the_answer_repeats_is_stored(world: World):
    await world.start()
    # What is stored is erased when the call ends: this keeps it.
    world.change("CREATE TABLE stored (arguments TEXT)")
    world.change(
        "CREATE TRIGGER keep AFTER INSERT ON deferred_calls "
        "BEGIN INSERT INTO stored VALUES (NEW.arguments); END"
    )
    secret = "my bank card is 4711 and my diagnosis is private"
    said = f"dear diary, today I thought for a long time about many things: {secret}"
    answer = await world.answer_to(await world.say(world.sam, said), "Sorry, I don't know")
    [stored] = [row["arguments"] for row in world.rows("SELECT arguments FROM stored")]
    assert stored == f"{said[:59].rstrip()}…"
    assert stored in text_of(answer.content)
    assert world.only("deferred_calls")["arguments"] == ""
    # The word of a command that takes nothing else, and of one that takes but a word.
    for word in ("help", "Me", "tasks", "Agenda", "permissions", "cancel", "revoke"):
        asked = await world.say(world.sam, f"{word} thoughts that are nobody's business, {secret}")
        await world.until(lambda asked=asked: world.count("deferred_calls", message_id=asked), word)
    assert world.count("deferred_calls") == 8
    assert not [text for _, text in every_text(world) if "4711" in text or "business" in text]

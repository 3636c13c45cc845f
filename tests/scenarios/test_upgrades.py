"""From the release before the proofs to this one, by `bot run` and `bot db upgrade`: what waited goes on."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta

from bot.core.secrets import Secret
from bot.store.keyring import Keyring
from tests.store.test_migrations import to_revision

from .card_content import text_of
from .world import World

BEFORE_PROOFS = "0007"


def at(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f")


async def work_of_the_release_before(world: World) -> None:
    """Sam's command is queued, and an answer to Sam is written and not sent."""
    world.database.unlink()
    await asyncio.to_thread(to_revision, f"sqlite+aiosqlite:///{world.database}", BEFORE_PROOFS)
    app, moment, later = world.tenant.app, datetime.now(UTC), datetime.now(UTC) + timedelta(hours=1)
    user = f"lark:{app.app_id}:{app.tenant_key}:{world.sam.open_id}"
    chat = world.direct(world.sam).chat_id
    content = json.dumps({"text": "written before"})
    sealed = Keyring([world.key]).seal(Secret(content), "outgoing_messages:content:m1")
    known = Keyring([world.key]).seal(Secret("These keys open this database."), "key_check:sealed:1")
    rows = {
        "key_check": {"id": 1, "sealed": known},
        "users": {
            "user_key": user, "platform": "lark", "app_id": app.app_id, "tenant_key": app.tenant_key,
            "open_id": world.sam.open_id, "created_at": at(moment), "seen_at": at(moment),
        },
        "deferred_calls": {
            "id": "c1", "user_key": user, "chat_id": chat, "chat_kind": "direct", "message_id": None,
            "command": "help", "arguments": "", "asked_at": at(moment), "received_at": at(moment), "language": "en",
            "status": "queued", "needs": "[]", "consents": 0, "attempts": 0, "runs_after": at(moment),
            "expires_at": at(later), "confirmed": 0, "claim": 0,
        },
        "outgoing_messages": {
            "id": "m1", "user_key": user, "kind": "note", "delivery_key": "m1", "chat_id": chat, "private": 0,
            "content_kind": "text", "content": sealed, "status": "queued", "runs_after": at(moment), "claim": 0,
            "attempts": 0, "created_at": at(moment),
        },
    }  # fmt: skip
    with closing(sqlite3.connect(world.database)) as connection, connection:
        for table, row in rows.items():
            marks = ", ".join("?" * len(row))
            connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", [*row.values()])


async def both_arrive(world: World) -> None:
    def said(words: str) -> bool:
        return any(words in text_of(m.content) for m in world.from_bot(world.direct(world.sam)))

    await world.until(lambda: said("written before"), "the message")
    await world.until(lambda: said("/agenda"), "the answer")
    assert world.statuses("deferred_calls", id="c1") == ["succeeded"]


async def test_bot_run_upgrades_and_goes_on_with_what_waited(world: World):
    await work_of_the_release_before(world)
    await world.start()
    await both_arrive(world)


async def test_bot_db_upgrade_seals_what_waits_with_the_keys_and_changes_nothing_without(world: World):
    await work_of_the_release_before(world)
    revision = "SELECT version_num FROM alembic_version"
    world.settings["BOT_ENCRYPTION_KEYS"] = ""
    code, out, err = await world.cli("db", "upgrade")
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert "BOT_ENCRYPTION_KEYS" in line
    assert world.rows(revision) == [{"version_num": BEFORE_PROOFS}]
    del world.settings["BOT_ENCRYPTION_KEYS"]
    code, _, err = await world.cli("db", "upgrade")
    assert (code, err) == (0, "")
    await world.start(BOT_AUTO_MIGRATE="false")
    await both_arrive(world)

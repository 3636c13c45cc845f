"""The bot as a PostgreSQL role that does not own the tables, set up by the statements of docs/operating.md."""

from __future__ import annotations

import re
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import make_url
from sqlalchemy.exc import DBAPIError

from tests.reused_databases import administer

from .replicas import Replicas
from .world import World

OPERATING = Path(__file__).resolve().parents[2] / "docs" / "operating.md"


def documented() -> list[str]:
    """The statements, in the order in which a reader comes to them."""
    part = re.search(r"<!-- roles -->(.*)<!-- /roles -->", OPERATING.read_text(encoding="utf-8"), re.DOTALL)
    assert part is not None
    blocks = re.findall(r"```sql\n(.*?)```", part[1], re.DOTALL)
    return [line.rstrip(";") for block in blocks for line in block.splitlines()]


async def test_the_documented_role_suffices_for_the_bot_and_for_no_more(
    world: World, postgresql_url: str
) -> None:
    role = f"bot_{uuid4().hex[:8]}"
    for statement in documented():
        administer(postgresql_url, re.sub(r"\bbot\b", role, statement))
    url = make_url(postgresql_url).set(username=role).render_as_string(hide_password=False)
    try:
        async with Replicas(world, url) as replicas:
            await replicas.start(1, BOT_AUTO_MIGRATE="false")
            asked = await world.authorized(world.sam, "/task one")
            assert asked
            await world.answer_to(await world.say(world.sam, "/revoke"))
            assert await replicas.one("SELECT current_user") == role
            assert await replicas.one("SELECT count(*) FROM audit_log") > 5
            for forbidden in (
                "UPDATE audit_log SET action = 'x'",
                "UPDATE api_calls SET path = 'x'",
                "DELETE FROM audit_log",
                "TRUNCATE audit_log",
                "UPDATE audit_retention SET days = 1",
                "DELETE FROM audit_retention",
                "DROP TABLE sessions",
                "ALTER TABLE audit_log DISABLE TRIGGER ALL",
                "UPDATE alembic_version SET version_num = '0001'",
                "UPDATE schema_compatibility SET oldest_revision = '0001'",
                "CREATE TABLE mine (id int)",
            ):
                with pytest.raises(DBAPIError, match=r"permission denied|must be owner|audit_log"):
                    await replicas.rows(forbidden)
            assert await replicas.one("SELECT days FROM audit_retention") == 365
            key = await replicas.one("SELECT user_key FROM users LIMIT 1")
            await replicas.rows(
                f"INSERT INTO audit_erasures (user_key, pseudonym, detail) VALUES ('{key}', '{'p' * 32}', '{{}}')"
            )
            forgotten = "SELECT count(*) FROM audit_log WHERE action = 'user_forgotten'"
            assert await replicas.one(forgotten) == 1, "It may forget a user, but not in silence."
            assert await replicas.one(f"SELECT count(*) FROM audit_log WHERE user_key = '{key}'") == 0
        async with Replicas(world, url) as replicas:
            await replicas.start(1, BOT_AUTO_MIGRATE="false", BOT_AUDIT_RETENTION_DAYS="30")
            assert await replicas.one("SELECT days FROM audit_retention") == 365
            assert "BOT_AUDIT_RETENTION_DAYS has no effect" in world.log_tail()
    finally:
        administer(postgresql_url, f"DROP OWNED BY {role}")
        administer(postgresql_url, f"DROP ROLE {role}")

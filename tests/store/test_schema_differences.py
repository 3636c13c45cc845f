"""Whether the schema of a database is that of its revision, which `bot db check` and every start ask."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from bot.core.errors import DatabaseNotReady
from bot.store import revision
from bot.store.keyring import Keyring, new_key
from bot.store.open_database import check_schema, open_database, upgrade
from bot.store.schema_differences import describe, differences, file_of
from tests.expected_schema import as_text
from tests.store.test_migrations import revisions, to_revision

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = revision.migrations_folder() / "versions"


def execute(url: str, *statements: str) -> None:
    def run(connection: Connection) -> None:
        for statement in statements:
            connection.execute(text(statement))

    revision._in_transaction(url, run, writing=True)


def dialect(url: str) -> str:
    return url.partition("+")[0]


# --- landed revisions --------------------------------------------------------------------------


def test_no_landed_revision_is_changed() -> None:
    """A database that was made before the change would differ from one that was made after it.

    If this fails for a new revision, add its line; if it fails for an old one, write a new revision instead.
    """
    lines = (VERSIONS.parent / "versions.sha256").read_text(encoding="utf-8").splitlines()
    recorded = {line.split("  ")[1]: line.split("  ")[0] for line in lines}
    found = {each.name: hashlib.sha256(each.read_bytes()).hexdigest() for each in VERSIONS.glob("*.py")}
    assert found == recorded
    assert list(recorded) == sorted(recorded)


def test_every_new_revision_says_whether_it_only_adds() -> None:
    scripts = ScriptDirectory.from_config(revision._config())
    new = [each for each in scripts.walk_revisions() if each.revision > "0020"]
    assert [
        each.revision for each in new if not isinstance(getattr(each.module, "expands", None), bool)
    ] == []


# --- the expected schema -----------------------------------------------------------------------


def test_the_expected_schema_is_what_the_migrations_leave(database_url: str) -> None:
    """Write it with `python -m tests.expected_schema`."""
    written = file_of(dialect(database_url)).read_text(encoding="utf-8")
    assert revision._in_transaction(database_url, as_text) == written


def in_schema(table: str, before: str, after: str) -> tuple[str, ...]:
    """Change the text of a table on SQLite, which has no statement for that."""
    quoted = [part.replace("'", "''") for part in (before, after)]
    return (
        "PRAGMA writable_schema = ON",
        f"UPDATE sqlite_master SET sql = replace(sql, '{quoted[0]}', '{quoted[1]}') WHERE name = '{table}'",
    )


LITE, POST = ("sqlite",), ("postgresql",)
BOTH = LITE + POST
CHANGES: list[tuple[str, tuple[str, ...], str, tuple[str, ...]]] = [
    ("a table", BOTH, "table message_reactions is missing.", ("DROP TABLE message_reactions",)),
    ("a column", BOTH, "column users.welcomed_at is missing.", ("ALTER TABLE users DROP COLUMN welcomed_at",)),
    (
        "a type",
        POST,
        "column users.union_id is CHARACTER VARYING(10), not TEXT.",
        ("ALTER TABLE users ALTER COLUMN union_id TYPE varchar(10)",),
    ),
    (
        "a type",
        LITE,
        "column users.union_id is INTEGER, not TEXT.",
        ("ALTER TABLE users DROP COLUMN union_id", "ALTER TABLE users ADD COLUMN union_id INTEGER"),
    ),
    (
        "NOT NULL",
        POST,
        "column sessions.seal is TEXT, not TEXT NOT NULL.",
        ("ALTER TABLE sessions ALTER COLUMN seal DROP NOT NULL",),
    ),
    (
        "NOT NULL",
        LITE,
        "column audit_log.detail is TEXT, not TEXT NOT NULL.",
        in_schema("audit_log", "detail TEXT NOT NULL", "detail TEXT"),
    ),
    (
        "a default",
        POST,
        "column cards.moves is INTEGER NOT NULL, not INTEGER NOT NULL DEFAULT 0.",
        ("ALTER TABLE cards ALTER COLUMN moves DROP DEFAULT",),
    ),
    (
        "a default",
        LITE,
        "column cards.moves is INTEGER NOT NULL DEFAULT '7', not INTEGER NOT NULL DEFAULT '0'.",
        in_schema("cards", "moves INTEGER DEFAULT '0'", "moves INTEGER DEFAULT '7'"),
    ),
    (
        "a rule",
        POST,
        "check grants.ck_grants_status differs.",
        (
            "ALTER TABLE grants DROP CONSTRAINT ck_grants_status",
            "ALTER TABLE grants ADD CONSTRAINT ck_grants_status CHECK (status IN ('active', 'ended', 'x'))",
        ),
    ),
    (
        "a rule",
        LITE,
        "check grants.ck_grants_status differs.",
        in_schema("grants", "status IN ('active', 'ended')", "status IN ('active', 'ended', 'x')"),
    ),
    (
        "a missing rule",
        POST,
        "check sessions.ck_sessions_sealed is missing.",
        ("ALTER TABLE sessions DROP CONSTRAINT ck_sessions_sealed",),
    ),
    (
        "a rule of others",
        BOTH,
        "check users.nobody is unknown.",
        ("ALTER TABLE users ADD COLUMN x TEXT CONSTRAINT nobody CHECK (x <> 'x')",),
    ),
    (
        "a required column of others",
        POST,
        "column users.badge is unknown and has no default.",
        ("ALTER TABLE users ADD COLUMN badge TEXT NOT NULL",),
    ),
    ("an index", BOTH, "index users.ix_users_app is missing.", ("DROP INDEX ix_users_app",)),
    (
        "another index of that name",
        BOTH,
        "index users.ix_users_app differs.",
        ("DROP INDEX ix_users_app", "CREATE UNIQUE INDEX ix_users_app ON users (app, open_id)"),
    ),
    ("a trigger", LITE, "trigger audit_log.audit_log_is_dated is missing.", ("DROP TRIGGER audit_log_is_dated",)),
    (
        "a trigger",
        POST,
        "trigger audit_log.audit_log_is_dated is missing.",
        ("DROP TRIGGER audit_log_is_dated ON audit_log",),
    ),
    (
        "a trigger that is off",
        POST,
        "trigger audit_log.audit_log_is_dated differs.",
        ("ALTER TABLE audit_log DISABLE TRIGGER audit_log_is_dated",),
    ),
    (
        "what a trigger does",
        LITE,
        "trigger audit_log.audit_log_is_kept differs.",
        (
            "DROP TRIGGER audit_log_is_kept",
            "CREATE TRIGGER audit_log_is_kept BEFORE DELETE ON audit_log BEGIN SELECT 1; END",
        ),
    ),
    (
        "what a trigger does",
        POST,
        "trigger audit_log.audit_log_is_guarded differs; trigger audit_log.audit_log_is_not_emptied differs.",
        (
            "CREATE OR REPLACE FUNCTION guard_audit_log() RETURNS trigger LANGUAGE plpgsql AS "
            "'BEGIN RETURN OLD; END'",
        ),
    ),
    ("a view", BOTH, "view who_is_waiting is missing.", ("DROP VIEW who_is_waiting",)),
    (
        "another view of that name",
        BOTH,
        "view who_is_waiting differs.",
        ("DROP VIEW who_is_waiting", "CREATE VIEW who_is_waiting AS SELECT user_key FROM users"),
    ),
    (
        "a foreign key",
        POST,
        "foreign key sessions.fk_sessions_user_key is missing.",
        ("ALTER TABLE sessions DROP CONSTRAINT fk_sessions_user_key",),
    ),
    (
        "several things",
        BOTH,
        "(and 1 more).",
        ("DROP TABLE message_reactions", *(f"DROP VIEW {each}" for each in ("who_is_waiting", "recent_trouble")),
         "DROP INDEX ix_users_app"),
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "named", "statements"),
    [
        pytest.param(kind, named, statements, id=f"{what}-{kind}")
        for what, kinds, named, statements in CHANGES
        for kind in kinds
    ],
)
def test_what_differs_is_named_in_one_line(
    request: pytest.FixtureRequest, kind: str, named: str, statements: tuple[str, ...]
) -> None:
    url = request.getfixturevalue(f"{kind}_url")
    execute(url, *statements)
    for attempt in (upgrade, check_schema):
        with pytest.raises(DatabaseNotReady) as found:
            attempt(url)
        assert str(found.value).startswith(
            f"The schema of the database is not that of revision {revision.REVISION}: "
        )
        assert str(found.value).endswith(named)
        assert "\n" not in f"{found.value} {found.value.hint}"
        assert "docs/operating.md" in found.value.hint


def test_what_others_add_is_no_difference(database_url: str) -> None:
    """Tables, indexes, views, triggers and columns of operators beside those of the bot."""
    execute(
        database_url,
        "CREATE TABLE badges (id INTEGER NOT NULL, CONSTRAINT positive CHECK (id > 0))",
        "CREATE INDEX ix_users_name ON users (name)",
        "CREATE VIEW names AS SELECT name FROM users",
        "ALTER TABLE users ADD COLUMN badge TEXT",
        "ALTER TABLE users ADD COLUMN wing TEXT NOT NULL DEFAULT 'x'",
    )
    assert check_schema(database_url) is None
    assert upgrade(database_url) is None


# --- histories ---------------------------------------------------------------------------------


def apply(url: str, name: str) -> None:
    """Apply a revision without recording it."""
    scripts = ScriptDirectory.from_config(revision._config())

    def run(connection: Connection) -> None:
        with Operations.context(MigrationContext.configure(connection)):
            scripts.get_revision(name).module.upgrade()

    revision._in_transaction(url, run, writing=True)


def recorded(name: str) -> str:
    return f"UPDATE alembic_version SET version_num = '{name}'"


def without_narrowed(url: str) -> None:
    """0006 before it had grants.narrowed."""
    to_revision(url, "0006")
    execute(url, "ALTER TABLE grants DROP COLUMN narrowed")


def devices_before_rules(url: str) -> None:
    """0003 when that was the revision of device authorizations, and the rules were not there."""
    to_revision(url, "0002")
    apply(url, "0004")
    execute(url, recorded("0003"))


def cards_before_rules(url: str) -> None:
    """0004 when that was the revision of administrators' cards."""
    to_revision(url, "0002")
    apply(url, "0004")
    apply(url, "0005")
    execute(url, recorded("0004"))


def without_index(url: str) -> None:
    """0012 before it had ix_users_app."""
    to_revision(url, "0012", Keyring([new_key()]))
    execute(url, "DROP INDEX ix_users_app")


def other_tenth(url: str) -> None:
    """0010 when that was the revision of message reactions."""
    to_revision(url, "0009", Keyring([new_key()]))
    apply(url, "0011")
    execute(url, recorded("0010"))


HISTORIES: dict[str, tuple[Callable[[str], None], str]] = {
    "0006 without `grants.narrowed`": (without_narrowed, "column grants.narrowed is missing"),
    "0003 with device authorizations": (devices_before_rules, "device_authorizations"),
    "0004 with administrators' cards": (cards_before_rules, "cards_wanted"),
    "0012 without `ix_users_app`": (without_index, "index users.ix_users_app is missing"),
    "0010 with message reactions": (other_tenth, "message_reactions"),
}


def documented(history: str) -> list[str]:
    """The statements of docs/operating.md for this history."""
    source = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
    (row,) = re.findall(rf"^\| {re.escape(history)} \|.*$", source, re.MULTILINE)
    return [each for each in re.findall("`([^`]+)`", row.split("|")[2]) if " " in each]


@pytest.mark.parametrize("history", HISTORIES)
def test_a_database_of_an_edited_revision_is_named_and_can_be_corrected(
    empty_database_url: str, history: str
) -> None:
    make, named = HISTORIES[history]
    make(empty_database_url)
    before = revision._in_transaction(empty_database_url, as_text)
    with pytest.raises(DatabaseNotReady, match=named) as found:
        upgrade(empty_database_url, Keyring([new_key()]))
    assert "\n" not in f"{found.value} {found.value.hint}"
    assert "A schema that differs" in found.value.hint
    # Not "again": `bot db check` and `bot run` say the same.
    assert found.value.hint.endswith("; then run `bot db upgrade`.")
    assert revision._in_transaction(empty_database_url, as_text) == before
    execute(empty_database_url, *documented(history))
    upgrade(empty_database_url, Keyring([new_key()]))
    check_schema(empty_database_url)


@pytest.mark.parametrize("name", ["0000", "0003x", "1", "add_users"])
def test_an_unknown_revision_is_a_line(database_url: str, name: str) -> None:
    execute(database_url, recorded(name))
    for attempt in (upgrade, check_schema):
        with pytest.raises(DatabaseNotReady, match=re.escape(name)):
            attempt(database_url)


def test_a_table_of_others_in_the_way_is_a_line(empty_database_url: str) -> None:
    execute(empty_database_url, "CREATE TABLE users (id INTEGER)")
    with pytest.raises(DatabaseNotReady, match=r"cannot be upgraded: .*users.*Nothing was changed"):
        upgrade(empty_database_url)
    tables = revision._in_transaction(empty_database_url, describe)
    assert [name for name in tables if name.startswith("table")] == ["table users"]


# --- an older program --------------------------------------------------------------------------

NEWER = '''
"""A later revision."""

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{before}"
{marker}


def upgrade() -> None:
    {change}
'''


def release(folder: Path, monkeypatch: pytest.MonkeyPatch, url: str, *later: tuple[str, str]) -> None:
    """Upgrade the database as a later release would, with these revisions: each its marker and its change."""
    shutil.copytree(revision.migrations_folder(), folder / "migrations")
    before = revision.REVISION
    for number, (marker, change) in enumerate(later):
        name = str(9001 + number)
        source = NEWER.format(revision=name, before=before, marker=marker, change=change)
        (folder / "migrations" / "versions" / f"{name}_later.py").write_text(source)
        before = name
    with monkeypatch.context() as patch:
        patch.setattr(revision, "migrations_folder", lambda: folder / "migrations")
        to_revision(url, "head")


ADDS = [
    'op.add_column("users", sa.Column("badge", sa.Text, server_default="x", nullable=False))',
    'op.create_table("badges", sa.Column("id", sa.Integer, primary_key=True))',
    'op.create_index("ix_users_name", "users", ["name"])',
    'op.execute("CREATE VIEW names AS SELECT name FROM users")',
]


@pytest.mark.parametrize("change", ADDS)
async def test_an_older_program_works_on_a_schema_that_only_gained(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    import asyncio

    await asyncio.to_thread(release, tmp_path, monkeypatch, database_url, ("expands = True", change))
    for attempt in (upgrade, check_schema):
        note = await asyncio.to_thread(attempt, database_url)
        assert note is not None
        assert "9001" in note
        assert revision.REVISION in note
        found, _, advice = note.partition(". ")
        assert found.endswith("so this program can use it")
        assert advice == "Replace the program with the newer one soon."
    database = await open_database(database_url, Keyring([new_key()]))
    await database.close()


LOSES: dict[str, tuple[list[tuple[str, str]], str]] = {
    "it says that it does not only add": ([("expands = False", "pass")], "9001"),
    "it does not say": ([("", "pass")], "9001"),
    "one before it does not only add": ([("", "pass"), ("expands = True", "pass")], "9001"),
    "one after it does not only add": ([("expands = True", "pass"), ("", "pass")], "9002"),
}


@pytest.mark.parametrize("case", LOSES)
def test_an_older_program_is_stopped_by_a_schema_that_lost(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    later, oldest = LOSES[case]
    release(tmp_path, monkeypatch, database_url, *later)
    for attempt in (upgrade, check_schema):
        with pytest.raises(DatabaseNotReady, match="older revision") as found:
            attempt(database_url)
        assert f"revision {oldest} or later" in found.value.hint
        assert "restore the backup" in found.value.hint


def test_a_newer_schema_without_a_column_that_the_program_needs_stops_it(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the revision says of itself."""
    change = 'op.drop_column("replicas", "version")'
    release(tmp_path, monkeypatch, database_url, ("expands = True", change))
    with pytest.raises(DatabaseNotReady, match=r"column replicas.version is missing"):
        check_schema(database_url)


def test_a_newer_schema_may_replace_rules_and_indexes(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change = 'op.drop_index("ix_users_app", "users")'
    release(tmp_path, monkeypatch, database_url, ("expands = True", change))
    assert check_schema(database_url) is not None
    problems: list[Any] = revision._in_transaction(database_url, differences)
    assert problems == ["index users.ix_users_app is missing"]


def test_revisions_are_in_order() -> None:
    """They are compared as text."""
    assert revisions() == sorted(revisions())

"""Compares the schema of a database with the one that the migrations leave.

`schema_sqlite.txt` and `schema_postgresql.txt` contain that schema as each database describes it, one object a line.
They are written by `python -m tests.expected_schema`; a test compares them with the migrations.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from sqlalchemy import Connection, TextClause, text

Description = Mapping[str, str]
"""The objects of a schema, such as `column grants.narrowed`, each with its definition."""


def expected(dialect: str) -> Description:
    lines = file_of(dialect).read_text(encoding="utf-8").splitlines()
    return dict(line.split(": ", 1) for line in lines)


def file_of(dialect: str) -> Path:
    return Path(__file__).with_name(f"schema_{dialect}.txt")


def describe(connection: Connection) -> Description:
    """Return the objects of the database's schema. The record of migrations is not one."""
    found = _on_sqlite(connection) if connection.dialect.name == "sqlite" else _on_postgresql(connection)
    return {name: definition for name, definition in found if not _table_of(name).startswith("alembic_")}


def differences(connection: Connection, *, newer: bool = False) -> list[str]:
    """Return what the program needs and does not find, and what would have its writes refused.

    Other tables, indexes, views and triggers may exist beside those of the bot. `newer`: the schema is that of a later
    revision, which may have replaced rules and indexes, so only tables and columns count.
    """
    wanted, found = expected(connection.dialect.name), describe(connection)
    missing_tables = {name for name in wanted if name.startswith(TABLES) and name not in found}
    tables = {_table_of(name) for name in missing_tables}
    problems = [f"{name} is missing" for name in wanted if name in missing_tables]
    for name, definition in wanted.items():
        if _table_of(name) in tables or (newer and not name.startswith(COLUMNS)):
            continue
        if name not in found:
            problems.append(f"{name} is missing")
        elif found[name] != definition:
            shown = name.startswith(COLUMNS)
            problems.append(f"{name} is {found[name]}, not {definition}" if shown else f"{name} differs")
    return problems if newer else [*problems, *_obstacles(wanted, found)]


TABLES, COLUMNS = ("table ", "view "), ("table ", "column ")


def _obstacles(wanted: Description, found: Description) -> Iterator[str]:
    own = {name.removeprefix("table ") for name in wanted if name.startswith("table ")}
    for name in found:
        if name in wanted or _table_of(name) not in own:
            continue
        if name.startswith("check "):
            yield f"{name} is unknown"
        elif name.startswith("column ") and "NOT NULL" in found[name] and "DEFAULT" not in found[name]:
            yield f"{name} is unknown and has no default"


def _table_of(name: str) -> str:
    return name.rpartition(" ")[2].partition(".")[0]


def _fingerprint(source: str) -> str:
    """Return a digest of SQL that does not depend on white space."""
    return hashlib.sha256("".join(source.split()).encode()).hexdigest()[:16]


def _column(kind: str, *, required: bool, default: str | None, more: str = "") -> str:
    parts = [kind.upper(), "NOT NULL" if required else "", f"DEFAULT {default}" if default else "", more]
    return " ".join(part for part in parts if part)


# --- SQLite ----------------------------------------------------------------------------------------

COMMENT = re.compile(r"('(?:[^']|'')*')|/\*.*?\*/", re.DOTALL)
RULE = re.compile(r"CONSTRAINT\s+\"?(\w+)\"?\s+CHECK\s*\(")
STRING_OR_BRACKET = re.compile(r"'[^']*'|[()]")
DEPTH = {"(": 1, ")": -1}


def _on_sqlite(connection: Connection) -> Iterator[tuple[str, str]]:
    objects = text(
        "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY name"
    )
    for kind, name, table, source in connection.execute(objects).all():
        if source is None:
            continue
        plain = COMMENT.sub(lambda found: found[1] or "", source)
        if kind == "table":
            yield f"table {name}", "table"
            for rule, condition in _rules(plain):
                yield f"check {name}.{rule}", condition
        elif kind == "view":
            yield f"view {name}", _fingerprint(plain)
        else:
            yield f"{kind} {table}.{name}", _fingerprint(plain.replace('"', ""))
    yield from _columns_on_sqlite(connection)


COLUMNS_ON_SQLITE = text(
    'SELECT t.name, c.name, c.type, c."notnull", c.dflt_value, c.pk, c.hidden '
    "FROM sqlite_master t JOIN pragma_table_xinfo(t.name) c WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%'"
)
FOREIGN_KEYS_ON_SQLITE = text(
    'SELECT t.name, k."from", k."table", k."to", k.on_delete '
    "FROM sqlite_master t JOIN pragma_foreign_key_list(t.name) k WHERE t.type = 'table' ORDER BY t.name, k.\"from\""
)


def _columns_on_sqlite(connection: Connection) -> Iterator[tuple[str, str]]:
    for table, name, kind, required, default, key, hidden in connection.execute(COLUMNS_ON_SQLITE):
        more = f"PRIMARY KEY {key}" if key else ""
        if hidden:
            more += " GENERATED"
        yield (
            f"column {table}.{name}",
            _column(kind, required=bool(required), default=default, more=more.strip()),
        )
    for table, name, other, column, on_delete in connection.execute(FOREIGN_KEYS_ON_SQLITE):
        yield f"foreign key {table}.{name}", f"{other}.{column} {on_delete}"


def _rules(source: str) -> Iterator[tuple[str, str]]:
    """Return the name and the condition of each named CHECK constraint of a CREATE TABLE statement without comments."""
    for match in RULE.finditer(source):
        depth, end = 1, match.end()
        for token in STRING_OR_BRACKET.finditer(source, match.end()):
            depth, end = depth + DEPTH.get(token[0], 0), token.start()
            if depth == 0:
                break
        yield match[1], " ".join(source[match.end() : end].split())


# --- PostgreSQL ------------------------------------------------------------------------------------

OWN = "pg_table_is_visible(c.oid) AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_t'"


def _catalog(query: str) -> TextClause:
    return text(query.replace("OWN_TABLES", OWN))


RELATIONS = _catalog(
    "SELECT c.oid, c.relname, c.relkind::text AS kind, CASE c.relkind WHEN 'v' THEN pg_get_viewdef(c.oid) END AS source "
    "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v') AND OWN_TABLES "
    "ORDER BY c.relname"
)
ATTRIBUTES = _catalog(
    "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) AS kind, a.attnotnull, a.attidentity::text, "
    "a.attgenerated::text, pg_get_expr(d.adbin, d.adrelid) AS fallback FROM pg_attribute a "
    "JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
    "LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum "
    "WHERE c.relkind IN ('r', 'p', 'v') AND a.attnum > 0 AND NOT a.attisdropped AND OWN_TABLES "
    "ORDER BY c.relname, a.attnum"
)
CONSTRAINTS = _catalog(
    "SELECT c.relname, k.conname, k.contype::text, pg_get_constraintdef(k.oid) AS definition FROM pg_constraint k "
    "JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
    "WHERE k.contype IN ('c', 'f', 'p', 'u') AND OWN_TABLES ORDER BY c.relname, k.conname"
)
INDEXES = _catalog(
    "SELECT c.relname, i.relname AS name, x.indisvalid, pg_get_indexdef(x.indexrelid) AS definition FROM pg_index x "
    "JOIN pg_class c ON c.oid = x.indrelid JOIN pg_class i ON i.oid = x.indexrelid "
    "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE NOT x.indisprimary AND c.relkind IN ('r', 'p') AND OWN_TABLES "
    "ORDER BY c.relname, i.relname"
)
TRIGGERS = _catalog(
    "SELECT c.relname, t.tgname, t.tgtype, t.tgenabled::text, p.proname, p.prosrc FROM pg_trigger t "
    "JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
    "JOIN pg_proc p ON p.oid = t.tgfoid WHERE NOT t.tgisinternal AND OWN_TABLES ORDER BY c.relname, t.tgname"
)
KINDS = {"c": "check", "f": "foreign key", "p": "primary key", "u": "unique"}


def _on_postgresql(connection: Connection) -> Iterator[tuple[str, str]]:
    views = set()
    for row in connection.execute(RELATIONS):
        if row.kind == "v":
            views.add(row.relname)
            yield f"view {row.relname}", _fingerprint(_unqualified(row.source))
        else:
            yield f"table {row.relname}", "table"
    for row in connection.execute(ATTRIBUTES):
        if row.relname in views:
            continue
        more = "GENERATED" if row.attgenerated else "IDENTITY" if row.attidentity else ""
        default = None if row.attgenerated else row.fallback
        definition = _column(row.kind, required=row.attnotnull, default=default, more=more)
        yield f"column {row.relname}.{row.attname}", definition
    for row in connection.execute(CONSTRAINTS):
        yield f"{KINDS[row.contype]} {row.relname}.{row.conname}", " ".join(row.definition.split())
    for row in connection.execute(INDEXES):
        definition = re.sub(r" ON (?:ONLY )?(?:\w+\.)?", " ON ", row.definition, count=1)
        yield f"index {row.relname}.{row.name}", f"{'' if row.indisvalid else 'INVALID '}{definition}"
    for row in connection.execute(TRIGGERS):
        source = f"{row.tgtype} {row.tgenabled} {row.proname} {row.prosrc}"
        yield f"trigger {row.relname}.{row.tgname}", _fingerprint(source)


def _unqualified(source: str) -> str:
    """Remove what versions of the server write differently: names of tables and schemas before a dot, and parentheses."""
    return " ".join(re.sub(r"\b[a-z_]\w*\.(?=[a-z_])|[()]", "", source).split())

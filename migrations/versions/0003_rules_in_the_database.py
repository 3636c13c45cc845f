"""More of the rules are held by the database, a person's queue costs a claim nothing, and what is looked for is indexed.

A migration runs while the previous release is still serving. So it must not

* break what that release reads or writes: expand in one release, contract in a later one;
* hold a lock for long: no rewriting of a large table in one statement, indexes of large tables concurrently;
* import `bot`: it has to do in a year what it does today.

PostgreSQL reads each table once to check the new rules, and once for each index: a second or two for a million rows,
in which writes wait. SQLite cannot add a rule to a table, so there each table is made anew.

The index `ix_deferred_calls_claimable` serves the previous release only; a later migration may drop it.

There is no way back: restore the backup.
"""

import re
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

RULES = {
    "users": {
        "user_key_of_parts": "user_key = platform || ':' || app_id || ':' || tenant_key || ':' || open_id",
    },
    "deferred_calls": {
        "settled_has_outcome": "(settled_at IS NULL) = (outcome IS NULL)",
        "suspended_has_time": "status <> 'suspended' OR suspended_at IS NOT NULL",
        "authorization_has_request": "waits_for <> 'authorization' OR request_id IS NOT NULL",
        "interim_after_failure": "interim_at IS NULL OR first_failed_at IS NOT NULL",
        "counts": "consents >= 0 AND attempts >= 0 AND claim >= 0",
    },
    "call_steps": {
        "number": "number >= 0",
        "only_writes_are_sent": "is_write OR first_sent_at IS NULL",
        "result_sealed": "result LIKE 'v1.%'",
    },
    "outgoing_messages": {
        "settled_has_time": "(settled_at IS NULL) = (status IN ('queued', 'sending'))",
        "sent_has_time": "(status = 'sent') = (sent_at IS NOT NULL)",
        "failed_has_reason": "(status IN ('undeliverable', 'outcome_unknown')) = (reason IS NOT NULL)",
        "content_sealed": "content LIKE 'v1.%'",
    },
    "authorization_requests": {
        "failed_has_reason": "(status = 'failed') = (failure IS NOT NULL)",
        "card_lease_has_worker": "(card_worker IS NULL) = (card_lease_until IS NULL)",
        "ticket_sealed": "ticket LIKE 'v1.%'",
    },
    "authorization_attempts": {
        "redeeming_has_worker": "(status = 'redeeming') = (worker IS NOT NULL)",
        "redeeming_has_lease": "(status = 'redeeming') = (lease_until IS NOT NULL)",
        "consumed_has_time": "(status IN ('live', 'expired')) = (consumed_at IS NULL)",
        "ended_has_outcome": "(status IN ('live', 'redeeming', 'expired')) = (outcome IS NULL)",
        "code_when_consumed": "status <> 'live' OR code IS NULL",
        "secrets_sealed": "(verifier IS NULL OR verifier LIKE 'v1.%') AND (code IS NULL OR code LIKE 'v1.%')",
    },
    "grants": {
        "ended_has_reason": "(ended_at IS NULL) = (end_reason IS NULL)",
        "ended_has_no_scopes": "status = 'active' OR scopes = '[]'",
        "access_token_expires": "(access_token IS NULL) = (access_expires_at IS NULL)",
        "refresh_token_expires": "refresh_token IS NOT NULL OR refresh_expires_at IS NULL",
        "refresh_lease_has_worker": "(refresh_worker IS NULL) = (refresh_lease_until IS NULL)",
        "refreshes_while_active": "status = 'active' OR refresh_worker IS NULL",
        "counts": "generation >= 1 AND refresh_failures >= 0",
        "tokens_sealed": "(access_token IS NULL OR access_token LIKE 'v1.%') "
        "AND (refresh_token IS NULL OR refresh_token LIKE 'v1.%')",
    },
    "revocations": {
        "settled_has_time": "(status = 'queued') = (settled_at IS NULL)",
        "failed_has_reason": "(status = 'failed') = (reason IS NOT NULL)",
        "token_sealed": "token LIKE 'v1.%'",
    },
    "scope_waits": {"enabled_has_time": "(status = 'enabled') = (settled_at IS NOT NULL)"},
    "key_check": {"sealed": "sealed LIKE 'v1.%'"},
}

BROWSER = "Fingerprint of what marks the browser that a sign-in was begun in"
BEHIND = "Queued behind another call of the same person: not looked at before it is next in line"


def upgrade() -> None:
    # A race in the previous release could tell somebody of a failure that was over by then.
    op.execute(
        "UPDATE deferred_calls SET interim_at = NULL WHERE interim_at IS NOT NULL AND first_failed_at IS NULL"
    )
    if op.get_bind().dialect.name == "postgresql":
        op.add_column(
            "deferred_calls",
            sa.Column(
                "behind", sa.Boolean(), server_default=sa.text("false"), nullable=False, comment=BEHIND
            ),
        )
        for table, rules in RULES.items():
            op.execute(f"ALTER TABLE {table} " + ", ".join(f"ADD {rule}" for rule in written(table, rules)))
    else:
        make_anew_with_rules()
    create_indexes()


def written(table: str, rules: dict[str, str]) -> list[str]:
    return [f"CONSTRAINT ck_{table}_{name} CHECK ({rule})" for name, rule in rules.items()]


def make_anew_with_rules() -> None:
    """SQLite's own procedure: a new table from the old one's statement, with its comments; its rows; its indexes.

    Deleting a table would delete what refers to its rows, so foreign keys have to be off, which only works outside of
    a transaction; they are checked at the end instead.
    """
    connection = op.get_bind()
    assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 0, "Turn foreign keys off first."
    connection.exec_driver_sql("PRAGMA legacy_alter_table = ON")  # else views forbid the renaming
    for table, rules in RULES.items():
        made, *others = connection.execute(
            sa.text(
                "SELECT sql FROM sqlite_master WHERE tbl_name = :table AND sql IS NOT NULL ORDER BY type <> 'table'"
            ),
            {"table": table},
        ).scalars()
        names = ", ".join(
            row.name
            for row in connection.execute(sa.text("SELECT name FROM pragma_table_info(:t)"), {"t": table})
        )
        connection.exec_driver_sql(with_rules(made, table, rules))
        connection.exec_driver_sql(f"INSERT INTO new_{table} ({names}) SELECT {names} FROM {table}")  # noqa: S608
        connection.exec_driver_sql(f"DROP TABLE {table}")
        connection.exec_driver_sql(f"ALTER TABLE new_{table} RENAME TO {table}")
        for statement in others:
            connection.exec_driver_sql(statement)
    connection.exec_driver_sql("PRAGMA legacy_alter_table = OFF")
    assert not connection.exec_driver_sql("PRAGMA foreign_key_check").all(), "A row refers to none."


def with_rules(made: str, table: str, rules: dict[str, str]) -> str:
    """The statement that made a table, for a new one that has these rules and, for calls, the new column.

    A column that was added since has lost its comment.
    """
    statement = re.sub(r"^CREATE TABLE \W?\w+\W? \(", f"CREATE TABLE new_{table} (", made)
    if table == "deferred_calls":
        column = f"\tbehind BOOLEAN DEFAULT false NOT NULL /* {BEHIND} */, \n"
        statement = statement.replace("\tCONSTRAINT", f"{column}\tCONSTRAINT", 1)
    statement = statement.replace(", browser_digest TEXT", f", \n\tbrowser_digest TEXT /* {BROWSER} */")
    body, end = statement.rstrip().removesuffix(")").rstrip(), "\n)"
    return ", \n\t".join([body, *written(table, rules)]) + end


def create_indexes() -> None:
    index(
        "ix_deferred_calls_next",
        "deferred_calls",
        ["runs_after", "id"],
        "status = 'running' OR (status = 'queued' AND NOT behind)",
    )
    index(
        "ix_deferred_calls_behind",
        "deferred_calls",
        ["user_key", "asked_at", "id"],
        "status = 'queued' AND behind",
    )
    usable = "status = 'active' AND refresh_token IS NOT NULL"
    index("ix_grants_in_use", "grants", ["last_used_at"], usable)
    index("ix_grants_kept_alive", "grants", ["refresh_expires_at"], usable)
    index("ix_revocations_settled", "revocations", ["settled_at"], "settled_at IS NOT NULL")


def index(name: str, table: str, columns: list[str], condition: str) -> None:
    where: Any = sa.text(condition)
    op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)

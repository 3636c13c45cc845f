"""Calls, sessions and attempts carry a proof that the bot wrote them; the audit log takes only rows of the moment.

Unlike its predecessors, this revision breaks the previous release, which knows no proofs: its inserts are refused, and
the platform delivers those events again. Stop its replicas first.

What waits in the database has to be sealed now, or it would be lost. Only the bot's keys can do that, so the program
that runs the migrations passes a function for it (`seal_rows`). It is called between the new columns and the rules for
them, in one transaction, so that nothing else can pass for an old row.

There is no way back: restore the backup.
"""

import re
from typing import Any

import sqlalchemy as sa
from alembic import context, op

revision = "0009"
down_revision = "0008"

PROOF = "Proof, made with the encryption keys, "
COLUMNS = {
    "deferred_calls": {
        "seal": "that this is what was asked, by whom and where",
        "run_seal": "that it may run, and whether it is confirmed; erased when it ends",
    },
    "authorization_requests": {"card_seal": "that this message shows its card"},
    "authorization_attempts": {"seal": "that this is what was begun; erased when the attempt ends"},
    "sessions": {"seal": "that the bot began it, for whom and until when"},
}
RULES = {
    "deferred_calls": {
        "sealed_until_settled": "settled_at IS NOT NULL OR seal IS NOT NULL",
        "runs_until_settled": "(settled_at IS NULL) = (run_seal IS NOT NULL)",
        "sealed": "(seal IS NULL OR seal LIKE 'v1.%') AND (run_seal IS NULL OR run_seal LIKE 'v1.%')",
    },
    "authorization_requests": {
        "seal_of_card": "card_seal IS NULL OR card_message_id IS NOT NULL",
        "card_sealed": "card_seal LIKE 'v1.%'",
    },
    "authorization_attempts": {
        "sealed_until_ended": "kind = 'sign_in' OR (status IN ('live', 'redeeming')) = (seal IS NOT NULL)",
        "sealed": "seal LIKE 'v1.%'",
    },
    "sessions": {"sealed": "seal LIKE 'v1.%'"},
}
MINUTES = 10
"""Between the time of an audit row and the database's clock: a process that waited long, or whose clock is off."""

DIGIT = "[0-9]"
TIME = f"{DIGIT * 4}-{DIGIT * 2}-{DIGIT * 2} {DIGIT * 2}:{DIGIT * 2}:{DIGIT * 2}.{DIGIT * 6}"


def upgrade() -> None:
    on_postgresql = op.get_bind().dialect.name == "postgresql"
    if on_postgresql:
        # Nothing of the previous release comes in between.
        op.execute(
            "LOCK TABLE call_steps, deferred_calls, authorization_requests, authorization_attempts, "
            "device_authorizations, outgoing_messages, revocations, sessions IN ACCESS EXCLUSIVE MODE"
        )
    op.execute("DELETE FROM sessions")  # people sign in again
    for table, columns in COLUMNS.items():
        for name, comment in columns.items():
            op.add_column(table, sa.Column(name, sa.Text(), nullable=True, comment=PROOF + comment))
    seal_rows = context.config.attributes.get("seal_rows")
    if seal_rows is not None:
        seal_rows(op.get_bind())
    if on_postgresql:
        for table, rules in RULES.items():
            op.execute(f"ALTER TABLE {table} " + ", ".join(f"ADD {rule}" for rule in written(table, rules)))
        op.execute("ALTER TABLE sessions ALTER COLUMN seal SET NOT NULL")
        guard_audit_log_on_postgresql()
    else:
        make_anew_with_rules()
        guard_audit_log_on_sqlite()


def written(table: str, rules: dict[str, str]) -> list[str]:
    return [f"CONSTRAINT ck_{table}_{name} CHECK ({rule})" for name, rule in rules.items()]


# --- SQLite ----------------------------------------------------------------------------------------


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
    """The statement that made a table, for a new one that has these rules."""
    statement = re.sub(r"^CREATE TABLE \W?\w+\W? \(", f"CREATE TABLE new_{table} (", made)
    if table == "sessions":
        statement = statement.replace("seal TEXT", "seal TEXT NOT NULL", 1)
    body, end = statement.rstrip().removesuffix(")").rstrip(), "\n)"
    return ", \n\t".join([body, *written(table, rules)]) + end


def guard_audit_log_on_sqlite() -> None:
    """REPLACE deletes what it replaces without a delete trigger, so a row with an id that is there is refused.

    So are ids that leave some out: behind the largest number there is none that SQLite could give in order.
    """

    def clock(minutes: int) -> str:
        return f"strftime('%Y-%m-%d %H:%M:%f', 'now', '{minutes:+d} minutes')"

    trigger(
        "audit_log_is_only_added_to",
        "BEFORE",
        "EXISTS (SELECT 1 FROM audit_log WHERE id = NEW.id)",
        "audit_log is never changed",
    )
    trigger(
        "audit_log_is_dated",
        "BEFORE",
        # As text, so its form matters as well: what only begins like a time cannot be read as one.
        f"NEW.at NOT GLOB '{TIME}' OR NEW.at NOT BETWEEN {clock(-MINUTES)} AND {clock(MINUTES)}",
        "audit_log takes only rows of the moment",
    )
    trigger(
        "audit_log_is_numbered",
        "AFTER",
        "NEW.id <> 1 + coalesce((SELECT id FROM audit_log WHERE id <> NEW.id ORDER BY id DESC LIMIT 1), 0)",
        "audit_log numbers its rows itself",
    )


def trigger(name: str, when: str, refused: str, why: str) -> None:
    op.execute(
        f"CREATE TRIGGER {name} {when} INSERT ON audit_log WHEN {refused} BEGIN SELECT RAISE(ABORT, '{why}'); END"
    )


# --- PostgreSQL ------------------------------------------------------------------------------------


def guard_audit_log_on_postgresql() -> None:
    """Numbers are those of the sequence, or a later row would meet one that was written ahead of it.

    As the table's owner, because a role that may insert need not have rights on the sequence.
    """
    body: Any = f"""
        CREATE FUNCTION guard_new_audit_log() RETURNS trigger LANGUAGE plpgsql
        SECURITY DEFINER SET search_path = pg_catalog AS $$
        BEGIN
            IF NEW.at NOT BETWEEN clock_timestamp() - interval '{MINUTES} minutes'
                          AND clock_timestamp() + interval '{MINUTES} minutes' THEN
                RAISE EXCEPTION 'audit_log takes only rows of the moment';
            ELSIF NEW.id <> currval(
                pg_get_serial_sequence(format('%I.%I', TG_TABLE_SCHEMA, TG_TABLE_NAME), 'id')
            ) THEN
                RAISE EXCEPTION 'audit_log numbers its rows itself';
            END IF;
            RETURN NEW;
        END
        $$
        """
    op.execute(body)
    op.execute(
        "CREATE TRIGGER audit_log_is_dated BEFORE INSERT ON audit_log "
        "FOR EACH ROW EXECUTE FUNCTION guard_new_audit_log()"
    )

"""Each call that is made in a user's name is recorded; what users wrote is erased when their call ends.

Rows of `api_calls` cannot be changed. They can be deleted, because a user can be forgotten.

What users wrote with calls that have already ended is erased here. The proof of such a call covers what was written, so
it goes as well: these calls can no longer be tried again with a button. Replicas of the previous release still leave
behind what users wrote; the chore of this release that deletes old rows erases it.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"

REFUSALS = "'insufficient_scope', 'app_scope_missing', 'token_rejected', 'rate_limited', 'refused'"
OUTCOMES = f"'succeeded', {REFUSALS}, 'no_answer'"
APP = {
    "sqlite": "substr(user_key, 1, instr(user_key, ':') + instr(substr(user_key, instr(user_key, ':') + 1), ':') - 1)",
    "postgresql": "split_part(user_key, ':', 1) || ':' || split_part(user_key, ':', 2)",
}


def upgrade() -> None:
    create_table()
    guard()
    partial_index("audit_log", "subject_id", ["subject_id"], "subject_id IS NOT NULL")
    add_columns()
    erase_what_users_wrote()
    partial_index(
        "deferred_calls",
        "written",
        ["app", "settled_at"],
        "settled_at IS NOT NULL AND (arguments <> '' OR repeat_arguments IS NOT NULL)",
    )


def on_postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def partial_index(table: str, name: str, columns: list[str], condition: str) -> None:
    where = sa.text(condition)
    op.create_index(f"ix_{table}_{name}", table, columns, sqlite_where=where, postgresql_where=where)


def required(name: str, kind: Any, comment: str, *more: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, *more, nullable=False, comment=comment)


def create_table() -> None:
    app = sa.Computed(APP[op.get_bind().dialect.name], persisted=on_postgresql())
    op.create_table(
        "api_calls",
        required("id", sa.Text, "Sorts by time"),
        required("at", sa.DateTime(timezone=True), "When it was sent"),
        required("user_key", sa.Text, "In whose name: platform, app, tenant and open_id, joined by colons"),
        required(
            "call_id", sa.Text, "The command that made it, a deferred call, which may be deleted earlier"
        ),
        required("step", sa.Integer, "Counts the steps of that command from 0"),
        required(
            "attempt",
            sa.Integer,
            "Counts the attempts of that command since it was last released; a rejected token is refreshed within one",
        ),
        required("method", sa.Text, "HTTP method"),
        required("path", sa.Text, "Path at the platform, without the query"),
        sa.Column("status", sa.Integer, comment="HTTP status; NULL: no response arrived"),
        sa.Column("code", sa.Text, comment="The platform's code for the result; NULL: it stated none"),
        sa.Column(
            "log_id",
            sa.Text,
            comment="The id by which the platform finds it in its logs; NULL: it stated none",
        ),
        required("milliseconds", sa.Integer, "How long it took"),
        required("outcome", sa.Text, "What it came to, in one word"),
        required("app", sa.Text, "Platform and app, joined by a colon: the app whose row this is", app),
        sa.PrimaryKeyConstraint("id", name="pk_api_calls"),
        sa.CheckConstraint(f"outcome IN ({OUTCOMES})", name="ck_api_calls_outcome"),
        sa.CheckConstraint("step >= 0 AND attempt >= 0 AND milliseconds >= 0", name="ck_api_calls_counts"),
        comment="Calls to the platform that were made in a user's name. Rows cannot be changed",
    )
    op.create_index("ix_api_calls_at", "api_calls", ["app", "at"])
    op.create_index("ix_api_calls_user_key", "api_calls", ["user_key", "at"])
    op.create_index("ix_api_calls_call_id", "api_calls", ["call_id"])
    partial_index("api_calls", "log_id", ["log_id"], "log_id IS NOT NULL")
    partial_index("api_calls", "failed", ["app", "at"], "outcome <> 'succeeded'")


def guard() -> None:
    if not on_postgresql():
        op.execute(
            "CREATE TRIGGER api_calls_are_not_changed BEFORE UPDATE ON api_calls "
            "BEGIN SELECT RAISE(ABORT, 'api_calls is never changed'); END"
        )
        # REPLACE deletes the row in its way without a trigger for that.
        op.execute(
            "CREATE TRIGGER api_calls_are_not_replaced BEFORE INSERT ON api_calls "
            "WHEN EXISTS (SELECT 1 FROM api_calls WHERE id = NEW.id OR rowid = NEW.rowid) "
            "BEGIN SELECT RAISE(IGNORE); END"
        )
        return
    op.execute(
        """
        CREATE FUNCTION guard_api_calls() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'api_calls is never changed';
        END
        $$
        """
    )
    op.execute(
        "CREATE TRIGGER api_calls_are_not_changed BEFORE UPDATE ON api_calls "
        "FOR EACH ROW EXECUTE FUNCTION guard_api_calls()"
    )


def add_columns() -> None:
    op.add_column(
        "deferred_calls",
        sa.Column(
            "released_at",
            sa.DateTime(timezone=True),
            comment="When it was last released, after it had waited",
        ),
    )
    op.add_column(
        "deferred_calls",
        sa.Column(
            "repeat_arguments",
            sa.Text,
            comment="What followed the command, sealed, if its answer offers to try it again; erased when that is "
            "done or too late",
        ),
    )


def erase_what_users_wrote() -> None:
    op.execute(
        "UPDATE deferred_calls SET arguments = '', seal = NULL WHERE settled_at IS NOT NULL AND arguments <> ''"
    )
    op.execute(
        "UPDATE call_steps SET digest = '' WHERE EXISTS (SELECT 1 FROM deferred_calls "
        "WHERE deferred_calls.id = call_steps.call_id AND deferred_calls.settled_at IS NOT NULL)"
    )

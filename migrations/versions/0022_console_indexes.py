"""Indexes for the console: the users and grants of an app, in a database that several apps share.

Their columns never change, so that they cost an update nothing. The index of failed calls to the platform is in the order
of its list. The index of calls by request leaves out the many calls without one: counting them as equal, SQLite would
take it for useless, and read all calls instead. Cards and messages that were sent are found by the platform's id.
"""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
expands = True

INDEXES = {
    "ix_users_newest": ("users", ["app", "created_at", "user_key"]),
    "ix_grants_of_app": ("grants", ["app", "user_key"]),
}


def upgrade() -> None:
    for name, (table, columns) in INDEXES.items():
        op.create_index(name, table, columns)
    for table in ("cards", "outgoing_messages"):
        create(f"ix_{table}_message_id", table, ["message_id"], "message_id IS NOT NULL")
    replace("ix_deferred_calls_request_id", "deferred_calls", ["request_id"], "request_id IS NOT NULL")
    replace("ix_api_calls_failed", "api_calls", ["app", "at", "id"], "outcome <> 'succeeded'")


def replace(name: str, table: str, columns: list[str], condition: str) -> None:
    op.drop_index(name, table)
    create(name, table, columns, condition)


def create(name: str, table: str, columns: list[str], condition: str) -> None:
    where = sa.text(condition)
    op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)

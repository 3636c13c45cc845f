"""Calls that wait for an interim word are found by an index that no other can be taken for."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    unanswered = sa.text("settled_at IS NULL AND first_failed_at IS NOT NULL AND interim_at IS NULL")
    op.create_index(
        "ix_deferred_calls_unanswered",
        "deferred_calls",
        ["first_failed_at"],
        sqlite_where=unanswered,
        postgresql_where=unanswered,
    )
    op.drop_index("ix_deferred_calls_interim", "deferred_calls")

"""Scope waits count the changes that administrators' cards should show, and the one that they do."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    counters = (
        ("cards_wanted", "1", "Counts the changes that the administrators' cards should show"),
        ("cards_shown", "1", "The change that they do show"),
        ("cards_claim", "0", "Counts the claims to show them"),
    )
    for name, start, comment in counters:
        column = sa.Column(name, sa.Integer, nullable=False, server_default=start, comment=comment)
        op.add_column("scope_waits", column)
    due = sa.Column("cards_due_at", sa.DateTime(timezone=True), comment="When they are to be shown (again)")
    op.add_column("scope_waits", due)
    outdated = sa.text("cards_shown < cards_wanted")
    op.create_index(
        "ix_scope_waits_cards_due",
        "scope_waits",
        ["cards_due_at"],
        sqlite_where=outdated,
        postgresql_where=outdated,
    )

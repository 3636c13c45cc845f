"""A call knows the topic it was asked in, and whether its question was recalled while it was under way."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    thread = sa.Column(
        "thread_id", sa.Text(), comment="The topic of the chat that it was asked in, if it was in one"
    )
    op.add_column("deferred_calls", thread)
    recalled = sa.Column(
        "recalled_at",
        sa.DateTime(timezone=True),
        comment="When its question was recalled, if that was while it was under way",
    )
    op.add_column("deferred_calls", recalled)

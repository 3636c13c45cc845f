"""Reactions by which the bot acknowledges messages are kept until they are taken away again."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    time = sa.DateTime(timezone=True)
    op.create_table(
        "message_reactions",
        sa.Column("call_id", sa.Text, comment="The call whose message it is on"),
        sa.Column("platform", sa.Text, nullable=False, comment="Chat platform: lark or dingtalk"),
        sa.Column("app_id", sa.Text, nullable=False, comment="The app on that platform"),
        sa.Column("message_id", sa.Text, nullable=False, comment="The message that asked"),
        sa.Column(
            "reaction_id", sa.Text, comment="The platform's id of the reaction; none while it is being added"
        ),
        sa.Column("attempts", sa.Integer, nullable=False, comment="How often its removal was tried"),
        sa.Column("due_at", time, nullable=False, comment="When its removal is to be tried (again)"),
        sa.Column("created_at", time, nullable=False, comment="When it was added"),
        sa.PrimaryKeyConstraint("call_id", name="pk_message_reactions"),
        sa.ForeignKeyConstraint(
            ["call_id"],
            ["deferred_calls.id"],
            name="fk_message_reactions_call_id",
            ondelete="CASCADE",
        ),
        sa.CheckConstraint("attempts >= 0", name="ck_message_reactions_counts"),
        comment="Reactions on messages that are not answered yet: they say that the bot is working on them",
    )
    op.create_index("ix_message_reactions_due", "message_reactions", ["platform", "app_id", "due_at"])

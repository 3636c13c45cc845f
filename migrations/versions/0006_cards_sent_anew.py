"""Cards that are sent anew are counted; offers to give back unused scopes, and grants narrowed by them, are noted."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    moves = sa.Column(
        "card_moves",
        sa.Integer,
        nullable=False,
        server_default="0",
        comment="How often the card was sent anew",
    )
    op.add_column("authorization_requests", moves)
    offered = sa.Column(
        "offered_at",
        sa.DateTime(timezone=True),
        comment="When the person was last offered to take back scopes that are not used",
    )
    op.add_column("users", offered)
    narrowed = sa.Column(
        "narrowed",
        sa.Boolean,
        nullable=False,
        server_default=sa.text("false"),
        comment="Whether refreshes ask for no more than these scopes, because others were given back",
    )
    op.add_column("grants", narrowed)

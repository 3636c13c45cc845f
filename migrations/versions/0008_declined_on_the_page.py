"""A refusal on the platform's page is kept with the request it leaves open; a state sent back again is audited once."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    declined = sa.Column(
        "declined_on_page_at",
        sa.DateTime(timezone=True),
        comment="When a visitor who is not identified first declined it on the platform's page, since it last asked",
    )
    op.add_column("authorization_requests", declined)
    rejected = sa.Column(
        "rejected_at",
        sa.DateTime(timezone=True),
        comment="When its state first came back after it was used or had expired",
    )
    op.add_column("authorization_attempts", rejected)

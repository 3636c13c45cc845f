"""What a person granted is proven: nobody without the encryption keys has the next link ask for more.

Without a proof only what was granted before the last consent or refresh is forgotten.
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.add_column(
        "grants",
        sa.Column(
            "memory_seal",
            sa.Text,
            comment="Proof, made with the encryption keys, that these scopes are what was granted now and ever",
        ),
    )

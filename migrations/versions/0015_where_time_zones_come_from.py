"""The comment on a person's time zone says where it comes from: more than a client's word, for some time now.

PostgreSQL has a statement for comments. SQLite keeps them in the text of the table, which only a new column changes.
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"

COMMENT = "IANA name, as a client, the calendar or the address book last told it"


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.alter_column(
            "users", "time_zone", comment=COMMENT, existing_type=sa.Text(), existing_nullable=True
        )
        return
    op.execute("ALTER TABLE users RENAME COLUMN time_zone TO time_zone_before")
    op.add_column("users", sa.Column("time_zone", sa.Text(), comment=COMMENT))
    op.execute("UPDATE users SET time_zone = time_zone_before")
    op.drop_column("users", "time_zone_before")

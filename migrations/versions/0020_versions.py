"""Replicas tell their version and revision; the database tells which older programs it still suits.

A later revision that only adds to the schema says `expands = True`: the program of the revision before it works on. One
that does not say so needs its own program at least. `env.py` records that in `schema_compatibility`.
"""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
expands = True


def upgrade() -> None:
    op.add_column(
        "replicas",
        sa.Column("version", sa.Text, comment="Version of its program; NULL: an earlier release wrote it"),
    )
    op.add_column(
        "replicas",
        sa.Column("revision", sa.Text, comment="Revision of the schema that its program was made for"),
    )
    op.create_table(
        "schema_compatibility",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False, comment="Always 1"),
        sa.Column(
            "revision", sa.Text, nullable=False, comment="The revision of the schema that this row describes"
        ),
        sa.Column(
            "oldest_revision",
            sa.Text,
            nullable=False,
            comment="Programs that were made for this revision, or a later one, work with this schema",
        ),
        sa.CheckConstraint("id = 1", name="ck_schema_compatibility_one_row"),
        comment="Which older programs work with this schema, although it is newer",
    )
    op.execute("INSERT INTO schema_compatibility (id, revision, oldest_revision) VALUES (1, '0020', '0020')")

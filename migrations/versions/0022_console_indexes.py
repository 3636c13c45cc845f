"""Indexes for the console: the rows of an app from the newest on, for lists that several apps share.

The indexed columns never change, so that they cost an update nothing.
"""

from alembic import op

revision = "0022"
down_revision = "0019"

INDEXES = {
    "ix_users_newest": ("users", ["app", "created_at", "user_key"]),
    "ix_deferred_calls_newest": ("deferred_calls", ["app", "id"]),
    "ix_authorization_requests_newest": ("authorization_requests", ["app", "id"]),
    "ix_grants_of_app": ("grants", ["app", "user_key"]),
}


def upgrade() -> None:
    for name, (table, columns) in INDEXES.items():
        op.create_index(name, table, columns)

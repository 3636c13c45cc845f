"""Signing in: browsers' sessions, what binds a sign-in to its browser, and what each granted scope is for.

A migration runs while the previous release is still serving. So it must not

* break what that release reads or writes: expand in one release, contract in a later one;
* hold a lock for long: no rewriting of a large table in one statement, indexes of large tables concurrently;
* import `bot`: it has to do in a year what it does today.

There is no way back: restore the backup.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column(
        "authorization_attempts",
        sa.Column(
            "browser_digest",
            sa.Text(),
            nullable=True,
            comment="Fingerprint of what marks the browser that a sign-in was begun in",
        ),
    )
    op.create_table(
        "granted_scopes",
        sa.Column("user_key", sa.Text(), nullable=False, comment="Who granted it"),
        sa.Column("scope", sa.Text(), nullable=False, comment="What was granted"),
        sa.Column("asked_by", sa.Text(), nullable=False, comment="The commands that asked for it, as JSON"),
        sa.Column(
            "granted_at", sa.DateTime(timezone=True), nullable=False, comment="When it was last granted"
        ),
        sa.Column(
            "used_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When a call that needs it was last answered, to the minute",
        ),
        sa.Column("used_by", sa.Text(), nullable=True, comment="The command of that call"),
        sa.CheckConstraint(
            "(used_at IS NULL) = (used_by IS NULL)", name="ck_granted_scopes_used_by_something"
        ),
        sa.ForeignKeyConstraint(["user_key"], ["users.user_key"], name="fk_granted_scopes_user_key"),
        sa.PrimaryKeyConstraint("user_key", "scope", name="pk_granted_scopes"),
        comment="What each scope that a person granted was asked and used for",
    )
    op.create_table(
        "sessions",
        sa.Column(
            "digest",
            sa.Text(),
            nullable=False,
            comment="Fingerprint of the session's id, which only its browser has",
        ),
        sa.Column("user_key", sa.Text(), nullable=False, comment="Who is signed in"),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), nullable=False, comment="When the person signed in"
        ),
        sa.Column(
            "seen_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="When it was last used, to the minute",
        ),
        sa.Column(
            "expires_at", sa.DateTime(timezone=True), nullable=False, comment="When it ends, used or not"
        ),
        sa.ForeignKeyConstraint(["user_key"], ["users.user_key"], name="fk_sessions_user_key"),
        sa.PrimaryKeyConstraint("digest", name="pk_sessions"),
        comment="Browsers that people are signed in with",
    )
    op.create_index("ix_sessions_expires_at", "sessions", ["expires_at"])
    op.create_index("ix_sessions_user_key", "sessions", ["user_key"])

"""Device authorizations: asks on the platform's own page, for a bot that no browser can reach."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

LIVE = "status IN ('minting', 'polling')"


def upgrade() -> None:
    time = sa.DateTime(timezone=True)
    op.create_table(
        "device_authorizations",
        sa.Column("id", sa.Text(), nullable=False, comment="Sorts by time"),
        sa.Column("request_id", sa.Text(), nullable=False, comment="The request whose card was pressed"),
        sa.Column("user_key", sa.Text(), nullable=False, comment="Who was asked"),
        sa.Column("status", sa.Text(), nullable=False, comment="Where it stands"),
        sa.Column("scopes", sa.Text(), nullable=False, comment="What it asks for, as JSON"),
        sa.Column(
            "device_code",
            sa.Text(),
            nullable=True,
            comment="What the platform is polled with, sealed; erased when it ends",
        ),
        sa.Column(
            "user_code",
            sa.Text(),
            nullable=True,
            comment="What the platform's page shows or asks for, sealed; erased when it ends",
        ),
        sa.Column(
            "link", sa.Text(), nullable=True, comment="The platform's page, sealed; erased when it ends"
        ),
        sa.Column(
            "interval_seconds",
            sa.Integer(),
            nullable=False,
            comment="Between two polls, as the platform wants it",
        ),
        sa.Column(
            "failures", sa.Integer(), nullable=False, comment="Of the platform to answer, one after another"
        ),
        sa.Column(
            "runs_after",
            time,
            nullable=False,
            comment="Not tried before; for one being tried, when its lease ends",
        ),
        sa.Column("worker", sa.Text(), nullable=True, comment="The replica that last tried"),
        sa.Column(
            "claim",
            sa.Integer(),
            nullable=False,
            comment="Counts the claims: a worker that comes late compares it and loses",
        ),
        sa.Column("created_at", time, nullable=False, comment="When the button was pressed"),
        sa.Column("expires_at", time, nullable=True, comment="When the platform forgets the code"),
        sa.Column("settled_at", time, nullable=True, comment="When it ended"),
        sa.Column("outcome", sa.Text(), nullable=True, comment="How it ended, in one word"),
        sa.CheckConstraint(
            "status IN ('minting', 'polling', 'completed', 'denied', 'failed', 'expired')",
            name="ck_device_authorizations_status",
        ),
        sa.CheckConstraint(
            f"(settled_at IS NULL) = ({LIVE})", name="ck_device_authorizations_settled_has_time"
        ),
        sa.CheckConstraint(
            "(status = 'polling') = (device_code IS NOT NULL AND user_code IS NOT NULL AND link IS NOT NULL)",
            name="ck_device_authorizations_polling_has_codes",
        ),
        sa.CheckConstraint(
            "status = 'polling' OR (device_code IS NULL AND user_code IS NULL AND link IS NULL)",
            name="ck_device_authorizations_codes_erased",
        ),
        sa.CheckConstraint(
            "status <> 'polling' OR expires_at IS NOT NULL", name="ck_device_authorizations_polling_expires"
        ),
        sa.ForeignKeyConstraint(
            ["request_id"],
            ["authorization_requests.id"],
            name="fk_device_authorizations_request_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["user_key"], ["users.user_key"], name="fk_device_authorizations_user_key"),
        sa.PrimaryKeyConstraint("id", name="pk_device_authorizations"),
        comment="Authorizations on the platform's own page, for a bot that no browser can reach (RFC 8628)",
    )
    live: dict[str, object] = {"sqlite_where": sa.text(LIVE), "postgresql_where": sa.text(LIVE)}
    op.create_index(
        "ix_device_authorizations_one_live", "device_authorizations", ["request_id"], unique=True, **live
    )
    op.create_index("ix_device_authorizations_due", "device_authorizations", ["runs_after"], **live)
    op.create_index("ix_device_authorizations_live_of_user", "device_authorizations", ["user_key"], **live)
    op.create_index("ix_device_authorizations_request_id", "device_authorizations", ["request_id", "id"])

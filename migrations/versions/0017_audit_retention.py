"""How long the audit log is kept is a setting, which the database knows, because it refuses to delete earlier.

An app without a row keeps its entries for 365 days. The previous release deletes entries after 90 days: the database
refuses that from now on, which that release logs as a failed chore every ten minutes until it is replaced.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"

DEFAULT_DAYS = 365
MOST_DAYS = 36_500


def upgrade() -> None:
    op.create_table(
        "audit_retention",
        sa.Column(
            "app",
            sa.Text,
            primary_key=True,
            comment="Platform and app, joined by a colon: the app whose row this is",
        ),
        sa.Column(
            "days",
            sa.Integer,
            nullable=False,
            comment="How long entries of the audit log are kept (BOT_AUDIT_RETENTION_DAYS)",
        ),
        sa.CheckConstraint(f"days BETWEEN 1 AND {MOST_DAYS}", name="ck_audit_retention_days"),
        comment="How long the audit log of each app is kept: the database deletes no younger entry",
    )
    if op.get_bind().dialect.name == "postgresql":
        guard_on_postgresql()
    else:
        guard_on_sqlite()


def guard_on_sqlite() -> None:
    kept = f"coalesce((SELECT days FROM audit_retention WHERE app = OLD.app), {DEFAULT_DAYS})"  # noqa: S608
    op.execute("DROP TRIGGER audit_log_is_kept")
    op.execute(
        "CREATE TRIGGER audit_log_is_kept BEFORE DELETE ON audit_log "
        f"WHEN OLD.at > strftime('%Y-%m-%d %H:%M:%f', 'now', '-' || {kept} || ' days') "
        "BEGIN SELECT RAISE(ABORT, 'audit_log is kept for as long as audit_retention says'); END"
    )


def guard_on_postgresql() -> None:
    """As the owner of the tables, with the name of the schema: a temporary table cannot stand in for the real one."""
    op.execute(
        "COMMENT ON TABLE audit_log IS 'What happened to which user. Rows cannot be changed, and not be deleted before "
        "the time in audit_retention'"
    )
    body: Any = f"""
        CREATE OR REPLACE FUNCTION guard_audit_log() RETURNS trigger LANGUAGE plpgsql
        SECURITY DEFINER SET search_path = pg_catalog AS $$
        DECLARE
            kept integer;
        BEGIN
            IF TG_OP = 'UPDATE' THEN
                RAISE EXCEPTION 'audit_log is never changed';
            ELSIF TG_OP = 'TRUNCATE' THEN
                RAISE EXCEPTION 'audit_log is never emptied';
            END IF;
            EXECUTE format('SELECT days FROM %I.audit_retention WHERE app = $1', TG_TABLE_SCHEMA)
                INTO kept USING OLD.app;
            kept := coalesce(kept, {DEFAULT_DAYS});
            IF OLD.at > now() - make_interval(days => kept) THEN
                RAISE EXCEPTION 'audit_log is kept for % days', kept;
            END IF;
            RETURN OLD;
        END
        $$
        """  # noqa: S608
    op.execute(body)

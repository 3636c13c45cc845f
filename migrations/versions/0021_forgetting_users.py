"""A user can be forgotten: the one exception to the rule that the audit log is kept, and it cannot be used silently.

A row that is inserted into `audit_erasures` is an order. A trigger carries it out in the same statement: it writes an
audit entry that names the user by a pseudonym, deletes all entries about the user, and removes the order. There is no
other way to delete an entry that has to be kept: no selection of entries, and none without the entry that says so. That
entry names no user, so no further order erases it.

`users.name_asked_at` spaces the requests for the names of users who have not consented.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
expands = True

DEFAULT_DAYS = 365
"""As in revision 0017, whose guard is replaced."""
COMMENT = (
    "Orders to erase the audit entries about a user. Always empty: the database carries out each at once, and writes an "
    "audit entry (user_forgotten)"
)
APP = {
    "sqlite": "substr(user_key, 1, instr(user_key, ':') + instr(substr(user_key, instr(user_key, ':') + 1), ':') - 1)",
    "postgresql": "split_part(user_key, ':', 1) || ':' || split_part(user_key, ':', 2)",
}


def upgrade() -> None:
    op.add_column(
        "users",
        sa.Column(
            "name_asked_at",
            sa.DateTime(timezone=True),
            comment="When the platform was last asked for the name of a user who has not consented",
        ),
    )
    create_table()
    if on_postgresql():
        guard_on_postgresql()
    else:
        guard_on_sqlite()


def on_postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def create_table() -> None:
    app = sa.Computed(APP[op.get_bind().dialect.name], persisted=on_postgresql())
    op.create_table(
        "audit_erasures",
        sa.Column("user_key", sa.Text, comment="The user to forget"),
        sa.Column(
            "pseudonym",
            sa.Text,
            nullable=False,
            comment="The name of the user in the entry that says so; only a holder of the encryption keys can compute it",
        ),
        sa.Column("detail", sa.Text, nullable=False, comment="Detail of that entry, as JSON"),
        sa.Column(
            "app",
            sa.Text,
            app,
            nullable=False,
            comment="Platform and app, joined by a colon: the app whose row this is",
        ),
        sa.PrimaryKeyConstraint("user_key", name="pk_audit_erasures"),
        sa.CheckConstraint("length(pseudonym) = 32", name="ck_audit_erasures_pseudonym"),
        sa.CheckConstraint("length(detail) <= 1000", name="ck_audit_erasures_detail"),
        comment=COMMENT,
    )


def guard_on_sqlite() -> None:
    kept = f"coalesce((SELECT days FROM audit_retention WHERE app = OLD.app), {DEFAULT_DAYS})"  # noqa: S608
    op.execute("DROP TRIGGER audit_log_is_kept")
    is_recent = f"OLD.at > strftime('%Y-%m-%d %H:%M:%f', 'now', '-' || {kept} || ' days')"
    is_ordered = "EXISTS (SELECT 1 FROM audit_erasures WHERE user_key = OLD.user_key)"
    op.execute(
        f"CREATE TRIGGER audit_log_is_kept BEFORE DELETE ON audit_log WHEN {is_recent} AND NOT {is_ordered} "
        "BEGIN SELECT RAISE(ABORT, 'audit_log is kept for as long as audit_retention says'); END"
    )
    op.execute(
        "CREATE TRIGGER audit_erasures_are_carried_out AFTER INSERT ON audit_erasures BEGIN "
        "INSERT INTO audit_log (at, action, subject_kind, subject_id, app, detail) VALUES ("
        "strftime('%Y-%m-%d %H:%M:%f000', 'now'), 'user_forgotten', 'user', NEW.pseudonym, NEW.app, "
        "json_set(NEW.detail, '$.audit_log', (SELECT count(*) FROM audit_log WHERE user_key = NEW.user_key))); "
        "DELETE FROM audit_log WHERE user_key = NEW.user_key; "
        "DELETE FROM audit_erasures WHERE user_key = NEW.user_key; END"
    )


def guard_on_postgresql() -> None:
    """As the owner of the tables, with the name of the schema: a temporary table cannot stand in for the real one."""
    body: Any = f"""
        CREATE OR REPLACE FUNCTION guard_audit_log() RETURNS trigger LANGUAGE plpgsql
        SECURITY DEFINER SET search_path = pg_catalog AS $$
        DECLARE
            kept integer;
            ordered boolean;
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
                EXECUTE format('SELECT EXISTS (SELECT FROM %I.audit_erasures WHERE user_key = $1)', TG_TABLE_SCHEMA)
                    INTO ordered USING OLD.user_key;
                IF NOT ordered THEN
                    RAISE EXCEPTION 'audit_log is kept for % days', kept;
                END IF;
            END IF;
            RETURN OLD;
        END
        $$
        """  # noqa: S608
    op.execute(body)
    op.execute(
        """
        CREATE FUNCTION carry_out_audit_erasure() RETURNS trigger LANGUAGE plpgsql
        SECURITY DEFINER SET search_path = pg_catalog AS $$
        DECLARE
            entries bigint;
        BEGIN
            EXECUTE format('SELECT count(*) FROM %I.audit_log WHERE user_key = $1', TG_TABLE_SCHEMA)
                INTO entries USING NEW.user_key;
            EXECUTE format(
                'INSERT INTO %I.audit_log (at, action, subject_kind, subject_id, app, detail) '
                'VALUES (now(), ''user_forgotten'', ''user'', $1, $2, $3)', TG_TABLE_SCHEMA
            ) USING NEW.pseudonym, NEW.app,
                (NEW.detail::jsonb || jsonb_build_object('audit_log', entries))::text;
            EXECUTE format('DELETE FROM %I.audit_log WHERE user_key = $1', TG_TABLE_SCHEMA) USING NEW.user_key;
            EXECUTE format('DELETE FROM %I.audit_erasures WHERE user_key = $1', TG_TABLE_SCHEMA)
                USING NEW.user_key;
            RETURN NULL;
        END
        $$
        """
    )
    op.execute(
        "CREATE TRIGGER audit_erasures_are_carried_out AFTER INSERT ON audit_erasures "
        "FOR EACH ROW EXECUTE FUNCTION carry_out_audit_erasure()"
    )

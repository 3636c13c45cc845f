"""Each row says which app it belongs to, so that several apps can share a database; calls count how often they were
taken over without a step; urgent ones run beside others; a replica says which lock shows that it is alive.

The app of a row that names a person follows from the person's key, so it is computed by the database: rows of the
previous release have it as well. Only sign-ins, replicas and the audit log name it themselves. It is empty where an
earlier release has written the row and nothing tells.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

APP = "Platform and app, joined by a colon: the app whose row this is"
TOLD = f"{APP}; empty when an earlier release wrote it"
OF_USER_KEY = {
    "sqlite": "substr(user_key, 1, instr(user_key, ':') + instr(substr(user_key, instr(user_key, ':') + 1), ':') - 1)",
    "postgresql": "split_part(user_key, ':', 1) || ':' || split_part(user_key, ':', 2)",
}
OF_PARTS = "platform || ':' || app_id"
BY_PARTS = ("users", "events", "scope_waits")
BY_USER_KEY = (
    "deferred_calls",
    "outgoing_messages",
    "authorization_requests",
    "device_authorizations",
    "grants",
    "revocations",
    "sessions",
)
BY_ITSELF = ("authorization_attempts", "replicas", "audit_log")

LIVE_DEVICE = "status IN ('minting', 'polling')"
CAN_REFRESH = "status = 'active' AND refresh_token IS NOT NULL"
INDEXES: dict[str, list[tuple[str, list[str], str | None]]] = {
    "events": [("received_at", ["app", "received_at"], None)],
    "deferred_calls": [
        ("next", ["app", "runs_after", "id"], "status = 'running' OR (status = 'queued' AND NOT behind)"),
        ("behind", ["app", "user_key", "asked_at", "id"], "status = 'queued' AND behind"),
        ("waiting_for", ["app", "waits_for", "asked_at"], "status = 'suspended'"),
        ("expiry", ["app", "expires_at"], "status IN ('queued', 'suspended')"),
        (
            "unanswered",
            ["app", "first_failed_at"],
            "settled_at IS NULL AND first_failed_at IS NOT NULL AND interim_at IS NULL",
        ),
        ("settled", ["app", "settled_at"], "settled_at IS NOT NULL"),
        ("message", ["app", "message_id"], "message_id IS NOT NULL"),
    ],
    "outgoing_messages": [
        ("due", ["app", "runs_after", "id"], "status IN ('queued', 'sending')"),
        ("settled", ["app", "settled_at"], "settled_at IS NOT NULL"),
    ],
    "authorization_requests": [
        ("card_due", ["app", "card_due_at"], "card_shown < card_wanted"),
        ("expiry", ["app", "expires_at"], "status = 'open'"),
        ("settled", ["app", "settled_at"], "settled_at IS NOT NULL"),
    ],
    "authorization_attempts": [
        ("stranded", ["app", "lease_until"], "status = 'redeeming'"),
        ("expires_at", ["app", "expires_at"], None),
    ],
    "device_authorizations": [("due", ["app", "runs_after"], LIVE_DEVICE)],
    "grants": [
        ("in_use", ["app", "last_used_at"], CAN_REFRESH),
        ("kept_alive", ["app", "refresh_expires_at"], CAN_REFRESH),
        ("renewal", ["app", "access_expires_at"], CAN_REFRESH),
    ],
    "sessions": [("expires_at", ["app", "expires_at"], None)],
    "revocations": [
        ("due", ["app", "runs_after"], "status = 'queued'"),
        ("settled", ["app", "settled_at"], "settled_at IS NOT NULL"),
    ],
    "scope_waits": [("cards_due", ["app", "cards_due_at"], "cards_shown < cards_wanted")],
    "audit_log": [("at", ["app", "at"], None)],
}
"""Each takes the place of the one of the same name, which did not have the app."""


def upgrade() -> None:
    add_apps()
    op.add_column(
        "deferred_calls",
        sa.Column(
            "urgent",
            sa.Boolean(),
            nullable=False,
            server_default=sa.text("false"),
            comment="Runs beside its person's other calls, and waits for none of them",
        ),
    )
    op.add_column(
        "deferred_calls",
        sa.Column(
            "takeovers",
            sa.Integer(),
            nullable=False,
            server_default=sa.text("0"),
            comment="How often it was claimed from a worker that had lost it, since it last made a step",
        ),
    )
    op.add_column(
        "replicas",
        sa.Column(
            "presence_lock",
            sa.BigInteger(),
            comment="Advisory lock that it holds for as long as it lives; none: only its leases tell",
        ),
    )
    op.add_column(
        "scope_waits", sa.Column("cards_worker", sa.Text(), comment="The replica that last showed the cards")
    )
    make_indexes()


def on_postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"


# --- which app -------------------------------------------------------------------------------------


def add_apps() -> None:
    of_user_key = OF_USER_KEY[op.get_bind().dialect.name]
    for table in BY_PARTS:
        add_computed(table, OF_PARTS)
    for table in BY_USER_KEY:
        add_computed(table, of_user_key)
    for table in BY_ITSELF:
        told = sa.Column("app", sa.Text(), nullable=False, server_default=sa.text("''"), comment=TOLD)
        op.add_column(table, told)
    only_app = "(SELECT CASE WHEN count(DISTINCT app) = 1 THEN min(app) ELSE '' END FROM users)"
    op.execute(
        f"UPDATE authorization_attempts SET app = CASE WHEN user_key IS NOT NULL THEN {of_user_key} ELSE {only_app} END"  # noqa: S608
    )
    tell_audit_log(
        f"""
        UPDATE audit_log SET app = CASE WHEN user_key IS NOT NULL THEN {of_user_key} ELSE coalesce(
            (SELECT app FROM scope_waits WHERE subject_kind = 'scope_wait' AND id = subject_id),
            (SELECT app FROM authorization_attempts WHERE subject_kind = 'attempt' AND id = subject_id),
            {only_app}) END
        """  # noqa: S608
    )


def add_computed(table: str, expression: str) -> None:
    """SQLite can only add a column that is computed whenever it is read."""
    computed = sa.Computed(expression, persisted=on_postgresql())
    op.add_column(table, sa.Column("app", sa.Text(), computed, nullable=False, comment=APP))


def tell_audit_log(statement: str) -> None:
    """Its trigger forbids any change, of the owner's as well."""
    if on_postgresql():
        op.execute("ALTER TABLE audit_log DISABLE TRIGGER USER")
        op.execute(statement)
        op.execute("ALTER TABLE audit_log ENABLE TRIGGER USER")
        return
    find = sa.text(
        "SELECT sql FROM sqlite_master WHERE type = 'trigger' AND name = 'audit_log_is_not_changed'"
    )
    trigger = op.get_bind().execute(find).scalar_one()
    op.execute("DROP TRIGGER audit_log_is_not_changed")
    op.execute(statement)
    op.get_bind().exec_driver_sql(trigger)


# --- indexes ---------------------------------------------------------------------------------------


def make_indexes() -> None:
    for table, indexes in INDEXES.items():
        for name, columns, condition in indexes:
            op.drop_index(f"ix_{table}_{name}", table)
            make_index(table, name, columns, condition)
    # One key may tell a message of either app.
    op.drop_index("ix_outgoing_messages_delivery_key", "outgoing_messages")
    make_index("outgoing_messages", "delivery_key", ["app", "delivery_key"], unique=True)
    # What the release before the last claimed by.
    op.drop_index("ix_deferred_calls_claimable", "deferred_calls")
    op.drop_index("ix_deferred_calls_one_running", "deferred_calls")
    make_index(
        "deferred_calls", "one_running", ["user_key"], "status = 'running' AND NOT urgent", unique=True
    )
    make_index("grants", "refreshing", ["app", "refresh_lease_until"], "refresh_lease_until IS NOT NULL")
    make_index("users", "app", ["app"])
    make_index("deferred_calls", "urgent", ["app", "runs_after", "id"], "status = 'queued' AND urgent")


def make_index(
    table: str, name: str, columns: list[str], condition: str | None = None, **options: Any
) -> None:
    if condition is not None:
        options |= {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}
    op.create_index(f"ix_{table}_{name}", table, columns, **options)

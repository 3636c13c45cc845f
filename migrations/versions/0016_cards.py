"""Cards have a table of their own; the status `minting` is called `requesting`; comments are reworded.

Stop the replicas of the previous release first, as for revision 0009. That release writes the state of a card into the
columns of the row that the card shows, and `minting`. The database refuses both from now on, so that no card is drawn
by two programs that know nothing of each other. What such a replica could not write is done by the new ones: a call when
its lease ends, an event when the platform delivers it again.

The former columns stay, as they were, for a release that needs them no longer to drop them. Nothing reads them. The
proofs of cards move unchanged: they are bound to the name of the former column, so the upgrade needs no keys for them.

There is no way back: restore the backup.
"""

import re

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"

MOVED = "No longer used: see the table cards. A later release drops it"
APP = "Platform and app, joined by a colon: the app whose row this is"
FORMER: dict[str, tuple[str, ...]] = {
    "authorization_requests": (
        *("card_message_id", "card_ephemeral", "card_seal", "card_wanted", "card_shown", "card_worker"),
        *("card_lease_until", "card_attempts", "card_moves", "card_due_at", "card_sent_at"),
    ),
    "scope_waits": ("cards_wanted", "cards_shown", "cards_claim", "cards_due_at", "cards_worker"),
}
DUE = {"authorization_requests": "card_due_at", "scope_waits": "cards_due_at"}
"""What the previous release writes into every new row."""
NO_LONGER_REQUIRED = ("card_ephemeral", "card_wanted", "card_shown", "card_attempts", "card_due_at")
TABLES = {
    "audit_log": "What happened to which user. Rows cannot be changed, and not be deleted for 90 days",
    "events": "Events that were received, so that a repeated delivery has no effect",
    "users": "Users that the bot knows",
    "deferred_calls": "Commands that users sent: each runs once, or waits for what it lacks",
    "outgoing_messages": "The outbox: a message is recorded here before it is sent",
    "authorization_requests": "Requests for scopes: at most one is open for each user, and each has a card",
    "scope_waits": "Scopes that calls need and that an administrator has to enable",
}
COMMENTS = {
    "users": {
        "app_id": "App through which the bot knows this user",
        "tenant_key": "The user's organization at the platform",
        "open_id": "The user's id within the app",
        "union_id": "The user's id across the developer's apps",
        "language": "Language of the user's client: en or zh",
        "created_at": "When the bot first heard of this user",
        "seen_at": "When the bot last heard of this user",
        "welcomed_at": "When the user was told what the bot can do",
        "offered_at": "When the user was last offered to give back unused scopes",
        "quiet_since": "When the user last declined; no reminders since then",
    },
    "events": {"message_id": "The message of the event; each message counts once"},
    "deferred_calls": {
        "asked_at": "When it was asked, by the platform's clock: the order of a user's calls",
        "attempts": "How often a worker has claimed it since it was last released",
        "interim_at": "When its user was told that it is being retried",
        "runs_after": "Not claimed before this time; for a running call, when its lease ends",
        "expires_at": "When it expires, if it has not run by then",
        "confirmed": "Whether its user has confirmed this old write",
        "behind": "Whether it is queued behind another call of its user, and not claimed before it is the next",
        "recalled_at": "When its message was recalled, if it had not ended by then",
        "urgent": "Whether it runs beside its user's other calls, and waits for none of them",
        "takeovers": "How often it was claimed because another worker's lease had ended, since its last step",
    },
    "outgoing_messages": {
        "user_key": "The recipient; an administrator need not be a user",
        "kind": "What it is for: an answer, a note, a card",
        "delivery_key": "The key by which the platform recognizes a repeated sending",
        "chat_id": "The chat it is sent to; NULL: to the user directly",
        "runs_after": "Not sent before this time; for one being sent, when its lease ends",
        "attempts": "How often a worker began to send it",
        "first_tried_at": "When it was first sent, if that may have arrived",
        "sent_at": "When the platform accepted it",
    },
    "message_reactions": {"reaction_id": "The platform's id of the reaction; NULL while it is being added"},
    "authorization_requests": {
        "created_at": "When it was opened",
        "expires_at": "When it expires",
        "opened_at": "When its link was first opened in a browser",
        **dict.fromkeys(FORMER["authorization_requests"], MOVED),
    },
    "authorization_attempts": {
        "user_key": "The user who was asked; NULL for a sign-in",
        "browser_digest": "Fingerprint of the value that marks the browser in which a sign-in was started",
        "lease_until": "When that replica's lease ends",
    },
    "device_authorizations": {
        "interval_seconds": "Seconds between two polls, as the platform asks for",
        "failures": "Consecutive failures of the platform to answer",
        "runs_after": "Not tried before this time; for one being tried, when its lease ends",
        "claim": "Counts the claims: a worker with an older number has lost it",
        "expires_at": "When the code expires at the platform",
    },
    "grants": {
        "user_key": "The user who granted it",
        "generation": "Counts the changes of the tokens: a refresh with an older number is discarded",
        "issued_at": "When these tokens were issued, by a consent or a refresh",
        "refresh_lease_until": "When that replica's lease of the refresh token ends",
        "refresh_started_at": "When a refresh was started whose outcome is not known",
        "refresh_after": "After a failure: no refresh before this time",
    },
    "revocations": {
        "user_key": "The user whose grant it was",
        "runs_after": "Not tried before this time; for one being tried, when its lease ends",
    },
    "scope_waits": dict.fromkeys(FORMER["scope_waits"], MOVED),
    "replicas": {
        "presence_lock": "Advisory lock that it holds while it runs; NULL: only its leases show that it runs"
    },
    "key_check": {"sealed": "A known text, sealed: it shows at once whether the keys are wrong"},
}
LIVE_DEVICE = "status IN ('requesting', 'polling')"
DEVICE_RULES = {
    "status": "status IN ('requesting', 'polling', 'completed', 'denied', 'failed', 'expired')",
    "settled_has_time": f"(settled_at IS NULL) = ({LIVE_DEVICE})",
}
DEVICE_INDEXES: dict[str, tuple[list[str], bool]] = {
    "one_live": (["request_id"], True),
    "due": (["app", "runs_after"], False),
    "live_of_user": (["user_key"], False),
}


def upgrade() -> None:
    on_postgresql = op.get_bind().dialect.name == "postgresql"
    if on_postgresql:
        # Nothing of the previous release comes in between.
        op.execute(
            "LOCK TABLE authorization_requests, scope_waits, device_authorizations IN ACCESS EXCLUSIVE MODE"
        )
    make_cards()
    op.drop_index("ix_authorization_requests_card_due", "authorization_requests")
    op.drop_index("ix_scope_waits_cards_due", "scope_waits")
    for name in DEVICE_INDEXES:
        op.drop_index(f"ix_device_authorizations_{name}", "device_authorizations")
    if on_postgresql:
        change_tables_on_postgresql()
    else:
        rebuild_tables_on_sqlite()
    for name, (columns, unique) in DEVICE_INDEXES.items():
        make_index("device_authorizations", name, columns, LIVE_DEVICE, unique=unique)
    for table, due_at in DUE.items():
        refuse_former_release(table, due_at)


# --- cards -----------------------------------------------------------------------------------------


def make_cards() -> None:
    time = sa.DateTime(timezone=True)
    op.create_table(
        "cards",
        sa.Column(
            "id",
            sa.Text,
            nullable=False,
            comment="The id of what it shows: an authorization request or a scope wait",
        ),
        sa.Column(
            "request_id",
            sa.Text,
            sa.ForeignKey(
                "authorization_requests.id",
                name="fk_cards_request_id_authorization_requests",
                ondelete="CASCADE",
            ),
            comment="The authorization request that it shows to its user, in one message",
        ),
        sa.Column(
            "scope_wait_id",
            sa.Text,
            sa.ForeignKey("scope_waits.id", name="fk_cards_scope_wait_id_scope_waits", ondelete="CASCADE"),
            comment="The scope wait that it shows to administrators, each of whom has a message in outgoing_messages",
        ),
        sa.Column("app", sa.Text, nullable=False, comment=APP),
        sa.Column(
            "wanted", sa.Integer, nullable=False, comment="Counts the changes that the card should show"
        ),
        sa.Column(
            "shown", sa.Integer, nullable=False, comment="The last of these changes that the card shows"
        ),
        sa.Column("due_at", time, nullable=False, comment="When it is to be drawn (again)"),
        sa.Column(
            "attempts",
            sa.Integer,
            nullable=False,
            server_default="0",
            comment="Failed attempts to show the latest change",
        ),
        sa.Column("worker", sa.Text, comment="The replica that is drawing it"),
        sa.Column("lease_until", time, comment="When that replica's lease ends"),
        sa.Column(
            "claim",
            sa.Integer,
            nullable=False,
            server_default="0",
            comment="Counts the claims: a worker with an older number has lost it",
        ),
        sa.Column("message_id", sa.Text, comment="The message that shows it to its user"),
        sa.Column(
            "ephemeral",
            sa.Boolean,
            nullable=False,
            server_default=sa.text("false"),
            comment="Whether that message is visible to its reader alone, and cannot be changed",
        ),
        sa.Column(
            "seal", sa.Text, comment="Proof, made with the encryption keys, that this message shows the card"
        ),
        sa.Column(
            "moves",
            sa.Integer,
            nullable=False,
            server_default="0",
            comment="How often it was sent again as a new message",
        ),
        sa.Column("sent_at", time, comment="When it was first shown"),
        sa.PrimaryKeyConstraint("id", name="pk_cards"),
        sa.CheckConstraint(
            "(request_id IS NULL) <> (scope_wait_id IS NULL) AND id = coalesce(request_id, scope_wait_id)",
            name="ck_cards_shows_one",
        ),
        sa.CheckConstraint("shown <= wanted", name="ck_cards_shown_is_wanted"),
        sa.CheckConstraint("(worker IS NULL) = (lease_until IS NULL)", name="ck_cards_lease_has_worker"),
        sa.CheckConstraint("seal IS NULL OR message_id IS NOT NULL", name="ck_cards_seal_of_message"),
        sa.CheckConstraint("seal LIKE 'v1.%'", name="ck_cards_sealed"),
        comment="Cards of authorization requests and of scope waits: what they should show, and what they do",
    )
    op.execute(
        """
        INSERT INTO cards (id, request_id, app, wanted, shown, due_at, attempts, worker, lease_until, message_id,
            ephemeral, seal, moves, sent_at)
        SELECT id, id, app, card_wanted, card_shown, card_due_at, card_attempts, card_worker, card_lease_until,
            card_message_id, card_ephemeral, card_seal, card_moves, card_sent_at FROM authorization_requests
        """
    )
    op.execute(
        """
        INSERT INTO cards (id, scope_wait_id, app, wanted, shown, due_at, claim)
        SELECT id, id, app, cards_wanted, cards_shown, coalesce(cards_due_at, created_at), cards_claim
        FROM scope_waits
        """
    )
    make_index("cards", "due", ["app", "due_at"], "shown < wanted")
    make_index("cards", "request_id", ["request_id"], "request_id IS NOT NULL", unique=True)
    make_index("cards", "scope_wait_id", ["scope_wait_id"], "scope_wait_id IS NOT NULL", unique=True)


def make_index(table: str, name: str, columns: list[str], condition: str, *, unique: bool = False) -> None:
    where = sa.text(condition)
    op.create_index(
        f"ix_{table}_{name}", table, columns, unique=unique, sqlite_where=where, postgresql_where=where
    )


REFUSAL = "cards have a table of their own: stop the previous release of the bot"


def refuse_former_release(table: str, due_at: str) -> None:
    """Refuse what a replica of the previous release writes. This release leaves its columns alone."""
    columns = ", ".join(FORMER[table])
    if op.get_bind().dialect.name == "postgresql":
        body = f"$$ BEGIN RAISE EXCEPTION '{REFUSAL}'; END $$"
        op.execute(f"CREATE FUNCTION refuse_former_{table}() RETURNS trigger LANGUAGE plpgsql AS {body}")
        insert = f"FOR EACH ROW WHEN (NEW.{due_at} IS NOT NULL) EXECUTE FUNCTION refuse_former_{table}()"
        update = f"FOR EACH ROW EXECUTE FUNCTION refuse_former_{table}()"
    else:
        refuse = f"BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END"
        insert, update = f"WHEN NEW.{due_at} IS NOT NULL {refuse}", refuse
    op.execute(f"CREATE TRIGGER {table}_without_card BEFORE INSERT ON {table} {insert}")
    op.execute(f"CREATE TRIGGER {table}_keeps_card BEFORE UPDATE OF {columns} ON {table} {update}")


# --- PostgreSQL ------------------------------------------------------------------------------------


def change_tables_on_postgresql() -> None:
    for name in NO_LONGER_REQUIRED:
        op.execute(f"ALTER TABLE authorization_requests ALTER COLUMN {name} DROP NOT NULL")
    for name in DEVICE_RULES:
        op.execute(f"ALTER TABLE device_authorizations DROP CONSTRAINT ck_device_authorizations_{name}")
    op.execute("UPDATE device_authorizations SET status = 'requesting' WHERE status = 'minting'")
    for name, rule in DEVICE_RULES.items():
        op.execute(
            f"ALTER TABLE device_authorizations ADD CONSTRAINT ck_device_authorizations_{name} CHECK ({rule})"
        )
    for table, comment in TABLES.items():
        op.execute(f"COMMENT ON TABLE {table} IS {quoted(comment)}")
    for table, comments in COMMENTS.items():
        for column, comment in comments.items():
            op.execute(f"COMMENT ON COLUMN {table}.{column} IS {quoted(comment)}")


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


# --- SQLite ----------------------------------------------------------------------------------------


def rebuild_tables_on_sqlite() -> None:
    """SQLite's own procedure: a new table from the changed statement of the old one; its rows; its indexes.

    Foreign keys have to be off, or dropping a table would delete what refers to its rows; they are checked at the end.
    """
    connection = op.get_bind()
    assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 0, "Turn foreign keys off first."
    connection.exec_driver_sql("PRAGMA legacy_alter_table = ON")  # else views forbid the renaming
    for table, comments in COMMENTS.items():
        found = connection.execute(
            sa.text(
                "SELECT sql FROM sqlite_master WHERE tbl_name = :table AND sql IS NOT NULL ORDER BY type <> 'table'"
            ),
            {"table": table},
        )
        statement, *others = found.scalars()
        columns = connection.execute(sa.text("SELECT name FROM pragma_table_info(:t)"), {"t": table})
        names = [row.name for row in columns]
        values = [renamed_status(name) if table == "device_authorizations" else name for name in names]
        connection.exec_driver_sql(changed(statement, table, comments))
        connection.exec_driver_sql(
            f"INSERT INTO new_{table} ({', '.join(names)}) SELECT {', '.join(values)} FROM {table}"  # noqa: S608
        )
        connection.exec_driver_sql(f"DROP TABLE {table}")
        connection.exec_driver_sql(f"ALTER TABLE new_{table} RENAME TO {table}")
        for other in others:
            connection.exec_driver_sql(other)
    connection.exec_driver_sql("PRAGMA legacy_alter_table = OFF")
    assert not connection.exec_driver_sql("PRAGMA foreign_key_check").all(), "A row refers to none."


def renamed_status(column: str) -> str:
    return "CASE status WHEN 'minting' THEN 'requesting' ELSE status END" if column == "status" else column


def changed(statement: str, table: str, comments: dict[str, str]) -> str:
    """Return the statement for the new table."""
    statement = re.sub(r"^CREATE TABLE \W?\w+\W? \(", f"CREATE TABLE new_{table} (", statement)
    if table == "device_authorizations":
        statement = statement.replace("'minting'", "'requesting'")
    for column, comment in comments.items():
        # A column as SQLAlchemy writes it: its name, its type in capitals, its comment at the end.
        pattern = rf'((?:\(|,)\s*"?{column}"? [A-Z][^/]*)/\* .*? \*/'
        statement, count = re.subn(pattern, lambda m, c=comment: f"{m[1]}/* {c} */", statement, count=1)
        assert count == 1, f"{table}.{column} has no comment."
    if table == "authorization_requests":
        for column in NO_LONGER_REQUIRED:
            statement, count = re.subn(rf"(\b{column} [A-Z]+) NOT NULL", r"\1", statement, count=1)
            assert count == 1, f"{table}.{column} may be NULL."
    return statement

"""Everything there is: people, their calls, requests and grants, what the bot says, and the audit log.

A migration runs while the previous release is still serving. So it must not

* break what that release reads or writes: expand in one release, contract in a later one;
* hold a lock for long: no rewriting of a large table in one statement, indexes of large tables concurrently;
* import `bot`: it has to do in a year what it does today.

There is no way back: restore the backup.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

RETENTION_DAYS = 90
"""For so long nobody can delete a row of the audit log."""


def upgrade() -> None:
    create_tables()
    create_views()
    guard_audit_log()


def where(condition: str) -> dict[str, Any]:
    """The condition of a partial index, for both databases."""
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


def on_postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def days_ago(days: int) -> str:
    """A time in the database's own clock, as SQL that compares with a column."""
    if on_postgresql():
        return f"now() - interval '{days} days'"
    return f"strftime('%Y-%m-%d %H:%M:%f', 'now', '-{days} days')"


VIEWS = {
    "who_is_waiting": (
        "What has been asked and is not answered yet, the longest-waiting first",
        """
        SELECT users.name, calls.user_key, calls.id AS call_id, calls.command, calls.status, calls.waits_for,
               calls.needs, calls.asked_at, calls.first_failed_at, calls.expires_at
        FROM deferred_calls AS calls JOIN users ON users.user_key = calls.user_key
        WHERE calls.status IN ('queued', 'running', 'suspended')
        ORDER BY calls.asked_at
        """,
    ),
    "grants_overview": (
        "What people have granted, without the tokens",
        """
        SELECT users.name, grants.user_key, grants.status, grants.scopes, grants.authorized_at, grants.last_used_at,
               grants.access_expires_at, grants.refresh_token IS NOT NULL AS can_refresh, grants.refresh_expires_at,
               grants.refreshed_at, grants.refresh_failures, grants.ended_at, grants.end_reason
        FROM grants JOIN users ON users.user_key = grants.user_key
        ORDER BY grants.authorized_at DESC
        """,
    ),
    "recent_trouble": (
        "What went wrong in the last seven days, the latest first",
        """
        SELECT settled_at AS at, 'call' AS what, id, user_key, status, outcome AS reason FROM deferred_calls
        WHERE status IN ('failed', 'outcome_unknown', 'expired') AND settled_at > {week_ago}
        UNION ALL
        SELECT settled_at, 'message', id, user_key, status, reason FROM outgoing_messages
        WHERE status IN ('undeliverable', 'outcome_unknown') AND settled_at > {week_ago}
        UNION ALL
        SELECT settled_at, 'request', id, user_key, status, failure FROM authorization_requests
        WHERE status IN ('failed', 'expired') AND settled_at > {week_ago}
        UNION ALL
        SELECT settled_at, 'revocation', id, user_key, status, reason FROM revocations
        WHERE status = 'failed' AND settled_at > {week_ago}
        ORDER BY 1 DESC
        """,
    ),
}


def create_views() -> None:
    for name, (comment, query) in VIEWS.items():
        op.execute(f"CREATE VIEW {name} AS {query.format(week_ago=days_ago(7))}")
        if on_postgresql():
            op.execute(f"COMMENT ON VIEW {name} IS '{comment}'")


def guard_audit_log() -> None:
    """Not even an operator changes the past by mistake: that takes dropping a trigger, which is no mistake."""
    recent = f"OLD.at > {days_ago(RETENTION_DAYS)}"
    if not on_postgresql():
        op.execute(
            "CREATE TRIGGER audit_log_is_not_changed BEFORE UPDATE ON audit_log "
            "BEGIN SELECT RAISE(ABORT, 'audit_log is never changed'); END"
        )
        op.execute(
            f"CREATE TRIGGER audit_log_is_kept BEFORE DELETE ON audit_log WHEN {recent} "
            f"BEGIN SELECT RAISE(ABORT, 'audit_log is kept for {RETENTION_DAYS} days'); END"
        )
        return
    op.execute(
        f"""
        CREATE FUNCTION guard_audit_log() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'UPDATE' THEN
                RAISE EXCEPTION 'audit_log is never changed';
            ELSIF TG_OP = 'TRUNCATE' THEN
                RAISE EXCEPTION 'audit_log is never emptied';
            ELSIF {recent} THEN
                RAISE EXCEPTION 'audit_log is kept for {RETENTION_DAYS} days';
            END IF;
            RETURN OLD;
        END
        $$
        """
    )
    op.execute(
        "CREATE TRIGGER audit_log_is_guarded BEFORE UPDATE OR DELETE ON audit_log "
        "FOR EACH ROW EXECUTE FUNCTION guard_audit_log()"
    )
    op.execute(
        "CREATE TRIGGER audit_log_is_not_emptied BEFORE TRUNCATE ON audit_log "
        "FOR EACH STATEMENT EXECUTE FUNCTION guard_audit_log()"
    )


def create_tables() -> None:
    op.create_table(
        "audit_log",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            sa.Identity(always=True),
            nullable=False,
            comment="Counts upwards",
        ),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False, comment="When it happened"),
        sa.Column("action", sa.Text(), nullable=False, comment="What happened"),
        sa.Column("user_key", sa.Text(), nullable=True, comment="Whom it concerns"),
        sa.Column(
            "subject_kind", sa.Text(), nullable=True, comment="What it happened to: call, request, attempt, …"
        ),
        sa.Column("subject_id", sa.Text(), nullable=True, comment="The id of that"),
        sa.Column(
            "detail", sa.Text(), nullable=False, comment="Codes, scopes and numbers as JSON; never free text"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_audit_log"),
        comment="What happened to whom. Rows cannot be changed, nor deleted for 90 days",
    )
    op.create_index("ix_audit_log_at", "audit_log", ["at"])
    op.create_index("ix_audit_log_user_key", "audit_log", ["user_key", "id"])
    op.create_table(
        "events",
        sa.Column("platform", sa.Text(), nullable=False, comment="Chat platform that sent it"),
        sa.Column("app_id", sa.Text(), nullable=False, comment="App to which it was sent"),
        sa.Column("event_id", sa.Text(), nullable=False, comment="The platform's id of the event"),
        sa.Column(
            "message_id",
            sa.Text(),
            nullable=True,
            comment="The message that the event brought; seen at most once as well",
        ),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False, comment="When it was recorded"),
        sa.PrimaryKeyConstraint("platform", "app_id", "event_id", name="pk_events"),
        comment="Events seen, so that one delivered again has no second effect",
    )
    op.create_index(
        "ix_events_message_once",
        "events",
        ["platform", "app_id", "message_id"],
        unique=True,
        **where("message_id IS NOT NULL"),
    )
    op.create_index("ix_events_received_at", "events", ["received_at"])
    op.create_table(
        "key_check",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False, comment="Always 1"),
        sa.Column(
            "sealed",
            sa.Text(),
            nullable=False,
            comment="A known text, sealed: it tells at once when the keys are wrong",
        ),
        sa.CheckConstraint("id = 1", name="ck_key_check_one_row"),
        sa.PrimaryKeyConstraint("id", name="pk_key_check"),
        comment="Tells whether the encryption keys fit this database",
    )
    op.create_table(
        "replicas",
        sa.Column("id", sa.Text(), nullable=False, comment="The replica's name in leases"),
        sa.Column("host", sa.Text(), nullable=False, comment="Where it runs"),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False, comment="Its first heartbeat"),
        sa.Column("heartbeat_at", sa.DateTime(timezone=True), nullable=False, comment="Its latest heartbeat"),
        sa.Column(
            "key_ids",
            sa.Text(),
            nullable=False,
            comment="Fingerprints of the encryption keys it has, as JSON; the first one seals",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_replicas"),
        comment="Processes that serve this database",
    )
    op.create_table(
        "scope_waits",
        sa.Column("id", sa.Text(), nullable=False, comment="Sorts by time"),
        sa.Column("platform", sa.Text(), nullable=False, comment="Chat platform"),
        sa.Column("app_id", sa.Text(), nullable=False, comment="The app that lacks the scopes"),
        sa.Column(
            "scopes", sa.Text(), nullable=False, comment="Scopes that an administrator has to enable, as JSON"
        ),
        sa.Column("status", sa.Text(), nullable=False, comment="waiting or enabled"),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), nullable=False, comment="When they were first missing"
        ),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True, comment="When they were enabled"),
        sa.CheckConstraint("status IN ('waiting', 'enabled')", name="ck_scope_waits_status"),
        sa.PrimaryKeyConstraint("id", name="pk_scope_waits"),
        comment="Scopes that somebody waits for an administrator to enable",
    )
    op.create_index(
        "ix_scope_waits_one_waiting",
        "scope_waits",
        ["platform", "app_id", "scopes"],
        unique=True,
        **where("status = 'waiting'"),
    )
    op.create_table(
        "users",
        sa.Column(
            "user_key",
            sa.Text(),
            nullable=False,
            comment="Platform, app, tenant and open_id, joined by colons",
        ),
        sa.Column("platform", sa.Text(), nullable=False, comment="Chat platform: lark or dingtalk"),
        sa.Column("app_id", sa.Text(), nullable=False, comment="App through which the bot knows this person"),
        sa.Column(
            "tenant_key", sa.Text(), nullable=False, comment="The person's organization at the platform"
        ),
        sa.Column("open_id", sa.Text(), nullable=False, comment="The person's id within the app"),
        sa.Column(
            "union_id", sa.Text(), nullable=True, comment="The person's id across the developer's apps"
        ),
        sa.Column("name", sa.Text(), nullable=True, comment="Display name, as the platform last told it"),
        sa.Column("language", sa.Text(), nullable=True, comment="Language of the person's client: en or zh"),
        sa.Column("time_zone", sa.Text(), nullable=True, comment="IANA name, as a client last told it"),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="When the bot first heard of this person",
        ),
        sa.Column(
            "seen_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="When the bot last heard of this person",
        ),
        sa.Column(
            "welcomed_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When the person was told what the bot can do",
        ),
        sa.Column(
            "quiet_since",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When the person last declined; no reminders since then",
        ),
        sa.CheckConstraint("language IN ('en', 'zh')", name="ck_users_language"),
        sa.PrimaryKeyConstraint("user_key", name="pk_users"),
        comment="People that the bot has heard of",
    )
    op.create_index("ix_users_open_id", "users", ["open_id"])
    op.create_table(
        "authorization_requests",
        sa.Column("id", sa.Text(), nullable=False, comment="Sorts by time"),
        sa.Column("user_key", sa.Text(), nullable=False, comment="Who is asked"),
        sa.Column("status", sa.Text(), nullable=False, comment="Where it stands"),
        sa.Column("scopes", sa.Text(), nullable=False, comment="What its link asks for, as JSON"),
        sa.Column("granted", sa.Text(), nullable=False, comment="What of that was granted, as JSON"),
        sa.Column("refused", sa.Text(), nullable=False, comment="What of that was refused, as JSON"),
        sa.Column(
            "avoided",
            sa.Text(),
            nullable=False,
            comment="Scopes that the platform's page showed an error for, as JSON",
        ),
        sa.Column("reasons", sa.Text(), nullable=False, comment="The commands that ask, as JSON"),
        sa.Column("ticket_digest", sa.Text(), nullable=False, comment="Fingerprint of the link's ticket"),
        sa.Column("ticket", sa.Text(), nullable=False, comment="The link's ticket, sealed"),
        sa.Column("card_message_id", sa.Text(), nullable=True, comment="The message that shows its card"),
        sa.Column(
            "card_ephemeral",
            sa.Boolean(),
            nullable=False,
            comment="Whether that message is one that only its reader sees, and cannot be changed",
        ),
        sa.Column(
            "card_wanted",
            sa.Integer(),
            nullable=False,
            comment="Counts the changes that its card should show",
        ),
        sa.Column("card_shown", sa.Integer(), nullable=False, comment="The change that its card does show"),
        sa.Column("card_worker", sa.Text(), nullable=True, comment="The replica that is showing the card"),
        sa.Column(
            "card_lease_until",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="Until when that replica has the card to itself",
        ),
        sa.Column(
            "card_attempts",
            sa.Integer(),
            nullable=False,
            comment="Failed attempts at showing the latest change",
        ),
        sa.Column(
            "card_due_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="When the card is to be shown (again)",
        ),
        sa.Column(
            "card_sent_at", sa.DateTime(timezone=True), nullable=True, comment="When the card was first shown"
        ),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), nullable=False, comment="When it was first asked"
        ),
        sa.Column(
            "opened_at", sa.DateTime(timezone=True), nullable=True, comment="When its link was first opened"
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False, comment="When it is given up"),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True, comment="When it ended"),
        sa.Column("failure", sa.Text(), nullable=True, comment="Why it failed, in one word"),
        sa.CheckConstraint(
            "(settled_at IS NULL) = (status IN ('open', 'redeeming'))",
            name="ck_authorization_requests_settled_has_time",
        ),
        sa.CheckConstraint(
            "status IN ('open', 'redeeming', 'granted', 'declined', 'expired', 'superseded', 'failed')",
            name="ck_authorization_requests_status",
        ),
        sa.CheckConstraint(
            "card_shown <= card_wanted", name="ck_authorization_requests_card_shown_is_wanted"
        ),
        sa.ForeignKeyConstraint(["user_key"], ["users.user_key"], name="fk_authorization_requests_user_key"),
        sa.PrimaryKeyConstraint("id", name="pk_authorization_requests"),
        comment="Asks for scopes, one open for a person at a time; each has a card",
    )
    op.create_index(
        "ix_authorization_requests_card_due",
        "authorization_requests",
        ["card_due_at"],
        **where("card_shown < card_wanted"),
    )
    op.create_index(
        "ix_authorization_requests_expiry",
        "authorization_requests",
        ["expires_at"],
        **where("status = 'open'"),
    )
    op.create_index(
        "ix_authorization_requests_one_live",
        "authorization_requests",
        ["user_key"],
        unique=True,
        **where("status IN ('open', 'redeeming')"),
    )
    op.create_index(
        "ix_authorization_requests_settled",
        "authorization_requests",
        ["settled_at"],
        **where("settled_at IS NOT NULL"),
    )
    op.create_index(
        "ix_authorization_requests_ticket_digest", "authorization_requests", ["ticket_digest"], unique=True
    )
    op.create_index("ix_authorization_requests_user_key", "authorization_requests", ["user_key", "id"])
    op.create_table(
        "grants",
        sa.Column("user_key", sa.Text(), nullable=False, comment="Whose"),
        sa.Column("status", sa.Text(), nullable=False, comment="active or ended"),
        sa.Column(
            "generation",
            sa.Integer(),
            nullable=False,
            comment="Counts the changes of the tokens: a late refresh compares it and loses",
        ),
        sa.Column(
            "access_token",
            sa.Text(),
            nullable=True,
            comment="User access token, sealed; erased when the grant ends",
        ),
        sa.Column(
            "access_expires_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When the access token expires",
        ),
        sa.Column(
            "refresh_token",
            sa.Text(),
            nullable=True,
            comment="Refresh token, sealed; erased when the grant ends",
        ),
        sa.Column(
            "refresh_expires_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When the refresh token expires",
        ),
        sa.Column("scopes", sa.Text(), nullable=False, comment="What the tokens allow, as JSON"),
        sa.Column(
            "scopes_ever",
            sa.Text(),
            nullable=False,
            comment="All that was granted since the last revocation, as JSON",
        ),
        sa.Column(
            "authorized_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="When the person last consented",
        ),
        sa.Column(
            "issued_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="When these tokens came, by consent or refresh",
        ),
        sa.Column(
            "refreshed_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When the tokens were last refreshed",
        ),
        sa.Column(
            "last_used_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When a call last used them, to the minute",
        ),
        sa.Column("refresh_worker", sa.Text(), nullable=True, comment="The replica that is refreshing"),
        sa.Column(
            "refresh_lease_until",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="Until when that replica has the refresh token to itself",
        ),
        sa.Column(
            "refresh_started_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When a refresh was begun whose outcome is not known",
        ),
        sa.Column(
            "refresh_failures",
            sa.Integer(),
            nullable=False,
            comment="Failed refreshes since the last that succeeded",
        ),
        sa.Column(
            "refresh_after",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="No refresh before, after a failure",
        ),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True, comment="When it ended"),
        sa.Column("end_reason", sa.Text(), nullable=True, comment="Why it ended, in one word or code"),
        sa.Column(
            "oauth",
            sa.Text(),
            nullable=False,
            comment="Generation of the token endpoint that issued the tokens",
        ),
        sa.CheckConstraint(
            "(status = 'active') = (access_token IS NOT NULL)", name="ck_grants_active_has_token"
        ),
        sa.CheckConstraint("(status = 'ended') = (ended_at IS NOT NULL)", name="ck_grants_ended_has_time"),
        sa.CheckConstraint("oauth IN ('v1', 'v2', 'v3')", name="ck_grants_oauth"),
        sa.CheckConstraint("status = 'active' OR refresh_token IS NULL", name="ck_grants_tokens_erased"),
        sa.CheckConstraint("status IN ('active', 'ended')", name="ck_grants_status"),
        sa.ForeignKeyConstraint(["user_key"], ["users.user_key"], name="fk_grants_user_key"),
        sa.PrimaryKeyConstraint("user_key", name="pk_grants"),
        comment="What people granted: scopes and sealed tokens",
    )
    op.create_index(
        "ix_grants_renewal",
        "grants",
        ["access_expires_at"],
        **where("status = 'active' AND refresh_token IS NOT NULL"),
    )
    op.create_table(
        "revocations",
        sa.Column("id", sa.Text(), nullable=False, comment="Sorts by time"),
        sa.Column("user_key", sa.Text(), nullable=False, comment="Whose grant it was"),
        sa.Column(
            "token",
            sa.Text(),
            nullable=True,
            comment="The token to revoke, sealed; erased when that is settled",
        ),
        sa.Column("status", sa.Text(), nullable=False, comment="Where it stands"),
        sa.Column("attempts", sa.Integer(), nullable=False, comment="How often the platform was asked"),
        sa.Column(
            "runs_after",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="Not tried before; for one being tried, when its lease ends",
        ),
        sa.Column("worker", sa.Text(), nullable=True, comment="The replica that last tried"),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), nullable=False, comment="When the grant was ended here"
        ),
        sa.Column(
            "settled_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When the platform had revoked it, or it was given up",
        ),
        sa.Column("reason", sa.Text(), nullable=True, comment="Why it was given up"),
        sa.CheckConstraint(
            "(status = 'queued') = (token IS NOT NULL)", name="ck_revocations_token_until_settled"
        ),
        sa.CheckConstraint("status IN ('queued', 'done', 'failed')", name="ck_revocations_status"),
        sa.ForeignKeyConstraint(["user_key"], ["users.user_key"], name="fk_revocations_user_key"),
        sa.PrimaryKeyConstraint("id", name="pk_revocations"),
        comment="Ended grants that the platform still has to revoke",
    )
    op.create_index("ix_revocations_due", "revocations", ["runs_after"], **where("status = 'queued'"))
    op.create_index("ix_revocations_user_key", "revocations", ["user_key"])
    op.create_table(
        "authorization_attempts",
        sa.Column("id", sa.Text(), nullable=False, comment="Sorts by time"),
        sa.Column("kind", sa.Text(), nullable=False, comment="authorization, or sign_in to the console"),
        sa.Column("request_id", sa.Text(), nullable=True, comment="The request whose link was opened"),
        sa.Column(
            "user_key", sa.Text(), nullable=True, comment="Who was asked; nobody in particular for a sign-in"
        ),
        sa.Column("state_digest", sa.Text(), nullable=False, comment="Fingerprint of the one-shot state"),
        sa.Column(
            "verifier",
            sa.Text(),
            nullable=True,
            comment="PKCE code verifier, sealed; erased when the attempt ends",
        ),
        sa.Column(
            "code",
            sa.Text(),
            nullable=True,
            comment="Authorization code, sealed; erased when the attempt ends",
        ),
        sa.Column("scopes", sa.Text(), nullable=False, comment="What this opening asked for, as JSON"),
        sa.Column("redirect_uri", sa.Text(), nullable=True, comment="Where the browser comes back to"),
        sa.Column("status", sa.Text(), nullable=False, comment="Where it stands"),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), nullable=False, comment="When the link was opened"
        ),
        sa.Column(
            "expires_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="Until when the browser may come back",
        ),
        sa.Column(
            "consumed_at", sa.DateTime(timezone=True), nullable=True, comment="When the browser came back"
        ),
        sa.Column("worker", sa.Text(), nullable=True, comment="The replica that exchanges the code"),
        sa.Column(
            "lease_until",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="Until when that replica has it to itself",
        ),
        sa.Column("outcome", sa.Text(), nullable=True, comment="How it ended, in one word or code"),
        sa.CheckConstraint(
            "kind = 'sign_in' OR (request_id IS NOT NULL AND user_key IS NOT NULL)",
            name="ck_authorization_attempts_asks_somebody",
        ),
        sa.CheckConstraint("kind IN ('authorization', 'sign_in')", name="ck_authorization_attempts_kind"),
        sa.CheckConstraint(
            "status IN ('live', 'redeeming') OR (code IS NULL AND verifier IS NULL)",
            name="ck_authorization_attempts_secrets_erased",
        ),
        sa.CheckConstraint(
            "status IN ('live', 'redeeming', 'completed', 'denied', 'failed', 'expired')",
            name="ck_authorization_attempts_status",
        ),
        sa.ForeignKeyConstraint(
            ["request_id"],
            ["authorization_requests.id"],
            name="fk_authorization_attempts_request_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["user_key"], ["users.user_key"], name="fk_authorization_attempts_user_key"),
        sa.PrimaryKeyConstraint("id", name="pk_authorization_attempts"),
        comment="Openings of a link: each has a one-shot state",
    )
    op.create_index("ix_authorization_attempts_expires_at", "authorization_attempts", ["expires_at"])
    op.create_index(
        "ix_authorization_attempts_live",
        "authorization_attempts",
        ["request_id", "expires_at"],
        **where("status = 'live'"),
    )
    op.create_index("ix_authorization_attempts_request_id", "authorization_attempts", ["request_id"])
    op.create_index(
        "ix_authorization_attempts_state_digest", "authorization_attempts", ["state_digest"], unique=True
    )
    op.create_index(
        "ix_authorization_attempts_stranded",
        "authorization_attempts",
        ["lease_until"],
        **where("status = 'redeeming'"),
    )
    op.create_table(
        "deferred_calls",
        sa.Column("id", sa.Text(), nullable=False, comment="Sorts by time"),
        sa.Column("user_key", sa.Text(), nullable=False, comment="Who asked"),
        sa.Column("chat_id", sa.Text(), nullable=False, comment="Where it was asked"),
        sa.Column("chat_kind", sa.Text(), nullable=False, comment="direct or group"),
        sa.Column("message_id", sa.Text(), nullable=True, comment="The message that asked"),
        sa.Column("command", sa.Text(), nullable=False, comment="The command's name, without slash"),
        sa.Column("arguments", sa.Text(), nullable=False, comment="What followed the command"),
        sa.Column(
            "asked_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="When it was asked, by the platform's clock; also the order of one person's calls",
        ),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False, comment="When it was recorded"),
        sa.Column(
            "language", sa.Text(), nullable=False, comment="Language to answer in, where one must be chosen"
        ),
        sa.Column(
            "time_zone",
            sa.Text(),
            nullable=True,
            comment="IANA name of the time zone it was asked in, if known",
        ),
        sa.Column("status", sa.Text(), nullable=False, comment="Where it stands"),
        sa.Column("waits_for", sa.Text(), nullable=True, comment="What a suspended call waits for"),
        sa.Column(
            "needs", sa.Text(), nullable=False, comment="Scopes it waits for, as JSON: all of (any of)"
        ),
        sa.Column(
            "request_id",
            sa.Text(),
            nullable=True,
            comment="The authorization request that asks for its scopes, or last did",
        ),
        sa.Column("consents", sa.Integer(), nullable=False, comment="How many consents it has taken"),
        sa.Column(
            "attempts",
            sa.Integer(),
            nullable=False,
            comment="How often a worker has taken it up since it was last released",
        ),
        sa.Column(
            "first_failed_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="First failure of the platform that is being retried",
        ),
        sa.Column(
            "interim_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When its asker was told that it is being retried",
        ),
        sa.Column(
            "runs_after",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="Not taken up before: for a running call, when its lease ends",
        ),
        sa.Column(
            "expires_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="When it is given up, if it has not run by then",
        ),
        sa.Column(
            "suspended_at", sa.DateTime(timezone=True), nullable=True, comment="When it was last suspended"
        ),
        sa.Column(
            "confirmed", sa.Boolean(), nullable=False, comment="An old write that its asker has confirmed"
        ),
        sa.Column("worker", sa.Text(), nullable=True, comment="The replica that runs it"),
        sa.Column(
            "claim",
            sa.Integer(),
            nullable=False,
            comment="Counts the claims: a worker with an older number has lost it",
        ),
        sa.Column("outcome", sa.Text(), nullable=True, comment="How it ended, in one word or code"),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True, comment="When it ended"),
        sa.CheckConstraint(
            "(settled_at IS NULL) = (status IN ('queued', 'running', 'suspended'))",
            name="ck_deferred_calls_settled_has_time",
        ),
        sa.CheckConstraint(
            "(status = 'running') = (worker IS NOT NULL)", name="ck_deferred_calls_running_has_worker"
        ),
        sa.CheckConstraint(
            "(status = 'suspended') = (waits_for IS NOT NULL)", name="ck_deferred_calls_suspended_waits"
        ),
        sa.CheckConstraint("chat_kind IN ('direct', 'group')", name="ck_deferred_calls_chat_kind"),
        sa.CheckConstraint("language IN ('en', 'zh')", name="ck_deferred_calls_language"),
        sa.CheckConstraint(
            "status IN ('queued', 'running', 'suspended', 'succeeded', 'failed', 'outcome_unknown', "
            "'cancelled', 'expired')",
            name="ck_deferred_calls_status",
        ),
        sa.CheckConstraint(
            "waits_for IN ('authorization', 'administrator', 'confirmation')",
            name="ck_deferred_calls_waits_for",
        ),
        sa.ForeignKeyConstraint(
            ["request_id"], ["authorization_requests.id"], name="fk_deferred_calls_request_id"
        ),
        sa.ForeignKeyConstraint(["user_key"], ["users.user_key"], name="fk_deferred_calls_user_key"),
        sa.PrimaryKeyConstraint("id", name="pk_deferred_calls"),
        comment="Commands as they were asked: each runs once, or waits for what it lacks",
    )
    op.create_index(
        "ix_deferred_calls_claimable",
        "deferred_calls",
        ["runs_after", "id"],
        **where("status IN ('queued', 'running')"),
    )
    op.create_index(
        "ix_deferred_calls_expiry",
        "deferred_calls",
        ["expires_at"],
        **where("status IN ('queued', 'suspended')"),
    )
    op.create_index(
        "ix_deferred_calls_interim",
        "deferred_calls",
        ["first_failed_at"],
        **where("status IN ('queued', 'running') AND first_failed_at IS NOT NULL AND interim_at IS NULL"),
    )
    op.create_index(
        "ix_deferred_calls_message", "deferred_calls", ["message_id"], **where("message_id IS NOT NULL")
    )
    op.create_index(
        "ix_deferred_calls_one_running",
        "deferred_calls",
        ["user_key"],
        unique=True,
        **where("status = 'running'"),
    )
    op.create_index(
        "ix_deferred_calls_queued_of_user",
        "deferred_calls",
        ["user_key", "asked_at", "id"],
        **where("status = 'queued'"),
    )
    op.create_index("ix_deferred_calls_request_id", "deferred_calls", ["request_id"])
    op.create_index(
        "ix_deferred_calls_settled", "deferred_calls", ["settled_at"], **where("settled_at IS NOT NULL")
    )
    op.create_index(
        "ix_deferred_calls_suspended_of_user",
        "deferred_calls",
        ["user_key", "asked_at"],
        **where("status = 'suspended'"),
    )
    op.create_index("ix_deferred_calls_user_key", "deferred_calls", ["user_key", "id"])
    op.create_index(
        "ix_deferred_calls_waiting_for",
        "deferred_calls",
        ["waits_for", "asked_at"],
        **where("status = 'suspended'"),
    )
    op.create_table(
        "call_steps",
        sa.Column("call_id", sa.Text(), nullable=False, comment="The call whose step this is"),
        sa.Column(
            "number",
            sa.Integer(),
            autoincrement=False,
            nullable=False,
            comment="Counts the call's steps from 0",
        ),
        sa.Column(
            "digest",
            sa.Text(),
            nullable=False,
            comment="Fingerprint of the step, to notice a changed command on replay",
        ),
        sa.Column(
            "is_write", sa.Boolean(), nullable=False, comment="Whether it changes something at the platform"
        ),
        sa.Column(
            "first_sent_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When a write first left; recorded before it does",
        ),
        sa.Column(
            "result", sa.Text(), nullable=True, comment="The result, sealed; erased when the call settles"
        ),
        sa.ForeignKeyConstraint(
            ["call_id"], ["deferred_calls.id"], name="fk_call_steps_call_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("call_id", "number", name="pk_call_steps"),
        comment="Results that a suspended or interrupted call is replayed from",
    )
    op.create_table(
        "outgoing_messages",
        sa.Column("id", sa.Text(), nullable=False, comment="Sorts by time"),
        sa.Column(
            "user_key", sa.Text(), nullable=False, comment="To whom; an administrator need not be a user"
        ),
        sa.Column("call_id", sa.Text(), nullable=True, comment="The call it is about"),
        sa.Column("kind", sa.Text(), nullable=False, comment="What it is to its reader"),
        sa.Column(
            "delivery_key",
            sa.Text(),
            nullable=False,
            comment="What the platform recognizes a repeated sending by",
        ),
        sa.Column("chat_id", sa.Text(), nullable=True, comment="The chat it goes to; none: the person alone"),
        sa.Column("reply_to", sa.Text(), nullable=True, comment="The message it answers"),
        sa.Column("private", sa.Boolean(), nullable=False, comment="Whether only its reader may see it"),
        sa.Column("content_kind", sa.Text(), nullable=False, comment="The platform's message type"),
        sa.Column(
            "content", sa.Text(), nullable=True, comment="The message, sealed; erased when it is settled"
        ),
        sa.Column("status", sa.Text(), nullable=False, comment="Where it stands"),
        sa.Column(
            "runs_after",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="Not sent before: for one being sent, when its lease ends",
        ),
        sa.Column("worker", sa.Text(), nullable=True, comment="The replica that sends it"),
        sa.Column(
            "claim",
            sa.Integer(),
            nullable=False,
            comment="Counts the claims: a worker with an older number has lost it",
        ),
        sa.Column("attempts", sa.Integer(), nullable=False, comment="How often its sending was begun"),
        sa.Column(
            "first_tried_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="First sending that may have arrived",
        ),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True, comment="When the platform took it"),
        sa.Column("message_id", sa.Text(), nullable=True, comment="The platform's id of the message sent"),
        sa.Column("reason", sa.Text(), nullable=True, comment="Why it was not delivered"),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, comment="When it became due"),
        sa.Column(
            "settled_at", sa.DateTime(timezone=True), nullable=True, comment="When it was sent or given up"
        ),
        sa.CheckConstraint(
            "(status = 'sending') = (worker IS NOT NULL)", name="ck_outgoing_messages_sending_has_worker"
        ),
        sa.CheckConstraint(
            "(status IN ('queued', 'sending')) = (content IS NOT NULL)",
            name="ck_outgoing_messages_content_until_settled",
        ),
        sa.CheckConstraint(
            "kind IN ('answer', 'interim', 'note', 'notice', 'administrator_card', 'confirmation_card')",
            name="ck_outgoing_messages_kind",
        ),
        sa.CheckConstraint(
            "status IN ('queued', 'sending', 'sent', 'undeliverable', 'outcome_unknown')",
            name="ck_outgoing_messages_status",
        ),
        sa.CheckConstraint("length(delivery_key) <= 50", name="ck_outgoing_messages_delivery_key_length"),
        sa.ForeignKeyConstraint(
            ["call_id"], ["deferred_calls.id"], name="fk_outgoing_messages_call_id", ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_outgoing_messages"),
        comment="What the bot has to say: a row first, then the network",
    )
    op.create_index("ix_outgoing_messages_call_id", "outgoing_messages", ["call_id"])
    op.create_index("ix_outgoing_messages_delivery_key", "outgoing_messages", ["delivery_key"], unique=True)
    op.create_index(
        "ix_outgoing_messages_due",
        "outgoing_messages",
        ["runs_after", "id"],
        **where("status IN ('queued', 'sending')"),
    )
    op.create_index(
        "ix_outgoing_messages_one_answer",
        "outgoing_messages",
        ["call_id"],
        unique=True,
        **where("kind = 'answer'"),
    )
    op.create_index(
        "ix_outgoing_messages_settled", "outgoing_messages", ["settled_at"], **where("settled_at IS NOT NULL")
    )

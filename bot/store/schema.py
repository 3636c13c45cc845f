"""The tables, as the newest migration leaves them. Rules that can be constraints are constraints.

Statements contain statuses as literals, never as parameters: a partial index is used only if the query contains its
condition literally.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    text,
)

from bot.core.api import ApiOutcome
from bot.core.calls import CallStatus, WaitsFor
from bot.core.grants import GrantStatus, RevocationStatus
from bot.core.messages import MessageStatus
from bot.core.requests import AttemptKind, AttemptStatus, DeviceStatus, RequestStatus
from bot.core.scopes import ScopeWaitStatus
from bot.store.column_types import (
    AppOfUserKey,
    NamesText,
    RequirementText,
    ScopeSetText,
    UserKeyText,
    UtcDateTime,
)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)


class MessageKind(StrEnum):
    ANSWER = "answer"
    INTERIM = "interim"
    NOTE = "note"
    NOTICE = "notice"
    ADMINISTRATOR_CARD = "administrator_card"
    CONFIRMATION_CARD = "confirmation_card"


def one_of(column: str, values: Iterable[str]) -> CheckConstraint:
    allowed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({allowed})", name=column)


def required(name: str, kind: Any, comment: str, *more: Any, **options: Any) -> Column[Any]:
    return Column(name, kind, *more, nullable=False, comment=comment, **options)


def optional(name: str, kind: Any, comment: str, *more: Any) -> Column[Any]:
    return Column(name, kind, *more, nullable=True, comment=comment)


def user_key(
    comment: str = "Who: platform, app, tenant and open_id, joined by colons", **options: Any
) -> Column[Any]:
    return required("user_key", UserKeyText, comment, ForeignKey("users.user_key"), **options)


APP = "Platform and app, joined by a colon: the app whose row this is"


def app_of_user() -> Column[Any]:
    """The app of the row's user. The database computes it, so that the two cannot disagree."""
    return required("app", Text, APP, Computed(AppOfUserKey()))


def app_of_parts() -> Column[Any]:
    return required("app", Text, APP, Computed("platform || ':' || app_id"))


def app_of_writer() -> Column[Any]:
    """The app that the writer states, for rows that may have no user."""
    return required("app", Text, f"{APP}; empty when an earlier release wrote it", server_default=text("''"))


def proof(name: str, comment: str, *, always: bool = False) -> Column[Any]:
    """A seal without content: see `store.sealed`."""
    return Column(name, Text, nullable=not always, comment=f"Proof, made with the encryption keys, {comment}")


def time(name: str, comment: str) -> Column[datetime]:
    return required(name, UtcDateTime, comment)


def maybe_time(name: str, comment: str) -> Column[datetime]:
    return optional(name, UtcDateTime, comment)


MOVED = "No longer used: see the table cards. A later release drops it"


def moved(name: str, kind: Any) -> Column[Any]:
    """A column that earlier releases used."""
    return optional(name, kind, MOVED)


users = Table(
    "users",
    metadata,
    required(
        "user_key",
        UserKeyText,
        "Platform, app, tenant and open_id, joined by colons",
        primary_key=True,
    ),
    required("platform", Text, "Chat platform: lark or dingtalk"),
    required("app_id", Text, "App through which the bot knows this user"),
    required("tenant_key", Text, "The user's organization at the platform"),
    required("open_id", Text, "The user's id within the app"),
    optional("union_id", Text, "The user's id across the developer's apps"),
    optional("name", Text, "Display name, as the platform last told it"),
    optional("language", Text, "Language of the user's client: en or zh"),
    optional("time_zone", Text, "IANA name, as a client, the calendar or the address book last told it"),
    time("created_at", "When the bot first heard of this user"),
    time("seen_at", "When the bot last heard of this user"),
    maybe_time("welcomed_at", "When the user was told what the bot can do"),
    maybe_time("offered_at", "When the user was last offered to give back unused scopes"),
    maybe_time("quiet_since", "When the user last declined; no reminders since then"),
    app_of_parts(),
    maybe_time(
        "name_asked_at", "When the platform was last asked for the name of a user who has not consented"
    ),
    one_of("language", ("en", "zh")),
    Index("ix_users_open_id", "open_id"),
    Index("ix_users_app", "app"),
    Index("ix_users_newest", "app", "created_at", "user_key"),
    CheckConstraint(
        "user_key = platform || ':' || app_id || ':' || tenant_key || ':' || open_id",
        name="user_key_of_parts",
    ),
    comment="Users that the bot knows",
)

events = Table(
    "events",
    metadata,
    required("platform", Text, "Chat platform that sent it", primary_key=True),
    required("app_id", Text, "App to which it was sent", primary_key=True),
    required("event_id", Text, "The platform's id of the event", primary_key=True),
    optional("message_id", Text, "The message of the event; each message counts once"),
    time("received_at", "When it was recorded"),
    app_of_parts(),
    Index(
        "ix_events_message_once",
        "platform",
        "app_id",
        "message_id",
        unique=True,
        sqlite_where=text("message_id IS NOT NULL"),
        postgresql_where=text("message_id IS NOT NULL"),
    ),
    Index("ix_events_received_at", "app", "received_at"),
    comment="Events that were received, so that a repeated delivery has no effect",
)


def partial(name: str, *columns: str, where: str, unique: bool = False) -> Index:
    return Index(name, *columns, unique=unique, sqlite_where=text(where), postgresql_where=text(where))


deferred_calls = Table(
    "deferred_calls",
    metadata,
    required("id", Text, "Sorts by time", primary_key=True),
    user_key("Who asked"),
    required("chat_id", Text, "Where it was asked"),
    required("chat_kind", Text, "direct or group"),
    optional("message_id", Text, "The message that asked"),
    required("command", Text, "The command's name, without slash"),
    required("arguments", Text, "What followed the command"),
    time("asked_at", "When it was asked, by the platform's clock: the order of a user's calls"),
    time("received_at", "When it was recorded"),
    required("language", Text, "Language to answer in, where one must be chosen"),
    optional("time_zone", Text, "IANA name of the time zone it was asked in, if known"),
    required("status", Text, "Where it stands"),
    optional("waits_for", Text, "What a suspended call waits for"),
    required("needs", RequirementText, "Scopes it waits for, as JSON: all of (any of)"),
    optional(
        "request_id",
        Text,
        "The authorization request that asks for its scopes, or last did",
        ForeignKey("authorization_requests.id"),
    ),
    required("consents", Integer, "How many consents it has taken"),
    required("attempts", Integer, "How often a worker has claimed it since it was last released"),
    maybe_time("first_failed_at", "First failure of the platform that is being retried"),
    maybe_time("interim_at", "When its user was told that it is being retried"),
    time("runs_after", "Not claimed before this time; for a running call, when its lease ends"),
    time("expires_at", "When it expires, if it has not run by then"),
    maybe_time("suspended_at", "When it was last suspended"),
    required("confirmed", Boolean, "Whether its user has confirmed this old write"),
    optional("worker", Text, "The replica that runs it"),
    required("claim", Integer, "Counts the claims: a worker with an older number has lost it"),
    optional("outcome", Text, "How it ended, in one word or code"),
    maybe_time("settled_at", "When it ended"),
    required(
        "behind",
        Boolean,
        "Whether it is queued behind another call of its user, and not claimed before it is the next",
        server_default=text("false"),
    ),
    proof("seal", "that this is what was asked, by whom and where"),
    proof("run_seal", "that it may run, and whether it is confirmed; erased when it ends"),
    optional("thread_id", Text, "The topic of the chat that it was asked in, if it was in one"),
    maybe_time("recalled_at", "When its message was recalled, if it had not ended by then"),
    app_of_user(),
    required(
        "urgent",
        Boolean,
        "Whether it runs beside its user's other calls, and waits for none of them",
        server_default=text("false"),
    ),
    required(
        "takeovers",
        Integer,
        "How often it was claimed because another worker's lease had ended, since its last step",
        server_default=text("0"),
    ),
    maybe_time("released_at", "When it was last released, after it had waited"),
    optional(
        "repeat_arguments",
        Text,
        "What followed the command, sealed, if its answer offers to try it again; erased when that is done or too late",
    ),
    one_of("status", CallStatus),
    one_of("chat_kind", ("direct", "group")),
    one_of("language", ("en", "zh")),
    one_of("waits_for", WaitsFor),
    CheckConstraint("(status = 'suspended') = (waits_for IS NOT NULL)", name="suspended_waits"),
    CheckConstraint("(status = 'running') = (worker IS NOT NULL)", name="running_has_worker"),
    CheckConstraint(
        "(settled_at IS NULL) = (status IN ('queued', 'running', 'suspended'))", name="settled_has_time"
    ),
    CheckConstraint("(settled_at IS NULL) = (outcome IS NULL)", name="settled_has_outcome"),
    CheckConstraint("status <> 'suspended' OR suspended_at IS NOT NULL", name="suspended_has_time"),
    CheckConstraint(
        "waits_for <> 'authorization' OR request_id IS NOT NULL", name="authorization_has_request"
    ),
    CheckConstraint("interim_at IS NULL OR first_failed_at IS NOT NULL", name="interim_after_failure"),
    CheckConstraint("consents >= 0 AND attempts >= 0 AND claim >= 0", name="counts"),
    CheckConstraint("settled_at IS NOT NULL OR seal IS NOT NULL", name="sealed_until_settled"),
    CheckConstraint("(settled_at IS NULL) = (run_seal IS NOT NULL)", name="runs_until_settled"),
    CheckConstraint(
        "(seal IS NULL OR seal LIKE 'v1.%') AND (run_seal IS NULL OR run_seal LIKE 'v1.%')", name="sealed"
    ),
    partial(
        "ix_deferred_calls_one_running", "user_key", where="status = 'running' AND NOT urgent", unique=True
    ),
    partial(
        "ix_deferred_calls_next",
        "app",
        "runs_after",
        "id",
        where="status = 'running' OR (status = 'queued' AND NOT behind)",
    ),
    partial(
        *("ix_deferred_calls_behind", "app", "user_key", "asked_at", "id"),
        where="status = 'queued' AND behind",
    ),
    partial("ix_deferred_calls_urgent", "app", "runs_after", "id", where="status = 'queued' AND urgent"),
    partial("ix_deferred_calls_queued_of_user", "user_key", "asked_at", "id", where="status = 'queued'"),
    partial("ix_deferred_calls_suspended_of_user", "user_key", "asked_at", where="status = 'suspended'"),
    partial("ix_deferred_calls_waiting_for", "app", "waits_for", "asked_at", where="status = 'suspended'"),
    partial("ix_deferred_calls_expiry", "app", "expires_at", where="status IN ('queued', 'suspended')"),
    partial(
        # Not by the status: PostgreSQL would then consider the index of claimable calls just as good.
        "ix_deferred_calls_unanswered",
        "app",
        "first_failed_at",
        where="settled_at IS NULL AND first_failed_at IS NOT NULL AND interim_at IS NULL",
    ),
    partial("ix_deferred_calls_settled", "app", "settled_at", where="settled_at IS NOT NULL"),
    partial(
        "ix_deferred_calls_written",
        "app",
        "settled_at",
        where="settled_at IS NOT NULL AND (arguments <> '' OR repeat_arguments IS NOT NULL)",
    ),
    partial("ix_deferred_calls_message", "app", "message_id", where="message_id IS NOT NULL"),
    Index("ix_deferred_calls_user_key", "user_key", "id"),
    # Most calls have none. SQLite would take an index in which one value, NULL, is most frequent for useless.
    partial("ix_deferred_calls_request_id", "request_id", where="request_id IS NOT NULL"),
    comment="Commands that users sent: each runs once, or waits for what it lacks",
)

call_steps = Table(
    "call_steps",
    metadata,
    required(
        "call_id",
        Text,
        "The call whose step this is",
        ForeignKey("deferred_calls.id", ondelete="CASCADE"),
        primary_key=True,
    ),
    required("number", Integer, "Counts the call's steps from 0", primary_key=True, autoincrement=False),
    required("digest", Text, "Fingerprint of the step, to notice a changed command on replay"),
    required("is_write", Boolean, "Whether it changes something at the platform"),
    maybe_time("first_sent_at", "When a write first left; recorded before it does"),
    optional("result", Text, "The result, sealed; erased when the call settles"),
    CheckConstraint("number >= 0", name="number"),
    CheckConstraint("is_write OR first_sent_at IS NULL", name="only_writes_are_sent"),
    CheckConstraint("result LIKE 'v1.%'", name="result_sealed"),
    comment="Results that a suspended or interrupted call is replayed from",
)

outgoing_messages = Table(
    "outgoing_messages",
    metadata,
    required("id", Text, "Sorts by time", primary_key=True),
    required("user_key", UserKeyText, "The recipient; an administrator need not be a user"),
    optional("call_id", Text, "The call it is about", ForeignKey("deferred_calls.id", ondelete="SET NULL")),
    required("kind", Text, "What it is for: an answer, a note, a card"),
    required("delivery_key", Text, "The key by which the platform recognizes a repeated sending"),
    optional("chat_id", Text, "The chat it is sent to; NULL: to the user directly"),
    optional("reply_to", Text, "The message it answers"),
    required("private", Boolean, "Whether only its reader may see it"),
    required("content_kind", Text, "The platform's message type"),
    optional("content", Text, "The message, sealed; erased when it is settled"),
    required("status", Text, "Where it stands"),
    time("runs_after", "Not sent before this time; for one being sent, when its lease ends"),
    optional("worker", Text, "The replica that sends it"),
    required("claim", Integer, "Counts the claims: a worker with an older number has lost it"),
    required("attempts", Integer, "How often a worker began to send it"),
    maybe_time("first_tried_at", "When it was first sent, if that may have arrived"),
    maybe_time("sent_at", "When the platform accepted it"),
    optional("message_id", Text, "The platform's id of the message sent"),
    optional("reason", Text, "Why it was not delivered"),
    time("created_at", "When it became due"),
    maybe_time("settled_at", "When it was sent or given up"),
    app_of_user(),
    one_of("kind", MessageKind),
    one_of("status", MessageStatus),
    CheckConstraint("length(delivery_key) <= 50", name="delivery_key_length"),
    CheckConstraint(
        "(status IN ('queued', 'sending')) = (content IS NOT NULL)", name="content_until_settled"
    ),
    CheckConstraint("(status = 'sending') = (worker IS NOT NULL)", name="sending_has_worker"),
    CheckConstraint("(settled_at IS NULL) = (status IN ('queued', 'sending'))", name="settled_has_time"),
    CheckConstraint("(status = 'sent') = (sent_at IS NOT NULL)", name="sent_has_time"),
    CheckConstraint(
        "(status IN ('undeliverable', 'outcome_unknown')) = (reason IS NOT NULL)", name="failed_has_reason"
    ),
    CheckConstraint("content LIKE 'v1.%'", name="content_sealed"),
    Index("ix_outgoing_messages_delivery_key", "app", "delivery_key", unique=True),
    partial("ix_outgoing_messages_one_answer", "call_id", where="kind = 'answer'", unique=True),
    partial("ix_outgoing_messages_due", "app", "runs_after", "id", where="status IN ('queued', 'sending')"),
    partial("ix_outgoing_messages_settled", "app", "settled_at", where="settled_at IS NOT NULL"),
    Index("ix_outgoing_messages_call_id", "call_id"),
    partial("ix_outgoing_messages_message_id", "message_id", where="message_id IS NOT NULL"),
    comment="The outbox: a message is recorded here before it is sent",
)

message_reactions = Table(
    "message_reactions",
    metadata,
    required(
        "call_id",
        Text,
        "The call whose message it is on",
        ForeignKey("deferred_calls.id", ondelete="CASCADE"),
        primary_key=True,
    ),
    required("platform", Text, "Chat platform: lark or dingtalk"),
    required("app_id", Text, "The app on that platform"),
    required("message_id", Text, "The message that asked"),
    optional("reaction_id", Text, "The platform's id of the reaction; NULL while it is being added"),
    required("attempts", Integer, "How often its removal was tried"),
    time("due_at", "When its removal is to be tried (again)"),
    time("created_at", "When it was added"),
    CheckConstraint("attempts >= 0", name="counts"),
    Index("ix_message_reactions_due", "platform", "app_id", "due_at"),
    comment="Reactions on messages that are not answered yet: they say that the bot is working on them",
)

LIVE_REQUEST = "status IN ('open', 'redeeming')"

authorization_requests = Table(
    "authorization_requests",
    metadata,
    required("id", Text, "Sorts by time", primary_key=True),
    user_key("Who is asked"),
    required("status", Text, "Where it stands"),
    required("scopes", ScopeSetText, "What its link asks for, as JSON"),
    required("granted", ScopeSetText, "What of that was granted, as JSON"),
    required("refused", ScopeSetText, "What of that was refused, as JSON"),
    required("avoided", ScopeSetText, "Scopes that the platform's page showed an error for, as JSON"),
    required("reasons", NamesText, "The commands that ask, as JSON"),
    required("ticket_digest", Text, "Fingerprint of the link's ticket"),
    required("ticket", Text, "The link's ticket, sealed"),
    moved("card_message_id", Text),
    moved("card_ephemeral", Boolean),
    moved("card_seal", Text),
    moved("card_wanted", Integer),
    moved("card_shown", Integer),
    moved("card_worker", Text),
    moved("card_lease_until", UtcDateTime),
    moved("card_attempts", Integer),
    required("card_moves", Integer, MOVED, server_default="0"),
    moved("card_due_at", UtcDateTime),
    moved("card_sent_at", UtcDateTime),
    time("created_at", "When it was opened"),
    maybe_time("opened_at", "When its link was first opened in a browser"),
    time("expires_at", "When it expires"),
    maybe_time("settled_at", "When it ended"),
    optional("failure", Text, "Why it failed, in one word"),
    maybe_time(
        "declined_on_page_at",
        "When a visitor who is not identified first declined it on the platform's page, since it last asked",
    ),
    app_of_user(),
    one_of("status", RequestStatus),
    CheckConstraint(f"(settled_at IS NULL) = ({LIVE_REQUEST})", name="settled_has_time"),
    CheckConstraint("card_shown <= card_wanted", name="card_shown_is_wanted"),
    CheckConstraint("(status = 'failed') = (failure IS NOT NULL)", name="failed_has_reason"),
    CheckConstraint("(card_worker IS NULL) = (card_lease_until IS NULL)", name="card_lease_has_worker"),
    CheckConstraint("ticket LIKE 'v1.%'", name="ticket_sealed"),
    CheckConstraint("card_seal IS NULL OR card_message_id IS NOT NULL", name="seal_of_card"),
    CheckConstraint("card_seal LIKE 'v1.%'", name="card_sealed"),
    Index("ix_authorization_requests_ticket_digest", "ticket_digest", unique=True),
    partial("ix_authorization_requests_one_live", "user_key", where=LIVE_REQUEST, unique=True),
    partial("ix_authorization_requests_expiry", "app", "expires_at", where="status = 'open'"),
    partial("ix_authorization_requests_settled", "app", "settled_at", where="settled_at IS NOT NULL"),
    Index("ix_authorization_requests_user_key", "user_key", "id"),
    comment="Requests for scopes: at most one is open for each user, and each has a card",
)

authorization_attempts = Table(
    "authorization_attempts",
    metadata,
    required("id", Text, "Sorts by time", primary_key=True),
    required("kind", Text, "authorization, or sign_in to the console"),
    optional(
        "request_id",
        Text,
        "The request whose link was opened",
        ForeignKey("authorization_requests.id", ondelete="CASCADE"),
    ),
    optional(
        "user_key",
        UserKeyText,
        "The user who was asked; NULL for a sign-in",
        ForeignKey("users.user_key"),
    ),
    required("state_digest", Text, "Fingerprint of the one-shot state"),
    optional(
        "browser_digest",
        Text,
        "Fingerprint of the value that marks the browser in which a sign-in was started",
    ),
    optional("verifier", Text, "PKCE code verifier, sealed; erased when the attempt ends"),
    optional("code", Text, "Authorization code, sealed; erased when the attempt ends"),
    required("scopes", ScopeSetText, "What this opening asked for, as JSON"),
    optional("redirect_uri", Text, "Where the browser comes back to"),
    required("status", Text, "Where it stands"),
    time("created_at", "When the link was opened"),
    time("expires_at", "Until when the browser may come back"),
    maybe_time("consumed_at", "When the browser came back"),
    optional("worker", Text, "The replica that exchanges the code"),
    maybe_time("lease_until", "When that replica's lease ends"),
    optional("outcome", Text, "How it ended, in one word or code"),
    maybe_time("rejected_at", "When its state first came back after it was used or had expired"),
    proof("seal", "that this is what was begun; erased when the attempt ends"),
    app_of_writer(),
    one_of("kind", AttemptKind),
    one_of("status", AttemptStatus),
    CheckConstraint(
        "kind = 'sign_in' OR (request_id IS NOT NULL AND user_key IS NOT NULL)", name="asks_somebody"
    ),
    CheckConstraint(
        "status IN ('live', 'redeeming') OR (code IS NULL AND verifier IS NULL)", name="secrets_erased"
    ),
    CheckConstraint("(status = 'redeeming') = (worker IS NOT NULL)", name="redeeming_has_worker"),
    CheckConstraint("(status = 'redeeming') = (lease_until IS NOT NULL)", name="redeeming_has_lease"),
    CheckConstraint("(status IN ('live', 'expired')) = (consumed_at IS NULL)", name="consumed_has_time"),
    CheckConstraint(
        "(status IN ('live', 'redeeming', 'expired')) = (outcome IS NULL)", name="ended_has_outcome"
    ),
    CheckConstraint("status <> 'live' OR code IS NULL", name="code_when_consumed"),
    # Except sign-ins: one without a seal is unknown, and its user only has to try again.
    CheckConstraint(
        "kind = 'sign_in' OR (status IN ('live', 'redeeming')) = (seal IS NOT NULL)",
        name="sealed_until_ended",
    ),
    CheckConstraint("seal LIKE 'v1.%'", name="sealed"),
    CheckConstraint(
        "(verifier IS NULL OR verifier LIKE 'v1.%') AND (code IS NULL OR code LIKE 'v1.%')",
        name="secrets_sealed",
    ),
    Index("ix_authorization_attempts_state_digest", "state_digest", unique=True),
    partial("ix_authorization_attempts_live", "request_id", "expires_at", where="status = 'live'"),
    partial("ix_authorization_attempts_stranded", "app", "lease_until", where="status = 'redeeming'"),
    Index("ix_authorization_attempts_request_id", "request_id"),
    Index("ix_authorization_attempts_expires_at", "app", "expires_at"),
    comment="Openings of a link: each has a one-shot state",
)

LIVE_DEVICE = "status IN ('requesting', 'polling')"

device_authorizations = Table(
    "device_authorizations",
    metadata,
    required("id", Text, "Sorts by time", primary_key=True),
    required(
        "request_id",
        Text,
        "The request whose card was pressed",
        ForeignKey("authorization_requests.id", ondelete="CASCADE"),
    ),
    user_key("Who was asked"),
    required("status", Text, "Where it stands"),
    required("scopes", ScopeSetText, "What it asks for, as JSON"),
    optional("device_code", Text, "What the platform is polled with, sealed; erased when it ends"),
    optional("user_code", Text, "What the platform's page shows or asks for, sealed; erased when it ends"),
    optional("link", Text, "The platform's page, sealed; erased when it ends"),
    required("interval_seconds", Integer, "Seconds between two polls, as the platform asks for"),
    required("failures", Integer, "Consecutive failures of the platform to answer"),
    time("runs_after", "Not tried before this time; for one being tried, when its lease ends"),
    optional("worker", Text, "The replica that last tried"),
    required("claim", Integer, "Counts the claims: a worker with an older number has lost it"),
    time("created_at", "When the button was pressed"),
    maybe_time("expires_at", "When the code expires at the platform"),
    maybe_time("settled_at", "When it ended"),
    optional("outcome", Text, "How it ended, in one word"),
    app_of_user(),
    one_of("status", DeviceStatus),
    CheckConstraint(f"(settled_at IS NULL) = ({LIVE_DEVICE})", name="settled_has_time"),
    CheckConstraint(
        "(status = 'polling') = (device_code IS NOT NULL AND user_code IS NOT NULL AND link IS NOT NULL)",
        name="polling_has_codes",
    ),
    CheckConstraint(
        "status = 'polling' OR (device_code IS NULL AND user_code IS NULL AND link IS NULL)",
        name="codes_erased",
    ),
    CheckConstraint("status <> 'polling' OR expires_at IS NOT NULL", name="polling_expires"),
    partial("ix_device_authorizations_one_live", "request_id", where=LIVE_DEVICE, unique=True),
    partial("ix_device_authorizations_due", "app", "runs_after", where=LIVE_DEVICE),
    partial("ix_device_authorizations_live_of_user", "user_key", where=LIVE_DEVICE),
    Index("ix_device_authorizations_request_id", "request_id", "id"),
    comment="Authorizations on the platform's own page, for a bot that no browser can reach (RFC 8628)",
)

CAN_REFRESH = "status = 'active' AND refresh_token IS NOT NULL"

grants = Table(
    "grants",
    metadata,
    user_key("The user who granted it", primary_key=True),
    required("status", Text, "active or ended"),
    required(
        "generation", Integer, "Counts the changes of the tokens: a refresh with an older number is discarded"
    ),
    optional("access_token", Text, "User access token, sealed; erased when the grant ends"),
    maybe_time("access_expires_at", "When the access token expires"),
    optional("refresh_token", Text, "Refresh token, sealed; erased when the grant ends"),
    maybe_time("refresh_expires_at", "When the refresh token expires"),
    required("scopes", ScopeSetText, "What the tokens allow, as JSON"),
    required("scopes_ever", ScopeSetText, "All that was granted since the last revocation, as JSON"),
    required(
        "narrowed",
        Boolean,
        "Whether refreshes ask for no more than these scopes, because others were given back",
        server_default=text("false"),
    ),
    time("authorized_at", "When the person last consented"),
    time("issued_at", "When these tokens were issued, by a consent or a refresh"),
    maybe_time("refreshed_at", "When the tokens were last refreshed"),
    maybe_time("last_used_at", "When a call last used them, to the minute"),
    optional("refresh_worker", Text, "The replica that is refreshing"),
    maybe_time("refresh_lease_until", "When that replica's lease of the refresh token ends"),
    maybe_time("refresh_started_at", "When a refresh was started whose outcome is not known"),
    required("refresh_failures", Integer, "Failed refreshes since the last that succeeded"),
    maybe_time("refresh_after", "After a failure: no refresh before this time"),
    maybe_time("ended_at", "When it ended"),
    optional("end_reason", Text, "Why it ended, in one word or code"),
    required("oauth", Text, "Generation of the token endpoint that issued the tokens"),
    app_of_user(),
    proof("memory_seal", "that these scopes are what was granted now and ever"),
    one_of("status", GrantStatus),
    one_of("oauth", ("v1", "v2", "v3")),
    CheckConstraint("(status = 'active') = (access_token IS NOT NULL)", name="active_has_token"),
    CheckConstraint("status = 'active' OR refresh_token IS NULL", name="tokens_erased"),
    CheckConstraint("(status = 'ended') = (ended_at IS NOT NULL)", name="ended_has_time"),
    CheckConstraint("(ended_at IS NULL) = (end_reason IS NULL)", name="ended_has_reason"),
    CheckConstraint("status = 'active' OR scopes = '[]'", name="ended_has_no_scopes"),
    CheckConstraint("(access_token IS NULL) = (access_expires_at IS NULL)", name="access_token_expires"),
    CheckConstraint("refresh_token IS NOT NULL OR refresh_expires_at IS NULL", name="refresh_token_expires"),
    CheckConstraint(
        "(refresh_worker IS NULL) = (refresh_lease_until IS NULL)", name="refresh_lease_has_worker"
    ),
    CheckConstraint("status = 'active' OR refresh_worker IS NULL", name="refreshes_while_active"),
    CheckConstraint("generation >= 1 AND refresh_failures >= 0", name="counts"),
    CheckConstraint(
        "(access_token IS NULL OR access_token LIKE 'v1.%') "
        "AND (refresh_token IS NULL OR refresh_token LIKE 'v1.%')",
        name="tokens_sealed",
    ),
    Index("ix_grants_of_app", "app", "user_key"),
    partial("ix_grants_in_use", "app", "last_used_at", where=CAN_REFRESH),
    partial("ix_grants_kept_alive", "app", "refresh_expires_at", where=CAN_REFRESH),
    partial("ix_grants_renewal", "app", "access_expires_at", where=CAN_REFRESH),
    partial("ix_grants_refreshing", "app", "refresh_lease_until", where="refresh_lease_until IS NOT NULL"),
    comment="What people granted: scopes and sealed tokens",
)

granted_scopes = Table(
    "granted_scopes",
    metadata,
    user_key("Who granted it", primary_key=True),
    required("scope", Text, "What was granted", primary_key=True),
    required("asked_by", NamesText, "The commands that asked for it, as JSON"),
    time("granted_at", "When it was last granted"),
    maybe_time("used_at", "When a call that needs it was last answered, to the minute"),
    optional("used_by", Text, "The command of that call"),
    CheckConstraint("(used_at IS NULL) = (used_by IS NULL)", name="used_by_something"),
    comment="What each scope that a person granted was asked and used for",
)

sessions = Table(
    "sessions",
    metadata,
    required("digest", Text, "Fingerprint of the session's id, which only its browser has", primary_key=True),
    user_key("Who is signed in"),
    time("created_at", "When the person signed in"),
    time("seen_at", "When it was last used, to the minute"),
    time("expires_at", "When it ends, used or not"),
    proof("seal", "that the bot began it, for whom and until when", always=True),
    app_of_user(),
    CheckConstraint("seal LIKE 'v1.%'", name="sealed"),
    Index("ix_sessions_user_key", "user_key"),
    Index("ix_sessions_expires_at", "app", "expires_at"),
    comment="Browsers that people are signed in with",
)

revocations = Table(
    "revocations",
    metadata,
    required("id", Text, "Sorts by time", primary_key=True),
    user_key("The user whose grant it was"),
    optional("token", Text, "The token to revoke, sealed; erased when that is settled"),
    required("status", Text, "Where it stands"),
    required("attempts", Integer, "How often the platform was asked"),
    time("runs_after", "Not tried before this time; for one being tried, when its lease ends"),
    optional("worker", Text, "The replica that last tried"),
    time("created_at", "When the grant was ended here"),
    maybe_time("settled_at", "When the platform had revoked it, or it was given up"),
    optional("reason", Text, "Why it was given up"),
    app_of_user(),
    one_of("status", RevocationStatus),
    CheckConstraint("(status = 'queued') = (token IS NOT NULL)", name="token_until_settled"),
    CheckConstraint("(status = 'queued') = (settled_at IS NULL)", name="settled_has_time"),
    CheckConstraint("(status = 'failed') = (reason IS NOT NULL)", name="failed_has_reason"),
    CheckConstraint("token LIKE 'v1.%'", name="token_sealed"),
    partial("ix_revocations_due", "app", "runs_after", where="status = 'queued'"),
    partial("ix_revocations_settled", "app", "settled_at", where="settled_at IS NOT NULL"),
    Index("ix_revocations_user_key", "user_key"),
    comment="Ended grants that the platform still has to revoke",
)

scope_waits = Table(
    "scope_waits",
    metadata,
    required("id", Text, "Sorts by time", primary_key=True),
    required("platform", Text, "Chat platform"),
    required("app_id", Text, "The app that lacks the scopes"),
    required("scopes", ScopeSetText, "Scopes that an administrator has to enable, as JSON"),
    required("status", Text, "waiting or enabled"),
    time("created_at", "When they were first missing"),
    maybe_time("settled_at", "When they were enabled"),
    required("cards_wanted", Integer, MOVED, server_default="1"),
    required("cards_shown", Integer, MOVED, server_default="1"),
    required("cards_claim", Integer, MOVED, server_default="0"),
    moved("cards_due_at", UtcDateTime),
    app_of_parts(),
    moved("cards_worker", Text),
    one_of("status", ScopeWaitStatus),
    CheckConstraint("(status = 'enabled') = (settled_at IS NOT NULL)", name="enabled_has_time"),
    partial(
        "ix_scope_waits_one_waiting", "platform", "app_id", "scopes", where="status = 'waiting'", unique=True
    ),
    comment="Scopes that calls need and that an administrator has to enable",
)

cards = Table(
    "cards",
    metadata,
    required(
        "id", Text, "The id of what it shows: an authorization request or a scope wait", primary_key=True
    ),
    optional(
        "request_id",
        Text,
        "The authorization request that it shows to its user, in one message",
        ForeignKey("authorization_requests.id", ondelete="CASCADE"),
    ),
    optional(
        "scope_wait_id",
        Text,
        "The scope wait that it shows to administrators, each of whom has a message in outgoing_messages",
        ForeignKey("scope_waits.id", ondelete="CASCADE"),
    ),
    required("app", Text, APP),
    required("wanted", Integer, "Counts the changes that the card should show"),
    required("shown", Integer, "The last of these changes that the card shows"),
    time("due_at", "When it is to be drawn (again)"),
    required("attempts", Integer, "Failed attempts to show the latest change", server_default="0"),
    optional("worker", Text, "The replica that is drawing it"),
    maybe_time("lease_until", "When that replica's lease ends"),
    required(
        "claim", Integer, "Counts the claims: a worker with an older number has lost it", server_default="0"
    ),
    optional("message_id", Text, "The message that shows it to its user"),
    required(
        "ephemeral",
        Boolean,
        "Whether that message is visible to its reader alone, and cannot be changed",
        server_default=text("false"),
    ),
    proof("seal", "that this message shows the card"),
    required("moves", Integer, "How often it was sent again as a new message", server_default="0"),
    maybe_time("sent_at", "When it was first shown"),
    CheckConstraint(
        "(request_id IS NULL) <> (scope_wait_id IS NULL) AND id = coalesce(request_id, scope_wait_id)",
        name="shows_one",
    ),
    CheckConstraint("shown <= wanted", name="shown_is_wanted"),
    CheckConstraint("(worker IS NULL) = (lease_until IS NULL)", name="lease_has_worker"),
    CheckConstraint("seal IS NULL OR message_id IS NOT NULL", name="seal_of_message"),
    CheckConstraint("seal LIKE 'v1.%'", name="sealed"),
    partial("ix_cards_due", "app", "due_at", where="shown < wanted"),
    partial("ix_cards_request_id", "request_id", where="request_id IS NOT NULL", unique=True),
    partial("ix_cards_scope_wait_id", "scope_wait_id", where="scope_wait_id IS NOT NULL", unique=True),
    partial("ix_cards_message_id", "message_id", where="message_id IS NOT NULL"),
    comment="Cards of authorization requests and of scope waits: what they should show, and what they do",
)

replicas = Table(
    "replicas",
    metadata,
    required("id", Text, "The replica's name in leases", primary_key=True),
    required("host", Text, "Where it runs"),
    time("started_at", "Its first heartbeat"),
    time("heartbeat_at", "Its latest heartbeat"),
    required(
        "key_ids", NamesText, "Fingerprints of the encryption keys it has, as JSON; the first one seals"
    ),
    app_of_writer(),
    optional(
        "presence_lock",
        BigInteger,
        "Advisory lock that it holds while it runs; NULL: only its leases show that it runs",
    ),
    optional("version", Text, "Version of its program; NULL: an earlier release wrote it"),
    optional("revision", Text, "Revision of the schema that its program was made for"),
    comment="Processes that serve this database",
)

api_calls = Table(
    "api_calls",
    metadata,
    required("id", Text, "Sorts by time", primary_key=True),
    time("at", "When it was sent"),
    required("user_key", UserKeyText, "In whose name: platform, app, tenant and open_id, joined by colons"),
    required("call_id", Text, "The command that made it, a deferred call, which may be deleted earlier"),
    required("step", Integer, "Counts the steps of that command from 0"),
    required(
        "attempt",
        Integer,
        "Counts the attempts of that command since it was last released; a rejected token is refreshed within one",
    ),
    required("method", Text, "HTTP method"),
    required("path", Text, "Path at the platform, without the query"),
    optional("status", Integer, "HTTP status; NULL: no response arrived"),
    optional("code", Text, "The platform's code for the result; NULL: it stated none"),
    optional("log_id", Text, "The id by which the platform finds it in its logs; NULL: it stated none"),
    required("milliseconds", Integer, "How long it took"),
    required("outcome", Text, "What it came to, in one word"),
    app_of_user(),
    one_of("outcome", ApiOutcome),
    CheckConstraint("step >= 0 AND attempt >= 0 AND milliseconds >= 0", name="counts"),
    Index("ix_api_calls_at", "app", "at"),
    Index("ix_api_calls_user_key", "user_key", "at"),
    Index("ix_api_calls_call_id", "call_id"),
    partial("ix_api_calls_log_id", "log_id", where="log_id IS NOT NULL"),
    partial("ix_api_calls_failed", "app", "at", "id", where="outcome <> 'succeeded'"),
    comment="Calls to the platform that were made in a user's name. Rows cannot be changed",
)

audit_log = Table(
    "audit_log",
    metadata,
    required(
        "id",
        BigInteger().with_variant(Integer, "sqlite"),
        "Counts upwards",
        Identity(always=True),
        primary_key=True,
    ),
    time("at", "When it happened"),
    required("action", Text, "What happened"),
    optional("user_key", UserKeyText, "Whom it concerns"),
    optional("subject_kind", Text, "What it happened to: call, request, attempt, …"),
    optional("subject_id", Text, "The id of that"),
    required("detail", Text, "Codes, scopes and numbers as JSON; never free text"),
    app_of_writer(),
    Index("ix_audit_log_at", "app", "at"),
    Index("ix_audit_log_user_key", "user_key", "id"),
    partial("ix_audit_log_subject_id", "subject_id", where="subject_id IS NOT NULL"),
    comment="What happened to which user. Rows cannot be changed, and not be deleted before the time in audit_retention",
)

audit_retention = Table(
    "audit_retention",
    metadata,
    required("app", Text, APP, primary_key=True),
    required("days", Integer, "How long entries of the audit log are kept (BOT_AUDIT_RETENTION_DAYS)"),
    CheckConstraint("days BETWEEN 1 AND 36500", name="days"),
    comment="How long the audit log of each app is kept: the database deletes no younger entry",
)

audit_erasures = Table(
    "audit_erasures",
    metadata,
    required("user_key", UserKeyText, "The user to forget", primary_key=True),
    required(
        "pseudonym",
        Text,
        "The name of the user in the entry that says so; only a holder of the encryption keys can compute it",
    ),
    required("detail", Text, "Detail of that entry, as JSON"),
    app_of_user(),
    CheckConstraint("length(pseudonym) = 32", name="pseudonym"),
    CheckConstraint("length(detail) <= 1000", name="detail"),
    comment="Orders to erase the audit entries about a user. Always empty: the database carries out each at once, and "
    "writes an audit entry (user_forgotten)",
)

key_check = Table(
    "key_check",
    metadata,
    required("id", Integer, "Always 1", primary_key=True, autoincrement=False),
    required("sealed", Text, "A known text, sealed: it shows at once whether the keys are wrong"),
    CheckConstraint("id = 1", name="one_row"),
    CheckConstraint("sealed LIKE 'v1.%'", name="sealed"),
    comment="Tells whether the encryption keys fit this database",
)

schema_compatibility = Table(
    "schema_compatibility",
    metadata,
    required("id", Integer, "Always 1", primary_key=True, autoincrement=False),
    required("revision", Text, "The revision of the schema that this row describes"),
    required(
        "oldest_revision",
        Text,
        "Programs that were made for this revision, or a later one, work with this schema",
    ),
    CheckConstraint("id = 1", name="one_row"),
    comment="Which older programs work with this schema, although it is newer",
)

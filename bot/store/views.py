"""The views that operators' commands and the console read, with the columns that they use (migration 0019)."""

from __future__ import annotations

from sqlalchemy import Text, column, table

from bot.store.column_types import UserKeyText, UtcDateTime

CONSENT_STAGES = (
    "asked_at",
    "shown_at",
    "opened_at",
    "returned_at",
    "granted_at",
    "resumed_at",
    "answered_at",
)
"""What a request goes through: columns of `consent_funnel`, in the order of the loop."""

consent_funnel = table(
    "consent_funnel",
    column("request_id", Text),
    column("app", Text),
    column("user_key", UserKeyText),
    column("outcome", Text),
    *(column(stage, UtcDateTime) for stage in CONSENT_STAGES),
)
"""One row for each authorization request."""

call_story = table(
    "call_story",
    column("call_id", Text),
    column("at", UtcDateTime),
    column("what", Text),
    column("user_key", UserKeyText),
    column("detail", Text),
    column("result", Text),
    column("log_id", Text),
)

who_is_waiting = table("who_is_waiting", column("call_id", Text), column("why", Text))

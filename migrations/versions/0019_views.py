"""Views for operators: who granted what, who waits and why, what a consent came to, what the platform refused.

docs/database.md shows what they answer. None shows a secret. Each filters quickly by the columns that an operator knows:
the user, the call, the time.
"""

from dataclasses import dataclass, field

from alembic import op

revision = "0019"
down_revision = "0018"

Column = tuple[str, str, str]
"""Name, SQL expression, and comment. In the SQL, `{…}` stands for what the two databases say differently."""

DIALECTS = {
    "sqlite": {
        "now": "strftime('%Y-%m-%d %H:%M:%f', 'now')",
        "week_ago": "strftime('%Y-%m-%d %H:%M:%f', 'now', '-7 days')",
        "in_a_week": "strftime('%Y-%m-%d %H:%M:%f', 'now', '+7 days')",
        "two_weeks_ago": "strftime('%Y-%m-%d %H:%M:%f', 'now', '-14 days')",
        "each": "json_each(",
        "as": ") AS",
        "value": "",
        "list": "group_concat(DISTINCT calls.command)",
    },
    "postgresql": {
        "now": "now()",
        "week_ago": "now() - interval '7 days'",
        "in_a_week": "now() + interval '7 days'",
        "two_weeks_ago": "now() - interval '14 days'",
        "each": "jsonb_array_elements_text((",
        "as": ")::jsonb) AS",
        "value": "(value)",
        "list": "string_agg(DISTINCT calls.command, ',')",
    },
}


@dataclass(frozen=True)
class View:
    name: str
    comment: str
    columns: list[Column]
    source: str
    """What follows the columns, up to the end or to the next part of a UNION ALL."""
    parts: list[tuple[list[str], str]] = field(default_factory=list)
    """Further parts of a UNION ALL: their expressions, and what follows them."""
    order: str = ""

    def sql(self) -> str:
        selected = ",\n    ".join(f"{sql} AS {name} /* {comment} */" for name, sql, comment in self.columns)
        text = f"/* {self.comment} */\nSELECT\n    {selected}\n{self.source}"
        for expressions, source in self.parts:
            text += f"\nUNION ALL SELECT {', '.join(expressions)}\n{source}"
        return text + self.order


APP = "Platform and app, joined by a colon"
USER = "Platform, app, tenant and open_id, joined by colons"
NAME = "The user's name; NULL: not known yet"

CAN_BE_USED = """(
    grants.status = 'active' AND (
        grants.access_expires_at > {now}
        OR (grants.refresh_token IS NOT NULL
            AND (grants.refresh_expires_at IS NULL OR grants.refresh_expires_at > {now}))
    )
)"""
ENDS_AT = """CASE
        WHEN grants.refresh_token IS NULL OR grants.refresh_expires_at <= grants.access_expires_at
        THEN grants.access_expires_at ELSE grants.refresh_expires_at
    END"""

WHO_IS_WAITING = View(
    "who_is_waiting",
    "What has been asked and is not answered yet, since when and why, the longest-waiting first",
    [
        ("name", "users.name", NAME),
        ("user_key", "calls.user_key", USER),
        ("call_id", "calls.id", "The deferred call"),
        ("command", "calls.command", "The command, without slash"),
        ("status", "calls.status", "queued, running or suspended"),
        ("waits_for", "calls.waits_for", "authorization, administrator or confirmation; NULL: not suspended"),
        ("needs", "calls.needs", "Scopes it waits for, as JSON: all of (any of)"),
        ("asked_at", "calls.asked_at", "When it was asked"),
        ("first_failed_at", "calls.first_failed_at", "First failure of the platform that is being retried"),
        ("expires_at", "calls.expires_at", "When it expires"),
        ("app", "calls.app", APP),
        ("request_id", "calls.request_id", "The authorization request that it waits for, or last did"),
        (
            "waiting_since",
            """CASE WHEN calls.status = 'suspended' THEN calls.suspended_at
        ELSE coalesce(calls.first_failed_at, calls.released_at, calls.asked_at) END""",
            "Since when it has been waiting for this",
        ),
        (
            "why",
            """CASE
        WHEN calls.waits_for = 'administrator' THEN 'an administrator has to enable the scopes'
        WHEN calls.waits_for = 'confirmation' THEN 'the user has to confirm an old write'
        WHEN calls.status = 'suspended' AND requests.status = 'redeeming' THEN 'a consent is being stored'
        WHEN calls.status = 'suspended' AND requests.declined_on_page_at IS NOT NULL
            THEN 'declined on the page of the platform, and not authorized since'
        WHEN calls.status = 'suspended' AND requests.opened_at IS NOT NULL
            THEN 'the user opened the link and has not authorized'
        WHEN calls.status = 'suspended' AND cards.sent_at IS NULL THEN 'the card has not been shown yet'
        WHEN calls.status = 'suspended' THEN 'the user has not opened the link'
        WHEN calls.first_failed_at IS NOT NULL THEN 'the platform failed: the call is retried'
        WHEN calls.status = 'running' THEN 'it is running'
        WHEN calls.behind THEN 'an earlier call of the user is not finished'
        ELSE 'it is queued'
    END""",
            "What it waits for, in words",
        ),
    ],
    """FROM deferred_calls AS calls
JOIN users ON users.user_key = calls.user_key
LEFT JOIN authorization_requests AS requests ON requests.id = calls.request_id
LEFT JOIN cards ON cards.id = calls.request_id
WHERE calls.status IN ('queued', 'running', 'suspended')""",
    order="\nORDER BY calls.asked_at",
)

GRANTS_OVERVIEW = View(
    "grants_overview",
    "What people have granted, one row a user, ended grants included, without the tokens",
    [
        ("name", "users.name", NAME),
        ("user_key", "grants.user_key", USER),
        ("status", "grants.status", "active or ended"),
        ("scopes", "grants.scopes", "What the tokens allow, as JSON"),
        ("authorized_at", "grants.authorized_at", "When the user last consented"),
        ("last_used_at", "grants.last_used_at", "When a call last used it, to the minute"),
        ("access_expires_at", "grants.access_expires_at", "When the access token expires"),
        ("can_refresh", "grants.refresh_token IS NOT NULL", "Whether it can be refreshed"),
        ("refresh_expires_at", "grants.refresh_expires_at", "When the refresh token expires"),
        ("refreshed_at", "grants.refreshed_at", "When it was last refreshed"),
        ("refresh_failures", "grants.refresh_failures", "Failed refreshes since the last that succeeded"),
        ("ended_at", "grants.ended_at", "When it ended"),
        ("end_reason", "grants.end_reason", "Why it ended, in one word or code"),
    ],
    "FROM grants JOIN users ON users.user_key = grants.user_key",
    order="\nORDER BY grants.authorized_at DESC",
)

RECENT_TROUBLE = View(
    "recent_trouble",
    "What went wrong in the last seven days, the latest first",
    [
        ("at", "settled_at", "When it ended"),
        ("what", "'call'", "call, message, request or revocation"),
        ("id", "id", "Its id"),
        ("user_key", "user_key", USER),
        ("status", "status", "How it ended"),
        ("reason", "outcome", "Why, in one word or code, or as the platform said it"),
    ],
    """FROM deferred_calls
WHERE status IN ('failed', 'outcome_unknown', 'expired') AND settled_at > {week_ago}""",
    parts=[
        (
            ["settled_at", "'message'", "id", "user_key", "status", "reason"],
            # An interim word that the answer has overtaken is no trouble.
            "FROM outgoing_messages WHERE status IN ('undeliverable', 'outcome_unknown') AND settled_at > {week_ago} "
            "AND NOT (kind = 'interim' AND reason = 'the answer was sent first')",
        ),
        (
            ["settled_at", "'request'", "id", "user_key", "status", "failure"],
            "FROM authorization_requests WHERE status IN ('failed', 'expired') AND settled_at > {week_ago}",
        ),
        (
            ["settled_at", "'revocation'", "id", "user_key", "status", "reason"],
            "FROM revocations WHERE status = 'failed' AND settled_at > {week_ago}",
        ),
    ],
    order="\nORDER BY 1 DESC",
)

GRANTS_BY_SCOPE = View(
    "grants_by_scope",
    "Who has granted which scope, and until when: one row a user and scope, only of grants that can still be used",
    [
        ("app", "grants.app", APP),
        ("scope", "scope.value", "The scope"),
        ("user_key", "grants.user_key", USER),
        ("name", "users.name", NAME),
        ("granted_at", "coalesce(records.granted_at, grants.authorized_at)", "When it was last granted"),
        ("asked_by", "records.asked_by", "The commands that asked for it, as JSON; NULL: none is recorded"),
        ("used_at", "records.used_at", "When a call that needs it was last answered; NULL: never"),
        (
            "expires_at",
            ENDS_AT,
            "When the grant ends, unless it is refreshed; NULL: the platform does not say",
        ),
        ("access_expires_at", "grants.access_expires_at", "When the access token expires"),
        (
            "can_refresh",
            "grants.refresh_token IS NOT NULL",
            "Whether the bot can refresh it without the user",
        ),
    ],
    f"""FROM grants
JOIN users ON users.user_key = grants.user_key
CROSS JOIN {{each}}grants.scopes{{as}} scope{{value}}
LEFT JOIN granted_scopes AS records ON records.user_key = grants.user_key AND records.scope = scope.value
WHERE {CAN_BE_USED}""",
)

GRANTED_IN_TRUTH = """(
        requests.status = 'granted' AND (
            EXISTS (SELECT 1 FROM {each}requests.granted{as} scope{value} WHERE scope.value <> 'offline_access')
            OR NOT EXISTS (SELECT 1 FROM {each}requests.scopes{as} scope{value} WHERE scope.value <> 'offline_access')
        )
    )"""
DECLINED = f"""(
        requests.status = 'declined'
        OR (requests.status = 'granted' AND NOT {GRANTED_IN_TRUTH})
        OR (requests.status IN ('open', 'redeeming', 'expired') AND requests.declined_on_page_at IS NOT NULL)
    )"""
DENIED_AT = """coalesce(
            (SELECT max(attempts.consumed_at) FROM authorization_attempts AS attempts
             WHERE attempts.request_id = requests.id AND attempts.status = 'denied'),
            (SELECT max(devices.settled_at) FROM device_authorizations AS devices
             WHERE devices.request_id = requests.id AND devices.status = 'denied'),
            requests.declined_on_page_at
        )"""

CONSENT_FUNNEL = View(
    "consent_funnel",
    "What became of each authorization request: one row a request, with the time of each stage that it reached",
    [
        ("request_id", "requests.id", "The authorization request"),
        ("app", "requests.app", APP),
        ("user_key", "requests.user_key", USER),
        ("name", "users.name", NAME),
        ("commands", "requests.reasons", "The commands that ask, as JSON"),
        ("scopes", "requests.scopes", "What it asks for, as JSON"),
        ("granted", "requests.granted", "What of that was granted, as JSON"),
        ("refused", "requests.refused", "What of that was refused, as JSON"),
        ("asked_at", "requests.created_at", "When the bot first asked"),
        ("shown_at", "cards.sent_at", "When its card was first shown; NULL: not yet"),
        (
            "opened_at",
            "requests.opened_at",
            "When its link was first opened; NULL: not yet, or by device code",
        ),
        (
            "returned_at",
            """coalesce(
            (SELECT min(attempts.consumed_at) FROM authorization_attempts AS attempts
             WHERE attempts.request_id = requests.id),
            (SELECT min(devices.settled_at) FROM device_authorizations AS devices
             WHERE devices.request_id = requests.id AND devices.status IN ('completed', 'denied'))
        )""",
            "When a browser first came back from the platform, or a device code was first decided",
        ),
        (
            "declined_at",
            f"""CASE
        WHEN requests.status = 'declined' OR (requests.status = 'granted' AND NOT {GRANTED_IN_TRUTH})
        THEN requests.settled_at ELSE {DENIED_AT}
    END""",
            "When it was last declined, on the card, in the chat or on the page of the platform",
        ),
        (
            "granted_at",
            f"CASE WHEN {GRANTED_IN_TRUTH} THEN requests.settled_at END",
            "When a scope that it asked for was granted; offline_access alone does not count",
        ),
        (
            "resumed_at",
            """(SELECT min(calls.released_at) FROM deferred_calls AS calls
         WHERE calls.request_id = requests.id AND calls.consents > 0)""",
            "When the first of its calls was resumed after the consent",
        ),
        (
            "answered_at",
            """(SELECT min(messages.sent_at) FROM deferred_calls AS calls
         JOIN outgoing_messages AS messages ON messages.call_id = calls.id AND messages.kind = 'answer'
         WHERE calls.request_id = requests.id AND calls.consents > 0)""",
            "When the first of these calls was answered",
        ),
        (
            "outcome",
            f"""CASE
        WHEN {DECLINED} THEN 'declined'
        WHEN requests.status = 'granted' AND requests.refused <> '[]' THEN 'partly_granted'
        WHEN requests.status = 'failed' AND requests.failure = 'administrator' THEN 'waits_for_administrator'
        WHEN requests.status IN ('open', 'redeeming') THEN 'waiting'
        ELSE requests.status
    END""",
            "waiting, granted, partly_granted, declined, expired, waits_for_administrator, failed or superseded",
        ),
    ],
    """FROM authorization_requests AS requests
JOIN users ON users.user_key = requests.user_key
LEFT JOIN cards ON cards.id = requests.id""",
)

SCOPE_DEMAND = View(
    "scope_demand",
    "How often each scope was asked for in the requests that are stored, and what the users decided",
    [
        ("app", "demand.app", APP),
        ("scope", "demand.scope", "The scope"),
        ("requests", "count(*)", "Authorization requests that asked for it"),
        ("users", "count(DISTINCT demand.user_key)", "Users who were asked for it"),
        ("granted", "count(CASE WHEN demand.is_granted THEN 1 END)", "Requests that were granted it"),
        (
            "declined",
            "count(CASE WHEN NOT demand.is_granted AND demand.is_declined THEN 1 END)",
            "Requests that were declined as a whole, or refused this scope",
        ),
        (
            "waiting",
            """count(CASE WHEN NOT demand.is_granted AND NOT demand.is_declined
          AND demand.status IN ('open', 'redeeming') THEN 1 END)""",
            "Requests that nobody has decided yet",
        ),
        (
            "expired",
            """count(CASE WHEN NOT demand.is_granted AND NOT demand.is_declined
          AND demand.status = 'expired' THEN 1 END)""",
            "Requests that expired undecided",
        ),
        ("last_asked_at", "max(demand.asked_at)", "When the latest of these requests was opened"),
    ],
    f"""FROM (
    SELECT requests.app, requests.user_key, requests.status, requests.created_at AS asked_at, asked.scope,
        (EXISTS (SELECT 1 FROM {{each}}requests.granted{{as}} given{{value}} WHERE given.value = asked.scope)
         OR EXISTS (SELECT 1 FROM granted_scopes AS records
                    WHERE records.user_key = requests.user_key AND records.scope = asked.scope
                      AND records.granted_at >= requests.created_at
                      AND (requests.settled_at IS NULL OR records.granted_at <= requests.settled_at))) AS is_granted,
        ({DECLINED}
         OR EXISTS (SELECT 1 FROM {{each}}requests.refused{{as}} no{{value}} WHERE no.value = asked.scope)) AS is_declined
    FROM authorization_requests AS requests
    JOIN (
        SELECT source.id AS request_id, one.value AS scope
        FROM authorization_requests AS source CROSS JOIN {{each}}source.scopes{{as}} one{{value}}
        UNION SELECT source.id, one.value
        FROM authorization_requests AS source CROSS JOIN {{each}}source.granted{{as}} one{{value}}
        UNION SELECT source.request_id, one.value
        FROM authorization_attempts AS source CROSS JOIN {{each}}source.scopes{{as}} one{{value}}
    ) AS asked ON asked.request_id = requests.id
) AS demand
GROUP BY demand.app, demand.scope""",  # noqa: S608
)

WAITING_FOR_ADMINISTRATORS = View(
    "waiting_for_administrators",
    "Scopes that an administrator has to enable for the app, since when, and who waits for them",
    [
        ("scope_wait_id", "waits.id", "The scope wait"),
        ("app", "waits.app", APP),
        ("scopes", "waits.scopes", "Scopes that have to be enabled, as JSON"),
        ("waiting_since", "waits.created_at", "When they were first missing"),
        ("calls", "count(calls.id)", "Calls that wait for any of them"),
        ("users", "count(DISTINCT calls.user_key)", "Users whose calls wait"),
        ("commands", "{list}", "The commands that wait, with commas; NULL: none waits at the moment"),
        ("last_asked_at", "max(calls.asked_at)", "When the latest of these calls was asked"),
    ],
    """FROM scope_waits AS waits
LEFT JOIN deferred_calls AS calls
    ON calls.app = waits.app AND calls.status = 'suspended' AND calls.waits_for = 'administrator'
    AND EXISTS (
        SELECT 1 FROM {each}waits.scopes{as} scope{value}
        WHERE calls.needs LIKE '%"' || scope.value || '"%'
    )
WHERE waits.status = 'waiting'
GROUP BY waits.id, waits.app, waits.scopes, waits.created_at""",
)

MADE_FOR = """FROM api_calls AS made
LEFT JOIN users ON users.user_key = made.user_key
LEFT JOIN deferred_calls AS calls ON calls.id = made.call_id"""
MADE: list[Column] = [
    ("at", "made.at", "When it was sent"),
    ("app", "made.app", APP),
    ("user_key", "made.user_key", USER),
    ("name", "users.name", NAME),
    ("call_id", "made.call_id", "The deferred call that made it"),
    ("command", "calls.command", "The command, without slash; NULL: it is deleted by now"),
    ("step", "made.step", "Counts the steps of the command from 0"),
    ("attempt", "made.attempt", "Counts the attempts of the command since it was last released"),
    ("method", "made.method", "HTTP method"),
    ("path", "made.path", "Path at the platform, without the query"),
    ("status", "made.status", "HTTP status; NULL: no response arrived"),
    ("code", "made.code", "The platform's code; NULL: it stated none"),
    ("log_id", "made.log_id", "The id by which the platform finds it in its logs"),
    ("milliseconds", "made.milliseconds", "How long it took"),
    ("outcome", "made.outcome", "What it came to, in one word"),
]

PLATFORM_ERRORS = View(
    "platform_errors",
    "Calls in a user's name that did not succeed, except those for which a scope of the user was missing",
    MADE,
    f"{MADE_FOR}\nWHERE made.outcome <> 'succeeded' AND made.outcome <> 'insufficient_scope'",
)

DONE_FOR_USER = View(
    "done_for_user",
    "What the bot did in whose name: each call to the platform, and whether it was carried out",
    [
        *MADE,
        (
            "done",
            "CASE made.outcome WHEN 'succeeded' THEN 'yes' WHEN 'no_answer' THEN 'unknown' ELSE 'no' END",
            "Whether the platform carried it out: yes, no or unknown",
        ),
    ],
    MADE_FOR,
)

CALL_STORY = View(
    "call_story",
    "What happened to a call: one row an event. Filter by call_id, and order by at",
    [
        ("call_id", "calls.id", "The deferred call"),
        ("at", "calls.asked_at", "When it happened"),
        (
            "what",
            "'asked'",
            "asked, api_call, card_shown, link_opened, came_back, message_…, or an action of the audit log",
        ),
        ("user_key", "calls.user_key", USER),
        ("detail", "calls.command", "The command, the call to the platform, or the detail of the audit log"),
        ("result", "CAST(NULL AS text)", "What it came to; NULL: the event says it"),
        ("log_id", "CAST(NULL AS text)", "The id by which the platform finds it in its logs"),
    ],
    "FROM deferred_calls AS calls",
    parts=[
        (
            [
                "audit.subject_id",
                "audit.at",
                "audit.action",
                "audit.user_key",
                "audit.detail",
                "NULL",
                "NULL",
            ],
            "FROM audit_log AS audit WHERE audit.subject_kind = 'call'",
        ),
        (
            [
                "made.call_id",
                "made.at",
                "'api_call'",
                "made.user_key",
                "made.method || ' ' || made.path",
                "made.outcome || coalesce(', HTTP ' || made.status, '') || coalesce(', code ' || made.code, '')",
                "made.log_id",
            ],
            "FROM api_calls AS made",
        ),
        (
            [
                "messages.call_id",
                "coalesce(messages.settled_at, messages.created_at)",
                "'message_' || messages.status",
                "messages.user_key",
                "messages.kind",
                "messages.reason",
                "NULL",
            ],
            "FROM outgoing_messages AS messages WHERE messages.call_id IS NOT NULL",
        ),
        (
            [
                "calls.id",
                "cards.sent_at",
                "'card_shown'",
                "calls.user_key",
                """'{{"request": "' || calls.request_id || '"}}'""",
                "NULL",
                "NULL",
            ],
            "FROM deferred_calls AS calls JOIN cards ON cards.id = calls.request_id WHERE cards.sent_at IS NOT NULL",
        ),
        (
            [
                "calls.id",
                "attempts.created_at",
                "'link_opened'",
                "calls.user_key",
                "attempts.scopes",
                "NULL",
                "NULL",
            ],
            """FROM deferred_calls AS calls
JOIN authorization_attempts AS attempts ON attempts.request_id = calls.request_id""",
        ),
        (
            [
                "calls.id",
                "attempts.consumed_at",
                "'came_back'",
                "calls.user_key",
                "attempts.scopes",
                "coalesce(attempts.outcome, attempts.status)",
                "NULL",
            ],
            """FROM deferred_calls AS calls
JOIN authorization_attempts AS attempts ON attempts.request_id = calls.request_id
WHERE attempts.consumed_at IS NOT NULL""",
        ),
        (
            [
                "calls.id",
                "audit.at",
                "audit.action",
                "audit.user_key",
                "audit.detail",
                "NULL",
                "NULL",
            ],
            """FROM deferred_calls AS calls
JOIN audit_log AS audit ON audit.subject_id = calls.request_id AND audit.subject_kind = 'request'
    AND audit.action <> 'link_opened'""",
        ),
    ],
)

REFRESH_HEALTH = View(
    "refresh_health",
    "Whether the tokens of each active grant can be refreshed: one row a user",
    [
        ("app", "grants.app", APP),
        ("user_key", "grants.user_key", USER),
        ("name", "users.name", NAME),
        (
            "health",
            """CASE
        WHEN grants.refresh_token IS NULL THEN 'cannot_refresh'
        WHEN grants.refresh_expires_at <= {now} THEN 'expired'
        WHEN grants.refresh_lease_until > {now} THEN 'refreshing'
        WHEN grants.refresh_started_at IS NOT NULL THEN 'in_doubt'
        WHEN grants.refresh_failures > 0 THEN 'failing'
        ELSE 'healthy'
    END""",
            "healthy, refreshing, failing, in_doubt, cannot_refresh or expired",
        ),
        ("refresh_failures", "grants.refresh_failures", "Failed refreshes since the last that succeeded"),
        ("refresh_after", "grants.refresh_after", "After a failure: no refresh before this time"),
        (
            "refresh_started_at",
            "grants.refresh_started_at",
            "When a refresh was started whose outcome is not known",
        ),
        ("refreshed_at", "grants.refreshed_at", "When it was last refreshed; NULL: never"),
        ("access_expires_at", "grants.access_expires_at", "When the access token expires"),
        ("refresh_expires_at", "grants.refresh_expires_at", "When the refresh token expires"),
        ("last_used_at", "grants.last_used_at", "When a call last used it, to the minute"),
        ("oauth", "grants.oauth", "Generation of the token endpoint"),
    ],
    """FROM grants JOIN users ON users.user_key = grants.user_key
WHERE grants.status = 'active'""",
)

GRANTS_ENDING_SOON = View(
    "grants_ending_soon",
    "Grants that end within seven days unless they are refreshed, and whether the bot will refresh them",
    [
        ("app", "grants.app", APP),
        ("user_key", "grants.user_key", USER),
        ("name", "users.name", NAME),
        ("scopes", "grants.scopes", "What would be lost, as JSON"),
        ("ends_at", ENDS_AT, "When it ends, unless it is refreshed"),
        ("last_used_at", "grants.last_used_at", "When a call last used it, to the minute"),
        (
            "will_be_refreshed",
            "grants.refresh_token IS NOT NULL AND coalesce(grants.last_used_at > {two_weeks_ago}, false)",
            "Whether the bot refreshes it in time, because it was used within the last 14 days",
        ),
    ],
    f"""FROM grants JOIN users ON users.user_key = grants.user_key
WHERE {CAN_BE_USED} AND {ENDS_AT} <= {{in_a_week}}""",
)

VIEWS = (
    WHO_IS_WAITING,
    GRANTS_OVERVIEW,
    RECENT_TROUBLE,
    GRANTS_BY_SCOPE,
    CONSENT_FUNNEL,
    SCOPE_DEMAND,
    WAITING_FOR_ADMINISTRATORS,
    PLATFORM_ERRORS,
    DONE_FOR_USER,
    CALL_STORY,
    REFRESH_HEALTH,
    GRANTS_ENDING_SOON,
)
REPLACED = {"who_is_waiting", "grants_overview", "recent_trouble"}


def upgrade() -> None:
    dialect = op.get_bind().dialect.name
    # Without parameters: `:` and `%` in the text are no placeholders.
    run = op.get_bind().exec_driver_sql
    for view in VIEWS:
        sql = view.sql().format(**DIALECTS[dialect])
        if dialect == "sqlite":
            if view.name in REPLACED:
                run(f"DROP VIEW {view.name}")
            run(f"CREATE VIEW {view.name} AS {sql}")
            continue
        # In place of the former one, whose privileges stay.
        run(f"CREATE OR REPLACE VIEW {view.name} AS {sql}")
        run(f"COMMENT ON VIEW {view.name} IS {quoted(view.comment)}")
        for name, _, comment in view.columns:
            run(f"COMMENT ON COLUMN {view.name}.{name} IS {quoted(comment)}")


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"

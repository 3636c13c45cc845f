"""What operators are told: one function for each thing that ends. Each writes one line to the log.

What changes a status is observed in one place: `committed` receives every entry of the audit log once its transaction is
committed. Everything else is observed where it ends. The ids of the story are added to each line (see `correlation`).

No function is given a secret or the text of a message.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from bot.core.api import (
    AppScopeMissing,
    Exchange,
    InsufficientScope,
    RateLimited,
    Succeeded,
    Unreachable,
    in_one_word,
)
from bot.core.calls import CallStatus, DeferredCall, WaitsFor
from bot.core.cards import Face
from bot.core.events import (
    AppStopped,
    CardClicked,
    ChatEntered,
    Event,
    GrantRevoked,
    Ignored,
    MessageRecalled,
    MessageReceived,
    Unauthentic,
    UserDeleted,
)
from bot.core.grants import Grant
from bot.core.messages import MessageStatus, NotSent, Sent
from bot.core.oauth import TokenRefused
from bot.core.people import UserKey
from bot.core.requests import Attempt, AuthorizationRequest, DeviceAuthorization
from bot.core.scopes import ScopeSet, clauses
from bot.core.secrets import NotSecret
from bot.flows import correlation, entry_metrics
from bot.flows.clock import utc_now
from bot.flows.entry_metrics import CALL_ENDS, CONSENT_ENDS, consent_result
from bot.flows.metrics import OTHER
from bot.store.audit import Detail, Entry
from bot.store.inbox import NewCall
from bot.store.outbox import OutgoingMessage

if TYPE_CHECKING:
    from bot.flows.bot import Bot

log = logging.getLogger("bot")


_BLANK = {
    **vars(logging.makeLogRecord({"name": log.name})),
    "pathname": __file__,
    "filename": "observations.py",
}


class Record(logging.LogRecord):
    """A record whose file, function and thread are not looked up: no line shows them, and they cost a quarter of it."""

    def __init__(self, level: int, message: str, fields: Mapping[str, object]) -> None:
        now = time.time()
        own = {"msg": message, "levelno": level, "levelname": logging.getLevelName(level), "created": now}
        self.__dict__ = {**_BLANK, **fields, **own, "msecs": now % 1 * 1000}


def tell(message: str, level: int = logging.INFO, **fields: object) -> None:
    """Write a line. Fields that are None or empty are left out."""
    if log.isEnabledFor(level):
        given = {name: value for name, value in fields.items() if value or value == 0}
        log.handle(Record(level, message, given))


def tell_first(bot: Bot, message: str, reason: str, level: int = logging.WARNING, **fields: object) -> None:
    """Write a line about something that many stories may meet at the same time: the first, and then their number.

    `reason` is one of few. At level debug, each is told.
    """
    is_first = bot.refusals.is_first(message, reason, level)
    tell(message, level if is_first else logging.DEBUG, reason=reason, **fields)


def listed(scopes: ScopeSet) -> str:
    return ",".join(sorted(scopes))


# --- events ---------------------------------------------------------------------------------------------------


def event_accepted(bot: Bot, event: Event) -> None:
    """An event was recorded and carried out."""
    count_event(bot, event, "accepted")
    action, card = (event.action, event.message_id) if isinstance(event, CardClicked) else (None, None)
    tell("event accepted", kind=KINDS[type(event)], action=action, card=card)


def call_accepted(bot: Bot, event: MessageReceived, call: NewCall) -> None:
    """The event of a message was recorded, together with the call that it makes."""
    count_event(bot, event, "accepted")
    bot.tracer.remember(call.id)
    with correlation.of_call(call):
        tell("event accepted", kind=KINDS[type(event)], command=call.command, chat=call.chat.kind)


def event_repeated(bot: Bot, event: Event) -> None:
    """An event was delivered again, and has no effect."""
    count_event(bot, event, "repeated")
    bot.refusals.note("event seen before", KINDS[type(event)])


KINDS: Mapping[type[Event], str] = {
    MessageReceived: "message",
    ChatEntered: "chat_entered",
    MessageRecalled: "message_recalled",
    CardClicked: "click",
    GrantRevoked: "grant_revoked",
    UserDeleted: "user_deleted",
    AppStopped: "app_stopped",
}
"""The names of events, which are also used as labels."""


def kind_of(event: Event) -> str:
    return KINDS.get(type(event), OTHER)


def count_event(bot: Bot, event: Event, result: str) -> None:
    match event:
        case MessageReceived() | ChatEntered() | CardClicked() | GrantRevoked() | UserDeleted():
            platform = event.user.platform
        case MessageRecalled() | AppStopped():
            platform = event.platform
        case Ignored():
            return  # its platform is known to its receiver alone, which counts it
    bot.metrics.event_ended(platform, KINDS[type(event)], result)


def event_acknowledged(bot: Bot, platform: str, event: Event, seconds: float, now: datetime) -> None:
    """An authentic event was acknowledged, whatever came of it."""
    bot.events[platform].accepted(now)
    bot.metrics.event_acknowledged(platform, seconds, now)
    if isinstance(event, Ignored):
        bot.metrics.event_ended(platform, OTHER, "ignored")


def event_failed(bot: Bot, platform: str, event: Event) -> None:
    """An event could not be recorded. The platform delivers it again."""
    bot.metrics.event_ended(platform, kind_of(event), "failed")


def event_ignored(reason: str) -> None:
    """An authentic event that the bot does not need."""
    tell("event ignored", logging.DEBUG, reason=reason)


def event_refused(bot: Bot, platform: str, refused: Unauthentic, *, is_logged: bool = True) -> None:
    """What arrived was rejected: it is unauthentic, stale or malformed."""
    bot.events[platform].was_refused(refused, utc_now())
    bot.metrics.event_refused(platform, refused.reason)
    if is_logged:
        bot.refusals.note("webhook refused", refused.reason, logging.WARNING)


def too_many_calls(bot: Bot, user: UserKey) -> None:
    """A message was recorded, but not its call: its user has too many calls waiting."""
    bot.metrics.event_ended(user.platform, KINDS[MessageReceived], "too_many")
    bot.refusals.note("too many waiting calls of one user", str(user), logging.WARNING)


# --- calls ----------------------------------------------------------------------------------------------------


def call_started(bot: Bot, call: DeferredCall) -> None:
    """A worker runs a call for the first time, or again after a wait or a failure."""
    is_first = call.claim == 1
    message = "call started" if is_first else "call continued"
    tell(
        message,
        logging.INFO if is_first else logging.DEBUG,
        command=call.command,
        attempt=call.attempts if not is_first else None,
    )


def grant_used(bot: Bot, call: DeferredCall, grant: Grant) -> None:
    """An API call is made with a grant, which may be the one that the call has waited for."""
    if call.suspended_at is not None and call.consents and grant.authorized_at >= call.suspended_at:
        bot.metrics.consent_used(call.id, grant.authorized_at)


def api_call_ended(bot: Bot, call: DeferredCall, exchange: Exchange) -> None:
    """The platform has answered a request that was made as the user, or has not. A success writes no line."""
    if isinstance(exchange.outcome, Succeeded):
        return
    fields: dict[str, Any] = {
        "method": exchange.method,
        "path": exchange.path,
        "status": exchange.status,
        "code": exchange.code and NotSecret(exchange.code),
        "log_id": exchange.log_id,
        "attempt": call.attempts,
    }
    match exchange.outcome:
        case InsufficientScope(requirement=requirement) | AppScopeMissing(requirement=requirement):
            fields["scopes"] = ",".join(clauses(requirement))
        case Unreachable(reason=reason):
            return request_failed(bot, call, reason, fields)
        case RateLimited():
            return request_failed(bot, call, "rate limit", fields)
    tell("refused by the platform", reason=in_one_word(exchange.outcome).value, **fields)


def request_failed(bot: Bot, call: DeferredCall, reason: str, fields: dict[str, Any]) -> None:
    """The platform has not answered a request, or asks to wait. The first failure of each call is told."""
    message = "the platform failed"
    is_first = bot.refusals.is_first(message, f"{call.command}: {reason}", logging.WARNING)
    level = logging.WARNING if is_first or call.first_failed_at is None else logging.DEBUG
    tell(message, level, reason=reason, **fields)


def call_suspended(entry: Entry) -> None:
    tell(
        "call suspended",
        command=entry.detail.get("command"),
        waits_for=entry.detail.get("waits_for"),
        needs=joined(entry.detail.get("needs")),
        request=entry.detail.get("request"),
    )


def call_resumed(entry: Entry) -> None:
    tell("call resumed", command=entry.detail.get("command"), consents=entry.detail.get("consents"))


def call_retried(call: DeferredCall, reason: str) -> None:
    """A call that waits for an administrator is tried again, though the platform has just refused it.

    The first release of a wait is told by the audit log, as "call resumed".
    """
    if call.attempts:
        with correlation.of_call(call):
            tell(
                "call retried",
                command=call.command,
                waits_for=WaitsFor.ADMINISTRATOR.value,
                attempt=call.attempts + 1,
                reason=reason,
            )


def call_ended(entry: Entry, status: CallStatus) -> None:
    """A call has ended, whichever way."""
    asked_at = entry.detail.get("asked_at")
    lasted = entry.at - datetime.fromisoformat(asked_at) if isinstance(asked_at, str) else None
    level = logging.WARNING if status in {CallStatus.FAILED, CallStatus.OUTCOME_UNKNOWN} else logging.INFO
    others = {name: value for name, value in entry.detail.items() if name not in {"command", "asked_at"}}
    tell(
        "call ended",
        level,
        command=entry.detail.get("command"),
        status=status.value,
        **others,
        seconds=round(lasted.total_seconds(), 3) if lasted is not None else None,
    )


def lease_lost(call: DeferredCall) -> None:
    """The call has ended meanwhile, or another worker has taken it. This worker stops, which harms nothing."""
    tell("lease lost", command=call.command)


def key_missing(bot: Bot, call: DeferredCall) -> None:
    """Another replica has the key of a call. It waits for that one."""
    tell_first(bot, "another replica has the key of this call", "key", command=call.command)


def reaction_failed(bot: Bot, message: str, problem: NotSent, call_id: str, message_id: str) -> None:
    """The message of a call was not acknowledged by a reaction, or an answered one still has it."""
    with correlation.bind(call=call_id, message_id=message_id):
        tell_first(bot, message, problem.reason, logging.INFO)


# --- authorization --------------------------------------------------------------------------------------------


def card_shown(bot: Bot, request: AuthorizationRequest, face: Face, message_id: str | None) -> None:
    """A card was sent, or shows another face."""
    tell("card shown", face=face.value, scopes=listed(request.scopes), request=request.id, card=message_id)


def card_not_shown(bot: Bot, request: AuthorizationRequest, problem: NotSent) -> None:
    """The platform did not accept a card. Unless `retry`, it will not be sent again as it is."""
    if problem.retry:
        tell_first(bot, "card not shown", problem.reason, request=request.id, retry=True)
    else:
        tell("card not shown", logging.WARNING, reason=problem.reason, request=request.id, gone=problem.gone)


def link_opened(entry: Entry) -> None:
    tell("link opened", request=entry.subject_id, authorization_attempt=entry.detail.get("attempt"))


def consent_ended(entry: Entry) -> None:
    """A visitor has come back from the platform's page, or never will."""
    tell(
        "consent ended",
        result=consent_result(entry),
        reason=entry.detail.get("reason"),
        gained=joined(entry.detail.get("gained")),
        lost=joined(entry.detail.get("lost")),
        refused=joined(entry.detail.get("refused")),
        by=entry.detail.get("by"),
        request=entry.detail.get("request"),
        **ids_of_opening(entry),
    )


def ids_of_opening(entry: Entry) -> dict[str, Any]:
    """Return the id of the opening of a link, or of the device code, that an entry is about."""
    field = {"attempt": "authorization_attempt", "device_authorization": "device"}.get(
        entry.subject_kind or ""
    )
    return {field: entry.subject_id} if field is not None else {}


def exchange_failed(bot: Bot, attempt: Attempt, refusal: TokenRefused) -> None:
    """The platform did not exchange a code. If it did not answer, a chore tries again."""
    reason = f"{refusal.problem.value} {refusal.code}"
    tell_first(
        bot,
        "code exchange failed",
        reason,
        detail=refusal.message,
        authorization_attempt=attempt.id,
        request=attempt.request_id,
    )


def device_failed(bot: Bot, device: DeviceAuthorization, refusal: TokenRefused) -> None:
    """The platform did not give a device code, or no tokens for it."""
    reason = f"{refusal.problem.value} {refusal.code}"
    tell_first(
        bot,
        "device authorization failed",
        reason,
        detail=refusal.message,
        device=device.id,
        request=device.request_id,
    )


def token_refreshed(entry: Entry) -> None:
    tell(
        "token refreshed",
        generation=entry.detail.get("generation"),
        scopes=joined(entry.detail.get("scopes")),
        user=entry.user,
    )


def refresh_failed(bot: Bot, user: UserKey, refusal: TokenRefused) -> None:
    """A token was not refreshed. It is tried again, unless "grant ended" follows."""
    bot.metrics.token_refreshed(user.platform, refusal.problem.value)
    reason = f"{refusal.problem.value} {refusal.code}"
    tell_first(bot, "refresh failed", reason, detail=refusal.message, user=str(user))


def grant_ended(entry: Entry) -> None:
    tell("grant ended", reason=entry.detail.get("reason"), user=entry.user)


# --- messages -------------------------------------------------------------------------------------------------


def message_sent(bot: Bot, message: OutgoingMessage, sent: Sent) -> None:
    bot.metrics.message_settled(message.user.platform, message.kind, MessageStatus.SENT)
    tell(
        "message sent",
        kind=message.kind,
        outgoing=message.id,
        sent=sent.message_id,
        attempt=message.attempts if message.attempts > 1 else None,
    )


def message_not_needed(bot: Bot, message: OutgoingMessage) -> None:
    """An interim word was overtaken by the answer."""
    tell("message not needed", logging.DEBUG, kind=message.kind, outgoing=message.id)


def message_given_up(bot: Bot, message: OutgoingMessage, status: MessageStatus, reason: str) -> None:
    """A message will not be sent, or it is unknown whether it was."""
    bot.metrics.message_settled(message.user.platform, message.kind, status)
    tell(
        "message not delivered",
        logging.WARNING,
        kind=message.kind,
        outgoing=message.id,
        status=status.value,
        reason=reason,
    )


# --- administrators -------------------------------------------------------------------------------------------


def administrator_asked(bot: Bot, admin: UserKey, scopes: ScopeSet) -> None:
    """The card of an administrator was handed to the outbox."""
    tell("administrator asked", administrator=admin.open_id, scopes=listed(scopes))


def scope_enabled(entry: Entry) -> None:
    tell("scope enabled", scopes=joined(entry.detail.get("scopes")))


# --- replicas, database, platform -----------------------------------------------------------------------------


def replica_joined(replica: str) -> None:
    tell("replica joined", replica=replica)


def replica_left(replica: str) -> None:
    tell("replica left", replica=replica)


def replica_gone(replica: str, taken: Mapping[str, int]) -> None:
    """Another replica has ended without leaving, and this one has taken over its work."""
    tell("replica gone", logging.WARNING, replica=replica, taken=counted(taken))


def work_taken_over(taken: Mapping[str, int]) -> None:
    """A starting process has taken over the work that the previous one did not finish."""
    tell("took over interrupted work", taken=counted(taken))


def counted(taken: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in taken.items())


def database_away(reason: str) -> None:
    """The database cannot be reached, or accepts no writes. Until it is back, what fails for that reason is not told."""
    tell("the database is away", logging.ERROR, reason=reason)


def database_back(seconds: float) -> None:
    tell("the database is back", seconds=round(seconds, 1))


def failed(bot: Bot, message: str, error: Exception, **fields: object) -> None:
    """Something failed in a way that is not expected. It will be tried again, if it has to be.

    A lost race is no trouble, and an outage of the database is told once for all that it makes fail.
    """
    database = bot.database
    reason = ", ".join([type(error).__name__, *(str(value) for value in fields.values())])
    if database.is_lost_race(error) or (database.outages.is_away and database.is_unavailable(error)):
        tell(message, logging.DEBUG, reason=reason)
    elif database.is_unavailable(error):
        bot.refusals.note(message, reason, logging.INFO)
    else:
        bot.metrics.failed(message)
        bot.refusals.note(message, reason, logging.ERROR, error)


# --- the audit log --------------------------------------------------------------------------------------------


def joined(detail: Detail | None) -> Detail | None:
    return ",".join(detail) if isinstance(detail, list) else detail


OBSERVED: Mapping[str, Callable[[Entry], None]] = {
    "call_suspended": call_suspended,
    "call_released": call_resumed,
    "call_confirmed": call_resumed,
    **{action: partial(call_ended, status=status) for action, status in CALL_ENDS.items()},
    "link_opened": link_opened,
    **{
        action: consent_ended
        for action in CONSENT_ENDS
        # Openings that are abandoned are only counted: a user may open a link many times.
        if action != "attempt_expired"
    },
    "token_refreshed": token_refreshed,
    "grant_ended": grant_ended,
    "scopes_enabled": scope_enabled,
}
"""By the action of the entry."""


def committed(bot: Bot, entry: Entry) -> None:
    """Observe an entry of the audit log. One without an observation is logged at level debug."""
    entry_metrics.count(bot.metrics, entry)
    subject = entry.subject_id
    with correlation.bind(**ids_of(bot, entry)):
        observe = OBSERVED.get(entry.action)
        if observe is not None:
            observe(entry)
        else:
            tell(entry.action.replace("_", " "), logging.DEBUG, subject=subject)


def ids_of(bot: Bot, entry: Entry) -> dict[str, str | None]:
    """Return the ids of the story of an entry. For a request, they are those of the first call that waits for it."""
    user = str(entry.user) if entry.user is not None else None
    if entry.subject_kind == "call":
        return {"call": entry.subject_id, "message_id": entry.message_id, "user": user}
    request = entry.subject_id if entry.subject_kind == "request" else entry.detail.get("request")
    call, message_id = (bot.askers.find(request) if isinstance(request, str) else None) or (None, None)
    return {"call": call, "message_id": message_id, "user": user}

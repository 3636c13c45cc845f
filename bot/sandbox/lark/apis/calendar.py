"""The calendar APIs: the primary calendar and its events."""

import re

from aiohttp import web

from bot.sandbox.json_http import Json
from bot.sandbox.lark.apis.contacts import ID_TYPES
from bot.sandbox.lark.gateway import ApiError, Apis, Call, one_of, success
from bot.sandbox.lark.parameters import Parameters, page
from bot.sandbox.lark.sample_work_data import make_event

apis = Apis()

SECONDS = re.compile(r"\d{9,10}\Z")

READ_CALENDARS = one_of("calendar:calendar:read", "calendar:calendar:readonly")
READ_EVENTS = one_of("calendar:calendar", "calendar:calendar.event:read", "calendar:calendar:readonly")
CREATE_EVENTS = one_of("calendar:calendar", "calendar:calendar.event:create")
EVENTS = "/calendar/v4/calendars/{calendar_id}/events"


@apis.api("POST", "/calendar/v4/calendars/primary", user=READ_CALENDARS, tenant=READ_CALENDARS)
async def primary_calendar(call: Call) -> web.Response:
    Parameters(call.query).choice("user_id_type", ID_TYPES, "open_id")
    if call.person is None:
        return success({"calendars": []})
    person = call.person
    calendar_id = next(
        (c for c, owner in call.tenant.work.calendars.items() if owner == person.open_id), None
    )
    if calendar_id is None:
        raise ApiError(195100, "user is dismissed or not exist in the tenant", 404)
    calendar = {
        "calendar_id": calendar_id,
        "summary": person.name,
        "description": "",
        "permissions": "private",
        "color": -1,
        "type": "primary",
        "summary_alias": "",
        "is_deleted": False,
        "is_third_party": False,
        "role": "owner",
    }
    return success({"calendars": [{"calendar": calendar, "user_id": person.open_id}]})


@apis.api("GET", EVENTS, user=READ_EVENTS, tenant=READ_EVENTS)
async def list_events(call: Call) -> web.Response:
    query = Parameters(call.query)
    size = query.whole("page_size", minimum=50, maximum=1000, default=500)
    start, end = query.optional_text("start_time"), query.optional_text("end_time")
    page_token, sync_token = query.optional_text("page_token"), query.optional_text("sync_token")
    if (start is None) != (end is None) or (start is not None and (page_token or sync_token)):
        raise ApiError(190002, "invalid parameters in request: start_time and end_time go together, alone")
    for moment in (start, end, query.optional_text("anchor_time")):
        if moment is not None and not SECONDS.match(moment):
            raise ApiError(190002, "invalid parameters in request: times are in seconds")
    events = _calendar_events(call)
    if start is not None and end is not None:
        events = [event for event in events if _overlaps(event, int(start), int(end))][:size]
        return success({"has_more": False, "page_token": "", "sync_token": "", "items": events})
    items, following, more = page(events, size, page_token)
    sync = "" if more else "ListCalendarsSyncToken_1"
    return success({"has_more": more, "page_token": following, "sync_token": sync, "items": items})


def _calendar_events(call: Call) -> list[Json]:
    """Return the events of the calendar in the path. Raises ApiError if the caller cannot read it."""
    calendar_id = call.path("calendar_id")
    owner = call.tenant.work.calendars.get(calendar_id)
    if "@" not in calendar_id:
        raise ApiError(191001, "invalid calendar_id")
    if owner is None:
        raise ApiError(191000, "calendar not found", 404)
    if call.person is None or call.person.open_id != owner:
        raise ApiError(191002, "no calendar access_role", 403)
    return call.tenant.work.events[calendar_id]


def _overlaps(event: Json, start: int, end: int) -> bool:
    begins, ends = event["start_time"], event["end_time"]
    if "timestamp" not in begins:
        return True
    return int(begins["timestamp"]) < end and int(ends["timestamp"]) > start


@apis.api("POST", EVENTS, user=CREATE_EVENTS, tenant=CREATE_EVENTS)
async def create_event(call: Call) -> web.Response:
    key = Parameters(call.query).optional_text("idempotency_key", min_length=32, max_length=128)
    body = Parameters(call.body)
    events = _calendar_events(call)
    for name in ("start_time", "end_time"):
        _check_moment(body.object(name))
    body.optional_text("summary")
    known = ("create event", call.path("calendar_id"), key or "")
    if key and known in call.tenant.work.written:
        return success({"event": call.tenant.work.written[known][1]})
    event = make_event(call.path("calendar_id"), call.user, dict(call.body))
    events.append(event)
    if key:
        call.tenant.work.written[known] = (call.tenant.clock.now(), event)
    return success({"event": event})


def _check_moment(moment: Json | None) -> None:
    given = moment or {}
    timestamp = given.get("timestamp")
    if "date" not in given and not (isinstance(timestamp, str) and SECONDS.match(timestamp)):
        raise ApiError(
            190002, "invalid parameters in request: timestamp (seconds, a string) or date is needed"
        )

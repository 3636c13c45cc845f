"""The calendar: the events of a period."""

from datetime import datetime

from aiohttp import web

from bot.sandbox.dingtalk.apis.todo import find_user
from bot.sandbox.dingtalk.gateway import ApiError, Apis, Call, success
from bot.sandbox.dingtalk.parameters import Parameters
from bot.sandbox.json_http import Json

apis = Apis()

READ_EVENTS = ("Calendar.Event.Read",)
MAX_RESULTS = 100
INVALID = "invalidParameter.param"


@apis.api(
    "GET",
    "/v1.0/calendar/users/{union_id}/calendars/{calendar_id}/events",
    user=READ_EVENTS,
    tenant=READ_EVENTS,
)
async def events(call: Call) -> web.Response:
    """One page of the events that overlap `timeMin` to `timeMax`, which are ISO 8601 with a zone."""
    person = find_user(call, me=False, required=READ_EVENTS)
    if call.path("calendar_id") != "primary":
        raise ApiError("invalidParameter.calendarId", "the calendar does not exist")
    query = Parameters(call.query, INVALID)
    begins, ends = _moment(query, "timeMin"), _moment(query, "timeMax")
    size = query.whole("maxResults", minimum=1, maximum=MAX_RESULTS, default=MAX_RESULTS) or MAX_RESULTS
    token = query.optional_text("nextToken") or "0"
    if not token.isdigit():
        raise query.wrong("nextToken invalid")
    found = [
        event
        for event in call.tenant.work.events.get(person.user_id, [])
        if (begins is None or _end(event) > begins) and (ends is None or _start(event) < ends)
    ]
    start = int(token)
    fields: Json = {"events": found[start : start + size]}
    if start + size < len(found):
        fields["nextToken"] = str(start + size)
    else:
        fields["syncToken"] = "sync-0"
    return success(fields)


def _moment(query: Parameters, name: str) -> datetime | None:
    text = query.optional_text(name)
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise query.wrong(f"{name} must be ISO 8601 with a time zone") from None
    if moment.tzinfo is None:
        raise query.wrong(f"{name} needs a time zone")
    return moment


def _start(event: Json) -> datetime:
    return _time(event["start"])


def _end(event: Json) -> datetime:
    return _time(event["end"])


def _time(moment: Json) -> datetime:
    if "dateTime" in moment:
        return datetime.fromisoformat(moment["dateTime"])
    return datetime.fromisoformat(f"{moment['date']}T00:00:00+00:00")

"""`/agenda`: which days it asks for, and what a day looks like."""

from datetime import UTC, datetime

import pytest

from bot.core.commands import ApiRefused
from bot.core.scopes import choose_scopes, is_met
from bot.lark.commands.agenda import agenda
from tests.command_runner import ODD, ask, links, refused, run, said, success

CALENDAR_ID = "feishu.cn_x@group.calendar.feishu.cn"
PRIMARY = success({"calendars": [{"calendar": {"calendar_id": CALENDAR_ID, "type": "primary"}}]})
HOUR = 3600
MONDAY = 1767542400
"""Monday 5 January 2026, midnight in Shanghai, in seconds."""


def timed(title, start, end, zone="Asia/Shanghai", **more):
    """An event from one hour to another, counted from Monday's midnight in Shanghai."""
    return {
        "summary": title,
        "status": "confirmed",
        "start_time": {"timestamp": str(int(MONDAY + start * HOUR)), "timezone": zone},
        "end_time": {"timestamp": str(int(MONDAY + end * HOUR)), "timezone": zone},
        **more,
    }


def whole(title, first, after, **more):
    return {"summary": title, "start_time": {"date": first}, "end_time": {"date": after}, **more}


def shown(arguments, *events, time_zone=None, language="en"):
    return said(run(agenda, ask(arguments, time_zone=time_zone), PRIMARY, events_of(*events)).reply, language)


def events_of(*events, **more):
    return success({"has_more": False, "items": list(events), **more})


def test_a_day_lists_whole_days_first_and_then_by_time_with_place_and_links():
    done = run(
        agenda,
        "",
        PRIMARY,
        events_of(
            timed("Review", 14, 15.5, location={"name": "Room 5"}, app_link="https://applink.feishu.cn/1"),
            timed("Standup", 9.5, 10, vchat={"meeting_url": "https://vc.feishu.cn/j/1"}),
            whole("Launch day", "2026-01-05", "2026-01-06"),
            timed("Cancelled", 11, 12) | {"status": "cancelled"},
            timed("Declined", 11, 12, self_rsvp_status="decline"),
        ),
    )
    assert said(done.reply) == [
        "Today · Monday 5 January",
        "All day  Launch day",
        "09:30–10:00  Standup · Join",
        "14:00–15:30  Review · Room 5",
    ]
    assert said(done.reply, "zh")[:2] == ["今天 · 1月5日 周一", "全天  Launch day"]
    assert links(done.reply) == ["https://vc.feishu.cn/j/1", "https://applink.feishu.cn/1"]


def test_it_asks_for_the_primary_calendar_and_for_one_range_in_seconds_without_paging():
    primary, events = run(agenda, "tomorrow", PRIMARY, events_of()).calls
    assert (primary.method, primary.path) == ("POST", "/open-apis/calendar/v4/calendars/primary")
    assert events.path == f"/open-apis/calendar/v4/calendars/{CALENDAR_ID}/events"
    assert set(events.query) == {"start_time", "end_time", "page_size"}
    # Wherever tomorrow is, it lies within.
    assert int(events.query["start_time"]) <= MONDAY + 24 * HOUR
    assert int(events.query["end_time"]) >= MONDAY + 48 * HOUR
    assert primary.write is None
    assert events.write is None


@pytest.mark.parametrize(
    ("arguments", "titles"),
    [
        ("", ["Monday"]),
        ("today", ["Monday"]),
        ("今天", ["Monday"]),
        ("Tomorrow", ["Tuesday"]),
        ("明天", ["Tuesday"]),
    ],
)
def test_a_day_holds_only_what_takes_place_on_it(arguments, titles):
    events = [
        timed("Sunday", -2, -1),
        timed("Monday", 0, 1),
        timed("Tuesday", 24, 25),
        timed("Midnight", 48, 49),
    ]
    lines = shown(arguments, *events)
    assert [line.split("  ")[1] for line in lines[1:]] == titles


def test_a_week_groups_by_day_and_leaves_empty_days_out():
    lines = shown(
        "week",
        timed("Standup", 9.5, 10),
        whole("Offsite", "2026-01-06", "2026-01-08"),
        timed("Dinner", 42, 44),
        timed("Last", 6 * 24 + 9, 6 * 24 + 10),
        timed("Beyond", 7 * 24 + 9, 7 * 24 + 10),
    )
    assert lines == [
        "Next 7 days",
        "Today · Monday 5 January",
        "09:30–10:00  Standup",
        "Tomorrow · Tuesday 6 January",
        "All day  Offsite",
        "18:00–20:00  Dinner",
        "Wednesday 7 January",
        "All day  Offsite",
        "Sunday 11 January",
        "09:00–10:00  Last",
    ]


def test_an_event_over_midnight_shows_on_each_of_its_days():
    lines = shown("week", timed("Release", 22, 74))
    assert [line for line in lines if "Release" in line] == [
        "from 22:00  Release",
        "All day  Release",
        "All day  Release",
        "until 02:00  Release",
    ]


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (timed("To midnight", 22, 24), "22:00–00:00  To midnight"),
        (timed("A moment", 9, 9), "09:00  A moment"),
        (timed("Backwards", 9, 8), "09:00  Backwards"),
        (timed("Whole by the clock", 0, 24), "All day  Whole by the clock"),
        (whole("Same day", "2026-01-05", "2026-01-05"), "All day  Same day"),
        (whole("No end", "2026-01-05", None), "All day  No end"),
        (timed("  Two\nlines ", 9, 10), "09:00–10:00  Two lines"),
        (timed("", 9, 10), "09:00–10:00  (no title)"),
        (timed("Turned\u202e", 9, 10, location={"address": "Street 1"}), "09:00–10:00  Turned · Street 1"),
    ],
)
def test_odd_times_and_titles_still_make_a_line(event, line):
    assert shown("", event, time_zone="Asia/Shanghai")[1:] == [line]


def test_the_day_is_that_of_the_zone_which_the_events_name():
    lines = shown("", timed("Sunday dinner", -7, -5, "America/New_York"), time_zone="Asia/Shanghai")
    # When it was asked, Monday had begun in Shanghai, and in New York it had not.
    assert lines == ["Today · Sunday 4 January", "04:00–06:00  Sunday dinner"]


def test_the_zone_is_named_when_events_disagree_and_when_nobody_knows_it():
    mixed = shown("", timed("A", 9, 10), timed("B", 11, 12), timed("C", 13, 14, "Europe/Berlin"))
    assert mixed[-1] == "Times in Asia/Shanghai."
    unknown = shown("", timed("A", 9, 10, zone="Nowhere/At_All"))
    assert unknown == [
        "Today · Monday 5 January",
        "01:00–02:00  A",
        "Times in UTC.",
    ]
    assert shown("", timed("A", 9, 10, zone=""), time_zone="Asia/Shanghai")[1:] == ["09:00–10:00  A"]


def test_a_day_on_which_the_clock_changes_has_its_own_length():
    # New York, 8 March 2026: 23 hours, from 05:00 UTC to 04:00 UTC.
    start = 1772946000
    event = {"timezone": "America/New_York"}
    late = {
        "start_time": {"timestamp": str(start + 22 * HOUR), **event},
        "end_time": {"timestamp": str(start + 23 * HOUR)},
    }
    asked = ask("", asked_at=datetime(2026, 3, 8, 16, tzinfo=UTC))
    lines = said(run(agenda, asked, PRIMARY, events_of({"summary": "Late", **late})).reply)
    assert lines == ["Today · Sunday 8 March", "23:00–00:00  Late"]


def test_an_empty_day_is_said_kindly():
    assert shown("", time_zone="Asia/Shanghai")[1:] == ["Nothing on your calendar."]
    assert shown("week", time_zone="Asia/Shanghai", language="zh")[1:] == ["没有日程安排。"]


def test_a_repeating_event_is_read_from_the_view_that_repeats_it():
    weekly = timed("Weekly", -7 * 24 + 9, -7 * 24 + 10, recurrence="FREQ=WEEKLY")
    view = events_of(timed("Weekly", 9, 10), timed("Other", 11, 12))
    done = run(agenda, "", PRIMARY, events_of(weekly, timed("Other", 11, 12)), view)
    assert done.calls[2].path.endswith("/events/instance_view")
    assert set(done.calls[2].query) == {"start_time", "end_time"}
    assert said(done.reply)[1:] == ["09:00–10:00  Weekly", "11:00–12:00  Other"]


def test_without_that_view_the_rest_is_shown_and_the_gap_is_said():
    weekly = timed("Weekly", -7 * 24 + 9, -7 * 24 + 10, recurrence="FREQ=WEEKLY")
    done = run(agenda, "", PRIMARY, events_of(weekly, timed("Other", 11, 12)), refused(193104))
    assert said(done.reply)[1:] == [
        "11:00–12:00  Other",
        "Some repeating events may be missing.",
    ]


def test_more_than_a_message_holds_is_counted_and_a_cut_list_is_said():
    events = [timed(f"E{n}", 1 + n / 10, 2 + n / 10) for n in range(70)]
    reply = run(agenda, "", PRIMARY, events_of(*events, has_more=True)).reply
    lines = said(reply)
    assert len(lines) == 1 + 30 + 2
    assert lines[-2:] == ["… and 40 more.", "Too many events to show them all."]


@pytest.mark.parametrize("words", ["yesterday", "next week", "2026-01-05"])
def test_other_words_get_its_usage(words):
    done = run(agenda, words)
    assert done.moves == []
    assert said(done.reply)[1] == "/agenda [today|tomorrow|week]"


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "ftp://x/y", "//x", 5, None, "https://x\n.y", "https://"]
)
def test_only_web_links_become_links(url):
    reply = run(
        agenda, "", PRIMARY, events_of(timed("A", 9, 10, app_link=url, vchat={"meeting_url": url}))
    ).reply
    assert links(reply) == []
    assert said(reply)[1] == "09:00–10:00  A"


@pytest.mark.parametrize("odd", ODD)
def test_a_primary_calendar_that_is_not_there_is_said(odd):
    assert said(run(agenda, "", odd).reply)[0] == "Unexpected answer from the platform"


@pytest.mark.parametrize("odd", ODD)
def test_events_that_cannot_be_read_are_no_events(odd):
    assert "Nothing on your calendar." in said(run(agenda, "", PRIMARY, odd).reply)


@pytest.mark.parametrize(
    "time",
    [
        {"timestamp": "x"},
        {"timestamp": "9" * 40},
        {"timestamp": True},
        {"date": "tomorrow"},
        {"date": 5},
        None,
        [],
    ],
)
def test_an_event_without_a_readable_time_is_left_out(time):
    assert len(shown("", {"summary": "Odd", "start_time": time}, timed("Fine", 9, 10))) == 2


LAST_SECOND, FIRST_SECOND = 253402300799, -62135596800
"""Of the calendar: in a time zone to the east or the west of UTC they are outside of it."""
END_OF_TIME = {
    "start_time": {"timestamp": str(MONDAY + 9 * HOUR)},
    "end_time": {"timestamp": str(LAST_SECOND)},
}
SINCE_EVER = {
    "start_time": {"timestamp": str(FIRST_SECOND)},
    "end_time": {"timestamp": str(MONDAY + 9 * HOUR)},
}


@pytest.mark.parametrize("zone", ["Asia/Shanghai", "America/New_York", None])
@pytest.mark.parametrize("event", [END_OF_TIME, SINCE_EVER, whole("", "0001-01-01", "9999-12-31")])
def test_an_invitation_until_the_end_of_time_does_not_break_the_agenda(event, zone):
    assert "(no title)" in shown("week", event, time_zone=zone)[2]


@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31"])
def test_the_first_and_the_last_day_of_the_calendar_are_days(day):
    assert shown("", whole("Far", day, day), time_zone="Asia/Shanghai")[1:] == ["Nothing on your calendar."]


@pytest.mark.parametrize("odd", ["../../auth", "..", "a/b", "", None, 5, "x?y", "x#y", "a b"])
def test_a_calendar_id_never_leads_elsewhere(odd):
    response = success({"calendars": [{"calendar": {"calendar_id": odd, "type": "primary"}}]})
    assert len(run(agenda, "", response).calls) == 1


def test_the_calendar_that_calls_itself_primary_is_taken():
    calendars = [
        {"calendar": {"calendar_id": name, "type": kind}}
        for name, kind in [("a@x", "shared"), ("b@x", "primary")]
    ]
    assert "/b@x/" in run(agenda, "", success({"calendars": calendars}), events_of()).calls[1].path


@pytest.mark.parametrize("results", [(refused(191002),), (PRIMARY, refused(191002))])
def test_no_access_is_explained(results):
    lines = said(run(agenda, "", *results).reply)
    assert lines[0] == "You can't use Calendar at the moment"
    assert lines[-1] == "For support: code 191002, log ID 20260105LOG"


def test_another_refusal_is_left_to_the_general_words():
    with pytest.raises(ApiRefused):
        run(agenda, "", refused(190002))


def test_one_scope_is_enough_for_both_calls_and_two_narrow_ones_do_as_well():
    needs = agenda.needs("")
    assert choose_scopes(needs, frozenset(), None).scopes == {"calendar:calendar:readonly"}
    narrow = frozenset({"calendar:calendar:read", "calendar:calendar.event:read"})
    assert choose_scopes(needs, frozenset(), narrow).scopes == narrow
    assert not is_met(needs, frozenset({"calendar:calendar"}))


@pytest.mark.parametrize(
    ("zones", "learned"),
    [
        (["Asia/Tokyo"], "Asia/Tokyo"),
        (["Asia/Tokyo", "Europe/Paris", "Asia/Tokyo"], "Asia/Tokyo"),
        (["Asia/Tokyo", "Europe/Paris"], None),
        (["Asia/Tokyo", "Europe/Paris", "America/Lima", "Asia/Tokyo"], None),
        (["Nowhere/At_All", "Asia"], None),
        ([], None),
    ],
)
def test_the_time_zone_of_most_events_is_the_persons(zones, learned):
    events = [timed(f"Event {number}", 9, 10, zone) for number, zone in enumerate(zones)]
    assert run(agenda, ask(""), PRIMARY, events_of(*events)).reply.time_zone == learned

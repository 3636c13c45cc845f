"""`/tasks` and `/task`."""

from datetime import UTC, datetime, timedelta

import pytest

from bot.core.commands import ApiRefused
from bot.lark.commands.tasks import task, tasks
from tests.command_runner import NOW, ODD, WEI, ask, links, refused, run, said, success


def due(moment, whole=False):
    return {"timestamp": str(int(moment.timestamp() * 1000)), "is_all_day": whole}


def open_task(title, at=None, whole=False, **more):
    made = {
        "summary": title,
        "completed_at": "0",
        "status": "todo",
        "url": f"https://x.feishu.cn/{title}",
        **more,
    }
    return made if at is None else {**made, "due": due(at, whole)}


def page(*found, more=False, token=""):
    return success({"items": list(found), "has_more": more, "page_token": token})


def test_tasks_are_grouped_by_when_they_are_due_and_overdue_ones_are_marked():
    found = page(
        open_task("someday"),
        open_task("friday", datetime(2026, 1, 9, 9, tzinfo=UTC)),
        open_task("tonight", datetime(2026, 1, 5, 10, tzinfo=UTC)),
        open_task("this-morning", NOW - timedelta(hours=1)),
        open_task("whole-day", datetime(2026, 1, 5, tzinfo=UTC), whole=True),
        open_task("last-year", datetime(2025, 12, 31, tzinfo=UTC), whole=True),
        open_task("tomorrow", datetime(2026, 1, 6, tzinfo=UTC), whole=True),
    )
    reply = run(tasks, ask(time_zone="Asia/Shanghai"), found).reply
    assert said(reply) == [
        "7 open tasks",
        "🔴 Overdue",
        "☐ last-year · Wed 31 Dec 2025",
        "☐ this-morning · today 08:30",
        "🟠 Due today",
        "☐ tonight · today 18:00",
        "☐ whole-day · today",
        "Later",
        "☐ tomorrow · tomorrow",
        "☐ friday · Fri 9 Jan 17:00",
        "No due date",
        "☐ someday",
    ]
    assert said(reply, "zh")[1:3] == ["🔴 已逾期", "☐ last-year · 2025年12月31日 周三"]
    assert links(reply)[0] == "https://x.feishu.cn/last-year"


def test_without_a_known_zone_times_are_utc_and_that_is_said():
    lines = said(run(tasks, "", page(open_task("tonight", datetime(2026, 1, 5, 10, tzinfo=UTC)))).reply)
    assert lines[2:] == [
        "☐ tonight · today 10:00",
        "Times in UTC.",
    ]


def test_pages_are_followed():
    done = run(tasks, "", page(open_task("one"), more=True, token="p2"), page(open_task("two")))
    assert [call.query.get("page_token") for call in done.calls] == [None, "p2"]
    assert {call.query["completed"] for call in done.calls} == {"false"}
    assert {call.query["type"] for call in done.calls} == {"my_tasks"}
    assert said(done.reply)[0] == "2 open tasks"


def test_at_most_five_pages_are_read_and_then_it_is_said():
    pages = [page(open_task(f"t{n}"), more=True, token=f"p{n}") for n in range(5)]
    lines = said(run(tasks, "", *pages).reply)
    assert lines[0] == "5+ open tasks"
    assert lines[-1] == "… and more. See Tasks in the app."


def test_more_pages_without_a_way_to_them_are_said_too():
    assert said(run(tasks, "", page(open_task("one"), more=True)).reply)[0] == "1+ open tasks"


def test_empty_pages_with_more_behind_them_are_not_taken_for_nothing_to_do():
    pages = [page(more=True, token=f"p{n}") for n in range(5)]
    assert said(run(tasks, "", *pages).reply) == ["0+ open tasks", "… and more. See Tasks in the app."]


def test_more_tasks_than_a_message_holds_are_counted():
    lines = said(run(tasks, "", page(*(open_task(f"t{n:02}") for n in range(50)))).reply)
    assert len([line for line in lines if line.startswith("☐")]) == 30
    assert lines[-1] == "… and 20 more."


def test_done_tasks_are_left_out_and_none_left_is_said_kindly():
    done = [open_task("a", completed_at="1767000000000"), open_task("b", status="done")]
    assert said(run(tasks, "", page(*done)).reply)[0] == "No open tasks"


@pytest.mark.parametrize("odd", ODD[:-1])
def test_tasks_that_cannot_be_read_are_no_tasks(odd):
    assert said(run(tasks, "", odd).reply)[0] == "No open tasks"


@pytest.mark.parametrize(
    "given", [None, 5, "x", {}, {"timestamp": "soon"}, {"timestamp": "9" * 30}, {"timestamp": None}]
)
def test_a_task_with_an_odd_due_date_has_none(given):
    reply = run(tasks, "", page({"summary": None, "due": given, "url": "javascript:1"})).reply
    assert said(reply) == ["1 open task", "No due date", "☐ (no title)"]
    assert links(reply) == []


@pytest.mark.parametrize("zone", ["Asia/Shanghai", "America/New_York", None])
@pytest.mark.parametrize("all_day", [True, False])
@pytest.mark.parametrize(("due", "group"), [("253402300799000", "Later"), ("-62135596800000", "🔴 Overdue")])
def test_a_task_for_the_end_of_time_does_not_break_the_list(zone, all_day, due, group):
    given = page({"summary": "Far", "due": {"timestamp": due, "is_all_day": all_day}})
    lines = said(run(tasks, ask("", time_zone=zone), given).reply)
    assert lines[1] == group
    assert lines[2].startswith("☐ Far")


def test_a_new_task_is_a_keyed_write_that_assigns_it_to_the_asker():
    made = success({"task": {"summary": "Book a room", "url": "https://x.feishu.cn/t/1"}})
    done = run(task, "  Book\n a room ", made)
    (call,) = done.calls
    assert (call.method, call.path) == ("POST", "/open-apis/task/v2/tasks")
    assert call.body["summary"] == "Book a room"
    assert call.body["members"] == [{"id": WEI.open_id, "type": "user", "role": "assignee"}]
    assert 10 <= len(call.body["client_token"]) <= 100
    assert call.write.keyed_for == timedelta(minutes=4)
    assert said(done.reply) == ["Task created", "☐ Book a room", "Assigned to you."]
    assert links(done.reply) == ["https://x.feishu.cn/t/1"]


def test_the_key_of_a_write_is_that_of_its_ask():
    first, again, other = (run(task, ask("X", key=key), success({})).calls[0] for key in ("a", "a", "b"))
    assert first == again
    assert first.body["client_token"] != other.body["client_token"]


@pytest.mark.parametrize("odd", ODD)
def test_a_task_is_created_even_if_the_answer_says_little(odd):
    assert said(run(task, "Book a room", odd).reply)[:2] == ["Task created", "☐ Book a room"]


@pytest.mark.parametrize(
    ("title", "line"),
    [
        ("", "/task TITLE"),
        (" \n ", "/task TITLE"),
        ("x" * 3001, "A title can have up to 3000 characters; this one has 3001."),
    ],
)
def test_a_title_that_cannot_be_is_explained_and_nothing_is_sent(title, line):
    done = run(task, title)
    assert done.moves == []
    assert said(done.reply)[1] == line


def test_a_title_of_the_longest_length_is_sent_whole():
    assert run(task, "x" * 3000, success({})).calls[0].body["summary"] == "x" * 3000


@pytest.mark.parametrize(
    ("command", "code", "title"),
    [
        (tasks, 1470403, "You can't use Tasks at the moment"),
        (task, 1470403, "You can't use Tasks at the moment"),
        (task, 1470422, "Your task is being created"),
    ],
)
def test_refusals_are_explained(command, code, title):
    assert said(run(command, "X", refused(code)).reply)[0] == title


def test_other_refusals_are_left_to_the_general_words():
    with pytest.raises(ApiRefused):
        run(task, "X", refused(1470400))


def test_reading_prefers_the_narrower_scope_and_writing_never_takes_a_reading_one():
    assert tasks.needs("") == (("task:task:read", "task:task:write"),)
    assert task.needs("") == (("task:task:write", "task:task:writeonly"),)

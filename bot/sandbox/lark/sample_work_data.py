"""Sample calendars, tasks, documents, mail, minutes and tables: preparations for a launch, dated from today."""

from base64 import urlsafe_b64encode
from collections.abc import Iterable
from datetime import datetime, timedelta
from secrets import token_hex
from zoneinfo import ZoneInfo

from bot.sandbox.json_http import Json
from bot.sandbox.lark.tenant import Person, Tenant
from bot.sandbox.lark.work_data import Document

WELCOME = "doxcnWelcome7Kq2mZtR4vXb"
PLAN = "doxcnLaunchPlan5Hs8nQyJ3u"
MENU = "doxcnCanteenMenu9Tf1wLdC6"
SALARIES = "doxcnSalaryBands4Gk7pRzN2"
BUDGET = "shtcnBudgetSheet6Yw3cMvX8"
FOLDER = "fldcnLaunchFolder2Bn5jKqT7"
WIKI_NODE = "wikcnLaunchHome8Dr4xFhS1"
MINUTES = "obcnweekly5t8q2m1z7x4c"
BASE, TABLE = "bascnLaunchBase3Vn6tYrW9", "tblLaunchVisits01"

WELCOME_TEXT = """Welcome to Helper

You are reading a document that you allowed Helper to open for you.

## What just happened
1. Helper needed this page on your behalf, and you had never allowed it to view documents.
2. It asked you for exactly that permission, on a card with a link.
3. You agreed, and Helper went back to your request. Nobody had to type it again.

## What it can do now
Helper can view documents that you can open. **It can't edit them.** It never asks for more than a command needs; \
/permissions lists what you have authorized.

## Try next
- /agenda – what today looks like
- /tasks – what is still open
- /search with a word – documents that you can see
- /revoke – take it all back
"""
PLAN_TEXT = f"""Launch plan

Goal: the Aurora release is in customers' hands two weeks from today.

## Steps
1. Freeze the feature list. Done.
2. Translate the release notes (Wei). In review.
3. Dress rehearsal with the support team (Sam). Tomorrow.
4. Go or no-go meeting (Ada). At the end of the week.
5. Publish, watch the dashboards for a day, then cake.

## Risks
- The payment provider's sandbox is flaky on Mondays.
- The hotel for the launch party wants a deposit, which is in the [budget](https://corp.feishu.cn/sheets/{BUDGET}).
"""
MENU_TEXT = """This week in the canteen

- Monday: tomato soup, bread from this morning
- Tuesday: mapo tofu, rice, cucumber salad
- Wednesday: pasta with lemon and peas
- Thursday: bibimbap
- Friday: fish and chips, or chips and chips
"""

# Day (from today), start, minutes, summary, place.
AGENDAS: dict[str, list[tuple[int, str, int, str, str]]] = {
    "zh_cn": [
        (0, "09:30", 15, "每日站会", "线上会议"),
        (0, "11:00", 45, "发布说明翻译评审", "3 楼 · 银杏"),
        (0, "14:00", 60, "与 Sam 讨论新版首页", "2 楼 · 松"),
        (0, "17:30", 30, "一对一:Ada", "Ada 的办公室"),
        (1, "10:00", 90, "发布彩排", "大会议室"),
        (1, "15:00", 30, "客户回访:远山科技", "电话"),
        (3, "16:00", 60, "上线评审会", "大会议室"),
    ],
    "en_us": [
        (0, "09:30", 15, "Stand-up", "Online"),
        (0, "11:00", 30, "Coffee with the new support lead", "Canteen"),
        (0, "13:00", 60, "Aurora: open questions", "Room Linden"),
        (0, "16:30", 45, "Review: release notes in Chinese", "Online"),
        (1, "10:00", 90, "Dress rehearsal", "Big meeting room"),
        (1, "14:00", 30, "Payment provider, weekly call", "Phone"),
        (3, "16:00", 60, "Go or no-go", "Big meeting room"),
    ],
}
ALL_DAY = {"zh_cn": (2, "外出培训"), "en_us": (2, "Offsite")}

# Day (from today; None: no due date), summary.
TASKS: dict[str, list[tuple[int | None, str]]] = {
    "zh_cn": [
        (0, "校对发布说明中文版"),
        (1, "给彩排准备演示账号"),
        (4, "更新帮助中心截图"),
        (-1, "回复法务关于用户协议的意见"),
        (None, "整理用户访谈笔记"),
    ],
    "en_us": [
        (0, "Book the room for the launch party"),
        (1, "Send the rehearsal script to support"),
        (3, "Decide about the pricing page"),
        (-2, "Answer the auditors' question about log retention"),
        (None, "Read the accessibility report"),
    ],
}


def fill_work_data(tenant: Tenant) -> None:
    """Add a calendar, tasks and mail for each person of the tenant, and documents, minutes and a table."""
    for person in tenant.people.values():
        if person.tenant_key == tenant.app.tenant_key:
            _calendar(tenant, person)
            _tasks(tenant, person)
            _mail(tenant, person)
    _documents(tenant)
    _minutes(tenant)
    _table(tenant)


def _today(tenant: Tenant, person: Person) -> datetime:
    now = datetime.fromtimestamp(tenant.clock.wall(), ZoneInfo(person.timezone))
    return now.replace(hour=0, minute=0, second=0, microsecond=0)


def _calendar(tenant: Tenant, person: Person) -> None:
    calendar_id = f"feishu.cn_{token_hex(10)}@group.calendar.feishu.cn"
    tenant.work.calendars[calendar_id] = person.open_id
    today = _today(tenant, person)
    events = []
    for day, start, minutes, summary, place in AGENDAS[person.locale]:
        hour, minute = map(int, start.split(":"))
        begins = (today + timedelta(days=day)).replace(hour=hour, minute=minute)
        times = {
            "start_time": _moment(begins, person.timezone),
            "end_time": _moment(begins + timedelta(minutes=minutes), person.timezone),
        }
        events.append(
            make_event(calendar_id, person, {"summary": summary, "location": {"name": place}, **times})
        )
    day, summary = ALL_DAY[person.locale]
    date = (today + timedelta(days=day)).date()
    whole_day = {"start_time": {"date": date.isoformat()}, "end_time": {"date": date.isoformat()}}
    events.append(make_event(calendar_id, person, {"summary": summary, **whole_day}))
    tenant.work.events[calendar_id] = events


def _moment(at: datetime, timezone: str) -> Json:
    return {"timestamp": str(int(at.timestamp())), "timezone": timezone}


def make_event(calendar_id: str, organizer: Person, given: Json) -> Json:
    """Return a calendar event in the form of the API."""
    event_id = f"{token_hex(16)}_0"
    return {
        "event_id": event_id,
        "organizer_calendar_id": calendar_id,
        "description": "",
        "visibility": "default",
        "attendee_ability": "none",
        "free_busy_status": "busy",
        "color": -1,
        "reminders": [{"minutes": 5}],
        "recurrence": "",
        "status": "confirmed",
        "is_exception": False,
        "event_organizer": {"user_id": organizer.open_id, "display_name": organizer.name},
        "app_link": f"https://applink.feishu.cn/client/calendar/event/detail?eventId={event_id}",
        **given,
    }


def _tasks(tenant: Tenant, person: Person) -> None:
    today = _today(tenant, person)
    for day, summary in TASKS[person.locale]:
        due = None
        if day is not None:
            at = today + timedelta(days=day, hours=18)
            due = {"timestamp": str(int(at.timestamp() * 1000)), "is_all_day": False}
        tenant.work.tasks.append(make_task(tenant, person, {"summary": summary, "due": due}))


def make_task(tenant: Tenant, creator: Person, given: Json) -> Json:
    """Return a task in the form of the API, assigned to its creator unless `given` has members."""
    guid = "-".join((token_hex(4), token_hex(2), token_hex(2), token_hex(2), token_hex(6)))
    task = {
        "guid": guid,
        "description": "",
        "creator": {"id": creator.open_id, "type": "user"},
        "members": [{"id": creator.open_id, "type": "user", "role": "assignee"}],
        "created_at": str(tenant.clock.wall_ms()),
        "completed_at": "0",
        "url": f"https://applink.feishu.cn/client/todo/detail?guid={guid}",
        "task_id": f"t{100001 + len(tenant.work.tasks)}",
        "status": "todo",
        **given,
    }
    return {name: value for name, value in task.items() if value is not None}


def _documents(tenant: Tenant) -> None:
    ada, wei, sam = (p.open_id for p in _colleagues(tenant))
    now = int(tenant.clock.wall())
    day = 86400
    sheet = Document(BUDGET, "Launch budget", "", ada, now - 40 * day, now - 2 * day, kind="sheet")
    for document in (
        Document(WELCOME, "Welcome to Helper", WELCOME_TEXT, ada, now - 30 * day, now - day),
        Document(PLAN, "Launch plan", PLAN_TEXT, ada, now - 20 * day, now - 3600),
        Document(MENU, "This week in the canteen", MENU_TEXT, sam, now - 5 * day, now - 4 * day),
        Document(
            SALARIES, "Salary bands", "Not for everybody.\n", ada, now - 90 * day, now - 60 * day,
            readers=frozenset({ada}),
        ),
        sheet,
    ):  # fmt: skip
        tenant.work.documents[document.token] = document
    tenant.work.aliases["welcome"] = WELCOME
    tenant.work.wiki[WIKI_NODE] = {
        "space_id": "6946843325487912356",
        "node_token": WIKI_NODE,
        "obj_token": PLAN,
        "obj_type": "docx",
        "parent_node_token": "",
        "node_type": "origin",
        "origin_node_token": WIKI_NODE,
        "origin_space_id": "6946843325487912356",
        "has_child": False,
        "title": "Launch plan",
        "obj_create_time": str(now - 20 * day),
        "obj_edit_time": str(now - 3600),
        "node_create_time": str(now - 20 * day),
        "creator": ada,
        "owner": ada,
        "node_creator": wei,
    }


def _colleagues(tenant: Tenant) -> Iterable[Person]:
    """Return the administrator and two colleagues."""
    people = [p for p in tenant.people.values() if p.tenant_key == tenant.app.tenant_key]
    people.sort(key=lambda person: person.open_id != tenant.app.owner)
    return people[:3]


def _mail(tenant: Tenant, person: Person) -> None:
    at = tenant.clock.wall_ms() - 7_200_000
    letters = [
        ("Deposit for the launch party", "events@hotel.example", "Please transfer the deposit by Friday."),
        ("Sandbox maintenance on Monday", "status@payments.example", "Expect two short interruptions."),
    ]
    tenant.work.mail[person.open_id] = [
        {
            "message_id": urlsafe_b64encode(token_hex(12).encode()).decode(),
            "thread_id": token_hex(8),
            "subject": subject,
            "head_from": {"mail_address": sender, "name": sender.split("@", maxsplit=1)[0].title()},
            "to": [{"mail_address": person.email, "name": person.name}],
            "cc": [],
            "bcc": [],
            "body_plain_text": urlsafe_b64encode(text.encode()).decode(),
            "body_html": urlsafe_b64encode(f"<p>{text}</p>".encode()).decode(),
            "body_preview": text,
            "internal_date": str(at),
            "message_state": 1,
            "folder_id": "INBOX",
            "label_ids": [],
            "attachments": [],
        }
        for subject, sender, text in letters
    ]


def _minutes(tenant: Tenant) -> None:
    tenant.work.minutes[MINUTES] = {
        "token": MINUTES,
        "owner_id": tenant.app.owner,
        "create_time": str(tenant.clock.wall_ms() - 86_400_000),
        "title": "Launch weekly",
        "cover": "https://covers.example/launch-weekly.png",
        "duration": "1914000",
        "url": f"https://meetings.feishu.cn/minutes/{MINUTES}",
        "note_id": "7612345678901234567",
    }


def _table(tenant: Tenant) -> None:
    due = tenant.clock.wall_ms() + 5 * 86_400_000
    rows = [("Visit the hotel", "Sam Rivera"), ("Order the cake", "Ada Meyer"), ("印制邀请函", "蓝薇")]
    tenant.work.tables[BASE, TABLE] = [
        {"record_id": f"rec{token_hex(5)}", "fields": {"Task": task, "Who": who, "Due": due}}
        for task, who in rows
    ]

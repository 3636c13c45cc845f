"""The sample organization: an app, four people, their chats, scopes, to-dos and events."""

import secrets
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from bot.sandbox.clock import Clock
from bot.sandbox.dingtalk.scopes import SCOPES
from bot.sandbox.dingtalk.tenant import App, CardTemplate, Chat, Organization, Person, ScopeSwitch, Tenant
from bot.sandbox.dingtalk.todos import make_todo
from bot.sandbox.json_http import Json

CLIENT_ID = "dingsandbox0a1b2c3d4"
CORP_ID = "dingc0ffee5a4db0x"
OTHER_CORP_ID = "dinge15ewhere0rg1"

ADA = "ada0001"
WEI = "wei0042"
SAM = "sam0107"
NIKO = "niko9001"
GROUP = "cidLaunchCrewSandbox0000000000=="

TEMPLATE_ID = "1366a1eb-bc54-4859-ac88-517c56a9acb1.schema"
"""The template with markdown and buttons that the official Python SDK ships."""
TEMPLATE_VARIABLES = ["title", "markdown", "tips", "logo", "sys_full_json_obj"]

NOT_ADDED = ("Storage.File.Read", "VideoConference.Conference.Read", "Document.WorkspaceDocument.Read")
PC_AGENT = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 "
    "Safari/537.36 dingtalk-win/1.0.0 nw(0.14.7) DingTalk(7.6.0-Release.5140802) DingTalk/7.6.0"
)
PHONE_AGENT = (
    "Mozilla/5.0 (Linux; U; Android 14; en-US; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 "
    "Chrome/100.0.4896.58 Mobile Safari/537.36 AliApp(DingTalk/7.6.0) com.alibaba.android.rimet"
)


def sample_app() -> App:
    """Return the sample app with a new secret. Some scopes are not added to it."""
    app = App(
        client_id=CLIENT_ID,
        client_secret=secrets.token_urlsafe(48),
        name="Helper",
        name_zh="小助手",
        corp_id=CORP_ID,
        robot_code=CLIENT_ID,
        owner=ADA,
    )
    for scope, info in SCOPES.items():
        if scope not in NOT_ADDED:
            app.scopes[scope] = ScopeSwitch(user=info.delegated, tenant=info.application)
    return app


def sample_people() -> list[Person]:
    return [
        Person(
            user_id=WEI,
            name="蓝薇",
            en_name="Wei Lan",
            corp_id=CORP_ID,
            locale="zh_cn",
            timezone="Asia/Shanghai",
            avatar_color="#7f3bf5",
            role="产品经理",
            email="wei.lan@corp.example",
            mobile="13800000001",
            union_id="uNWeiLan0000000iEiE",
        ),
        Person(
            user_id=ADA,
            name="Ada Meyer",
            en_name="Ada Meyer",
            corp_id=CORP_ID,
            avatar_color="#d83931",
            role="Administrator",
            email="ada.meyer@corp.example",
            mobile="15100000002",
            state_code="49",
            is_admin=True,
            user_agent=PC_AGENT,
            union_id="uNAdaMeyer00000iEiE",
        ),
        Person(
            user_id=SAM,
            name="Sam Rivera",
            en_name="Sam Rivera",
            corp_id=CORP_ID,
            timezone="America/New_York",
            avatar_color="#2ea121",
            role="Designer",
            email="sam.rivera@corp.example",
            mobile="2125550003",
            state_code="1",
            user_agent=PHONE_AGENT,
            union_id="uNSamRivera0000iEiE",
        ),
        Person(
            user_id=NIKO,
            name="Niko Virtanen",
            en_name="Niko Virtanen",
            corp_id=OTHER_CORP_ID,
            timezone="Europe/Helsinki",
            avatar_color="#8f959e",
            role="Another organization",
            email="niko@elsewhere.example",
            mobile="4000000004",
            state_code="358",
            union_id="uNNikoVirtanen0iEiE",
        ),
    ]


def sample_tenant(clock: Clock | None = None) -> Tenant:
    """Return a new tenant with the sample app, people, chats and data."""
    tenant = Tenant(sample_app(), clock)
    tenant.organizations = {
        CORP_ID: Organization(CORP_ID, "Corp"),
        OTHER_CORP_ID: Organization(OTHER_CORP_ID, "Elsewhere"),
    }
    for person in sample_people():
        tenant.add_person(person)
    tenant.chats[GROUP] = Chat(GROUP, "group", "Launch crew", [WEI, ADA, SAM])
    tenant.templates[TEMPLATE_ID] = CardTemplate(TEMPLATE_ID, list(TEMPLATE_VARIABLES))
    fill_work_data(tenant)
    return tenant


TODOS = {
    WEI: ("确认发布会场地", "整理用户访谈"),
    ADA: ("Renew the certificates", "Review access rights"),
    SAM: ("Sketch the launch page", "Send the icons to Wei"),
}
EVENTS = {
    WEI: (("产品例会", 10, 1), ("与 Sam 评审设计", 15, 1)),
    ADA: (("Office hours", 9, 2), ("Launch check", 16, 1)),
    SAM: (("Design critique", 11, 1), ("Launch check", 10, 1)),
}


def fill_work_data(tenant: Tenant) -> None:
    """Add to-dos for everyone in the organization, and events today and tomorrow in their own time zones."""
    for user_id, subjects in TODOS.items():
        person = tenant.people[user_id]
        for number, subject in enumerate(subjects, 1):
            due = tenant.clock.wall_ms() + number * 86_400_000
            make_todo(tenant, person, {"subject": subject, "executorIds": [person.union_id], "dueTime": due})
    for user_id, events in EVENTS.items():
        person = tenant.people[user_id]
        today = datetime.fromtimestamp(tenant.clock.wall(), UTC).astimezone(ZoneInfo(person.timezone))
        tenant.work.events[user_id] = [
            calendar_event(
                person, summary, today.replace(hour=hour, minute=0, second=0, microsecond=0), hours, day
            )
            for day in (0, 1)
            for summary, hour, hours in events
        ]


def calendar_event(person: Person, summary: str, start: datetime, hours: int, day: int) -> Json:
    begins = start + timedelta(days=day)
    ends = begins + timedelta(hours=hours)
    return {
        "id": secrets.token_urlsafe(12),
        "summary": summary,
        "description": "",
        "isAllDay": False,
        "status": "confirmed",
        "start": {"dateTime": begins.isoformat(), "timeZone": person.timezone},
        "end": {"dateTime": ends.isoformat(), "timeZone": person.timezone},
        "location": {"displayName": "Room 4"},
        "organizer": {"id": person.union_id, "displayName": person.name, "self": True},
        "attendees": [
            {"id": person.union_id, "displayName": person.name, "responseStatus": "accepted", "self": True}
        ],
    }

"""The sample tenant: an app, four people, their chats and scopes. Their data is in `sample_work_data`."""

import secrets

from bot.sandbox.clock import Clock
from bot.sandbox.lark.sample_work_data import fill_work_data
from bot.sandbox.lark.scopes import SCOPES
from bot.sandbox.lark.tenant import App, Chat, Person, ScopeSwitch, Tenant

APP_ID = "cli_a1b2c3d4e5f60718"
TENANT_KEY = "736588c92abc175d"
OTHER_TENANT_KEY = "2ed263bf32cf1651"

ADA = "ou_" + "ada0ada0ada0ada0ada0ada0ada0ada0"
WEI = "ou_" + "11112222333344445555666677778888"
SAM = "ou_" + "5a3d0c4b9e8f41d2a7b6c5d4e3f2a1b0"
NIKO = "ou_" + "9f8e7d6c5b4a39281706f5e4d3c2b1a0"
BOT = "ou_" + "b07b07b07b07b07b07b07b07b07b07b0"
GROUP = "oc_" + "1a7c4c3eb6d94a0c8f2e5d7b9a1c3e5f"

USER_SCOPES = (
    "offline_access",
    "auth:user.id:read",
    "user_profile",
    "calendar:calendar:readonly",
    "calendar:calendar:read",
    "calendar:calendar.event:read",
    "task:task:read",
    "task:task:write",
    "docx:document:readonly",
    "wiki:wiki:readonly",
    "search:docs:read",
    "drive:drive:readonly",
    "contact:contact.base:readonly",
    "contact:user.base:readonly",
    "contact:user.basic_profile:readonly",
    "contact:user.email:readonly",
    "calendar:calendar.event:create",
    "im:message",
    "im:message.send_as_user",
    "bitable:app:readonly",
    "base:record:create",
)
TENANT_SCOPES = (
    "auth:user_access_token:read",
    "im:message:send_as_bot",
    "im:message.reactions:write_only",
    "im:message.p2p_msg:readonly",
    "im:message.group_at_msg:readonly",
    "application:application:self_manage",
)


def sample_app() -> App:
    """Return the sample app with new secrets and the scopes that the commands need.

    Some alternatives of these scopes and whole areas (mail, minutes) stay disabled.
    """
    app = App(
        app_id=APP_ID,
        app_secret=secrets.token_urlsafe(24),
        name="Helper",
        name_zh="小助手",
        bot_open_id=BOT,
        owner=ADA,
        tenant_key=TENANT_KEY,
        encrypt_key=secrets.token_urlsafe(18),
        verification_token=secrets.token_urlsafe(18),
    )
    for scope in SCOPES:
        user, tenant = scope in USER_SCOPES, scope in TENANT_SCOPES
        if user or tenant:
            app.scopes[scope] = ScopeSwitch(user=user, tenant=tenant)
    return app


def sample_people() -> list[Person]:
    return [
        Person(
            open_id=WEI,
            name="蓝薇",
            en_name="Wei Lan",
            tenant_key=TENANT_KEY,
            locale="zh_cn",
            timezone="Asia/Shanghai",
            avatar_color="#7f3bf5",
            role="产品经理",
            email="wei.lan@corp.example",
            mobile="+8613800000001",
            employee_no="0042",
            user_agent="Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Lark/7.30.6 LarkLocale/zh_CN",
        ),
        Person(
            open_id=ADA,
            name="Ada Meyer",
            en_name="Ada Meyer",
            tenant_key=TENANT_KEY,
            avatar_color="#d83931",
            role="Administrator",
            email="ada.meyer@corp.example",
            mobile="+4915100000002",
            employee_no="0001",
        ),
        Person(
            open_id=SAM,
            name="Sam Rivera",
            en_name="Sam Rivera",
            tenant_key=TENANT_KEY,
            timezone="America/New_York",
            avatar_color="#2ea121",
            role="Designer",
            email="sam.rivera@corp.example",
            mobile="+12125550003",
            employee_no="0107",
        ),
        Person(
            open_id=NIKO,
            name="Niko Virtanen",
            en_name="Niko Virtanen",
            tenant_key=OTHER_TENANT_KEY,
            timezone="Europe/Helsinki",
            avatar_color="#8f959e",
            role="Another organization",
            email="niko@elsewhere.example",
        ),
    ]


def sample_tenant(clock: Clock | None = None) -> Tenant:
    """Return a new tenant with the sample app, people, chats and data."""
    tenant = Tenant(sample_app(), clock)
    for person in sample_people():
        tenant.add_person(person)
    tenant.chats[GROUP] = Chat(GROUP, "group", "Launch crew", [WEI, ADA, SAM])
    fill_work_data(tenant)
    return tenant

"""Our own descriptions of well-known scopes, used where the platform's cannot be read."""

from __future__ import annotations

from collections.abc import Mapping

from bot.core.language import Words
from bot.core.scopes import Scope

WELL_KNOWN: Mapping[Scope, Words] = {
    "offline_access": Words(en="Stay signed in, so you're asked less often", zh="保持登录，减少重复授权"),
    "auth:user.id:read": Words(en="See who you are", zh="获取你的身份标识"),
    "user_profile": Words(en="See your name and picture", zh="获取你的姓名和头像"),
    "calendar:calendar": Words(en="See and change your calendars and events", zh="查看和更改你的日历及日程"),
    "calendar:calendar:readonly": Words(en="See your calendars and events", zh="查看你的日历和日程"),
    "calendar:calendar:read": Words(en="See your calendars", zh="查看你的日历"),
    "calendar:calendar.event:read": Words(en="See your events", zh="查看你的日程"),
    "calendar:calendar.event:create": Words(en="Create events for you", zh="为你创建日程"),
    "calendar:calendar.event:delete": Words(en="Delete your events", zh="删除你的日程"),
    "task:task:read": Words(en="See your tasks", zh="查看你的任务"),
    "task:task:write": Words(en="See, create and change your tasks", zh="查看、创建和更改你的任务"),
    "task:task:writeonly": Words(en="Create and change your tasks", zh="创建和更改你的任务"),
    "docx:document": Words(en="See, create and change your documents", zh="查看、创建和更改你的文档"),
    "docx:document:readonly": Words(en="Read documents that you can open", zh="阅读你可以打开的文档"),
    "wiki:wiki": Words(en="See and change your wiki spaces", zh="查看和更改你的知识库"),
    "wiki:wiki:readonly": Words(en="See wiki pages that you can open", zh="查看你可以打开的知识库页面"),
    "wiki:node:read": Words(en="See where wiki pages lead", zh="查看知识库页面信息"),
    "search:docs:read": Words(en="Search documents that you can see", zh="搜索你可以查看的文档"),
    "drive:drive": Words(en="See and change all your files", zh="查看和更改你的全部文件"),
    "drive:drive:readonly": Words(en="See all your files", zh="查看你的全部文件"),
    "space:document:retrieve": Words(en="List your files", zh="列出你的文件"),
    "contact:contact.base:readonly": Words(en="See colleagues' basic details", zh="查看同事的基本信息"),
    "contact:user.base:readonly": Words(en="See people's names and pictures", zh="查看用户姓名和头像"),
    "contact:user.basic_profile:readonly": Words(en="See people's names", zh="查看用户姓名"),
    "contact:user.email:readonly": Words(en="See e-mail addresses", zh="查看邮箱地址"),
    "contact:user.phone:readonly": Words(en="See phone numbers", zh="查看手机号"),
    "contact:user.employee:readonly": Words(en="See employment details", zh="查看雇佣信息"),
    "contact:user.employee_id:readonly": Words(en="See user IDs", zh="查看用户 ID"),
    "contact:user.department:readonly": Words(en="See departments", zh="查看部门信息"),
    "mail:user_mailbox.message:readonly": Words(en="Read your mail", zh="阅读你的邮件"),
    "mail:user_mailbox.message:send": Words(en="Send mail as you", zh="以你的身份发送邮件"),
    "mail:user_mailbox.message.subject:read": Words(en="See the subjects of your mail", zh="查看邮件主题"),
    "mail:user_mailbox.message.address:read": Words(
        en="See senders and recipients of your mail", zh="查看邮件的收发件人"
    ),
    "mail:user_mailbox.message.body:read": Words(en="See the text of your mail", zh="查看邮件正文"),
    "minutes:minutes": Words(en="See and change your minutes", zh="查看和更改你的妙记"),
    "minutes:minutes:readonly": Words(en="See your minutes", zh="查看你的妙记"),
    "minutes:minutes.basic:read": Words(en="See titles and times of your minutes", zh="查看妙记的基本信息"),
    "bitable:app": Words(en="See and change your Bases", zh="查看和更改你的多维表格"),
    "bitable:app:readonly": Words(en="See your Bases", zh="查看你的多维表格"),
    "base:record:retrieve": Words(en="See records of your Bases", zh="查看多维表格的记录"),
    "base:record:create": Words(en="Add records to your Bases", zh="向多维表格新增记录"),
    "im:message": Words(en="See and send your messages", zh="查看和发送你的消息"),
    "im:message.send_as_user": Words(en="Send messages as you", zh="以你的身份发送消息"),
}


def describe_scope(scope: Scope) -> Words:
    """Return our description of a scope, else its name."""
    return WELL_KNOWN.get(scope) or Words(scope, scope)

"""Every scope that the emulated platform knows: its description, and the identities for which it exists.

The authorize page rejects a scope that is not here, or is for tenants only, with error 20043.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class ScopeInfo:
    """The platform's description of a scope, and the identities for which an app can enable it."""

    en: str
    zh: str
    user: bool = True
    tenant: bool = True

    def description(self, lang: str) -> str:
        return self.zh if lang == "zh_cn" else self.en


BASIC_SCOPES = frozenset({"auth:user.id:read", "user_profile"})
"""The scopes that every user access token has without a request for them."""

_USER_ONLY = {"tenant": False}
_TENANT_ONLY = {"user": False}

SCOPES: dict[str, ScopeInfo] = {
    "offline_access": ScopeInfo("Keep access while you are away", "在你离线时保持访问", **_USER_ONLY),
    "auth:user.id:read": ScopeInfo("Read your user ID", "获取用户 ID", **_USER_ONLY),
    "user_profile": ScopeInfo("Read your name and avatar", "获取用户姓名与头像", **_USER_ONLY),
    "auth:user_access_token:read": ScopeInfo(
        "Learn when user authorization is withdrawn", "获取用户授权凭证的撤销事件", **_TENANT_ONLY
    ),
    # Calendar
    "calendar:calendar": ScopeInfo("View and edit calendars and events", "更新日历及日程信息"),
    "calendar:calendar:readonly": ScopeInfo(
        "View calendars, events and free/busy", "获取日历、日程及忙闲信息"
    ),
    "calendar:calendar:read": ScopeInfo("View calendars", "查询日历信息"),
    "calendar:calendar.event:read": ScopeInfo("View calendar events", "读取日程信息"),
    "calendar:calendar.event:create": ScopeInfo("Create calendar events", "创建日程"),
    "calendar:calendar.event:delete": ScopeInfo("Delete calendar events", "删除日程"),
    # Tasks
    "task:task:read": ScopeInfo("View tasks", "查看任务信息"),
    "task:task:write": ScopeInfo("View, create and edit tasks", "查看、创建、更新和删除任务"),
    "task:task:writeonly": ScopeInfo("Create and edit tasks", "创建、更新和删除任务"),
    # Documents, wiki, search, drive
    "docx:document": ScopeInfo("View, edit and create documents", "创建及编辑新版文档"),
    "docx:document:readonly": ScopeInfo("View documents", "查看新版文档"),
    "wiki:wiki": ScopeInfo("View, edit and manage wiki", "查看、编辑和管理知识库"),
    "wiki:wiki:readonly": ScopeInfo("View wiki", "查看知识库"),
    "wiki:node:read": ScopeInfo("View wiki node information", "查看知识空间节点信息"),
    "search:docs:read": ScopeInfo("Search documents", "搜索云文档", **_USER_ONLY),
    "drive:drive": ScopeInfo("View, edit and manage all files", "查看、评论、编辑和管理云空间中所有文件"),
    "drive:drive:readonly": ScopeInfo("View and download all files", "查看、评论和下载云空间中所有文件"),
    "space:document:retrieve": ScopeInfo("List files in My Space", "获取云空间文件夹下的云文档清单"),
    "space:document:delete": ScopeInfo("Delete files", "删除云文档"),
    # Contacts
    "contact:contact.base:readonly": ScopeInfo("Read basic contact information", "获取通讯录基本信息"),
    "contact:contact:readonly": ScopeInfo("Read contacts", "读取通讯录"),
    "contact:contact:access_as_app": ScopeInfo("Access contacts as the app", "以应用身份访问通讯录"),
    "contact:contact:readonly_as_app": ScopeInfo("Read contacts as the app", "以应用身份读取通讯录"),
    "contact:user.base:readonly": ScopeInfo("Read basic user information", "获取用户基本信息"),
    "contact:user.basic_profile:readonly": ScopeInfo("Read basic user profiles", "获取用户基础资料"),
    "contact:user.email:readonly": ScopeInfo("Read email addresses", "获取用户邮箱信息"),
    "contact:user.phone:readonly": ScopeInfo("Read phone numbers", "获取用户手机号"),
    "contact:user.employee:readonly": ScopeInfo("Read employment information", "获取用户受雇信息"),
    "contact:user.employee_id:readonly": ScopeInfo("Read user IDs", "获取用户 user ID"),
    "contact:user.department:readonly": ScopeInfo("Read department information", "获取用户组织架构信息"),
    # Mail
    "mail:user_mailbox.message:readonly": ScopeInfo("View your mail", "查询用户邮件"),
    "mail:user_mailbox.message:send": ScopeInfo("Send mail as you", "以用户身份发送邮件", **_USER_ONLY),
    "mail:user_mailbox.message.subject:read": ScopeInfo("View mail subjects", "查询邮件主题"),
    "mail:user_mailbox.message.address:read": ScopeInfo("View mail addresses", "查询邮件地址信息"),
    "mail:user_mailbox.message.body:read": ScopeInfo("View mail bodies", "查询邮件正文"),
    # Minutes
    "minutes:minutes": ScopeInfo("View and manage minutes", "查看、创建及管理妙记"),
    "minutes:minutes:readonly": ScopeInfo("View minutes", "查看妙记"),
    "minutes:minutes.basic:read": ScopeInfo("View basic minutes information", "查看妙记基本信息"),
    "minutes:minutes.transcript:export": ScopeInfo("Export minutes transcripts", "导出妙记转写文字"),
    "minutes:media:readonly": ScopeInfo("Read minutes media", "下载妙记音视频", **_TENANT_ONLY),
    # Base
    "bitable:app": ScopeInfo("View, edit and manage Base", "查看、评论、编辑和管理多维表格"),
    "bitable:app:readonly": ScopeInfo("View Base", "查看、评论和导出多维表格"),
    "base:record:retrieve": ScopeInfo("View Base records", "根据条件搜索记录"),
    "base:record:read": ScopeInfo("Read Base records", "读取记录"),
    "base:record:create": ScopeInfo("Create Base records", "新增记录"),
    "base:table:delete": ScopeInfo("Delete Base tables", "删除数据表"),
    # Other areas, for which the emulator has no API
    "sheets:spreadsheet": ScopeInfo("View, edit and manage sheets", "查看、评论、编辑和管理电子表格"),
    "sheets:spreadsheet:readonly": ScopeInfo("View sheets", "查看、评论和导出电子表格"),
    "docs:doc": ScopeInfo("View, edit and manage older documents", "查看、评论、编辑和管理文档"),
    "docs:doc:readonly": ScopeInfo("View older documents", "查看、评论和导出文档"),
    "approval:approval:readonly": ScopeInfo("View approvals", "查看审批信息"),
    "okr:okr:readonly": ScopeInfo("View OKRs", "查看 OKR 信息"),
    "vc:room:readonly": ScopeInfo("View meeting rooms", "查看视频会议室信息"),
    "attendance:task:readonly": ScopeInfo("View attendance", "导出打卡数据"),
    # Messages
    "im:chat": ScopeInfo("View and manage groups", "获取与更新群组信息"),
    "im:chat:readonly": ScopeInfo("View groups", "获取群组信息"),
    "im:message": ScopeInfo("Read and send messages", "获取与发送单聊、群组消息"),
    "im:message.send_as_user": ScopeInfo("Send messages as you", "以用户身份发送消息", **_USER_ONLY),
    "im:message:send_as_bot": ScopeInfo("Send messages as the bot", "以应用的身份发消息", **_TENANT_ONLY),
    "im:message:send": ScopeInfo("Send messages", "发送消息", **_TENANT_ONLY),
    "im:message:update": ScopeInfo("Update messages", "更新消息", **_TENANT_ONLY),
    "im:message.reactions:write_only": ScopeInfo(
        "Add and remove message reactions", "发送、删除消息表情回复"
    ),
    "im:message.p2p_msg": ScopeInfo(
        "Receive direct messages", "接收用户发给机器人的单聊消息", **_TENANT_ONLY
    ),
    "im:message.p2p_msg:readonly": ScopeInfo(
        "Read direct messages to the bot", "读取用户发给机器人的单聊消息", **_TENANT_ONLY
    ),
    "im:message.group_at_msg": ScopeInfo(
        "Receive group messages that mention the bot", "接收群聊中@机器人消息事件", **_TENANT_ONLY
    ),
    "im:message.group_at_msg:readonly": ScopeInfo(
        "Read group messages that mention the bot", "获取用户在群组中@机器人的消息", **_TENANT_ONLY
    ),
    "im:message.group_msg": ScopeInfo("Receive all group messages", "获取群组中所有消息", **_TENANT_ONLY),
    "cardkit:card:write": ScopeInfo("Create and update cards", "创建与更新卡片", **_TENANT_ONLY),
    "application:application:self_manage": ScopeInfo(
        "Read the app's own settings", "获取应用自身信息", **_TENANT_ONLY
    ),
    "admin:app.info:readonly": ScopeInfo("Read app information", "获取应用信息", **_TENANT_ONLY),
}

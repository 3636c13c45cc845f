"""Every scope that the emulated platform knows, with its kind and its description on consent pages.

A delegated scope is granted by a user, an application scope by an administrator. A field scope is delegated as well,
but has a separate list in `openAuth`; it opens one field of a response instead of an API.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class ScopeInfo:
    """The platform's description of a scope, and who can grant it."""

    en: str
    zh: str
    delegated: bool = True
    application: bool = False
    field: bool = False

    def description(self, chinese: bool) -> str:
        return self.zh if chinese else self.en


_BOTH = {"application": True}
_APPLICATION = {"delegated": False, "application": True}
_FIELD = {"field": True}

IDENTITY_SCOPES = frozenset({"openid", "corpid"})
"""What the login page accepts besides scope codes: they request the user's identity and organization."""

SCOPES: dict[str, ScopeInfo] = {
    # Contacts
    "Contact.User.Read": ScopeInfo("Read your basic profile", "获取你的个人信息"),
    "Contact.User.mobile": ScopeInfo("Read your phone number", "获取你的手机号", **_FIELD),
    "Contact.User.email": ScopeInfo("Read your email address", "获取你的邮箱", **_FIELD),
    # To-dos and calendar
    "Todo.Todo.Read": ScopeInfo("View your to-dos", "查看待办任务", **_BOTH),
    "Todo.Todo.Write": ScopeInfo("Create and change your to-dos", "创建和修改待办任务", **_BOTH),
    "Todo.PersonalTodo.Write": ScopeInfo("Create personal to-dos", "创建个人待办"),
    "Calendar.Event.Read": ScopeInfo("View your calendar events", "查看日程", **_BOTH),
    "Calendar.Event.Write": ScopeInfo("Create and change calendar events", "创建和修改日程", **_BOTH),
    # Other areas, for which the emulator has no API
    "Storage.File.Read": ScopeInfo("View your files", "查看文件", **_BOTH),
    "Notable.Base.Read.All": ScopeInfo("View AI tables", "查看 AI 表格", **_BOTH),
    "Document.WorkspaceDocument.Read": ScopeInfo("View your documents", "查看知识库文档", **_BOTH),
    "VideoConference.Conference.Read": ScopeInfo("View your meetings", "查看视频会议"),
    # The app itself
    "open_app_api_base": ScopeInfo("Call basic APIs", "调用企业 API 基础权限", **_APPLICATION),
    "qyapi_get_member": ScopeInfo("Read members", "成员信息读权限", **_APPLICATION),
    "qyapi_robot_sendmsg": ScopeInfo("Send messages as the bot", "企业内机器人发送消息权限", **_APPLICATION),
    "Card.Instance.Write": ScopeInfo("Create and update cards", "互动卡片实例写权限", **_APPLICATION),
    "Card.Streaming.Write": ScopeInfo("Stream text into cards", "AI 卡片流式更新权限", **_APPLICATION),
}

"""Our own descriptions of well-known scopes. The platform's cannot be read."""

from __future__ import annotations

from collections.abc import Mapping

from bot.core.language import Words
from bot.core.scopes import Scope

WELL_KNOWN: Mapping[Scope, Words] = {
    "Contact.User.Read": Words(en="See who you are", zh="获取你的个人信息"),
    "Contact.User.mobile": Words(en="See your phone number", zh="获取你的手机号"),
    "Contact.User.email": Words(en="See your email address", zh="获取你的邮箱"),
    "Todo.Todo.Read": Words(en="See your tasks", zh="查看你的待办"),
    "Todo.Todo.Write": Words(en="Create and change your tasks", zh="创建和更改你的待办"),
    "Todo.PersonalTodo.Write": Words(en="Create personal tasks for you", zh="为你创建个人待办"),
    "Calendar.Event.Read": Words(en="See your events", zh="查看你的日程"),
    "Calendar.Event.Write": Words(en="Create and change your events", zh="创建和更改你的日程"),
    "Card.Instance.Write": Words(en="Send cards for you", zh="为你发送卡片"),
}


def describe_scope(scope: Scope) -> Words:
    """Return our description of a scope, else its name."""
    return WELL_KNOWN.get(scope) or Words(scope, scope)

"""`/me`: the account whose token the bot uses, with the contact details that the user has granted."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

from bot.core.api import ApiCall, Json
from bot.core.command_replies import paragraph
from bot.core.commands import Ask, Steps, command, nothing
from bot.core.event_fields import is_id
from bot.core.language import Words
from bot.core.messages import Line, Reply, Span
from bot.core.response_fields import line, mapping
from bot.core.scopes import all_of, any_of
from bot.core.words.refusals import unreadable
from bot.dingtalk.api import USERS_ME

NEEDS = all_of(any_of("Contact.User.Read"), any_of("Contact.User.mobile"))

AS_THIS_ACCOUNT = Words("Everything I do for you, I do as this account.", "我的所有操作都以此账号进行。")


def read_me() -> Generator[ApiCall, Any, Mapping[str, Json]]:
    """Read the user's profile. Every link requests the scope that this needs."""
    return mapping((yield USERS_ME))


def union_id_of(person: Mapping[str, Json]) -> str | None:
    """Return the id that the paths of other APIs contain, or None."""
    union_id = person.get("unionId")
    return union_id if is_id(union_id) else None


@command(
    "me", summary=Words("which account I use", "查看我使用的账号"), needs=NEEDS, keep=nothing, private=True
)
def me(ask: Ask) -> Steps:
    person = yield from read_me()
    name = line(person, "nick")
    if not name:
        return unreadable(Words("your name", "你的姓名"))
    lines: list[Line] = [(Span(name, bold=True),)]
    if phone := phone_of(person):
        lines.append(paragraph(Words("Phone: ", "手机："), phone))
    if email := line(person, "email"):
        lines.append(paragraph(Words("Email: ", "邮箱："), email))
    lines.append(paragraph(AS_THIS_ACCOUNT))
    return Reply(Words("You are", "你的账号"), tuple(lines))


def phone_of(person: Mapping[str, Json]) -> str:
    number, country = line(person, "mobile", 40), line(person, "stateCode", 8)
    return f"+{country} {number}" if number and country.isdigit() else number

"""`/me`: the account whose token the bot uses."""

from __future__ import annotations

from bot.core.api import ApiCall
from bot.core.command_replies import paragraph
from bot.core.commands import Ask, Steps, command, nothing
from bot.core.language import Words
from bot.core.messages import Line, Reply, Span
from bot.core.response_fields import child, line
from bot.core.words.refusals import unreadable

FIELDS = (
    ("email", Words("Email: ", "邮箱：")),
    ("enterprise_email", Words("Work email: ", "企业邮箱：")),
    ("employee_no", Words("Employee number: ", "工号：")),
)
"""Optional fields: the platform returns them only to apps that have the scopes."""


@command("me", summary=Words("which account I use", "查看我使用的账号"), keep=nothing)
def me(ask: Ask) -> Steps:
    person = child((yield ApiCall("GET", "/open-apis/authen/v1/user_info")), "data")
    name, english = line(person, "name"), line(person, "en_name")
    if not name and not english:
        return unreadable(Words("your name", "你的姓名"))
    lines: list[Line] = [(Span(name or english, bold=True),)]
    if english and name and english != name:
        lines.append(paragraph(english))
    lines += [paragraph(label, line(person, field)) for field, label in FIELDS if line(person, field)]
    lines.append(
        paragraph(
            Words(
                "Everything I do for you, I do as this account.",
                "我的所有操作都以此账号进行。",
            )
        )
    )
    return Reply(Words("Your account", "你的账号"), tuple(lines))

"""`/me`: who the platform says the person is."""

from __future__ import annotations

from bot.core.answers import paragraph
from bot.core.commands import Ask, Steps, command, nothing
from bot.core.explain import unreadable
from bot.core.model import ApiCall, Line, Reply, Span, Words
from bot.lark.commands.reading import child, line

FIELDS = (
    ("email", Words("Email: ", "邮箱：")),
    ("enterprise_email", Words("Work email: ", "企业邮箱：")),
    ("employee_no", Words("Employee number: ", "工号：")),
)
"""Given only to an app that may see them."""


@command("me", summary=Words("who I act as", "查看我以谁的身份操作"), keep=nothing)
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
                "Whatever you ask me for, I see and do it as this person.",
                "无论你让我做什么，我都以此身份查看和操作。",
            )
        )
    )
    return Reply(Words("You are", "你是"), tuple(lines))

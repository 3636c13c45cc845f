"""What is said when the platform refused, or answered something else than it should."""

from __future__ import annotations

from bot.core.api import Refused
from bot.core.command_replies import paragraph
from bot.core.language import Words
from bot.core.messages import Line, Reply
from bot.core.unseen_characters import one_line

LONGEST_MESSAGE = 300
"""Characters of a platform's own message that are shown."""


def unreadable(what: Words) -> Reply:
    """The platform said yes, but its answer lacks what it should hold."""
    return Reply(
        Words(en="Unexpected answer from the platform", zh="平台的回复异常"),
        (
            paragraph(
                Words(
                    en="The answer doesn't include {what}. Please try again later.",
                    zh="回复中没有{what}，请稍后再试。",
                ).format(what=what)
            ),
        ),
        confidential=True,
    )


def for_support(outcome: Refused) -> tuple[Line, ...]:
    """The line by which the platform's support finds this very request."""
    if not outcome.log_id:
        return ()
    return (
        paragraph(
            Words(
                en="For support: code {code}, log ID {log_id}",
                zh="技术支持信息：错误码 {code}，日志 ID {log_id}",
            ).format(code=outcome.code, log_id=one_line(outcome.log_id))
        ),
    )


def explain_refusal(outcome: Refused, command: str) -> Reply:
    """What is said of a refusal for which the command (as typed: `/agenda`) has no better words."""
    message = one_line(outcome.message, LONGEST_MESSAGE)
    return Reply(
        Words(en="The platform refused this", zh="平台拒绝了此请求"),
        (
            paragraph(Words(en="{command} wasn't run.", zh="{command} 未执行。").format(command=command)),
            paragraph(
                Words(
                    en="The platform says: {message} (code {code})", zh="平台提示：{message}（错误码 {code}）"
                ).format(message=message or "–", code=outcome.code)
            ),
            paragraph(
                Words(
                    en="Trying again probably won't help. If you think it should work, show this to your administrator.",
                    zh="重试可能无济于事。如果你认为应当可行，请将此消息转给管理员。",
                )
            ),
            *for_support(outcome),
        ),
        confidential=True,
    )

"""What is said when the platform refused, or answered something else than it should."""

from __future__ import annotations

from bot.core.answers import one_line, paragraph
from bot.core.model import Line, Refused, Reply, Words

LONGEST_MESSAGE = 300
"""Characters of a platform's own message that are shown."""


def unreadable(what: Words) -> Reply:
    """The platform said yes, but its answer lacks what it should hold."""
    return Reply(
        Words(en="I cannot read the platform's answer", zh="无法读取平台的回复"),
        (
            paragraph(
                Words(
                    en="It should have held {what}, and does not. Please try again later.",
                    zh="回复中应包含{what}，但没有找到。请稍后再试。",
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
        Words(en="The platform refused", zh="平台拒绝了这次请求"),
        (
            paragraph(Words(en="{command} was not done.", zh="{command} 未能完成。").format(command=command)),
            paragraph(
                Words(
                    en="It answered: {message} (code {code})", zh="平台的回复：{message}（错误码 {code}）"
                ).format(message=message or "–", code=outcome.code)
            ),
            paragraph(
                Words(
                    en="Asking again will most likely end the same way. If it should work, show this to your "
                    "administrator.",
                    zh="再试一次很可能得到同样的结果。如果你认为应当可行，请把这条消息转给管理员。",
                )
            ),
            *for_support(outcome),
        ),
        confidential=True,
    )

"""What the bot replies when the platform refuses a request, or its response is unexpected."""

from __future__ import annotations

from bot.core.api import Refused
from bot.core.command_replies import Text, paragraph
from bot.core.decisions import GiveUpReason
from bot.core.language import Words
from bot.core.messages import Line, Reply
from bot.core.unseen_characters import one_line
from bot.core.words.replies import say

LONGEST_MESSAGE = 300
"""The number of characters of a platform's message that are shown."""


def unreadable(what: Words) -> Reply:
    """Report that a successful response lacks a required field."""
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
    """Return the line by which the platform's support can find the request. Empty without a log ID."""
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
    """Explain a refusal that the command (as typed: `/agenda`) did not handle."""
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


def answer_refused(command: str, detail: str) -> Reply:
    """Replace an answer whose content the platform refuses."""
    return say(
        None,
        Words(
            en="The answer to {command} is ready, but the platform doesn't let me send it ({detail}).",
            zh="{command} 的结果已就绪，但平台不允许发送（{detail}）。",
        ).format(command=command, detail=detail),
    )


def card_refused(command: str, detail: str) -> Reply:
    """Replace a card that the platform refuses. Without this reply, the user would wait for it in vain."""
    return say(
        None,
        Words(
            en="{command} is waiting for you, but the platform doesn't let me send the card ({detail}). Send the "
            "command again to retry, or /cancel to drop it.",
            zh="{command} 正在等待你，但平台不允许发送卡片（{detail}）。请重新发送该命令重试，或发送 /cancel 取消。",
        ).format(command=command, detail=detail),
    )


def no_such_scope(command: str, scopes: Text, *, typed_by_user: bool) -> Reply:
    """Report a scope that the platform does not list. A user has typed it, or a command declares it."""
    if typed_by_user:
        return say(
            Words(en="I can't find this permission", zh="找不到此权限"),
            Words(
                en="The platform doesn't list {scopes}, so I didn't ask for it. Please check the spelling. If it's "
                "right, have your administrator add it to the app first.",
                zh="平台的权限列表中没有 {scopes}，因此没有申请。请检查拼写；如果无误，请先让管理员为应用添加此权限。",
            ).format(scopes=scopes),
        )
    return say(
        Words(en="This command can't be run", zh="此命令无法执行"),
        Words(
            en="{command} needs {scopes}, which the platform doesn't list. Nothing was done. Please tell the people who "
            "run this bot.",
            zh="{command} 需要 {scopes}，但平台的权限列表中没有此权限。没有执行任何操作，请联系机器人的维护人员。",
        ).format(command=command, scopes=scopes),
    )


def too_many_scope_requests(command: str, scopes: Text) -> Reply:
    """Refuse to ask the administrators, because the user has already requested many scopes today."""
    return say(
        Words(en="This app lacks a permission", zh="应用缺少权限"),
        Words(
            en="{command} wasn't run: it needs {scopes}, which this app doesn't have. You've asked for many "
            "permissions today, so please ask an administrator directly or try again tomorrow.",
            zh="{command} 未执行：需要的权限尚未开通：{scopes}。"
            "你今天已申请多项权限，请直接联系管理员，或明天再试。",
        ).format(command=command, scopes=scopes),
    )


def still_refused(command: str, scopes: Text) -> Reply:
    """Report that the platform lists a scope as enabled, and still refuses it."""
    return say(
        Words(en="Still waiting", zh="仍在等待"),
        Words(
            en="{command}: {scopes} is enabled, but the platform still refuses it. A new version of the app may need to "
            "be published by an administrator. I'll try again every few minutes. /cancel to drop it.",
            zh="{command} 所需的权限已开通，但平台仍然拒绝：{scopes}。可能需要管理员发布应用的新版本。"
            "我会每隔几分钟重试。发送 /cancel 可取消。",
        ).format(command=command, scopes=scopes),
    )


GAVE_UP = {
    GiveUpReason.STILL_REFUSED: (
        Words(en="Still not allowed", zh="仍然没有权限"),
        Words(
            en="You authorized {command}, but the platform still refuses it and asks for {detail}. "
            "Please show this to your administrator.",
            zh="你已为 {command} 授权，但平台仍然拒绝，并要求 {detail}。请将此消息转给管理员。",
        ),
    ),
    GiveUpReason.PLATFORM_FAILED: (
        Words(en="The platform isn't responding", zh="平台没有响应"),
        Words(
            en="I tried {command} for 15 minutes without success ({detail}). Please try again later.",
            zh="{command} 已尝试 15 分钟，仍未成功（{detail}）。请稍后再试。",
        ),
    ),
    GiveUpReason.BUSY: (
        Words(en="Too many requests", zh="请求过于频繁"),
        Words(
            en="The platform is limiting requests ({detail}). Please send {command} again later.",
            zh="平台限制了请求频率（{detail}）。请稍后重新发送 {command}。",
        ),
    ),
    GiveUpReason.TOKEN_REFUSED: (
        Words(en="Your authorization was rejected", zh="授权未被接受"),
        Words(
            en="The platform rejected {command} even after renewing your authorization ({detail}). Send /revoke, then "
            "{command} again.",
            zh="续期授权后，平台仍然拒绝 {command}（{detail}）。请发送 /revoke，再重新发送 {command}。",
        ),
    ),
}


def gave_up(reason: GiveUpReason, command: str, detail: Text) -> Reply:
    title, body = GAVE_UP[reason]
    return say(title, body.format(command=command, detail=detail))


def app_misconfigured(command: str) -> Reply:
    return say(
        Words(en="Your administrator needs to fix this app", zh="应用需要管理员处理"),
        Words(
            en="{command} wasn't run: the platform doesn't accept this app's credentials or settings. Please tell your "
            "administrator. You won't need to authorize again.",
            zh="{command} 未执行：平台不接受此应用的凭证或配置。请联系管理员；之后无需重新授权。",
        ).format(command=command),
    )


def blocked(command: str, hint: str) -> Reply:
    """Report that the organization's security policy blocks the app. The platform's hint says what it requires."""
    return say(
        Words(en="Blocked by a security policy", zh="安全策略限制"),
        Words(
            en="{command} wasn't run: your organization's security policy doesn't allow it right now. "
            "The platform says: {hint}",
            zh="{command} 未执行：你所在组织的安全策略暂不允许。平台提示：{hint}",
        ).format(command=command, hint=hint),
    )

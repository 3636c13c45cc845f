"""What the bot says about a call that did not simply succeed, and about itself. One function, one message.

Words of cards and pages are in `texts`; what commands answer is with the commands.
"""

from __future__ import annotations

from dataclasses import replace

from bot.core import texts
from bot.core.cards import Action
from bot.core.decisions import Why
from bot.core.model import Control, Reply, Span, Words

Text = Words | str


def say(title: Words | None, *lines: Text) -> Reply:
    return Reply(title, tuple((Span(line),) for line in lines))


AGAIN = Words(en="Send {command} again whenever you like.", zh="随时可以再次发送 {command}。")


def with_retry(reply: Reply, call_id: str) -> Reply:
    """With a control that asks the same once more."""
    return replace(reply, control=Control(texts.RETRY, Action.RETRY, call_id))


def declined(command: str) -> Reply:
    """After "Not now" or a refusal on the consent page."""
    return say(
        Words(en="Not done: you did not authorize it", zh="未执行：你没有授权"),
        Words(
            en="{command} needs a permission that you chose not to give. Nothing was done.",
            zh="{command} 需要一项你选择不授予的权限，因此没有执行任何操作。",
        ).format(command=command),
        AGAIN.format(command=command),
    )


def partly_declined(command: str, refused: str) -> Reply:
    return say(
        Words(en="Not done: one permission is still missing", zh="未执行：仍缺少权限"),
        Words(
            en="{command} also needs {refused}, which was not granted. What you did grant is kept.",
            zh="{command} 还需要 {refused}，但未获授予。你已授予的权限会保留。",
        ).format(command=command, refused=refused),
        AGAIN.format(command=command),
    )


def expired(command: str) -> Reply:
    return say(
        Words(en="Waited too long", zh="等待超时"),
        Words(
            en="{command} waited for your authorization and has now expired. Nothing was done.",
            zh="{command} 等待授权的时间过长，现已过期，没有执行任何操作。",
        ).format(command=command),
        AGAIN.format(command=command),
    )


def expired_before_start(command: str) -> Reply:
    return say(
        Words(en="Too late for this one", zh="已过期"),
        Words(
            en="I could not get to {command} in time. Nothing was done.",
            zh="未能及时处理 {command}，没有执行任何操作。",
        ).format(command=command),
        AGAIN.format(command=command),
    )


def cancelled(command: str) -> Reply:
    return say(None, Words(en="{command}: cancelled.", zh="{command}：已取消。").format(command=command))


def outcome_unknown(command: str) -> Reply:
    return say(
        Words(en="I cannot tell whether this was done", zh="无法确定是否已执行"),
        Words(
            en="{command} was sent, but the answer never arrived. It may or may not have been carried out, and "
            "I will not send it again on my own.",
            zh="{command} 已发出，但没有收到结果，可能已执行，也可能没有。我不会自行重复发送。",
        ).format(command=command),
        Words(
            en="Please check the result in the app first. If it is not there, send the command again.",
            zh="请先在应用中确认结果；如果没有，再重新发送该命令。",
        ),
    )


def lost(command: str) -> Reply:
    """In place of what was to be said, when the key that it was sealed with is gone."""
    return say(
        Words(en="My answer got lost", zh="我的回复丢失了"),
        Words(
            en="I can no longer read what I was going to say about {command}. If it changes something, please check "
            "first whether that was done.",
            zh="我已无法读取对 {command} 的回复。如果它会更改内容，请先确认是否已经执行。",
        ).format(command=command),
        AGAIN.format(command=command),
    )


def interim(command: str) -> Reply:
    return say(
        None,
        Words(
            en="{command}: the platform is not answering at the moment. I keep trying, you need not do anything.",
            zh="{command}：平台暂时没有响应。我会继续尝试，你无需操作。",
        ).format(command=command),
    )


def waiting_for_administrator(command: str, scopes: Text) -> Reply:
    return say(
        Words(en="Waiting for your administrator", zh="等待管理员开通"),
        Words(
            en="{command} needs {scopes}, which this app does not have yet. I have told the administrator and "
            "continue by myself as soon as it is enabled.",
            zh="{command} 需要 {scopes}，但此应用尚未开通。我已通知管理员，开通后会自动继续。",
        ).format(command=command, scopes=scopes),
        Words(en="/cancel drops it.", zh="发送 /cancel 可取消等待。"),
    )


def told_enough(command: str, scopes: Text) -> Reply:
    """The administrators have heard of many other scopes from this person today."""
    return say(
        Words(en="Not done: this app lacks a permission", zh="未执行：应用缺少权限"),
        Words(
            en="{command} needs {scopes}, which this app does not have. I have told the administrator of many others "
            "for you today, so please ask them yourself, or try again tomorrow.",
            zh="{command} 需要 {scopes}，但此应用尚未开通。今天我已为你向管理员申请了多项权限，"
            "请直接联系管理员，或明天再试。",
        ).format(command=command, scopes=scopes),
    )


def still_refused(command: str, scopes: Text) -> Reply:
    """The platform's list says that a scope is enabled, and it refuses all the same."""
    return say(
        Words(en="Still waiting", zh="仍在等待"),
        Words(
            en="{command}: the platform's own list says that {scopes} is enabled, but it still refuses. Perhaps a "
            "version of the app has yet to be published. I have told the administrator, and try again every few "
            "minutes.",
            zh="{command}：平台显示 {scopes} 已开通，但仍然拒绝请求，可能应用的新版本尚未发布。"
            "我已通知管理员，并会每隔几分钟重试。",
        ).format(command=command, scopes=scopes),
        Words(en="/cancel drops it.", zh="发送 /cancel 可取消等待。"),
    )


def publish_a_version(scopes: Text) -> Reply:
    """To an administrator, about the same."""
    return say(
        Words(en="Enabled, and still refused", zh="已开通，但仍被拒绝"),
        Words(
            en="The platform's list says that this app has {scopes} for user identity, but it still refuses what "
            "needs it. If the console shows an unpublished version, please publish it.",
            zh="平台显示此应用已为用户身份开通 {scopes}，但仍然拒绝需要它的请求。如果开发者后台有未发布的版本，请发布。",
        ).format(scopes=scopes),
        Words(
            en="I try again every few minutes; “Check again” on my card tries at once.",
            zh="我每隔几分钟会重试；点击卡片上的“重新检查”可立即重试。",
        ),
    )


def lost_scopes(scopes: str) -> Reply:
    """After a consent that gave less than was held before."""
    return say(
        Words(en="You allow less than before", zh="授权范围变小了"),
        Words(
            en="With this consent the platform no longer gives me: {scopes}. What needs it will ask you again.",
            zh="此次授权后，平台不再向我提供：{scopes}。需要它的命令会再次请你授权。",
        ).format(scopes=scopes),
    )


def asked_privately(command: str) -> Reply:
    """The note in a group: never a link."""
    return say(
        None,
        Words(
            en="{command} needs your permission. I have asked you privately, as a rule in our direct chat, and carry on "
            "after that.",
            zh="{command} 需要你的授权。我已私下向你发送授权卡片（通常在与你的单聊中），授权后会自动继续。",
        ).format(command=command),
    )


def asked_above(command: str, request_id: str) -> Reply:
    """The person has a card already, and it may be far up in the chat by now."""
    reply = say(
        None,
        Words(
            en="{command} needs your permission, too: it is on the card that I sent you before.",
            zh="{command} 也需要你的授权：已添加到我之前发送的卡片中。",
        ).format(command=command),
    )
    return replace(reply, control=Control(texts.SEND_AGAIN, Action.SEND_AGAIN, request_id))


def answered_privately(command: str) -> Reply:
    return say(
        None,
        Words(
            en="{command}: I have sent you the result in a direct message.",
            zh="{command}：结果已私信发给你。",
        ).format(command=command),
    )


def answer_refused(command: str, detail: str) -> Reply:
    """In the place of an answer whose content the platform does not carry."""
    return say(
        None,
        Words(
            en="{command}: my answer is ready, but the platform does not let me send it ({detail}).",
            zh="{command}：结果已就绪，但平台不允许发送（{detail}）。",
        ).format(command=command, detail=detail),
    )


def card_refused(command: str, detail: str) -> Reply:
    """In the place of a card that the platform does not carry: without it, its person would wait for nothing."""
    return say(
        None,
        Words(
            en="{command} waits for you, but the platform does not let me send the card for it ({detail}). Send it "
            "again for another try; /cancel drops it.",
            zh="{command} 正在等待你的操作，但平台不允许发送相应的卡片（{detail}）。"
            "重新发送可再试一次，发送 /cancel 可取消。",
        ).format(command=command, detail=detail),
    )


def too_many_waiting(limit: int) -> Reply:
    return say(
        None,
        Words(
            en="You already have {limit} requests waiting, so I didn't take this one. /cancel drops them.",
            zh="你已有 {limit} 个请求在等待，因此未受理这一条。发送 /cancel 可全部取消。",
        ).format(limit=limit),
    )


def not_for_you() -> Reply:
    return say(
        Words(en="This bot is not for your organization", zh="此机器人不对你的组织开放"),
        Words(
            en="It only works for members of the organization that installed it. Nothing you wrote was kept.",
            zh="它仅供安装它的组织成员使用，你发送的内容不会被保存。",
        ),
    )


GAVE_UP = {
    Why.STILL_REFUSED: (
        Words(en="Still not allowed", zh="仍然没有权限"),
        Words(
            en="{command}: you authorized it, but the platform still refuses and names {detail}. "
            "Please show this to your administrator.",
            zh="{command}：你已授权，但平台仍然拒绝，并要求 {detail}。请联系管理员。",
        ),
    ),
    Why.PLATFORM_FAILED: (
        Words(en="The platform did not answer", zh="平台没有响应"),
        Words(
            en="I tried {command} for 15 minutes without success ({detail}). Please try again later.",
            zh="我已尝试 {command} 15 分钟，仍未成功（{detail}）。请稍后再试。",
        ),
    ),
    Why.BUSY: (
        Words(en="Too many requests", zh="请求过于频繁"),
        Words(
            en="The platform asks to slow down ({detail}). Please send {command} again later.",
            zh="平台要求降低频率（{detail}）。请稍后再次发送 {command}。",
        ),
    ),
    Why.TOKEN_REFUSED: (
        Words(en="The platform rejects your authorization", zh="平台不接受你的授权"),
        Words(
            en="{command} was rejected even with a fresh token ({detail}). Send /revoke, then {command} again to "
            "authorize anew.",
            zh="即使更新令牌后，{command} 仍被拒绝（{detail}）。请发送 /revoke，再发送 {command} 重新授权。",
        ),
    ),
}


def gave_up(why: Why, command: str, detail: Text) -> Reply:
    title, body = GAVE_UP[why]
    return say(title, body.format(command=command, detail=detail))


def app_misconfigured(command: str) -> Reply:
    return say(
        Words(en="The app needs its administrator", zh="应用需要管理员处理"),
        Words(
            en="{command}: the platform does not accept this app's credentials or settings, so I cannot renew "
            "your authorization. What you granted is kept. Please tell your administrator.",
            zh="{command}：平台不接受此应用的凭证或设置，因此无法续期你的授权。你已授予的权限会保留。请联系管理员。",
        ).format(command=command),
    )


def blocked(command: str, hint: str) -> Reply:
    """The organization's security policy objects; the platform says what would appease it."""
    return say(
        Words(en="A security policy stands in the way", zh="安全策略限制"),
        Words(
            en="{command}: your organization's security policy does not let me renew your authorization for now. "
            "What you granted is kept. The platform says: {hint}",
            zh="{command}：你所在组织的安全策略暂不允许续期你的授权。你已授予的权限会保留。平台提示：{hint}",
        ).format(command=command, hint=hint),
    )


def no_progress(command: str) -> Reply:
    return say(
        Words(en="I couldn't run this", zh="未能执行"),
        Words(
            en="I was interrupted each time I tried to run {command}, so I stopped trying. Your administrator can find "
            "the reason in the log.",
            zh="每次执行 {command} 都被中断，因此已停止尝试。管理员可在日志中查看原因。",
        ).format(command=command),
    )


def crashed(command: str) -> Reply:
    return say(
        Words(en="That went wrong on my side", zh="我这边出错了"),
        Words(
            en="{command} hit an error of mine, which is in the operator's log. Please try again; if it happens "
            "once more, tell your administrator.",
            zh="{command} 触发了我的一个错误，已记入日志。请再试一次；如果再次发生，请联系管理员。",
        ).format(command=command),
    )

"""What the bot replies besides the results of commands: the progress of a call, and where its answer was sent.

Each function returns one message.
"""

from __future__ import annotations

from dataclasses import replace

from bot.core.cards import Action
from bot.core.command_replies import Text
from bot.core.language import Words
from bot.core.messages import Control, Reply, Span
from bot.core.words import cards as card_words


def say(title: Words | None, *lines: Text) -> Reply:
    return Reply(title, tuple((Span(line),) for line in lines))


def with_retry(reply: Reply, call_id: str) -> Reply:
    """Add a control that runs the call again."""
    return replace(reply, control=Control(card_words.RETRY, Action.RETRY, call_id))


def on_behalf(reply: Reply, name: str | None) -> Reply:
    """Add the name of the user on whose behalf a group is answered."""
    words = Words(en="On behalf of {name}", zh="以 {name} 的身份执行")
    return replace(reply, lines=((Span(words.format(name=name or WHO_ASKED)),), *reply.lines))


WHO_ASKED = Words(en="the person who asked", zh="提问者")


def declined(command: str) -> Reply:
    """Confirm that the user declined."""
    return say(
        None,
        Words(
            en="OK, I didn't run {command}. Send it again if you change your mind.",
            zh="好的，已取消 {command}。如需继续，重新发送即可。",
        ).format(command=command),
    )


def partly_declined(command: str, refused: str) -> Reply:
    return say(
        Words(en="A permission is still missing", zh="仍缺少权限"),
        Words(
            en="{command} wasn't run: it still needs {refused}. Send it again if you change your mind.",
            zh="{command} 未执行：还需要授权 {refused}。如需继续，请重新发送。",
        ).format(command=command, refused=refused),
    )


def expired(command: str) -> Reply:
    return say(
        None,
        Words(
            en="The request expired, so {command} wasn't run.",
            zh="授权请求已过期，{command} 未执行。",
        ).format(command=command),
    )


def expired_before_start(command: str) -> Reply:
    return say(
        None,
        Words(
            en="I couldn't get to {command} in time, so it wasn't run.",
            zh="未能及时处理 {command}，因此没有执行。",
        ).format(command=command),
    )


def cancelled(command: str) -> Reply:
    return say(None, Words(en="{command}: cancelled.", zh="{command}：已取消。").format(command=command))


def outcome_unknown(command: str) -> Reply:
    return say(
        Words(en="Not sure if this worked", zh="无法确定是否成功"),
        Words(
            en="I sent {command}, but got no answer. Check in the app first; if it isn't there, send the command again.",
            zh="{command} 已发出，但没有收到结果。请先在应用中查看；如果没有成功，再重新发送。",
        ).format(command=command),
    )


def answer_lost(command: str) -> Reply:
    """Replace an answer whose encryption key is lost."""
    return say(
        Words(en="The answer was lost", zh="结果已丢失"),
        Words(
            en="The answer to {command} can no longer be read. If the command makes a change, check first whether "
            "that was done. Then send it again if you still need it.",
            zh="{command} 的结果已无法读取。如果此命令会更改内容，请先确认是否已经执行，再决定是否重新发送。",
        ).format(command=command),
    )


def still_trying(command: str) -> Reply:
    return say(
        None,
        Words(
            en="{command}: the platform isn't responding right now. I'll keep trying for up to 15 minutes.",
            zh="{command}：平台暂时没有响应，我会继续尝试，最多 15 分钟。",
        ).format(command=command),
    )


def received(command: str) -> Reply:
    """Acknowledge a message whose answer takes long, if the app may not add reactions."""
    return say(
        None, Words(en="{command}: working on it…", zh="{command}：正在处理……").format(command=command)
    )


def same_as_above(reply: Reply, command: str) -> Reply:
    """Replace an answer that is the same as the previous one to the same request."""
    above = Words(en="Same as my answer above.", zh="与上面的回复相同。")
    title = reply.title or Words(command, command)
    return replace(reply, title=title, lines=((Span(above),),))


def waiting_for_administrator(command: str, scopes: Text, *, known: bool, guess: bool = False) -> Reply:
    """Report that an administrator has to enable scopes. `known`: an administrator has been informed.

    `guess`: the platform does not say what is missing, nor when it is enabled.
    """
    if guess:
        return say(
            Words(en="Waiting for your administrator", zh="等待管理员开通"),
            (STILL_REFUSED_INFORMED if known else STILL_REFUSED_NOT_INFORMED).format(
                command=command, scopes=scopes
            ),
        )
    informed = Words(
        en="{command} needs a permission this app doesn't have yet: {scopes}. I've let your administrator know and "
        "will ask you as soon as it's enabled. /cancel to drop it.",
        zh="{command} 需要的权限尚未开通：{scopes}。已通知管理员，开通后我会再请你授权。发送 /cancel 可取消。",
    )
    not_informed = Words(
        en="{command} needs a permission this app doesn't have yet: {scopes}. My message hasn't reached an "
        "administrator, so please ask them to enable it; I'll ask you as soon as it's enabled. /cancel to drop it.",
        zh="{command} 需要的权限尚未开通：{scopes}。我的消息未能送达管理员，请你联系管理员开通，开通后我会再请你授权。"
        "发送 /cancel 可取消。",
    )
    return say(
        Words(en="Waiting for your administrator", zh="等待管理员开通"),
        (informed if known else not_informed).format(command=command, scopes=scopes),
    )


STILL_REFUSED_INFORMED = Words(
    en="You've authorized {command}, but the platform still refuses it: {scopes}. The app probably doesn't have this "
    "permission yet, so I've let your administrator know. I'll keep trying; once it's enabled, you can also send the "
    "command again. /cancel to drop it.",
    zh="你已授权，但平台仍拒绝执行 {command}：{scopes}。应用可能尚未开通此权限，已通知管理员。"
    "我会继续重试；开通后你也可以重新发送命令。发送 /cancel 可取消。",
)

STILL_REFUSED_NOT_INFORMED = Words(
    en="You've authorized {command}, but the platform still refuses it: {scopes}. The app probably doesn't have this "
    "permission yet. My message hasn't reached an administrator, so please ask them to enable it. I'll keep trying; once "
    "it's enabled, you can also send the command again. /cancel to drop it.",
    zh="你已授权，但平台仍拒绝执行 {command}：{scopes}。应用可能尚未开通此权限。"
    "我的消息未能送达管理员，请你联系管理员开通。我会继续重试；开通后你也可以重新发送命令。发送 /cancel 可取消。",
)


def scopes_dropped(scopes: str) -> Reply:
    """Report that a consent granted less than an earlier one."""
    return say(
        Words(en="Some permissions were dropped", zh="授权范围变小了"),
        Words(
            en="Since you last authorized, I no longer have: {scopes}. I'll ask again when a command needs it.",
            zh="此次授权后不再包含：{scopes}。有命令需要时，会再次请你授权。",
        ).format(scopes=scopes),
    )


def wrong_account() -> Reply:
    """Report that a link was confirmed with another account."""
    return say(
        Words(en="Wrong account", zh="账号不一致"),
        Words(
            en="The link on my card was confirmed with another account, so nothing was saved. If that was you, switch to "
            "your own account and press Authorize again. If not, you don't need to do anything.",
            zh="有人使用其他账号确认了卡片上的链接，因此未保存任何信息。如果是你本人，请切换到自己的账号后再次点击授权；"
            "如果不是，无需处理。",
        ),
    )


def card_sent_privately(*, in_group: bool, answers_privately: bool) -> Reply:
    """Say in a group where the card is, without a link. `in_group`: it is an ephemeral card in the group."""
    sent = Words(en="I've sent you a card in our direct chat. ", zh="授权卡片已发到你和我的单聊，")
    shown = Words(en="I've shown you a card that only you can see. ", zh="已向你显示一张仅你可见的授权卡片，")
    answered_here = Words(en="I'll answer here once you've authorized.", zh="授权后我会在这里回复。")
    answered_privately = Words(
        en="Once you've authorized, only you will see my answer.", zh="授权后的结果仅你可见。"
    )
    return say(
        None, (shown if in_group else sent) + (answered_privately if answers_privately else answered_here)
    )


def added_to_earlier_card(command: str, request_id: str, *, elsewhere: bool = False) -> Reply:
    """Refer to the card that the user already has: further up in the chat, or `elsewhere`, in another topic."""
    above = Words(en="I've added {command} to the card above.", zh="已将 {command} 添加到上方的卡片中。")
    earlier = Words(
        en="I've added {command} to the card I sent you earlier.",
        zh="已将 {command} 添加到之前发送的卡片中。",
    )
    reply = say(None, (earlier if elsewhere else above).format(command=command))
    return replace(reply, control=Control(card_words.SEND_AGAIN, Action.SEND_AGAIN, request_id))


def result_sent_privately() -> Reply:
    return say(
        None,
        Words(
            en="I've sent you the result in our direct chat.",
            zh="结果已通过单聊发给你。",
        ),
    )


def replied_privately() -> Reply:
    """Say in a group that a reply other than a result was sent to the user directly."""
    return say(None, Words(en="I've replied in our direct chat.", zh="已通过单聊回复你。"))


def cannot_reach_privately(command: str, chat_link: str | None) -> Reply:
    """Replace a private message in a group, because the platform accepts no message to the user."""
    reply = say(
        None,
        Words(
            en="{command}: I couldn't reach you privately. Open a chat with me from my profile, then send {command} "
            "there.",
            zh="{command}：无法向你发送私密消息。请从我的名片打开与我的单聊，并在那里重新发送 {command}。",
        ).format(command=command),
    )
    if chat_link is None:
        return reply
    return replace(reply, lines=(*reply.lines, (Span(OPEN_CHAT, url=chat_link),)))


OPEN_CHAT = Words(en="Open the chat", zh="打开单聊")


def stopped_halfway(command: str) -> Reply:
    """Report to a user who recalled a running command that it was stopped halfway."""
    return say(
        Words(en="Stopped halfway", zh="已中途停止"),
        Words(
            en="You recalled {command} while I was running it. I stopped, but part of it may already be done: please "
            "check in the app.",
            zh="你在执行过程中撤回了 {command}。我已停止，但可能有一部分已经完成，请在应用中确认。",
        ).format(command=command),
    )


def too_many_waiting(limit: int) -> Reply:
    return say(
        None,
        Words(
            en="You already have {limit} requests waiting, so this one wasn't accepted. Send /cancel to drop them.",
            zh="你已有 {limit} 个请求在等待，因此未受理这一条。发送 /cancel 可全部取消。",
        ).format(limit=limit),
    )


def other_organization() -> Reply:
    return say(
        Words(en="Not available in your organization", zh="此机器人不对你的组织开放"),
        Words(
            en="Only members of the organization that installed this bot can use it. Your message wasn't saved.",
            zh="仅安装此机器人的组织成员可以使用。你发送的内容未被保存。",
        ),
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
        Words(en="Something went wrong", zh="出错了"),
        Words(
            en="{command} failed, and the error was logged. Please try again; if it keeps failing, tell your "
            "administrator.",
            zh="执行 {command} 时出错，错误已记录。请重试；如果仍然失败，请联系管理员。",
        ).format(command=command),
    )


SHORTENED = Words(en="… shortened: too long for one message.", zh="……内容过长，已截断。")

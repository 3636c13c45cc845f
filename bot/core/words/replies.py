"""What the bot says about a call that did not simply succeed, and about itself. One function, one message.

Words of cards and pages are in `texts`; what commands answer is with the commands.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from bot.core.cards import Action, PageError
from bot.core.decisions import Why
from bot.core.language import Words
from bot.core.messages import Control, Reply, Span
from bot.core.words import cards as card_words

Text = Words | str


def say(title: Words | None, *lines: Text) -> Reply:
    return Reply(title, tuple((Span(line),) for line in lines))


def with_retry(reply: Reply, call_id: str) -> Reply:
    """With a control that asks the same once more."""
    return replace(reply, control=Control(card_words.RETRY, Action.RETRY, call_id))


def on_behalf(reply: Reply, name: str | None) -> Reply:
    """An answer as a group sees it: with the name of the person whose it is."""
    words = Words(en="On behalf of {name}", zh="以 {name} 的身份执行")
    return replace(reply, lines=((Span(words.format(name=name or WHO_ASKED)),), *reply.lines))


WHO_ASKED = Words(en="the person who asked", zh="提问者")


def declined(command: str) -> Reply:
    """After "Not now" or a refusal on the consent page."""
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
            en="{command} wasn't run: it also needs {refused}. Send it again if you change your mind.",
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


def lost(command: str) -> Reply:
    """In place of what was to be said, when the key that it was sealed with is gone."""
    return say(
        Words(en="The answer was lost", zh="结果已丢失"),
        Words(
            en="The answer to {command} can no longer be read. If the command makes a change, check first whether "
            "that was done. Then send it again if you still need it.",
            zh="{command} 的结果已无法读取。如果此命令会更改内容，请先确认是否已经执行，再决定是否重新发送。",
        ).format(command=command),
    )


def interim(command: str) -> Reply:
    return say(
        None,
        Words(
            en="{command}: the platform isn't responding right now. I'll keep trying for up to 15 minutes.",
            zh="{command}：平台暂时没有响应，我会继续尝试，最多 15 分钟。",
        ).format(command=command),
    )


def received(command: str) -> Reply:
    """When an answer takes longer than a moment, and the message cannot be marked."""
    return say(
        None, Words(en="{command}: working on it…", zh="{command}：正在处理……").format(command=command)
    )


def same_as_above(reply: Reply, command: str) -> Reply:
    """In place of an answer that was just given to the same question."""
    above = Words(en="Same as my answer above.", zh="与上面的回复相同。")
    title = reply.title or Words(command, command)
    return replace(reply, title=title, lines=((Span(above),),))


def waiting_for_administrator(command: str, scopes: Text, *, known: bool) -> Reply:
    """`known`: an administrator has been told. Else the person has to."""
    told = Words(
        en="{command} needs a permission this app doesn't have yet: {scopes}. I've let your administrator know and "
        "will ask you as soon as it's enabled. /cancel to drop it.",
        zh="{command} 需要的权限尚未开通：{scopes}。已通知管理员，开通后我会再请你授权。发送 /cancel 可取消。",
    )
    not_told = Words(
        en="{command} needs a permission this app doesn't have yet: {scopes}. My message hasn't reached an "
        "administrator, so please ask them to enable it; I'll ask you as soon as it's enabled. /cancel to drop it.",
        zh="{command} 需要的权限尚未开通：{scopes}。我的消息未能送达管理员，请你联系管理员开通，开通后我会再请你授权。"
        "发送 /cancel 可取消。",
    )
    return say(
        Words(en="Waiting for your administrator", zh="等待管理员开通"),
        (told if known else not_told).format(command=command, scopes=scopes),
    )


def no_such_scope(command: str, scopes: Text, *, typed_by_person: bool) -> Reply:
    """A scope that is in none of the platform's lists: it was typed, or a command declares it."""
    if typed_by_person:
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


def told_enough(command: str, scopes: Text) -> Reply:
    """The administrators have heard of many other scopes from this person today."""
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
    """The platform's list says that a scope is enabled, and it refuses all the same."""
    return say(
        Words(en="Still waiting", zh="仍在等待"),
        Words(
            en="{command}: {scopes} is enabled, but the platform still refuses it. A new version of the app may need to "
            "be published by an administrator. I'll try again every few minutes. /cancel to drop it.",
            zh="{command} 所需的权限已开通，但平台仍然拒绝：{scopes}。可能需要管理员发布应用的新版本。"
            "我会每隔几分钟重试。发送 /cancel 可取消。",
        ).format(command=command, scopes=scopes),
    )


def publish_a_version(scopes: Text) -> Reply:
    """To an administrator, about the same."""
    return say(
        Words(en="Enabled, but still refused", zh="已开通，但仍被拒绝"),
        Words(
            en="The app has the user permission {scopes}, but the platform still refuses requests that need it. If the "
            "console shows an unpublished version, please publish it, then press “Check again” on the card.",
            zh="以下用户身份权限已开通，但平台仍然拒绝相关请求：{scopes}。如果开发者后台有未发布的版本，请发布，"
            "然后点击卡片上的“重新检查”。",
        ).format(scopes=scopes),
    )


PAGE_ERROR_SAYS = {
    PageError.SCOPE: Words(
        en="an error about a permission (20027 or 20043)", zh="权限有误（20027 或 20043）"
    ),
    PageError.REDIRECT: Words(en="an error about the redirect URL (20029)", zh="重定向 URL 有误（20029）"),
    PageError.APP: Words(
        en="that they can't use this app (20009 or 20010)", zh="无法使用此应用（20009 或 20010）"
    ),
    PageError.OTHER: Words(en="an error that they didn't name", zh="其他错误"),
}

PAGE_ERROR_CHECK = {
    PageError.APP: Words(
        en="I can't confirm this. Please check that the app is enabled and that it's available to them.",
        zh="我无法核实。请确认应用已启用，且该用户在可用范围内。",
    ),
    PageError.OTHER: Words(
        en="I can't confirm this. Please ask them what the page says.",
        zh="我无法核实。请向该用户确认页面内容。",
    ),
}


def page_error_reported(person: str, error: PageError, commands: tuple[str, ...], found: Words) -> Reply:
    """To an administrator: what a user says of the platform's page, and what the bot knows of it."""
    return say(
        Words(en="A user reports an error", zh="用户反馈授权页面报错"),
        Words(
            en="{person} reports that the authorization page for {commands} shows {error}.",
            zh="{person} 反馈 {commands} 的授权页面提示：{error}。",
        ).format(
            person=person,
            commands=Words(", ".join(commands), "、".join(commands)),
            error=PAGE_ERROR_SAYS[error],
        ),
        found,
    )


def scopes_enabled(scopes: Text) -> Words:
    return Words(
        en="I can't confirm this: the app's own list has {scopes} enabled. If the console shows an unpublished "
        "version, please publish it.",
        zh="我无法核实：应用的权限列表显示已开通{scopes}。如果开发者后台有未发布的版本，请发布。",
    ).format(scopes=scopes)


def scopes_unknown(scopes: Text) -> Words:
    return Words(
        en="I can't confirm this: the app's list of permissions can't be read. Please check that {scopes} is enabled for "
        "user identity.",
        zh="我无法核实：无法读取应用的权限列表。请确认已为用户身份开通{scopes}。",
    ).format(scopes=scopes)


def redirects_missing(urls: Iterable[str]) -> Words:
    return Words(
        en="The app's own list confirms it: {urls} is missing. Please add it in the developer console, under Security "
        "Settings.",
        zh="应用的重定向 URL 列表中确实缺少 {urls}，请在开发者后台的“安全设置”中添加。",
    ).format(urls=every(urls))


def redirects_registered(urls: Iterable[str]) -> Words:
    return Words(
        en="I can't confirm this: {urls} is on the app's list of redirect URLs.",
        zh="我无法核实：{urls} 已在应用的重定向 URL 列表中。",
    ).format(urls=every(urls))


def redirects_unknown(urls: Iterable[str]) -> Words:
    return Words(
        en="I can't confirm this: the app's list of redirect URLs can't be read. Please check in the developer console, "
        "under Security Settings, that {urls} is on it.",
        zh="我无法核实：无法读取应用的重定向 URL 列表。请在开发者后台的“安全设置”中确认已添加 {urls}。",
    ).format(urls=every(urls))


def every(items: Iterable[str]) -> Words:
    given = tuple(items)
    return Words(en=" and ".join(given), zh=" 和 ".join(given))


def lost_scopes(scopes: str) -> Reply:
    """After a consent that gave less than was held before."""
    return say(
        Words(en="Some permissions were dropped", zh="授权范围变小了"),
        Words(
            en="Since you last authorized, I no longer have: {scopes}. I'll ask again when a command needs it.",
            zh="此次授权后不再包含：{scopes}。有命令需要时，会再次请你授权。",
        ).format(scopes=scopes),
    )


def other_account() -> Reply:
    """Somebody consented by the person's link with another account."""
    return say(
        Words(en="Wrong account", zh="账号不一致"),
        Words(
            en="The link on my card was confirmed with another account, so nothing was saved. If that was you, switch to "
            "your own account and press Authorize again. If not, you don't need to do anything.",
            zh="有人使用其他账号确认了卡片上的链接，因此未保存任何信息。如果是你本人，请切换到自己的账号后再次点击授权；"
            "如果不是，无需处理。",
        ),
    )


def asked_privately(*, in_group: bool, answers_privately: bool) -> Reply:
    """The note in a group: never a link. `in_group`: the card is shown to the asker alone, in a group."""
    sent = Words(en="I've sent you a card in our direct chat. ", zh="授权卡片已发到你和我的单聊，")
    shown = Words(en="I've shown you a card that only you can see. ", zh="已向你显示一张仅你可见的授权卡片，")
    here = Words(en="I'll answer here once you've authorized.", zh="授权后我会在这里回复。")
    alone = Words(en="Once you've authorized, only you will see my answer.", zh="授权后的结果仅你可见。")
    return say(None, (shown if in_group else sent) + (alone if answers_privately else here))


def asked_above(command: str, request_id: str, *, elsewhere: bool = False) -> Reply:
    """The person has a card already: far up in the chat, or in another topic (`elsewhere`)."""
    above = Words(en="I've added {command} to the card above.", zh="已将 {command} 添加到上方的卡片中。")
    earlier = Words(
        en="I've added {command} to the card I sent you earlier.",
        zh="已将 {command} 添加到之前发送的卡片中。",
    )
    reply = say(None, (earlier if elsewhere else above).format(command=command))
    return replace(reply, control=Control(card_words.SEND_AGAIN, Action.SEND_AGAIN, request_id))


def answered_privately() -> Reply:
    return say(
        None,
        Words(
            en="I've sent you the result in our direct chat.",
            zh="结果已通过单聊发给你。",
        ),
    )


def replied_privately() -> Reply:
    """The note in a group after anything but a result was sent to the asker alone."""
    return say(None, Words(en="I've replied in our direct chat.", zh="已通过单聊回复你。"))


def no_way_to_you(command: str, chat_link: str | None) -> Reply:
    """In a group, in the place of what only its asker may see: the platform takes no message to them."""
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
    """To the asker alone, who has taken the question back."""
    return say(
        Words(en="Stopped halfway", zh="已中途停止"),
        Words(
            en="You recalled {command} while I was on it. I stopped, but a part of it may already be done: please check "
            "in the app.",
            zh="你在执行过程中撤回了 {command}。我已停止，但可能有一部分已经完成，请在应用中确认。",
        ).format(command=command),
    )


def answer_refused(command: str, detail: str) -> Reply:
    """In the place of an answer whose content the platform does not carry."""
    return say(
        None,
        Words(
            en="The answer to {command} is ready, but the platform doesn't let me send it ({detail}).",
            zh="{command} 的结果已就绪，但平台不允许发送（{detail}）。",
        ).format(command=command, detail=detail),
    )


def card_refused(command: str, detail: str) -> Reply:
    """In the place of a card that the platform does not carry: without it, its person would wait for nothing."""
    return say(
        None,
        Words(
            en="{command} is waiting for you, but the platform doesn't let me send the card ({detail}). Send the "
            "command again to retry, or /cancel to drop it.",
            zh="{command} 正在等待你，但平台不允许发送卡片（{detail}）。请重新发送该命令重试，或发送 /cancel 取消。",
        ).format(command=command, detail=detail),
    )


def too_many_waiting(limit: int) -> Reply:
    return say(
        None,
        Words(
            en="You already have {limit} requests waiting, so this one wasn't accepted. Send /cancel to drop them.",
            zh="你已有 {limit} 个请求在等待，因此未受理这一条。发送 /cancel 可全部取消。",
        ).format(limit=limit),
    )


def not_for_you() -> Reply:
    return say(
        Words(en="Not available in your organization", zh="此机器人不对你的组织开放"),
        Words(
            en="Only members of the organization that installed this bot can use it. Your message wasn't saved.",
            zh="仅安装此机器人的组织成员可以使用。你发送的内容未被保存。",
        ),
    )


GAVE_UP = {
    Why.STILL_REFUSED: (
        Words(en="Still not allowed", zh="仍然没有权限"),
        Words(
            en="You authorized {command}, but the platform still refuses it and asks for {detail}. "
            "Please show this to your administrator.",
            zh="你已为 {command} 授权，但平台仍然拒绝，并要求 {detail}。请将此消息转给管理员。",
        ),
    ),
    Why.PLATFORM_FAILED: (
        Words(en="The platform isn't responding", zh="平台没有响应"),
        Words(
            en="I tried {command} for 15 minutes without success ({detail}). Please try again later.",
            zh="{command} 已尝试 15 分钟，仍未成功（{detail}）。请稍后再试。",
        ),
    ),
    Why.BUSY: (
        Words(en="Too many requests", zh="请求过于频繁"),
        Words(
            en="The platform is limiting requests ({detail}). Please send {command} again later.",
            zh="平台限制了请求频率（{detail}）。请稍后重新发送 {command}。",
        ),
    ),
    Why.TOKEN_REFUSED: (
        Words(en="Your authorization was rejected", zh="授权未被接受"),
        Words(
            en="The platform rejected {command} even after renewing your authorization ({detail}). Send /revoke, then "
            "{command} again.",
            zh="续期授权后，平台仍然拒绝 {command}（{detail}）。请发送 /revoke，再重新发送 {command}。",
        ),
    ),
}


def gave_up(why: Why, command: str, detail: Text) -> Reply:
    title, body = GAVE_UP[why]
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
    """The organization's security policy objects; the platform says what would appease it."""
    return say(
        Words(en="Blocked by a security policy", zh="安全策略限制"),
        Words(
            en="{command} wasn't run: your organization's security policy doesn't allow it right now. "
            "The platform says: {hint}",
            zh="{command} 未执行：你所在组织的安全策略暂不允许。平台提示：{hint}",
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
        Words(en="Something went wrong", zh="出错了"),
        Words(
            en="{command} failed, and the error was logged. Please try again; if it keeps failing, tell your "
            "administrator.",
            zh="执行 {command} 时出错，错误已记录。请重试；如果仍然失败，请联系管理员。",
        ).format(command=command),
    )

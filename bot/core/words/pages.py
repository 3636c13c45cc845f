"""The text of the web pages."""

from __future__ import annotations

from dataclasses import dataclass

from bot.core.calls import WaitsFor
from bot.core.language import Words


@dataclass(frozen=True, slots=True)
class PageWords:
    """The heading of a page and the paragraph below it."""

    title: Words
    text: Words


# --- links and buttons ---------------------------------------------------------------------------------

SWITCH_ACCOUNT = Words(en="Switch account", zh="切换账号")
BACK_TO_CHAT = Words(en="Back to the chat", zh="返回聊天")
CLOSE_PAGE = Words(en="You can close this page and go back to the chat.", zh="你可以关闭此页面，返回聊天。")
SIGN_IN = Words(en="Sign in", zh="登录")
SIGN_IN_WITH = Words(en="Sign in with {platform}", zh="使用{platform}登录")
SIGN_IN_AGAIN = Words(en="Sign in again", zh="重新登录")
RETRY_SIGN_IN = Words(en="Try again", zh="重新登录")
CONTINUE = Words(en="Continue", zh="继续")
MY_PERMISSIONS = Words(en="My permissions", zh="我的授权")

# --- opening a card's link -----------------------------------------------------------------------------

LINK_UNKNOWN = PageWords(
    Words(en="This link doesn't work", zh="链接无效"),
    Words(
        en="It may be incomplete. Use the button on the card in your chat with the bot.",
        zh="链接可能不完整，请使用聊天卡片上的按钮。",
    ),
)
LINK_GRANTED = PageWords(
    Words(en="Already authorized", zh="已完成授权"),
    Words(
        en="Nothing left to do here. The answer is in the chat.",
        zh="无需再操作，请返回聊天查看结果。",
    ),
)
LINK_DECLINED = PageWords(
    Words(en="You declined this request", zh="你已拒绝此请求"),
    Words(
        en="If you change your mind, send the command again in the chat.",
        zh="如需继续，请在聊天中重新发送命令。",
    ),
)
LINK_EXPIRED = PageWords(
    Words(en="This request has expired", zh="请求已过期"),
    Words(
        en="Send the command again in the chat to get a new card.",
        zh="请在聊天中重新发送命令，获取新卡片。",
    ),
)
LINK_SUPERSEDED = PageWords(
    Words(en="There is a newer card", zh="已有新的卡片"),
    Words(
        en="Please use the newest card in your chat with the bot.",
        zh="请使用聊天中最新的卡片。",
    ),
)
LINK_FAILED = PageWords(
    Words(en="Authorization failed", zh="授权失败"),
    Words(
        en="Send the command again in the chat. If it keeps failing, tell your administrator.",
        zh="请在聊天中重新发送命令。如果仍然失败，请联系管理员。",
    ),
)
LINK_TOO_MANY = PageWords(
    Words(en="Opened too many times", zh="链接打开次数过多"),
    Words(
        en="Finish authorizing in one of the pages already open, or try again in ten minutes.",
        zh="请在已打开的授权页中完成授权，或十分钟后再试。",
    ),
)
LINK_TOO_MANY_TODAY = PageWords(
    Words(en="Opened too many times", zh="链接打开次数过多"),
    Words(
        en="This link has been opened many times today, perhaps not only by you. Choose “Not now” on the "
        "card (if it has that button) or send /cancel, then send the command again to get a new link.",
        zh="此链接今天已被多次打开，可能不只是你。请在卡片上点击“暂不授权”（如有此按钮）或发送 /cancel，"
        "然后重新发送命令，获取新链接。",
    ),
)
LINK_WAITING_FOR_ADMINISTRATOR = PageWords(
    Words(en="Waiting for your administrator", zh="等待管理员开通"),
    Words(
        en="The app doesn't have this permission yet. Your request continues automatically once it's enabled.",
        zh="应用尚未开通此权限，开通后会自动继续。",
    ),
)
LINK_OPENED_BY_ANOTHER_SITE = PageWords(
    Words(en="Continue to authorize?", zh="继续授权？"),
    Words(
        en="Another website opened this page. If you asked the bot for something, continue. "
        "Otherwise close this page.",
        zh="此页面由其他网站打开。如果是你向机器人发起了请求，请点击继续；否则请关闭此页面。",
    ),
)
LINK_PREVIEW = PageWords(
    Words(en="Authorization request", zh="授权请求"),
    Words(en="Open this link in a browser to continue.", zh="请在浏览器中打开此链接。"),
)

# --- returning from the authorization page -------------------------------------------------------------

CALLBACK_AUTHORIZED = PageWords(
    Words(en="Authorized", zh="授权成功"),
    Words(
        en="Your request continues automatically. The answer will appear in the chat.",
        zh="请求正在继续，结果会发到聊天中。",
    ),
)
CALLBACK_STORED = PageWords(
    Words(en="Authorized", zh="授权成功"),
    Words(
        en="You're authorized, but the request had already ended. If you still need it, send the command again; you "
        "won't be asked this time.",
        zh="授权已生效，但请求此前已结束。如仍需要，请重新发送命令，无需再次授权。",
    ),
)
CALLBACK_PARTLY = PageWords(
    Words(en="Partly authorized", zh="部分授权"),
    Words(
        en="What you authorized is saved. Commands that need the rest weren't run; see the chat for details.",
        zh="已授权的权限已生效。需要其余权限的命令没有执行，详情见聊天。",
    ),
)
CALLBACK_NOTHING_GRANTED = PageWords(
    Words(en="Not authorized", zh="未授权"),
    Words(
        en="None of the permissions was selected, so the commands that need them weren't run. Send them again in the "
        "chat if you change your mind.",
        zh="你没有勾选任何权限，需要这些权限的命令没有执行。如需继续，请在聊天中重新发送。",
    ),
)
CALLBACK_MORE_NEEDED = PageWords(
    Words(en="Authorized, one more step", zh="授权成功，还差一步"),
    Words(
        en="Another command needs one more permission. Continue on the card in the chat.",
        zh="还有命令需要其他权限，请在聊天卡片中继续。",
    ),
)
CALLBACK_DECLINED = PageWords(
    Words(en="Not authorized", zh="未授权"),
    Words(
        en="The request is still waiting in the chat. Press “Authorize” on its card to continue. To drop it, choose “Not "
        "now” on the card (if it has that button) or send /cancel.",
        zh="请求仍在聊天中等待：可在卡片上点击“去授权”继续；如需取消，请点击卡片上的“暂不授权”（如有此按钮）"
        "或发送 /cancel。",
    ),
)
CALLBACK_CLOSED = PageWords(
    Words(en="Not authorized", zh="未授权"),
    Words(
        en="The request was closed in the meantime, so nothing was saved. If you still need it, send the command "
        "again in the chat.",
        zh="请求已关闭，未保存任何信息。如仍需要，请在聊天中重新发送命令。",
    ),
)
CALLBACK_WRONG_PERSON = PageWords(
    Words(en="Wrong account", zh="账号不一致"),
    Words(
        en="This request was for someone else, so nothing was saved. Is it yours? Switch account and open the card's "
        "link again.",
        zh="此请求属于其他用户，未保存任何信息。如果是你本人的请求，请切换账号后重新打开卡片链接。",
    ),
)
CALLBACK_USED = PageWords(
    Words(en="Already done", zh="已处理"),
    Words(
        en="You can go back to the chat. If the card still asks, press its button again.",
        zh="请返回聊天查看结果；若卡片仍待授权，请重新点击按钮。",
    ),
)
CALLBACK_LATE = PageWords(
    Words(en="Timed out", zh="操作超时"),
    Words(
        en="For your security, the page is valid for a few minutes only. Press the button on the card again.",
        zh="出于安全考虑，授权页仅在几分钟内有效。请重新点击卡片上的按钮。",
    ),
)
CALLBACK_UNKNOWN = PageWords(
    Words(en="Unknown link", zh="未知链接"),
    Words(
        en="This link doesn't belong to any request. Use the button on the card in your chat with the bot.",
        zh="此链接不属于任何请求，请使用聊天卡片上的按钮。",
    ),
)
CALLBACK_MALFORMED = PageWords(
    Words(en="Incomplete link", zh="链接不完整"),
    Words(
        en="Press the button on the card again.",
        zh="请重新点击卡片上的按钮。",
    ),
)
CALLBACK_CODE_REFUSED = PageWords(
    Words(en="Authorization not accepted", zh="授权未被接受"),
    Words(
        en="Nothing was saved. Press the button on the card again.",
        zh="未保存任何信息，请重新点击卡片上的按钮。",
    ),
)
CALLBACK_NOT_ALLOWED = PageWords(
    Words(en="No access to this app", zh="你无权使用此应用"),
    Words(
        en="This app isn't available to your account. Please ask your administrator.",
        zh="此应用未对你的账号开放，请联系管理员。",
    ),
)
CALLBACK_MISCONFIGURED = PageWords(
    Words(en="Your administrator needs to fix this app", zh="应用需要管理员处理"),
    Words(
        en="The platform doesn't accept the app's settings, or your organization's security policy blocks it. Tell "
        "your administrator, then press the button on the card again.",
        zh="平台不接受应用的配置，或受组织安全策略限制。请联系管理员，然后重新点击卡片上的按钮。",
    ),
)
CALLBACK_STILL_TRYING = PageWords(
    Words(en="The platform is slow", zh="平台响应较慢"),
    Words(
        en="Your authorization is being completed. The card in the chat will show when it's done.",
        zh="正在完成授权，结果会显示在聊天卡片中。",
    ),
)

# --- signing in and out --------------------------------------------------------------------------------

SIGN_IN_NEEDED = PageWords(
    MY_PERMISSIONS,
    Words(
        en="Sign in with the account you use in the chat. Only you can see this page.",
        zh="请使用你的聊天账号登录，此页面仅你自己可见。",
    ),
)
SIGN_IN_DECLINED = PageWords(
    Words(en="Not signed in", zh="未登录"),
    Words(en="You cancelled signing in.", zh="你取消了登录。"),
)
SIGN_IN_OTHER_BROWSER = PageWords(
    Words(en="Sign-in started elsewhere", zh="登录不是在此浏览器发起的"),
    Words(
        en="Please start again here. If this keeps happening, allow cookies for this site.",
        zh="请在此重新登录。如果多次出现，请允许此网站使用 Cookie。",
    ),
)
SIGN_IN_USED = PageWords(
    Words(en="Already used", zh="登录链接已使用"),
    Words(
        en="If you aren't signed in, please try again.",
        zh="如果尚未登录，请重新登录。",
    ),
)
SIGN_IN_CODE_REFUSED = PageWords(
    Words(en="Sign-in failed", zh="登录失败"),
    Words(en="Please try again.", zh="请重试。"),
)
SIGN_IN_UNKNOWN_ORGANIZATION = PageWords(
    Words(en="Unknown organization", zh="未知组织"),
    Words(
        en="No one in your organization has used this bot yet. Send it /help in the chat first, then sign in.",
        zh="你所在的组织还没有人使用过此机器人。请先在聊天中发送 /help，再登录。",
    ),
)
SIGN_IN_MISCONFIGURED = PageWords(
    Words(en="Your administrator needs to fix this app", zh="应用需要管理员处理"),
    Words(
        en="The platform doesn't accept the app's settings. Please tell your administrator.",
        zh="平台不接受应用的配置，请联系管理员。",
    ),
)
SIGN_IN_BUSY = PageWords(
    Words(en="Too many sign-ins", zh="当前登录请求较多"),
    Words(en="Please try again in a few seconds.", zh="请几秒后重试。"),
)
SIGN_IN_UNAVAILABLE = PageWords(
    Words(en="The platform isn't responding", zh="平台没有响应"),
    Words(
        en="Please try again in a moment.",
        zh="请稍后重试。",
    ),
)
SIGNED_OUT = PageWords(
    Words(en="Signed out", zh="已退出登录"),
    Words(
        en="Your permissions haven't changed.",
        zh="你的授权保持不变。",
    ),
)
SESSION_ENDED = PageWords(
    Words(en="You've been signed out", zh="登录已结束"),
    Words(
        en="You signed out or your session ended, so nothing was changed. What you've authorized stays as it is.",
        zh="你已退出登录或登录已失效，未做任何更改，你的授权保持不变。",
    ),
)

# --- inside the client ---------------------------------------------------------------------------------

IN_CLIENT_TITLE = Words(en="One moment", zh="请稍候")
IN_CLIENT_AUTHORIZING = Words(en="Waiting for you to authorize.", zh="等待你授权。")
IN_CLIENT_SIGNING_IN = Words(en="Signing you in.", zh="正在登录。")
IN_CLIENT_ERROR = PageWords(
    Words(en="Something went wrong", zh="出错了"),
    Words(
        en="The app couldn't complete this (code {code}). Try again, or continue in the browser.",
        zh="客户端未能完成操作（错误码 {code}）。请重试，或在浏览器中继续。",
    ),
)
"""The page's script fills in `{code}`."""
IN_CLIENT_RETRY = Words(en="Try again", zh="重试")
IN_CLIENT_USE_BROWSER = Words(en="Continue in browser", zh="在浏览器中继续")

# --- errors --------------------------------------------------------------------------------------------

NOT_FOUND = PageWords(
    Words(en="Page not found", zh="页面不存在"),
    Words(en="Go back to the chat and use the card there.", zh="请返回聊天，使用其中的卡片。"),
)
INTERNAL_ERROR = PageWords(
    Words(en="Something went wrong", zh="出错了"),
    Words(
        en="Please try again in a moment. If it keeps happening, tell your administrator.",
        zh="请稍后再试。如果仍然出错，请联系管理员。",
    ),
)
FORM_OUT_OF_DATE = PageWords(
    Words(en="Please try again", zh="请重试"),
    Words(
        en="This page was out of date, so nothing was changed. Open it again.",
        zh="页面已过期，未做任何更改。请重新打开。",
    ),
)
COOKIES_TOO_LONG = Words(
    en="Your browser sent too many cookies. Open the page again; if this comes back, clear the cookies of this site.",
    zh="浏览器发送的 Cookie 过多。请重新打开页面；如果仍然出现此提示，请清除本站的 Cookie。",
)
"""Shown as plain text in all languages, because the request is rejected before its headers are parsed."""

# --- My permissions ------------------------------------------------------------------------------------

SIGNED_IN_AS = Words(en="Signed in as {name}", zh="当前账号：{name}")
SIGNED_IN = Words(en="Signed in", zh="已登录")
SIGN_OUT = Words(en="Sign out", zh="退出登录")
ONLY_YOU_SEE_THIS = Words(en="Only you can see this page.", zh="此页面仅你自己可见。")
TIMES_IN_ZONE = Words(en="Times in {zone}.", zh="时间均为 {zone} 时间。")

ALL_REVOKED_HERE = Words(
    en="Revoked. I no longer have access to your account: your authorization and all tokens are deleted here. {platform} "
    "may still list this app as authorized; you can remove it there, in the privacy settings of your account.",
    zh="已撤销。我已无法访问你的账号：这里保存的授权和令牌均已删除。"
    "{platform}可能仍将此应用列为已授权，你可以在账号的隐私设置中移除。",
)
"""On a platform where tokens cannot be revoked."""
ALL_REVOKED = Words(
    en="Revoked. I no longer have access to your account: the tokens are erased here, and I'm revoking them at the "
    "platform too. The platform may still list this app as authorized; you can remove it there, in the privacy "
    "settings of your account.",
    zh="已撤销。我已无法访问你的账号：这里保存的令牌已删除，平台上的令牌也会一并撤销。"
    "平台可能仍把此应用列在你曾授权的应用中，你可以在账号的隐私设置里将其移除。",
)
REQUEST_CANCELLED = Words(en="Cancelled.", zh="已取消。")

PAGE_NUMBER = Words(en="Page {page} of {pages}", zh="第 {page} 页，共 {pages} 页")
PREVIOUS_PAGE = Words(en="Previous page", zh="上一页")
NEXT_PAGE = Words(en="Next page", zh="下一页")
TITLE_WITH_TOTAL = Words(en="{title} ({total})", zh="{title}（{total}）")

WAITING_CALLS = Words(en="Waiting for you", zh="待处理")
CALL_SENT_AT = Words(en="sent {time}", zh="{time} 发送")
CALL_STATUS: dict[WaitsFor | None, Words] = {
    WaitsFor.AUTHORIZATION: Words(en="needs your authorization", zh="等待你授权"),
    WaitsFor.ADMINISTRATOR: Words(en="waiting for your administrator", zh="等待管理员开通"),
    WaitsFor.CONFIRMATION: Words(en="needs your confirmation in the chat", zh="等待你在聊天中确认"),
    None: Words(en="in progress", zh="处理中"),
}
AUTHORIZE_BY = Words(en="Needed by {time}:", zh="请在{time} 前授权：")
AUTHORIZATION_IN_PROGRESS = Words(en="Your authorization is being completed.", zh="正在完成授权。")
CANCEL_REQUEST = Words(en="Cancel request", zh="取消请求")

GRANTED_SCOPES = Words(en="What you've authorized", zh="已授权")
NOTHING_GRANTED_HINT = Words(
    en="I'll ask in the chat when a command needs a permission.",
    zh="有命令需要权限时，我会在聊天中向你申请。",
)
SCOPE_ASKED_BY = Words(en="For {commands} · allowed {time}", zh="用于 {commands} · {time} 授权")
SCOPE_INCLUDED = Words(en="Included by the platform", zh="由平台自动附带")
NO_COMMAND_USES_IT = Words(en="no command uses it", zh="暂无命令使用")
"""Follows `SCOPE_INCLUDED`, unless a command has used the scope since."""
SCOPE_WITHOUT_RECORD = Words(
    en="Allowed earlier; no record of what it was for.", zh="较早前授权，未记录用途。"
)
SCOPE_LAST_USED = Words(en="last used {time}", zh="最近使用：{time}")
SCOPE_NOT_USED = Words(en="not used yet", zh="尚未使用")
OFFLINE_ACCESS_PURPOSE = Words(
    en="Renews your authorization, so you aren't asked every two hours.",
    zh="用于自动续期授权，无需每两小时重新授权。",
)
GRANT_EXPIRED = Words(
    en="Expired {time}. I'll ask again when a command needs it.",
    zh="已于{time} 过期。下次有命令需要时，会重新请你授权。",
)
GRANT_LAST_USED = Words(en="Last used {time}.", zh="最近使用：{time}。")

REVOKE_ALL = Words(en="Take everything back", zh="撤销全部授权")
REVOKE_ALL_EFFECT = Words(
    en="I'll immediately lose all access, and pending requests are cancelled.",
    zh="撤销后我将立即失去全部访问权限，等待中的命令会被取消。",
)
REVOKE_ALL_CONFIRM = Words(en="Yes, take it back", zh="确认撤销")

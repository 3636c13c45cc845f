"""The pages a person sees after following a link: what happened and what to do next, and nothing of the request.

Plain HTML with one style sheet; no script, so that they work in any browser and under the strictest policy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from html import escape
from importlib.resources import files
from string import Template
from typing import Literal

from aiohttp import web

from bot.core.language import Language, Words
from bot.flows.account.sign_in import NotSignedIn
from bot.flows.authorize.grant import CallbackResult
from bot.flows.authorize.open import LinkUnavailable
from bot.web.headers import language_of
from bot.web.keys import BOT

Tone = Literal["good", "calm", "bad"]

SWITCH_ACCOUNT = Words(en="Switch account", zh="切换账号")
BACK = Words(en="Back to the chat", zh="返回聊天")
CLOSE = Words(en="You can close this page and go back to the chat.", zh="你可以关闭此页面，返回聊天。")


@dataclass(frozen=True, slots=True)
class Link:
    words: Words
    path: str


@dataclass(frozen=True, slots=True)
class Page:
    status: int
    tone: Tone
    title: Words
    text: Words
    onward: Link | None = None
    """What to do next, if it is not in the chat."""
    other_account: bool = False
    """It may help to sign in to the platform with another account."""


CLOSED: dict[LinkUnavailable, Page] = {
    LinkUnavailable.UNKNOWN: Page(
        404,
        "bad",
        Words(en="This link doesn't work", zh="链接无效"),
        Words(
            en="It may be incomplete. Use the button on the card in your chat with the bot.",
            zh="链接可能不完整，请使用聊天卡片上的按钮。",
        ),
    ),
    LinkUnavailable.GRANTED: Page(
        410,
        "good",
        Words(en="Already authorized", zh="已完成授权"),
        Words(
            en="Nothing left to do here. The answer is in the chat.",
            zh="无需再操作，请返回聊天查看结果。",
        ),
    ),
    LinkUnavailable.DECLINED: Page(
        410,
        "calm",
        Words(en="You declined this request", zh="你已拒绝此请求"),
        Words(
            en="If you change your mind, send the command again in the chat.",
            zh="如需继续，请在聊天中重新发送命令。",
        ),
    ),
    LinkUnavailable.EXPIRED: Page(
        410,
        "calm",
        Words(en="This request has expired", zh="请求已过期"),
        Words(
            en="Send the command again in the chat to get a new card.",
            zh="请在聊天中重新发送命令，获取新卡片。",
        ),
    ),
    LinkUnavailable.SUPERSEDED: Page(
        410,
        "calm",
        Words(en="There is a newer card", zh="已有新的卡片"),
        Words(
            en="Please use the newest card in your chat with the bot.",
            zh="请使用聊天中最新的卡片。",
        ),
    ),
    LinkUnavailable.FAILED: Page(
        410,
        "bad",
        Words(en="Authorization failed", zh="授权失败"),
        Words(
            en="Send the command again in the chat. If it keeps failing, tell your administrator.",
            zh="请在聊天中重新发送命令。如果仍然失败，请联系管理员。",
        ),
    ),
    LinkUnavailable.TOO_MANY: Page(
        429,
        "calm",
        Words(en="Opened too many times", zh="链接打开次数过多"),
        Words(
            en="Finish authorizing in one of the pages already open, or try again in ten minutes.",
            zh="请在已打开的授权页中完成授权，或十分钟后再试。",
        ),
    ),
    LinkUnavailable.TOO_MANY_TODAY: Page(
        429,
        "calm",
        Words(en="Opened too many times", zh="链接打开次数过多"),
        Words(
            en="This link has been opened many times today, perhaps not only by you. Press “Not now” on the card, then "
            "send the command again to get a new link.",
            zh="此链接今天已被多次打开，可能不只是你。请在卡片上点击“暂不授权”，然后重新发送命令，获取新链接。",
        ),
    ),
    LinkUnavailable.WAITING_FOR_ADMINISTRATOR: Page(
        409,
        "calm",
        Words(en="Waiting for your administrator", zh="等待管理员开通"),
        Words(
            en="The app doesn't have this permission yet. Your request continues automatically once it's enabled.",
            zh="应用尚未开通此权限，开通后会自动继续。",
        ),
    ),
}

LANDINGS: dict[CallbackResult, Page] = {
    CallbackResult.AUTHORIZED: Page(
        200,
        "good",
        Words(en="Authorized", zh="授权成功"),
        Words(
            en="Your request continues automatically. The answer will appear in the chat.",
            zh="请求正在继续，结果会发到聊天中。",
        ),
    ),
    CallbackResult.STORED: Page(
        200,
        "good",
        Words(en="Authorized", zh="授权成功"),
        Words(
            en="You're authorized, but the request had already ended. If you still need it, send the command again; you "
            "won't be asked this time.",
            zh="授权已生效，但请求此前已结束。如仍需要，请重新发送命令，无需再次授权。",
        ),
    ),
    CallbackResult.PARTLY: Page(
        200,
        "calm",
        Words(en="Partly authorized", zh="部分授权"),
        Words(
            en="What you authorized is saved. Commands that need the rest weren't run; see the chat for details.",
            zh="已授权的权限已生效。需要其余权限的命令没有执行，详情见聊天。",
        ),
    ),
    CallbackResult.MORE_NEEDED: Page(
        200,
        "calm",
        Words(en="Authorized, one more step", zh="授权成功，还差一步"),
        Words(
            en="Another command needs one more permission. Continue on the card in the chat.",
            zh="还有命令需要其他权限，请在聊天卡片中继续。",
        ),
    ),
    CallbackResult.DECLINED: Page(
        200,
        "calm",
        Words(en="Not authorized", zh="未授权"),
        Words(
            en="The request is still waiting in the chat. Press “Authorize” on its card to continue, or “Not now” to "
            "cancel.",
            zh="请求仍在聊天中等待：可在卡片上点击“去授权”继续，或点击“暂不授权”取消。",
        ),
    ),
    CallbackResult.CLOSED: Page(
        200,
        "calm",
        Words(en="Not authorized", zh="未授权"),
        Words(
            en="The request was closed in the meantime, so nothing was saved. If you still need it, send the command "
            "again in the chat.",
            zh="请求已关闭，未保存任何信息。如仍需要，请在聊天中重新发送命令。",
        ),
    ),
    CallbackResult.WRONG_PERSON: Page(
        403,
        "bad",
        Words(en="Wrong account", zh="账号不一致"),
        Words(
            en="This request was for someone else, so nothing was saved. Is it yours? Switch account and open the card's "
            "link again.",
            zh="此请求属于其他用户，未保存任何信息。如果是你本人的请求，请切换账号后重新打开卡片链接。",
        ),
        other_account=True,
    ),
    CallbackResult.USED: Page(
        400,
        "calm",
        Words(en="Already done", zh="已处理"),
        Words(
            en="You can go back to the chat. If the card still asks, press its button again.",
            zh="请返回聊天查看结果；若卡片仍待授权，请重新点击按钮。",
        ),
    ),
    CallbackResult.LATE: Page(
        400,
        "calm",
        Words(en="Timed out", zh="操作超时"),
        Words(
            en="For your security, the page is valid for a few minutes only. Press the button on the card again.",
            zh="出于安全考虑，授权页仅在几分钟内有效。请重新点击卡片上的按钮。",
        ),
    ),
    CallbackResult.UNKNOWN: Page(
        400,
        "bad",
        Words(en="Unknown link", zh="未知链接"),
        Words(
            en="This link doesn't belong to any request. Use the button on the card in your chat with the bot.",
            zh="此链接不属于任何请求，请使用聊天卡片上的按钮。",
        ),
    ),
    CallbackResult.MALFORMED: Page(
        400,
        "bad",
        Words(en="Incomplete link", zh="链接不完整"),
        Words(
            en="Press the button on the card again.",
            zh="请重新点击卡片上的按钮。",
        ),
    ),
    CallbackResult.CODE_REFUSED: Page(
        400,
        "bad",
        Words(en="Authorization not accepted", zh="授权未被接受"),
        Words(
            en="Nothing was saved. Press the button on the card again.",
            zh="未保存任何信息，请重新点击卡片上的按钮。",
        ),
    ),
    CallbackResult.NOT_ALLOWED: Page(
        403,
        "bad",
        Words(en="No access to this app", zh="你无权使用此应用"),
        Words(
            en="This app isn't available to your account. Please ask your administrator.",
            zh="此应用未对你的账号开放，请联系管理员。",
        ),
    ),
    CallbackResult.MISCONFIGURED: Page(
        409,
        "bad",
        Words(en="Your administrator needs to fix this app", zh="应用需要管理员处理"),
        Words(
            en="The platform doesn't accept the app's settings, or your organization's security policy blocks it. Tell "
            "your administrator, then press the button on the card again.",
            zh="平台不接受应用的配置，或受组织安全策略限制。请联系管理员，然后重新点击卡片上的按钮。",
        ),
    ),
    CallbackResult.STILL_TRYING: Page(
        202,
        "calm",
        Words(en="The platform is slow", zh="平台响应较慢"),
        Words(
            en="Your authorization is being completed. The card in the chat will show when it's done.",
            zh="正在完成授权，结果会显示在聊天卡片中。",
        ),
    ),
}

SIGN_IN = Link(Words(en="Sign in", zh="登录"), "/login")
SIGN_IN_AGAIN = Link(Words(en="Try again", zh="重新登录"), "/login")

NOT_SIGNED_IN: dict[NotSignedIn, Page] = {
    NotSignedIn.DECLINED: Page(
        200,
        "calm",
        Words(en="Not signed in", zh="未登录"),
        Words(en="You cancelled signing in.", zh="你取消了登录。"),
        SIGN_IN_AGAIN,
    ),
    NotSignedIn.OTHER_BROWSER: Page(
        400,
        "bad",
        Words(en="Sign-in started elsewhere", zh="登录不是在此浏览器发起的"),
        Words(
            en="Please start again here. If this keeps happening, allow cookies for this site.",
            zh="请在此重新登录。如果多次出现，请允许此网站使用 Cookie。",
        ),
        SIGN_IN_AGAIN,
    ),
    NotSignedIn.USED: Page(
        400,
        "calm",
        Words(en="Already used", zh="登录链接已使用"),
        Words(
            en="If you aren't signed in, please try again.",
            zh="如果尚未登录，请重新登录。",
        ),
        SIGN_IN_AGAIN,
    ),
    NotSignedIn.CODE_REFUSED: Page(
        400,
        "bad",
        Words(en="Sign-in failed", zh="登录失败"),
        Words(en="Please try again.", zh="请重试。"),
        SIGN_IN_AGAIN,
    ),
    NotSignedIn.NOT_ALLOWED: LANDINGS[CallbackResult.NOT_ALLOWED],
    NotSignedIn.STRANGER: Page(
        403,
        "bad",
        Words(en="Unknown organization", zh="未知组织"),
        Words(
            en="No one in your organization has used this bot yet. Send it /help in the chat first, then sign in.",
            zh="你所在的组织还没有人使用过此机器人。请先在聊天中发送 /help，再登录。",
        ),
        SIGN_IN_AGAIN,
    ),
    NotSignedIn.MISCONFIGURED: Page(
        409,
        "bad",
        Words(en="Your administrator needs to fix this app", zh="应用需要管理员处理"),
        Words(
            en="The platform doesn't accept the app's settings. Please tell your administrator.",
            zh="平台不接受应用的配置，请联系管理员。",
        ),
        SIGN_IN_AGAIN,
    ),
    NotSignedIn.BUSY: Page(
        503,
        "calm",
        Words(en="Too many sign-ins right now", zh="当前登录请求较多"),
        Words(en="Please try again in a few seconds.", zh="请几秒后重试。"),
        SIGN_IN_AGAIN,
    ),
    NotSignedIn.NOT_NOW: Page(
        503,
        "calm",
        Words(en="The platform isn't responding", zh="平台没有响应"),
        Words(
            en="Please try again in a moment.",
            zh="请稍后重试。",
        ),
        SIGN_IN_AGAIN,
    ),
}

SIGN_IN_PAGE = Page(
    200,
    "calm",
    Words(en="My permissions", zh="我的授权"),
    Words(
        en="Sign in with the account you use in the chat. Only you can see this page.",
        zh="请使用你的聊天账号登录，此页面仅你自己可见。",
    ),
    SIGN_IN,
)

SESSION_ENDED = Page(
    200,
    "calm",
    Words(en="You've been signed out", zh="登录已结束"),
    Words(
        en="You signed out, or your session ended, so nothing was shown or changed here. What you have granted stays "
        "as it is. Sign in again to go on.",
        zh="你已退出登录或会话已结束，因此这里没有显示或更改任何内容。你授予的权限保持不变。请重新登录以继续。",
    ),
    Link(Words(en="Sign in again", zh="重新登录"), "/login"),
)

SIGNED_OUT = Page(
    200,
    "good",
    Words(en="Signed out", zh="已退出登录"),
    Words(
        en="Your permissions haven't changed.",
        zh="你的授权保持不变。",
    ),
    Link(Words(en="Sign in again", zh="重新登录"), "/login"),
)

FOREIGN_POST = Page(
    403,
    "bad",
    Words(en="Please try again", zh="请重试"),
    Words(
        en="This page was out of date, so nothing was changed. Open it again.",
        zh="页面已过期，未做任何更改。请重新打开。",
    ),
    Link(Words(en="My permissions", zh="我的授权"), "/permissions"),
)

ROBOT_PAGE = Page(
    200,
    "calm",
    Words(en="Authorization request", zh="授权请求"),
    Words(en="Open this link in a browser to continue.", zh="请在浏览器中打开此链接。"),
)


def sent_here(in_browser: bool) -> Page:
    """In the place of the platform's page, when another site's page opened the link by itself: one click goes on."""
    # Relative, so that the ticket is not on the page.
    onward = Link(Words(en="Continue", zh="继续"), "?browser" if in_browser else "?")
    return Page(
        200,
        "calm",
        Words(en="Continue to authorize?", zh="继续授权？"),
        Words(
            en="Another website opened this page. If you asked the bot for something, continue. "
            "Otherwise close this page.",
            zh="此页面由其他网站打开。如果是你向机器人发起了请求，请点击继续；否则请关闭此页面。",
        ),
        onward,
    )


NOT_FOUND = Page(
    404,
    "bad",
    Words(en="Page not found", zh="页面不存在"),
    Words(en="Go back to the chat and use the card there.", zh="请返回聊天，使用其中的卡片。"),
)

TROUBLE = Page(
    500,
    "bad",
    Words(en="Something went wrong", zh="出错了"),
    Words(
        en="Please try again in a moment. If it keeps happening, tell your administrator.",
        zh="请稍后再试。如果仍然出错，请联系管理员。",
    ),
)

TROUBLE_OUTCOME = "trouble"

LANDED: dict[str, Page] = {**{each.value: page for each, page in LANDINGS.items()}, TROUBLE_OUTCOME: TROUBLE}
NOT_LET_IN: dict[str, Page] = {each.value: page for each, page in NOT_SIGNED_IN.items()}
"""The page of each outcome, by the last segment of its path: see `routes`."""

TEMPLATE = Template(files("bot.web").joinpath("static/page.html").read_text(encoding="utf-8"))

MARKS = {"good": "&#10003;", "calm": "&#8594;", "bad": "!"}


def show(request: web.Request, page: Page) -> web.Response:
    """The page, in the language of whoever asks."""
    platform = request.app[BOT].platform
    if page.other_account:
        page = replace(page, onward=Link(SWITCH_ACCOUNT, platform.account_link))
    return respond(page, language_of(request), platform.chat_link)


def show_outcome(request: web.Request, pages: Mapping[str, Page]) -> web.Response:
    """The page that the path names by its outcome: the same for everybody, as often as it is loaded."""
    page = pages.get(request.match_info["outcome"])
    return show(request, page or NOT_FOUND)


def respond(page: Page, language: Language, chat_link: str | None) -> web.Response:
    """Renders a page in one language, with the other one below it in small."""
    other: Language = "en" if language == "zh" else "zh"
    html = TEMPLATE.substitute(
        lang="zh-CN" if language == "zh" else "en",
        tone=page.tone,
        mark=MARKS[page.tone],
        title=escape(page.title.to(language)),
        text=escape(page.text.to(language)),
        other_lang="zh-CN" if other == "zh" else "en",
        other_title=escape(page.title.to(other)),
        other_text=escape(page.text.to(other)),
        links=links(page.onward, language, chat_link),
    )
    return web.Response(status=page.status, text=html, content_type="text/html", charset="utf-8")


def links(onward: Link | None, language: Language, chat_link: str | None) -> str:
    """One button, for what comes next; the way back to the chat is that, or a plain link below it."""
    if onward is None:
        return (
            anchor("back", chat_link, BACK, language)
            if chat_link
            else f'<p class="close">{escape(CLOSE.to(language))}</p>'
        )
    button = anchor("back", onward.path, onward.words, language)
    return button + (anchor("other", chat_link, BACK, language) if chat_link else "")


def anchor(kind: str, target: str, words: Words, language: Language) -> str:
    return f'<a class="{kind}" href="{escape(target, quote=True)}">{escape(words.to(language))}</a>'

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

from bot.core.model import Language, Words
from bot.flows.consent import Landing
from bot.flows.links import Closed
from bot.flows.sign_in import NotSignedIn
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


CLOSED: dict[Closed, Page] = {
    Closed.UNKNOWN: Page(
        404,
        "bad",
        Words(en="This link leads nowhere", zh="链接无效"),
        Words(
            en="It is incomplete or was never ours. Use the button on the card in your chat with the bot.",
            zh="链接不完整或并非由本机器人发出。请使用聊天卡片上的按钮。",
        ),
    ),
    Closed.GRANTED: Page(
        410,
        "good",
        Words(en="Already authorized", zh="已完成授权"),
        Words(
            en="This was authorized before; there is nothing left to do here. The answer is in the chat.",
            zh="此前已完成授权，无需再操作。结果已在聊天中。",
        ),
    ),
    Closed.DECLINED: Page(
        410,
        "calm",
        Words(en="You decided against this", zh="你已选择不授权"),
        Words(
            en="The request was closed. If you changed your mind, send the command again in the chat.",
            zh="该请求已关闭。如果改变主意，请在聊天中重新发送命令。",
        ),
    ),
    Closed.EXPIRED: Page(
        410,
        "calm",
        Words(en="This request has expired", zh="请求已过期"),
        Words(
            en="It waited too long. Send the command again in the chat and you get a fresh card.",
            zh="等待时间过长。请在聊天中重新发送命令，即可获得新卡片。",
        ),
    ),
    Closed.SUPERSEDED: Page(
        410,
        "calm",
        Words(en="There is a newer card", zh="已有新的卡片"),
        Words(
            en="Please use the newest card in your chat with the bot.",
            zh="请使用与机器人聊天中最新的卡片。",
        ),
    ),
    Closed.FAILED: Page(
        410,
        "bad",
        Words(en="This request could not be completed", zh="请求未能完成"),
        Words(
            en="Send the command again in the chat. If it fails once more, tell your administrator.",
            zh="请在聊天中重新发送命令。如果再次失败，请联系管理员。",
        ),
    ),
    Closed.TOO_MANY: Page(
        429,
        "calm",
        Words(en="This link was opened too often", zh="链接打开次数过多"),
        Words(
            en="Several openings are still under way. Finish one of them, or try again in ten minutes.",
            zh="有多个授权正在进行。请先完成其中一个，或十分钟后再试。",
        ),
    ),
    Closed.TOO_MANY_TODAY: Page(
        429,
        "calm",
        Words(en="This link was opened too often", zh="链接打开次数过多"),
        Words(
            en="It has been opened many times today, perhaps not only by you. Press “Not now” on the card, then send the "
            "command again in the chat: the new card has a new link.",
            zh="此链接今天已被多次打开，打开者可能不只是你。请在卡片上点击“暂不授权”，然后在聊天中重新发送命令，即可获得新链接。",
        ),
    ),
    Closed.WAITING_FOR_ADMINISTRATOR: Page(
        409,
        "calm",
        Words(en="Waiting for your administrator", zh="等待管理员开通"),
        Words(
            en="The app does not have this permission yet. It goes on by itself once it is enabled.",
            zh="应用尚未开通该权限，开通后会自动继续。",
        ),
    ),
}

LANDINGS: dict[Landing, Page] = {
    Landing.AUTHORIZED: Page(
        200,
        "good",
        Words(en="Authorized", zh="授权成功"),
        Words(
            en="Thank you. What you asked for continues by itself; the answer is on its way to the chat.",
            zh="谢谢。你的请求会自动继续，结果将发送到聊天中。",
        ),
    ),
    Landing.STORED: Page(
        200,
        "good",
        Words(en="Authorized", zh="授权成功"),
        Words(
            en="Thank you. Nothing was waiting for this any more: it was answered or has expired in the meantime. "
            "If you still want it, send the command again; it will not ask you for this.",
            zh="谢谢。已没有等待此授权的请求：它已得到答复或已过期。如仍需要，请重新发送命令，无需再次授权。",
        ),
    ),
    Landing.PARTLY: Page(
        200,
        "calm",
        Words(en="Partly authorized", zh="部分授权"),
        Words(
            en="What you allowed counts. What needs the rest was not done; the chat says what that is.",
            zh="你允许的权限已生效。需要其余权限的操作没有执行，详情见聊天。",
        ),
    ),
    Landing.MORE_NEEDED: Page(
        200,
        "calm",
        Words(en="Authorized, and one more thing", zh="授权成功，还差一步"),
        Words(
            en="In the meantime you asked for something that needs another permission. The card in the chat asks "
            "for it.",
            zh="期间你又发起了需要其他权限的请求，请在聊天卡片中继续。",
        ),
    ),
    Landing.DECLINED: Page(
        200,
        "calm",
        Words(en="Not authorized", zh="未授权"),
        Words(
            en="Nothing was authorized, and nothing was run. The request still waits in the chat: its card has "
            "“Authorize” to go on and “Not now” to cancel it.",
            zh="没有授予任何权限，也没有执行任何操作。请求仍在聊天中等待：可在卡片上点击“去授权”继续，或点击“暂不授权”取消。",
        ),
    ),
    Landing.CLOSED: Page(
        200,
        "calm",
        Words(en="Not authorized", zh="未授权"),
        Words(
            en="This request was closed in the meantime, so nothing was saved. If you still need it, send the command "
            "again in the chat.",
            zh="该请求已在此期间关闭，因此没有保存任何内容。如仍需要，请在聊天中重新发送命令。",
        ),
    ),
    Landing.WRONG_PERSON: Page(
        403,
        "bad",
        Words(en="This was somebody else's request", zh="这不是你的请求"),
        Words(
            en="You are signed in as another person than the one who was asked, so nothing was stored. The person "
            "who asked can still follow the link, signed in to their own account.",
            zh="当前登录的账号不是被请求授权的人，因此没有保存任何内容。本人仍可用自己的账号打开该链接。",
        ),
        other_account=True,
    ),
    Landing.USED: Page(
        400,
        "calm",
        Words(en="This answer was already used", zh="该授权结果已使用"),
        Words(
            en="Perhaps the page was loaded twice. Look into the chat: if the card still asks, press its button "
            "again.",
            zh="页面可能被重复加载。请查看聊天：如果卡片仍在等待，请再次点击按钮。",
        ),
    ),
    Landing.LATE: Page(
        400,
        "calm",
        Words(en="That took too long", zh="操作超时"),
        Words(
            en="For your safety each opening of the link lives for a few minutes only. Press the button on the "
            "card again.",
            zh="出于安全考虑，每次打开链接只在几分钟内有效。请再次点击卡片上的按钮。",
        ),
    ),
    Landing.UNKNOWN: Page(
        400,
        "bad",
        Words(en="We did not ask for this", zh="并非由我们发起"),
        Words(
            en="This answer belongs to no request of ours, so nothing was done. Use the button on the card in "
            "your chat with the bot.",
            zh="该授权结果不属于我们的任何请求，因此没有执行任何操作。请使用聊天卡片上的按钮。",
        ),
    ),
    Landing.MALFORMED: Page(
        400,
        "bad",
        Words(en="Something is missing in this link", zh="链接不完整"),
        Words(
            en="The authorization page did not send what it should. Press the button on the card again.",
            zh="授权页面没有返回所需的信息。请再次点击卡片上的按钮。",
        ),
    ),
    Landing.CODE_REFUSED: Page(
        400,
        "bad",
        Words(en="The platform did not accept this", zh="平台未接受此次授权"),
        Words(
            en="Your consent could not be exchanged; nothing was stored and nothing is lost. Press the button on "
            "the card again.",
            zh="授权未能完成，没有保存任何内容，也没有丢失任何内容。请再次点击卡片上的按钮。",
        ),
    ),
    Landing.NOT_ALLOWED: Page(
        403,
        "bad",
        Words(en="You may not use this app", zh="你无权使用此应用"),
        Words(
            en="The platform says that the app is not available to your account. Please ask your administrator.",
            zh="平台提示此应用不对你的账号开放，请联系管理员。",
        ),
    ),
    Landing.MISCONFIGURED: Page(
        409,
        "bad",
        Words(en="The app needs its administrator", zh="应用需要管理员处理"),
        Words(
            en="The platform does not accept the app's own settings, or a security policy of your organization "
            "stands in the way. Nothing is lost; please tell your "
            "administrator and press the button on the card again later.",
            zh="平台不接受应用的设置，或受到组织安全策略的限制。没有丢失任何内容；请联系管理员，稍后再次点击卡片上的按钮。",
        ),
    ),
    Landing.STILL_TRYING: Page(
        202,
        "calm",
        Words(en="The platform is slow to answer", zh="平台响应较慢"),
        Words(
            en="Your consent arrived. I keep trying to complete it for a few minutes; the card in the chat shows "
            "when it is done.",
            zh="已收到你的授权。接下来几分钟我会继续完成，结果会显示在聊天卡片中。",
        ),
    ),
}

SIGN_IN = Link(Words(en="Sign in", zh="登录"), "/login")
SIGN_IN_AGAIN = Link(Words(en="Try again", zh="重新登录"), "/login")

NOT_SIGNED_IN: dict[NotSignedIn, Page] = {
    NotSignedIn.DECLINED: Page(
        200,
        "calm",
        Words(en="You are not signed in", zh="你尚未登录"),
        Words(en="You chose not to sign in, and nothing has changed.", zh="你选择了不登录，没有任何更改。"),
        SIGN_IN_AGAIN,
    ),
    NotSignedIn.OTHER_BROWSER: Page(
        400,
        "bad",
        Words(en="This sign-in was not begun here", zh="此次登录并非在此处发起"),
        Words(
            en="It belongs to another browser, took too long, or was replaced by a newer one, so nobody was signed "
            "in. Please start again here. If this happens every time, allow cookies for this site.",
            zh="它属于另一个浏览器，或已超时，或已被新的登录取代，因此没有登录。请在此重新登录；如果每次都这样，"
            "请允许此网站使用 Cookie。",
        ),
        SIGN_IN_AGAIN,
    ),
    NotSignedIn.USED: Page(
        400,
        "calm",
        Words(en="This sign-in was already used", zh="此次登录已使用"),
        Words(
            en="Perhaps the page was loaded twice. Begin it anew if you are not signed in.",
            zh="页面可能被重复加载。如果尚未登录，请重新登录。",
        ),
        SIGN_IN_AGAIN,
    ),
    NotSignedIn.CODE_REFUSED: Page(
        400,
        "bad",
        Words(en="The platform did not accept this", zh="平台未接受此次登录"),
        Words(en="You could not be signed in. Please try again.", zh="登录未能完成，请重试。"),
        SIGN_IN_AGAIN,
    ),
    NotSignedIn.NOT_ALLOWED: Page(
        403,
        "bad",
        Words(en="You may not use this app", zh="你无权使用此应用"),
        Words(
            en="The platform says that the app is not available to your account. Please ask your administrator.",
            zh="平台提示此应用不对你的账号开放，请联系管理员。",
        ),
    ),
    NotSignedIn.STRANGER: Page(
        403,
        "bad",
        Words(en="I do not know your organization", zh="我不认识你所在的组织"),
        Words(
            en="Nobody of it has talked to me yet. If this app is yours, say /help to me in the chat, then sign in.",
            zh="你所在的组织还没有人与我对话过。如果这是你们的应用，请先在聊天中向我发送 /help，再登录。",
        ),
        SIGN_IN_AGAIN,
    ),
    NotSignedIn.MISCONFIGURED: Page(
        409,
        "bad",
        Words(en="The app needs its administrator", zh="应用需要管理员处理"),
        Words(
            en="The platform does not accept the app's own settings, so nobody can sign in. Please tell your "
            "administrator.",
            zh="平台不接受应用的设置，因此暂时无法登录。请联系管理员。",
        ),
        SIGN_IN_AGAIN,
    ),
    NotSignedIn.BUSY: Page(
        503,
        "calm",
        Words(en="Too many sign-ins right now", zh="当前登录请求较多"),
        Words(
            en="You weren't signed in. Please try again in a few seconds.", zh="登录未完成，请几秒后重试。"
        ),
        SIGN_IN_AGAIN,
    ),
    NotSignedIn.NOT_NOW: Page(
        503,
        "calm",
        Words(en="The platform does not answer", zh="平台没有响应"),
        Words(
            en="So I could not learn who you are. Please try again in a moment.",
            zh="因此无法确认你的身份，请稍后重试。",
        ),
        SIGN_IN_AGAIN,
    ),
}

SIGN_IN_PAGE = Page(
    200,
    "calm",
    Words(en="My permissions", zh="我的授权"),
    Words(
        en="What you have granted the bot, what it used it for, and what waits for you. Sign in with your account "
        "of the chat: only you see this.",
        zh="查看你授予机器人的权限、用途以及等待你处理的事项。请用你的聊天账号登录，仅你自己可见。",
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
    Words(en="You are signed out", zh="已退出登录"),
    Words(
        en="This browser no longer shows your permissions. What you have granted stays as it is.",
        zh="此浏览器不再显示你的授权。你授予的权限保持不变。",
    ),
    Link(Words(en="Sign in again", zh="重新登录"), "/login"),
)

FOREIGN_POST = Page(
    403,
    "bad",
    Words(en="That did not come from our page", zh="请求并非来自我们的页面"),
    Words(
        en="So nothing was done. Perhaps you have signed in anew since the page was loaded: open it again.",
        zh="因此没有执行任何操作。可能在页面加载后你重新登录过，请重新打开页面。",
    ),
    Link(Words(en="My permissions", zh="我的授权"), "/permissions"),
)

ROBOT_PAGE = Page(
    200,
    "calm",
    Words(en="A request for authorization", zh="授权请求"),
    Words(en="Open this link in a browser to go on.", zh="请在浏览器中打开此链接以继续。"),
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
    Words(en="There is nothing here", zh="页面不存在"),
    Words(en="Go back to the chat and use the card there.", zh="请返回聊天并使用其中的卡片。"),
)

TROUBLE = Page(
    500,
    "bad",
    Words(en="That went wrong on our side", zh="我们这边出错了"),
    Words(
        en="Nothing is lost. Please try again in a moment; if it happens once more, tell your administrator.",
        zh="没有丢失任何内容。请稍后再试；如果再次发生，请联系管理员。",
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

"""The pages a person sees after following a link: what happened and what to do next, and nothing of the request.

Plain HTML with one style sheet; no script, so that they work in any browser and under the strictest policy.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from importlib.resources import files
from string import Template
from typing import Literal

from aiohttp import web

from bot.core.model import Language, Words
from bot.flows.consent import Closed, Landing

Tone = Literal["good", "calm", "bad"]

BACK = Words(en="Back to the chat", zh="返回聊天")
CLOSE = Words(en="You can close this page and go back to the chat.", zh="你可以关闭此页面，返回聊天。")


@dataclass(frozen=True, slots=True)
class Page:
    status: int
    tone: Tone
    title: Words
    text: Words


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
            en="What you granted is stored and used. What you left out was not done; the chat tells what.",
            zh="你授予的权限已保存并生效，未授予的部分没有执行，详情见聊天。",
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
            en="You chose not to authorize, so nothing was done. If you change your mind, send the command again.",
            zh="你选择了不授权，因此没有执行任何操作。如果改变主意，请重新发送命令。",
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
            en="The platform does not accept the app's own settings. Nothing is lost; please tell your "
            "administrator and press the button on the card again later.",
            zh="平台不接受应用的设置。没有丢失任何内容；请联系管理员，稍后再次点击卡片上的按钮。",
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

ROBOT_PAGE = Page(
    200,
    "calm",
    Words(en="A request for authorization", zh="授权请求"),
    Words(en="Open this link in a browser to go on.", zh="请在浏览器中打开此链接以继续。"),
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

TEMPLATE = Template(files("bot.web").joinpath("static/page.html").read_text(encoding="utf-8"))

MARKS = {"good": "&#10003;", "calm": "&#8594;", "bad": "!"}


def respond(page: Page, language: Language, chat_link: str | None) -> web.Response:
    """Renders a page in one language, with the other one below it in small."""
    other: Language = "en" if language == "zh" else "zh"
    back = (
        f'<a class="back" href="{escape(chat_link, quote=True)}">{escape(BACK.to(language))}</a>'
        if chat_link
        else f'<p class="close">{escape(CLOSE.to(language))}</p>'
    )
    html = TEMPLATE.substitute(
        lang="zh-CN" if language == "zh" else "en",
        tone=page.tone,
        mark=MARKS[page.tone],
        title=escape(page.title.to(language)),
        text=escape(page.text.to(language)),
        other_lang="zh-CN" if other == "zh" else "en",
        other_title=escape(page.title.to(other)),
        other_text=escape(page.text.to(other)),
        back=back,
    )
    return web.Response(status=page.status, text=html, content_type="text/html", charset="utf-8")

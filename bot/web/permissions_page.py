"""How "My permissions" looks: one person's permissions as HTML, in one language. Forms and links, no script."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from html import escape
from importlib.resources import files
from string import Template

from aiohttp import web

from bot.core.calls import WaitsFor
from bot.core.command_replies import listed
from bot.core.language import Language, Words
from bot.core.scopes import OFFLINE_ACCESS
from bot.core.times import near_moment_in_words, zone_or
from bot.core.words import cards as card_words
from bot.flows.account.permissions import Held, Part, Permissions, Waiting
from bot.flows.bot import now
from bot.web.headers import POLICY
from bot.web.pages import BACK, anchor
from bot.web.session import PROOF

TEMPLATE = Template(files("bot.web").joinpath("static/permissions.html").read_text(encoding="utf-8"))

HEADERS = {"Content-Security-Policy": POLICY.replace("form-action 'none'", "form-action 'self'")}
"""Its forms go to this bot; everything else stays as strict as on every page."""

TITLE = Words(en="My permissions", zh="我的授权")
SIGNED_IN_AS = Words(en="Signed in as {name}", zh="当前账号：{name}")
SIGNED_IN = Words(en="Signed in", zh="已登录")
SIGN_OUT = Words(en="Sign out", zh="退出登录")
ONLY_YOU = Words(en="Only you can see this page.", zh="此页面仅你自己可见。")
TIMES_ARE_IN = Words(en="Times in {zone}.", zh="时间均为 {zone} 时间。")

DONE = {
    "revoked": Words(
        en="Revoked. I no longer have access to your account: the tokens are erased here, and I'm revoking them at the "
        "platform too. The platform may go on listing this app among those you once authorized; you can remove it "
        "there, in the privacy settings of your account.",
        zh="已撤销。我已无法访问你的账号：这里保存的令牌已删除，平台上的令牌也会一并撤销。"
        "平台可能仍把此应用列在你曾授权的应用中，你可以在账号的隐私设置里将其移除。",
    ),
    "cancelled": Words(en="Cancelled.", zh="已取消。"),
}
"""What was just done, by its word."""

WAITING_PAGE, HELD_PAGE = "waiting", "allowed"
"""By these names the address asks for a page of either list."""
PAGE_OF = Words(en="Page {page} of {pages}", zh="第 {page} 页，共 {pages} 页")
EARLIER = Words(en="Previous page", zh="上一页")
LATER = Words(en="Next page", zh="下一页")
COUNTED = Words(en="{title} ({total})", zh="{title}（{total}）")

WAITING = Words(en="Waiting for you", zh="待处理")
WAITING_SINCE = Words(en="sent {moment}", zh="{moment} 发送")
WAITS = {
    WaitsFor.AUTHORIZATION: Words(en="needs your authorization", zh="等待你授权"),
    WaitsFor.ADMINISTRATOR: Words(en="waiting for your administrator", zh="等待管理员开通"),
    WaitsFor.CONFIRMATION: Words(en="needs your confirmation in the chat", zh="等待你在聊天中确认"),
    None: Words(en="in progress", zh="处理中"),
}
WANTED = Words(en="Needed by {moment}:", zh="请在{moment} 前授权：")
REDEEMING = Words(en="Your authorization is being completed.", zh="正在完成授权。")
CANCEL = Words(en="Cancel request", zh="取消请求")

HELD = Words(en="What you've authorized", zh="已授权")
NOTHING_WHY = Words(
    en="I'll ask in the chat when a command needs a permission.",
    zh="有命令需要权限时，我会在聊天中向你申请。",
)
ASKED_BY = Words(en="For {commands} · allowed {moment}", zh="用于 {commands} · {moment} 授权")
CAME_ALONG = Words(en="Included by the platform; no command uses it.", zh="由平台自动附带，暂无命令使用。")
UNTOLD = Words(en="Allowed earlier; no record of what it was for.", zh="较早前授权，未记录用途。")
USED = Words(en="last used {moment}", zh="最近使用：{moment}")
NOT_USED = Words(en="not used yet", zh="尚未使用")
KEEPS = Words(
    en="Renews your authorization, so you aren't asked every two hours.",
    zh="用于自动续期授权，无需每两小时重新授权。",
)
HAS_ENDED = Words(
    en="Expired {moment}. I'll ask again when a command needs it.",
    zh="已于{moment} 过期。下次有命令需要时，会重新请你授权。",
)
LAST_ACTED = Words(en="Last used {moment}.", zh="最近使用：{moment}。")

TAKE_BACK = Words(en="Take everything back", zh="撤销全部授权")
TAKE_BACK_WHAT = Words(
    en="I'll immediately lose all access, and pending requests are cancelled.",
    zh="撤销后我将立即失去全部访问权限，等待中的命令会被取消。",
)
TAKE_BACK_YES = Words(en="Yes, take it back", zh="确认撤销")


def render(
    found: Permissions, language: Language, proof: str, chat_link: str | None, done: str | None
) -> web.Response:
    """The page of one person, who is the one that asks for it."""
    view = View(found, language, proof)
    name = found.name
    html = TEMPLATE.substitute(
        lang="zh-CN" if language == "zh" else "en",
        title=view.say(TITLE),
        who=view.say(SIGNED_IN_AS.format(name=name) if name else SIGNED_IN),
        initial=escape((name or "·")[0].upper()),
        sign_out=view.form("/logout", "quiet", SIGN_OUT),
        done=f'<p class="done" role="status">{view.say(DONE[done])}</p>' if done in DONE else "",
        waiting=view.waiting() if found.waiting or found.wanted else "",
        held=view.held() if found.held else view.nothing(),
        end=view.end() if found.held else "",
        back=anchor("other", chat_link, BACK, language) if chat_link else "",
        notes=view.sentences(ONLY_YOU, TIMES_ARE_IN.format(zone=view.zone.name)),
    )
    return web.Response(text=html, content_type="text/html", charset="utf-8", headers=HEADERS)


class View:
    """Draws the parts of one page."""

    def __init__(self, found: Permissions, language: Language, proof: str) -> None:
        self.found, self.language, self.proof = found, language, proof
        self.zone = zone_or(found.time_zone, found.default_time_zone)
        self.moment = now()

    def say(self, words: Words) -> str:
        return escape(words.to(self.language))

    def sentences(self, *said: Words) -> str:
        """One after the other: Chinese puts no space between them."""
        return ("" if self.language == "zh" else " ").join(map(self.say, said))

    def at(self, moment: datetime) -> Words:
        return near_moment_in_words(moment, self.zone, self.zone.local(self.moment).date())

    def form(self, action: str, kind: str, words: Words) -> str:
        """A button that posts: the token shows that it stood on a page of this session."""
        return (
            f'<form method="post" action="{action}">'
            f'<input type="hidden" name="{PROOF}" value="{escape(self.proof, quote=True)}">'
            f'<button class="{kind}">{self.say(words)}</button></form>'
        )

    # --- lists of more than a page

    def counted(self, title: Words, part: Part) -> str:
        """A heading; with the number of all, where not all are shown."""
        return self.say(COUNTED.format(title=title, total=str(part.total)) if part.pages > 1 else title)

    def pages(self, part: Part, name: str) -> str:
        if part.pages == 1:
            return ""
        links = [
            anchor("quiet", self.address(name, page), words, self.language)
            for page, words in ((part.page - 1, EARLIER), (part.page + 1, LATER))
            if 1 <= page <= part.pages
        ]
        where = self.say(PAGE_OF.format(page=str(part.page), pages=str(part.pages)))
        return f'<nav class="pages"><span class="soft">{where}</span>{"".join(links)}</nav>'

    def address(self, name: str, page: int) -> str:
        """Of this page with another part of one list; the other list stays where it is."""
        pages = {WAITING_PAGE: self.found.waiting_part.page, HELD_PAGE: self.found.held_part.page, name: page}
        return "/permissions?" + "&".join(f"{each}={number}" for each, number in pages.items())

    # --- what waits

    def waiting(self) -> str:
        calls = "".join(map(self.waiting_call, self.found.waiting))
        listed_calls = f'<ul class="rows">{calls}</ul>' if calls else ""
        buttons = self.go_on() + (self.form("/permissions/cancel", "quiet", CANCEL) if calls else "")
        return (
            f'<section class="waiting"><h2>{self.counted(WAITING, self.found.waiting_part)}</h2>{listed_calls}'
            f"{self.pages(self.found.waiting_part, WAITING_PAGE)}{self.wanted()}"
            f'<div class="buttons">{buttons}</div></section>'
        )

    def waiting_call(self, call: Waiting) -> str:
        since = self.say(WAITING_SINCE.format(moment=self.at(call.asked_at)))
        return (
            f"<li><strong>{escape(call.command)}</strong> "
            f'<span class="story">{self.say(WAITS[call.waits_for])} · {since}</span></li>'
        )

    def wanted(self) -> str:
        wanted = self.found.wanted
        if wanted is None:
            return ""
        if wanted.redeeming:
            return f'<p class="soft">{self.say(REDEEMING)}</p>'
        scopes = "".join(f"<li>{self.scope(scope, words)}</li>" for scope, words in wanted.scopes)
        if wanted.more:
            scopes += f"<li>{self.say(card_words.AND_MORE.format(number=str(wanted.more)))}</li>"
        return (
            f'<p class="soft">{self.say(WANTED.format(moment=self.at(wanted.until)))}</p>'
            f'<ul class="rows">{scopes}</ul>'
        )

    def go_on(self) -> str:
        if self.found.wanted is None or self.found.wanted.redeeming:
            return ""
        return anchor("back", "/permissions/continue", card_words.AUTHORIZE, self.language)

    # --- what is held

    def held(self) -> str:
        rows = "".join(
            f"<li>{self.scope(each.scope, each.words)}{self.story(each)}</li>" for each in self.found.held
        )
        return (
            f"<section><h2>{self.counted(HELD, self.found.held_part)}</h2>"
            f'<ul class="rows">{rows}</ul>{self.pages(self.found.held_part, HELD_PAGE)}{self.lasts()}</section>'
        )

    def nothing(self) -> str:
        return (
            f'<section class="nothing"><h2>{self.say(card_words.NOTHING_AUTHORIZED)}</h2>'
            f'<p class="soft">{self.say(NOTHING_WHY)}</p></section>'
        )

    def scope(self, scope: str, words: Words) -> str:
        described = words.to(self.language)
        if described == scope:
            return f"<code>{escape(scope)}</code>"
        return f'<span class="words">{escape(described)}</span> <code>{escape(scope)}</code>'

    def story(self, held: Held) -> str:
        return f'<p class="story">{" · ".join(map(self.say, self.story_of(held)))}</p>'

    def story_of(self, held: Held) -> Sequence[Words]:
        story = held.story
        if held.scope == OFFLINE_ACCESS:
            return (KEEPS,)
        if story is None:
            return (UNTOLD,)
        granted = self.at(story.granted_at)
        commands = listed(f"/{each}" for each in story.asked_by)
        asked = ASKED_BY.format(commands=commands, moment=granted) if story.asked_by else CAME_ALONG
        if story.used_at is None:
            return (asked, NOT_USED) if story.asked_by else (asked,)
        return asked, USED.format(moment=self.at(story.used_at))

    def lasts(self) -> str:
        until, lines = self.found.until, []
        if until is not None:
            words = (
                HAS_ENDED
                if until <= self.moment
                else card_words.RENEWS
                if self.found.renewable
                else card_words.ENDS
            )
            lines.append(words.format(moment=self.at(until)))
        if self.found.last_used_at is not None:
            lines.append(LAST_ACTED.format(moment=self.at(self.found.last_used_at)))
        return "".join(f'<p class="soft">{self.say(each)}</p>' for each in lines)

    # --- the end of it

    def end(self) -> str:
        """Opened by one click, done by a second: both work without a script."""
        return (
            f'<section class="end"><details><summary>{self.say(TAKE_BACK)}</summary>'
            f'<p class="soft">{self.say(TAKE_BACK_WHAT)}</p>'
            f"{self.form('/permissions/revoke', 'danger', TAKE_BACK_YES)}</details></section>"
        )

"""How "My permissions" looks: one person's permissions as HTML, in one language. Forms and links, no script."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from html import escape
from importlib.resources import files
from string import Template

from aiohttp import web

from bot.core.answers import listed
from bot.core.model import Language, WaitsFor, Words
from bot.core.scopes import OFFLINE_ACCESS
from bot.core.times import near_moment_in_words, zone_or
from bot.flows.bot import now
from bot.flows.permissions import Held, Part, Permissions, Waiting
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
ONLY_YOU = Words(en="Only you see this page.", zh="此页面仅你自己可见。")
TIMES_ARE_IN = Words(en="Times are in {zone}.", zh="时间均为 {zone} 时间。")

DONE = {
    "revoked": Words(
        en="Done. I can no longer act in your name: the tokens are erased here, and I have them revoked at the platform. "
        "The platform may go on listing this app among those you once authorized: you can remove it there, in the "
        "privacy settings of your account.",
        zh="已撤销。我不能再以你的身份操作：这里保存的令牌已删除，我也会在平台上将其撤销。"
        "平台可能仍把此应用列在你曾授权的应用中，你可以在账号的隐私设置里将其移除。",
    ),
    "cancelled": Words(en="Done. What was waiting is dropped.", zh="已取消正在等待的命令。"),
}
"""What was just done, by its word."""

WAITING_PAGE, HELD_PAGE = "waiting", "allowed"
"""By these names the address asks for a page of either list."""
PAGE_OF = Words(en="Page {page} of {pages}", zh="第 {page} 页，共 {pages} 页")
EARLIER = Words(en="Previous page", zh="上一页")
LATER = Words(en="Next page", zh="下一页")
COUNTED = Words(en="{title} ({total})", zh="{title}（{total}）")

WAITING = Words(en="Waiting for you", zh="等待你处理")
WAITING_SINCE = Words(en="asked {moment}", zh="发送于 {moment}")
WAITS = {
    WaitsFor.AUTHORIZATION: Words(en="waits for your permission", zh="等待你的授权"),
    WaitsFor.ADMINISTRATOR: Words(
        en="waits for your administrator; you need not do anything", zh="等待管理员开通，你无需操作"
    ),
    WaitsFor.CONFIRMATION: Words(
        en="waits for your word in the chat: is it still wanted?", zh="等待你在聊天中确认是否仍需执行"
    ),
    None: Words(en="will run by itself", zh="将自动执行"),
}
WANTED = Words(en="It asks you to allow, until {moment}:", zh="请在 {moment} 前授权：")
AND_MORE = Words(en="and {number} more", zh="以及另外 {number} 项")
REDEEMING = Words(
    en="Your consent has arrived and is being completed.", zh="已收到你的授权，正在与平台确认。"
)
GO_ON = Words(en="Go on to allow it", zh="去授权")
CANCEL = Words(en="Cancel what waits", zh="取消等待")

HELD = Words(en="What you have allowed", zh="你已允许的权限")
HELD_WHY = Words(
    en="With these I act in your name: I see what you see, and nothing else.",
    zh="我凭这些权限以你的身份操作：你能看到什么，我才能看到什么。",
)
NOTHING = Words(en="You have allowed nothing", zh="你还没有允许任何权限")
NOTHING_WHY = Words(
    en="When a command needs a permission, I ask for exactly that one, in the chat.",
    zh="某个命令需要权限时，我会在聊天中只申请所需的那一项。",
)
ASKED_BY = Words(en="Asked for by {commands}, allowed {moment}.", zh="由 {commands} 申请，{moment} 授权。")
CAME_ALONG = Words(
    en="Came along with your consent; no command asked for it.", zh="随授权一并获得，没有命令申请过。"
)
UNTOLD = Words(
    en="Allowed before I began to note what each permission is for.", zh="在我开始记录用途之前已授权。"
)
USED = Words(en="Last needed by {command}, {moment}.", zh="{command} 于{moment} 最后一次用到。")
NOT_USED = Words(en="No command has needed it since.", zh="此后还没有命令用到。")
KEEPS = Words(
    en="It lets me renew the permission, so that I need not ask you every two hours.",
    zh="它让我可以续期授权，不必每两小时询问你一次。",
)
LASTS = Words(
    en="I renew this by myself. If you do not use me until {moment}, it ends.",
    zh="授权会自动续期；如果到 {moment} 你都没有使用我，授权将失效。",
)
ENDS = Words(en="Valid until {moment}; then I ask again.", zh="有效期至 {moment}，之后我会再次申请。")
HAS_ENDED = Words(
    en="It ran out {moment}. The next command that needs it asks you again.",
    zh="已于 {moment} 失效。下次有命令需要时会重新向你申请。",
)
LAST_ACTED = Words(en="I last acted in your name {moment}.", zh="我最近一次以你的身份操作：{moment}。")

TAKE_BACK = Words(en="Take everything back", zh="收回全部授权")
TAKE_BACK_WHAT = Words(
    en="I can then no longer act in your name, at once. What waits for you is dropped. The next command that needs "
    "a permission asks you again.",
    zh="我将立即不能再以你的身份操作，正在等待的命令会被取消。下次有命令需要权限时，我会重新向你申请。",
)
TAKE_BACK_YES = Words(en="Yes, take it back", zh="确认收回")


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
        return f'<nav class="buttons"><span class="soft">{where}</span>{"".join(links)}</nav>'

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
            scopes += f"<li>{self.say(AND_MORE.format(number=str(wanted.more)))}</li>"
        return (
            f'<p class="soft">{self.say(WANTED.format(moment=self.at(wanted.until)))}</p>'
            f'<ul class="rows">{scopes}</ul>'
        )

    def go_on(self) -> str:
        if self.found.wanted is None or self.found.wanted.redeeming:
            return ""
        return anchor("back", "/permissions/continue", GO_ON, self.language)

    # --- what is held

    def held(self) -> str:
        rows = "".join(
            f"<li>{self.scope(each.scope, each.words)}{self.story(each)}</li>" for each in self.found.held
        )
        return (
            f'<section><h2>{self.counted(HELD, self.found.held_part)}</h2><p class="soft">{self.say(HELD_WHY)}</p>'
            f'<ul class="rows">{rows}</ul>{self.pages(self.found.held_part, HELD_PAGE)}{self.lasts()}</section>'
        )

    def nothing(self) -> str:
        return (
            f'<section class="nothing"><h2>{self.say(NOTHING)}</h2>'
            f'<p class="soft">{self.say(NOTHING_WHY)}</p></section>'
        )

    def scope(self, scope: str, words: Words) -> str:
        described = words.to(self.language)
        if described == scope:
            return f"<code>{escape(scope)}</code>"
        return f'<span class="words">{escape(described)}</span> <code>{escape(scope)}</code>'

    def story(self, held: Held) -> str:
        return f'<p class="story">{self.sentences(*self.story_of(held))}</p>'

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
        return asked, USED.format(command=f"/{story.used_by}", moment=self.at(story.used_at))

    def lasts(self) -> str:
        until, lines = self.found.until, []
        if until is not None:
            words = HAS_ENDED if until <= self.moment else LASTS if self.found.renewable else ENDS
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

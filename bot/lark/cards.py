"""Draws cards as Card JSON 2.0, and replies as rich-text posts. Pure; the words are in `core.words`.

What comes from elsewhere (names, descriptions, commands) is shown as text: escaped on cards, and in posts put
into elements that the client does not interpret.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from bot.core.api import Json
from bot.core.cards import (
    Action,
    AdministratorCard,
    AuthorizationCard,
    Card,
    ConfirmationCard,
    Face,
    UnusedCard,
)
from bot.core.language import Language, Words
from bot.core.messages import Code, Content, Control, Line, Reply, Span
from bot.core.scopes import OFFLINE_ACCESS, Scope
from bot.core.unseen_characters import one_line
from bot.core.words import cards as card_words
from bot.lark.shown_links import KNOWN, Links, host_of

to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

LOCALES: Mapping[str, Language] = {"en_us": "en", "zh_cn": "zh"}

MAX_BYTES = 29 * 1024
"""The platform takes 30 KB, and does not say of which representation: the longest one is measured."""

LANGUAGE_SHARE = MAX_BYTES // len(LOCALES) - 512
"""Of a post, for each language; the rest is for its frame."""


# --- cards ----------------------------------------------------------------------------------------------


def render_card(card: Card) -> Content:
    """The card as message content. Descriptions of scopes are shortened when it would get too large."""
    for longest in (120, 60, 24, 0):
        body = to_json(draw(card, longest))
        if weight(body) <= MAX_BYTES:
            break
    return Content("interactive", body)


def draw(card: Card, longest: int) -> Json:
    match card:
        case AuthorizationCard():
            return draw_authorization(card, longest)
        case AdministratorCard():
            return draw_administrator(card, longest)
        case ConfirmationCard():
            return draw_confirmation(card)
        case UnusedCard():
            return draw_unused(card, longest)


def draw_authorization(card: AuthorizationCard, longest: int) -> Json:
    one = len(card.commands) < 2
    said: dict[str, object] = {
        "commands": commands(card.commands),
        "was_not": "wasn't" if one else "weren't",
        "needs": "needs" if one else "need",
        "it": "it" if one else "them",
        "until": time(card.expires_at),
    }

    def listed(scopes: Iterable[Scope]) -> list[Json]:
        return scope_list(card.scopes, scopes, longest)

    def text(words: Words) -> Json:
        return markdown(words.format(**said))

    again = [markdown(card.why_again)] if card.why_again else []

    match card.face:
        case Face.WAITING if card.asks_which_error:
            return frame(
                card_words.WHICH_ERROR_TITLE,
                "blue",
                markdown(card_words.WHICH_ERROR_BODY),
                row(*(button(words, action, card.request_id, size="small") for words, action in ERRORS)),
                *way_on(card, "default"),
                row(button(card_words.NOT_NOW, Action.NOT_NOW, card.request_id, size="small")),
            )
        case Face.WAITING if card.declined_on_page:
            return frame(
                card_words.DECLINED_ON_PAGE_TITLE,
                "grey",
                *again,
                text(card_words.DECLINED_ON_PAGE_BODY),
                *listed(asked_for(card)),
                *way_on(card, "default"),
                ways_out(card),
            )
        case Face.WAITING:
            return frame(
                card_words.WAITING_TITLE,
                "blue",
                *again,
                text(card_words.WAITING_WHY),
                *listed(asked_for(card)),
                *way_on(card, "primary"),
                ways_out(card),
                *given_before(card, longest),
                grey_until(promise(card), card.expires_at),
            )
        case Face.REDEEMING:
            return frame(card_words.REDEEMING_TITLE, "blue", text(card_words.REDEEMING_BODY))
        case Face.AUTHORIZED:
            given = worth_naming(card.granted or card.scopes)
            return frame(
                card_words.AUTHORIZED_TITLE, "green", text(card_words.AUTHORIZED_BODY), *listed(given)
            )
        case Face.PARTLY:
            given = worth_naming(card.granted)
            return frame(
                card_words.PARTLY_TITLE,
                "yellow",
                *([markdown(card_words.PARTLY_GRANTED), *listed(given)] if given else []),
                markdown(card_words.PARTLY_REFUSED),
                *listed(card.refused),
                grey(card_words.PARTLY_AFTER),
            )
        case Face.DECLINED:
            return frame(card_words.DECLINED_TITLE, "grey", text(card_words.DECLINED_BODY))
        case Face.EXPIRED:
            return frame(
                card_words.EXPIRED_TITLE,
                "grey",
                text(card_words.EXPIRED_BODY),
                row(button(card_words.RETRY, Action.RETRY_EXPIRED, card.request_id, size="small")),
            )
        case Face.SUPERSEDED:
            return frame(card_words.SUPERSEDED_TITLE, "grey", text(card_words.SUPERSEDED_BODY))
        case Face.ADMINISTRATOR:
            return frame(
                card_words.ADMINISTRATOR_TITLE,
                "orange",
                text(card_words.ADMINISTRATOR_BODY),
                *listed(worth_naming(card.scopes)),
                row(button(card_words.CANCEL, Action.CANCEL, card.request_id, size="small")),
                grey(card_words.ADMINISTRATOR_AFTER),
            )
        case Face.FAILED:
            return frame(
                card_words.FAILED_TITLE,
                "red",
                markdown(escape_words(card.failure, 400)) if card.failure else text(card_words.FAILED_BODY),
            )


def worth_naming(scopes: Iterable[Scope]) -> list[Scope]:
    """The scopes without `offline_access`, which comes along with the rest; that alone, if there is no other."""
    scopes = list(scopes)
    return [scope for scope in scopes if scope != OFFLINE_ACCESS] or scopes


def asked_for(card: AuthorizationCard) -> list[Scope]:
    return worth_naming(scope for scope in card.scopes if scope not in card.granted)


def given_before(card: AuthorizationCard, longest: int) -> list[Json]:
    """What is asked for along with the rest and costs nothing, in a line of its own."""
    scopes = sorted(scope for scope in card.scopes if scope in card.granted and scope != OFFLINE_ACCESS)
    names = [in_a_sentence(scope, card.scopes[scope], longest) for scope in scopes]
    return [grey(card_words.ALREADY_GRANTED.format(scopes=joined(names)))] if names else []


def promise(card: AuthorizationCard) -> Words:
    stays = card.stays_signed_in and OFFLINE_ACCESS not in asked_for(card)
    return card_words.WAITING_PROMISE + card_words.STAYS_SIGNED_IN if stays else card_words.WAITING_PROMISE


ERRORS = (
    (card_words.ERROR_SCOPE, Action.PAGE_ERROR_SCOPE),
    (card_words.ERROR_REDIRECT, Action.PAGE_ERROR_REDIRECT),
    (card_words.ERROR_APP, Action.PAGE_ERROR_APP),
    (card_words.ERROR_OTHER, Action.PAGE_ERROR_OTHER),
)
"""What the platform's page may show in place of asking."""


def way_on(card: AuthorizationCard, kind: str) -> list[Json]:
    """The link to follow, or the button that fetches one, and how the last try ended."""
    if card.link:
        return [link(card_words.AUTHORIZE, card.link, kind)]
    if card.device_link:
        code, until = escape(card.device_link.user_code.reveal(), 40), time(card.device_link.expires_at)
        return [
            markdown(card_words.DEVICE_CODE.format(code=code, until=until)),
            link(card_words.OPEN_PLATFORM_PAGE, card.device_link.url.reveal(), kind),
        ]
    fetch = button(card_words.AUTHORIZE, Action.AUTHORIZE, card.request_id, kind)
    return [markdown(card.notice), fetch] if card.notice else [fetch]


def ways_out(card: AuthorizationCard) -> Json:
    """The controls beside the way on. A page that was not opened has shown no error."""
    not_now = button(card_words.NOT_NOW, Action.NOT_NOW, card.request_id, size="small")
    if not card.opened:
        return row(not_now)
    return row(
        not_now, button(card_words.PAGE_ERROR, Action.PAGE_ERROR, card.request_id, kind="text", size="small")
    )


def draw_administrator(card: AdministratorCard, longest: int) -> Json:
    scopes = scope_list(card.scopes, card.scopes, longest)
    if card.done:
        return frame(
            card_words.ADMINISTRATOR_DONE_TITLE,
            "green",
            markdown(card_words.ADMINISTRATOR_DONE_BODY),
            *scopes,
        )
    if not card.waiting:
        return frame(card_words.ADMINISTRATOR_DROPPED_TITLE, "grey", *scopes)
    said = {
        "people": people(card.waiting),
        "wants": "wants" if len(card.waiting) == 1 else "want",
        "commands": commands(card.commands),
    }
    return frame(
        card_words.ASK_ADMINISTRATOR_TITLE,
        "orange",
        markdown(card_words.ASK_ADMINISTRATOR_BODY.format(**said)),
        *scopes,
        link(card_words.OPEN_CONSOLE, card.console_link),
        row(
            *([button(card_words.APPLY, Action.APPLY, card.subject, size="small")] if card.can_apply else []),
            button(card_words.CHECK_AGAIN, Action.CHECK_AGAIN, card.subject, size="small"),
        ),
        grey(card_words.ASK_ADMINISTRATOR_AFTER),
    )


def draw_confirmation(card: ConfirmationCard) -> Json:
    said = {"command": f"**{escape(card.command, 200)}**", "asked": time(card.asked_at)}
    if card.confirmed is not None:
        title = card_words.CONFIRMED_TITLE if card.confirmed else card_words.DISCARDED_TITLE
        return frame(title, "grey", markdown(card_words.DECIDED_BODY.format(**said)))
    return frame(
        card_words.CONFIRM_TITLE,
        "yellow",
        markdown(card_words.CONFIRM_BODY.format(**said)),
        row(
            button(card_words.CONFIRM, Action.CONFIRM, card.call_id, kind="primary"),
            button(card_words.DISCARD, Action.DISCARD, card.call_id),
        ),
    )


def draw_unused(card: UnusedCard, longest: int) -> Json:
    scopes = scope_list(card.scopes, card.scopes, longest)
    if card.answer is not None:
        return frame(card_words.UNUSED_TITLE, "grey", markdown(card.answer), *(scopes if card.scopes else []))
    return frame(
        card_words.UNUSED_TITLE,
        "blue",
        markdown(card_words.UNUSED_BODY),
        *scopes,
        row(
            button(card_words.GIVE_BACK, Action.GIVE_BACK, card.subject, kind="primary"),
            button(card_words.KEEP, Action.KEEP, card.subject),
        ),
    )


def frame(title: Words, colour: str, *elements: Json) -> Json:
    """`update_multi` is what lets a card be changed later."""
    return {
        "schema": "2.0",
        "config": {"update_multi": True, "locales": list(LOCALES)},
        "header": {"title": plain(title), "template": colour},
        "body": {"direction": "vertical", "elements": list(elements)},
    }


def in_every_language(words: Words) -> Json:
    return {
        "content": words.en,
        "i18n_content": {locale: words.to(language) for locale, language in LOCALES.items()},
    }


def plain(words: Words) -> Json:
    return {"tag": "plain_text", **in_every_language(words)}


def markdown(words: Words) -> Json:
    return {"tag": "markdown", **in_every_language(words)}


def grey(words: Words) -> Json:
    """A small line below the rest. Plain text: nothing in it is markup."""
    return {"tag": "div", "text": {**plain(words), "text_size": "notation", "text_color": "grey"}}


def grey_until(words: Words, until: datetime) -> Json:
    """As `grey`, for words with a time: only markdown can hold one, and there the grey is markup."""
    parts = (words.en.split("{until}"), words.zh.split("{until}"))
    en, zh = (time(until).join(f"<font color='grey'>{part}</font>" for part in each) for each in parts)
    return {**markdown(Words(en, zh)), "text_size": "notation"}


def row(*controls: Json) -> Json:
    """Controls side by side, in a new line where there is no room."""
    columns = [{"tag": "column", "width": "auto", "elements": [each]} for each in controls]
    return {"tag": "column_set", "flex_mode": "flow", "columns": columns}


def link(words: Words, url: str, kind: str = "primary") -> Json:
    return {
        "tag": "button",
        "type": kind,
        "text": plain(words),
        "behaviors": [{"type": "open_url", "default_url": url}],
    }


def button(words: Words, action: str, subject: str, kind: str = "default", size: str = "medium") -> Json:
    return {
        "tag": "button",
        "type": kind,
        "size": size,
        "text": plain(words),
        "behaviors": [{"type": "callback", "value": {"action": str(action), "subject": subject}}],
    }


# --- pieces of markdown ---------------------------------------------------------------------------------

MARKUP = {ord(character): f"&#{ord(character)};" for character in "&<>*~[]()`\\#!|@"} | {
    ord("\n"): " ",
    ord("\r"): " ",
}


def escape(text: str, longest: int) -> str:
    """Text that shows as it is: no markup, no mention, no link, no line of its own."""
    short = text if len(text) <= longest else text[: longest - 1].rstrip() + "…"
    return short.translate(MARKUP).replace("://", "&#58;//")


def escape_words(words: Words, longest: int) -> Words:
    return Words(escape(words.en, longest), escape(words.zh, longest))


SHOWN_SCOPES = 6
"""Scopes that a card lists; the rest unfold, so that it takes no more than half a phone's screen."""


def scope_list(described: Mapping[Scope, Words], scopes: Iterable[Scope], longest: int) -> list[Json]:
    """One line a scope: in words, and as its scope. `offline_access` last: it is the least of them."""
    ordered = sorted(scopes, key=lambda scope: (scope == OFFLINE_ACCESS, scope))
    entries = [scope_line(scope, described.get(scope), longest) for scope in ordered]
    if len(entries) <= SHOWN_SCOPES:
        return [lines_of(entries)]
    rest = entries[SHOWN_SCOPES - 1 :]
    return [
        lines_of(entries[: SHOWN_SCOPES - 1]),
        {
            "tag": "collapsible_panel",
            "expanded": False,
            "header": {"title": plain(card_words.AND_MORE.format(number=len(rest)))},
            "elements": [lines_of(rest)],
        },
    ]


def lines_of(entries: list[Words]) -> Json:
    return markdown(Words("\n".join(line.en for line in entries), "\n".join(line.zh for line in entries)))


def scope_line(scope: Scope, described: Words | None, longest: int) -> Words:
    name = escape(scope, 128)
    if described is None or longest == 0 or described.en == scope:
        return Words(f"• {name}", f"• {name}")
    words = escape_words(described, longest)
    return Words(f"• **{words.en}** · {name}", f"• **{words.zh}** · {name}")


def in_a_sentence(scope: Scope, described: Words, longest: int) -> Words:
    """A scope in words and as its scope, as plain text."""
    if longest == 0 or described.en == scope:
        return Words(scope, scope)
    en, zh = one_line(described.en, longest), one_line(described.zh, longest)
    return Words(f"{en} ({scope})", f"{zh}（{scope}）")


SHOWN_COMMANDS = 8


def commands(names: tuple[str, ...]) -> Words:
    shown = [f"**{escape(name, 130)}**" for name in names[:SHOWN_COMMANDS]]
    if len(names) > SHOWN_COMMANDS:
        shown.append("…")
    return enumeration(shown) or card_words.SOMETHING


SHOWN_PEOPLE = 5

OPEN_ID = re.compile(r"ou_[A-Za-z0-9_-]{1,100}")


def people(open_ids: tuple[str, ...]) -> Words:
    """Mentions, which every reader's client shows as a name that leads to the person."""
    shown = [
        f"<at id={each}></at>" if OPEN_ID.fullmatch(each) else escape(each, 60)
        for each in open_ids[:SHOWN_PEOPLE]
    ]
    words = joined([Words(each, each) for each in shown])
    rest = len(open_ids) - len(shown)
    return card_words.AND_OTHERS.format(people=words, rest=rest, all=len(open_ids)) if rest else words


def enumeration(items: list[str]) -> Words | None:
    return joined([Words(each, each) for each in items]) if items else None


def joined(items: list[Words]) -> Words:
    return Words(", ".join(each.en for each in items), "、".join(each.zh for each in items))


def time(at: datetime) -> str:
    """A day and a time that each reader's client writes in their own zone and language. In markdown, and nowhere else.

    https://open.feishu.cn/document/feishu-cards/card-json-v2-components/content-components/rich-text
    """
    moment = int(at.timestamp() * 1000)
    return " ".join(
        f"<local_datetime millisecond='{moment}' format_type='{form}'></local_datetime>"
        for form in ("date_short", "time")
    )


# --- replies --------------------------------------------------------------------------------------------


def render_reply(reply: Reply, links: Links = KNOWN) -> Content:
    """The reply as a rich-text post in every language; what does not fit is cut, with a note. One with a control
    is a card, for a post cannot have any. An address becomes a link only if it is one of `links`."""
    post = {
        locale: {
            "title": reply.title.to(language) if reply.title else "",
            "content": fitting(reply.lines, language, links) or [[literal("")]],
        }
        for locale, language in LOCALES.items()
    }
    content = Content("post", to_json(post))
    return content if reply.control is None else with_control(as_card(content), reply.control)


Element = dict[str, Any]
Paragraph = list[Element]


def fitting(lines: tuple[Line, ...], language: Language, links: Links) -> list[Paragraph]:
    """As many paragraphs as a message can hold."""
    note = [literal(card_words.CUT.to(language))]
    room = LANGUAGE_SHARE - weight(to_json(note))
    shown: list[Paragraph] = []
    for paragraph in paragraphs(lines, language, links):
        needed = weight(to_json(paragraph)) + 1
        if needed > room:
            return [*shown, *beginning(paragraph, room), note]
        shown.append(paragraph)
        room -= needed
    return shown


def paragraphs(lines: tuple[Line, ...], language: Language, links: Links) -> Iterator[Paragraph]:
    for line in lines:
        if isinstance(line, Code):
            block: Element = {"tag": "code_block", "text": line.text}
            yield [block | ({"language": line.language} if line.language else {})]
        else:
            yield [element(span, language, links) for span in line]


def element(span: Span, language: Language, links: Links) -> Element:
    text = span.text if isinstance(span.text, str) else span.text.to(language)
    shown: Element = literal(text)
    if span.url is not None:
        href = links.shown(span.url)
        shown = (
            {"tag": "a", "text": text, "href": href}
            if href
            else literal(text + elsewhere(span.url, language))
        )
    return shown | ({"style": ["bold"]} if span.bold else {})


def elsewhere(url: str, language: Language) -> str:
    """In place of a link that is not shown: the host that it leads to."""
    host = host_of(url)
    return host and Words(f" ({host})", f"（{host}）").to(language)


def literal(text: str) -> Element:
    return {"tag": "text", "text": text}


def beginning(paragraph: Paragraph, room: int) -> list[Paragraph]:
    """What fits of a paragraph: whole elements, and the start of the one that does not."""
    kept: Paragraph = []
    for piece in paragraph:
        needed = weight(to_json(piece)) + 1
        if needed <= room:
            kept.append(piece)
            room -= needed
            continue
        left = room - weight(to_json(piece | {"text": ""})) - 8
        if left > 0:
            kept.append(piece | {"text": start_of(piece["text"], left)})
        break
    return [kept] if kept else []


def start_of(text: str, room: int) -> str:
    """The longest start of a text that weighs no more than `room`."""
    low, high = 0, min(len(text), room)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if weight(to_json(text[:middle])) <= room else (low, middle - 1)
    return text[:low]


def weight(body: str) -> int:
    """Bytes of a message's content as it travels: a JSON string inside JSON."""
    return len(to_json(body).encode(errors="replace"))


# --- a reply as a card ------------------------------------------------------------------------------------


def as_card(content: Content) -> Content:
    """A rendered message as a card: the only kind of message that one member of a group can be shown alone."""
    if content.kind == "interactive":
        return content
    post = json.loads(content.body)
    for longest in (8000, 3000, 1000, 300):
        body = to_json(card_of_post(post, longest))
        if weight(body) <= MAX_BYTES:
            break
    return Content("interactive", body)


def with_control(card: Content, control: Control) -> Content:
    drawn = json.loads(card.body)
    drawn["body"]["elements"].append(button(control.words, control.action, control.subject))
    return Content(card.kind, to_json(drawn))


def card_of_post(post: Json, longest: int) -> Json:
    english, chinese = post["en_us"], post["zh_cn"]
    body = Words(markdown_of(english["content"], longest), markdown_of(chinese["content"], longest))
    card = frame(Words(english["title"], chinese["title"]), "default", markdown(body))
    if not english["title"]:
        del card["header"]
    return card


def markdown_of(paragraphs: list[Paragraph], longest: int) -> str:
    """As many characters of a post, with its links and bold text; the rest of it is cut."""
    shown, room = "", longest
    for number, paragraph in enumerate(paragraphs):
        shown += "\n" if number else ""
        for piece in paragraph:
            if len(piece["text"]) > room:
                return shown + piece_of_markdown(piece | {"text": piece["text"][:room].rstrip() + "…"})
            shown += piece_of_markdown(piece)
            room -= len(piece["text"])
    return shown


def piece_of_markdown(piece: Element) -> str:
    text = piece["text"]
    if piece["tag"] == "code_block":
        lines = text.split("\n")
        # Markdown drops spaces at the start of a line: these are no-break spaces.
        indented = (line.lstrip(" ").rjust(len(line), "\u00a0") for line in lines)
        return "\n".join(escape(line, len(line)) for line in indented)
    shown = "\n".join(escape(line, len(line)) for line in text.split("\n"))
    if piece["tag"] == "a":
        href = piece["href"].translate(IN_BRACKETS)
        shown = f"[{shown}]({href})"
    bold = "bold" in piece.get("style", ()) and text == text.strip() != "" and "\n" not in text
    return f"**{shown}**" if bold else shown


IN_BRACKETS = {ord(character): quote(character) for character in "()<> \n"}


# --- answers to clicks ----------------------------------------------------------------------------------


def click_answer(toast: Words | None, kind: str, card: Content | None) -> Json:
    """https://open.feishu.cn/document/uAjLw4CM/ukzMukzMukzM/feishu-cards/card-callback-communication"""
    answer: Json = {}
    if toast is not None:
        i18n = {locale: toast.to(language) for locale, language in LOCALES.items()}
        answer["toast"] = {"type": kind, "content": toast.en, "i18n": i18n}
    if card is not None:
        answer["card"] = {"type": "raw", "data": json.loads(card.body)}
    return answer

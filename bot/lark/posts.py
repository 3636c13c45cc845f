"""Renders replies as rich-text posts, and posts as cards.

Text that the bot did not write is shown literally: in posts it is in elements that the client does not interpret, and on
cards it is escaped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from bot.core.api import Json
from bot.core.language import Language, Words
from bot.core.messages import Code, Content, Control, Line, Reply, Span
from bot.core.trusted_links import TrustedLinks, host_of
from bot.core.words.replies import SHORTENED
from bot.lark.card_elements import LOCALES, MAX_BYTES, button, encoded_size, escape, frame, markdown, to_json
from bot.lark.platform_links import PLATFORM_LINKS

MAX_BYTES_PER_LANGUAGE = MAX_BYTES // len(LOCALES) - 512
"""Bytes for each language of a post. The rest of the limit is for the enclosing JSON."""


def render_reply(reply: Reply, links: TrustedLinks = PLATFORM_LINKS) -> Content:
    """Render a reply as a post in every language. One that exceeds the size limit is cut, with a note.

    A reply with a control becomes a card, because a post cannot have controls. Only URLs that `links` trusts become
    links.
    """
    post = {
        locale: {
            "title": reply.title.to(language) if reply.title else "",
            "content": fitting_paragraphs(reply.lines, language, links) or [[text_element("")]],
        }
        for locale, language in LOCALES.items()
    }
    content = Content("post", to_json(post))
    return content if reply.control is None else add_control(as_card(content), reply.control)


Element = dict[str, Any]


Paragraph = list[Element]


def fitting_paragraphs(lines: tuple[Line, ...], language: Language, links: TrustedLinks) -> list[Paragraph]:
    """Return as many paragraphs as fit into a message, and a note if some do not."""
    note = [text_element(SHORTENED.to(language))]
    room = MAX_BYTES_PER_LANGUAGE - encoded_size(to_json(note))
    shown: list[Paragraph] = []
    for paragraph in paragraphs(lines, language, links):
        needed = encoded_size(to_json(paragraph)) + 1
        if needed > room:
            return [*shown, *truncate_paragraph(paragraph, room), note]
        shown.append(paragraph)
        room -= needed
    return shown


def paragraphs(lines: tuple[Line, ...], language: Language, links: TrustedLinks) -> Iterator[Paragraph]:
    for line in lines:
        if isinstance(line, Code):
            block: Element = {"tag": "code_block", "text": line.text}
            yield [block | ({"language": line.language} if line.language else {})]
        else:
            yield [post_element(span, language, links) for span in line]


def post_element(span: Span, language: Language, links: TrustedLinks) -> Element:
    text = span.text if isinstance(span.text, str) else span.text.to(language)
    shown: Element = text_element(text)
    if span.url is not None:
        href = links.resolve(span.url)
        shown = (
            {"tag": "a", "text": text, "href": href}
            if href
            else text_element(text + host_note(span.url, language))
        )
    return shown | ({"style": ["bold"]} if span.bold else {})


def host_note(url: str, language: Language) -> str:
    """Return the host of a URL that is not shown as a link."""
    host = host_of(url)
    return host and Words(f" ({host})", f"（{host}）").to(language)


def text_element(text: str) -> Element:
    return {"tag": "text", "text": text}


def truncate_paragraph(paragraph: Paragraph, room: int) -> list[Paragraph]:
    """Return the start of a paragraph: whole elements, and the start of the first that does not fit."""
    kept: Paragraph = []
    for piece in paragraph:
        needed = encoded_size(to_json(piece)) + 1
        if needed <= room:
            kept.append(piece)
            room -= needed
            continue
        left = room - encoded_size(to_json(piece | {"text": ""})) - 8
        if left > 0:
            kept.append(piece | {"text": truncate_text(piece["text"], left)})
        break
    return [kept] if kept else []


def truncate_text(text: str, room: int) -> str:
    """Return the longest prefix whose encoded size is at most `room` bytes."""
    low, high = 0, min(len(text), room)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if encoded_size(to_json(text[:middle])) <= room else (low, middle - 1)
    return text[:low]


def as_card(content: Content) -> Content:
    """Return a message as a card, the only kind of message that can be shown to a single member of a group."""
    if content.kind == "interactive":
        return content
    post = json.loads(content.body)
    for max_length in (8000, 3000, 1000, 300):
        body = to_json(post_as_card(post, max_length))
        if encoded_size(body) <= MAX_BYTES:
            break
    return Content("interactive", body)


def add_control(card: Content, control: Control) -> Content:
    rendered = json.loads(card.body)
    rendered["body"]["elements"].append(button(control.words, control.action, control.subject))
    return Content(card.kind, to_json(rendered))


def post_as_card(post: Json, max_length: int) -> Json:
    english, chinese = post["en_us"], post["zh_cn"]
    body = Words(
        post_as_markdown(english["content"], max_length), post_as_markdown(chinese["content"], max_length)
    )
    card = frame(Words(english["title"], chinese["title"]), "default", markdown(body))
    if not english["title"]:
        del card["header"]
    return card


def post_as_markdown(paragraphs: list[Paragraph], max_length: int) -> str:
    """Return the first `max_length` characters of a post as markdown, with links and bold text."""
    shown, room = "", max_length
    for number, paragraph in enumerate(paragraphs):
        shown += "\n" if number else ""
        for piece in paragraph:
            if len(piece["text"]) > room:
                return shown + element_as_markdown(piece | {"text": piece["text"][:room].rstrip() + "…"})
            shown += element_as_markdown(piece)
            room -= len(piece["text"])
    return shown


def element_as_markdown(piece: Element) -> str:
    text = piece["text"]
    if piece["tag"] == "code_block":
        lines = text.split("\n")
        # Markdown drops leading spaces, so these become no-break spaces.
        indented = (line.lstrip(" ").rjust(len(line), "\u00a0") for line in lines)
        return "\n".join(escape(line, len(line)) for line in indented)
    shown = "\n".join(escape(line, len(line)) for line in text.split("\n"))
    if piece["tag"] == "a":
        href = piece["href"].translate(URL_ESCAPES)
        shown = f"[{shown}]({href})"
    bold = "bold" in piece.get("style", ()) and text == text.strip() != "" and "\n" not in text
    return f"**{shown}**" if bold else shown


URL_ESCAPES = {ord(character): quote(character) for character in "()<> \n"}

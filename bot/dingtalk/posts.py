"""Renders replies as Markdown messages."""

from __future__ import annotations

from collections.abc import Iterator

from bot.core.cards import Action
from bot.core.language import Language, Words
from bot.core.messages import Code, Content, Control, Line, Reply, Span
from bot.core.trusted_links import TrustedLinks, host_of
from bot.core.words.replies import SHORTENED
from bot.dingtalk import markdown
from bot.dingtalk.rendered_messages import Button, RenderedMessage, content_of

MAX_TITLE_LENGTH = 60
"""Characters. The title is shown in the list of chats and in notifications."""

SEND_AGAIN = Words(en="Send the command again to retry.", zh="如需重试，请重新发送命令。")
"""Replaces a button, which only interactive cards can have."""

HINTS = {Action.RETRY: SEND_AGAIN, Action.RETRY_EXPIRED: SEND_AGAIN}


def render_reply(reply: Reply, links: TrustedLinks, language: Language, *, has_buttons: bool) -> Content:
    """Render a reply, truncated to the size limit with a note. Only URLs that `links` trusts are links."""
    shown = fitting(list(paragraphs(reply.lines, links, language)), SHORTENED.to(language))
    title = reply.title.to(language) if reply.title else ""
    buttons: tuple[Button, ...] = ()
    if reply.control is not None and has_buttons:
        buttons = (button(reply.control, language),)
    elif reply.control is not None and reply.control.action in HINTS:
        shown.append(HINTS[Action(reply.control.action)].to(language))
    text = "\n\n".join(shown)
    return content_of(RenderedMessage(title or beginning(text), text, heading=bool(title), buttons=buttons))


def button(control: Control, language: Language) -> Button:
    return Button(control.words.to(language), action=control.action, subject=control.subject)


def beginning(text: str) -> str:
    """Return the start of a text without markup, for notifications."""
    first = text.partition("\n")[0].replace("*", "").strip()
    return first[:MAX_TITLE_LENGTH] or "…"


def paragraphs(lines: tuple[Line, ...], links: TrustedLinks, language: Language) -> Iterator[str]:
    for line in lines:
        if isinstance(line, Code):
            yield markdown.code_block(line.text)
        else:
            yield "".join(span_text(span, links, language) for span in line)


def span_text(span: Span, links: TrustedLinks, language: Language) -> str:
    text = markdown.in_language(span.text, language)
    if span.url is not None:
        url = links.resolve(span.url)
        if url:
            return markdown.link(text, url)
        host = host_of(span.url)
        text += Words(f" ({host})", f"（{host}）").to(language) if host else ""
    return markdown.bold(text) if span.bold else markdown.escape(text)


def fitting(shown: list[str], note: str) -> list[str]:
    """Return as many paragraphs as fit into a message, followed by the note if some do not."""
    room = markdown.MAX_PARAM_BYTES - 1000 - markdown.size(note)
    kept: list[str] = []
    for each in shown:
        needed = markdown.size(each) + 8
        if needed > room:
            # Only code blocks are long paragraphs, and they must keep their closing line.
            block = each.startswith("```") and room > 400
            start = markdown.shorten(each, room // 3)
            return [*kept, *([f"{start}\n```"] if block else [start] if room > 400 else []), note]
        kept.append(each)
        room -= needed
    return kept

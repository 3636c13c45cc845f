"""The content of a message, independent of how it is sent: as Markdown, as an action card or as an interactive card."""

from __future__ import annotations

import json
from dataclasses import dataclass

from bot.core.api import Json
from bot.core.messages import Content
from bot.dingtalk import markdown

MESSAGE, CARD = "message", "card"
"""The kinds of content. A card is sent to its user alone, and can be updated if it is interactive."""


@dataclass(frozen=True, slots=True)
class Button:
    """A button that opens a URL, or one of an interactive card that sends its action back."""

    text: str
    url: str = ""
    action: str = ""
    subject: str = ""
    primary: bool = False


@dataclass(frozen=True, slots=True)
class RenderedMessage:
    title: str
    text: str
    """Markdown."""
    status: str = ""
    """A line below the text, in grey where that is possible."""
    buttons: tuple[Button, ...] = ()
    heading: bool = True
    """Whether the title is also shown above the text, and not only in notifications."""
    plain_hint: str = ""
    """What to do instead of pressing a button, in a message that cannot have buttons with actions."""

    @property
    def full_text(self) -> str:
        """The title and the text, for messages that do not show a title."""
        return f"### {markdown.escape(self.title)}\n\n{self.text}" if self.heading else self.text


def content_of(rendered: RenderedMessage, kind: str = MESSAGE) -> Content:
    fields = {
        "title": rendered.title,
        "text": rendered.text,
        "status": rendered.status,
        "heading": rendered.heading,
        "plain_hint": rendered.plain_hint,
        "buttons": [
            {
                "text": each.text,
                "url": each.url,
                "action": each.action,
                "subject": each.subject,
                "primary": each.primary,
            }
            for each in rendered.buttons
        ],
    }
    return Content(kind, markdown.to_json(fields))


def parse_content(content: Content) -> RenderedMessage:
    fields = json.loads(content.body)
    buttons = tuple(Button(**each) for each in fields.pop("buttons"))
    return RenderedMessage(**fields, buttons=buttons)


# --- as a message -------------------------------------------------------------------------------------


def as_plain_text(rendered: RenderedMessage) -> str:
    """Return everything but the buttons as Markdown."""
    parts = (rendered.full_text, rendered.plain_hint, rendered.status)
    return "\n\n".join(part for part in parts if part)


def link_of(rendered: RenderedMessage) -> Button | None:
    return next((each for each in rendered.buttons if each.url), None)


def as_robot_message(rendered: RenderedMessage) -> tuple[str, Json]:
    """Return `msgKey` and `msgParam`: an action card if there is a link, else Markdown."""
    text, link = as_plain_text(rendered), link_of(rendered)
    if link is None:
        return "sampleMarkdown", {"title": rendered.title, "text": text}
    return "sampleActionCard", {
        "title": rendered.title,
        "text": text,
        "singleTitle": link.text,
        "singleURL": link.url,
    }


def as_session_message(rendered: RenderedMessage) -> Json:
    """Return the body of a reply that is posted to a message's session."""
    return {"msgtype": "markdown", "markdown": {"title": rendered.title, "text": as_plain_text(rendered)}}


# --- as an interactive card --------------------------------------------------------------------------

MAX_VALUE_BYTES = 1000
"""The platform accepts 1 KB for the value of a variable."""

MAX_BUTTONS = 3

MAX_SENTENCE_LENGTH = 120
"""Characters of a text without a title that becomes the title of its card, so that it is not shown twice."""


def card_values(rendered: RenderedMessage) -> dict[str, str]:
    """Return the values of the template's variables: `title`, `markdown`, `tips`, and up to three buttons.

    A button either opens a URL or sends its id back, which contains the action and its subject.
    """
    buttons = [card_button(each) for each in rendered.buttons[:MAX_BUTTONS]]
    while len(markdown.to_json({"msgButtons": buttons}).encode()) > MAX_VALUE_BYTES:
        buttons.pop()
    is_one_sentence = not rendered.heading and rendered.text.startswith(rendered.title)
    if is_one_sentence and len(rendered.text) <= MAX_SENTENCE_LENGTH and not set("\n*[") & set(rendered.text):
        title, text = rendered.text, ""
    else:
        title, text = rendered.title, rendered.text
    return {
        "title": markdown.shorten(title, MAX_VALUE_BYTES),
        "markdown": markdown.shorten(text, MAX_VALUE_BYTES),
        "tips": markdown.shorten(rendered.status, MAX_VALUE_BYTES),
        "sys_full_json_obj": markdown.to_json({"msgButtons": buttons}),
    }


def card_button(button: Button) -> Json:
    colour = "blue" if button.primary else "gray"
    if button.url:
        return {"text": button.text, "url": button.url, "iosUrl": button.url, "color": colour}
    identifier = f"{button.action}:{button.subject}" if button.subject else button.action
    return {"text": button.text, "id": identifier, "request": True, "color": colour}

"""Renders the pages from the Jinja2 templates in `templates/`, in the language of the request."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context
from jinja2.runtime import Context

from bot.core.language import Language, Words
from bot.core.platform import Platform
from bot.core.unseen_characters import escape
from bot.core.words import console as console_words
from bot.core.words import pages as words
from bot.web.app_keys import platform_of
from bot.web.request_headers import language_of

HTML_LANG: dict[Language, str] = {"en": "en", "zh": "zh-CN"}


@pass_context
def say(context: Context, text: Words) -> str:
    """Return a text in the language of the page. The template filter `say`."""
    return text.to(context["language"])


def plain(text: object, limit: int = 80) -> str:
    """Return a text that others have written on one line, invisible characters escaped, cut to a limit. A filter."""
    line = escape(str(text))
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def build_environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("bot.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"say": say, "plain": plain}
    environment.globals |= {"words": words, "console": console_words, "html_lang": HTML_LANG}
    return environment


ENVIRONMENT = build_environment()
# Compiled at import: compiling one takes milliseconds and would block the event loop during a request.
TEMPLATES = {name: ENVIRONMENT.get_template(name) for name in ENVIRONMENT.list_templates()}


def load_client_page(platform: Platform) -> None:
    """Compile the in-client page of a platform, from its own folder, as `client_page(platform)`, unless that was done."""
    if platform.in_client is not None and client_page(platform) not in TEMPLATES:
        source = (platform.in_client.folder / "in_client.html").read_text(encoding="utf-8")
        TEMPLATES[client_page(platform)] = ENVIRONMENT.from_string(
            source, globals={"own": platform.in_client.words}
        )


def client_page(platform: Platform) -> str:
    """Return the name of the template of a platform's in-client page."""
    return f"{platform.name}/in_client.html"


def render(
    request: web.Request,
    template: str,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    platform: Platform | None = None,
    **values: object,
) -> web.Response:
    """Return a response with a rendered template. It receives `values`, the language and the link to the chat.

    `platform`: that of the visitor, by default the one that the request determines (see `platform_of`).
    """
    language = language_of(request)
    platform = platform or platform_of(request)
    html = TEMPLATES[template].render(
        language=language,
        other_language="en" if language == "zh" else "zh",
        chat_link=platform.chat_link if platform else None,
        **values,
    )
    return web.Response(status=status, text=html, content_type="text/html", charset="utf-8", headers=headers)

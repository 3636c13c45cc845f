"""Renders the pages from the Jinja2 templates in `templates/`, in the language of the request."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context
from jinja2.runtime import Context

from bot.core.model import Language, Words
from bot.core.words import pages as words
from bot.web.app_keys import BOT
from bot.web.request_headers import language_of

HTML_LANG: dict[Language, str] = {"en": "en", "zh": "zh-CN"}


@pass_context
def say(context: Context, said: Words) -> str:
    """The filter `say`: the text in the language of the page."""
    return said.to(context["language"])


def environment() -> Environment:
    made = Environment(
        loader=PackageLoader("bot.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["say"] = say
    made.globals |= {"words": words, "html_lang": HTML_LANG}
    return made


ENVIRONMENT = environment()
# All of them at import: compiling one takes milliseconds, for which the event loop would stand still later.
TEMPLATES = {name: ENVIRONMENT.get_template(name) for name in ENVIRONMENT.list_templates()}


def render(
    request: web.Request,
    template: str,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **values: object,
) -> web.Response:
    """Return a template as a response, with the values that it names."""
    language = language_of(request)
    html = TEMPLATES[template].render(
        language=language,
        other_language="en" if language == "zh" else "zh",
        chat_link=request.app[BOT].platform.chat_link,
        **values,
    )
    return web.Response(status=status, text=html, content_type="text/html", charset="utf-8", headers=headers)

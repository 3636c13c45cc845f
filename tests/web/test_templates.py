"""The templates of the pages, and what they load."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from jinja2 import UndefinedError
from pytest_aiohttp import AiohttpClient

import bot.lark
import bot.web
from bot.core.language import Words
from bot.core.words.pages import PageWords
from bot.web.app_keys import BOT
from bot.web.pages import Button, Page, show
from bot.web.rendering import ENVIRONMENT, TEMPLATES

FOLDER = Path(bot.web.__file__).parent
PLATFORM_FOLDER = Path(bot.lark.__file__).parent / "web"
PAGES = sorted([*FOLDER.glob("templates/**/*.html"), *PLATFORM_FOLDER.glob("*.html")])
MODULES = sorted(FOLDER.glob("*.py"))
HOSTILE = "</h1><script>alert('1')</script>\"&{{ 7 * 7 }}"


def test_these_tests_see_the_templates():
    assert {"layout.html", "message.html", "account.html", "in_client.html"} <= {each.name for each in PAGES}
    folder = FOLDER / "templates"
    own = {str(each.relative_to(folder)) for each in PAGES if each.is_relative_to(folder)}
    assert TEMPLATES.keys() >= own
    assert "console/overview.html" in own


@pytest.mark.parametrize("page", PAGES, ids=lambda each: each.name)
def test_a_page_extends_the_layout_and_the_files_that_it_names_exist(page: Path):
    html = page.read_text(encoding="utf-8")
    is_part_of_console = page.parent.name == "console" and page.name != "base.html"
    layout = "console/base.html" if is_part_of_console else "layout.html"
    assert page.name in {"layout.html", "macros.html"} or f'{{% extends "{layout}" %}}' in html
    named = re.findall(r'"/static/([^"]+)"', html)
    served = {name: FOLDER / "static" / name for name in named}
    served |= {name: PLATFORM_FOLDER / "static" / name[5:] for name in named if name.startswith("lark/")}
    assert [name for name, file in served.items() if not file.is_file()] == []


def test_the_layout_names_an_icon():
    """Without one, browsers ask for /favicon.ico, which does not exist, and complain."""
    assert '<link rel="icon"' in (FOLDER / "templates" / "layout.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda each: each.name)
def test_a_template_neither_disables_escaping_nor_has_inline_code(page: Path):
    html = page.read_text(encoding="utf-8")
    assert not re.search(r"\|\s*safe\b|autoescape|Markup", html)
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", html, re.IGNORECASE)
    assert all("src=" in each for each in re.findall(r"<script[^>]*>", html))


@pytest.mark.parametrize("module", MODULES, ids=lambda each: each.name)
def test_no_string_of_a_module_holds_markup(module: Path):
    strings = [
        node.value
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    assert [each for each in strings if re.search(r"</?[a-z]+[ >]", each)] == []


@pytest.fixture
async def client(aiohttp_client: AiohttpClient) -> TestClient[web.Request, web.Application]:
    """A client of an application that shows one page, everything on which is hostile."""
    hostile = Words(en=HOSTILE, zh=HOSTILE)
    page = Page(403, "bad", PageWords(hostile, hostile), Button(hostile, f"/{HOSTILE}"))

    async def handler(request: web.Request) -> web.Response:
        return show(request, page)

    app = web.Application()
    platform = SimpleNamespace(
        chat_link=f"https://chat.example/{HOSTILE}", in_client=None, webhooks={}, callback_path="/c"
    )
    app[BOT] = SimpleNamespace(platforms={"one": platform})  # type: ignore[misc]
    app.router.add_get("/", handler)
    return await aiohttp_client(app)


@pytest.mark.parametrize(("accepted", "lang", "other"), [("en", "en", "zh-CN"), ("zh-CN", "zh-CN", "en")])
async def test_what_a_page_shows_is_escaped_in_both_languages(
    client: TestClient[web.Request, web.Application], accepted: str, lang: str, other: str
):
    response = await client.get("/", headers={"Accept-Language": accepted})
    html = await response.text()
    assert response.status == 403
    assert response.content_type == "text/html"
    assert f'<html lang="{lang}">' in html
    assert f'<aside lang="{other}">' in html
    assert "<script" not in html
    assert html.count("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&#34;&amp;{{ 7 * 7 }}") == 8


async def test_a_value_that_is_missing_fails_instead_of_being_left_out():
    with pytest.raises(UndefinedError, match="page"):
        TEMPLATES["message.html"].render(language="en", other_language="zh", chat_link=None)
    with pytest.raises(UndefinedError, match="NO_SUCH_WORDS"):
        ENVIRONMENT.from_string("{{ words.NO_SUCH_WORDS | say }}").render(language="en")

"""What is learned of a visitor from the headers of a request."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from bot.lark.in_client import ClientPage
from bot.web.app_keys import BOT
from bot.web.request_headers import is_cross_site_without_click, is_in_client, is_preview, language_of

FETCH = ["Sec-Fetch-Site", "Sec-Fetch-Mode", "Sec-Fetch-Dest", "Sec-Fetch-User"]
NAMES = ["User-Agent", "Accept-Language", "Sec-Purpose", "Purpose", "X-Purpose", "X-Moz", *FETCH]
PIECES = ["Lark/", "Feishu/", "LarkLocale/", "zh", "zh_CN", "en-US,en;q=0.9", "bot", "CUBOT", "prefetch", ";"]
values = st.text(
    st.characters(exclude_characters="\r\n\x00", exclude_categories=["Cs"]), max_size=80
) | st.lists(st.sampled_from(PIECES), max_size=6).map("".join)


def a_request(headers: dict[str, str]) -> web.Request:
    app = web.Application()
    app[BOT] = SimpleNamespace(platforms={"lark": SimpleNamespace(in_client=ClientPage("cli_1", ""))})  # type: ignore[assignment]
    return make_mocked_request("GET", "/", headers=headers, app=app)


@given(headers=st.dictionaries(st.sampled_from(NAMES), values))
def test_no_headers_make_a_page_fail(headers: dict[str, str]):
    request = a_request(headers)
    assert language_of(request) in {"en", "zh"}
    assert isinstance(is_in_client(request), bool)
    assert isinstance(is_preview(request), bool)
    assert isinstance(is_cross_site_without_click(request), bool)


@pytest.mark.parametrize(
    ("agent", "accepted", "language"),
    [
        ("Mozilla/5.0 Lark/7.1 LarkLocale/zh_CN", "en", "zh"),
        ("Mozilla/5.0 Lark/7.1 LarkLocale/en_US", "zh-CN", "en"),
        ("Mozilla/5.0", "zh-TW,zh;q=0.9", "zh"),
        ("Mozilla/5.0", " ZH", "zh"),
        ("Mozilla/5.0", "fr", "en"),
        ("", "", "en"),
    ],
)
def test_the_clients_locale_comes_before_the_browsers(agent: str, accepted: str, language: str):
    headers = {"User-Agent": agent, "Accept-Language": accepted}
    assert language_of(a_request(headers)) == language


@pytest.mark.parametrize(
    ("headers", "looks"),
    [
        ({"User-Agent": "Mozilla/5.0 (iPhone) Safari/604.1"}, False),
        ({"User-Agent": "Mozilla/5.0 (Linux; Android 13; CUBOT NOTE 20) Lark/7"}, False),
        ({"User-Agent": "Mozilla/5.0 Robotics/1.0"}, False),
        ({"User-Agent": "Python/3.11 aiohttp/3.14"}, False),
        ({}, False),
        ({"Purpose": "navigate", "X-Moz": ""}, False),
        ({"X-Moz": "prefetch"}, True),
        ({"X-Purpose": "preview"}, True),
        ({"User-Agent": "Slackbot-LinkExpanding 1.0"}, True),
        ({"User-Agent": "SomethingBot"}, True),
        ({"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, False),
        ({"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, True),
        ({"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}, True),
        ({"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}, True),
        ({"Sec-Fetch-Mode": "cors"}, True),
        ({"Sec-Fetch-Dest": "iframe"}, True),
    ],
)
def test_a_person_is_told_from_a_look(headers: dict[str, str], looks: bool):
    assert is_preview(a_request(headers)) is looks

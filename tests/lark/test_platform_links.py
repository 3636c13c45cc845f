"""Which addresses the bot shows as links."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from bot.core.language import Words
from bot.core.messages import Reply, Span
from bot.core.trusted_links import host_of
from bot.lark.platform_links import DOMAINS, PLATFORM_LINKS, trusted_links
from bot.lark.posts import render_reply

OPEN, BOT = "http://127.0.0.1:8700", "https://bot.example:8443"
LINKS = trusted_links(OPEN, ("https://applink.example", None, BOT))


@pytest.mark.parametrize(
    "url",
    [
        "https://feishu.cn",
        "https://tenant.feishu.cn/docx/T?from=space#part",
        "https://x.sg.larksuite.com/wiki/T",
        "https://bytedance.larkoffice.com/sheets/T?sheet=1",
        "https://vc.feishu.cn/j/123456789",
        "https://applink.feishu.cn/client/todo/detail?guid=1-2&suite_entity_num=t1",
        "https://applink.feishu.cn/client/calendar/event/detail?calendarId=7&key=a@b&startTime=1",
    ],
)
def test_the_platforms_own_addresses_are_links_whatever_the_settings(url: str):
    assert PLATFORM_LINKS.resolve(url) == LINKS.resolve(url) == url


@pytest.mark.parametrize(
    "url",
    [
        f"{OPEN}/docx/T",
        f"{BOT}/permissions",
        "https://applink.example/client/web_url/open?mode=sidebar-semi&url=https%3A%2F%2Fbot.example%3A8443%2Fpermissions",
    ],
)
def test_those_of_the_settings_are_links_where_they_are_set(url: str):
    assert LINKS.resolve(url) == url
    assert PLATFORM_LINKS.resolve(url) is None


ELSEWHERE = [
    "https://elsewhere.example/docx/T",
    "https://evil-feishu.cn/docx/T",
    "https://evilfeishu.cn/docx/T",
    "https://feishu.cn.evil.example/docx/T",
    "https://feishu.cn@evil.example/docx/T",
    "https://feishu.cn:x@evil.example/docx/T",
    "https://evil@feishu.cn/docx/T",
    "https://feishu.cn:443/docx/T",
    "https://feishu.cn:8443/docx/T",
    "https://feishu.cn:/docx/T",
    "https://feishu.cn./docx/T",
    "https://.feishu.cn/docx/T",
    "https://x..feishu.cn/docx/T",
    "https://feishu.cn%2eevil.example/docx/T",
    "https://feishu.cn%00.evil.example/docx/T",
    "https://fe\u0456shu.cn/docx/T",
    "https://feishu\uff0ecn/docx/T",
    "https://evil.example\u2215.feishu.cn/docx/T",
    "https://xn--feshu-o2e.cn/docx/T",
    "https://evil.example\\.feishu.cn/docx/T",
    "https://feishu.cn\\@evil.example/docx/T",
    "https://evil.example?.feishu.cn/docx/T",
    "https://evil.example#.feishu.cn/docx/T",
    "https://evil.example;.feishu.cn/docx/T",
    "https:///feishu.cn/docx/T",
    "https:feishu.cn/docx/T",
    "https://feishu.cn\t.evil.example/docx/T",
    "https://feishu.cn\n/docx/T",
    " https://feishu.cn/docx/T",
    "http://feishu.cn/docx/T",
    "HTTP://feishu.cn/docx/T",
    "ftp://feishu.cn/docx/T",
    "javascript:alert(1)//.feishu.cn",
    "data:text/html,https://feishu.cn/",
    "lark://feishu.cn/docx/T",
    "//feishu.cn/docx/T",
    "",
    # What leads on from the platform's own hosts to another.
    "https://applink.feishu.cn/client/web_url/open?mode=window&url=https%3A%2F%2Fevil.example%2F",
    "https://applink.feishu.cn/client/web_url/open?url=evil.example",
    "https://applink.feishu.cn/client/web_url/open?URL=%2F%2Fevil.example",
    "https://accounts.feishu.cn/authorize?app_id=cli_evil&redirect_uri=https%253A%252F%252Fevil.example",
    "https://www.feishu.cn/redirect?to=https:evil.example",
    "https://www.feishu.cn/redirect?to=%5C%5Cevil.example",
    "https://www.feishu.cn/redirect?https://evil.example",
    "https://www.feishu.cn/redirect?a=b;url=https://evil.example",
    "https://www.feishu.cn//evil.example",
    "https://www.feishu.cn/%2F%2Fevil.example",
    "https://www.feishu.cn/go/https:/evil.example",
    "https://www.feishu.cn/#https://evil.example",
    # The configured origins: exactly those.
    "http://127.0.0.1:8701/docx/T",
    "http://127.0.0.1:8700@evil.example/docx/T",
    "http://127.0.0.1:8700.evil.example/docx/T",
    "http://x@127.0.0.1:8700/docx/T",
    "https://127.0.0.1:8700/docx/T",
    "http://bot.example:8443/permissions",
    "https://bot.example/permissions",
]


@pytest.mark.parametrize("url", ELSEWHERE)
def test_any_other_is_text_with_its_host(url: str):
    assert LINKS.resolve(url) is None
    reply = Reply(None, ((Span(Words("Join", "加入会议"), url=url),),))
    posts = json.loads(render_reply(reply, LINKS).body)
    host = host_of(url)
    assert posts["en_us"]["content"] == [[{"tag": "text", "text": f"Join ({host})" if host else "Join"}]]
    assert posts["zh_cn"]["content"] == [
        [{"tag": "text", "text": f"加入会议（{host}）" if host else "加入会议"}]
    ]


@pytest.mark.parametrize(
    ("open_url", "shown"),
    [
        ("https://open.feishu.cn", "https://www.feishu.cn/docx/T"),
        ("https://open.larksuite.com", "https://www.larksuite.com/docx/T"),
        ("http://localhost:8700", "http://localhost:8700/docx/T"),
        ("https://open.of-our-own.example", None),
    ],
)
def test_a_path_alone_is_an_address_of_the_platforms(open_url: str, shown: str | None):
    assert trusted_links(open_url).resolve("/docx/T") == shown


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://zoom.us/j/1?pwd=x", "zoom.us"),
        ("https://feishu.cn@evil.example/", "evil.example"),
        ("https://fe\u0456shu.cn/", "xn--feshu-o2e.cn"),
        ("https://" + "a." * 100 + "example/", ""),
        ("https://[::1/", ""),
        ("/docx/T", ""),
    ],
)
def test_the_host_of_an_address_cannot_pass_for_another(url: str, host: str):
    assert host_of(url) == host


PIECES = [
    "https://",
    "feishu.cn",
    "evil.example",
    ".",
    "/",
    "\\",
    "@",
    ":",
    "?",
    "#",
    "%2f",
    "%2e",
    "url=",
    "&",
    "//",
    "x",
]


@given(st.lists(st.sampled_from(PIECES), max_size=10).map("".join) | st.text(max_size=40))
def test_whatever_is_a_link_leads_to_the_platform(url: str):
    for each in (url, f"https://feishu.cn{url}", f"https://{url}.feishu.cn/", f"https://feishu.cn/?u={url}"):
        shown = PLATFORM_LINKS.resolve(each)
        host_of(each)
        if shown is None:
            continue
        parsed = URL(shown)
        assert (parsed.scheme, parsed.user, parsed.explicit_port) == ("https", None, None)
        assert any(parsed.host == domain or str(parsed.host).endswith(f".{domain}") for domain in DOMAINS)

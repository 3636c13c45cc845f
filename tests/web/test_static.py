"""What the pages bring along for a browser."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

STATIC = files("bot.web").joinpath("static")
PAGES = ["page.html", "permissions.html", "client.html"]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_names_an_icon_and_all_that_it_names_is_there(page: str):
    """Without an icon browsers ask for /favicon.ico, which is not there, and complain."""
    html = STATIC.joinpath(page).read_text(encoding="utf-8")
    assert '<link rel="icon"' in html
    missing = [name for name in re.findall(r'"/static/([^"]+)"', html) if not STATIC.joinpath(name).is_file()]
    assert missing == []

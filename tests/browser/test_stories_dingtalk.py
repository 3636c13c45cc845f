"""The guide's stories on DingTalk as a visitor follows them, with plain and with interactive cards, and on a phone."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from bot.sandbox.dingtalk.sample_tenant import ADA, SAM, WEI

from .conftest import PHONE, ROOT, OpenPage, Sandbox, start_sandbox, stop_sandbox
from .test_in_client import wait_for_bot
from .test_stories import expect_nothing_sticks_out, ready
from .test_the_loop import ask

STORIES = re.findall(
    r"title: \"(.+?)\"", (ROOT / "bot/sandbox/dingtalk/static/guide.js").read_text(encoding="utf-8")
)


@pytest.fixture(scope="module", params=["plain", "interactive"])
def cards(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """One sandbox for all stories: each has a person of its own, or withdraws what it needs."""
    sandbox = start_sandbox(tmp_path_factory.mktemp("dingtalk"), "bot", platform="dingtalk")
    wait_for_bot(sandbox)
    yield sandbox
    assert stop_sandbox(sandbox) == 0

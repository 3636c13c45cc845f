"""The client's script, should it turn hostile: it runs on our origin, and reaches no session."""

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, expect

from .conftest import DESKTOP, PATIENCE, SAM, Sandbox, StartSandbox, stop_sandbox
from .test_in_client import CLIENT, card_link, wait_for_bot

TRIES_FOR = 180_000
HOSTILE = (Path(__file__).parent / "hostile_sdk.js").read_text(encoding="utf-8")


@pytest.fixture
def sandbox(tmp_path: Path, start_sandbox: StartSandbox) -> Iterator[Sandbox]:
    sandbox = start_sandbox(tmp_path, "bot")
    yield sandbox
    assert stop_sandbox(sandbox) == 0


def test_a_hostile_script_of_the_clients_reaches_no_session(sandbox: Sandbox, browser: Browser) -> None:
    wait_for_bot(sandbox)
    link = card_link(sandbox)
    permissions = urlsplit(link)._replace(path="/permissions").geturl()
    context = browser.new_context(viewport=DESKTOP, user_agent=CLIENT, locale="en-US")  # type: ignore[arg-type]
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.goto(f"{sandbox.url}sandbox/login?person={SAM}&next=/sandbox/static/favicon.svg")
    page.goto(permissions)
    expect(page.locator("header")).to_contain_text("Signed in as Sam Rivera")
    proof = page.locator("input[name=proof]").first.get_attribute("value")
    session = next(each for each in context.cookies() if each["name"].endswith("bot_session"))["value"]  # type: ignore[typeddict-item]
    assert proof is not None

    client = context.new_page()
    client.route(
        "**/sandbox/jssdk.js*", lambda route: route.fulfill(body=HOSTILE, content_type="text/javascript")
    )
    client.goto(urlsplit(link)._replace(path="/oauth/lark/client", fragment="sign-in").geturl())
    tried = client.locator("html[data-got]")
    tried.wait_for(state="attached", timeout=TRIES_FOR)
    got: dict[str, str] = json.loads(tried.get_attribute("data-got") or "")

    assert len(got) >= 40
    assert got["storage"] == "{}"
    for name, what in got.items():
        for secret in (proof, session, "Sam Rivera", "Signed in", "Cancel request", "/tasks"):
            assert secret not in what, name
    refused = {
        name for name, what in got.items() if what.startswith(("refused", "null", "undefined", "nothing"))
    }
    assert {each for each in got if each.startswith(("fetch", "post", "no-cors"))} <= refused
    assert {"xhr", "service worker", "worker", "blob worker", "script", "module", "image", "style"} <= refused
    assert {each for each in got if each.startswith("window")} - {
        "window refused",
        "window refused, post",
    } <= refused
    for name in ("window refused", "window refused, post"):
        assert got[name].startswith(("403 basic This page cannot be embedded or fetched", "refused")), got[
            name
        ]

    page.goto(permissions)
    expect(page.locator("header")).to_contain_text("Signed in as Sam Rivera")
    expect(page.locator(".waiting")).to_contain_text("/tasks")
    context.close()

"""A card's link in the hands of another site's page, in a real browser: what it embeds opens nothing."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Browser, Page, expect

from .conftest import DESKTOP, PATIENCE, Sandbox
from .test_in_client import link, sandbox

__all__ = ["link", "sandbox"]


def openings(sandbox: Sandbox) -> int:
    (file,) = sandbox.directory.rglob("bot.db")
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
        return int(database.execute("SELECT count(*) FROM authorization_attempts").fetchone()[0])


@contextmanager
def other_site(body: str) -> Iterator[str]:
    """Another site's page: `localhost` is not the site of 127.0.0.1, and no browser keeps it from going there."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(f"<!doctype html><title>x</title>{body}".encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://localhost:{server.server_port}/"
        server.shutdown()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport=DESKTOP, locale="en-US")  # type: ignore[arg-type]
    context.set_default_timeout(PATIENCE)
    yield context.new_page()
    context.close()


def test_what_another_sites_page_embeds_or_fetches_opens_nothing(
    sandbox: Sandbox, page: Page, link: str
) -> None:
    body = (
        f"<img src='{link}?image'><iframe src='{link}?frame'></iframe><script src='{link}?script'></script>"
        f"<script>fetch('{link}?fetch', {{mode: 'no-cors'}})</script>"
    )
    asked: set[str] = set()
    answered: dict[str, int] = {}
    page.on("request", lambda request: asked.add(request.url.rpartition("?")[2]))
    page.on(
        "response", lambda response: answered.setdefault(response.url.rpartition("?")[2], response.status)
    )
    with other_site(body) as url:
        page.goto(url, wait_until="networkidle")
    assert asked >= {"image", "frame", "script", "fetch"}
    # What is no image or script is kept from a page that takes it for one.
    assert answered.items() >= {"frame": 200, "fetch": 200}.items()
    assert openings(sandbox) == 0


def test_a_page_that_sends_the_browser_to_the_link_is_met_by_a_question(
    sandbox: Sandbox, page: Page, link: str
) -> None:
    with other_site(f"<script>location = '{link}'</script>") as url:
        page.goto(url)
        expect(page.locator("h1")).to_have_text("Continue to authorize?")
    assert openings(sandbox) == 0
    page.get_by_role("link", name="Continue").click()
    page.wait_for_url("**/sandbox/consent?id=*")
    assert openings(sandbox) == 1


def test_a_link_on_another_sites_page_that_a_person_clicks_leads_on(
    sandbox: Sandbox, page: Page, link: str
) -> None:
    with other_site(f"<a href='{link}'>Authorize</a>") as url:
        page.goto(url)
        page.get_by_role("link", name="Authorize").click()
        page.wait_for_url("**/sandbox/consent?id=*")

"""The control API has no password: that other sites cannot reach it is its whole protection."""

from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest

from .conftest import Sandbox


def ask(platform: Sandbox, method: str, path: str, **headers: str) -> tuple[int, dict[str, str]]:
    address = urlsplit(platform.url).netloc
    connection = HTTPConnection(address, timeout=5)
    try:
        connection.putrequest(method, path, skip_host="Host" in headers)
        for name, value in {"Content-Length": "2", **headers}.items():
            connection.putheader(name.replace("_", "-"), value.replace("SELF", address))
        connection.endheaders(b"{}" if method == "POST" else None)
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}
    finally:
        connection.close()


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.test"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Host": "rebound.test"},
        {"Host": "127.0.0.1.rebound.test:8700"},
    ],
)
def test_another_site_can_change_nothing(platform: Sandbox, headers: dict[str, str]) -> None:
    status, _ = ask(platform, "POST", "/sandbox/api/faults", **headers)
    assert status == 403
    assert platform.state()["faults"] == []


@pytest.mark.parametrize("headers", [{"Host": "rebound.test"}, {"Sec_Fetch_Site": "cross-site"}])
def test_another_site_can_read_nothing(platform: Sandbox, headers: dict[str, str]) -> None:
    status, _ = ask(platform, "GET", "/sandbox/api/state", **headers)
    assert status == 403


def test_its_own_page_and_local_tools_are_let_in(platform: Sandbox) -> None:
    own = {"Origin": "http://SELF", "Sec_Fetch_Site": "same-origin"}
    assert ask(platform, "GET", "/sandbox/api/state", **own)[0] == 200
    assert ask(platform, "GET", "/sandbox/api/state")[0] == 200
    assert ask(platform, "GET", "/", Host="localhost:8700")[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/sandbox/consent?id=x",
        "/sandbox/api/state",
        "/sandbox/static/app.js",
        "/sandbox/lark/static/consent.js",
        "/sandbox/platform.js",
    ],
)
def test_every_page_is_hardened(platform: Sandbox, path: str) -> None:
    _, headers = ask(platform, "GET", path)
    assert "default-src 'self'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"

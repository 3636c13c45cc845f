"""Which proxy a request takes, from the environment alone."""

import pytest

from bot.core.network import read_network

OPEN = "https://open.larksuite.com"
PROXY = "http://proxy.example.com:3128"


def taken(url: str, **environ: str) -> str | None:
    network, problems = read_network(environ)
    assert problems == []
    proxy = network.proxy_for(url)
    return proxy and proxy.url


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (PROXY, PROXY),
        ("proxy.example.com:3128", PROXY),
        ("HTTP://Proxy.Example.com:3128/", PROXY),
        (" http://proxy.example.com:3128 ", PROXY),
        ("http://proxy.example.com", "http://proxy.example.com:80"),
        ("https://proxy.example.com", "https://proxy.example.com:443"),
        ("10.0.0.7:8080", "http://10.0.0.7:8080"),
        ("http://[fd00::7]:8080", "http://[fd00::7]:8080"),
        ("http://user:pass@proxy.example.com:3128", PROXY),
        ("user@proxy.example.com:3128", PROXY),
        ("", None),
    ],
)
def test_an_address_is_read_as_other_programs_read_it(written: str, read: str | None) -> None:
    assert taken(OPEN, HTTPS_PROXY=written) == read


@pytest.mark.parametrize(
    "written",
    [
        "socks5://proxy.example.com:1080",
        "http://",
        "http://proxy.example.com:99999",
        "http://proxy.example.com:0",
        "http://proxy.example.com:3128/path",
        "http://user:p@ss/word@proxy.example.com:3128",
        "http://user:line%0Abreak-secret@proxy.example.com:3128",
        "proxy example com",
    ],
)
def test_what_is_none_is_a_line_that_repeats_nothing_of_it(written: str) -> None:
    _, problems = read_network({"HTTPS_PROXY": written})
    (line,) = problems
    assert line.startswith("HTTPS_PROXY: is not the address of an HTTP proxy. Write it like http://")
    assert "\n" not in line
    for secret in ("ss/word", "secret", "1080"):
        assert secret not in line


def test_credentials_are_decoded_and_shown_nowhere() -> None:
    network, _ = read_network({"HTTPS_PROXY": "http://us%65r:p%40ss%3Aword@proxy.example.com:3128"})
    proxy = network.proxy_for(OPEN)
    assert proxy is not None
    assert proxy.password is not None
    assert (proxy.user, proxy.password.reveal()) == ("user", "p@ss:word")
    assert "p@ss" not in repr(network)
    assert "@" not in proxy.url


@pytest.mark.parametrize(
    ("url", "variable"),
    [
        ("https://open.feishu.cn/open-apis/x?y=1", "HTTPS_PROXY"),
        ("wss://msg-frontier.feishu.cn/ws/v2?device_id=1", "HTTPS_PROXY"),
        ("http://gateway.example/x", "HTTP_PROXY"),
        ("ws://gateway.example/ws", "HTTP_PROXY"),
    ],
)
def test_a_socket_goes_the_way_of_requests(url: str, variable: str) -> None:
    other = "HTTP_PROXY" if variable == "HTTPS_PROXY" else "HTTPS_PROXY"
    assert taken(url, **{variable: PROXY}) == PROXY
    assert taken(url, **{variable.lower(): PROXY}) == PROXY
    assert taken(url, **{other: PROXY}) is None
    assert taken(url, **{variable: PROXY, variable.lower(): "other:1"}) == "http://other:1"
    assert taken(url, **{variable: PROXY, variable.lower(): ""}) is None


@pytest.mark.parametrize(
    ("exceptions", "host", "excepted"),
    [
        ("open.larksuite.com", "open.larksuite.com", True),
        ("larksuite.com", "open.larksuite.com", True),
        (".larksuite.com", "open.larksuite.com", True),
        ("*.larksuite.com", "open.larksuite.com", True),
        ("LARKSUITE.com.", "open.larksuite.com", True),
        ("suite.com", "open.larksuite.com", False),
        ("a.example, larksuite.com ,b.example", "open.larksuite.com", True),
        ("a.example larksuite.com", "open.larksuite.com", True),
        ("*", "open.larksuite.com", True),
        ("larksuite.com:443", "open.larksuite.com", True),
        ("larksuite.com:8443", "open.larksuite.com", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3:443", "10.1.2.3", True),
        ("10.1.2.4", "10.1.2.3", False),
        ("10.0.0.0/8", "110.1.2.3", False),
        ("fd00::/8", "[fd00::7]", True),
        ("[fd00::7]:443", "[fd00::7]", True),
        ("[fd00::7]:80", "[fd00::7]", False),
        ("", "open.larksuite.com", False),
        (" , ,", "open.larksuite.com", False),
        (".", "open.larksuite.com", False),
    ],
)
def test_no_proxy(exceptions: str, host: str, excepted: bool) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        environ = {"HTTPS_PROXY": PROXY, name: exceptions}
        assert (taken(f"https://{host}/x", **environ) is None) is excepted


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "localhost", "[::1]"])
def test_a_proxy_elsewhere_is_not_asked_for_this_machine(host: str) -> None:
    assert taken(f"http://{host}:8700/x", HTTP_PROXY=PROXY) is None
    assert taken(f"https://{host}:8700/x", HTTPS_PROXY=PROXY) is None
    assert taken(f"http://{host}:8700/x", HTTP_PROXY="http://localhost:7890") == "http://localhost:7890"

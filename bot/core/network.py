"""How the process reaches other hosts: which proxy a request uses, and which certificates are trusted.

The settings are HTTPS_PROXY, HTTP_PROXY, NO_PROXY and SSL_CERT_FILE. The first three are read in either case, as curl
and most other programs do. Messages never show a proxy's credentials.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from bot.core.secrets import Secret

DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
VARIABLES = {"https": "HTTPS_PROXY", "wss": "HTTPS_PROXY", "http": "HTTP_PROXY", "ws": "HTTP_PROXY"}
"""The variable that names the proxy for a scheme. WebSockets use the proxy of HTTP."""
EXCEPTIONS = "NO_PROXY"


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy."""

    url: str
    """Without credentials, so that it can be shown."""
    user: str = ""
    password: Secret | None = None

    @property
    def is_local(self) -> bool:
        return is_loopback(urlsplit(self.url).hostname or "")


@dataclass(frozen=True, slots=True)
class ServerTime:
    """What a server's clock showed."""

    unix: float
    received: float
    """The monotonic time at which that was received."""


@dataclass(frozen=True, slots=True)
class Network:
    """How to reach other hosts: by default directly, with the certificates that the system trusts."""

    proxies: Mapping[str, Proxy] | None = None
    """Keyed by the name of the variable."""
    exceptions: tuple[str, ...] = ()
    """The entries of NO_PROXY."""
    certificates: str | None = None
    """A file of certificates that are trusted in addition to the system's."""

    def proxy_for(self, url: str) -> Proxy | None:
        """Return the proxy for a URL, or None for a direct connection.

        Loopback addresses are reached directly, because on the host of a remote proxy they would be that host.
        """
        if not self.proxies:
            return None
        parts = urlsplit(url)
        proxy = self.proxies.get(VARIABLES[parts.scheme])
        host, port = parts.hostname or "", parts.port or DEFAULT_PORTS[parts.scheme]
        if proxy is None or (is_loopback(host) and not proxy.is_local):
            return None
        return None if any(matches(each, host, port) for each in self.exceptions) else proxy


DIRECT = Network()


def is_loopback(host: str) -> bool:
    """Return whether a host is certainly this machine. Names below `localhost` do not count: DNS may resolve them."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def matches(exception: str, host: str, port: int) -> bool:
    """Return whether an entry of NO_PROXY matches a host.

    An entry is `*`, a domain that includes its subdomains, an address or a network. Each may have a port. A leading
    dot or `*.` of a domain is ignored.
    """
    if exception == "*":
        return True
    name, required_port = split_port(exception)
    if required_port not in (None, port):
        return False
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(name, strict=False)
    except ValueError:
        domain = name.removeprefix("*").removeprefix(".").removesuffix(".").lower()
        host = host.removesuffix(".").lower()
        return bool(domain) and (host == domain or host.endswith(f".{domain}"))


def split_port(exception: str) -> tuple[str, int | None]:
    """Return the host and port of `host:8443` or `[::1]:8443`. An IPv6 address without brackets has no port."""
    match = re.fullmatch(r"\[([^\]]+)\](?::(\d+))?|([^:]+):(\d+)", exception)
    if match is None:
        return exception, None
    port = match[2] or match[4]
    return match[1] or match[3], int(port) if port else None


# --- reading the environment ---------------------------------------------------------------------------------


def read_network(environ: Mapping[str, str]) -> tuple[Network, list[str]]:
    """Return the network that the environment describes, and a message for each problem."""
    proxies, problems = {}, []
    for name in sorted(set(VARIABLES.values())):
        value = in_either_case(environ, name)
        if not value:
            continue
        try:
            proxies[name] = read_proxy(value)
        except ValueError:
            problems.append(
                f"{name}: is not the address of an HTTP proxy. Write it like http://proxy.example.com:3128, or "
                "http://USER:PASSWORD@proxy.example.com:3128 with @ / : ? # % as %40 %2F %3A %3F %23 %25."
            )
    exceptions = tuple(filter(None, re.split(r"[,\s]+", in_either_case(environ, EXCEPTIONS))))
    certificates = environ.get("SSL_CERT_FILE", "").strip() or None
    return Network(proxies, exceptions, certificates), problems


def in_either_case(environ: Mapping[str, str], name: str) -> str:
    """Return a variable's value. The lower-case name overrides the other, even if it is empty."""
    return environ.get(name.lower(), environ.get(name, "")).strip()


_PROXY = re.compile(
    r"(?:(?P<scheme>https?)://)?(?:(?P<user>[^@/:?#]*)(?::(?P<password>[^@/:?#]*))?@)?"
    r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?/?",
    re.IGNORECASE,
)


def read_proxy(value: str) -> Proxy:
    """Parse the address of an HTTP proxy; the scheme is optional. Raises ValueError for anything else, such as SOCKS."""
    match = _PROXY.fullmatch(value)
    if match is None:
        raise ValueError("not an HTTP proxy")
    scheme = (match["scheme"] or "http").lower()
    port = int(match["port"] or DEFAULT_PORTS[scheme])
    if not 0 < port <= 65535:
        raise ValueError("not a port")
    user, password = unquote(match["user"] or ""), unquote(match["password"] or "")
    if not (user + password).isprintable() or ":" in user:
        raise ValueError("credentials that a header cannot carry")
    url = f"{scheme}://{match['host'].lower()}:{port}"
    return Proxy(url, user, Secret(password) if user or password else None)

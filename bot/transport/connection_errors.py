"""Describes why a connection failed, for logs and operators."""

from __future__ import annotations

import aiohttp

NOTHING_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.ClientHttpProxyError)
"""Errors while connecting, to the proxy or through it: the request was certainly not sent."""


def describe_error(problem: Exception) -> str:
    """Describe an error without its URL, which may contain what a user searched for."""
    match problem:
        case aiohttp.ClientConnectorCertificateError():
            return describe_certificate_error(problem.host, problem.certificate_error)
        case aiohttp.ClientConnectorSSLError():
            return f"no TLS with {problem.host} ({tls_reason(problem)})"
        case aiohttp.ClientProxyConnectionError():
            return f"no connection to the proxy {problem.host}:{problem.port}"
        case aiohttp.ClientHttpProxyError(status=status):
            proxy = problem.request_info.real_url
            why = "requires other credentials" if status == 407 else "refuses the connection"
            return f"the proxy {proxy.host}:{proxy.port} {why} (HTTP {status})"
        case aiohttp.ClientConnectorError():
            return f"no connection to {problem.host}"
        case TimeoutError():
            return "no response in time"
    return f"the connection broke ({type(problem).__name__})"


UNTRUSTED = frozenset({2, 18, 19, 20, 21})
"""OpenSSL's `verify_code` for a certificate of an unknown authority."""

NOT_YET_VALID, EXPIRED = 9, 10

WRONG_NAME = frozenset({62, 64})


def describe_certificate_error(host: str, problem: Exception) -> str:
    """Describe a certificate error and, for the usual ones, what to do about it."""
    code = getattr(problem, "verify_code", None)
    if code in UNTRUSTED:
        return f"the certificate of {host} is not trusted; set SSL_CERT_FILE"
    if code in WRONG_NAME:
        return f"the certificate of {host} is for another name; check the address, or look for a TLS-inspecting proxy"
    if code == EXPIRED:
        return f"the certificate of {host} has expired, or this machine's clock is wrong"
    if code == NOT_YET_VALID:
        return f"the certificate of {host} is not valid yet, or this machine's clock is wrong"
    return (
        f"the certificate of {host} is not accepted: {getattr(problem, 'verify_message', 'unknown reason')}"
    )


def tls_reason(problem: aiohttp.ClientConnectorSSLError) -> str:
    reason = getattr(problem.os_error, "reason", None)
    return str(reason or "the handshake failed").replace("_", " ").lower()

"""The signatures of HTTP pushes: of bot messages by the client secret, of card callbacks by the route's secret."""

import base64
import hashlib
import hmac


def _sign(key: str, message: str) -> str:
    return base64.b64encode(hmac.new(key.encode(), message.encode(), hashlib.sha256).digest()).decode()


def message_headers(client_secret: str, at_ms: int) -> dict[str, str]:
    """Return the headers of a bot message. Its body is neither signed nor encrypted."""
    timestamp = str(at_ms)
    return {
        "Content-Type": "application/json; charset=utf-8",
        "timestamp": timestamp,
        "sign": _sign(client_secret, f"{timestamp}\n{client_secret}"),
    }


def card_headers(api_secret: str, at_ms: int) -> dict[str, str]:
    """Return the headers of a card callback."""
    timestamp = str(at_ms)
    return {
        "Content-Type": "application/json; charset=utf-8",
        "x-ddpaas-signature-timestamp": timestamp,
        "x-ddpaas-signature": _sign(api_secret, timestamp),
    }

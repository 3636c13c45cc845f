"""Remembers where replies to recent messages can be posted. In memory only: after a restart, other routes are used."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

from bot.core.people import UserKey
from bot.dingtalk.events import ReceivedMessage, ReplySession

MAX_SESSIONS = 5000

MAX_REPLY_DELAY = 20.0
"""Seconds after the message in which its session is used. The platform documents a lifetime of 90 minutes, but half a
minute has been reported, and an answer that waited for a consent must not depend on it."""

DOMAINS = ("dingtalk.com", "dingtalk.io")


@dataclass(frozen=True, slots=True)
class KeptSession:
    session: ReplySession
    user: UserKey
    received_at: float


class ReplySessions:
    """The sessions of recent messages. One whose URL is not the platform's is dropped, so that the caller of a webhook
    cannot choose where replies are posted."""

    def __init__(self, oapi_url: str) -> None:
        self._origin = oapi_url
        self._by_message: OrderedDict[str, KeptSession] = OrderedDict()

    def keep(self, message: ReceivedMessage) -> None:
        session, event = message.session, message.event
        if session is None or not is_platform_url(session.url.reveal(), self._origin):
            return
        self._by_message[event.message_id] = KeptSession(session, event.user, time.monotonic())
        self._by_message.move_to_end(event.message_id)
        while len(self._by_message) > MAX_SESSIONS:
            self._by_message.popitem(last=False)

    def find(self, message_id: str | None) -> ReplySession | None:
        """Return the session of a message, or None if it is unknown, too old or expired."""
        kept = self._by_message.get(message_id or "")
        if kept is None or time.monotonic() - kept.received_at > MAX_REPLY_DELAY:
            return None
        return kept.session if kept.session.expires_at > datetime.now(UTC) else None

    def forget_user(self, user: UserKey) -> None:
        """Drop the sessions of a user who is asked for consent: the answers that follow are too late for them."""
        for message_id in [each for each, kept in self._by_message.items() if kept.user == user]:
            del self._by_message[message_id]


def is_platform_url(url: str, origin: str) -> bool:
    """Whether a URL is the platform's. Replies must not be posted anywhere else."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    if f"{parts.scheme}://{parts.netloc}" == origin:
        return True
    host = parts.hostname or ""
    return (
        parts.scheme == "https"
        and port in {None, 443}
        and parts.username is None
        and any(host.endswith(f".{domain}") for domain in DOMAINS)
    )

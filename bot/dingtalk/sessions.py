"""Keeps where replies to recent messages can be posted, in memory: after a restart the other routes are used."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

from bot.core.people import UserKey
from bot.dingtalk.events import ReceivedMessage, ReplySession

MAX_SESSIONS = 5000

PROMPT_FOR = 20.0
"""Seconds after the message in which an answer counts as prompt. The platform documents a lifetime of 90 minutes, but
half a minute has been reported, and an answer that waited for a consent must not depend on it."""

DOMAINS = ("dingtalk.com", "dingtalk.io")


@dataclass(frozen=True, slots=True)
class KeptSession:
    session: ReplySession
    user: UserKey
    received_at: float


class ReplySessions:
    """Not for the webhook's caller to choose: an address that is not the platform's is not kept."""

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
        """Return where to reply to a message, if an answer is still prompt."""
        kept = self._by_message.get(message_id or "")
        if kept is None or time.monotonic() - kept.received_at > PROMPT_FOR:
            return None
        return kept.session if kept.session.expires_at > datetime.now(UTC) else None

    def forget_user(self, user: UserKey) -> None:
        """Forget the sessions of a user who is asked for consent: the answers that follow have waited for it."""
        for message_id in [each for each, kept in self._by_message.items() if kept.user == user]:
            del self._by_message[message_id]


def is_platform_url(url: str, origin: str) -> bool:
    """Whether an address is the platform's: what the bot answers must not be posted to anyone else."""
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

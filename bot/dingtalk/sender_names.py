"""Remembers the names of senders, which each message tells, until the bot has stored them."""

from __future__ import annotations

from collections import OrderedDict

from bot.core.people import UserKey
from bot.core.unseen_characters import one_line

MAX_KNOWN = 20_000
MAX_LENGTH = 200


class SenderNames:
    """The port's directory. It asks the platform for nothing."""

    is_readable = True

    def __init__(self) -> None:
        self._names: OrderedDict[UserKey, str] = OrderedDict()

    def learn(self, user: UserKey, name: str) -> None:
        self._names[user] = one_line(name, MAX_LENGTH)
        self._names.move_to_end(user)
        while len(self._names) > MAX_KNOWN:
            self._names.popitem(last=False)

    async def name_of(self, user: UserKey) -> str | None:
        return self._names.get(user) or None

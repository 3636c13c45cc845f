"""Runs a command without a bot, for tests of commands: returns its next move, given the results so far."""

from __future__ import annotations

from datetime import UTC, datetime

from bot.core.api import ApiCall, Json, Refused
from bot.core.commands import Ask, BotCall, Command, Result, advance
from bot.core.messages import Chat, Reply
from bot.core.people import UserKey

A_USER = UserKey("platform", "app", "tenant", "user")
ASKED_AT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


def asked(arguments: str = "", *, time_zone: str | None = None) -> Ask:
    """Return an ask in a direct chat, on a Monday morning."""
    return Ask("call-1", A_USER, Chat("chat", "direct"), arguments, ASKED_AT, "en", time_zone)


def after(command: Command, arguments: str = "", *results: Json | Refused) -> ApiCall | BotCall | Reply:
    """Return the command's next move, given the results of the moves before it.

    A result is the JSON of the response, or `Refused`.
    """
    recorded = [Result(refused=each) if isinstance(each, Refused) else Result(value=each) for each in results]
    return advance(command, asked(arguments), recorded)

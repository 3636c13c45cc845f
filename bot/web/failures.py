"""Failures of ours in the log: while the database is away, anybody can cause one with each request."""

from __future__ import annotations

import logging

from bot.flows.bot import Bot


def note_failure(bot: Bot, route: str, error: Exception) -> None:
    bot.refusals.note("request failed", f"{type(error).__name__} at {route}", logging.ERROR, error)

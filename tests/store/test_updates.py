"""Compare-and-set: a statement that changes a row names what it found there, a status, a claim or a number, and not the
row alone."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

from sqlalchemy import Update
from sqlalchemy.sql import visitors
from sqlalchemy.sql.schema import Column

import bot.store

LAST_ONE_WINS = {
    "audit.CHANGE": "the retention that was set last",
    "call_steps.ERASE": "follows the compare-and-set that settles the call, in its transaction",
    "calls.DROP_KEPT": "what is erased twice is erased",
    "calls.ERASE_WITH_STEPS": "follows the compare-and-set that settles the call, in its transaction",
    "calls.ERASE_WRITTEN": "follows the compare-and-set that settles the call, in its transaction",
    "calls.ATTACH": "the request whose card showed the call last",
    "cards.CHANGE": "counts up: one more drawing of a card does no harm",
    "cards.CHANGE_AND_GET": "counts up",
    "cards.CHANGE_AND_CLAIM": "counts up, and compares the lease with the time",
    "cards.GIVE_UP": "follows the compare-and-set that supersedes the request, in its transaction",
    "reactions.MAKE_DUE": "a reaction that is due earlier is only removed earlier",
    "reactions.PLACED": "the id that the platform gave; an answer in the meantime is seen by the returned time",
    "reactions.CLAIM": "a reaction that is removed twice is removed",
    "sessions.TOUCH": "when it was last used, to the minute",
    "requests.STAMP_OPENED": "the first one stays",
    "users.CONSENTED": "what the platform last told",
    "users.NAME": "what the platform last told",
    "users.SET_QUIET": "what the person last did",
    "users.SET_TIME_ZONE": "what a client last told",
}


def updates() -> Iterator[tuple[str, Update]]:
    for module in pkgutil.iter_modules(bot.store.__path__):
        for name, value in vars(importlib.import_module(f"bot.store.{module.name}")).items():
            several = value.values() if isinstance(value, dict) else [value]
            yield from ((f"{module.name}.{name}", each) for each in several if isinstance(each, Update))


def names_only_the_row(statement: Update) -> bool:
    assert statement.whereclause is not None
    compared = {each for each in visitors.iterate(statement.whereclause) if isinstance(each, Column)}
    return compared <= set(statement.table.primary_key)  # type: ignore[attr-defined]


def test_every_update_names_what_it_found() -> None:
    found = list(updates())
    assert len(found) > 40
    assert {name for name, each in found if names_only_the_row(each)} == set(LAST_ONE_WINS)

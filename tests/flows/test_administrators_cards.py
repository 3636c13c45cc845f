"""A late update of an administrator's card does not stay in place of a newer one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from bot.flows.administrators import record_version
from bot.store import scope_waits
from bot.store.cards import RenderedCard
from bot.store.keyring import Keyring, new_key
from bot.store.open_database import open_database
from bot.store.scope_waits import ScopeWait
from bot.store.transaction import Database
from tests.store.examples import NOW, claim_by

SCOPES = frozenset({"task:task:write"})
LATER = NOW + timedelta(minutes=5)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = await open_database(database_url, Keyring([new_key()]), "lark:cli_1")
    yield database
    await database.close()


def rendered(wait: ScopeWait) -> RenderedCard:
    return RenderedCard(wait.id, wait.card.claim, wait.card.wanted)


async def test_cards_that_a_worker_updates_after_it_lost_its_claim_are_due_again(database: Database) -> None:
    late = await database.write(
        lambda c: scope_waits.open(
            c, ("lark", "cli_1"), SCOPES, NOW, claim_by(c, "late", NOW, NOW + timedelta(seconds=20))
        )
    )
    await database.write(lambda c: scope_waits.enabled(c, late.id, NOW))
    (newer,) = await database.write(
        lambda c: scope_waits.claim_due_cards(c, claim_by(c, "newer", LATER, LATER), limit=5)
    )
    await database.write(lambda c: record_version(c, rendered(newer), LATER))
    due = lambda c: scope_waits.claim_due_cards(c, claim_by(c, "next", LATER, LATER), limit=5)  # noqa: E731
    assert await database.write(due) == []  # they show that the scopes are enabled
    await database.write(lambda c: record_version(c, rendered(late), LATER))
    (again,) = await database.write(due)
    await database.write(lambda c: record_version(c, rendered(again), LATER))
    assert await database.write(due) == []

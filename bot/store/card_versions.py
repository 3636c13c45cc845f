"""Versions of cards: a row has the version that its card should show, and the version that the card does show.

These are values for an UPDATE that changes what a card should show. They make the card due: see `cards`.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import literal_column

from bot.store.schema import authorization_requests as requests
from bot.store.schema import scope_waits as waits
from bot.store.statements import bind

REQUEST_CARD_CHANGED: dict[str, Any] = {
    "card_wanted": requests.c.card_wanted + 1,
    "card_attempts": literal_column("0"),
    "card_due_at": bind("now", requests.c.card_due_at),
}
SCOPE_WAIT_CARDS_CHANGED: dict[str, Any] = {
    "cards_wanted": waits.c.cards_wanted + 1,
    "cards_due_at": bind("now", waits.c.cards_due_at),
}

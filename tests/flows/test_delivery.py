"""Which way a private word about a call goes first."""

from __future__ import annotations

from datetime import timedelta

import pytest

from bot.core.messages import Content, Destination
from bot.core.people import UserKey
from bot.flows.outbox import SHOWN_IN_GROUP_FOR, is_shown_in_group_first
from bot.store.ids import new_id
from bot.store.outbox import NewMessage, claimed
from tests.store.examples import NOW

SAM = UserKey("lark", "cli_1", "t", "ou_1")


@pytest.mark.parametrize(
    ("kind", "waited", "shown"),
    [
        ("answer", timedelta(0), True),
        ("note", timedelta(minutes=9), True),
        ("answer", SHOWN_IN_GROUP_FOR, False),
        ("answer", timedelta(hours=20), False),
        ("note", timedelta(days=1), False),
        # A card that is to be changed later.
        ("confirmation_card", timedelta(0), False),
        ("notice", timedelta(0), False),
    ],
)
def test_a_private_word_is_shown_in_the_group_only_while_its_asker_is_there(kind, waited, shown):
    to = Destination(SAM, "oc_1", None, private=True)
    message = claimed(
        NewMessage(new_id(NOW + waited), SAM, kind, "key", to, Content("post", "{}"), new_id(NOW)), NOW
    )
    assert is_shown_in_group_first(message, NOW + waited) is shown

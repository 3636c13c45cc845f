"""What `bot errors` tells: kinds of failures, how often, since when, and who was affected."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from bot import cli_output
from bot.core.api import ApiOutcome
from bot.core.people import UserKey
from bot.store import api_calls, audit, operator_numbers, users
from bot.store.operator_queries import Filter
from bot.store.transaction import Connection, Database
from tests.documented_keys import require
from tests.store.examples import ANNA, APP, BEN, NOW, a_made_call

FAILED = {"status": 500, "code": "1", "outcome": ApiOutcome.REFUSED}


def user(number: int) -> UserKey:
    return UserKey("lark", "cli_1", "tenant_1", f"ou_user_{number:03}")


async def errors(database: Database, chosen: Filter | None = None) -> list[dict[str, Any]]:
    later = NOW + timedelta(days=1)
    rows = await database.read(lambda c: operator_numbers.errors(c, chosen or Filter(), later))
    for row in rows:
        require("errors", row)
        for each in row["affected"]:
            require("errors.affected", each)
    return rows


async def failed_for(database: Database, number: int, *, named: bool = True, **values: Any) -> None:
    """An API call fails once for each of these users, one second after the other."""

    def work(c: Connection) -> None:
        for each in range(number):
            at = NOW + timedelta(seconds=each)
            if named:
                users.seen(c, user(each), language="en", union_id=None, now=NOW)
                users.name_user(c, user(each), f"Name {each}", NOW)
            api_calls.record(c, [a_made_call(user(each), at, **(FAILED | values))])

    await database.write(work)


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (1, "affected: Name 0"),
        (3, "affected: Name 2, Name 1, Name 0"),
        (4, "affected: Name 3, Name 2, Name 1 and 1 more"),
        (25, "affected: Name 24, Name 23, Name 22 and 22 more"),
    ],
)
async def test_the_users_who_were_affected_last_are_named_and_the_others_counted(
    database: Database, number: int, shown: str
) -> None:
    await failed_for(database, number)
    (row,) = await errors(database)
    assert (row["count"], row["users"]) == (number, number)
    assert [each["name"] for each in row["affected"]] == [f"Name {each}" for each in reversed(range(number))][
        :20
    ]
    text = cli_output.as_text("errors", [row])
    assert shown in text
    wide = cli_output.as_text("errors", [row], cli_output.Layout(wide=True))
    assert all(each["name"] in wide for each in row["affected"])
    assert ("and 5 more" in wide) == (number == 25)


async def test_a_user_without_a_name_is_told_by_id_and_of_two_with_one_name_each_by_both(
    database: Database,
) -> None:
    def name(c: Connection) -> None:
        for each in (ANNA, BEN):
            users.seen(c, each, language="en", union_id=None, now=NOW)
            users.name_user(c, each, "Kim, 金", NOW)
        for number, each in enumerate((user(1), ANNA, BEN)):
            api_calls.record(c, [a_made_call(each, NOW + timedelta(seconds=number), **FAILED)])

    await database.write(name)
    (row,) = await errors(database)
    text = " ".join(cli_output.as_text("errors", [row]).split())
    assert "affected: Kim, 金 ou_ben, Kim, 金 ou_anna, ou_user_001" in text


async def test_a_name_cannot_control_the_terminal(database: Database) -> None:
    def work(c: Connection) -> None:
        users.seen(c, ANNA, language="en", union_id=None, now=NOW)
        users.name_user(c, ANNA, "\x1b[2J\u202eA", NOW)
        api_calls.record(c, [a_made_call(**FAILED)])

    await database.write(work)
    text = cli_output.as_text("errors", await errors(database))
    assert "\x1b" not in text
    assert "\u202e" not in text


async def test_each_kind_of_failure_tells_whom_it_affected(database: Database) -> None:
    """An API whose ids differ counts together; a rejected callback may concern nobody who is known."""
    await failed_for(database, 2, path="/open-apis/docx/v1/documents/doxcnAAAA1111")
    await failed_for(database, 3, path="/open-apis/docx/v1/documents/doxcnBBBB2222")

    def audited(c: Connection) -> None:
        for each in (ANNA, BEN, ANNA):
            audit.write(c, "refresh_failed", user=each, now=NOW)
        audit.write(c, "callback_rejected", user=None, now=NOW, app=APP)

    await database.write(audited)
    found = {row["what"]: row for row in await errors(database)}
    assert {what: (row["count"], row["users"], len(row["affected"])) for what, row in found.items()} == {
        "GET /open-apis/docx/v1/documents/*": (5, 3, 3),
        "refresh failed": (3, 2, 2),
        "callback rejected": (1, 0, 0),
    }
    assert "affected" not in cli_output.as_text("errors", [found["callback rejected"]])
    (row,) = await errors(database, Filter(user=BEN))
    assert [each["user_key"] for each in row["affected"]] == [str(BEN)]

"""The statuses that the database allows are those of `core.lifecycle`."""

from __future__ import annotations

import re
from typing import Any

import pytest
from sqlalchemy import CheckConstraint, Text

from bot.core.lifecycle import LIFECYCLES, live, settled
from bot.store.schema import metadata
from tests.status_triggers import KIND_OF

TABLES = pytest.mark.parametrize("table", KIND_OF)


def checks(table: str) -> dict[str, str]:
    found = (each for each in metadata.tables[table].constraints if isinstance(each, CheckConstraint))
    return {str(each.name).removeprefix(f"ck_{table}_"): str(each.sqltext) for each in found}


def conditions(table: str) -> list[str]:
    """Every condition of the table's constraints and partial indexes."""
    indexes = (each.dialect_options["sqlite"]["where"] for each in metadata.tables[table].indexes)
    return [*checks(table).values(), *(str(where) for where in indexes if where is not None)]


def compared(condition: str) -> set[str]:
    """The statuses that a condition compares the status with."""
    single = re.findall(r"\bstatus (?:=|<>) '(\w+)'", condition)
    several = re.findall(r"\bstatus IN \(([^)]+)\)", condition)
    return {*single, *(word for words in several for word in re.findall(r"'(\w+)'", words))}


def is_one_of(*statuses: Any) -> set[str]:
    if len(statuses) == 1:
        return {f"status = '{statuses[0].value}'"}
    return {f"status IN ({', '.join(repr(status.value) for status in statuses)})"}


def test_every_status_column_has_a_lifecycle() -> None:
    with_status = {
        name
        for name, table in metadata.tables.items()
        if "status" in table.columns and isinstance(table.c.status.type, Text)
    }
    assert with_status == set(KIND_OF)
    assert set(KIND_OF.values()) == set(LIFECYCLES)


@TABLES
def test_the_database_allows_the_statuses_of_the_table(table: str) -> None:
    assert {checks(table)["status"]} == is_one_of(*KIND_OF[table])


@TABLES
def test_conditions_name_only_statuses_of_the_table(table: str) -> None:
    used = set().union(*map(compared, conditions(table)))
    assert used <= {status.value for status in KIND_OF[table]}


@TABLES
def test_what_is_settled_has_its_time(table: str) -> None:
    """One constraint of each table divides its rows the way that the lifecycle does."""
    kind = KIND_OF[table]
    expected = {
        form
        for condition in is_one_of(*live(kind))
        for form in (
            f"(settled_at IS NULL) = ({condition})",
            f"({condition}) = (settled_at IS NULL)",
            f"{condition} OR (code IS NULL AND verifier IS NULL)",
        )
    } | {
        form
        for condition in is_one_of(*settled(kind))
        for form in (f"({condition}) = (settled_at IS NOT NULL)", f"({condition}) = (ended_at IS NOT NULL)")
    }
    assert expected & set(checks(table).values())

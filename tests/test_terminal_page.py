"""docs/terminal.md lists the keys of every JSON that the commands print; `revoke` and `forget` are in the scenarios."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bot.store import audit
from bot.store.open_database import upgrade
from bot.store.transaction import Database
from tests.bot_process import Forker
from tests.documented_keys import DOCUMENTED, require
from tests.test_cli import ANNA, Operator, history

NOW = datetime.now(UTC)


@pytest.fixture
def busy_bot(tmp_path: Path, forker: Forker) -> Operator:
    operator = Operator(tmp_path, forker)
    upgrade(operator.url)
    operator.fill(history)
    operator.fill(trouble)
    return operator


async def trouble(database: Database) -> None:
    await database.write(lambda c: audit.write(c, "refresh_failed", user=ANNA, now=NOW, problem="expired"))


def told(operator: Operator, *command: str) -> Any:
    done = operator(*command, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


@pytest.mark.parametrize("command", ["users", "requests", "calls", "audit", "errors"])
def test_the_keys_of_each_list_are_documented(busy_bot: Operator, command: str) -> None:
    rows = told(busy_bot, command)
    assert rows
    for row in rows:
        require(command, row)


def test_the_keys_of_status_and_stats_are_documented(busy_bot: Operator) -> None:
    require("status", told(busy_bot, "status"))
    numbers = told(busy_bot, "stats")
    require("stats", numbers)
    require("stats.calls", numbers["calls"][0])
    for name in DOCUMENTED:
        if name.startswith("stats.") and name != "stats.calls":
            require(name, numbers[name.removeprefix("stats.")])
    for name, value in numbers.items():
        if "_to_" in name:
            require("stats.asked_to_consented", value)


def test_the_keys_of_a_story_are_documented(busy_bot: Operator) -> None:
    story = told(busy_bot, "explain", ANNA.open_id)
    require("explain", story)
    require("explain.user", story["user"])
    require("explain.grant", story["grant"])
    require("calls", story["recent_calls"][0] | {"name": None})
    require("requests", story["recent_requests"][0] | {"name": None})
    require("requests", story["open_request"] | {"name": None})
    for entry in story["timeline"]:
        require("explain.timeline", entry)


def test_the_keys_of_an_export_are_documented(busy_bot: Operator) -> None:
    done = busy_bot("export", ANNA.open_id)
    require("export", json.loads(done.stdout), more=True)


def test_what_commands_have_done_is_documented(busy_bot: Operator) -> None:
    require("db upgrade", told(busy_bot, "db", "upgrade"))
    require("db check", told(busy_bot, "db", "check"))
    require("keys rotate", told(busy_bot, "keys", "rotate"))
    copy = told(busy_bot, "db", "backup", "copy.db")
    require("db backup", copy)
    assert copy["bytes"] == (busy_bot.directory / "copy.db").stat().st_size


def test_a_database_that_is_not_up_to_date_is_told_as_json_too(busy_bot: Operator) -> None:
    done = busy_bot("db", "check", "--json", BOT_DATABASE_URL="sqlite:///nowhere.db")
    assert done.returncode == 1
    answer = json.loads(done.stdout)
    assert answer["up_to_date"] is False
    assert "bot db upgrade" in answer["problem"]
    assert "bot db upgrade" in done.stderr

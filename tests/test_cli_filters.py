"""The filters of the operators' lists: how times are read, and what each list leaves out."""

import argparse
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bot import cli_filters
from bot.store import audit, users
from bot.store.open_database import upgrade
from bot.store.transaction import Connection, Database
from tests.bot_process import Forker
from tests.test_cli import ANNA, WEI, Operator, history, one_line

NOW = datetime.now(UTC)
LISTS = ("users", "requests", "calls", "audit", "errors")


@pytest.fixture
def busy_bot(tmp_path: Path, forker: Forker) -> Operator:
    operator = Operator(tmp_path, forker)
    upgrade(operator.url)
    operator.fill(history)
    return operator


@pytest.fixture(params=["UTC", "Asia/Shanghai", "America/New_York"])
def local_zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("90s", timedelta(seconds=90)),
        ("15m", timedelta(minutes=15)),
        ("2h", timedelta(hours=2)),
        ("3d", timedelta(days=3)),
        ("1w", timedelta(weeks=1)),
        ("1d12h", timedelta(days=1, hours=12)),
        ("2H", timedelta(hours=2)),
        ("0s", timedelta()),
    ],
)
def test_an_age_is_before_now(text: str, ago: timedelta) -> None:
    before = datetime.now(UTC)
    assert before <= cli_filters.since(text) + ago <= datetime.now(UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-28T09:30Z", datetime(2026, 11, 28, 9, 30, tzinfo=UTC)),
        ("2026-11-28 09:30:15+08:00", datetime(2026, 11, 28, 1, 30, 15, tzinfo=UTC)),
        ("2026-11-28T09:30:15.5-05:00", datetime(2026, 11, 28, 14, 30, 15, 500000, tzinfo=UTC)),
    ],
)
def test_a_time_with_a_zone_is_that_time(text: str, expected: datetime, local_zone: str) -> None:
    assert cli_filters.since(text) == cli_filters.until(text) == expected


def test_a_time_without_a_zone_is_local_and_a_date_lasts_all_day(local_zone: str) -> None:
    offset = {"UTC": 0, "Asia/Shanghai": 8, "America/New_York": -5}[local_zone]
    midnight = datetime(2026, 11, 28, tzinfo=UTC) - timedelta(hours=offset)
    assert cli_filters.since("2026-11-28T09:30") == midnight + timedelta(hours=9, minutes=30)
    assert cli_filters.since("2026-11-28") == midnight
    assert cli_filters.until("2026-11-28") == midnight + timedelta(days=1)
    assert cli_filters.until("yesterday") == cli_filters.since("today")
    today = datetime.now().astimezone().date()
    assert cli_filters.since("09:30") == cli_filters.until("9:30") == cli_filters.since(f"{today}T09:30")
    assert cli_filters.since("18:50:05") == cli_filters.since(f"{today}T18:50:05")
    # The day on which the clocks change has 25 hours in New York.
    day = cli_filters.until("2026-11-01") - cli_filters.since("2026-11-01")
    assert day == timedelta(hours=25 if local_zone == "America/New_York" else 24)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "2",
        "h",
        "2x",
        "-2h",
        "2h ago",
        "2026-13-01",
        "2026-02-30",
        "25:00",
        "9",
        "09:60",
        "09:30 yesterday",
        "\u0669:30",
        "tomorrow",
        "99999999w",
        "\u0662h",
        "0001-01-01T00:00+14:00",
    ],
)
def test_anything_else_is_an_error_that_says_what_to_write(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="such as 2h or 3d"):
        cli_filters.since(text)


async def eventful(database: Database) -> None:
    """Two weeks ago Wei was there; Anna has a call of yesterday that failed."""

    def work(c: Connection) -> None:
        users.seen(c, WEI, language="zh", union_id=None, now=NOW - timedelta(days=14))
        users.name_user(c, WEI, "蓝薇", NOW - timedelta(days=14))
        audit.write(c, "signed_in", user=WEI, now=NOW)

    await database.write(work)


@pytest.mark.parametrize("command", LISTS)
def test_every_list_takes_every_filter(busy_bot: Operator, command: str) -> None:
    busy_bot.fill(eventful)
    everything = json.loads(busy_bot(command, "--json").stdout)
    filters = {
        "--since": ("2h", "today"),
        "--until": ("0s", "2999-01-01"),
        "--user": (ANNA.open_id, str(ANNA), "RED", "anna"),
        "--limit": ("1000",),
    }
    for option, values in filters.items():
        for value in values:
            done = busy_bot(command, option, value, "--json")
            assert (done.returncode, done.stderr) == (0, ""), (command, option, value)
            rows = json.loads(done.stdout)
            assert all(row in everything for row in rows)
            if option == "--user" and command != "errors":
                assert {row["user_key"] for row in rows} == {str(ANNA)}
    assert json.loads(busy_bot(command, "--until", "3w", "--json").stdout) == []
    assert json.loads(busy_bot(command, "--since", "2h", "--until", "1h", "--json").stdout) == []


@pytest.mark.parametrize(
    ("command", "status", "expected"),
    [
        ("users", "active", {str(ANNA)}),
        ("users", "none", {str(WEI)}),
        ("users", "active,none", {str(ANNA), str(WEI)}),
        ("users", "ended", set()),
        ("requests", "open", {str(ANNA)}),
        ("requests", "granted, declined", set()),
        ("calls", "queued", {str(ANNA)}),
        ("calls", "failed", set()),
        ("audit", "granted", {str(ANNA)}),
        ("audit", "granted,signed_in", {str(ANNA), str(WEI)}),
    ],
)
def test_a_list_of_some_statuses(
    busy_bot: Operator,
    command: str,
    status: str,
    expected: set[str],
) -> None:
    busy_bot.fill(eventful)
    done = busy_bot(command, "--status", status, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert {row["user_key"] for row in json.loads(done.stdout)} == expected


def test_the_users_whose_grant_has_a_scope(busy_bot: Operator) -> None:
    (granted,) = (row for row in json.loads(busy_bot("users", "--json").stdout) if row["scopes"])
    scope = granted["scopes"][0]
    for wanted, expected in ((scope, [granted]), (scope[:-1], []), ("%", []), ('"', []), ("", [])):
        done = busy_bot("users", "--scope", wanted, "--json")
        assert (done.returncode, json.loads(done.stdout)) == (0, expected), wanted


def test_since_and_until_are_the_first_moment_and_the_first_after(busy_bot: Operator) -> None:
    (call,) = json.loads(busy_bot("calls", "--json").stdout)
    at = call["asked_at"]
    after = (datetime.fromisoformat(at) + timedelta(microseconds=1)).isoformat()
    assert json.loads(busy_bot("calls", "--since", at, "--until", after, "--json").stdout) == [call]
    assert json.loads(busy_bot("calls", "--since", after, "--json").stdout) == []
    assert json.loads(busy_bot("calls", "--until", at, "--json").stdout) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("calls", "--since", "1h", "--until", "2h"), "--since is not before --until"),
        (("calls", "--status", "suspendid"), "choose from queued, running, suspended"),
        (("requests", "--status", "queued"), "choose from open"),
        (("users", "--status", "gone"), "active, ended, none"),
        (("audit", "--since", "last week"), "2026-11-28T09:30Z"),
    ],
)
def test_a_filter_that_cannot_be_is_one_line(
    busy_bot: Operator,
    arguments: tuple[str, ...],
    said: str,
) -> None:
    done = busy_bot(*arguments)
    assert done.returncode == 2
    assert said in one_line(done)

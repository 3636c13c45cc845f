"""The benchmarks still run. What they measure is no matter of passing or failing."""

import json
import subprocess
import sys

from tests.benchmarks.environment import sqlite_url
from tests.benchmarks.loops import BOTS, counted, loops
from tests.benchmarks.processes import REPOSITORY, directory


def test_the_table_has_every_figure_with_its_ratio() -> None:
    command = [sys.executable, "-m", "tests.benchmarks", "parsing", "outbound", "--short"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=120)
    lines = [line for line in done.stdout.splitlines() if "×" in line]
    assert [line.split("  ")[0].split(",")[0] for line in lines] == [
        *["verify"] * 2,
        "decode a frame",
        "encode a frame",
        *["calls as the user"] * 2,
        *["the same by the clock"] * 2,
    ]


def test_the_bot_and_the_yardstick_go_through_whole_loops() -> None:
    with directory() as folder:
        for bot in BOTS.values():
            measured = loops(bot, sqlite_url(folder), people=5, at_once=2)
            assert measured["rate"] > 0
            assert measured["requests"] >= 5


def test_a_loop_is_logged_in_a_dozen_lines() -> None:
    with directory() as folder:
        log = folder / "bot.log"
        settings = {"BOT_LOG_LEVEL": "info", "BOT_LOG_FORMAT": "json"}
        loops(("bot", "run"), sqlite_url(folder), people=10, at_once=2, settings=settings, log=log)
        lines = [json.loads(line) for line in log.read_text().splitlines()]
    stories = [line for line in lines if "call" in line]
    # A first consent before the measurement, and the loop that is measured.
    assert 20 <= len(stories) / 10 <= 2 * 13


def test_a_loop_takes_no_more_works_and_statements_than_it_needs() -> None:
    """Raise a bound only with a reason: it is what a loop costs, on every machine."""
    with directory() as folder:
        costs = counted(sqlite_url(folder), people=10)
    assert costs["works"] < 18
    # Two count a link's openings, before anything is asked of the platform and when one is recorded; two more read which
    # scopes were asked for, so that the exchange names no others.
    # The card says why somebody is asked again, which is read from their grant and from what its scopes were for.
    # Each drawing of the card looks whether its link was opened; when it was, the card is drawn again with help for a
    # page that shows an error.
    # The two calls to the platform are recorded, on PostgreSQL in the statement that writes the audit entries; what the
    # user wrote is erased when the call ends.
    assert costs["statements"] < 59

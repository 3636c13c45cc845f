"""The process is killed, at every point of the loop and at moments that a seed decides: nothing is lost or done twice.

By default a sample, and a few kills. Everything, with 300 kills of one process on SQLite and 300 of three replicas on
PostgreSQL: `pytest tests/scenarios/test_crashes.py --long -n 2`. Other moments: `--kills N --seed S`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bot_process import Forker

from .crash_walk import Databases, Life, Told, live_and_die, walk
from .stories import SETTINGS, STORIES

DANGEROUS = {
    "first_contact": (
        "intake.accept_message:write_together:after",
        "outbox.send_by_any_route:send:after",  # the welcome
        "outbox.send_by_any_route:send:after#2",  # the card
        "authorize.callback.complete:write:after",
        "authorize.callback.exchange.<locals>.request_tokens:exchange_code:after",
        "authorize.grant.store_grant:write:after",
        "calls.finish.finish:write:after",
    ),
    "any_api": (
        "calls.perform.send:write:after",
        "calls.perform.send:call:after",
        "calls.perform.record:write:before",
    ),
    "revoked": ("calls.botcalls.cancel_or_end:write:after", "authorize.token_revocation.revoke:revoke:after"),
    "refreshed": ("tokens.refresh:refresh:after",),
    "waiting_for_the_administrator": ("administrators.show_with_key:update_card:after",),
}

THE_LOOP = (
    "intake.accept_message:write_together",
    "worker.Worker.claim:write_one",
    "authorize.ask.suspend_for_consent:write",
    "cards.record_shown:write_one",
    "authorize.open.find_open_request:read",
    "authorize.open.begin_attempt:write",
    "authorize.callback.complete:write",
    "authorize.callback.exchange.<locals>.request_tokens:exchange_code",
    "authorize.callback.with_retries:identify",
    "authorize.grant.store_grant:write",
    "cards.bring_up_to_date:update_card",
    "calls.perform.send:write",
    "calls.perform.send:call",
    "calls.perform.record:write",
    "calls.finish.finish:write",
    "outbox.send_by_any_route:send",
    "outbox.record_sent:write_one",
)

LARK = Told(STORIES, SETTINGS, DANGEROUS, longest="first_contact", loop=THE_LOOP)


@pytest.mark.slow
@pytest.mark.parametrize("name", STORIES)
async def test_a_story_survives_a_crash_at_each_of_its_points(
    name: str,
    forker: Forker,
    databases: Databases,
    tmp_path: Path,
    pytestconfig: pytest.Config,
    record_property: Callable[[str, object], None],
):
    seed = None if pytestconfig.getoption("--long") else pytestconfig.getoption("--seed")
    record_property("crashes", await walk(LARK, name, tmp_path, forker, databases, seed))


async def test_random_kills_lose_nothing_and_repeat_nothing(
    forker: Forker,
    databases: Databases,
    tmp_path: Path,
    pytestconfig: pytest.Config,
    record_property: Callable[[str, object], None],
):
    kills = 300 if pytestconfig.getoption("--long") else pytestconfig.getoption("--kills")
    seed = pytestconfig.getoption("--seed")
    with databases(tmp_path) as url:
        counted = await live_and_die(LARK, Life, tmp_path, forker, url, kills=kills, seed=seed)
    record_property("crashes", counted)

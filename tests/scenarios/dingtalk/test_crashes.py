"""The process is killed on DingTalk too, at every point and at random: nothing is lost, and nothing is done twice.

Messages there have no idempotency key, so one whose sending the kill interrupted may come twice: these are counted.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bot.sandbox.dingtalk.sample_tenant import TEMPLATE_ID
from tests.bot_process import Forker
from tests.scenarios.crash_walk import Databases, Life, Told, live_and_die, walk
from tests.scenarios.dingtalk.crash_world import DINGTALK, DingTalkCrashWorld
from tests.scenarios.dingtalk.stories import SETTINGS, STORIES, task

DANGEROUS = {
    "first_contact": (
        "intake.accept_message:write_together:after",
        "outbox.send_by_any_route:send:after",  # the card
        "authorize.callback.complete:write:after",
        "authorize.callback.exchange.<locals>.request_tokens:exchange_code:after",
        "authorize.grant.store_grant:write:after",
        "calls.finish.finish:write:after",
        "outbox.send_by_any_route:send:after#2",  # a message without a key
    ),
    # The wider card, while a consent is being redeemed: it cannot be changed when that fails.
    "widened": ("outbox.send_by_any_route:send:after#2",),
    "any_api": (
        "calls.perform.send:write:after",
        "calls.perform.send:call:after",
        "calls.perform.record:write:before",
    ),
    "refreshed": ("tokens.refresh:refresh:after",),
    "confirmed": (
        "authorize.ask.ask_to_confirm:write:after",
        "calls.botcalls.confirm_write:write:after",
        "calls.botcalls.cancel_or_end:write:after",
    ),
    "waiting_for_the_administrator": (
        "administrators.suspend_for_administrator:write:after",
        "administrators.release_enabled:write:after",
    ),
    "waiting_for_the_administrator_on_interactive_cards": ("administrators.release_enabled:write:after",),
    "on_interactive_cards": (
        "outbox.send_by_any_route:send:after",
        "cards.bring_up_to_date:update_card:after",
    ),
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
    "calls.perform.send:write",
    "calls.perform.send:call",
    "calls.perform.record:write",
    "calls.finish.finish:write",
    "outbox.send_by_any_route:send",
    "outbox.record_sent:write_one",
)

ON_DINGTALK = Told(STORIES, SETTINGS, DANGEROUS, longest="first_contact", loop=THE_LOOP, kind=DINGTALK)


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
    record_property("crashes", await walk(ON_DINGTALK, name, tmp_path, forker, databases, seed))


class DingTalkLife(Life):
    world: DingTalkCrashWorld

    def write_of(self, title: str) -> str:
        return task(self.world, title, self.person)


@pytest.mark.parametrize("cards", ["plain cards", "interactive cards"])
async def test_random_kills_lose_nothing_and_repeat_nothing(
    cards: str,
    forker: Forker,
    databases: Databases,
    tmp_path: Path,
    pytestconfig: pytest.Config,
    record_property: Callable[[str, object], None],
):
    kills = 300 if pytestconfig.getoption("--long") else pytestconfig.getoption("--kills")
    seed = pytestconfig.getoption("--seed")
    settings = {"DINGTALK_CARD_TEMPLATE_ID": TEMPLATE_ID} if cards == "interactive cards" else {}
    with databases(tmp_path) as url:
        counted = await live_and_die(
            ON_DINGTALK, DingTalkLife, tmp_path, forker, url, kills=kills, seed=seed, **settings
        )
    record_property("crashes", f"{cards}, {counted}")

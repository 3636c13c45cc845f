"""What Prometheus reads: counters and histograms of the process, and gauges of the whole database."""

from __future__ import annotations

from .scrape import scrape_until
from .world import World


async def test_a_loop_is_counted_from_its_event_to_its_answer(world: World) -> None:
    await world.start()
    await world.authorized(world.sam)
    await world.answer_to(await world.say(world.sam, "/help"))
    found = await scrape_until(
        world, lambda s: s.total("bot_calls_ended_total", status="succeeded") == 2, "two answered calls"
    )
    print(found.text)
    assert found.find("bot_events_total", platform="lark", type="message", result="accepted") == {(): 2}

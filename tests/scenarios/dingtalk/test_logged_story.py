"""The log on DingTalk: both platforms share the flows, and so the lines."""

from __future__ import annotations

from tests.scenarios.dingtalk.conftest import DingTalkWorld
from tests.scenarios.test_logged_story import STORY, told


async def test_the_loop_on_dingtalk_has_the_same_lines(world: DingTalkWorld):
    """Consent in the client, events by the long connection."""
    await world.start(BOT_LOG_LEVEL="info", BOT_LOG_FORMAT="json")
    asked = await world.say(world.sam, "/me")
    first_card = await world.card_for(world.sam, "Contact.User.mobile")
    status, page = await world.authorize_in_client(world.sam, first_card)
    assert status == 200, page
    await world.told(world.sam, world.sam.mobile, asked)
    again = await world.say(world.sam, "/tasks")
    card = await world.card_for(world.sam, "Todo.Todo.Read")
    await world.authorize_in_client(world.sam, card)
    await world.until(lambda: world.status_of(again) == "succeeded", "the second answer", 30)
    await world.drawn()
    assert await world.stop() == 0
    lines = [line for line in told(world) if line["message"] in STORY]
    for message in (asked, again):
        call = world.only("deferred_calls", message_id=message)["id"]
        story = [line["message"] for line in lines if line.get("call") == call]
        first = story[: story.index("call ended") + 1]
        assert first[:2] == ["event accepted", "call started"]
        assert {"call suspended", "card shown", "link opened", "consent ended", "call resumed"} <= set(first)
    (refused,) = (line for line in lines if line["message"] == "refused by the platform")
    assert (refused["status"], refused["reason"]) == (403, "insufficient_scope")
    assert refused["code"].startswith("Forbidden.AccessDenied")
    assert refused["log_id"]
    assert {line.get("message_id") for line in lines if "call" in line} == {asked, again}

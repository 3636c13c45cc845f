"""Names of users before they have consented: DingTalk tells them with each message."""

from __future__ import annotations

import json
from typing import Any

from .conftest import DingTalkWorld


async def told(world: DingTalkWorld, *command: str) -> Any:
    code, out, err = await world.cli(*command, "--json")
    assert code == 0, err
    return json.loads(out)


def names(world: DingTalkWorld) -> dict[str, str | None]:
    """The stored names by user id."""
    return {
        row["user_key"].rpartition(":")[2]: row["name"]
        for row in world.rows("SELECT user_key, name FROM users")
    }


async def test_the_name_of_a_person_who_has_not_consented_comes_with_their_message(world: DingTalkWorld):
    """In the direct chat and in a group, whatever the name; no request is made for it."""
    world.sam.name = "王小明 \u202e(<b>Sam</b>)"
    world.wei.name = "Wei O'Neil-Ōno"
    await world.start()
    await world.say(world.sam, "/me")
    await world.say(world.wei, "/task x", world.group)
    await world.say(world.ada, "/help")
    people = (world.sam, world.wei, world.ada)
    await world.until(lambda: len([n for n in names(world).values() if n]) == len(people), "their names")
    stored = names(world)
    assert stored[world.wei.user_id] == "Wei O'Neil-Ōno"
    assert stored[world.ada.user_id] == world.ada.name
    assert "王小明" in (stored[world.sam.user_id] or "")
    assert world.requests("/topapi/v2/user/get") == []
    assert world.statuses("grants") == []
    (waiting,) = await told(world, "calls", "--status", "suspended", "--user", "o'neil")
    assert waiting["name"] == "Wei O'Neil-Ōno"
    code, out, _ = await world.cli("explain", "小明")
    assert code == 0
    assert world.sam.user_id in out
    assert "\u202e" not in out


async def test_a_person_without_a_name_is_shown_by_id_and_chat(world: DingTalkWorld):
    world.sam.name = ""
    await world.start()
    await world.answer_to(await world.say(world.sam, "/help"))
    await world.answer_to(await world.say(world.ada, "/help"))
    await world.until(lambda: names(world).get(world.ada.user_id), "the other's name")
    (row,) = await told(world, "users", "--user", world.sam.user_id)
    assert row["name"] is None
    assert (row["last_chat_kind"], row["last_chat_id"]) == (
        "direct",
        f"direct:{world.direct(world.sam).chat_id}",
    )


async def test_a_name_that_the_consent_told_stays(world: DingTalkWorld):
    await world.start()
    asked = await world.say(world.sam, "/me")
    await world.authorize_in_client(world.sam, await world.card_for(world.sam))
    await world.told(world.sam, world.sam.mobile, asked)
    before = names(world)[world.sam.user_id]
    assert before == world.sam.name
    world.sam.name = "Someone Else"
    await world.answer_to(await world.say(world.sam, "/help"))
    await world.answer_to(await world.say(world.ada, "/help"))
    await world.until(lambda: names(world).get(world.ada.user_id), "the other's name")
    assert names(world)[world.sam.user_id] == before

"""The control API: the snapshot, the feed, and its own errors."""

import asyncio
import json

from bot.sandbox.lark.sample_tenant import ADA, GROUP, SAM, WEI


async def test_the_state_has_everything_the_chat_page_shows(world):
    state = (await world.get("/sandbox/api/state")).body
    assert state["app"]["redirect_urls"]
    assert {"scope", "description", "user", "tenant"} <= state["app"]["scopes"][0].keys()
    assert [person["open_id"] for person in state["people"]][:3] == [WEI, ADA, SAM]
    assert {chat["kind"] for chat in state["chats"]} == {"p2p", "group"}
    assert next(c for c in state["chats"] if c["kind"] == "group")["chat_id"] == GROUP
    assert world.tenant.app.app_secret not in json.dumps(state)


async def test_the_stream_repeats_what_was_missed_and_goes_on(world):
    await world.control("messages", person=ADA, text="one")
    async with world.client.get("/sandbox/api/stream?after=0") as response:
        assert response.headers["Content-Type"] == "text/event-stream"

        async def next_change():
            async with asyncio.timeout(5):
                while not (line := await response.content.readline()).startswith(b"data: "):
                    pass
            return json.loads(line[6:])

        assert (await next_change())["message"]["content"] == {"text": "one"}
        await world.control("messages", person=ADA, text="two")
        seen = await next_change()
        while seen["kind"] != "message":
            seen = await next_change()
        assert seen["message"]["content"] == {"text": "two"}


async def test_mistakes_are_told_in_words(world):
    for path, body in (
        ("messages", {"person": "ou_none", "text": "x"}),
        ("messages", {"person": ADA, "chat_id": "oc_none", "text": "x"}),
        ("app-scopes", {"scope": "none"}),
        ("behaviour", {"moods": 1}),
        ("people", {"open_id": ADA, "granted": []}),
        ("clock", {"advance": -1}),
        ("grants", {"person": ADA, "scopes": ["none"]}),
    ):
        answer = await world.post(f"/sandbox/api/{path}", json=body)
        assert answer.status == 400, path
        assert answer.body["error"]


async def test_people_can_be_added_and_changed(world):
    await world.control("people", open_id="ou_" + "c" * 32, name="Chris", locale="en_us")
    assert (await world.send("ou_" + "c" * 32, "text", {"text": "hi"})).code == 0
    await world.control("people", open_id=SAM, locale="zh_cn")
    assert world.tenant.people[SAM].locale == "zh_cn"

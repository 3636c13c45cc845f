"""A developer console that is set otherwise than the bot: refused, and the operator reads what to change there."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from bot.sandbox.lark.webhook import encrypt

from .webhook_client import WebhookClient
from .world import World

OLD_CARD = {
    "open_id": "ou_1",
    "open_message_id": "om_1",
    "open_chat_id": "oc_1",
    "tenant_key": "t",
    "token": "c-0123",
    "action": {"value": {"action": "retry", "subject": "1"}, "tag": "button"},
}


def told(world: World, words: str) -> list[str]:
    lines = (world.directory / "bot.log").read_text().splitlines()
    return [line for line in lines if words in line]


async def post(world: World, body: str, headers: dict[str, str]) -> int:
    address = f"{world.public}/lark/events"
    async with world.http.post(address, data=body.encode(), headers=headers) as response:
        assert await response.json() == {"msg": "refused"}
        return response.status


async def nothing_came_of_it(world: World) -> None:
    assert world.count("deferred_calls") == 0
    assert world.count("events") == 0


async def test_events_without_encryption_are_refused_and_the_log_says_what_to_set(world: World):
    await world.start()
    message = WebhookClient(world).message("/help")
    check = {"type": "url_verification", "challenge": "c", "token": world.tenant.app.verification_token}
    click = WebhookClient(world).message("/help")
    click["header"]["event_type"] = "card.action.trigger"
    old = {"uuid": "u", "token": world.tenant.app.verification_token, "type": "event_callback", "event": {}}
    for payload in (message, check, click, old) * 5:
        assert await post(world, json.dumps(payload), {}) == 401
    # As the emulated console sends them.
    world.tenant.app.encrypt_key = ""
    world.tenant.behaviour.redelivery_seconds = ()
    said = await world.control("messages", person=world.sam.open_id, text="/help")
    await world.until(lambda: world.tenant.events[said["event_id"]].attempts, "its delivery")
    assert world.tenant.events[said["event_id"]].attempts[0]["status"] == 401
    (line,) = told(world, "Encrypt Key")
    assert "LARK_ENCRYPT_KEY" in line
    assert told(world, "webhook refused") == []
    await nothing_came_of_it(world)


@pytest.mark.parametrize("form", ["plain", "encrypted", "spaced"])
async def test_the_old_card_callback_is_refused_and_the_log_says_what_to_change(world: World, form: str):
    await world.start()
    app = world.tenant.app
    body = json.dumps(OLD_CARD, indent=2 if form == "spaced" else None)
    if form == "encrypted":
        body = json.dumps({"encrypt": encrypt(app.encrypt_key, body.encode())})
    for nonce in ("n", "0", "nonce-42"):
        timestamp = "1767225600"
        signed = f"{timestamp}{nonce}{app.verification_token}{body}"
        headers = {
            "X-Lark-Request-Timestamp": timestamp,
            "X-Lark-Request-Nonce": nonce,
            "X-Lark-Signature": hashlib.sha1(signed.encode()).hexdigest(),
        }
        assert await post(world, body, headers) == 401
    (line,) = told(world, "card.action.trigger")
    assert "Callback Configuration" in line
    await nothing_came_of_it(world)


async def test_a_stranger_gives_no_advice(world: World):
    await world.start()
    message = WebhookClient(world).message("/help")
    message["header"]["token"] = "guessed"
    bodies: list[Any] = [
        OLD_CARD,
        message,
        {"type": "url_verification", "challenge": "c", "token": ""},
        {"uuid": "u"},
        {},
        [],
    ]
    for payload in bodies:
        for signature in (None, "0" * 40, "0" * 64):
            headers = {} if signature is None else {"X-Lark-Signature": signature}
            assert await post(world, json.dumps(payload), headers) == 401
    assert told(world, "developer console") == []
    await nothing_came_of_it(world)

"""A client of the bot's webhook that can sign and encrypt, so that a test can forge one part of an event."""

from __future__ import annotations

import io
import json
import random
import time
from typing import Any

from bot.sandbox.lark.tenant import Person
from bot.sandbox.lark.webhook import encrypt, signature

from .world import World

Headers = dict[str, str]


class WebhookClient:
    """Builds events, encrypts and signs them with the app's keys, and posts them."""

    def __init__(self, world: World) -> None:
        self.world, self.app = world, world.tenant.app

    def message(self, text: str = "/help", **header: Any) -> dict[str, Any]:
        """Build the event of a message of Sam."""
        world = self.world
        number = random.randrange(10**12)
        return {
            "schema": "2.0",
            "header": {
                "event_id": f"event-{number}",
                "event_type": "im.message.receive_v1",
                "create_time": str(int(time.time() * 1000)),
                "token": self.app.verification_token,
                "app_id": self.app.app_id,
                "tenant_key": self.app.tenant_key,
                **header,
            },
            "event": {
                "sender": {
                    "sender_id": {"open_id": world.sam.open_id, "union_id": world.sam.union_id},
                    "sender_type": "user",
                    "tenant_key": self.app.tenant_key,
                },
                "message": {
                    "message_id": f"om_{number}",
                    "create_time": str(int(time.time() * 1000)),
                    "chat_id": world.direct(world.sam).chat_id,
                    "chat_type": "p2p",
                    "message_type": "text",
                    "content": json.dumps({"text": text}),
                },
            },
        }

    def seal(self, plain: bytes | dict[str, Any]) -> bytes:
        text = plain if isinstance(plain, bytes) else json.dumps(plain).encode()
        return json.dumps({"encrypt": encrypt(self.app.encrypt_key, text)}).encode()

    def sign(self, body: bytes, *, ahead: float = 0, key: str | None = None) -> Headers:
        timestamp, nonce = str(int(time.time() + ahead)), "nonce"
        return {
            "Content-Type": "application/json",
            "X-Lark-Request-Timestamp": timestamp,
            "X-Lark-Request-Nonce": nonce,
            "X-Lark-Signature": signature(timestamp, nonce, key or self.app.encrypt_key, body),
        }

    async def post(
        self, body: bytes, headers: Headers | None = None, method: str = "POST"
    ) -> tuple[int, str]:
        url = f"{self.world.public}/lark/events"
        async with self.world.http.request(method, url, data=io.BytesIO(body), headers=headers) as response:
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            return response.status, await response.text()

    def click(self, person: Person, value: Any, **header: Any) -> dict[str, Any]:
        """Build the event of a click on any card."""
        operator = {"open_id": person.open_id, "tenant_key": person.tenant_key}
        return {
            **self.message(event_type="card.action.trigger", **header),
            "event": {"operator": operator, "token": "c-1", "action": {"tag": "button", "value": value}},
        }

    async def send(self, event: dict[str, Any]) -> tuple[int, str]:
        """Encrypt, sign and post an event, as the platform does."""
        body = self.seal(event)
        return await self.post(body, self.sign(body))

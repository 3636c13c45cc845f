"""The app of the benchmarks, and messages to its bot as the platform pushes them: encrypted and signed."""

from __future__ import annotations

import json
import time
from typing import Any

from bot.sandbox.lark.webhook import encrypted_request

APP_ID = "cli_a1b2c3d4e5f60718"
APP_SECRET = "benchmark-secret"
ENCRYPT_KEY = "benchmark-encrypt-key"
VERIFICATION_TOKEN = "benchmark-verification-token"
TENANT_KEY = "736588c9260f175d"
BOT_OPEN_ID = "ou_bot0000000000000000000000000000b"


def open_id(person: int) -> str:
    return f"ou_{person:032d}"


def chat_id(person: int) -> str:
    return f"oc_{person:032d}"


def message_event(number: int, person: int, text: str, now: float) -> dict[str, Any]:
    """A direct message of one of many people, as `im.message.receive_v1` reports it."""
    milliseconds = str(int(now * 1000))
    return {
        "schema": "2.0",
        "header": {
            "event_id": f"event{number:027d}",
            "event_type": "im.message.receive_v1",
            "create_time": milliseconds,
            "token": VERIFICATION_TOKEN,
            "app_id": APP_ID,
            "tenant_key": TENANT_KEY,
        },
        "event": {
            "sender": {
                "sender_id": {
                    "union_id": f"on_{person:032d}",
                    "user_id": f"{person:08d}",
                    "open_id": open_id(person),
                },
                "sender_type": "user",
                "tenant_key": TENANT_KEY,
            },
            "message": {
                "message_id": f"om_{number:030d}",
                "create_time": milliseconds,
                "update_time": milliseconds,
                "chat_id": chat_id(person),
                "chat_type": "p2p",
                "message_type": "text",
                "content": json.dumps({"text": text}),
                "user_agent": "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Lark/7.30.5 LarkLocale/en_US",
            },
        },
    }


def pushed(number: int, person: int, text: str) -> tuple[bytes, dict[str, str]]:
    """Body and headers of one push."""
    now = time.time()
    return encrypted_request(ENCRYPT_KEY, message_event(number, person, text, now), int(now))

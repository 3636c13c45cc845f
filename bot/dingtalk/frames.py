"""The frames of the long connection: JSON texts, whose `data` is a JSON text again.

https://open-dingtalk.github.io/developerpedia/docs/learn/stream/protocol
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bot.core.api import Json
from bot.core.event_fields import is_id
from bot.core.strict_json import decode as decode_json
from bot.transport.json_limits import is_costly

SYSTEM, EVENT, CALLBACK = "SYSTEM", "EVENT", "CALLBACK"

MESSAGES = "/v1.0/im/bot/messages/get"

CARDS = "/v1.0/card/instances/callback"

SUBSCRIPTIONS = (
    {"type": EVENT, "topic": "*"},
    {"type": CALLBACK, "topic": MESSAGES},
    {"type": CALLBACK, "topic": CARDS},
)


class FrameError(Exception):
    """The text is not a frame. The message is from a fixed set."""


@dataclass(frozen=True, slots=True)
class Frame:
    type: str
    topic: str
    message_id: str
    """Identifies the delivery, and is repeated in the answer. Empty for a frame that needs no answer."""
    data: str

    def answer(self, data: Json, code: int = 200) -> str:
        """Return the frame that answers this one."""
        headers = {"contentType": "application/json", "messageId": self.message_id}
        answer = {
            "code": code,
            "headers": headers,
            "message": "OK" if code == 200 else "not accepted",
            "data": json.dumps(data, ensure_ascii=False),
        }
        # A ping may hold half a character, which cannot be sent.
        return json.dumps(answer, ensure_ascii=False).encode(errors="replace").decode()

    def answer_ping(self) -> str:
        """Return the answer to a ping, which repeats its data."""
        try:
            return self.answer(parse_object(self.data) or {})
        except RecursionError:
            return self.answer({})


def decode(text: str) -> Frame:
    """Return the frame in a text. Raises `FrameError`."""
    parsed = parse_object(text)
    if parsed is None:
        raise FrameError("a frame that is no JSON object")
    headers = parsed.get("headers")
    if not isinstance(headers, dict):
        raise FrameError("a frame without headers")
    kind, topic, data = parsed.get("type"), headers.get("topic"), parsed.get("data")
    if not isinstance(kind, str) or kind not in {SYSTEM, EVENT, CALLBACK} or not is_id(topic):
        raise FrameError("a frame without type or topic")
    return Frame(kind, topic, read_id(headers), data if isinstance(data, str) else "")


def read_id(headers: Mapping[str, Any]) -> str:
    message_id = headers.get("messageId")
    return message_id if is_id(message_id) else ""


def parse_object(text: str) -> dict[str, Any] | None:
    """Return the JSON object in a text, or None for anything else, or what takes long to parse."""
    if is_costly(text.encode(errors="replace")):
        return None
    try:
        parsed = decode_json(text)
    except (ValueError, RecursionError):
        return None
    return parsed if type(parsed) is dict else None

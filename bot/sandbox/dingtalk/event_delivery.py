"""Delivery of bot messages, events and card callbacks to the app, by stream or by HTTP.

It is not documented whether an unacknowledged message is pushed again: see `Behaviour.redelivery_seconds`. A card
callback is delivered once and must be answered within two seconds.
"""

import asyncio
import json
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp import web

from bot.sandbox.dingtalk.cards import apply_update, callback_answer
from bot.sandbox.dingtalk.gateway import ApiError
from bot.sandbox.dingtalk.long_connections import CARD_TOPIC, MESSAGE_TOPIC, Connections, NotAcknowledged
from bot.sandbox.dingtalk.message_content import check_session_message
from bot.sandbox.dingtalk.tenant import Card, Message, Person, PushedEvent, Tenant, new_id
from bot.sandbox.dingtalk.webhook import card_headers, message_headers
from bot.sandbox.json_http import Json

CONNECT_SECONDS = 2
HTTP_ANSWER_SECONDS = 5.0

NO_ANSWER, NO_CONNECTION, BAD_STATUS, BAD_ANSWER = "timeout", "no connection", "bad status", "bad answer"


@dataclass(frozen=True)
class DeliveryAttempt:
    """The result of one delivery. `status` is None without a response; `problem` says why it failed."""

    status: int | None
    body: Any = None
    problem: str | None = None
    ms: int = 0

    @property
    def acknowledged(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


class Delivery:
    """Delivers to the app. Created when the platform starts; `close` cancels pending redeliveries."""

    def __init__(self, tenant: Tenant, connections: Connections) -> None:
        self._tenant = tenant
        self._connections = connections
        self._session = aiohttp.ClientSession()
        self._tasks: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._session.close()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Messages and events

    def push(self, body: Json, event_type: str = "message") -> str:
        """Start delivering, with redeliveries, and return the event's id at once.

        A redelivery carries the same `messageId` in its frame.
        """
        record = self._record(body, event_type)
        self._start(self._deliver_repeatedly(record))
        return record.event_id

    async def push_once(
        self, body: Json, event_type: str = "message", raw: tuple[bytes, dict[str, str]] | None = None
    ) -> PushedEvent:
        """Deliver once and return after the attempt. `raw` replaces the body and the headers of an HTTP push."""
        record = self._record(body, event_type)
        await self._attempt(record, raw)
        return record

    async def replay(self, event_id: str, *, new_frame: bool = False) -> PushedEvent:
        """Deliver again, acknowledged or not; `new_frame` gives the frame another `messageId`."""
        record = self._tenant.events[event_id]
        await self._attempt(record, None, frame_id=new_id("frame_", 24) if new_frame else None)
        return record

    def _record(self, body: Json, event_type: str) -> PushedEvent:
        record = PushedEvent(new_id("frame_", 24), event_type, body)
        self._tenant.events[record.event_id] = record
        return record

    async def _deliver_repeatedly(self, record: PushedEvent) -> None:
        behaviour = self._tenant.behaviour
        await self._attempt(record, None)
        for wait in behaviour.redelivery_seconds:
            if record.acknowledged:
                break
            await self._tenant.clock.sleep(wait * behaviour.time_scale)
            await self._attempt(record, None)
        if record.acknowledged and behaviour.repeats_acknowledged:
            await self._attempt(record, None)

    async def _attempt(
        self, record: PushedEvent, raw: tuple[bytes, dict[str, str]] | None, frame_id: str | None = None
    ) -> None:
        start = self._tenant.feed.start()
        attempt = await self._deliver(record, raw, frame_id or record.event_id)
        record.acknowledged = record.acknowledged or attempt.acknowledged
        waits = self._tenant.behaviour.redelivery_seconds
        tried = len(record.attempts)
        seen = {
            "event_id": record.event_id,
            "type": record.event_type,
            "attempt": tried + 1,
            "status": attempt.status,
            "ok": attempt.acknowledged,
            "problem": attempt.problem,
            "ms": attempt.ms,
            "again_in": None if record.acknowledged or raw or tried >= len(waits) else waits[tried],
        }
        record.attempts.append(seen)
        self._tenant.feed.announce("event", seen, start)

    async def _deliver(
        self, record: PushedEvent, raw: tuple[bytes, dict[str, str]] | None, frame_id: str
    ) -> DeliveryAttempt:
        app = self._tenant.app
        if app.events_by == "stream" and raw is None:
            if record.event_type == "message":
                return await self._by_stream("CALLBACK", MESSAGE_TOPIC, frame_id, record.body)
            return await self._by_stream("EVENT", "*", frame_id, record.body, **self._event_headers(record))
        if app.events_url is None:
            return DeliveryAttempt(None, problem="no address")
        content, headers = raw or (
            json.dumps(record.body, ensure_ascii=False).encode(),
            message_headers(app.client_secret, self._tenant.clock.wall_ms()),
        )
        attempt = await self._post(app.events_url, content, headers, HTTP_ANSWER_SECONDS)
        if attempt.acknowledged and raw is None:
            self._reply_in_response(record, attempt.body)
        return attempt

    def _event_headers(self, record: PushedEvent) -> dict[str, str]:
        return {
            "eventType": record.event_type,
            "eventId": record.event_id,
            "eventCorpId": self._tenant.app.corp_id,
            "eventBornTime": str(self._tenant.clock.wall_ms()),
            "eventUnifiedAppId": self._tenant.app.app_id,
        }

    def _reply_in_response(self, record: PushedEvent, body: Any) -> None:
        """Show the message that the app put into its HTTP response, if any."""
        if not isinstance(body, dict) or body.get("msgtype", "empty") == "empty":
            return
        try:
            msg_type, content = check_session_message(body)
        except ValueError:
            return
        chat = self._tenant.chats[record.body["conversationId"]]
        self._tenant.add_message(
            self._tenant.new_bot_message(chat, msg_type, content, sent_by="HTTP response")
        )

    async def _by_stream(
        self, kind: str, topic: str, message_id: str, data: Json, **headers: str
    ) -> DeliveryAttempt:
        try:
            answer, seconds = await self._connections.send(kind, topic, message_id, data, **headers)
        except NotAcknowledged as error:
            return DeliveryAttempt(error.code, problem=str(error))
        return DeliveryAttempt(200, answer, ms=int(seconds * 1000))

    async def _post(
        self, url: str, content: bytes, headers: dict[str, str], seconds: float
    ) -> DeliveryAttempt:
        loop = asyncio.get_running_loop()
        started = loop.time()
        limits = aiohttp.ClientTimeout(total=seconds, sock_connect=CONNECT_SECONDS)
        try:
            async with self._session.post(
                url, data=content, headers=headers, timeout=limits, allow_redirects=False
            ) as response:
                raw, status = await response.read(), response.status
        except TimeoutError:
            return DeliveryAttempt(None, problem=NO_ANSWER, ms=int(seconds * 1000))
        except aiohttp.ClientError as error:
            return DeliveryAttempt(None, problem=type(error).__name__)
        try:
            body = json.loads(raw) if raw else None
        except ValueError:
            body = raw.decode(errors="replace")
        return DeliveryAttempt(status, body, ms=int((loop.time() - started) * 1000))

    # Card callbacks

    async def click(
        self, person: Person, message: Message, card: Card, value: Json
    ) -> tuple[Any, str | None]:
        """Press a button that sends a request; return the app's answer and what went wrong, or None.

        The answer updates the card. Updates that the app makes through the API meanwhile are overwritten.
        """
        start, before = self._tenant.feed.start(), (dict(card.data), dict(card.private_data))
        frame_id = new_id("card_", 24)
        attempt = await self._deliver_callback(frame_id, card, self._callback(person, card, value))
        answer, problem = self._read_answer(card, attempt)
        if problem is None:
            card.data, card.private_data = before
            apply_update(self._tenant, card, answer, person)
        self._tenant.feed.announce(
            "event",
            {
                "event_id": frame_id,
                "type": "card callback",
                "attempt": 1,
                "status": attempt.status,
                "ok": problem is None,
                "problem": problem or attempt.problem,
                "ms": attempt.ms,
                "person": person.user_id,
                "button": value.get("text") or ", ".join(value.get("actionIds", [])),
                "message_id": message.message_id,
            },
            start,
        )
        return answer, problem

    def _callback(self, person: Person, card: Card, value: Json) -> Json:
        private = {"actionIds": value.get("actionIds", []), "params": value.get("params", {})}
        return {
            "type": "actionCallback",
            "outTrackId": card.out_track_id,
            "corpId": self._tenant.app.corp_id,
            "userId": person.user_id if card.user_id_type == 1 else person.union_id,
            "userIdType": card.user_id_type,
            "spaceType": card.space_type,
            "spaceId": card.space_id,
            "extension": "{}",
            "content": json.dumps({"cardPrivateData": private}, ensure_ascii=False),
        }

    async def _deliver_callback(self, frame_id: str, card: Card, body: Json) -> DeliveryAttempt:
        if card.callback_type == "STREAM":
            return await self._by_stream("CALLBACK", CARD_TOPIC, frame_id, body)
        route = self._tenant.callback_routes.get(card.callback_route or "")
        if route is None:
            return DeliveryAttempt(None, problem="the callback route is not registered")
        content = json.dumps(body, ensure_ascii=False).encode()
        headers = card_headers(route.api_secret, self._tenant.clock.wall_ms())
        return await self._post(route.url, content, headers, self._tenant.behaviour.card_answer_seconds)

    def _read_answer(self, card: Card, attempt: DeliveryAttempt) -> tuple[Json, str | None]:
        if attempt.status is None:
            return {}, attempt.problem or NO_CONNECTION
        if not attempt.acknowledged:
            return {}, BAD_STATUS
        body = attempt.body
        if card.callback_type == "STREAM":
            if not isinstance(body, dict) or "response" not in body:
                return {}, BAD_ANSWER
            body = body["response"]
        try:
            return callback_answer(self._tenant, card, body), None
        except ApiError as refusal:
            return {}, refusal.message


DELIVERY = web.AppKey("delivery", Delivery)

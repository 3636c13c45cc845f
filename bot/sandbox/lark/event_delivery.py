"""Delivery of events and card callbacks to the app, by webhook or long connection.

An event that is not acknowledged within three seconds is redelivered after 15 seconds, 5 minutes, 1 hour and 6 hours.
A card callback is delivered once; the person sees its response or an error code.
"""

import asyncio
import json
import secrets
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp import web

from bot.sandbox.json_http import Json
from bot.sandbox.lark.gateway import ApiError
from bot.sandbox.lark.long_connections import Connections, NotAcknowledged
from bot.sandbox.lark.message_content import callback_value, check_card
from bot.sandbox.lark.tenant import CALLBACKS, CardToken, Message, Person, PushedEvent, Tenant, new_id
from bot.sandbox.lark.webhook import encrypted_request

CONNECT_SECONDS = 2
ADDRESS_CHECK_SECONDS = 1
CARD_TOKEN_SECONDS = 30 * 60
TOAST_TYPES = ("info", "success", "warning", "error")

NO_ADDRESS, NO_ANSWER, NO_CONNECTION, BAD_STATUS, BAD_BODY, BAD_CARD = (
    200340,
    200341,
    200342,
    200671,
    200672,
    200673,
)


NO_REQUEST_ADDRESS, NO_CALLBACK = "no request address", "not subscribed to the callback"


@dataclass(frozen=True)
class DeliveryAttempt:
    """The result of one delivery. `status` is None without a response; `problem` says why it failed."""

    status: int | None
    body: bytes = b""
    problem: str | None = None
    timed_out: bool = False
    ms: int = 0

    @property
    def acknowledged(self) -> bool:
        return self.status == 200


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

    # Events

    def envelope(self, event_type: str, event: Json, **header: str) -> Json:
        """Wrap an event in an envelope of schema 2.0, with a new id."""
        app = self._tenant.app
        return {
            "schema": "2.0",
            "header": {
                "event_id": secrets.token_hex(16),
                "event_type": event_type,
                "create_time": str(self._tenant.clock.wall_ms()),
                # The long connection delivers it empty.
                "token": "" if app.events_by == "websocket" else app.verification_token,
                "app_id": app.app_id,
                "tenant_key": app.tenant_key,
                **header,
            },
            "event": event,
        }

    def push(self, body: Json) -> str | None:
        """Start delivering an event, with redeliveries, and return its id at once; None if the app has not subscribed."""
        if body["header"]["event_type"] not in self._tenant.app.subscribed_events:
            return None
        record = self._record(body)
        self._start(self._deliver_until_acknowledged(record, 0))
        return record.event_id

    def resume(self) -> None:
        """Continue to deliver the events that were not acknowledged when the platform last stopped."""
        for record in self._tenant.events.values():
            if not record.acknowledged:
                self._start(self._deliver_until_acknowledged(record, len(record.attempts)))

    async def push_once(self, body: Json, raw: tuple[bytes, dict[str, str]] | None = None) -> PushedEvent:
        """Deliver an event and return after the first attempt; redeliveries follow in the background.

        `raw` replaces the body and the headers of the request. A raw request is not redelivered.
        """
        record = self._record(body)
        await self._attempt(record, raw)
        if not record.acknowledged and raw is None:
            self._start(self._deliver_until_acknowledged(record, 1))
        return record

    async def replay(self, event_id: str) -> PushedEvent:
        """Deliver an event again, acknowledged or not: delivery is at least once."""
        record = self._tenant.events[event_id]
        await self._attempt(record, None)
        return record

    def _record(self, body: Json) -> PushedEvent:
        header = body.get("header", {})
        event_id = str(header.get("event_id") or body.get("uuid") or secrets.token_hex(16))
        event_type = str(header.get("event_type") or body.get("type") or "")
        record = PushedEvent(event_id, event_type, body)
        self._tenant.events[event_id] = record
        return record

    async def _deliver_until_acknowledged(self, record: PushedEvent, first: int) -> None:
        behaviour = self._tenant.behaviour
        waits = (0.0, *behaviour.redelivery_seconds)
        for wait in waits[first:]:
            await self._tenant.clock.sleep(wait * behaviour.time_scale)
            if record.acknowledged:
                return
            await self._attempt(record, None)

    async def _attempt(self, record: PushedEvent, raw: tuple[bytes, dict[str, str]] | None) -> None:
        start = self._tenant.feed.start()
        attempt = await self._deliver(record.event_id, record.body, raw)
        record.acknowledged = record.acknowledged or attempt.acknowledged
        seen = {
            "event_id": record.event_id,
            "type": record.event_type,
            "attempt": len(record.attempts) + 1,
            "status": attempt.status,
            "ok": attempt.acknowledged,
            "problem": attempt.problem,
            "ms": attempt.ms,
            "again_in": None if record.acknowledged or raw else self._next_wait(record),
        }
        record.attempts.append(seen)
        self._tenant.feed.announce("event", seen, start)

    def _next_wait(self, record: PushedEvent) -> float | None:
        """Return the seconds between the last attempt and the next; None after the last redelivery."""
        waits = self._tenant.behaviour.redelivery_seconds
        tried = len(record.attempts)
        return waits[tried] if tried < len(waits) else None

    async def _deliver(
        self,
        message_id: str,
        body: Json,
        raw: tuple[bytes, dict[str, str]] | None = None,
        frame_type: str = "event",
    ) -> DeliveryAttempt:
        app = self._tenant.app
        if message_type(body) in CALLBACKS and message_type(body) not in app.subscribed_callbacks:
            return DeliveryAttempt(None, problem=NO_CALLBACK)
        if app.events_by == "websocket" and raw is None:
            return await self._deliver_by_connection(message_id, body, frame_type)
        if app.events_url is None:
            return DeliveryAttempt(None, problem=NO_REQUEST_ADDRESS)
        content, headers = raw or encrypted_request(app.encrypt_key, body, int(self._tenant.clock.wall()))
        return await self._post(app.events_url, content, headers, self._tenant.behaviour.answer_seconds)

    async def _deliver_by_connection(self, message_id: str, body: Json, frame_type: str) -> DeliveryAttempt:
        try:
            result, seconds = await self._connections.send(message_id, body, frame_type)
        except NotAcknowledged as error:
            return DeliveryAttempt(error.code, problem=str(error), timed_out="time" in str(error))
        except ValueError:
            return DeliveryAttempt(200, b"not JSON")
        return DeliveryAttempt(
            200, json.dumps({} if result is None else result).encode(), ms=int(seconds * 1000)
        )

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
                body = await response.read()
                status = response.status
        except TimeoutError:
            return DeliveryAttempt(None, problem="no answer in time", timed_out=True, ms=int(seconds * 1000))
        except aiohttp.ClientError as error:
            return DeliveryAttempt(None, problem=type(error).__name__, ms=int((loop.time() - started) * 1000))
        return DeliveryAttempt(status, body, ms=int((loop.time() - started) * 1000))

    async def check_address(self, url: str) -> str | None:
        """Check an address as the developer console does: it must return a challenge within a second.

        Returns the problem, or None.
        """
        app = self._tenant.app
        challenge = secrets.token_hex(8)
        request = {"challenge": challenge, "token": app.verification_token, "type": "url_verification"}
        content, headers = encrypted_request(app.encrypt_key, request, int(self._tenant.clock.wall()))
        attempt = await self._post(url, content, headers, ADDRESS_CHECK_SECONDS)
        try:
            response = json.loads(attempt.body) if attempt.acknowledged else None
        except ValueError:
            response = None
        if isinstance(response, dict) and response.get("challenge") == challenge:
            return None
        return attempt.problem or f"the challenge did not come back (HTTP {attempt.status})"

    # Card callbacks

    async def click(self, person: Person, message: Message, button: Json) -> tuple[Any, int | None]:
        """Click a callback button; return the app's response and the error code that the person sees, or None.

        A card in the response replaces the card. Without one, the content from before the click is restored: the
        platform overwrites updates that the app makes before it responds.
        """
        token = new_id("c-")
        pending = CardToken(message.message_id, self._tenant.clock.now() + CARD_TOKEN_SECONDS)
        self._tenant.card_tokens[token] = pending
        before, start = message.content, self._tenant.feed.start()
        body = self._callback(person, message, button, token)
        frame_type = self._tenant.behaviour.card_frame_type
        attempt = await self._deliver(body["header"]["event_id"], body, frame_type=frame_type)
        pending.answered = True
        response, code = self._read_response(attempt)
        if code is None and response.get("card"):
            self._tenant.update_message(message, response["card"]["data"])
        elif message.content is not before and not message.recalled:
            self._tenant.update_message(message, before)
        self._tenant.feed.announce(
            "event",
            {
                "event_id": body["header"]["event_id"],
                "type": "card.action.trigger",
                "attempt": 1,
                "status": attempt.status,
                "ok": code is None,
                "problem": attempt.problem,
                "code": code,
                "toast": response.get("toast") if code is None else None,
                "ms": attempt.ms,
                "person": person.open_id,
                "button": button.get("text"),
            },
            start,
        )
        return response, code

    def _callback(self, person: Person, message: Message, button: Json, token: str) -> Json:
        operator = {"tenant_key": person.tenant_key, **user_ids(self._tenant, person)}
        action = {"value": callback_value(button), "tag": "button", "timezone": person.timezone}
        if "name" in button:
            action["name"] = button["name"]
        event = {
            "operator": operator,
            "token": token,
            "action": action,
            "host": "im_message",
            "context": {"open_message_id": message.message_id, "open_chat_id": message.chat_id},
        }
        # Only this event's create_time is in microseconds.
        return self.envelope(
            "card.action.trigger", event, create_time=str(int(self._tenant.clock.wall() * 1_000_000))
        )

    def _read_response(self, attempt: DeliveryAttempt) -> tuple[Json, int | None]:
        if attempt.timed_out:
            return {}, NO_ANSWER
        if attempt.status is None:
            return {}, NO_ADDRESS if attempt.problem in {NO_REQUEST_ADDRESS, NO_CALLBACK} else NO_CONNECTION
        if not attempt.acknowledged:
            return {}, BAD_STATUS
        try:
            response = json.loads(attempt.body)
        except ValueError:
            return {}, BAD_BODY
        if not isinstance(response, dict):
            return {}, BAD_BODY
        toast, card = response.get("toast"), response.get("card")
        if toast is not None and (not isinstance(toast, dict) or toast.get("type") not in TOAST_TYPES):
            return response, BAD_BODY
        if card is not None:
            try:
                if not isinstance(card, dict) or card.get("type") != "raw":
                    return response, BAD_CARD
                check_card(card.get("data"))
            except ApiError:
                return response, BAD_CARD
        return response, None


def message_type(body: Json) -> str:
    header = body.get("header")
    return str(header.get("event_type", "")) if isinstance(header, dict) else ""


def user_ids(tenant: Tenant, person: Person) -> Json:
    """Return a person's ids as an event has them: `user_id` requires a scope."""
    ids = {"union_id": person.union_id, "open_id": person.open_id}
    if "contact:user.employee_id:readonly" in tenant.app.enabled_scopes("tenant"):
        ids["user_id"] = person.user_id
    return ids


DELIVERY = web.AppKey("delivery", Delivery)

"""The ids that every log line of one story carries.

Flows bind them for the duration of a `with` block. Tasks that start in the block inherit them. `bot.logs` adds them to
each line.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar, Token
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING

from bot.core.events import CardClicked
from bot.core.people import UserKey
from bot.store import calls

if TYPE_CHECKING:
    from bot.core.calls import DeferredCall
    from bot.core.events import Event
    from bot.flows.bot import Bot
    from bot.store.inbox import NewCall
    from bot.store.outbox import OutgoingMessage
    from bot.store.transaction import Connection

Ids = Mapping[str, str]

NONE: Ids = MappingProxyType({})

FIELDS = ("call", "message_id", "event", "user", "x_request_id", "traceparent")
"""In the order in which a line has them. The last two are what the proxy calls the request that a line is about."""

_bound: ContextVar[Ids] = ContextVar("ids of the story", default=NONE)


def bound() -> Ids:
    """Return the ids of the current story, by the names of their fields."""
    return _bound.get()


class bind:
    """Add ids to those of the current story, until the block ends. An id that is None or empty is left out."""

    __slots__ = ("_ids", "_token")

    def __init__(self, **ids: str | None) -> None:
        self._ids = {name: value for name, value in ids.items() if value}

    def __enter__(self) -> None:
        ids = {**_bound.get(), **self._ids}
        self._token: Token[Ids] = _bound.set({name: ids[name] for name in FIELDS if name in ids})

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _bound.reset(self._token)


def of_call(call: DeferredCall | NewCall) -> bind:
    """Bind the ids of a call."""
    return bind(call=call.id, message_id=call.message_id, user=str(call.user))


def of_event(event: Event) -> bind:
    """Bind the ids of an event from the platform. The message of a click is a card, and not the user's."""
    user = getattr(event, "user", None)
    return bind(
        event=event.event_id,
        message_id=None if isinstance(event, CardClicked) else getattr(event, "message_id", None),
        user=str(user) if user is not None else None,
    )


async def of_request(bot: Bot, request_id: str | None, user: UserKey) -> bind:
    """Bind the ids of the first call that has waited for an authorization request."""
    if request_id is None:
        return bind(user=str(user))
    if bot.askers.find(request_id) is None:
        await bot.database.read(lambda c: learn(c, bot, request_id))
    call_id, message_id = bot.askers.find(request_id) or (None, None)
    return bind(call=call_id, message_id=message_id, user=str(user))


def learn(c: Connection, bot: Bot, request_id: str | None) -> None:
    """Remember the first call that has waited for a request, if another replica or an earlier process suspended it."""
    if request_id is None or bot.askers.find(request_id) is not None:
        return
    asked = calls.first_of_request(c, request_id)
    if asked is not None:
        bot.askers.remember(request_id, *asked)


def asker_of(c: Connection, bot: Bot, subject: str | None) -> bind:
    """Bind the ids of the call that a clicked card is about: the card shows a call, or a request that calls wait for."""
    if subject is None:
        return bind()
    learn(c, bot, subject)
    call = None if bot.askers.find(subject) else calls.get(c, subject)
    call_id, message_id = (call.id, call.message_id) if call else bot.askers.find(subject) or (None, None)
    return bind(call=call_id, message_id=message_id)


def of_message(message: OutgoingMessage) -> bind:
    """Bind the ids of the call that a message is about."""
    return bind(call=message.call_id, message_id=message.destination.reply_to, user=str(message.user))

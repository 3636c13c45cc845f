"""Records the API calls that are made for a deferred call, in the transaction that follows them anyway."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TypeVar

from bot.core.api import ApiCall, ApiOutcome, Exchange, in_one_word
from bot.core.calls import DeferredCall
from bot.flows import observations
from bot.flows.bot import Bot, utc_now
from bot.store import api_calls
from bot.store.api_calls import MadeCall, id_of_lost
from bot.store.ids import new_id
from bot.store.transaction import Connection

T = TypeVar("T")


def note(bot: Bot, call: DeferredCall, step: int, exchange: Exchange) -> None:
    """Note a request that was made for a call. `write` records it."""
    at = utc_now() - timedelta(seconds=exchange.seconds)
    made = MadeCall(
        id=new_id(at),
        at=at,
        user=call.user,
        call_id=call.id,
        step=step,
        attempt=call.attempts,
        method=exchange.method,
        path=without_query(exchange.path),
        status=exchange.status,
        code=exchange.code,
        log_id=exchange.log_id,
        milliseconds=round(exchange.seconds * 1000),
        outcome=in_one_word(exchange.outcome),
    )
    bot.unrecorded.setdefault((call.id, call.claim), []).append(made)
    observations.api_call_ended(bot, call, exchange)


MAX_PATH_LENGTH = 2000


def note_lost(bot: Bot, call: DeferredCall, step: int, move: ApiCall, sent_at: datetime) -> None:
    """Note a write that another worker has sent, and did not live to record. Recording it twice has no effect."""
    made = MadeCall(
        id=id_of_lost(call.id, step, sent_at),
        at=sent_at,
        user=call.user,
        call_id=call.id,
        step=step,
        attempt=max(0, call.attempts - 1),
        method=move.method,
        path=without_query(move.path),
        status=None,
        code=None,
        log_id=None,
        milliseconds=0,
        outcome=ApiOutcome.NO_ANSWER,
    )
    bot.unrecorded.setdefault((call.id, call.claim), []).append(made)


def without_query(path: str) -> str:
    return path.partition("?")[0][:MAX_PATH_LENGTH]


async def write(bot: Bot, call: DeferredCall, work: Callable[[Connection], T]) -> T:
    """Run a unit of work about a call, and record in its transaction what was made for the call and is not recorded."""
    key = (call.id, call.claim)
    made = tuple(bot.unrecorded.get(key, ()))

    def with_record(c: Connection) -> T:
        result = work(c)
        api_calls.record(c, made)
        return result

    result = await bot.database.write(with_record)
    if made and key in bot.unrecorded:
        bot.unrecorded[key] = [each for each in bot.unrecorded.get(key, ()) if each not in made]
    return result


async def record_rest(bot: Bot, call: DeferredCall) -> None:
    """Record what no transaction has recorded, because this worker lost the call, or crashed. Also if cancelled."""
    key = (call.id, call.claim)
    try:
        if bot.unrecorded.get(key):
            await asyncio.shield(write(bot, call, lambda c: None))
    except Exception as error:
        observations.failed(bot, "API calls not recorded", error)
    finally:
        bot.unrecorded.pop(key, None)

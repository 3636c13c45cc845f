"""Users, times and tokens that the tests of the store share, and functions that create rows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from bot.core.api import ApiOutcome
from bot.core.grants import Grant
from bot.core.messages import Chat
from bot.core.oauth import TokenSet
from bot.core.people import UserKey
from bot.core.requests import AuthorizationRequest
from bot.core.scopes import ScopeSet
from bot.core.secrets import Secret
from bot.store import api_calls, grants, inbox, requests, users
from bot.store.cards import RenderedCard
from bot.store.ids import new_id
from bot.store.inbox import NewCall
from bot.store.queue import Claim
from bot.store.statements import apps_of
from bot.store.transaction import Connection, Database

NOW = datetime(2026, 3, 1, 9, 30, 0, 123456, tzinfo=UTC)
SOON = NOW + timedelta(seconds=20)
LATER = NOW + timedelta(minutes=5)
TOMORROW = NOW + timedelta(days=1)

ANNA = UserKey("lark", "cli_1", "tenant_1", "ou_anna")
BEN = UserKey("lark", "cli_1", "tenant_1", "ou_ben")
APP = ANNA.app
"""The app for which the tests' databases are opened."""


def a_call(user: UserKey = ANNA, *, asked_at: datetime = NOW, message_id: str | None = None) -> NewCall:
    call_id = new_id(NOW)
    return NewCall(
        id=call_id,
        user=user,
        chat=Chat("oc_1", "direct"),
        message_id=message_id or f"om_{call_id}",
        command="agenda",
        arguments="today",
        asked_at=asked_at,
        language="en",
        time_zone=None,
        expires_at=TOMORROW,
    )


def app_of(c: Connection) -> str:
    """Return the only app for which a connection is open."""
    (app,) = apps_of(c)
    return app


def claim_by(c: Connection, worker: str = "w", now: datetime = NOW, until: datetime = SOON) -> Claim:
    """Return a claim on rows of the connection's app."""
    return Claim(app_of(c), worker, now, until)


async def ask(database: Database, user: UserKey = ANNA, *, asked_at: datetime = NOW) -> str:
    """Record a call as an event does, and return its id."""
    call = a_call(user, asked_at=asked_at)
    assert await database.write_one(
        lambda c: inbox.record(c, f"ev_{call.id}", call, language="en", union_id=None, now=NOW)
    )
    return call.id


def open_request(
    c: Connection,
    user: UserKey,
    *,
    scopes: ScopeSet,
    command: str,
    ticket: Secret,
    expires_at: datetime = TOMORROW,
    now: datetime = NOW,
) -> AuthorizationRequest:
    """Open a request whose card is not claimed: the lease of the worker that opened it has expired."""
    ask = requests.Ask(scopes, command, expires_at)
    return requests.open_request(c, user, ask, ticket, Claim(user.app, "opener", now, now))


def rendered(
    request: AuthorizationRequest, version: int = 1, message_id: str = "om_card", *, ephemeral: bool = False
) -> RenderedCard:
    """Return what the worker that claimed this request's card has rendered."""
    return RenderedCard(request.id, request.card.claim, version, message_id, ephemeral)


def a_made_call(
    user: UserKey = ANNA, at: datetime = NOW, *, call_id: str = "c1", **values: Any
) -> api_calls.MadeCall:
    """Return a call to the platform that succeeded, but for these values."""
    usual: dict[str, Any] = {
        "step": 0,
        "attempt": 1,
        "method": "GET",
        "path": "/open-apis/task/v2/tasks",
        "status": 200,
        "code": "0",
        "log_id": "log-1",
        "milliseconds": 12,
        "outcome": ApiOutcome.SUCCEEDED,
    }
    return api_calls.MadeCall(id=new_id(at), at=at, user=user, call_id=call_id, **(usual | values))


async def meet(database: Database, user: UserKey = ANNA) -> None:
    await database.write(lambda c: users.seen(c, user, language="en", union_id=None, now=NOW))


def tokens(number: int = 1, *, refresh: bool = True) -> TokenSet:
    return TokenSet(
        access_token=Secret(f"access-{number}"),
        expires_in=7200,
        refresh_token=Secret(f"refresh-{number}") if refresh else None,
        refresh_expires_in=604_800 if refresh else None,
        scopes=None,
    )


def save_grant(c: Connection, user: UserKey, given: TokenSet, *, scopes: ScopeSet, now: datetime) -> Grant:
    """Store the tokens of a consent, as the bot does."""
    users.lock(c, user)
    new = grants.NewTokens(given, scopes)
    return grants.save(c, user, grants.find(c, user), new, endpoint="v2", now=now)

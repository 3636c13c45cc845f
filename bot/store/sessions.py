"""Signed-in browsers. A session's id is known to its browser alone: here is only a digest of it."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, insert, or_, select, update

from bot.core.model import Session, UserKey
from bot.store import audit
from bot.store.schema import sessions
from bot.store.sql import LIMIT, bind

LIVES = timedelta(hours=8)
"""A session ends so long after its sign-in, however busy it is,"""
IDLE = timedelta(minutes=30)
"""or so long after it was last used."""
TOUCHED_EVERY = timedelta(minutes=1)
"""Noting each single use would be a write for each page."""


BEGIN = insert(sessions).inline()


def begin(connection: Connection, digest: str, user: UserKey, now: datetime) -> None:
    """A known person is signed in from now on."""
    values = {
        "digest": digest,
        "user_key": user,
        "created_at": now,
        "seen_at": now,
        "expires_at": now + LIVES,
    }
    connection.execute(BEGIN, values)


_this = sessions.c.digest == bind("session", sessions.c.digest)
FIND = select(
    sessions.c.digest, sessions.c.user_key, sessions.c.created_at, sessions.c.seen_at, sessions.c.expires_at
).where(
    _this,
    sessions.c.expires_at > bind("now", sessions.c.expires_at),
    sessions.c.seen_at > bind("idle_since", sessions.c.seen_at),
)


def find(connection: Connection, digest: str, now: datetime) -> Session | None:
    """The session, if it has not ended; None also for one that was idle for too long."""
    values = {"session": digest, "now": now, "idle_since": now - IDLE}
    found = connection.execute(FIND, values).one_or_none()
    return None if found is None else Session(*found)


TOUCH = update(sessions).where(_this).values(seen_at=bind("now", sessions.c.seen_at))


def touch(connection: Connection, digest: str, now: datetime) -> None:
    """Notes that a session was used."""
    connection.execute(TOUCH, {"session": digest, "now": now})


END = delete(sessions).where(_this).returning(sessions.c.user_key)


def end(connection: Connection, digest: str) -> UserKey | None:
    """Signs a browser out for good. Who it was; None when nobody was signed in with it."""
    found: UserKey | None = connection.execute(END, {"session": digest}).scalar()
    return found


END_ALL = delete(sessions).where(sessions.c.user_key == bind("user", sessions.c.user_key))


def end_all(connection: Connection, user: UserKey, reason: str, now: datetime) -> int:
    """Signs a person out of every browser; returns of how many."""
    ended = connection.execute(END_ALL, {"user": user}).rowcount
    if ended:
        audit.write(connection, "signed_out", user=user, now=now, reason=reason, browsers=ended)
    return ended


PRUNE = delete(sessions).where(
    sessions.c.digest.in_(
        select(sessions.c.digest)
        .where(
            or_(
                sessions.c.expires_at <= bind("now", sessions.c.expires_at),
                sessions.c.seen_at <= bind("idle_since", sessions.c.seen_at),
            )
        )
        .limit(LIMIT)
    )
)


def prune(connection: Connection, now: datetime, limit: int) -> int:
    """Deletes what has ended."""
    return connection.execute(PRUNE, {"now": now, "idle_since": now - IDLE, "limit": limit}).rowcount

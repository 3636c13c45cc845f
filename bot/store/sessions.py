"""Sessions of signed-in browsers. Only the browser knows a session's id; the database has a digest."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, or_, select, update

from bot.core.people import SESSION_IDLE_TIMEOUT, SESSION_LIFETIME, Session, UserKey
from bot.store import audit, queue, sealed
from bot.store.queue import pruning
from bot.store.schema import sessions
from bot.store.statements import apps_of, bind, of_own_apps
from bot.store.transaction import keyring_of

BEGIN = insert(sessions).inline()


def begin(connection: Connection, digest: str, user: UserKey, now: datetime) -> None:
    """Sign a known user in."""
    values: dict[str, Any] = {
        "digest": digest,
        "user_key": user,
        "created_at": now,
        "seen_at": now,
        "expires_at": now + SESSION_LIFETIME,
    }
    values["seal"] = sealed.SESSION.seal(keyring_of(connection), values)
    connection.execute(BEGIN, values)


_this = sessions.c.digest == bind("session", sessions.c.digest)
FIND = select(sessions).where(
    _this,
    of_own_apps(sessions),
    sessions.c.expires_at > bind("now", sessions.c.expires_at),
    sessions.c.seen_at > bind("idle_since", sessions.c.seen_at),
)


def find(connection: Connection, digest: str, now: datetime) -> Session | None:
    """Return the session, or None if it has ended or was idle for too long.

    The caller must not sign a user in unless the session is genuine. The seal does not cover when it was last used.
    """
    values = {
        "own_apps": apps_of(connection),
        "session": digest,
        "now": now,
        "idle_since": now - SESSION_IDLE_TIMEOUT,
    }
    found = connection.execute(FIND, values).one_or_none()
    if found is None:
        return None
    genuine = sealed.SESSION.is_genuine(keyring_of(connection), found._mapping)
    return Session(
        found.digest, found.user_key, found.created_at, found.seen_at, found.expires_at, genuine=genuine
    )


TOUCH = update(sessions).where(_this).values(seen_at=bind("now", sessions.c.seen_at))


def touch(connection: Connection, digest: str, now: datetime) -> None:
    """Record that a session was used."""
    connection.execute(TOUCH, {"session": digest, "now": now})


END = delete(sessions).where(_this, of_own_apps(sessions)).returning(sessions.c.user_key)


def end(connection: Connection, digest: str) -> UserKey | None:
    """End a session; return its user, or None if there was no such session."""
    found: UserKey | None = connection.execute(
        END, {"own_apps": apps_of(connection), "session": digest}
    ).scalar()
    return found


def reject(connection: Connection, digest: str, now: datetime) -> None:
    """Delete a session that is not genuine."""
    if connection.execute(END, {"own_apps": apps_of(connection), "session": digest}).first() is not None:
        audit.reject(connection, "session", digest, now)


END_ALL = delete(sessions).where(sessions.c.user_key == bind("user", sessions.c.user_key))


def end_all(connection: Connection, user: UserKey, reason: str, now: datetime) -> int:
    """End all sessions of a user; return how many."""
    ended = connection.execute(END_ALL, {"user": user}).rowcount
    if ended:
        audit.write(connection, "signed_out", user=user, now=now, reason=reason, browsers=ended)
    return ended


PRUNE = pruning(
    sessions,
    or_(
        sessions.c.expires_at <= bind("now", sessions.c.expires_at),
        sessions.c.seen_at <= bind("idle_since", sessions.c.seen_at),
    ),
)


def prune(connection: Connection, now: datetime, limit: int) -> int:
    """Delete sessions that have ended; return how many."""
    return queue.prune(connection, PRUNE, limit, now=now, idle_since=now - SESSION_IDLE_TIMEOUT)

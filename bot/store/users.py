"""Users that the bot knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, exists, func, null, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from bot.core.calls import CallStatus
from bot.core.grants import GrantStatus
from bot.core.language import Language
from bot.core.people import Identity, UserKey
from bot.core.requests import RequestStatus
from bot.core.unseen_characters import one_line
from bot.store.schema import (
    authorization_requests,
    deferred_calls,
    grants,
    sessions,
    users,
)
from bot.store.statements import bind, is_live, status_in, status_is


@dataclass(frozen=True, slots=True)
class UserProfile:
    name: str | None
    language: Language | None
    time_zone: str | None
    welcomed_at: datetime | None
    quiet_since: datetime | None


_new = insert(users)
SEEN = _new.on_conflict_do_update(
    index_elements=[users.c.user_key],
    set_={
        "seen_at": _new.excluded.seen_at,
        "language": func.coalesce(_new.excluded.language, users.c.language),
        "union_id": func.coalesce(_new.excluded.union_id, users.c.union_id),
    },
)


def row(user: UserKey, language: Language | None, union_id: str | None, now: datetime) -> dict[str, object]:
    return {
        "user_key": user,
        "platform": user.platform,
        "app_id": user.app_id,
        "tenant_key": user.tenant_key,
        "open_id": user.open_id,
        "union_id": union_id,
        "language": language,
        "created_at": now,
        "seen_at": now,
    }


def seen(
    connection: Connection, user: UserKey, *, language: Language | None, union_id: str | None, now: datetime
) -> None:
    """Record that the bot has seen a user. A value that is None stays as it was."""
    connection.execute(SEEN, row(user, language, union_id, now))


_of_user = users.c.user_key == bind("user", users.c.user_key)
LOCK = select(users.c.user_key).where(_of_user).with_for_update(key_share=True)


def lock(connection: Connection, user: UserKey) -> None:
    """Lock a user until this transaction ends.

    This serializes a transaction that suspends a call and one that stores the grant it waits for. Otherwise neither would
    see the other, and the call would wait for a grant that exists. SQLite has a single writer and needs no lock.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(LOCK, {"user": user})


MAX_NAME_LENGTH = 200
"""Characters of a display name that are stored."""

NAME = (
    update(users)
    .where(_of_user)
    .values(name=bind("new_name", users.c.name), seen_at=bind("now", users.c.seen_at))
)


def name_user(connection: Connection, user: UserKey, name: str, now: datetime) -> None:
    connection.execute(NAME, {"user": user, "new_name": one_line(name, MAX_NAME_LENGTH), "now": now})


_may_ask = or_(
    users.c.name_asked_at.is_(None), users.c.name_asked_at <= bind("before", users.c.name_asked_at)
)
UNNAMED = (
    select(users.c.user_key)
    .where(
        users.c.user_key.in_(bind("some", users.c.user_key, expanding=True)), users.c.name.is_(None), _may_ask
    )
    .order_by(users.c.user_key)
)


def unnamed(connection: Connection, some: Sequence[UserKey], before: datetime) -> list[UserKey]:
    """Return those of some users whose name is unknown, and was not asked for since `before`."""
    return list(connection.execute(UNNAMED, {"some": list(some), "before": before}).scalars())


ASK_NAME = (
    update(users)
    .where(_of_user, users.c.name.is_(None), _may_ask)
    .values(name_asked_at=bind("now", users.c.name_asked_at))
)


def ask_name(connection: Connection, user: UserKey, now: datetime, before: datetime) -> bool:
    """Record that the platform is asked for a user's name; False if it is known, or was asked for since `before`."""
    return connection.execute(ASK_NAME, {"user": user, "now": now, "before": before}).rowcount > 0


LEARN_NAME = update(users).where(_of_user, users.c.name.is_(None)).values(name=bind("new_name", users.c.name))


def learn_name(connection: Connection, user: UserKey, name: str) -> None:
    """Set the user's name unless one is known."""
    connection.execute(LEARN_NAME, {"user": user, "new_name": one_line(name, MAX_NAME_LENGTH) or None})


CONSENTED = (
    update(users)
    .where(_of_user)
    .values(
        name=func.coalesce(bind("new_name", users.c.name), users.c.name),
        union_id=func.coalesce(bind("new_union_id", users.c.union_id), users.c.union_id),
        quiet_since=null(),
        seen_at=bind("now", users.c.seen_at),
    )
)


def consented(connection: Connection, user: UserKey, identity: Identity, now: datetime) -> None:
    """Store what the platform states about a user who has consented, and allow reminders again."""
    name = one_line(identity.name or "", MAX_NAME_LENGTH) or None
    values = {"user": user, "new_name": name, "new_union_id": identity.union_id, "now": now}
    connection.execute(CONSENTED, values)


PROFILE = select(
    users.c.name, users.c.language, users.c.time_zone, users.c.welcomed_at, users.c.quiet_since
).where(_of_user)


def profile(connection: Connection, user: UserKey) -> UserProfile | None:
    found = connection.execute(PROFILE, {"user": user}).one_or_none()
    return None if found is None else UserProfile(*found)


LATEST_LANGUAGE = (
    select(deferred_calls.c.language)
    .where(deferred_calls.c.user_key == bind("user", deferred_calls.c.user_key))
    .order_by(deferred_calls.c.id.desc())
    .limit(1)
)


def language(connection: Connection, user: UserKey) -> Language:
    """Return the language of the user's client, else of their latest call, else English."""
    found = profile(connection, user)
    if found is not None and found.language is not None:
        return found.language
    latest: Language | None = connection.execute(LATEST_LANGUAGE, {"user": user}).scalar()
    return latest or "en"


SET_TIME_ZONE = update(users).where(_of_user).values(time_zone=bind("zone", users.c.time_zone))


def set_time_zone(connection: Connection, user: UserKey, time_zone: str) -> None:
    connection.execute(SET_TIME_ZONE, {"user": user, "zone": time_zone})


LEARN_TIME_ZONE = SET_TIME_ZONE.where(users.c.time_zone.is_(None))


def learn_time_zone(connection: Connection, user: UserKey, time_zone: str) -> None:
    """Set the user's time zone unless one is known."""
    connection.execute(LEARN_TIME_ZONE, {"user": user, "zone": time_zone})


SET_QUIET = update(users).where(_of_user).values(quiet_since=bind("since", users.c.quiet_since))


def set_quiet(connection: Connection, user: UserKey, since: datetime) -> None:
    """Record since when the user wants fewer reminders. A consent ends that."""
    connection.execute(SET_QUIET, {"user": user, "since": since})


OFFER = (
    update(users)
    .where(
        _of_user, or_(users.c.offered_at.is_(None), users.c.offered_at <= bind("before", users.c.offered_at))
    )
    .values(offered_at=bind("now", users.c.offered_at))
    .returning(users.c.user_key)
)


def offer(connection: Connection, user: UserKey, now: datetime, before: datetime) -> bool:
    """Record that the user is offered to revoke unused scopes; False if that was recorded after `before`."""
    values = {"user": user, "now": now, "before": before}
    return connection.execute(OFFER, values).first() is not None


WELCOME = (
    update(users)
    .where(_of_user, users.c.welcomed_at.is_(None))
    .values(welcomed_at=bind("now", users.c.welcomed_at))
    .returning(users.c.user_key)
)


def welcome(connection: Connection, user: UserKey, now: datetime) -> bool:
    """Record that the user is welcomed; False if they were welcomed before."""
    return connection.execute(WELCOME, {"user": user, "now": now}).first() is not None


KNOWN_ORGANIZATION = (
    select(users.c.user_key)
    .where(
        users.c.platform == bind("platform", users.c.platform),
        users.c.app_id == bind("app", users.c.app_id),
        users.c.tenant_key == bind("tenant", users.c.tenant_key),
        or_(
            exists().where(deferred_calls.c.user_key == users.c.user_key),
            exists().where(grants.c.user_key == users.c.user_key),
        ),
    )
    .limit(1)
)


def is_of_known_organization(connection: Connection, user: UserKey) -> bool:
    """Return whether a user of the same organization has used the bot."""
    values = {"platform": user.platform, "app": user.app_id, "tenant": user.tenant_key}
    return connection.execute(KNOWN_ORGANIZATION, values).first() is not None


_unfinished = or_(
    exists().where(
        grants.c.user_key == users.c.user_key,
        status_is(grants, GrantStatus.ACTIVE),
        grants.c.authorized_at < bind("before", grants.c.authorized_at),
    ),
    exists().where(
        deferred_calls.c.user_key == users.c.user_key,
        status_in(deferred_calls, CallStatus.QUEUED, CallStatus.SUSPENDED),
    ),
    exists().where(
        authorization_requests.c.user_key == users.c.user_key,
        is_live(authorization_requests, RequestStatus),
    ),
    exists().where(sessions.c.user_key == users.c.user_key),
)
UNFINISHED_OF_ORGANIZATION = (
    select(users.c.user_key)
    .where(
        users.c.platform == bind("platform", users.c.platform),
        users.c.app_id == bind("app", users.c.app_id),
        users.c.tenant_key == bind("tenant", users.c.tenant_key),
        _unfinished,
    )
    .order_by(users.c.user_key)
)


def unfinished_of_organization(
    connection: Connection, platform: str, app_id: str, tenant_key: str, *, before: datetime
) -> list[UserKey]:
    """Return the users of an organization with a grant older than `before`, a waiting call, a live request or a session.

    Reads all users of the organization, so it is only for rare events.
    """
    values = {"platform": platform, "app": app_id, "tenant": tenant_key, "before": before}
    return list(connection.execute(UNFINISHED_OF_ORGANIZATION, values).scalars())

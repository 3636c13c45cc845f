"""Which commands asked for each scope that a user granted, and when a call last needed it. Tokens are in `grants`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, literal_column, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from bot.core.grants import USE_INTERVAL
from bot.core.people import UserKey
from bot.core.scopes import Scope, ScopeSet
from bot.store.schema import granted_scopes, users
from bot.store.statements import bind, of_app


@dataclass(frozen=True, slots=True)
class GrantedScope:
    scope: Scope
    asked_by: tuple[str, ...]
    granted_at: datetime
    used_at: datetime | None
    used_by: str | None


_of_user = granted_scopes.c.user_key == bind("user", granted_scopes.c.user_key)
OF_USER = select(
    granted_scopes.c.scope,
    granted_scopes.c.asked_by,
    granted_scopes.c.granted_at,
    granted_scopes.c.used_at,
    granted_scopes.c.used_by,
).where(_of_user)


def of_user(connection: Connection, user: UserKey) -> dict[Scope, GrantedScope]:
    return {row.scope: GrantedScope(*row) for row in connection.execute(OF_USER, {"user": user})}


def unrequested(connection: Connection, user: UserKey) -> ScopeSet:
    """Return the scopes that a consent granted although no command asked for them."""
    return frozenset(each.scope for each in of_user(connection, user).values() if not each.asked_by)


_new = insert(granted_scopes)
ADD = _new.on_conflict_do_update(
    index_elements=[granted_scopes.c.user_key, granted_scopes.c.scope],
    set_={"asked_by": _new.excluded.asked_by, "granted_at": _new.excluded.granted_at},
    where=_new.excluded.asked_by != literal_column("'[]'"),
)


def add(
    connection: Connection,
    user: UserKey,
    granted: ScopeSet,
    asked_by: Mapping[Scope, tuple[str, ...]],
    now: datetime,
) -> None:
    """Record which commands asked for the granted scopes. A scope that no command asked for keeps its record."""
    rows = [
        {"user_key": user, "scope": scope, "asked_by": asked_by.get(scope, ()), "granted_at": now}
        for scope in sorted(granted)
    ]
    if rows:
        connection.execute(ADD, rows)


USED = (
    update(granted_scopes)
    .where(
        _of_user,
        granted_scopes.c.scope.in_(bind("scopes", granted_scopes.c.scope, expanding=True)),
        or_(
            granted_scopes.c.used_at.is_(None),
            granted_scopes.c.used_at <= bind("before", granted_scopes.c.used_at),
        ),
    )
    .values(used_at=bind("now", granted_scopes.c.used_at), used_by=bind("command", granted_scopes.c.used_by))
)


def used(connection: Connection, user: UserKey, scopes: ScopeSet, command: str, now: datetime) -> None:
    """Record, at most once a minute, that a command needed these scopes and was answered."""
    values = {"user": user, "scopes": sorted(scopes), "command": command, "now": now}
    connection.execute(USED, values | {"before": now - USE_INTERVAL})


USED_SINCE = (
    select(granted_scopes.c.scope)
    .join(users, users.c.user_key == granted_scopes.c.user_key)
    .where(
        of_app(users),
        granted_scopes.c.scope.in_(bind("scopes", granted_scopes.c.scope, expanding=True)),
        granted_scopes.c.used_at >= bind("since", granted_scopes.c.used_at),
    )
    .distinct()
)


def used_since(connection: Connection, app: str, scopes: ScopeSet, since: datetime) -> ScopeSet:
    """Return those of the scopes that a call of any user of the app has used since then."""
    values = {"own_app": app, "scopes": sorted(scopes), "since": since}
    return frozenset(connection.execute(USED_SINCE, values).scalars())


FORGET_ALL = delete(granted_scopes).where(_of_user)
FORGET = FORGET_ALL.where(granted_scopes.c.scope.in_(bind("scopes", granted_scopes.c.scope, expanding=True)))


def forget(connection: Connection, user: UserKey, scopes: ScopeSet) -> None:
    """Delete the records of scopes that the user revoked."""
    connection.execute(FORGET, {"user": user, "scopes": sorted(scopes)})


def forget_all(connection: Connection, user: UserKey) -> None:
    """Delete all records of a user who revoked everything."""
    connection.execute(FORGET_ALL, {"user": user})

"""Scopes, scope sets and scope requirements, and which scopes to ask for.

A scope is a named right. A scope set is an immutable set of scopes. A clause is an ordered tuple of alternatives,
preferred first, of which any one is enough. A requirement is a tuple of clauses, which must all be met.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

Scope = str
ScopeSet = frozenset[str]
Clause = tuple[Scope, ...]
Requirement = tuple[Clause, ...]

OFFLINE_ACCESS = "offline_access"
"""The scope that makes the platform issue a refresh token. Every link has to ask for it."""

NOTHING: Requirement = ()

SCOPE_TOKEN = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,100}")
"""What any platform's scope looks like (RFC 6749, section 3.3)."""


@dataclass(frozen=True, slots=True)
class ScopeSyntax:
    """How a platform's scopes are written. Whether one exists cannot be checked: platforms add new ones."""

    pattern: re.Pattern[str]
    most_per_link: int
    """How many scopes one authorization link may ask for."""

    def matches(self, text: str) -> bool:
        return self.pattern.fullmatch(text) is not None


def any_of(*alternatives: Scope) -> Requirement:
    """Return a requirement that any of these scopes meets, the preferred first. Raises ValueError if none is given."""
    if not alternatives:
        raise ValueError("any_of needs at least one scope")
    return (alternatives,)


def checked_requirement(requirement: object) -> Requirement:
    """Return the argument. Raises ValueError if it is not a requirement that a command may declare."""
    if isinstance(requirement, str):
        raise ValueError(f"a requirement is not a string: write any_of({requirement!r})")
    if not isinstance(requirement, tuple):
        raise ValueError(f"a requirement is what any_of or all_of returns, not {requirement!r}")
    for clause in requirement:
        if not isinstance(clause, tuple):
            raise ValueError(f"a requirement is what any_of or all_of returns, not a tuple with {clause!r}")
        if not clause:
            raise ValueError("any_of needs at least one scope")
        wrong = [each for each in clause if not isinstance(each, str) or not SCOPE_TOKEN.fullmatch(each)]
        if wrong:
            raise ValueError(f"{wrong[0]!r} is not the name of a scope")
    return requirement


def all_of(*parts: Requirement | Scope) -> Requirement:
    """Return a requirement that is met when every part is met."""
    clauses: list[Clause] = []
    for part in parts:
        for clause in ((part,),) if isinstance(part, str) else part:
            if clause not in clauses:
                clauses.append(clause)
    return tuple(clauses)


def parse_scopes(text: str) -> ScopeSet:
    """Parse a space-separated list of scopes (RFC 6749, section 3.3)."""
    return frozenset(text.split())


def join_scopes(scopes: Iterable[Scope]) -> str:
    """Return a space-separated list in a stable order, with `offline_access` last, as in the platform's samples."""
    return " ".join(sorted(scopes, key=lambda scope: (scope == OFFLINE_ACCESS, scope)))


def missing(requirement: Requirement, held: ScopeSet) -> Requirement:
    """Return the clauses that `held` does not meet."""
    return tuple(clause for clause in requirement if held.isdisjoint(clause))


def named(*requirements: Requirement) -> ScopeSet:
    """Return every scope that the requirements name."""
    return frozenset(scope for requirement in requirements for clause in requirement for scope in clause)


def clauses(requirement: Requirement) -> list[str]:
    """Return the clauses, all of which are needed, each as its alternatives: `a|b`."""
    return ["|".join(clause) for clause in requirement]


def is_met(requirement: Requirement, held: ScopeSet) -> bool:
    return not missing(requirement, held)


def needs_after_refusal(
    declared: Requirement,
    refused: Requirement,
    held: ScopeSet,
    *,
    reading: bool,
    exhausted: ScopeSet = frozenset(),
) -> Requirement:
    """Return what to wait for after the platform refused a call that lacks `refused`.

    The result is everything that the declared requirement lacks, so that the user is asked once, with each refused
    clause narrowed to what the platform accepts. The platform overrides the bot's record: a scope of `refused` does not
    count as held even if it is recorded as held. `exhausted` are scopes that were granted since then and did not help.
    An empty clause in the result means that no alternative is left.
    """
    really_held = held - named(refused)
    declared_clauses = [declared_clause(clause, declared) for clause in refused]
    narrowed = [
        tuple(scope for scope in by_preference(clause, preferred, reading=reading) if scope not in exhausted)
        for clause, preferred in zip(refused, declared_clauses, strict=True)
    ]
    rest = [clause for clause in missing(declared, really_held) if clause not in declared_clauses]
    return (*narrowed, *rest)


def declared_clause(refused: Clause, declared: Requirement) -> Clause:
    """Return the declared clause that shares a scope with a refused one, or an empty clause."""
    return next((clause for clause in declared if not frozenset(refused).isdisjoint(clause)), ())


def by_preference(refused: Clause, preferred: Clause, *, reading: bool) -> list[Scope]:
    """Return the alternatives of a refused clause: the declared ones in their order, then the others by breadth."""
    known = [scope for scope in preferred if scope in refused]
    others = frozenset(refused).difference(known)
    return [*known, *sorted(others, key=lambda scope: breadth(scope, reading=reading))]


def breadth(scope: Scope, *, reading: bool) -> tuple[int, int, str]:
    """Return a sort key: for a reading call, read-only scopes come first; narrower scopes come before wider ones.

    A scope with more segments (`calendar:calendar.event:read`) covers less than one with fewer (`calendar:calendar`).
    """
    action = re.split("[:.]", scope)[-1].lower()
    read_only = action in {"read", "readonly", "retrieve"}
    segments = scope.count(":") + scope.count(".")
    return (0 if read_only or not reading else 1, -segments, scope)


class ScopeWaitStatus(StrEnum):
    """The state of a scope set that an administrator has to enable."""

    WAITING = "waiting"
    ENABLED = "enabled"


@dataclass(frozen=True, slots=True)
class Choice:
    """What to ask for."""

    scopes: ScopeSet
    """The scopes of the link."""
    unavailable: Requirement
    """The clauses that no link can meet before an administrator enables a scope."""


def choose_scopes(
    needs: Requirement,
    held: ScopeSet,
    enabled: ScopeSet | None,
    *,
    avoided: ScopeSet = frozenset(),
    wanted: ScopeSet = frozenset(),
) -> Choice:
    """Return one alternative for each clause of `needs`.

    `enabled` are the scopes that the app has enabled for user identity; None if they cannot be read, in which case every
    alternative counts as enabled. `avoided` scopes are not chosen. Of the others, one that is `held` or already
    `wanted` is preferred, because it requires nothing more of the user; otherwise the first of the clause.
    """
    chosen: set[Scope] = set()
    unavailable: list[Clause] = []
    for clause in needs:
        usable = [scope for scope in clause if (enabled is None or scope in enabled) and scope not in avoided]
        if not usable:
            unavailable.append(clause)
            continue
        free = next((scope for scope in usable if scope in held or scope in wanted or scope in chosen), None)
        chosen.add(free or usable[0])
    return Choice(frozenset(chosen), tuple(unavailable))


def with_always_asked(
    scopes: ScopeSet, always: ScopeSet, enabled: ScopeSet | None, avoided: ScopeSet = frozenset()
) -> ScopeSet:
    """Add the scopes that every link asks for, except avoided ones and those that the app has certainly not enabled."""
    usable = always if enabled is None else always & enabled
    return scopes | (usable - avoided)

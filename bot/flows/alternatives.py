"""What to ask for instead, once the platform has refused what a request asks for."""

from __future__ import annotations

from datetime import datetime

from bot.core.model import AuthorizationRequest, DeferredCall, RequestStatus, WaitsFor
from bot.core.scopes import OFFLINE_ACCESS, ScopeSet, choose_scopes, with_offline_access
from bot.store import authorizations, calls, device_authorizations
from bot.store.database import Connection


def ask_otherwise(
    c: Connection, request: AuthorizationRequest, enabled: ScopeSet | None, moment: datetime
) -> None:
    """Inside a transaction: asks first for other alternatives, then without `offline_access`; after that it is the
    administrator's matter. `enabled` are the app's scopes, if they can be read."""
    device_authorizations.close(c, request.user, moment)
    suspended = calls.suspended_of(c, request.user)
    waiting = [each for each in suspended if each.waits_for is WaitsFor.AUTHORIZATION]
    avoided, scopes = other_choice(request, waiting, enabled)
    if scopes is not None:
        authorizations.avoid(c, request.id, avoided, scopes, moment)
        return
    for call in waiting:
        calls.change_wait(c, call.id, WaitsFor.ADMINISTRATOR)
    authorizations.settle(
        c,
        request.id,
        RequestStatus.FAILED,
        granted=frozenset(),
        refused=frozenset(),
        failure="administrator",
        now=moment,
    )


def other_choice(
    request: AuthorizationRequest, waiting: list[DeferredCall], enabled: ScopeSet | None
) -> tuple[ScopeSet, ScopeSet | None]:
    """What to leave out from now on, and what to ask for instead; None when nothing is left to try."""
    needs = tuple(clause for call in waiting for clause in call.needs)
    if enabled is not None and not request.scopes <= enabled:
        # That explains the error: no link that names such a scope can end otherwise.
        choice = choose_scopes(needs, frozenset(), enabled, avoided=request.avoided)
        scopes = with_offline_access(choice.scopes, enabled, request.avoided)
        return request.avoided, None if choice.unavailable else scopes
    offline = request.scopes & {OFFLINE_ACCESS}
    avoided = request.avoided | (request.scopes - offline)
    choice = choose_scopes(needs, frozenset(), enabled, avoided=avoided)
    if needs and not choice.unavailable:
        return avoided, choice.scopes | offline
    if offline:
        return request.avoided | offline, request.scopes - offline
    return request.avoided, None

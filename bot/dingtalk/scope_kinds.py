"""The kinds of scopes: those of APIs, and those of single fields, which the client's page asks for separately."""

from __future__ import annotations

from bot.core.scopes import Scope, ScopeSet

IDENTITY_SCOPE = "Contact.User.Read"
"""Without it the bot cannot see who consented, so every request asks for it."""


def is_field_scope(scope: Scope) -> bool:
    """Whether a scope is of a field: its last part is the field's name, which begins with a small letter.

    `Contact.User.mobile` is one, `Contact.User.Read` is not. Names of older APIs (`qyapi_get_member`) have no parts.
    """
    last = scope.rpartition(".")[2]
    return "." in scope and last[:1].islower()


def rpc_scopes(scopes: ScopeSet) -> list[Scope]:
    return sorted(scope for scope in scopes if not is_field_scope(scope))


def field_scopes(scopes: ScopeSet) -> list[Scope]:
    return sorted(filter(is_field_scope, scopes))

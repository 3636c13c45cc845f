"""The syntax of scopes, and their two kinds: of APIs, and of single fields, which are requested separately."""

from __future__ import annotations

import re

from bot.core.scopes import Scope, ScopeSet, ScopeSyntax

SCOPE_SYNTAX = ScopeSyntax(
    re.compile(r"(?=.{1,100}$)(?:[A-Z][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+)+|qyapi_[a-z0-9_]+)"),
    # No limit is documented. This one keeps the card and the panel readable.
    most_per_link=20,
)
"""How scopes are written: `Todo.Todo.Read`, and `qyapi_get_member` for older APIs."""

IDENTITY_SCOPE = "Contact.User.Read"
"""Without it the bot cannot see who consented, so every request asks for it."""


def is_field_scope(scope: Scope) -> bool:
    """Whether a scope is for a field: its last part is the field's name, which starts with a lowercase letter.

    `Contact.User.mobile` is one, `Contact.User.Read` is not. Scopes of older APIs (`qyapi_get_member`) have no parts.
    """
    last = scope.rpartition(".")[2]
    return "." in scope and last[:1].islower()


def rpc_scopes(scopes: ScopeSet) -> list[Scope]:
    return sorted(scope for scope in scopes if not is_field_scope(scope))


def field_scopes(scopes: ScopeSet) -> list[Scope]:
    return sorted(filter(is_field_scope, scopes))

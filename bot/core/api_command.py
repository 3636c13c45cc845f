"""`/call`: calls any API of a platform as the user. Each platform has its own, made by `call_command`."""

from __future__ import annotations

import re
from collections.abc import Callable

from bot.core.api import Json
from bot.core.api_requests import (
    CallableApis,
    InvalidCall,
    is_json,
    read_call,
    split_arguments,
    straightened,
)
from bot.core.api_responses import quoted, render_response
from bot.core.command_replies import how_to_use
from bot.core.commands import (
    EVERYONE,
    ApiRefused,
    Ask,
    Command,
    Keep,
    Steps,
    command,
    replace_mentions,
)
from bot.core.events import Mentions
from bot.core.language import Words
from bot.core.unseen_characters import one_line
from bot.core.words.refusals import for_support


def names_in_strings(apis: CallableApis) -> Keep:
    """Return a `keep` that puts the names of mentioned users into the strings of the call's JSON, and nowhere else.

    In JSON, an `@` can only be inside a string, so an escaped name stays within the string that contains it.
    """

    def with_names_in_strings(written: str, mentions: Mentions) -> str:
        written = EVERYONE_AT_AN_END.sub("", written)
        if not mentions:
            return written
        try:
            read_call(written, apis)
        except InvalidCall:
            return written  # the reply says why, whatever the names are
        method, target, body = split_arguments(written)
        # Straighten quotes first: a curly quote in a name must not end a string.
        body = body if is_json(body) else straightened(body)
        return (
            f"{method} {target} {replace_mentions(body, mentions, lambda name: quoted(name)[1:-1])}".rstrip()
        )

    return with_names_in_strings


EVERYONE_AT_AN_END = re.compile(rf"^\s*{EVERYONE}\s|\s{EVERYONE}\s*$")


def method_and_path(written: str) -> str:
    """Return the call without its parameters and JSON."""
    method, target, _ = split_arguments(written)
    return one_line(f"{method.upper()} {target.partition('?')[0]}", 120)


def call_command(apis: CallableApis, examples: tuple[str, ...], status_of: Callable[[Json], str]) -> Command:
    """Return the command. `status_of` returns the line above a successful response."""

    @command(
        "call",
        usage=Words("METHOD PATH [JSON]", "方法 路径 [JSON]"),
        summary=Words("call any OpenAPI", "调用任意 OpenAPI"),
        keep=names_in_strings(apis),
        shown_to_administrators=method_and_path,
        private=True,
    )
    def call(ask: Ask) -> Steps:
        if not ask.arguments.strip():
            return how_to_use(call, *examples)
        try:
            api_call = read_call(ask.arguments, apis)
        except InvalidCall as invalid:
            return how_to_use(call, *examples, problem=invalid.problem)
        try:
            response = yield api_call
        except ApiRefused as refused:
            outcome = refused.outcome
            status = status_line(outcome.code, outcome.message)
            return render_response(api_call, outcome.data, status, for_support(outcome))
        return render_response(api_call, response, status_of(response))

    return call


def status_line(code: Json, message: Json) -> str:
    """Return the code and the message; the code only once if the message begins with it."""
    number, words = str(code), str(message)
    repeated = words.startswith(number) and not words[len(number) :][:1].isalnum()
    return words if repeated else f"{number} {words}".strip()

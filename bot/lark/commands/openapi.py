"""`/call`: calls any OpenAPI as the user."""

from __future__ import annotations

import re

from bot.core.api import Json
from bot.core.command_replies import how_to_use
from bot.core.commands import EVERYONE, ApiRefused, Ask, Steps, command, replace_mentions
from bot.core.events import Mentions
from bot.core.language import Words
from bot.core.unseen_characters import one_line
from bot.core.words.refusals import for_support
from bot.lark.commands.openapi_request import InvalidCall, is_json, read_call, split_arguments, straightened
from bot.lark.commands.openapi_response import quoted, render_response
from bot.lark.commands.response_fields import mapping


def with_names_in_strings(written: str, mentions: Mentions) -> str:
    """Put the names of mentioned users into the strings of the call's JSON, and nowhere else.

    In JSON, an `@` can only be inside a string, so an escaped name stays within the string that contains it.
    """
    written = EVERYONE_AT_AN_END.sub("", written)
    if not mentions:
        return written
    try:
        read_call(written)
    except InvalidCall:
        return written  # the reply explains the mistake, which does not depend on the names
    method, target, body = split_arguments(written)
    # Straighten quotes first: a curly quote in a name must not end a string.
    body = body if is_json(body) else straightened(body)
    return f"{method} {target} {replace_mentions(body, mentions, lambda name: quoted(name)[1:-1])}".rstrip()


EVERYONE_AT_AN_END = re.compile(rf"^\s*{EVERYONE}\s|\s{EVERYONE}\s*$")


def method_and_path(written: str) -> str:
    """Return the call without its parameters and JSON."""
    method, target, _ = split_arguments(written)
    return one_line(f"{method.upper()} {target.partition('?')[0]}", 120)


@command(
    "call",
    usage=Words("METHOD PATH [JSON]", "方法 路径 [JSON]"),
    summary=Words("call any OpenAPI", "调用任意 OpenAPI"),
    keep=with_names_in_strings,
    shown_to_administrators=method_and_path,
    private=True,
)
def call(ask: Ask) -> Steps:
    if not ask.arguments.strip():
        return how_to_use(call, *EXAMPLES)
    try:
        api_call = read_call(ask.arguments)
    except InvalidCall as invalid:
        return how_to_use(call, *EXAMPLES, problem=invalid.problem)
    try:
        response = yield api_call
    except ApiRefused as refused:
        outcome = refused.outcome
        return render_response(
            api_call, outcome.data, status_line(outcome.code, outcome.message), for_support(outcome)
        )
    envelope = mapping(response)
    return render_response(api_call, response, status_line(envelope.get("code"), envelope.get("msg")))


def status_line(code: Json, message: Json) -> str:
    """Return the code and the message; the code only once if the message begins with it."""
    number, words = str(code), str(message)
    repeated = words.startswith(number) and not words[len(number) :][:1].isalnum()
    return words if repeated else f"{number} {words}".strip()


EXAMPLES = (
    "/call GET /open-apis/authen/v1/user_info",
    '/call POST /open-apis/contact/v3/users/basic_batch {"user_ids": ["ou_…"]}',
)

"""`/call`: any OpenAPI, as the user. Decides what may be called, and hides secrets in what comes back."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NoReturn
from urllib.parse import parse_qsl, quote, unquote_to_bytes

from bot.core.api import ApiCall, Json, Write
from bot.core.command_replies import Text, how_to_use, paragraph
from bot.core.commands import EVERYONE, PLACEHOLDER, ApiRefused, Ask, Steps, command, replace_mentions
from bot.core.events import Mentions
from bot.core.language import Words
from bot.core.messages import Code, Line, Reply, Span
from bot.core.unseen_characters import one_line, tidy
from bot.core.words.refusals import for_support
from bot.lark.commands.response_fields import mapping

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")

ROOT = "/open-apis/"

LONGEST_PATH = 2000
LONGEST_BODY = 50_000
DEEPEST_BODY = 50

MOST_BYTES = 6000
"""Of an answer. A message holds 30 KB, and grows by what its own JSON has to escape."""


class Unusable(Exception):
    """What was written is no call that may be made; says why."""

    def __init__(self, problem: Text) -> None:
        super().__init__()
        self.problem = problem


def with_names_in_strings(written: str, mentions: Mentions) -> str:
    """The call with the names of mentioned people in the strings of its JSON, and nowhere else.

    In a JSON document an `@` can only stand inside a string, so a quoted name stays inside the string it is put into.
    """
    written = EVERYONE_AT_AN_END.sub("", written)
    if not mentions:
        return written
    try:
        read_call(written)
    except Unusable:
        return written  # its answer says why, whatever the names are
    method, target, body = parts_of(written)
    # Quotes are made straight first: a curly one in a name must end no string.
    body = body if is_json(body) else straightened(body)
    return f"{method} {target} {replace_mentions(body, mentions, lambda name: quoted(name)[1:-1])}".rstrip()


EVERYONE_AT_AN_END = re.compile(rf"^\s*{EVERYONE}\s|\s{EVERYONE}\s*$")


def method_and_path(written: str) -> str:
    """The call without its parameters and its JSON."""
    method, target, _ = parts_of(written)
    return one_line(f"{method.upper()} {target.partition('?')[0]}", 120)


@command(
    "call",
    usage=Words("METHOD PATH [JSON]", "方法 路径 [JSON]"),
    summary=Words("call any OpenAPI", "调用任意 OpenAPI"),
    keep=with_names_in_strings,
    told=method_and_path,
    private=True,
)
def call(ask: Ask) -> Steps:
    if not ask.arguments.strip():
        return how_to_use(call, *EXAMPLES)
    try:
        api_call = read_call(ask.arguments)
    except Unusable as unusable:
        return how_to_use(call, *EXAMPLES, problem=unusable.problem)
    try:
        response = yield api_call
    except ApiRefused as refused:
        outcome = refused.outcome
        return answer(api_call, outcome.data, f"{outcome.code} {outcome.message}", for_support(outcome))
    envelope = mapping(response)
    return answer(api_call, response, f"{envelope.get('code')} {envelope.get('msg')}")


EXAMPLES = (
    "/call GET /open-apis/authen/v1/user_info",
    '/call POST /open-apis/contact/v3/users/basic_batch {"user_ids": ["ou_…"]}',
)


# --- what may be called ---------------------------------------------------------------------------------


def parts_of(arguments: str) -> tuple[str, str, str]:
    """The method, the path and the JSON, without the quotes and full stops that keyboards put around the first two."""
    method, target, body = (*arguments.split(None, 2), "", "", "")[:3]
    target = target.strip(QUOTES)
    if "?" not in target:
        target = target.rstrip(FULL_STOPS)
    return unicodedata.normalize("NFKC", method).strip(QUOTES + ":,"), target, body


QUOTES = "\"'`<>‘’“”「」『』《》"
FULL_STOPS = "。，；、！"


def read_call(arguments: str) -> ApiCall:
    """The call that was written, if it may be made; else raises `Unusable`."""
    method, target, body = parts_of(arguments)
    if method.upper() not in METHODS:
        methods = ", ".join(METHODS)
        raise Unusable(
            Words("Start with the method: {methods}.", "请先写方法：{methods}。").format(methods=methods)
        )
    method = method.upper()
    path, query = read_target(target)
    if method == "GET" and body:
        raise Unusable(
            Words(
                "GET takes no JSON. Put parameters after the path: ?page_size=20",
                "GET 不支持 JSON，请将参数写在路径后：?page_size=20",
            )
        )
    # No idempotency key is known for just any API, so that a write must never leave twice.
    write = None if method == "GET" else Write(keyed_for=None)
    return ApiCall(method, path, query, read_body(body) if body else None, write)


def read_target(target: str) -> tuple[str, Mapping[str, str]]:
    """The path and its query. The path is written anew from what it means: what was checked is sent."""
    if len(target) > LONGEST_PATH:
        raise Unusable(Words("The path is too long.", "路径过长。"))
    if not target.startswith("/") or target.startswith("//"):
        raise Unusable(
            Words(
                "After the method, write the path without a host: /open-apis/…",
                "方法之后请写路径，不含域名：/open-apis/…",
            )
        )
    if PLACEHOLDER.search(target):
        raise Unusable(
            Words(
                "The path and its parameters can't contain mentions. Use an ID instead.",
                "路径及其参数中不能 @ 他人，请填写 ID。",
            )
        )
    if "#" in target or target.count("?") > 1:
        raise Unusable(Words("The path can't contain #, and only one ?.", "路径中不能有 #，且最多一个 ?。"))
    raw_path, _, raw_query = target.partition("?")
    path = decoded(raw_path)
    # What only looks like a slash or two dots becomes one for a server that normalizes what it reads.
    meant = unicodedata.normalize("NFKC", path)
    refuse_odd(meant, raw_path)
    refuse_tokens(meant)
    return quote(path, safe="/:@!$&'()*+,=-._~"), read_query(raw_query)


def decoded(raw: str) -> str:
    """Percent-decodes once."""
    if re.search(r"%(?![0-9A-Fa-f]{2})", raw):
        raise Unusable(Words("The path contains an invalid % encoding.", "路径中有无效的 % 编码。"))
    try:
        return unquote_to_bytes(raw).decode()
    except UnicodeError:
        raise Unusable(Words("The path doesn't decode to valid text.", "路径解码后不是有效文本。")) from None


def refuse_odd(path: str, raw: str) -> None:
    """Only a path that every server on the way reads alike may be sent."""
    segments = path.split("/")
    reasons = {
        Words("a backslash", "反斜杠"): "\\" in path,
        Words("an encoded slash", "编码后的斜杠"): path.count("/") != raw.count("/"),
        Words("an encoded ? or #", "编码后的 ? 或 #"): "?" in path or "#" in path,
        Words("a doubly encoded character", "重复编码的字符"): "%" in path,
        Words("..", ".."): ".." in path,
        Words("a single-dot segment", "只有一个点的路径段"): "." in segments,
        Words("//", "//"): "//" in path,
        Words("a semicolon", "分号"): ";" in path,
        Words("a control character", "控制字符"): has_control(path),
    }
    for reason, applies in reasons.items():
        if applies:
            problem = Words("Not allowed in the path: {reason}.", "路径中不允许出现：{reason}。")
            raise Unusable(problem.format(reason=reason))
    if not path.startswith(ROOT) or path == ROOT:
        raise Unusable(
            Words("Only paths under /open-apis/ can be called.", "只能调用 /open-apis/ 下的路径。")
        )


def has_control(text: str) -> bool:
    """Whether anything in it does not show: control and format characters, surrogates, line separators."""
    return any(
        unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"} for character in text
    )


def refuse_tokens(path: str) -> None:
    """Nobody gets or renews tokens through a chat."""
    area, _, rest = path.removeprefix(ROOT).casefold().replace(" ", "").partition("/")
    about_tokens = any(word in rest for word in ("token", "oauth", "oidc"))
    if area in {"auth", "jssdk"} or (area == "authen" and about_tokens):
        raise Unusable(
            Words(
                "Token endpoints can't be called here.",
                "不能在这里调用令牌相关的接口。",
            )
        )


def read_query(raw: str) -> Mapping[str, str]:
    try:
        pairs = parse_qsl(
            raw, keep_blank_values=True, strict_parsing=bool(raw), errors="strict", max_num_fields=50
        )
    except ValueError:
        raise Unusable(Words("The parameters after the ? are not valid.", "? 之后的参数无效。")) from None
    query: dict[str, str] = {}
    for name, value in pairs:
        if has_control(name + value):
            raise Unusable(
                Words("The parameters after the ? contain a control character.", "? 之后的参数包含控制字符。")
            )
        if name in query:
            problem = Words(
                "The parameter {name} appears twice. Please keep one.",
                "参数 {name} 重复，请只保留一个。",
            )
            raise Unusable(problem.format(name=one_line(name, 60)))
        query[name] = value
    return query


def read_body(text: str) -> Json:
    """The JSON object or array that was written."""
    if len(text) > LONGEST_BODY:
        problem = Words("The JSON is longer than {most} characters.", "JSON 超过 {most} 个字符。")
        raise Unusable(problem.format(most=LONGEST_BODY))
    too_deep = Words("The JSON is nested too deeply.", "JSON 嵌套过深。")
    try:
        body = strictly(text)
    except json.JSONDecodeError as error:
        if straightened(text) != text and is_json(straightened(text)):
            return read_body(straightened(text))
        raise Unusable(where(text, error)) from None
    except RecursionError:
        raise Unusable(too_deep) from None
    except ValueError:  # an integer of thousands of digits
        raise Unusable(
            Words("The JSON contains a number that is too long.", "JSON 中有过长的数字。")
        ) from None
    if not isinstance(body, dict | list):
        raise Unusable(Words("The JSON must be an object or an array.", "JSON 必须是对象或数组。"))
    if depth(body) > DEEPEST_BODY:
        raise Unusable(too_deep)
    return body


def strictly(text: str) -> Json:
    return json.loads(text, parse_constant=refuse_constant, parse_float=finite, object_pairs_hook=named_once)


def is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


CURLY = "“”„‟＂"
_STRAIGHT = str.maketrans("：，｛｝［］" + CURLY, ":,{}[]" + '"' * len(CURLY))
_STRING = re.compile(
    rf"""(?P<straight>"(?:[^"\\]|\\.)*")|[{CURLY}](?P<curly>(?:[^"{CURLY}\\]|\\.)*)["{CURLY}]""", re.DOTALL
)


def straightened(text: str) -> str:
    """JSON with the quotes, colons and commas that phones and Chinese keyboards have replaced. What stands inside
    strings stays."""
    written, end = [], 0
    for found in _STRING.finditer(text):
        inside = found["straight"] or f'"{found["curly"]}"'
        written += [text[end : found.start()].translate(_STRAIGHT), inside]
        end = found.end()
    return "".join([*written, text[end:].translate(_STRAIGHT)])


def named_once(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    """An object whose names are all different: which of two equal ones counts, each reader decides for itself."""
    found: dict[str, Json] = {}
    for name, value in pairs:
        if PLACEHOLDER.search(name):
            raise Unusable(
                Words(
                    "Mentions can only be in JSON values, not in names.",
                    "JSON 的字段名中不能 @ 他人，只能在字段值中使用。",
                )
            )
        if name in found:
            problem = Words(
                "The name {name} appears twice in the same JSON object. Please keep one.",
                "JSON 的同一对象中出现了两个 {name}，请只保留一个。",
            )
            raise Unusable(problem.format(name=one_line(name, 60) or '""'))
        found[name] = value
    return found


def refuse_constant(name: str) -> NoReturn:
    problem = Words("{name} is not valid JSON.", "{name} 不是有效的 JSON。")
    raise Unusable(problem.format(name=one_line(name, 60)))


def finite(text: str) -> float:
    """Without this, 1e999 would be sent as `Infinity`, which is not JSON."""
    value = float(text)
    return value if math.isfinite(value) else refuse_constant(text)


def where(text: str, error: json.JSONDecodeError) -> Words:
    """What is wrong with the JSON, and where; phones like to replace straight quotes."""
    near = one_line(text[error.pos : error.pos + 20], 20)
    problem = Words(
        "The JSON is not valid: {what}, at line {line}, column {column}{near}.{hint}",
        "JSON 无效：第 {line} 行第 {column} 列{near}（{what}）。{hint}",
    )
    hint = Words(' Use straight quotes: "', '请使用英文直引号：" ') if re.search("[“”„‟＂]", text) else ""
    return problem.format(
        what=error.msg,
        line=error.lineno,
        column=error.colno,
        near=Words(", near {near}", "，“{near}”附近").format(near=near) if near else "",
        hint=hint,
    )


def depth(value: Json) -> int:
    """How deeply objects and arrays are nested."""
    deepest, level = 0, [value]
    while level:
        containers = [each for each in level if isinstance(each, dict | list)]
        deepest += 1 if containers else 0
        level = [
            inner for each in containers for inner in (each.values() if isinstance(each, dict) else each)
        ]
    return deepest


# --- what comes back ------------------------------------------------------------------------------------

MASK = "***"

SECRET_NAMES = re.compile(
    r"(access_?token|refresh_?token|id_?token|device_?code|session_?key|secret|password|passwd|app_?ticket)$",
    re.IGNORECASE,
)
"""Names of fields whose value is shown to nobody. Tokens of documents, pages and the like are no secrets."""

LONGEST_SECRET_NAME = 64

SECRET_VALUES = re.compile(
    # A JSON web token. Its word is looked at once, from its beginning: anybody can have one made of "eyJ" throughout.
    r"(?<![A-Za-z0-9_-])(?>[A-Za-z0-9_-]*?eyJ)[A-Za-z0-9_-]{8,}+(?:\.[A-Za-z0-9_-]*)+"
    r"|eyJhbGciOi[A-Za-z0-9_-]*"  # one that was cut off
    r"|(?<![A-Za-z0-9_-])(?:ur|u|t|a|r)-(?=[A-Za-z_]*[0-9])[A-Za-z0-9_]{12,}[A-Za-z0-9_.-]*"
)
"""What looks like a token of the platform, wherever it stands."""


@dataclass(frozen=True, slots=True)
class Shown:
    text: str
    whole: bool


def answer(api_call: ApiCall, response: Json, status: str, support: tuple[Line, ...] = ()) -> Reply:
    """The answer as JSON. For the asker's eyes: who else is in the chat may not be allowed to see it."""
    shown = pretty(response)
    lines: list[Line] = [(Span(SECRET_VALUES.sub(MASK, one_line(status)), bold=True),)]
    if response is not None:
        lines.append(Code(shown.text))
    if not shown.whole:
        lines.append(paragraph(Words("… shortened: the answer is longer.", "……内容过长，已截断。")))
    title = one_line(f"{api_call.method} {api_call.path}", 100)
    return Reply(Words(title, title), (*lines, *support), confidential=True)


def pretty(response: Json) -> Shown:
    """As much of it as is shown is all that is looked at: an answer may hold megabytes."""
    written, room = [], MOST_BYTES
    for piece in pieces(response):
        written.append(piece)
        room -= len(piece)
        if room < 0:
            break
    text = "".join(written).encode(errors="replace")
    return Shown(text[:MOST_BYTES].decode(errors="ignore"), whole=len(text) <= MOST_BYTES)


def pieces(value: Json, level: int = 0) -> Iterator[str]:
    """The value as JSON, piece by piece: without anything that looks like a secret, and not deeper than can be shown."""
    line, inside = "\n" + "  " * level, "\n" + "  " * (level + 1)
    match value:
        case dict() | list() if level > DEEPEST_BODY:
            yield quoted("…")
        case dict() if value:
            for number, (name, inner) in enumerate(value.items()):
                yield f"{',' if number else '{'}{inside}{quoted(tidy(beginning(name)))}: "
                if inner and SECRET_NAMES.search(name[-LONGEST_SECRET_NAME:]):
                    yield quoted(MASK)
                else:
                    yield from pieces(inner, level + 1)
            yield line + "}"
        case list() if value:
            for number, inner in enumerate(value):
                yield f"{',' if number else '['}{inside}"
                yield from pieces(inner, level + 1)
            yield line + "]"
        case str():
            yield quoted(SECRET_VALUES.sub(MASK, beginning(value)))
        case _:
            yield json.dumps(value)


def quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


IN_TOKENS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"


def beginning(text: str) -> str:
    """As much of a text as is shown. No part of a word is: one that is cut may no longer look like the secret it is."""
    return text if len(text) <= MOST_BYTES else text[:MOST_BYTES].rstrip(IN_TOKENS) + "…"

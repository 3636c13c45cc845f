"""Parses and validates the arguments of `/call`, on any platform."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn
from urllib.parse import parse_qsl, quote, unquote_to_bytes

from bot.core.api import ApiCall, Json, Write
from bot.core.command_replies import Text
from bot.core.commands import PLACEHOLDER
from bot.core.language import Words
from bot.core.unseen_characters import one_line

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")

MAX_PATH_LENGTH = 2000

MAX_BODY_LENGTH = 50_000

MAX_BODY_DEPTH = 50


@dataclass(frozen=True, slots=True)
class CallableApis:
    """Which APIs of a platform may be called."""

    root: str
    """The beginning of their paths, with a slash at its end."""
    handles_tokens: Callable[[str], bool]
    """Whether a path, without the root, in lower case and without spaces, is of an API that issues or renews tokens."""


class InvalidCall(Exception):
    """The arguments are not a call that may be made. `problem` says why."""

    def __init__(self, problem: Text) -> None:
        super().__init__()
        self.problem = problem


def split_arguments(arguments: str) -> tuple[str, str, str]:
    """Split into method, path and JSON, and strip quotes and full stops around the first two."""
    method, target, body = (*arguments.split(None, 2), "", "", "")[:3]
    target = target.strip(QUOTES)
    if "?" not in target:
        target = target.rstrip(FULL_STOPS)
    return unicodedata.normalize("NFKC", method).strip(QUOTES + ":,"), target, body


QUOTES = "\"'`<>‘’“”「」『』《》"

FULL_STOPS = "。，；、！"


def read_call(arguments: str, apis: CallableApis) -> ApiCall:
    """Parse the arguments. Raises `InvalidCall` for a call that may not be made."""
    method, target, body = split_arguments(arguments)
    if method.upper() not in METHODS:
        methods = ", ".join(METHODS)
        raise InvalidCall(
            Words("Start with the method: {methods}.", "请先写方法：{methods}。").format(methods=methods)
        )
    method = method.upper()
    path, query = read_target(target, apis)
    if method == "GET" and body:
        raise InvalidCall(
            Words(
                "GET takes no JSON. Put parameters after the path: ?page_size=20",
                "GET 不支持 JSON，请将参数写在路径后：?page_size=20",
            )
        )
    # No idempotency key is known for an arbitrary API, so a write must never be sent twice.
    write = None if method == "GET" else Write(keyed_for=None)
    return ApiCall(method, path, query, read_body(body) if body else None, write)


def read_target(target: str, apis: CallableApis) -> tuple[str, Mapping[str, str]]:
    """Parse the path and the query. The path is encoded again from its decoded form, so that what was checked is sent."""
    if len(target) > MAX_PATH_LENGTH:
        raise InvalidCall(Words("The path is too long.", "路径过长。"))
    if not target.startswith("/") or target.startswith("//"):
        raise InvalidCall(
            Words(
                "After the method, write the path without a host: {root}…",
                "方法之后请写路径，不含域名：{root}…",
            ).format(root=apis.root)
        )
    if PLACEHOLDER.search(target):
        raise InvalidCall(
            Words(
                "The path and its parameters can't contain mentions. Use an ID instead.",
                "路径及其参数中不能 @ 他人，请填写 ID。",
            )
        )
    if "#" in target or target.count("?") > 1:
        raise InvalidCall(
            Words("The path can't contain #, and only one ?.", "路径中不能有 #，且最多一个 ?。")
        )
    raw_path, _, raw_query = target.partition("?")
    path = decoded(raw_path)
    # A look-alike of a slash or of two dots becomes one on a server that normalizes paths.
    normalized = unicodedata.normalize("NFKC", path)
    check_unambiguous(normalized, raw_path)
    check_callable(normalized, apis)
    return quote(path, safe="/:@!$&'()*+,=-._~"), read_query(raw_query)


def decoded(raw: str) -> str:
    """Percent-decode once. Raises `InvalidCall`."""
    if re.search(r"%(?![0-9A-Fa-f]{2})", raw):
        raise InvalidCall(Words("The path contains an invalid % encoding.", "路径中有无效的 % 编码。"))
    try:
        return unquote_to_bytes(raw).decode()
    except UnicodeError:
        raise InvalidCall(
            Words("The path doesn't decode to valid text.", "路径解码后不是有效文本。")
        ) from None


def check_unambiguous(path: str, raw: str) -> None:
    """Raise `InvalidCall` for a path that servers may interpret differently."""
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
        Words("a control character", "控制字符"): has_unprintable(path),
    }
    for reason, applies in reasons.items():
        if applies:
            problem = Words("Not allowed in the path: {reason}.", "路径中不允许出现：{reason}。")
            raise InvalidCall(problem.format(reason=reason))


def has_unprintable(text: str) -> bool:
    """Whether a text has control or format characters, surrogates, or line separators."""
    return any(
        unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"} for character in text
    )


def check_callable(path: str, apis: CallableApis) -> None:
    """Raise `InvalidCall` for a path that may not be called, APIs that issue or renew tokens among them."""
    if not path.startswith(apis.root) or path == apis.root:
        raise InvalidCall(
            Words("Only paths under {root} can be called.", "只能调用 {root} 下的路径。").format(
                root=apis.root
            )
        )
    if apis.handles_tokens(path.removeprefix(apis.root).casefold().replace(" ", "")):
        raise InvalidCall(
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
        raise InvalidCall(Words("The parameters after the ? are not valid.", "? 之后的参数无效。")) from None
    query: dict[str, str] = {}
    for name, value in pairs:
        if has_unprintable(name + value):
            raise InvalidCall(
                Words("The parameters after the ? contain a control character.", "? 之后的参数包含控制字符。")
            )
        if name in query:
            problem = Words(
                "The parameter {name} appears twice. Please keep one.",
                "参数 {name} 重复，请只保留一个。",
            )
            raise InvalidCall(problem.format(name=one_line(name, 60)))
        query[name] = value
    return query


def read_body(text: str) -> Json:
    """Parse the JSON object or array. Raises `InvalidCall`."""
    if len(text) > MAX_BODY_LENGTH:
        problem = Words("The JSON is longer than {most} characters.", "JSON 超过 {most} 个字符。")
        raise InvalidCall(problem.format(most=MAX_BODY_LENGTH))
    too_deep = Words("The JSON is nested too deeply.", "JSON 嵌套过深。")
    try:
        body = parse_strictly(text)
    except json.JSONDecodeError as error:
        if straightened(text) != text and is_json(straightened(text)):
            return read_body(straightened(text))
        raise InvalidCall(describe_json_error(text, error)) from None
    except RecursionError:
        raise InvalidCall(too_deep) from None
    except ValueError:  # an integer of thousands of digits
        raise InvalidCall(
            Words("The JSON contains a number that is too long.", "JSON 中有过长的数字。")
        ) from None
    if not isinstance(body, dict | list):
        raise InvalidCall(Words("The JSON must be an object or an array.", "JSON 必须是对象或数组。"))
    if depth(body) > MAX_BODY_DEPTH:
        raise InvalidCall(too_deep)
    return body


def parse_strictly(text: str) -> Json:
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
    """Replace the quotes, colons and commas of phones and Chinese keyboards outside of JSON strings."""
    written, end = [], 0
    for found in _STRING.finditer(text):
        inside = found["straight"] or f'"{found["curly"]}"'
        written += [text[end : found.start()].translate(_STRAIGHT), inside]
        end = found.end()
    return "".join([*written, text[end:].translate(_STRAIGHT)])


def named_once(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    """Return the object of these members. Raises `InvalidCall` for a repeated name: parsers disagree on it."""
    found: dict[str, Json] = {}
    for name, value in pairs:
        if PLACEHOLDER.search(name):
            raise InvalidCall(
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
            raise InvalidCall(problem.format(name=one_line(name, 60) or '""'))
        found[name] = value
    return found


def refuse_constant(name: str) -> NoReturn:
    problem = Words("{name} is not valid JSON.", "{name} 不是有效的 JSON。")
    raise InvalidCall(problem.format(name=one_line(name, 60)))


def finite(text: str) -> float:
    """Parse a number. Raises `InvalidCall` for 1e999, which would be sent as `Infinity`, which is not JSON."""
    value = float(text)
    return value if math.isfinite(value) else refuse_constant(text)


def describe_json_error(text: str, error: json.JSONDecodeError) -> Words:
    """Describe an error in the JSON and its position, with a hint about curly quotes."""
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
    """Return the depth of nested objects and arrays."""
    deepest, level = 0, [value]
    while level:
        containers = [each for each in level if isinstance(each, dict | list)]
        deepest += 1 if containers else 0
        level = [
            inner for each in containers for inner in (each.values() if isinstance(each, dict) else each)
        ]
    return deepest

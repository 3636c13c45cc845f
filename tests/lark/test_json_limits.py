"""What is parsed, and what is not: a text that may be parsed takes little time, judged by the processor's."""

from __future__ import annotations

import contextlib
import json
import time

import pytest

from bot.lark.webhook import parse_payload
from bot.transport.http_client import MAX_RESPONSE_BYTES
from bot.transport.json_limits import MAX_VALUES, is_costly

HOSTILE = {
    "lists": b"[]",
    "objects": b"{}",
    "nested lists": b"[" * 900 + b"]" * 900,
    "zeros": b"0",
    "strings": b'"a"',
    "pairs": b'{"a":0}',
    "enormous numbers": b"9" * 4300,
    "enormous fractions": b"1." + b"3" * 4000,
    "escaped quotes": b'"' + b'\\"' * 5000 + b'"',
    "backslashes": b'"' + b"\\\\" * 5000 + b'"',
    "escaped characters": b'"' + b"\\u4e2d" * 5000 + b'"',
    "long text": b'"' + "周报".encode() * 5000 + b'"',
}


@pytest.mark.parametrize("shape", [b"[%b]", b"%b", b'{"x":[%b'], ids=["whole", "without its ends", "cut off"])
@pytest.mark.parametrize("what", HOSTILE)
def test_whatever_comes_is_judged_and_parsed_in_little_time(what: str, shape: bytes):
    item = HOSTILE[what] + b","
    text = shape % (item * (MAX_RESPONSE_BYTES // len(item)) + b"1")
    started = time.process_time()
    if not is_costly(text):
        with contextlib.suppress(ValueError, RecursionError):
            json.loads(text)
    assert time.process_time() - started < 0.1


@pytest.mark.parametrize(
    "ordinary",
    [
        {"content": "a,b;c [1] {2} \"quoted\" C:\\dir\\ 'x'\n" * 40_000},
        {"content": "1234567890" * 150_000},
        {"items": [{"id": f"evt_{n}", "summary": "Weekly, [all]", "n": n} for n in range(9_000)]},
        {"values": [[1.5] * 26] * 1_500},
    ],
    ids=["a long document", "digits in a text", "thousands of entries", "a large sheet"],
)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_what_people_have_is_no_matter(ordinary: dict[str, object], ascii_only: bool):
    assert not is_costly(json.dumps(ordinary, ensure_ascii=ascii_only).encode())


def test_an_event_of_too_many_values_is_none():
    assert parse_payload(json.dumps({"x": [0] * MAX_VALUES * 2}).encode()) is None

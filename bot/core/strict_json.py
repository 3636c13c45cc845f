"""Parses JSON strictly: an object with a repeated name is malformed.

Parsers differ in which of two equal names they keep, so one parser might check a value that the next does not use.
"""

from __future__ import annotations

import json

from bot.core.api import Json


def named_once(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    """Return the object with these members. Raises ValueError if a name is repeated."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name is repeated")
    return members


DECODER = json.JSONDecoder(object_pairs_hook=named_once)


def decode(text: str) -> Json:
    """Return the value of a JSON text. Raises ValueError if it is invalid, RecursionError if it is nested too deeply."""
    try:
        value, end = DECODER.raw_decode(text)
    except ValueError:
        end = -1
    # The fast path: the platform writes no whitespace around the value, which `decode` would skip.
    return value if end == len(text) else DECODER.decode(text)

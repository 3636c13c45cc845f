"""JSON that every reader understands alike: an object with a repeated name is malformed.

Parsers differ in which of two equal names they keep, so what one of them checked may not be what another one uses.
"""

from __future__ import annotations

import json

from bot.core.api import Json


def named_once(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    """The object of these members; `ValueError` when a name is repeated."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is repeated")
    return found


DECODER = json.JSONDecoder(object_pairs_hook=named_once)


def decode(text: str) -> Json:
    """The value that the text is; `ValueError` when it is none, `RecursionError` when it is nested too deeply."""
    try:
        value, end = DECODER.raw_decode(text)
    except ValueError:
        end = -1
    # As the platform writes it there is no white space around it, which `decode` would look for.
    return value if end == len(text) else DECODER.decode(text)

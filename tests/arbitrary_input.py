"""Strategies for arbitrary input, for property tests, and checks of what is parsed from it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any

from hypothesis import strategies as st

ODD = "\x00\n\r\x1b\x85\u2028\u202e\u200b\ud800\udfff\uff0f\U0001f600 é字<>&*[]()`#@:/\\%?;=\"'"

texts = st.text(max_size=60) | st.text(st.sampled_from(ODD + "abcAZ019._-"), max_size=40)
"""Includes lone surrogates, which JSON can contain."""

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=15,
)


def objects(*names: str) -> st.SearchStrategy[dict[str, Any]]:
    """Return a strategy for objects with some of these fields, each with any value, and other fields."""
    fields = st.dictionaries(st.sampled_from(names), json_values, max_size=len(names))
    others = st.dictionaries(texts, json_values, max_size=2)
    return st.builds(lambda known, other: other | known, fields, others)


def strings_in(value: object) -> Iterator[str]:
    """Yield every string in a value at any depth, except secrets."""
    match value:
        case str():
            yield value
        case Mapping():
            for name, inner in value.items():
                yield from strings_in(name)
                yield from strings_in(inner)
        case list() | tuple() | set() | frozenset():
            for inner in value:
                yield from strings_in(inner)
        case _ if dataclasses.is_dataclass(value):
            for field in dataclasses.fields(value):
                yield from strings_in(getattr(value, field.name))


def is_storable(value: object) -> bool:
    """Return whether every database accepts each string of a value."""
    return all(
        "\x00" not in text and text == text.encode(errors="replace").decode() for text in strings_in(value)
    )


def as_bytes(value: Any) -> bytes:
    return json.dumps(value).encode()

"""What could come from outside, for property tests, and what must hold of whatever is made of it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any

from hypothesis import strategies as st

ODD = "\x00\n\r\x1b\x85\u2028\u202e\u200b\ud800\udfff\uff0f\U0001f600 é字<>&*[]()`#@:/\\%?;=\"'"

texts = st.text(max_size=60) | st.text(st.sampled_from(ODD + "abcAZ019._-"), max_size=40)
"""Lone surrogates as well: JSON can say them."""

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=15,
)


def objects(*names: str) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with some of these fields, each holding anything, and perhaps with others."""
    fields = st.dictionaries(st.sampled_from(names), json_values, max_size=len(names))
    others = st.dictionaries(texts, json_values, max_size=2)
    return st.builds(lambda known, other: other | known, fields, others)


def strings_in(value: object) -> Iterator[str]:
    """Every text in a value, however deep, secrets aside."""
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
    """Whether every database takes each of its texts."""
    return all(
        "\x00" not in text and text == text.encode(errors="replace").decode() for text in strings_in(value)
    )


def as_bytes(value: Any) -> bytes:
    return json.dumps(value).encode()

"""Limits on the JSON that is parsed. Parsing blocks the event loop even from another thread, because it holds the GIL."""

from __future__ import annotations

CHEAP_BYTES = 64 * 1024
"""Bytes. Parsing this much takes a few milliseconds at worst."""
MAX_VALUES = 50_000
"""A megabyte of text takes 1 ms to parse, a megabyte of empty lists 200 ms."""
LONG_NUMBER = b"9" * 100
"""Converting digits takes time quadratic in their number."""
NINES = bytes.maketrans(b"012345678", b"9" * 9)


def is_costly(text: bytes) -> bool:
    """Whether parsing would take more than a few milliseconds: it has too many values, or too long a number."""
    if len(text) <= CHEAP_BYTES:
        return False
    bare = text.replace(rb"\\", b"").replace(rb"\"", b"")
    if bare.count(b'"') > 4 * MAX_VALUES:
        return True
    outside = b"".join(bare.split(b'"')[::2])
    values = sum(map(outside.count, (b",", b"[", b"{")))
    return values > MAX_VALUES or LONG_NUMBER in outside.translate(NINES)

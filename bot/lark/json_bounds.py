"""How much JSON is parsed. Parsing holds up the event loop, in a thread as well, so it must not take long."""

from __future__ import annotations

CHEAP = 64 * 1024
"""Bytes that take a few milliseconds, whatever they are."""
MOST_VALUES = 50_000
"""A megabyte of text takes a millisecond to parse. A megabyte of empty lists takes two hundred."""
LONG_NUMBER = b"9" * 100
"""Converting digits takes time that grows with the square of their number."""
NINES = bytes.maketrans(b"012345678", b"999999999")


def is_costly(text: bytes) -> bool:
    """Whether it holds so many values, or numbers so long, that parsing it would take more than a few milliseconds."""
    if len(text) <= CHEAP:
        return False
    bare = text.replace(rb"\\", b"").replace(rb"\"", b"")
    if bare.count(b'"') > 4 * MOST_VALUES:
        return True
    outside = b"".join(bare.split(b'"')[::2])
    values = sum(map(outside.count, (b",", b"[", b"{")))
    return values > MOST_VALUES or LONG_NUMBER in outside.translate(NINES)

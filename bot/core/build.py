"""Which program this is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Build:
    """The version of the program, and the revision of the schema that it was made for."""

    version: str
    revision: str


UNKNOWN = Build("unknown", "unknown")

"""Tells whether another process serves a SQLite file: a lock on a file beside it, released when a process ends.

All processes that serve the database share the lock. A process that gets it exclusively is alone, so that the claims in
the database belong to processes that have ended.
"""

from __future__ import annotations

import fcntl
import os

SUFFIX = ".lock"


class PresenceFile:
    """A POSIX lock, which belongs to the process: only that kind goes from exclusive to shared in one step."""

    def __init__(self, database: str) -> None:
        """Raises OSError if the file cannot be created. A path through a symbolic link leads to the same lock."""
        self._file = os.open(os.path.realpath(database) + SUFFIX, os.O_RDWR | os.O_CREAT, 0o600)

    def take_alone(self) -> bool:
        return self._take(fcntl.LOCK_EX)

    def take_shared(self) -> bool:
        """Also downgrades an exclusive lock, without a moment in which another process could get it exclusively."""
        return self._take(fcntl.LOCK_SH)

    def _take(self, kind: int) -> bool:
        try:
            fcntl.lockf(self._file, kind | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def close(self) -> None:
        os.close(self._file)

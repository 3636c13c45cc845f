"""Detects other processes that serve the same SQLite file, by a lock on a file beside it.

All processes that serve the database share the lock, and the system releases it when a process ends. A process that gets
it exclusively is alone, so that the claims in the database belong to processes that have ended.
"""

from __future__ import annotations

import fcntl
import os

SUFFIX = ".lock"


class PresenceFile:
    """A POSIX lock, which belongs to the process: only this kind can be downgraded to shared atomically."""

    def __init__(self, database: str) -> None:
        """Raises OSError if the file cannot be created. A path through a symbolic link leads to the same lock."""
        self._file = os.open(os.path.realpath(database) + SUFFIX, os.O_RDWR | os.O_CREAT, 0o600)

    def acquire_exclusive(self) -> bool:
        """Return whether no other process holds the lock."""
        return self._acquire(fcntl.LOCK_EX)

    def acquire_shared(self) -> bool:
        """Return whether the lock is now shared. Downgrades an exclusive lock atomically."""
        return self._acquire(fcntl.LOCK_SH)

    def _acquire(self, kind: int) -> bool:
        try:
            fcntl.lockf(self._file, kind | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def close(self) -> None:
        os.close(self._file)

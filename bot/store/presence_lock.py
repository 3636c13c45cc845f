"""Who else serves this SQLite file: a lock on a file beside it, which the system releases when a process ends.

Each process that serves the database holds the lock together with the others. One that can have it to itself is alone,
so that whatever was claimed before belongs to nobody any more.
"""

from __future__ import annotations

import fcntl
import os

SUFFIX = ".lock"


class PresenceFile:
    """A lock of the process, not of the object: POSIX, because only that goes from exclusive to shared in one step."""

    def __init__(self, database: str) -> None:
        """Raises OSError where no file can be made. Whoever comes by a symbolic link finds the same lock."""
        self._file = os.open(os.path.realpath(database) + SUFFIX, os.O_RDWR | os.O_CREAT, 0o600)

    def take_alone(self) -> bool:
        return self._take(fcntl.LOCK_EX)

    def take_shared(self) -> bool:
        """Also goes from alone to shared, without a moment in which another process is alone."""
        return self._take(fcntl.LOCK_SH)

    def _take(self, kind: int) -> bool:
        try:
            fcntl.lockf(self._file, kind | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def close(self) -> None:
        os.close(self._file)

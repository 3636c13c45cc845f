"""Free ports that are chosen now and listened on later, for example by a process that has yet to start."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import socket

WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
PORTS = itertools.cycle(
    random.sample(range(15_000 + WORKER % 17 * 1_000, 16_000 + WORKER % 17 * 1_000), 1_000)
)
"""Below the range of outgoing connections, and separate for each worker of the tests."""


def free_port() -> int:
    """Return a port that is free, and that no other test chooses."""
    while True:
        port = next(PORTS)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port

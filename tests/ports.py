"""Ports that are chosen now and listened on later, or again: by a process that is only about to start, say."""

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
"""No connection going out is given one of these (those are above), and each of the tests' workers has its own."""


def free_port() -> int:
    """A port that nobody listens on, and that nobody else chooses before it is listened on."""
    while True:
        port = next(PORTS)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port

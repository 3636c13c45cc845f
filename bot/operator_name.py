"""Who runs an operator's command, for the audit log."""

from __future__ import annotations

import os
import pwd
import re
import socket

MAX_OPERATOR_LENGTH = 100


def operator() -> str:
    """Return the user and the host of the operating system, and with sudo also who uses it: `root(anna)@host`."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container may run as a number
        name = str(os.getuid())
    behind = os.environ.get("SUDO_USER", "")
    who = f"{name}({behind})" if behind and behind != name else name
    return re.sub(r"[^\w.@()-]", "_", f"{who}@{socket.gethostname()}")[:MAX_OPERATOR_LENGTH]

"""Programs of Debian's packages that tests run."""

from __future__ import annotations

import os
import shutil

import pytest


def program(name: str) -> str:
    """Return the path of a program. Without it, the test is skipped, or fails if CI=true, where `.ci/run` installs it."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is not None:
        return found
    reason = f"{name} is not installed: apt-get install {PACKAGES[name]}"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


PACKAGES = {"nginx": "nginx-light", "pgbouncer": "pgbouncer", "caddy": "caddy"}

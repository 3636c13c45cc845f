"""The version of this program, for the ready line, `bot --version`, `bot status` and metrics."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from bot.core.build import UNKNOWN, Build
from bot.store.revision import REVISION


def current_build() -> Build:
    try:
        return Build(version("bot-that-asks"), REVISION)
    except PackageNotFoundError:  # run from a copy of the source
        return Build(UNKNOWN.version, REVISION)

"""What `bot doctor` says, run as a process, and what must hold of it whatever is broken."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

from tests.documented_checks import DOCUMENTED_CHECKS

from .world import World

KEYS = ["check", "verdict", "message", "fix", "platform"]
LIMIT = 15.0
"""Seconds in which it must be done, whatever hangs."""


@dataclass(frozen=True)
class Checkup:
    """The findings of one run."""

    code: int
    found: list[dict[str, Any]]

    def of(self, check: str, platform: str | None = None) -> list[dict[str, Any]]:
        return [
            each for each in self.found if each["check"] == check and platform in (None, each["platform"])
        ]

    def verdict(self, check: str) -> str:
        """The worst verdict of a check."""
        verdicts = [each["verdict"] for each in self.of(check)]
        assert verdicts, f"no such check: {check}"
        return next(each for each in ("fail", "warn", "ok") if each in verdicts)

    def failed(self) -> set[str]:
        return {each["check"] for each in self.found if each["verdict"] == "fail"}

    def says(self, check: str, verdict: str, *words: str) -> dict[str, Any]:
        """Return the finding of a check with this verdict, whose message and fix contain these words."""
        for each in self.of(check):
            text = f"{each['message']} | {each['fix']}"
            if each["verdict"] == verdict and all(word in text for word in words):
                return each
        raise AssertionError(
            f"{check} does not say {verdict} with {words}: {self.of(check)}; {self.failed()}"
        )


async def checkup(world: World, **settings: str) -> Checkup:
    """Run `bot doctor --json` with these settings in addition."""
    before = dict(world.settings)
    world.settings.update(settings)
    started = time.monotonic()
    try:
        code, out, errors = await world.cli("doctor", "--json")
    finally:
        secrets = world.environment()
        world.settings = before
    assert time.monotonic() - started < LIMIT
    assert errors == ""
    found = json.loads(out)
    for each in found:
        assert list(each) == KEYS
        assert each["check"] in DOCUMENTED_CHECKS
        assert each["verdict"] in {"ok", "warn", "fail"}
        assert each["verdict"] == "ok" or each["fix"], f"nothing says what to do: {each}"
        assert len(each["message"]) <= 600
    assert code == (1 if any(each["verdict"] == "fail" for each in found) else 0)
    for name, value in secrets.items():
        if name.startswith(("LARK_", "DINGTALK_", "BOT_")) and name.endswith(
            ("SECRET", "KEY", "TOKEN", "KEYS")
        ):
            assert not value or value not in out, f"{name} is printed"
    return Checkup(code, found)

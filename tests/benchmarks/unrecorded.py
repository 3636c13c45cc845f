"""`bot run` as it is, but for the record of the API calls: `python -m tests.benchmarks.unrecorded`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bot import app, settings
from bot.core.api import ApiCall, Observe, Outcome, ignore
from bot.core.secrets import Secret


class Unobserved:
    """Stands for a platform, and tells nobody what it is asked."""

    def __init__(self, platform: Any) -> None:
        self._platform = platform

    def __getattr__(self, name: str) -> Any:
        return getattr(self._platform, name)

    async def call(self, api_call: ApiCall, access_token: Secret, observe: Observe = ignore) -> Outcome:
        outcome: Outcome = await self._platform.call(api_call, access_token)
        return outcome


def main() -> int:
    loaded = settings.load(settings.environment())

    def unobserved(bot: Any) -> Any:
        platforms = {name: Unobserved(platform) for name, platform in bot.platforms.items()}
        return replace(bot, platforms=platforms)

    return app.run(loaded, unobserved)


if __name__ == "__main__":
    raise SystemExit(main())

"""The bot's real web application and database, without the worker: what acknowledging alone costs.

`python -m tests.benchmarks.doors CALLS_A_SECOND` prints its port and serves until it is terminated; its settings come
from the environment, as those of `bot run`. Meanwhile it makes so many calls as the user.
"""

from __future__ import annotations

import asyncio
import gc
import sys

from aiohttp import web

from bot import app, settings
from bot.core.api import ApiCall
from bot.core.secrets import Secret
from bot.flows.bot import Bot
from bot.store.open_database import upgrade
from bot.web import routes
from bot.web.server import Runner

CALL = ApiCall("GET", "/open-apis/docx/v1/documents/doxbench0000000000000000000/raw_content")


async def call_regularly(bot: Bot, calls_a_second: float) -> None:
    async with asyncio.TaskGroup() as calls:
        while True:
            calls.create_task(make_call(bot))
            await asyncio.sleep(1 / calls_a_second)


async def make_call(bot: Bot) -> None:
    (platform,) = bot.platforms.values()
    await platform.call(CALL, Secret("u-benchmark0000000000000000000000"))


async def serve(loaded: settings.Settings, calls_a_second: float) -> None:
    async with app.assembled(loaded) as bot, app.ingresses(loaded, bot):
        application = routes.build(bot, {})
        runner = Runner(application, public_url="", shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
        gc.collect()
        gc.freeze()
        calling = asyncio.create_task(call_regularly(bot, calls_a_second)) if calls_a_second else None
        print(runner.addresses[0][1], flush=True)
        await (calling or asyncio.Event().wait())


if __name__ == "__main__":
    loaded = settings.load(settings.environment())
    upgrade(loaded.database_url)
    asyncio.run(serve(loaded, float(sys.argv[1])))

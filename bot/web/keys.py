"""What the application hands to its routes."""

from collections.abc import Callable

from aiohttp import web

from bot.flows.bot import Bot

BOT = web.AppKey("bot", Bot)
INGRESS_UP = web.AppKey("ingress_up", Callable[[], bool])

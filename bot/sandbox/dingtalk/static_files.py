"""The emulator's static files: its pages, and what the chat page has to know about DingTalk."""

from pathlib import Path

from aiohttp import web

STATIC = Path(__file__).parent / "static"

routes = web.RouteTableDef()
routes.static("/sandbox/dingtalk/static", STATIC)


@routes.get("/sandbox/platform.js")
async def platform_script(_: web.Request) -> web.FileResponse:
    """The module that the chat page imports from the emulator, at the same address for every platform."""
    return web.FileResponse(STATIC / "platform.js")

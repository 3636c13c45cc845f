"""Builds the web application of the emulated platform: every origin of the real one on a single port.

The consent page that `/open-apis/authen/v1/authorize` leads to (`/sandbox/consent`) is part of the chat page.
"""

from aiohttp import web

from . import control
from .control import TENANT
from .tenant import Tenant


def build_platform(tenant: Tenant) -> web.Application:
    """The platform for one tenant. More routes may be added before the application is started."""
    app = web.Application(client_max_size=4 * 1024 * 1024)
    app[TENANT] = tenant
    app.add_routes(control.routes)
    return app

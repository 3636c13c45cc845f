"""Faults under a test's control."""

from bot.sandbox.fault_control import fault_routes
from bot.sandbox.lark.gateway import TENANT

routes = fault_routes(
    {"method", "path", "grant_type", "identity", "receive_id_type"},
    lambda request: (request.app[TENANT].faults, request.app[TENANT].feed),
)

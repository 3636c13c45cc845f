"""Faults under a test's control."""

from bot.sandbox.dingtalk.gateway import TENANT
from bot.sandbox.fault_control import fault_routes

routes = fault_routes(
    {"method", "path", "grant_type", "identity"},
    lambda request: (request.app[TENANT].faults, request.app[TENANT].feed),
)

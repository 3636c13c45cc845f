"""The typed requests of lark-oapi: its catalogue of APIs, without its client.

`import lark_oapi` takes seconds, more than a command has for a step, because it imports every API there is, and a
WebSocket client that wants pkg_resources, which setuptools deprecates and newer ones lack. `typed` imports one API.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from types import ModuleType
from typing import Any

from bot.lark.api import from_sdk_request

__all__ = ["from_sdk_request", "typed"]

SDK = "lark_oapi"

_kept: dict[str, ModuleType] = {}
"""What has been imported of the SDK in this way, by name."""


def typed(api: str) -> Any:
    """The module with the requests and models of one API: `typed("calendar.v4").PrimaryCalendarRequest`.

    Call it in the command, not beside it: the first time takes up to a second, later ones nothing.
    """
    name = f"{SDK}.api.{api}"
    if SDK in sys.modules:
        return importlib.import_module(name)
    if name in _kept:
        return _kept[name]
    sys.modules.update(_kept)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what the SDK's authors have to read
            for package in (SDK, f"{SDK}.api"):
                sys.modules.setdefault(package, empty(package))
            found = importlib.import_module(name)
        _kept.update({each: module for each, module in sys.modules.items() if is_sdk(each)})
    finally:
        # Whoever imports the whole SDK later gets the whole.
        for each in [each for each in sys.modules if is_sdk(each)]:
            del sys.modules[each]
    return found


def is_sdk(name: str) -> bool:
    return name == SDK or name.startswith(f"{SDK}.")


def empty(package: str) -> ModuleType:
    """A package in which modules are found, but whose own code, which imports all of them, has not run."""
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    return importlib.util.module_from_spec(spec)

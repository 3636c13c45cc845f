"""The typed requests of lark-oapi, without its client.

`import lark_oapi` imports every API, which takes seconds, longer than a step of a command may take. It also imports a
WebSocket client that needs pkg_resources, which recent versions of setuptools lack. `typed` imports a single API.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from collections.abc import Mapping
from types import ModuleType
from typing import Any
from urllib.parse import quote

from bot.core.api import ApiCall, Write

__all__ = ["from_sdk_request", "typed"]

SDK = "lark_oapi"

_imported: dict[str, ModuleType] = {}
"""Modules of the SDK that `typed` has imported, by name."""


def typed(api: str) -> Any:
    """Return the module with the requests and models of one API: `typed("calendar.v4").PrimaryCalendarRequest`.

    Call it inside the command, not at import: the first call takes up to a second.
    """
    name = f"{SDK}.api.{api}"
    if SDK in sys.modules:
        return importlib.import_module(name)
    if name in _imported:
        return _imported[name]
    sys.modules.update(_imported)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecations within the SDK
            for package in (SDK, f"{SDK}.api"):
                sys.modules.setdefault(package, empty_package(package))
            found = importlib.import_module(name)
        _imported.update({each: module for each, module in sys.modules.items() if is_sdk(each)})
    finally:
        # A later `import lark_oapi` must import the whole SDK.
        for each in [each for each in sys.modules if is_sdk(each)]:
            del sys.modules[each]
    return found


def is_sdk(name: str) -> bool:
    return name == SDK or name.startswith(f"{SDK}.")


def empty_package(package: str) -> ModuleType:
    """Return a package whose submodules can be imported. Its own code, which imports all of them, does not run."""
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    return importlib.util.module_from_spec(spec)


def from_sdk_request(request: Any, *, write: Write | None = None, read: bool = False) -> ApiCall:
    """Return the API call that a typed request of lark-oapi describes.

    `write` and `read` state what the request does not: see `ApiCall`. Do not pass a request that the SDK has executed,
    because it contains a token. Raises `ValueError` for a file, a repeated query parameter or a value that is not JSON.
    """
    if request.files:
        raise ValueError("An ApiCall cannot contain a file.")
    path = "/".join(
        quote(str(request.paths[segment[1:]]), safe="@") if segment.startswith(":") else segment
        for segment in request.uri.split("/")
    )
    body = None if request.body is None else plain_json(request.body)
    query: dict[str, str] = dict(request.queries)
    if len(query) < len(request.queries):
        raise ValueError("An ApiCall cannot contain a repeated query parameter.")
    return ApiCall(request.http_method.name, path, query, body, write=write, read=read)


def plain_json(value: Any) -> Any:
    """Return a model of the SDK as JSON, without the fields that are not set."""
    if isinstance(value, Mapping):
        return {name: plain_json(each) for name, each in value.items() if each is not None}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain_json(each) for each in value]
    if value is None or isinstance(value, str | int | float):
        return value
    if not type(value).__module__.startswith("lark_oapi."):
        raise ValueError(f"An ApiCall cannot contain a {type(value).__name__}.")
    return plain_json(vars(value))

"""Reading an API's parameters: there, of its kind and in its range, or the call is refused (99992402)."""

from collections.abc import Collection, Mapping
from typing import Any

from bot.sandbox.json_http import Json
from bot.sandbox.lark.gateway import ApiError


class Parameters:
    """The query or the body of a call. What is absent is None, or refused where it is required."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._given = given

    def text(self, name: str, *, shortest: int = 1, longest: int | None = None) -> str:
        value = self.optional_text(name, shortest=shortest, longest=longest)
        if value is None:
            raise violation(name, "", f"{name} is required")
        return value

    def optional_text(self, name: str, *, shortest: int = 0, longest: int | None = None) -> str | None:
        value = self._given.get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            raise violation(name, value, f"{name} must be a string")
        if len(value) < shortest:
            raise violation(name, value, f"the min len is {shortest}")
        if longest is not None and len(value) > longest:
            raise violation(name, value, f"the max len is {longest}")
        return value

    def choice(self, name: str, allowed: Collection[str], default: str | None = None) -> str:
        value = self.optional_text(name)
        if value is None and default is not None:
            return default
        if value is None or value not in allowed:
            raise violation(name, value, f"{name} is optional, options: [{','.join(allowed)}]")
        return value

    def whole(self, name: str, *, least: int, most: int, default: int | None = None) -> int:
        """A whole number, which queries carry as digits."""
        value = self._given.get(name, default)
        if isinstance(value, str) and value.lstrip("-").isdigit():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise violation(name, value, f"{name} must be a whole number")
        if not least <= value <= most:
            raise violation(name, value, f"the value must be between {least} and {most}")
        return value

    def flag(self, name: str) -> bool | None:
        value = self._given.get(name)
        if isinstance(value, str) and value in ("true", "false"):
            return value == "true"
        if value is not None and not isinstance(value, bool):
            raise violation(name, value, f"{name} must be true or false")
        return value

    def object(self, name: str) -> Json | None:
        value = self._given.get(name)
        if value is not None and not isinstance(value, dict):
            raise violation(name, value, f"{name} must be an object")
        return value

    def list(self, name: str) -> list[Any] | None:
        value = self._given.get(name)
        if value is not None and not isinstance(value, list):
            raise violation(name, value, f"{name} must be a list")
        return value


def violation(name: str, value: Any, words: str) -> ApiError:
    return ApiError(
        99992402,
        "field validation failed",
        error={"field_violations": [{"field": name, "value": str(value or ""), "description": words}]},
    )


def page(items: list[Any], size: int, page_token: str | None) -> tuple[list[Any], str, bool]:
    """One page of a list, the token of the next, and whether there is one."""
    start = int(page_token) if page_token and page_token.isdigit() else 0
    end = start + size
    return items[start:end], str(end) if end < len(items) else "", end < len(items)

"""Parameters of an API: present, of the right type and in range, otherwise the call is refused (99992402)."""

from collections.abc import Collection, Mapping
from typing import Any

from bot.sandbox.json_http import Json
from bot.sandbox.lark.gateway import ApiError


class Parameters:
    """The query or the body of a call. Methods return None for an absent optional parameter, and raise ApiError."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._given = given

    def text(self, name: str, *, min_length: int = 1, max_length: int | None = None) -> str:
        value = self.optional_text(name, min_length=min_length, max_length=max_length)
        if value is None:
            raise violation(name, "", f"{name} is required")
        return value

    def optional_text(self, name: str, *, min_length: int = 0, max_length: int | None = None) -> str | None:
        value = self._given.get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            raise violation(name, value, f"{name} must be a string")
        if len(value) < min_length:
            raise violation(name, value, f"the min len is {min_length}")
        if max_length is not None and len(value) > max_length:
            raise violation(name, value, f"the max len is {max_length}")
        return value

    def choice(self, name: str, allowed: Collection[str], default: str | None = None) -> str:
        value = self.optional_text(name)
        if value is None and default is not None:
            return default
        if value is None or value not in allowed:
            raise violation(name, value, f"{name} is optional, options: [{','.join(allowed)}]")
        return value

    def whole(self, name: str, *, minimum: int, maximum: int, default: int | None = None) -> int:
        """Return a whole number; a query carries it as digits."""
        value = self._given.get(name, default)
        if isinstance(value, str) and value.lstrip("-").isdigit():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise violation(name, value, f"{name} must be a whole number")
        if not minimum <= value <= maximum:
            raise violation(name, value, f"the value must be between {minimum} and {maximum}")
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


def violation(name: str, value: Any, description: str) -> ApiError:
    return ApiError(
        99992402,
        "field validation failed",
        error={"field_violations": [{"field": name, "value": str(value or ""), "description": description}]},
    )


def page(items: list[Any], size: int, page_token: str | None) -> tuple[list[Any], str, bool]:
    """Return one page of a list, the token of the next page, and whether there is one."""
    start = int(page_token) if page_token and page_token.isdigit() else 0
    end = start + size
    return items[start:end], str(end) if end < len(items) else "", end < len(items)

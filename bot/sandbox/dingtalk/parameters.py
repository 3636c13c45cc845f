"""Parameters of an API: present, of the right type and in range, otherwise the call is refused."""

from collections.abc import Mapping
from typing import Any

from bot.sandbox.dingtalk.gateway import ApiError
from bot.sandbox.json_http import Json


class Parameters:
    """The query or the body of a call; `error` is the API's own code for a wrong value.

    Methods return None for an absent optional parameter, and raise ApiError.
    """

    def __init__(self, given: Mapping[str, Any], error: str = "paramError") -> None:
        self._given = given
        self._error = error

    def wrong(self, text: str) -> ApiError:
        return ApiError(self._error, text)

    def required(self, name: str) -> Any:
        value = self._given.get(name)
        if value is None or value == "":
            raise ApiError(f"Missing{name}", f"{name} is mandatory for this action.")
        return value

    def text(self, name: str, *, max_length: int | None = None) -> str:
        self.required(name)
        value = self.optional_text(name, max_length=max_length)
        assert value is not None
        return value

    def optional_text(self, name: str, *, max_length: int | None = None) -> str | None:
        value = self._given.get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            raise self.wrong(f"{name} must be a string")
        if max_length is not None and len(value) > max_length:
            raise self.wrong(f"{name} oversize, at most {max_length}")
        return value

    def whole(self, name: str, *, minimum: int = 0, maximum: int, default: int | None = None) -> int | None:
        """Return a whole number; a query carries it as digits."""
        value = self._given.get(name, default)
        if value is None:
            return None
        if isinstance(value, str) and value.isdigit():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= maximum:
            raise self.wrong(f"{name} invalid")
        return value

    def flag(self, name: str) -> bool | None:
        value = self._given.get(name)
        if value is not None and not isinstance(value, bool):
            raise self.wrong(f"{name} must be true or false")
        return value

    def object(self, name: str) -> Json | None:
        value = self._given.get(name)
        if value is not None and not isinstance(value, dict):
            raise self.wrong(f"{name} must be an object")
        return value

    def texts(self, name: str, *, minimum: int = 0, maximum: int) -> list[str] | None:
        """Return a list of strings, of a length in range; None if it is absent and may be."""
        value = self.required(name) if minimum else self._given.get(name)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise self.wrong(f"{name} must be a list of strings")
        if not minimum <= len(value) <= maximum:
            raise self.wrong(f"{name}: from {minimum} to {maximum}")
        return value

"""The type of tokens, codes and keys. It cannot be printed or logged by accident."""

from __future__ import annotations

import hmac
from typing import Any


class Secret:
    """A string that only `reveal` returns. Printed, logged or formatted, it reads `***`."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(("Secret", self._value))

    def __reduce__(self) -> Any:
        raise TypeError("A Secret cannot be pickled.")


class NotSecret(str):
    """Text that is no secret although its name suggests it: a platform's error code in a field `code`."""

    __slots__ = ()

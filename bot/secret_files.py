"""Secrets that are read from files: `NAME_FILE` names the file that contains the value of `NAME`.

No message shows the value of either variable: a secret may have been written where the name of its file belongs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

MAX_BYTES = 65_536
"""Far more than any secret. A device such as /dev/zero has no end."""
RUNTIME_FOLDER = Path("/run")
"""Where service managers and containers put secrets: in memory, for one service, with modes that these set."""


class UnusableFileError(ValueError):
    """The message is a complete sentence that starts with the variable's name."""


def file_variable(name: str) -> str:
    return f"{name}_FILE"


def read_secret(name: str, environ: Mapping[str, str]) -> str | None:
    """Return the value of a secret, from its variable or its file; None if neither is set.

    Raises UnusableFileError.
    """
    of_file = file_variable(name)
    path = environ.get(of_file, "").strip()
    if not path:
        return environ.get(name)
    if environ.get(name, "").strip():
        raise UnusableFileError(f"{name} and {of_file} are both set. Unset one of them.")
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        why = (isinstance(error, OSError) and error.strerror) or "not a path"
        raise UnusableFileError(
            f"{of_file}: the file cannot be read ({why}). Name a file that the bot can read."
        ) from None
    if len(content) > MAX_BYTES:
        raise UnusableFileError(
            f"{of_file}: the file is too large for a secret. Name the file that contains it."
        )
    try:
        value = content.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise UnusableFileError(
            f"{of_file}: the file is not text in UTF-8. Name the file that contains it."
        ) from None
    if not value:
        raise UnusableFileError(f"{of_file}: the file is empty. Write the secret into it.")
    return value


def is_given(name: str, environ: Mapping[str, str]) -> bool:
    """Return whether a secret or its file is set."""
    return any(environ.get(each, "").strip() for each in (name, file_variable(name)))


def files_to_protect(names: Iterable[str], environ: Mapping[str, str]) -> Iterable[Path]:
    """Yield the files of secrets whose mode is for the operator to set."""
    for name in names:
        if path := environ.get(file_variable(name), "").strip():
            file = Path(path)
            try:
                if not file.resolve().is_relative_to(RUNTIME_FOLDER):
                    yield file
            except (OSError, ValueError, RuntimeError):
                continue

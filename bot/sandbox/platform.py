"""What the sandbox needs from an emulator of a chat platform.

The chat page (`page/`) sees a `ChatPlatform`; `main` runs an `Emulator`. Each emulator has its own folder.
"""

from pathlib import Path
from typing import Protocol

from aiohttp import web

from bot.sandbox.clock import Clock
from bot.sandbox.feed import Feed
from bot.sandbox.json_http import Json

PERSON_COOKIE = "sandbox_person"
"""Contains the id of the person who is signed in to this browser. The chat page sets it, emulators read it."""


class ChatPlatform(Protocol):
    """A running emulated platform, as the chat page sees it."""

    @property
    def clock(self) -> Clock: ...

    @property
    def feed(self) -> Feed: ...

    def state(self) -> Json:
        """Return the app, people, chats, messages and faults, in the form that `page/static/model.js` reads."""

    def has_person(self, person: str) -> bool:
        """Return whether someone with this id can sign in."""


class Emulator(ChatPlatform, Protocol):
    """An emulator that `bot sandbox` can serve, save and connect with a bot."""

    @property
    def administrator(self) -> str:
        """The id of the person who administers the bot."""

    def application(self) -> web.Application:
        """Build the platform's HTTP API, its consent pages and its control API under /sandbox/api.

        The application also serves /sandbox/platform.js, which describes the platform's requests, events, error
        codes and typical faults to the chat page.
        """

    def client_user_agent(self, request: web.Request) -> str | None:
        """Return the user agent of the chat client that this browser stands in for; None outside a client."""

    def connect_bot(self, origin: str, bot_url: str, public_url: str) -> dict[str, str]:
        """Register the bot's addresses with its app and return the settings that connect the bot with `origin`.

        The platform reaches the bot at `bot_url`; browsers reach it at `public_url`.
        """

    def restore(self, directory: Path) -> dict[str, int]:
        """Load the state that `save` left in this directory, if any, and return its ports by name.

        Raises ValueError if the file there cannot be read.
        """

    def save(self, directory: Path, ports: dict[str, int]) -> None:
        """Replace the saved state in this directory."""

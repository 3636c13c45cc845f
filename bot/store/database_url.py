"""Parses BOT_DATABASE_URL for SQLAlchemy."""

from __future__ import annotations

from sqlalchemy import URL, make_url

from bot.core.database_url import DatabaseUrl, read_database_url
from bot.core.errors import ConfigurationError
from bot.store.transaction import Dialect


def parse_url(url: str) -> URL:
    """Return the URL for SQLAlchemy. Raises `ConfigurationError` if the bot cannot use it."""
    return make_url(read_url(url).url)


def read_url(url: str) -> DatabaseUrl:
    """Return the parts of the URL. Raises `ConfigurationError` if the bot cannot use it."""
    try:
        return read_database_url(url)
    except ValueError as error:
        raise ConfigurationError(f"BOT_DATABASE_URL {error}") from None


def dialect_of(url: str) -> Dialect:
    return read_url(url).dialect

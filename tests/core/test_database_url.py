"""BOT_DATABASE_URL: what is read from it, and that nothing of a mistyped one is shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.database_url import DatabaseUrl, read_database_url


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg"])
def test_schemes_of_postgresql_are_one(scheme: str) -> None:
    found = read_database_url(f"{scheme}://bot:p%40ss%2F@db.example:5433/bot")
    assert found == DatabaseUrl("postgresql", "postgresql+asyncpg://bot:p%40ss%2F@db.example:5433/bot", {})


@pytest.mark.parametrize("scheme", ["sqlite", "sqlite+aiosqlite"])
def test_schemes_of_sqlite_are_one(scheme: str) -> None:
    assert read_database_url(f"{scheme}:////var/my bot.db").url == "sqlite+aiosqlite:////var/my bot.db"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://",
        "postgresql:///bot",
        "postgresql://[fd00::1]:5432/bot",
        "postgresql://bot@/bot?host=/var/run/postgresql",
        "postgresql://bot:@h/bot?sslmode=verify-full&sslrootcert=/etc/ca.pem&application_name=helper",
        "postgresql://bot@h/bot?channel_binding=prefer&connect_timeout=5&target_session_attrs=read-write",
    ],
)
def test_what_the_driver_can_do_is_taken(url: str) -> None:
    assert read_database_url(url).dialect == "postgresql"


@given(
    password=st.text("abAB09@/:?#%&= ~!$'()*+,;[]", min_size=1).map(lambda text: f"hidden{text}hidden"),
    tail=st.sampled_from(["@h/d", "@h:5432/d", "@h/d?sslmode=require", "@h"]),
)
def test_no_mistyped_password_is_shown(password: str, tail: str) -> None:
    said = ""
    try:
        read_database_url(f"postgresql://bot:{password}{tail}")
    except ValueError as error:
        said = str(error)
    assert "hidden" not in said

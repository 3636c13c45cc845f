"""How the bot connects to PostgreSQL: what the options of a URL become."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine

from bot.core.errors import ConfigurationError, DatabaseNotReady
from bot.store.keyring import Keyring, new_key
from bot.store.open_database import check_schema, open_database, upgrade
from bot.store.postgresql import connect_arguments
from bot.store.revision import UPGRADE_LOCK
from tests.sql import Sql, query


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed certificate with its key, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "db.example")])
    moment = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment)
        .not_valid_after(moment + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "certificate.pem"
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(made.public_bytes(pem) + private)
    return file


async def test_the_options_of_a_url_reach_the_server(postgresql_url: str) -> None:
    options = "application_name=helper&connect_timeout=3&sslmode=prefer&target_session_attrs=any"
    database = await open_database(f"{postgresql_url}&{options}", Keyring([new_key()]))
    try:
        shown = await database.read(lambda c: c.execute(text("SHOW application_name")).scalar())
        assert shown == "helper"
    finally:
        await database.close()


async def test_a_connection_that_is_in_use_when_the_database_is_closed_is_closed_after_its_work(
    postgresql_url: str,
) -> None:
    database = await open_database(postgresql_url, Keyring([new_key()]))
    began = asyncio.Event()

    def work(connection: Connection) -> None:
        began.set()
        connection.execute(text("SELECT pg_sleep(0.3)"))

    running = asyncio.create_task(database.read(work))
    await began.wait()
    await database.close()
    await running
    operator = Sql(postgresql_url)
    others = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    try:
        async with asyncio.timeout(10):
            while await operator.rows(others):
                await asyncio.sleep(0.02)
    finally:
        await operator.close()


def test_a_server_that_does_not_answer_is_one_line_without_the_password() -> None:
    url = "postgresql://bot:hush-hush@127.0.0.1:1/bot?sslmode=require&connect_timeout=1"
    with pytest.raises(DatabaseNotReady) as caught:
        check_schema(url)
    assert "\n" not in str(caught.value)
    assert "hush-hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "verify", "names"),
    [
        ({"sslmode": "require"}, ssl.CERT_NONE, False),
        ({"sslmode": "require", "sslrootcert": "FILE"}, ssl.CERT_REQUIRED, False),
        ({"sslmode": "verify-ca", "sslrootcert": "FILE"}, ssl.CERT_REQUIRED, False),
        ({"sslmode": "verify-full", "sslrootcert": "FILE"}, ssl.CERT_REQUIRED, True),
        ({"sslmode": "verify-full"}, ssl.CERT_REQUIRED, True),
        ({"sslrootcert": "system"}, ssl.CERT_REQUIRED, True),
        ({"ssl": "verify-full"}, ssl.CERT_REQUIRED, True),
        ({"sslmode": "require", "sslcert": "FILE", "sslkey": "FILE"}, ssl.CERT_NONE, False),
    ],
)
def test_tls_checks_as_much_as_libpq_does(
    certificate: Path, options: dict[str, str], verify: ssl.VerifyMode, names: bool
) -> None:
    filled = {name: str(certificate) if value == "FILE" else value for name, value in options.items()}
    context = connect_arguments(filled)["ssl"]
    assert (context.verify_mode, context.check_hostname) == (verify, names)


@pytest.mark.parametrize(("mode", "said"), [("disable", "disable"), ("prefer", "prefer"), (None, None)])
def test_without_a_wish_for_tls_the_driver_decides(mode: str | None, said: str | None) -> None:
    assert connect_arguments({"sslmode": mode} if mode else {}).get("ssl") == said


@pytest.mark.parametrize("content", [None, b"no certificate"])
def test_a_certificate_that_cannot_be_used_is_named(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"^BOT_DATABASE_URL: sslrootcert=.*ca\.pem cannot be used"):
        connect_arguments({"sslmode": "verify-full", "sslrootcert": str(file)})


@pytest.mark.parametrize(
    "in_the_way",
    [f"SELECT pg_advisory_xact_lock({UPGRADE_LOCK})", "CREATE TABLE alembic_version (version_num text)"],
    ids=["another replica's upgrade", "a table during the migration"],
)
async def test_a_server_that_stops_during_an_upgrade_cannot_be_reached(
    empty_postgresql_url: str, in_the_way: str
) -> None:
    """It says nothing about the schema, and is no error of the program."""
    holder = create_async_engine(empty_postgresql_url)
    async with holder.connect() as other:
        await other.execute(text(in_the_way))
        upgrading = asyncio.create_task(asyncio.to_thread(upgrade, empty_postgresql_url))
        blocked = (
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        while not (found := await query(empty_postgresql_url, blocked)):
            assert not upgrading.done(), upgrading.result()
        await query(empty_postgresql_url, "SELECT pg_terminate_backend(:pid)", pid=found[0]["pid"])
        with pytest.raises(DatabaseNotReady, match="cannot be reached") as stopped:
            await upgrading
        assert "Start the database" in str(stopped.value.hint)
    await holder.dispose()
    await asyncio.to_thread(upgrade, empty_postgresql_url)
    assert await asyncio.to_thread(check_schema, empty_postgresql_url) is None

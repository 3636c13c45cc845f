"""An HTTP proxy, and a certificate authority for TLS servers, for tests of the network settings."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ipaddress
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)


# --- certificates ------------------------------------------------------------------------------------------------


class Authority:
    """A certificate authority that no system trusts. Its certificate is in `file`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "An authority of our own")])
        # Without the extensions that Python 3.13 wants to see, as many companies make theirs.
        made = (
            certificate(self._name, self._key)
            .issuer_name(self._name)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.file = directory / "authority.pem"
        self.file.write_bytes(made.public_bytes(serialization.Encoding.PEM))

    def server(
        self, *hosts: str, since: timedelta = -DAY, until: timedelta = DAY, self_signed: bool = False
    ) -> ssl.SSLContext:
        """Return the TLS context of a server with these names. The times are relative to now."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "A server of our own")])
        made = (
            certificate(name, key, since, until)
            .issuer_name(name if self_signed else self._name)
            .add_extension(x509.SubjectAlternativeName([*map(alternative, hosts)]), critical=False)
            .sign(key if self_signed else self._key, hashes.SHA256())
        )
        file = self._directory / f"server-{made.serial_number}.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(file)
        return context


def certificate(
    name: x509.Name, key: ec.EllipticCurvePrivateKey, since: timedelta = -DAY, until: timedelta = DAY
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + since)
        .not_valid_after(now + until)
    )


def alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


# --- the proxy ---------------------------------------------------------------------------------------------------


@dataclass
class Proxy:
    """An HTTP proxy on this machine. Its hosts exist nowhere else: a request that reaches one has used the proxy."""

    hosts: dict[str, int] = field(default_factory=dict)
    """Host name: the local port that stands for it."""
    credentials: str | None = None
    """The `user:password` that it requires."""
    refuses: int | None = None
    """The status with which it rejects every request."""
    asked: list[str] = field(default_factory=list)
    """The request lines that it received."""
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError), contextlib.closing(writer):
            head = await reader.readuntil(b"\r\n\r\n")
            await self.answer(head, reader, writer)

    async def answer(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line, *headers = head.decode().strip().split("\r\n")
        self.asked.append(line)
        method, target, _ = line.split()
        given = [
            each.partition(": ")[2] for each in headers if each.lower().startswith("proxy-authorization:")
        ]
        refusal = self.refuses or (407 if self.credentials and given != [basic(self.credentials)] else None)
        if refusal is not None:
            writer.write(f"HTTP/1.1 {refusal} No\r\nContent-Length: 0\r\n\r\n".encode())
            return
        parts = urlsplit(f"//{target}" if method == "CONNECT" else target)
        port = self.hosts.get(parts.hostname or "")
        there, onward = await asyncio.open_connection("127.0.0.1", port or parts.port)
        with contextlib.closing(onward):
            if method == "CONNECT":
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                onward.write(head)
            await asyncio.gather(pass_on(reader, onward), pass_on(there, writer))


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


def basic(credentials: str) -> str:
    return f"Basic {base64.b64encode(credentials.encode()).decode()}"


@contextlib.asynccontextmanager
async def running_proxy(proxy: Proxy) -> AsyncIterator[Proxy]:
    serving: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(proxy.serve(reader, writer))
        serving.add(task)
        task.add_done_callback(serving.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        await asyncio.sleep(0)  # lets the transports close

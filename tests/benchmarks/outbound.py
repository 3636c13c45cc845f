"""A call as the user over TLS, 50 at a time: ours, bare aiohttp, and the SDK's async client.

The caller is a process of its own, because the certificate has to be trusted before anything is imported: the file of
trusted certificates is the one that HTTP clients bring along, with ours added, as real life has it.
"""

from __future__ import annotations

import asyncio
import gc
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from tests.benchmarks import subscription as app
from tests.benchmarks.figures import Figure
from tests.benchmarks.processes import directory, result_of, started

AT_ONCE = 50
PATH = "/open-apis/docx/v1/documents/doxbench0000000000000000000/raw_content"
TOKEN = "u-benchmark0000000000000000000000"


def measure(*, short: bool = False) -> list[Figure]:
    with directory() as folder:
        certificate, key = make_certificate(folder)
        trusted = folder / "trusted.pem"
        trusted.write_text(usual_certificates() + certificate.read_text())
        with started("stub", str(certificate), str(key)) as stub:
            figures = result_of(
                "outbound", str(stub.port), "short" if short else "long", env={"SSL_CERT_FILE": str(trusted)}
            )
    ours, bare, sdk = (figures[name] for name in ("ours", "bare", "sdk"))
    # Judged by processor time: by the clock, the stand-in for the platform would be what limits the faster two.
    name = "calls as the user, TLS, a second of one core"
    return [
        Figure(name, 1e3 / ours["cpu"], "/s", 1e3 / bare["cpu"], "bare aiohttp", at_least=0.8),
        Figure(name, 1e3 / ours["cpu"], "/s", 1e3 / sdk["cpu"], "SDK's async client", at_least=80),
        Figure(f"the same by the clock, {AT_ONCE} at once", ours["rate"], "/s", bare["rate"], "bare aiohttp"),
        Figure(
            f"the same by the clock, {AT_ONCE} at once", ours["rate"], "/s", sdk["rate"], "SDK's async client"
        ),
    ]


def usual_certificates() -> str:
    import certifi

    return Path(certifi.where()).read_text() + "\n"


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(Encoding.PEM))
    paths[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return paths


# --- in the caller's process ----------------------------------------------------------------------------

Call = Callable[[], Awaitable[object]]


async def paced(call: Call, times: int) -> tuple[float, float]:
    """Calls a second, and milliseconds of processor time for one."""
    left = iter(range(times))

    async def caller() -> None:
        for _ in left:
            await call()

    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(caller() for _ in range(AT_ONCE)))
    return times / (time.perf_counter() - began), (time.process_time() - cpu) / times * 1e3


async def compare(origin: str, *, short: bool) -> dict[str, dict[str, float]]:
    import aiohttp

    from bot.core.api import ApiCall, Succeeded
    from bot.core.secrets import Secret
    from bot.lark.platform import LarkPlatform

    platform = LarkPlatform(
        app_id=app.APP_ID,
        app_secret=Secret(app.APP_SECRET),
        open_url=origin,
        accounts_url=origin,
        applink_url=None,
        oauth="v2",
        encrypt_key=Secret(app.ENCRYPT_KEY),
        verification_token=Secret(app.VERIFICATION_TOKEN),
    )
    api_call, token = ApiCall("GET", PATH), Secret(TOKEN)

    async def ours() -> None:
        outcome = await platform.call(api_call, token)
        assert isinstance(outcome, Succeeded), outcome

    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=100))
    headers = {"Authorization": f"Bearer {TOKEN}"}

    async def bare() -> None:
        async with session.get(origin + PATH, headers=headers) as response:
            assert json.loads(await response.read())["code"] == 0

    calls: dict[str, tuple[Call, int]] = {
        "ours": (ours, 3000),
        "bare": (bare, 3000),
        "sdk": (sdk_call(origin), 100),
    }
    if short:
        calls = {name: (call, 60) for name, (call, _) in calls.items()}
    gc.collect()
    gc.freeze()
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    async with session, platform:
        for round_ in range(2 if short else 6):
            for name, (call, times) in calls.items():
                figures = await paced(call, times)
                if round_:
                    seen[name].append(figures)  # the first one opens the connections
    return {
        name: {"rate": statistics.median(r for r, _ in each), "cpu": statistics.median(c for _, c in each)}
        for name, each in seen.items()
    }


def sdk_call(origin: str) -> Call:
    import lark_oapi
    from lark_oapi.core.enum import AccessTokenType, HttpMethod
    from lark_oapi.core.model import BaseRequest, RequestOption

    client = (
        lark_oapi.Client.builder()
        .app_id(app.APP_ID)
        .app_secret(app.APP_SECRET)
        .domain(origin)
        .enable_set_token(True)
        .log_level(lark_oapi.LogLevel.ERROR)
        .build()
    )

    async def call() -> None:
        builder = BaseRequest.builder().http_method(HttpMethod.GET).uri(PATH)
        request = builder.token_types({AccessTokenType.USER}).build()
        option = RequestOption.builder().user_access_token(TOKEN).build()
        answer = await client.arequest(request, option)
        assert json.loads(answer.raw.content)["code"] == 0

    return call


if __name__ == "__main__":
    print(json.dumps(asyncio.run(compare(f"https://127.0.0.1:{sys.argv[1]}", short=sys.argv[2] == "short"))))

"""docs/deploy/compose.yaml and kubernetes.yaml: their commands, with their settings and secrets in files, as they are."""

from __future__ import annotations

import asyncio
import re
import signal
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from tests.bot_process import REPOSITORY, bot
from tests.ports import free_port

from .world import World

DEPLOY = REPOSITORY / "docs" / "deploy"


def services_of_compose() -> tuple[dict[str, str], list[str], list[str], float]:
    """The settings, the commands of the migration and of a replica, and the seconds that it has to stop."""
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]
    assert services["bot"]["environment"] == services["migrate"]["environment"]
    grace = float(services["bot"]["stop_grace_period"].removesuffix("s"))
    return services["bot"]["environment"], services["migrate"]["command"], services["bot"]["command"], grace


def pods_of_kubernetes() -> tuple[dict[str, str], list[str], list[str], float]:
    objects = [*yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text(encoding="utf-8"))]
    kinds: dict[str, Any] = {each["kind"]: each for each in objects}
    pods = [kinds[kind]["spec"]["template"]["spec"] for kind in ("Job", "Deployment")]
    migrate, serve = [pod["containers"][0]["args"] for pod in pods]
    return kinds["ConfigMap"]["data"], migrate, serve, pods[1]["terminationGracePeriodSeconds"]


@pytest.mark.parametrize("deployment", [services_of_compose, pods_of_kubernetes])
async def test_the_migration_and_two_replicas_of_a_deployment_run(
    world: World, empty_postgresql_url: str, tmp_path: Path, deployment: Any
):
    environment, migrate, serve, grace = deployment()
    here = world.environment()
    secrets = {
        "LARK_APP_SECRET_FILE": world.tenant.app.app_secret,
        "LARK_ENCRYPT_KEY_FILE": world.tenant.app.encrypt_key,
        "LARK_VERIFICATION_TOKEN_FILE": world.tenant.app.verification_token,
        "BOT_ENCRYPTION_KEYS_FILE": world.key,
        "BOT_DATABASE_URL_FILE": empty_postgresql_url,
    }
    for name, value in environment.items():
        value = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)
        if name in secrets:
            value = str(tmp_path / Path(value).name)
            Path(value).write_text(f"{secrets[name]}\n")
            Path(value).chmod(0o400)
            world.settings[name.removesuffix("_FILE")] = ""
        world.settings[name] = value
    # What differs here: the app, its platform, and where two processes on one machine listen.
    world.settings |= {name: here[name] for name in here if name in {"LARK_APP_ID", "BOT_PUBLIC_URL"}}
    world.settings |= {"BOT_HOST": "127.0.0.1"}
    done = await asyncio.to_thread(
        world.forker.run, bot(*migrate), directory=world.directory, environment=world.environment()
    )
    assert done.returncode == 0, done.stderr
    ports = [free_port(), free_port()]
    replicas = [world.fork(bot(*serve), BOT_PORT=str(port)) for port in ports]

    async def status(port: int, path: str) -> int:
        try:
            async with world.http.get(f"http://127.0.0.1:{port}{path}") as response:
                return response.status
        except aiohttp.ClientError:
            return 0

    for port in ports:
        while await status(port, "/readyz") != 200:
            assert all(each.returncode is None for each in replicas), world.log_tail()
            await asyncio.sleep(0.1)
        assert await status(port, "/healthz") == 200
    began = time.monotonic()
    for each in replicas:
        each.send_signal(signal.SIGTERM)
    assert [await each.wait() for each in replicas] == [0, 0]
    assert time.monotonic() - began < grace

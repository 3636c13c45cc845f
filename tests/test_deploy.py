"""docs/deploy: each file can be read by what it is for, and agrees with the program about names, ports and routes."""

import base64
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from bot import settings
from bot.cli import parser
from bot.platforms import ENTRIES
from bot.web import routes
from tests.debian import program
from tests.ports import free_port

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "docs" / "deploy"
KNOWN = {each.name for each in settings.TABLE} | set(settings.SECRET_FILES)
FOR_OPERATORS = {"/healthz", "/readyz", "/metrics"}
PORT = 8080
USER = 10001
SECRETS = {
    "LARK_APP_SECRET_FILE": "app-secret",
    "BOT_ENCRYPTION_KEYS_FILE": base64.urlsafe_b64encode(bytes(range(32))).decode(),
    "BOT_DATABASE_URL_FILE": "postgresql://bot:password@database/bot",
}


def text_of(name: str) -> str:
    return (DEPLOY / name).read_text(encoding="utf-8")


def loaded_from(environment: Mapping[str, str], folder: Path, mounted: Path) -> settings.Settings:
    """The settings of a file, with secrets in place of what is mounted where it says."""
    assert environment.keys() <= KNOWN
    given = dict(environment)
    for name in [each for each in environment if each.endswith("_FILE")]:
        assert Path(environment[name]).parent == mounted
        (folder / name).write_text(SECRETS[name] + "\n")
        (folder / name).chmod(0o400)
        given[name] = str(folder / name)
    return settings.load(given)


def serves(loaded: settings.Settings) -> None:
    """The settings are those of a replica behind a proxy."""
    assert loaded.warnings == ()
    assert (loaded.host, loaded.port) == ("0.0.0.0", PORT)
    assert (loaded.public_url or "").startswith("https://")
    assert loaded.database_url == SECRETS["BOT_DATABASE_URL_FILE"]
    assert loaded.lark is not None
    assert loaded.lark.app_secret.reveal() == "app-secret"
    assert not loaded.auto_migrate


def is_command(arguments: list[str]) -> bool:
    """Whether `bot` understands these arguments."""
    parser().parse_args(arguments)
    return True


def test_every_file_is_described() -> None:
    described = text_of("README.md").partition("\n## ")[0]
    files = {each.name for each in DEPLOY.iterdir()} - {"README.md", "Containerfile.dockerignore"}
    assert {name for name in files if f"`{name}`" not in described} == set()
    assert "docs/deploy/README.md" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_no_file_names_a_setting_that_does_not_exist() -> None:
    own = {"BOT_DOMAIN", "BOT_UPSTREAM"}
    for file in DEPLOY.iterdir():
        named = set(re.findall(r"\b(?:BOT|LARK|DINGTALK)_[A-Z][A-Z_]+\b", file.read_text(encoding="utf-8")))
        assert named - KNOWN - own == set(), file.name


# --- the image ----------------------------------------------------------------------------------------------


def instructions(source: str) -> list[tuple[str, str]]:
    lines = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", source, flags=re.MULTILINE)).splitlines()
    found = [line.split(None, 1) for line in lines if line.strip()]
    return [(word, " ".join(rest.split())) for word, rest in found]


IMAGE = instructions(text_of("Containerfile"))
LAST_STAGE = IMAGE[[index for index, (word, _) in enumerate(IMAGE) if word == "FROM"][-1] :]


def of_image(word: str) -> list[str]:
    return [rest for each, rest in LAST_STAGE if each == word]


def copied() -> list[str]:
    """What the build takes from the repository."""
    copies = [shlex.split(rest)[:-1] for word, rest in IMAGE if word == "COPY" and "--from" not in rest]
    return [source for sources in copies for source in sources]


def test_the_image_is_slim_and_its_user_is_not_root() -> None:
    bases = [rest.split()[0] for word, rest in IMAGE if word == "FROM"]
    assert len(bases) == 2
    assert len(set(bases)) == 1
    assert bases[0].endswith("-slim")
    assert of_image("USER") == [f"{USER}:{USER}"]
    assert f"--uid {USER} " in " ".join(of_image("RUN"))
    assert of_image("VOLUME") == of_image("WORKDIR") == ["/data"]
    assert not [rest for rest in of_image("COPY") if not rest.startswith("--from=build ")]


def test_the_image_runs_the_bot_at_its_port() -> None:
    environment = dict(each.split("=", 1) for rest in of_image("ENV") for each in rest.split())
    bots = {name: value for name, value in environment.items() if name.startswith("BOT_")}
    assert bots == {"BOT_HOST": "0.0.0.0", "BOT_PORT": str(PORT)}
    assert bots.keys() <= KNOWN
    assert of_image("EXPOSE") == [str(PORT)]
    assert of_image("STOPSIGNAL") == ["SIGTERM"]
    assert yaml.safe_load(of_image("ENTRYPOINT")[0]) == ["bot"]
    assert is_command(yaml.safe_load(of_image("CMD")[0]))


async def test_the_health_check_of_the_image_asks_the_bot(aiohttp_server: Any) -> None:
    (check,) = of_image("HEALTHCHECK")
    command = yaml.safe_load(check.partition(" CMD ")[2])
    assert command[0] == "python"
    healthy = True

    async def answer(request: web.Request) -> web.Response:
        assert request.path == "/healthz"
        return web.Response(status=200 if healthy else 503)

    app = web.Application()
    app.router.add_get("/{any:.*}", answer)
    server = await aiohttp_server(app)

    async def checked(port: int) -> bool:
        import asyncio

        process = await asyncio.create_subprocess_exec(
            sys.executable, *command[1:], env={"BOT_PORT": str(port)}, stderr=asyncio.subprocess.DEVNULL
        )
        return await process.wait() == 0

    assert await checked(server.port)
    healthy = False
    assert not await checked(server.port)
    await server.close()
    assert not await checked(server.port)


def test_the_build_needs_only_what_it_copies(tmp_path: Path) -> None:
    """The wheel is made from a folder with just these files, and contains the migrations and the pages."""
    for name in copied():
        source = ROOT / name
        assert source.exists(), name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tmp_path / source.name)
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for wanted in ("bot/cli.py", "bot/_migrations/env.py", "bot/web/templates/", "bot/web/static/"):
        assert [name for name in names if name.startswith(wanted)], wanted


@pytest.mark.slow
def test_the_commands_of_the_image_make_a_program_that_runs(tmp_path: Path) -> None:
    """Its build stage, in other folders; and what it starts."""
    source, venv = tmp_path / "src", tmp_path / "bot"
    source.mkdir()
    for name in copied():
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / Path(name).name)
    build = IMAGE[: [index for index, (word, _) in enumerate(IMAGE) if word == "FROM"][-1]]
    commands = [rest for word, rest in build if word == "RUN"]
    assert len(commands) == 2
    # In place of the image's.
    (tmp_path / "pip").write_text(f'#!/bin/sh\nexec "{venv}/bin/pip" "$@"\n')
    (tmp_path / "python").symlink_to(sys.executable)
    (tmp_path / "pip").chmod(0o755)
    for command in commands:
        here = command.replace("/opt/bot", str(venv)).replace("/wheels", str(tmp_path / "wheels"))
        done = subprocess.run(
            ["sh", "-ec", here],
            cwd=source,
            env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": ""},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    environment = dict(each.split("=", 1) for rest in of_image("ENV") for each in rest.split())
    environment["PATH"] = (
        environment["PATH"].replace("/opt/bot", str(venv)).replace("$PATH", os.environ["PATH"])
    )
    data = tmp_path / "data"
    data.mkdir()
    entry = yaml.safe_load(of_image("ENTRYPOINT")[0])
    for arguments, code in ((["--version"], 0), (["db", "upgrade"], 0), (["db", "check"], 0), (["run"], 2)):
        done = subprocess.run(
            [*entry, *arguments], cwd=data, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, done.stderr
    assert "LARK_APP_ID" in done.stderr
    assert (data / "bot.db").exists()


def test_nothing_else_reaches_the_build() -> None:
    lines = [line for line in text_of("Containerfile.dockerignore").splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == set(copied())


# --- Compose ------------------------------------------------------------------------------------------------

COMPOSE = yaml.safe_load(text_of("compose.yaml"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def interpolated(value: str, **variables: str) -> str:
    return re.sub(r"\$\{(\w+):-([^}]*)\}", lambda found: variables.get(found[1], found[2]), value)


def test_compose_starts_two_replicas_after_one_migration(tmp_path: Path) -> None:
    bot, migrate = SERVICES["bot"], SERVICES["migrate"]
    assert bot["deploy"]["replicas"] == 2
    assert (bot["command"], migrate["command"]) == (["run"], ["db", "upgrade"])
    assert bot["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}
    assert migrate["depends_on"] == {"database": {"condition": "service_healthy"}}
    assert migrate["restart"] == "no"
    assert "healthcheck" in SERVICES["database"]
    for each in (bot, migrate):
        environment = {
            name: interpolated(value, LARK_APP_ID="cli_1", BOT_DOMAIN="bot.example.com")
            for name, value in each["environment"].items()
        }
        serves(loaded_from(environment, tmp_path, Path("/run/secrets")))
        mounted = {Path(value).name for name, value in environment.items() if name.endswith("_FILE")}
        assert mounted == set(each["secrets"])
        shutil.rmtree(tmp_path)
        tmp_path.mkdir()


def test_without_the_two_variables_compose_starts_a_bot_that_names_what_is_missing(tmp_path: Path) -> None:
    environment = {name: interpolated(value) for name, value in SERVICES["bot"]["environment"].items()}
    with pytest.raises(settings.ConfigurationError, match=r"^LARK_APP_ID is missing") as caught:
        loaded_from(environment, tmp_path, Path("/run/secrets"))
    assert len(caught.value.problems) == 1


def test_the_bots_of_compose_have_no_privileges_and_time_to_stop() -> None:
    ours = {name: each for name, each in SERVICES.items() if each["image"] == "bot-that-asks"}
    assert ours.keys() == {"migrate", "bot", "sandbox"}
    for each in ours.values():
        assert is_command(each["command"])
        assert each["read_only"] is True
        assert each["cap_drop"] == ["ALL"]
        assert each["security_opt"] == ["no-new-privileges:true"]
        assert not each.get("privileged")
        assert not each.get("ports")
        assert (DEPLOY / each["build"]["context"]).resolve() == ROOT
        assert (ROOT / each["build"]["dockerfile"]).exists()
    assert int(ours["bot"]["stop_grace_period"].removesuffix("s")) > 10


def test_only_the_sandbox_of_compose_starts_by_its_profile() -> None:
    assert {name: each["profiles"] for name, each in SERVICES.items() if "profiles" in each} == {
        "sandbox": ["sandbox"]
    }
    assert not {"secrets", "environment", "depends_on"} & SERVICES["sandbox"].keys()


def test_every_secret_of_compose_is_a_file_that_a_service_names() -> None:
    used = {secret for each in SERVICES.values() for secret in each.get("secrets", ())}
    assert COMPOSE["secrets"].keys() == used
    readme = text_of("README.md")
    for name, each in COMPOSE["secrets"].items():
        assert each == {"file": f"./secrets/{name}"}
        assert name in readme.partition("## Compose")[2]
    volumes = {v.partition(":")[0] for each in SERVICES.values() for v in each.get("volumes", ())}
    assert {each for each in volumes if "/" not in each} == COMPOSE["volumes"].keys()
    assert all((DEPLOY / each).exists() for each in volumes if "/" in each)


# --- Kubernetes ---------------------------------------------------------------------------------------------

OBJECTS: list[dict[str, Any]] = [*yaml.safe_load_all(text_of("kubernetes.yaml"))]


def the(kind: str) -> dict[str, Any]:
    (found,) = [each for each in OBJECTS if each["kind"] == kind]
    return found


def pods() -> Iterator[dict[str, Any]]:
    yield from (the(kind)["spec"]["template"]["spec"] for kind in ("Job", "Deployment"))


def test_the_pods_of_kubernetes_get_settings_that_hold(tmp_path: Path) -> None:
    environment = the("ConfigMap")["data"]
    serves(loaded_from(environment, tmp_path, Path("/run/secrets/bot")))
    assert {Path(v).name for n, v in environment.items() if n.endswith("_FILE")} == the("Secret")[
        "stringData"
    ].keys()
    for pod in pods():
        (container,) = pod["containers"]
        assert is_command(container["args"])
        assert container["envFrom"] == [{"configMapRef": {"name": the("ConfigMap")["metadata"]["name"]}}]
        assert "env" not in container
        mounts = {each["name"]: each for each in container["volumeMounts"]}
        assert mounts["secrets"] == {"name": "secrets", "mountPath": "/run/secrets/bot", "readOnly": True}
        assert mounts["data"]["mountPath"] == "/data"
        volumes = {each["name"]: each for each in pod["volumes"]}
        assert volumes["secrets"]["secret"]["secretName"] == the("Secret")["metadata"]["name"]
        # For the group alone, which is that of the bot.
        assert volumes["secrets"]["secret"]["defaultMode"] == 0o440


def test_the_pods_of_kubernetes_have_no_privileges() -> None:
    for pod in pods():
        assert pod["enableServiceLinks"] is False
        assert pod["automountServiceAccountToken"] is False
        user = pod["securityContext"]
        assert user["runAsNonRoot"] is True
        assert (user["runAsUser"], user["runAsGroup"], user["fsGroup"]) == (USER, USER, USER)
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_the_probes_of_kubernetes_ask_what_they_are_for() -> None:
    pod = the("Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    asked = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    # A database that is away is no reason to restart the bot.
    assert {name: each["path"] for name, each in asked.items()} == {
        "startup": "/healthz",
        "liveness": "/healthz",
        "readiness": "/readyz",
    }
    assert {each["port"] for each in asked.values()} == {"http"}
    assert container["ports"] == [{"name": "http", "containerPort": PORT}]
    before_the_signal = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] > 10 + before_the_signal


def test_the_objects_of_kubernetes_find_each_other() -> None:
    deployment = the("Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert the("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    assert the("PodDisruptionBudget")["spec"]["minAvailable"] < deployment["spec"]["replicas"]
    assert the("Service")["spec"]["selector"] == labels
    assert the("Service")["spec"]["ports"][0]["targetPort"] == "http"
    # The migration is no endpoint of the service.
    assert the("Job")["spec"]["template"]["metadata"]["labels"] != labels
    assert {each["metadata"].get("namespace") for each in OBJECTS if each["kind"] != "Namespace"} == {
        the("Namespace")["metadata"]["name"]
    }


def paths_for_browsers_and_platforms() -> set[str]:
    """The first part of each path that people and platforms open."""
    named = {each.path for each in routes.BROWSER_ROUTES} | {"/static/x"}
    for name in ENTRIES:
        source = (ROOT / "bot" / name / "platform.py").read_text(encoding="utf-8")
        named |= set(re.findall(rf'"(/(?:oauth/)?{name}/[a-z/]+)"', source))
    return {f"/{path.split('/')[1]}" for path in named}


def test_the_ingress_of_kubernetes_leads_to_every_page_and_not_to_what_is_for_operators() -> None:
    (rule,) = the("Ingress")["spec"]["rules"]
    paths = {each["path"] for each in rule["http"]["paths"]}
    assert paths == paths_for_browsers_and_platforms()
    assert not paths & (FOR_OPERATORS | {"/"})
    for each in rule["http"]["paths"]:
        assert each["pathType"] == "Prefix"
        assert each["backend"] == {"service": {"name": "bot", "port": {"name": "http"}}}
    hosts = [each["hosts"] for each in the("Ingress")["spec"]["tls"]]
    assert hosts == [[rule["host"]]]
    assert the("ConfigMap")["data"]["BOT_PUBLIC_URL"] == f"https://{rule['host']}"


# --- systemd ------------------------------------------------------------------------------------------------


def unit() -> dict[str, list[str]]:
    """The directives of the section [Service]."""
    found: dict[str, list[str]] = {}
    section = ""
    for line in text_of("bot-that-asks.service").splitlines():
        if line.startswith("["):
            section = line
        elif line and not line.startswith("#"):
            name, separator, value = line.partition("=")
            assert separator, line
            if section == "[Service]":
                found.setdefault(name, []).append(value)
    return found


def test_the_unit_gives_the_bot_credentials_as_files(tmp_path: Path) -> None:
    service = unit()
    environment = dict(each.split("=", 1) for each in service["Environment"])
    names = {each.partition(":")[0] for each in service["LoadCredential"]}
    assert {value for value in environment.values()} == {f"%d/{name}" for name in names}
    environment = {name: value.replace("%d", "/run/credentials/x") for name, value in environment.items()}
    # The file of settings, as the README writes it.
    written = re.search(r"printf '(.*?)' \| sudo install .*/environment$", text_of("README.md"), re.MULTILINE)
    assert written is not None
    environment |= dict(line.split("=", 1) for line in written[1].split("\\n") if line)
    loaded = loaded_from(environment, tmp_path, Path("/run/credentials/x"))
    assert loaded.warnings == ()
    assert loaded.database_url == "sqlite+aiosqlite:///bot.db"
    for each in service["LoadCredential"]:
        name, _, path = each.partition(":")
        assert path == f"/etc/bot-that-asks/{name}"
        assert f" {path}" in text_of("README.md")


def test_the_unit_runs_the_bot_as_nobody_in_a_folder_of_its_own() -> None:
    service = {name: values[-1] for name, values in unit().items()}
    program, *arguments = shlex.split(service["ExecStart"])
    assert program.endswith("/bin/bot")
    assert is_command(arguments)
    assert service["DynamicUser"] == "yes"
    assert service["WorkingDirectory"] == f"%S/{service['StateDirectory']}"
    assert (service["StateDirectoryMode"], service["UMask"]) == ("0700", "0077")
    assert "User" not in service
    assert service["KillSignal"] == "SIGTERM"
    assert int(service["TimeoutStopSec"]) > 10
    assert service["RestartPreventExitStatus"] == "2"
    assert service["ProtectSystem"] == "strict"


def test_systemd_understands_the_unit_where_there_is_one(tmp_path: Path) -> None:
    """What systemd says about directives; whether the program is installed does not matter."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        return  # the tests above parse the file
    source = text_of("bot-that-asks.service").replace("/opt/bot-that-asks/bin/bot", sys.executable)
    (tmp_path / "bot-that-asks.service").write_text(source)
    done = subprocess.run(
        [analyze, "verify", "--man=no", str(tmp_path / "bot-that-asks.service")],
        capture_output=True,
        text=True,
        check=False,
    )
    about = [line for line in done.stderr.splitlines() if "bot-that-asks.service" in line]
    assert about == []


# --- proxies ------------------------------------------------------------------------------------------------

SECRET_URIS = [
    "/authorize/TICKET",
    "/authorize/TICKET?x=1",
    "//authorize/TICKET",
    "/AUTHORIZE/TICKET",
    "/authorize%2FTICKET",
    "/oauth/lark/callback?code=CODE&state=STATE",
    "/oauth/lark/callback/?code=CODE",
    "/oauth/dingtalk/callback?authCode=CODE&state=STATE",
    "/oauth/lark/client?ticket=TICKET",
    "/login?state=STATE",
    "/?code=CODE",
]


def logged_by_caddy(uri: str) -> str:
    """The URI as Caddy's filter writes it. The pattern is in the syntax that Go and Python share."""
    ((pattern, replacement),) = set(
        re.findall(r'request>uri regexp "([^"]+)" "([^"]*)"', text_of("Caddyfile"))
    )
    return re.sub(pattern, lambda match: match.expand(replacement.replace("$1", r"\1")), uri)


def logged_by_nginx(uri: str) -> str:
    """The path as nginx's map writes it: it looks at the path decoded, with single slashes, and without the query."""
    from urllib.parse import unquote

    path = re.sub("/+", "/", unquote(uri.partition("?")[0]))
    block = re.search(r"map \$uri \$path_without_ticket \{(.*?)\}", text_of("nginx.conf"), re.DOTALL)
    assert block is not None
    for pattern, value in re.findall(r'"~\*([^"]+)" (\S+);', block[1]):
        if re.search(pattern, path, re.IGNORECASE):
            return str(value)
    assert "default $uri;" in block[1]
    return path


@pytest.mark.parametrize("logged", [logged_by_caddy, logged_by_nginx])
def test_no_proxy_logs_a_ticket_or_a_code(logged: Any) -> None:
    for uri in SECRET_URIS:
        assert not re.search("TICKET|CODE|STATE", logged(uri)), uri
    for uri in ("/permissions", "/authorization/done", "/oauth/lark/callback", "/lark/events", "/"):
        assert logged(f"{uri}?x=1") == uri


def test_both_logs_of_caddy_leave_out_headers_and_what_is_secret_of_the_uri() -> None:
    source = re.sub(r"(?m)#.*", "", text_of("Caddyfile"))
    logs = [" ".join(each.split()) for each in re.findall(r"\blog\b[^{\n]*\{(.*?\n\t)\}", source, re.DOTALL)]
    assert len(logs) == 2
    assert len(set(logs)) == 1
    for field in ("request>uri regexp ", "request>headers delete", "resp_headers delete"):
        assert field in logs[0]
    # The first block is that of the global options, with the log of the proxy's own errors.
    assert source.split()[:3] == ["{", "log", "default"]
    assert source.count("{") == source.count("}")


def test_nginx_logs_no_variable_that_holds_a_secret() -> None:
    source = re.sub(r"(?m)^\s*#.*", "", text_of("nginx.conf"))
    formats = re.search(r"log_format without_secrets .*?;\n", source, re.DOTALL)
    assert formats is not None
    shown = set(re.findall(r"\$(\w+)", formats[0]))
    assert "path_without_ticket" in shown
    forbidden = ("request", "request_uri", "args", "query_string", "uri", "document_uri")
    assert not shown & set(forbidden)
    assert not [
        each
        for each in shown
        if each.startswith(("http_", "arg_", "cookie_", "sent_http_", "upstream_http_"))
    ]
    servers = source.count("server {")
    assert servers == 2
    assert re.findall(r"access_log (.*?);", source) == [
        "off",
        "/var/log/nginx/bot.access.log without_secrets",
    ]
    # Lower levels write the request line.
    assert re.findall(r"error_log \S+ (\w+);", source) == ["crit"] * servers
    assert source.count("{") == source.count("}")


def test_proxies_keep_what_is_for_operators_to_themselves() -> None:
    blocked = re.findall(r"location = (/\S+) \{ return 404; \}", text_of("nginx.conf"))
    assert set(blocked) == FOR_OPERATORS
    matcher = re.search(r"@operators path (.*)\n\s*respond @operators 404", text_of("Caddyfile"))
    assert matcher is not None
    assert set(matcher[1].split()) == FOR_OPERATORS


def test_proxies_lead_to_the_bots_port_and_keep_connections_shorter_than_the_bot() -> None:
    assert f" {PORT} {{" in re.search(r"dynamic a .*", text_of("Caddyfile"))[0]  # type: ignore[index]
    assert str(PORT) in re.findall(r"server 127\.0\.0\.1:(\d+)", text_of("nginx.conf"))
    (bot,) = [each for each in settings.TABLE if each.name == "BOT_PORT"]
    assert bot.default == str(PORT)
    seconds = re.findall(r"keepalive(?:_timeout)? (\d+)s", text_of("nginx.conf") + text_of("Caddyfile"))
    assert seconds == ["60", "60"]
    upstream = SERVICES["proxy"]["environment"]["BOT_UPSTREAM"]
    assert upstream in SERVICES
    assert "{$BOT_UPSTREAM:" in text_of("Caddyfile")
    assert "{$BOT_DOMAIN:" in text_of("Caddyfile")


@contextmanager
def caddy(folder: Path, upstream: int) -> Iterator[int]:
    """Run Caddy with the Caddyfile, whose addresses are replaced. Its logs are in the file `log`."""
    port = free_port()
    source = text_of("Caddyfile")
    for before, after in {
        "{$BOT_DOMAIN:localhost} {": f"http://127.0.0.1:{port} {{",
        f" {PORT} {{": f" {upstream} {{",
        "\tlog default {": "\tadmin off\n\tlog default {",
    }.items():
        assert before in source
        source = source.replace(before, after)
    (folder / "Caddyfile").write_text(source)
    command = [program("caddy"), "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env={"HOME": str(folder)}, stdout=log, stderr=log)
    try:
        yield port
    finally:
        process.terminate()
        process.wait()


async def asked(port: int, uri: str) -> bytes:
    """Send a request as it is written, with secrets in headers, too. Returns the status line."""
    import asyncio

    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            break
        except OSError:
            await asyncio.sleep(0.02)
    headers = "Host: 127.0.0.1\r\nReferer: https://x/?code=CODE\r\nCookie: s=TICKET\r\nConnection: close"
    writer.write(f"GET {uri} HTTP/1.1\r\n{headers}\r\n\r\n".encode())
    status = await reader.readline()
    await reader.read()
    writer.close()
    return status


async def test_caddy_passes_on_and_logs_no_ticket_and_no_code(tmp_path: Path, aiohttp_server: Any) -> None:
    """Neither in the log of requests nor in that of its own errors, when the bot is away."""
    app = web.Application()

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text="here", headers={"Location": "/?code=CODE", "Set-Cookie": "s=TICKET"})

    app.router.add_get("/{any:.*}", answer)
    server = await aiohttp_server(app)
    with caddy(tmp_path, server.port) as port:
        assert [await asked(port, uri) for uri in SECRET_URIS] == [b"HTTP/1.1 200 OK\r\n"] * len(SECRET_URIS)
        for path in FOR_OPERATORS:
            assert b" 404 " in await asked(port, path)
        await server.close()
        assert b" 502 " in await asked(port, "/authorize/TICKET?code=CODE")
    log = (tmp_path / "log").read_text()
    assert log.count('"uri":"/authorize"') >= 3
    assert '"level":"error"' in log
    assert not re.search("TICKET|CODE|STATE", log)

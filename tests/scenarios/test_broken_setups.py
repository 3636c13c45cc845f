"""Set-ups that are broken in one way each: `bot doctor`, run as a process, names what is broken and how to fix it."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from bot.sandbox.lark.tenant import ScopeSwitch
from tests.bot_process import Call, Forker, bot, later_bot
from tests.ports import free_port
from tests.proxy_and_certificates import DAY, Authority

from .checkup import checkup
from .front import Front, front_of
from .test_unseen_characters import ODD, unseen
from .world import World, migrated_world_in


@pytest.fixture
async def front(world: World) -> AsyncIterator[Front]:
    """The bot runs, by webhook, and its public address is that of a proxy in front of it."""
    async with front_of(world.public) as front:
        world.settings["BOT_PUBLIC_URL"] = front.origin
        pages = ("callback", "client")
        world.tenant.app.redirect_urls = [f"{front.origin}/oauth/lark/{page}" for page in pages]
        world.tenant.app.events_url = f"{front.origin}/lark/events"
        await world.start()
        yield front


async def test_a_set_up_that_works_passes(front: Front, world: World):
    await world.answer_to(await world.say(world.sam, "/help"))
    events = world.count("events")
    checked = await checkup(world)
    assert checked.failed() == set()
    checked.says("public URL", "ok", front.origin, "is answered by")
    checked.says("webhook", "ok", f"{front.origin}/lark/events")
    checked.says("port", "ok", "listens on")
    checked.says("bot", "ok", "1 running")
    checked.says("encryption keys", "ok", "1 key, which opens the stored values")
    checked.says("last event", "ok", "less than a minute ago")
    for check in ("app scopes", "installation", "subscription", "database file", "program", "clock"):
        assert checked.verdict(check) == "ok", checked.of(check)
    assert all(each["platform"] == "lark" for each in checked.of("app scopes"))
    assert [each["platform"] for each in checked.of("public URL")] == [None]
    # Looking has changed nothing, at the bot or at the platform.
    assert world.count("events") == events
    assert world.count("authorization_attempts") == 0


async def test_the_text_has_the_same_findings(front: Front, world: World):
    checked = await checkup(world)
    code, out, errors = await world.cli("doctor")
    assert (code, errors) == (0, "")
    assert len(out.splitlines()) == len(checked.found)
    assert all(each["check"] in out for each in checked.found)


async def test_the_bot_that_is_checked_reports_no_trouble(front: Front, world: World):
    """Nobody should look for the visitor that was doctor."""
    await checkup(world)
    reported = (world.directory / "bot.log").read_text().splitlines()
    assert [line for line in reported if "refused" in line or "WARNING" in line or "ERROR" in line] == []


# --- the public address ------------------------------------------------------------------------------------


PAGE = "<!doctype html><title>Welcome</title><h1>It works!</h1>"

FRONTS: dict[str, tuple[Callable[[Front], None], tuple[str, ...]]] = {
    "a page for everything": (
        lambda front: front.answer("/", 200, PAGE, Server="nginx/1.25"),
        ("is answered by something else: HTTP 200, an HTML page from nginx/1.25", "forward"),
    ),
    "a parked domain": (
        lambda front: front.answer("/", 302, Location="https://parked.example/?d=1"),
        ("redirects (HTTP 302) to https://parked.example/?d=1", "Set BOT_PUBLIC_URL to the address"),
    ),
    "another service": (
        lambda front: front.answer("/", 200, '{"status": "UP"}', kind="application/json"),
        ("is answered by something else: HTTP 200, JSON",),
    ),
    "no such host": (
        lambda front: front.answer("/", 404, "404 page not found", kind="text/plain"),
        ("is answered by something else: HTTP 404",),
    ),
    "a login in front": (
        lambda front: front.answer("/", 401, "", **{"WWW-Authenticate": "Basic"}),
        ("is answered by something else: HTTP 401",),
    ),
    "a bad gateway": (
        lambda front: front.answer("/", 502, PAGE),
        ("does not reach the bot (HTTP 502)", "Make the proxy forward to 127.0.0.1:"),
    ),
    "a path that is not forwarded": (
        lambda front: front.answer("/oauth/", 404, PAGE),
        (
            "nobody can come back from authorizing",
            "/oauth/lark/callback",
            "Make the proxy forward every path",
        ),
    ),
    "hostile": (
        lambda front: front.answer("/", 200, f"{ODD}{'A' * 300_000}", Server="x" * 5000, kind="text/plain"),
        ("is answered by something else",),
    ),
}


@pytest.mark.parametrize("name", FRONTS)
async def test_a_public_address_that_does_not_lead_to_the_bot(front: Front, world: World, name: str):
    breaking, words = FRONTS[name]
    breaking(front)
    checked = await checkup(world)
    finding = checked.says("public URL", "fail", front.origin, *words)
    assert not unseen(finding["message"])


async def test_a_proxy_that_keeps_healthz_from_the_public_is_no_fault(front: Front, world: World):
    """The documentation recommends it."""
    for status in (403, 404):
        front.answer("/healthz", status, PAGE)
        checked = await checkup(world)
        assert checked.failed() == set()
        checked.says("public URL", "ok", "its /healthz is not public")


async def test_a_public_address_at_which_nothing_listens(front: Front, world: World):
    checked = await checkup(world, BOT_PUBLIC_URL=f"http://127.0.0.1:{free_port()}")
    checked.says("public URL", "fail", "does not answer", "Set BOT_PUBLIC_URL")
    checked = await checkup(world, BOT_PUBLIC_URL="https://no-such-host.invalid")
    checked.says("public URL", "fail", "no-such-host.invalid cannot be resolved", "DNS")


async def test_a_public_address_that_never_answers(front: Front, world: World):
    front.delays["/"] = 60
    checked = await checkup(world)
    checked.says("public URL", "fail", "no response in time")
    checked.says("webhook", "fail", "no response in time")


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ({}, ("is not trusted", "SSL_CERT_FILE")),
        ({"self_signed": True}, ("is not trusted", "SSL_CERT_FILE")),
        ({"since": -9 * DAY, "until": -DAY}, ("has expired", "Install a valid certificate for 127.0.0.1")),
        ({"hosts": ["other.example"]}, ("is for another name", "Install a valid certificate for 127.0.0.1")),
    ],
)
async def test_a_public_address_with_a_bad_certificate(
    front: Front, world: World, tmp_path: Path, made: dict[str, Any], words: tuple[str, ...]
):
    authority = Authority(tmp_path)
    made = dict(made)
    context = authority.server(*made.pop("hosts", ["127.0.0.1"]), **made)
    settings = {} if "is not trusted" in words else {"SSL_CERT_FILE": str(authority.file)}
    async with front_of(world.public, context) as secure:
        checked = await checkup(world, BOT_PUBLIC_URL=secure.origin, **settings)
    checked.says("public URL", "fail", secure.origin, *words)


async def test_another_bot_behind_the_address(
    front: Front, world: World, tmp_path: Path, forker: Forker, sqlite_template: Path
):
    """It has the same app and the same keys, but another database."""
    (tmp_path / "other").mkdir()
    async with migrated_world_in(tmp_path / "other", forker, sqlite_template) as other:
        other.tenant.app = world.tenant.app
        await other.start()
        front.bot = other.public
        checked = await checkup(world)
        checked.says("public URL", "fail", "is answered by a bot of another database", "BOT_PUBLIC_URL")
        checked = await checkup(world, BOT_PORT=str(other.port))
        checked.says("port", "fail", "is taken by a bot of another database", "BOT_PORT")


async def test_a_bot_of_another_app_on_the_same_database(front: Front, world: World):
    """Its address was given to both."""
    checked = await checkup(world, LARK_APP_ID="cli_ffffffffffffffff")
    checked.says("public URL", "fail", f"serves lark:{world.tenant.app.app_id}, and not lark:cli_ffff")


async def test_a_bot_that_does_not_run_is_no_failure_but_named(world: World):
    checked = await checkup(world)
    assert checked.failed() == set()
    for check in ("bot", "public URL", "webhook", "last event"):
        assert "tart `bot run`" in checked.says(check, "warn")["fix"]
    checked.says("port", "ok", "is free")
    async with front_of(world.public) as front:
        checked = await checkup(world, BOT_PUBLIC_URL=front.origin)
    checked.says("public URL", "warn", "HTTP 502", "Start `bot run`")


async def test_a_bot_that_was_killed_is_seen_as_such(world: World):
    """Its row is left in the database, and grows old."""
    await world.start()
    await world.kill()
    world.change("UPDATE replicas SET heartbeat_at = strftime('%Y-%m-%d %H:%M:%f000', 'now', '-40 seconds')")
    checked = await checkup(world)
    checked.says("bot", "warn", "no `bot run` serves this database")


# --- the webhook -------------------------------------------------------------------------------------------


async def test_a_wrong_encrypt_key(front: Front, world: World):
    checked = await checkup(world, LARK_ENCRYPT_KEY="not-the-one-of-the-running-bot")
    checked.says("webhook", "fail", "rejects LARK_ENCRYPT_KEY", "Restart `bot run`")


async def test_a_wrong_verification_token(front: Front, world: World):
    checked = await checkup(world, LARK_VERIFICATION_TOKEN="not-the-one-of-the-running-bot")
    checked.says("webhook", "fail", "rejects LARK_VERIFICATION_TOKEN", "Encryption Strategy")


async def test_a_bot_that_runs_with_the_long_connection_instead(world: World):
    await world.start(LARK_EVENTS="websocket")
    checked = await checkup(world, LARK_EVENTS="webhook")
    checked.says("webhook", "fail", "does not receive events at", "Restart `bot run`")


WEBHOOKS: dict[str, tuple[Callable[[Front], None], tuple[str, ...]]] = {
    "a path prefix": (
        lambda front: front.answer("/lark/", 404, "404 page not found", kind="text/plain"),
        ("is answered by something else: HTTP 404", "forward POST requests"),
    ),
    "a page": (lambda front: front.answer("/lark/", 200, PAGE), ("HTTP 200, an HTML page",)),
    "a firewall": (lambda front: front.answer("/lark/", 403, PAGE), ("HTTP 403, an HTML page",)),
    "an echo": (
        lambda front: front.answer("/lark/", 200, '{"challenge": "x"}', kind="application/json"),
        ("is answered by something else: HTTP 200, JSON",),
    ),
    "a redirect": (
        lambda front: front.answer("/lark/", 301, Location="/lark/events/"),
        ("redirects (HTTP 301) to /lark/events/", "the platform follows none"),
    ),
    "a slow one": (
        lambda front: front.delays.update({"/lark/": 3.1}),
        ("the platform gives up after 3", "Look at the proxy"),
    ),
}


@pytest.mark.parametrize("name", WEBHOOKS)
async def test_a_webhook_that_does_not_reach_the_bot(front: Front, world: World, name: str):
    breaking, words = WEBHOOKS[name]
    breaking(front)
    checked = await checkup(world)
    checked.says("webhook", "fail", f"{front.origin}/lark/events", *words)
    assert checked.verdict("public URL") == "ok"


@pytest.mark.parametrize("header", ["X-Lark-Request-Nonce", "X-Lark-Request-Timestamp"])
async def test_a_proxy_that_drops_a_part_of_the_signature(front: Front, world: World, header: str):
    front.dropped.add(header)
    checked = await checkup(world)
    checked.says("webhook", "fail", "signatures of events get lost", "headers and the body unchanged")


# --- the port ----------------------------------------------------------------------------------------------


async def test_a_port_that_another_program_has_taken(world: World):
    async with front_of("http://127.0.0.1:1") as other:
        other.answer("/", 200, PAGE, Server="Apache")
        checked = await checkup(world, BOT_PORT=other.origin.rpartition(":")[2])
        checked.says(
            "port", "fail", "is taken by another program: HTTP 200, an HTML page from Apache", "ss -ltnp"
        )


async def test_a_port_that_a_program_without_http_has_taken(world: World, tmp_path: Path):
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        port = str(server.sockets[0].getsockname()[1])
        checked = await checkup(world, BOT_PORT=port)
        checked.says(
            "port", "fail", "is taken by another program, which does not answer HTTP", "set BOT_PORT"
        )
        # Without the database it may be the bot itself, which is not to be stopped unseen.
        checked = await checkup(world, BOT_PORT=port, BOT_DATABASE_URL=f"sqlite:///{tmp_path}/none.db")
        assert "If it is the bot," in checked.says("port", "fail", "perhaps the bot itself")["fix"]


async def test_a_host_that_is_not_this_machine(world: World):
    for host in ("192.0.2.7", "no-such-host.invalid"):
        checked = await checkup(world, BOT_HOST=host)
        checked.says("port", "fail", "is not an address of this machine", "BOT_HOST")


# --- the app -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scopes", "verdict", "words"),
    [
        (["im:message.p2p_msg:readonly"], "fail", ("does not hear direct messages",)),
        (["im:message:send_as_bot"], "fail", ("the bot cannot answer",)),
        (["im:message.group_at_msg:readonly"], "warn", ("mentions it in a group",)),
        (["auth:user_access_token:read"], "warn", ("users revoke",)),
        (["application:application:self_manage"], "warn", ("cannot read its own settings",)),
    ],
)
async def test_a_scope_of_the_app_that_is_not_enabled(
    world: World, scopes: list[str], verdict: str, words: tuple[str, ...]
):
    for scope in scopes:
        world.tenant.app.scopes[scope] = ScopeSwitch()
    checked = await checkup(world)
    finding = checked.says("app scopes", verdict, *words, *scopes)
    assert f"/auth?q={scopes[0]}&op_from=openapi&token_type=tenant" in finding["fix"]
    assert ("app scopes" in checked.failed()) == (verdict == "fail")


async def test_a_scope_that_awaits_approval(world: World):
    world.tenant.app.scopes["im:message:send_as_bot"] = ScopeSwitch(pending=True)
    checked = await checkup(world)
    checked.says(
        "app scopes", "fail", "the bot cannot answer: im:message:send_as_bot awaits approval", "publish"
    )


async def test_any_scope_that_lets_it_hear_and_answer_will_do(world: World):
    for without, instead in (
        ("im:message:send_as_bot", "im:message"),
        ("im:message.p2p_msg:readonly", "im:message.p2p_msg"),
        ("im:message.group_at_msg:readonly", "im:message.group_msg"),
    ):
        world.tenant.app.scopes[without] = ScopeSwitch()
        world.tenant.app.scopes[instead] = ScopeSwitch(user=True, tenant=True)
    checked = await checkup(world)
    assert checked.verdict("app scopes") == "ok"


@pytest.mark.parametrize(
    ("app", "words"),
    [
        ({"installed": False}, ("is not installed in the organization", "publish a version")),
        ({"published": False}, ("no version of the app is published", "Create and publish a version")),
    ],
)
async def test_an_app_that_is_not_installed(world: World, app: dict[str, bool], words: tuple[str, ...]):
    await world.control("app", **app)
    checked = await checkup(world)
    checked.says("installation", "fail", *words)


async def test_an_app_that_is_disabled(world: World):
    await world.control("app", enabled=False)
    checked = await checkup(world)
    checked.says("installation", "fail", "the app is disabled", "admin console")


async def test_events_that_go_elsewhere(front: Front, world: World):
    """To another address, or by the other way."""
    world.tenant.app.events_url = "https://former.example/hook"
    checked = await checkup(world)
    checked.says("subscription", "fail", "go elsewhere: to https://former.example/hook", "Events & Callbacks")
    await world.stop()
    await world.start(LARK_EVENTS="websocket")
    checked = await checkup(world)
    checked.says("subscription", "fail", "go elsewhere", "although LARK_EVENTS=websocket")
    world.tenant.behaviour.app_record_tells_events = True
    checked = await checkup(world)
    checked.says("subscription", "fail", "events go elsewhere: to https://former.example/hook")


async def test_events_that_go_elsewhere_though_the_settings_look_right(world: World):
    """Another program has the app's credentials, and its long connection. Nobody can see that from here."""
    world.tenant.app.events_by = "websocket"
    await world.start(LARK_EVENTS="websocket")
    checked = await checkup(world)
    checked.says("last event", "warn", "none has ever arrived", "Send the bot a message", "Another program")


@pytest.mark.parametrize(
    ("missing", "verdict", "words"),
    [
        ("im.message.receive_v1", "fail", ("hears nothing", "im.message.receive_v1", "publish")),
        ("im.message.recalled_v1", "warn", ("im.message.recalled_v1",)),
        ("auth.user_access_token.revoked_v4", "warn", ("auth.user_access_token.revoked_v4",)),
    ],
)
@pytest.mark.parametrize("in_record", [True, False])
async def test_an_event_to_which_the_app_is_not_subscribed(
    world: World, missing: str, verdict: str, words: tuple[str, ...], in_record: bool
):
    world.tenant.behaviour.app_record_tells_events = in_record
    events = [each for each in world.tenant.app.subscribed_events if each != missing]
    await world.control("app", subscribed_events=events)
    checked = await checkup(world)
    checked.says("subscription", verdict, *words)


async def test_clicks_to_which_the_app_is_not_subscribed(world: World):
    await world.control("app", subscribed_callbacks=[])
    checked = await checkup(world)
    checked.says("subscription", "fail", "buttons of cards do nothing", "card.action.trigger")


async def test_an_app_that_may_not_refresh_tokens(world: World):
    await world.control("app", may_refresh=False)
    checked = await checkup(world)
    checked.says("refresh", "warn", "authorize again whenever a token expires", "Security Settings")


async def test_what_the_platform_does_not_tell_is_not_guessed(world: World):
    """An app without the scope to read its own record, and a platform that answers with something else."""
    for fault in ({"path": "/open-apis/application/"}, {"path": "/open-apis/bot/"}):
        await world.trouble(fault, "status", status=200, body={"code": 0, "data": {"app": "?", "scopes": 7}})
        checked = await checkup(world)
        assert checked.failed() <= {"bot ability"}, checked.found
        await world.lift()
    world.tenant.app.scopes["application:application:self_manage"] = ScopeSwitch()
    checked = await checkup(world)
    checked.says("subscription", "warn", "cannot tell", "im.message.receive_v1")
    assert checked.failed() == set()


@pytest.mark.parametrize(
    "admins",
    [
        "nobody",
        "ou_nobody",
        "ou_",
        "{ada}0",
        "ou_00000000000000000000000000000000",
        "{ada},ou_11111111111111111111111111111111",
    ],
)
async def test_administrators_whom_the_platform_does_not_know(world: World, admins: str):
    checked = await checkup(world, BOT_ADMINS=admins.format(ada=world.ada.open_id))
    checked.says("administrators", "fail", "is not", "Set BOT_ADMINS")


async def test_an_owner_who_cannot_be_reached(world: World):
    world.ada.available = False
    checked = await checkup(world, BOT_ADMINS="")
    checked.says("administrators", "fail", "cannot be sent messages", "Make the app available")


# --- the machine -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "verdict"), [(60, "warn"), (9 * 86400, "fail"), (-7200, "fail")])
async def test_a_clock_that_is_wrong(world: World, seconds: int, verdict: str):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bot.sandbox.shifted_clock", str(seconds), "doctor"),
        cwd=world.directory,
        env=world.environment(),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    line = next(line for line in out.decode().splitlines() if line.split()[1] == "clock")
    assert line.lower().startswith(verdict), out
    assert ("ahead of" if seconds > 0 else "behind") in line
    assert "NTP" in line


def bound_by_permissions(*arguments: str) -> Call:
    """`python -m bot` with these arguments, as a user for whom the permissions of files count, unlike for root."""
    return Call("tests.bot_process:run_bound_by_permissions", (arguments,))


@pytest.mark.parametrize("what", ["folder", "file"])
async def test_a_database_that_cannot_be_written(world: World, what: str):
    path = world.database.parent if what == "folder" else world.database
    before = path.stat().st_mode
    path.chmod(0o555 if what == "folder" else 0o440)
    try:
        done = await asyncio.to_thread(
            world.forker.run,
            bound_by_permissions("doctor"),
            directory=world.directory,
            environment=world.environment(),
        )
    finally:
        path.chmod(before)
    assert done.returncode == 1, done.stdout
    (line,) = [each for each in done.stdout.splitlines() if each.startswith("FAIL  database file")]
    assert str(path) in line
    assert ("is not writable" if what == "folder" else "cannot be read and written") in line
    assert "chmod" in line


@pytest.mark.parametrize(
    "statement",
    [
        "DROP INDEX ix_events_received_at",
        "DROP VIEW who_is_waiting",
        "DROP TABLE device_authorizations",
    ],
)
async def test_a_schema_that_is_not_that_of_its_revision(world: World, statement: str):
    """Its revision is right, so that a comparison of numbers sees nothing."""
    world.change(statement)
    checked = await checkup(world)
    checked.says("database", "fail", "schema", "Restore a backup")


async def test_a_database_without_tables(world: World, tmp_path: Path):
    checked = await checkup(world, BOT_DATABASE_URL=f"sqlite:///{tmp_path}/none.db")
    checked.says("database", "fail", "bot db upgrade")
    checked.says("database file", "ok", "none yet; the folder", "is writable")


async def test_a_folder_that_does_not_exist(world: World, tmp_path: Path):
    checked = await checkup(world, BOT_DATABASE_URL=f"sqlite:///{tmp_path}/nowhere/bot.db")
    checked.says("database file", "fail", "does not exist", "mkdir -p")


@pytest.mark.parametrize(("free", "verdict"), [(5 * 1024**2, "fail"), (500 * 1024**2, "warn")])
async def test_a_disk_that_is_nearly_full(world: World, free: int, verdict: str):
    done = await asyncio.to_thread(
        world.forker.run,
        Call("tests.bot_process:run_on_full_disk", (("doctor",), free)),
        directory=world.directory,
        environment=world.environment(),
    )
    line = next(each for each in done.stdout.splitlines() if "database file" in each)
    assert line.lower().startswith(verdict)
    assert f"only {free // 1024**2} MiB are free" in line
    assert "Free some space" in line


async def test_keys_that_are_not_those_of_the_database(front: Front, world: World):
    _, key, _ = await world.cli("keys", "new")
    checked = await checkup(world, BOT_ENCRYPTION_KEYS=key.strip())
    checked.says("encryption keys", "fail", "does not contain the key of this database")
    checked.says("encryption keys", "warn", "seals with a key that is not in these settings")


async def test_a_database_that_another_program_has_locked_does_not_hang_it(world: World):
    with contextlib.closing(sqlite3.connect(world.database, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        checked = await checkup(world)
        other.execute("ROLLBACK")
    assert "database" in checked.failed()


async def test_a_package_that_is_older_than_the_program_needs(world: World, tmp_path: Path):
    for name in ("aiohttp", "sqlalchemy"):
        folder = tmp_path / "old" / f"{name}-0.9.0.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.9.0\n")
    path = world.environment()["PYTHONPATH"]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bot", "doctor"),
        cwd=world.directory,
        env={**world.environment(), "PYTHONPATH": f"{tmp_path / 'old'}:{path}"},
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    for name in ("aiohttp", "sqlalchemy"):
        assert importlib.metadata.version(name) != "0.9.0"
        assert (
            f"FAIL  program          {name} 0.9.0 is too old. Install what this release needs" in out.decode()
        )


# --- trouble everywhere ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [9 * 86400, 3600])
async def test_the_start_warns_of_a_wrong_clock(world: World, seconds: int):
    world.process = world.fork(later_bot(seconds))
    log = world.directory / "bot.log"
    await world.until(lambda: "clock" in log.read_text() and "WARNING" in log.read_text(), "a warning", 30)
    (line, *_) = [each for each in log.read_text().splitlines() if "WARNING" in each and "clock" in each]
    told, _, ahead = line.rpartition("seconds=")
    assert told.endswith("this machine's clock and the platform's differ: set it by NTP platform=lark ")
    assert abs(int(ahead) - seconds) <= 10


async def test_when_everything_hangs_it_still_ends(front: Front, world: World):
    """Neither the platform, nor the public address, nor the port answers."""
    await world.trouble({"path": "/"}, "timeout")
    front.delays["/"] = 60
    async with front_of("http://127.0.0.1:1") as silent:
        silent.delays["/"] = 60
        checked = await checkup(world, BOT_PORT=silent.origin.rpartition(":")[2])
    assert {"credentials", "public URL", "webhook", "port"} <= checked.failed()
    await world.lift()


async def test_what_the_running_bot_says_of_itself(world: World):
    world.settings["LARK_EVENTS"] = "websocket"
    world.tenant.app.events_by = "websocket"
    world.tenant.app.other_brand = True
    world.process = world.fork(bot("run"))
    healthz = f"{world.public}/healthz"

    async def is_up() -> bool:
        with contextlib.suppress(Exception):
            return (await world.get(healthz))[0] == 200
        return False

    while not await is_up():
        await asyncio.sleep(0.05)
    checked = await checkup(world)
    checked.says("bot", "fail", "events are down", "other brand")


async def test_the_emulator_delivers_only_what_the_app_is_subscribed_to(world: World):
    await world.start()
    await world.control("app", subscribed_events=[])
    said = await world.control("messages", person=world.sam.open_id, text="/help")
    assert said["event_id"] is None
    await world.control("app", subscribed_events=["im.message.receive_v1"])
    await world.answer_to(await world.say(world.sam, "/help"))

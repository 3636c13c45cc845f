"""`bot doctor` against the emulated platform and a stand-in for the running bot: one line for each thing that fails."""

import base64
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web

from bot import doctor, settings
from bot.doctor_lark import not_enabled
from bot.doctor_probes import Answer
from bot.findings import Finding
from bot.sandbox.lark.faults import Fault
from bot.sandbox.lark.sample_tenant import sample_tenant
from bot.sandbox.lark.server import build_platform
from bot.sandbox.lark.tenant import ScopeSwitch, Tenant
from bot.store.keyring import new_key
from tests.documented_checks import DOCUMENTED_CHECKS
from tests.ports import free_port

REPLICA = "here-1-abcdef"


class Patient:
    """An app at the platform, and the environment of a bot that serves it."""

    def __init__(
        self, tenant: Tenant, origin: str, database_url: str, public: str, said: dict[str, object]
    ) -> None:
        self.tenant = tenant
        self.said = said
        self.public = public
        self.environment = {
            "LARK_APP_ID": tenant.app.app_id,
            "LARK_APP_SECRET": tenant.app.app_secret,
            "LARK_OPEN_URL": origin,
            "LARK_ACCOUNTS_URL": origin,
            "BOT_PUBLIC_URL": public,
            "BOT_PORT": public.rpartition(":")[2],
            "BOT_DATABASE_URL": database_url,
            "BOT_ENCRYPTION_KEYS": new_key(),
        }

    async def examined(self, **environment: str) -> dict[str, list[Finding]]:
        """The findings by subject."""
        found: dict[str, list[Finding]] = {}
        for each in await doctor.examine({**self.environment, **environment}):
            assert "\n" not in str(each)
            assert each.subject in DOCUMENTED_CHECKS
            found.setdefault(each.subject, []).append(each)
        return found


async def alive(_: web.Request) -> web.Response:
    return web.json_response({"status": "alive", "instance": REPLICA, "version": "1"})


READY: dict[str, object] = {"status": "ready", "database": "up", "events": "up"}


async def ready(request: web.Request) -> web.Response:
    return web.json_response(READY | request.app[SAID])


SAID: web.AppKey[dict[str, object]] = web.AppKey("said")
"""What `/readyz` says in addition."""


async def callback(_: web.Request) -> web.Response:
    return web.Response(status=303, headers={"Location": "/authorization/malformed"})


def stand_in() -> web.Application:
    """What of the running bot doctor looks at."""
    app = web.Application()
    app[SAID] = {}
    app.router.add_get("/healthz", alive)
    app.router.add_get("/readyz", ready)
    app.router.add_get("/oauth/lark/callback", callback)
    return app


@contextlib.asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[str]:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


def write(database_url: str, statement: str, *values: str) -> None:
    file = database_url.partition(":///")[2]
    with contextlib.closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(statement, values)


def written(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f")


def register(database_url: str, app: str, seen: timedelta = timedelta(0)) -> None:
    """Record the running replica, and an event that it has received."""
    now = datetime.now(UTC)
    write(
        database_url,
        "INSERT INTO replicas (id, app, host, started_at, heartbeat_at, key_ids) VALUES (?, ?, 'here', ?, ?, '[]')",
        *(REPLICA, app, written(now), written(now - seen)),
    )
    platform, _, app_id = app.partition(":")
    write(
        database_url,
        "INSERT INTO events (platform, app_id, event_id, received_at) VALUES (?, ?, 'e1', ?)",
        *(platform, app_id, written(now - timedelta(hours=3))),
    )


@pytest.fixture
async def patient(tmp_path: Path, sqlite_url: str) -> AsyncIterator[Patient]:
    tenant = sample_tenant()
    tenant.app.events_by = "websocket"
    bot = stand_in()
    async with serving(build_platform(tenant)) as origin, serving(bot) as public:
        tenant.app.redirect_urls = [f"{public}/oauth/lark/callback", f"{public}/oauth/lark/client"]
        register(sqlite_url, f"lark:{tenant.app.app_id}")
        yield Patient(tenant, origin, sqlite_url, public, bot[SAID])


def failed(found: dict[str, list[Finding]]) -> set[str]:
    return {
        subject for subject, findings in found.items() if any(each.verdict == "FAIL" for each in findings)
    }


async def test_when_all_holds_nothing_is_wrong(patient: Patient) -> None:
    found = await patient.examined(LARK_JSSDK_URL=f"https://cdn.example/sdk.js#sha384-{'x' * 64}")
    assert {each.verdict for findings in found.values() for each in findings} == {"ok"}, found
    assert list(found) == [
        *(
            "configuration",
            "program",
            "database",
            "database file",
            "encryption keys",
            "bot",
            "port",
            "public URL",
        ),
        *(
            "platform",
            "clock",
            "credentials",
            "client script",
            "installation",
            "bot ability",
            "redirect URLs",
        ),
        *("sign-in", "scopes", "app scopes", "events", "subscription", "administrators", "last event"),
    ]
    assert found["last event"][0].message == "received 3 hours ago"


async def test_a_script_of_others_that_no_browser_checks_is_named(patient: Patient) -> None:
    (finding,) = (await patient.examined())["client script"]
    assert (finding.verdict, "LARK_JSSDK_URL" in finding.fix) == ("warn", True)


async def test_the_secret_is_not_in_any_line(patient: Patient) -> None:
    found = await patient.examined(LARK_APP_SECRET="hush-hush-hush-hush")
    assert failed(found) == {"credentials"}
    assert "not checked" in found["app"][0].message
    assert "hush" not in "".join(str(each) for findings in found.values() for each in findings)


async def test_a_wrong_setting_does_not_hide_the_database(patient: Patient) -> None:
    found = await patient.examined(LARK_BRAND="slack", BOT_PORT="x")
    assert len(found["configuration"]) == 2
    assert found["database"][0].verdict == "ok"


async def test_an_unreachable_platform_is_named(patient: Patient) -> None:
    found = await patient.examined(LARK_OPEN_URL="http://127.0.0.1:1")
    assert failed(found) == {"platform", "credentials"}


async def test_a_database_without_tables_is_named_with_its_remedy(patient: Patient, tmp_path: Path) -> None:
    found = await patient.examined(BOT_DATABASE_URL=f"sqlite+aiosqlite:///{tmp_path}/none.db")
    assert failed(found) == {"database"}
    assert "`bot db upgrade`" in str(found["database"][0])
    (file,) = found["database file"]
    assert (file.verdict, file.message) == (
        "ok",
        f"none yet; the folder {tmp_path} is writable, with enough free space",
    )


async def test_a_bot_that_answers_while_the_database_cannot_be_read_is_not_to_be_stopped(
    patient: Patient, tmp_path: Path
) -> None:
    """Which bot it is cannot be told, and most likely it is this one."""
    found = await patient.examined(BOT_DATABASE_URL=f"sqlite+aiosqlite:///{tmp_path}/none.db")
    for subject in ("port", "public URL"):
        (finding,) = found[subject]
        assert (finding.verdict, finding.fix) == ("warn", "Fix the database first.")
        assert REPLICA in finding.message
        assert "cannot tell whether it is this one" in finding.message


async def test_a_bot_that_does_not_answer_while_the_database_cannot_be_read_need_not_be_started(
    patient: Patient, tmp_path: Path
) -> None:
    """It may be running: nothing but the database says so."""
    port = str(free_port())
    found = await patient.examined(
        BOT_DATABASE_URL=f"sqlite+aiosqlite:///{tmp_path}/none.db",
        BOT_PORT=port,
        BOT_PUBLIC_URL=f"http://localhost:{port}",
        LARK_EVENTS="webhook",
        LARK_ENCRYPT_KEY="k",
    )
    for subject in ("public URL", "webhook"):
        (finding,) = found[subject]
        assert (finding.verdict, finding.fix) == ("warn", "Fix the database first.")
        assert "no `bot run`" not in finding.message
    assert "cannot tell whether `bot run` is running" in found["public URL"][0].message


async def test_looking_does_not_give_the_database_its_keys(patient: Patient) -> None:
    assert (await patient.examined())["encryption keys"][0].message == "1 key; nothing is sealed yet"
    other = base64.urlsafe_b64encode(bytes(32)).decode()
    found = await patient.examined(BOT_ENCRYPTION_KEYS=other)
    assert found["encryption keys"][0].message == "1 key; nothing is sealed yet"
    found = await patient.examined(BOT_ENCRYPTION_KEYS=f"{other},{new_key()}")
    assert found["encryption keys"][0].message == "2 keys; nothing is sealed yet"


async def test_where_a_leaked_code_could_sign_somebody_in_it_is_said_and_nothing_fails(
    patient: Patient,
) -> None:
    (finding,) = (await patient.examined())["sign-in"]
    assert (finding.verdict, finding.message.endswith("/oauth/v3/token")) == ("ok", True)
    for kind, options, word in (
        ("status", {"status": 404, "body": "404 page not found"}, "is not there"),
        ("down", {}, "cannot tell"),
    ):
        fault = Fault("f1", kind, {"path": "/oauth/v3/token"}, None, options)
        patient.tenant.faults.all["f1"] = fault
        found = await patient.examined()
        assert (found["sign-in"][0].verdict, word in found["sign-in"][0].message) == ("warn", True)
        assert failed(found) == set()
    found = await patient.examined(BOT_PUBLIC_URL="")
    assert found["sign-in"][0].verdict == "ok"


async def test_each_redirect_url_that_is_not_registered_is_named(patient: Patient) -> None:
    patient.tenant.app.redirect_urls.pop()
    (finding,) = (await patient.examined())["redirect URLs"]
    assert finding.verdict == "FAIL"
    assert f"{patient.public}/oauth/lark/client" in finding.fix
    assert f"{patient.public}/oauth/lark/callback" not in finding.fix


async def test_a_command_whose_scopes_are_not_enabled_is_named_with_the_page_that_lists_them(
    patient: Patient,
) -> None:
    for scope in ("task:task:read", "task:task:write"):
        patient.tenant.app.scopes[scope] = ScopeSwitch(user=False, tenant=False)
    found = (await patient.examined())["scopes"]
    (tasks,) = (each for each in found if "/tasks" in each.message)
    assert "neither task:task:read nor task:task:write is enabled for user identity" in tasks.message
    assert tasks.fix.startswith("Enable task:task:read: ")
    assert "/auth?q=" in found[-1].fix


def test_scopes_of_which_none_is_enabled_are_listed_as_a_person_would() -> None:
    assert not_enabled(("a",)) == "a is not enabled"
    assert not_enabled(("a", "b")) == "neither a nor b is enabled"
    assert not_enabled(("a", "b", "c")) == "none of a, b and c is enabled"


@pytest.mark.parametrize(
    ("headers", "description"),
    [
        (
            {"Content-Type": "text/html; charset=utf-8", "Server": "nginx"},
            "HTTP 404, an HTML page from nginx",
        ),
        ({"Content-Type": "text/plain; charset=utf-8", "Server": "x"}, "HTTP 404, plain text from x"),
        ({"Content-Type": "image/PNG"}, "HTTP 404, image/png"),
        ({"Server": "Python/3.11"}, "HTTP 404 from Python/3.11"),
        ({}, "HTTP 404"),
    ],
)
def test_an_answer_is_described_by_what_it_is(headers: dict[str, str], description: str) -> None:
    assert Answer(404, headers, b"", 0.1, None).description == description


async def test_any_alternative_suffices(patient: Patient) -> None:
    patient.tenant.app.scopes["task:task:read"] = ScopeSwitch(user=False, tenant=False)
    assert [each.verdict for each in (await patient.examined())["scopes"]] == ["ok"]


async def test_without_offline_access_there_is_a_warning(patient: Patient) -> None:
    patient.tenant.app.scopes["offline_access"] = ScopeSwitch(user=False, tenant=False)
    (finding,) = (await patient.examined())["scopes"]
    assert finding.verdict == "warn"
    assert "offline_access" in finding.fix


async def test_a_public_url_that_phones_cannot_open_is_pointed_out(patient: Patient) -> None:
    found = await patient.examined(LARK_ACCOUNTS_URL="https://accounts.invalid")
    assert found["public URL"][0].verdict == "ok"
    assert [each.verdict for each in found["public URL"][1:]] == ["warn"]
    assert "not from a phone" in found["public URL"][1].message


async def test_a_public_url_with_another_port_is_pointed_out(patient: Patient) -> None:
    found = await patient.examined(BOT_PUBLIC_URL=f"http://localhost:{free_port()}")
    (finding,) = found["public URL"]
    assert finding.verdict == "FAIL"
    assert f"the bot listens on port {patient.environment['BOT_PORT']}" in finding.message


async def test_without_a_browser_no_redirect_url_is_needed(patient: Patient) -> None:
    patient.tenant.app.redirect_urls.clear()
    found = await patient.examined(BOT_PUBLIC_URL="")
    assert failed(found) == set()


async def test_a_webhook_is_looked_at_by_its_settings(patient: Patient) -> None:
    found = await patient.examined(LARK_EVENTS="webhook", LARK_ENCRYPT_KEY="k")
    assert f"{patient.public}/lark/events" in found["events"][0].message


async def test_files_with_secrets_that_everybody_can_read_are_pointed_out(
    patient: Patient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = Path(patient.environment["BOT_DATABASE_URL"].partition(":///")[2])
    file.chmod(0o644)
    monkeypatch.delenv("LARK_APP_SECRET", raising=False)
    (tmp_path / ".env").write_text("LARK_APP_SECRET=s\n", encoding="utf-8")
    (tmp_path / ".env").chmod(0o644)
    environ = settings.environment(tmp_path)
    environ.update(patient.environment)
    found = await doctor.examine(environ)
    warned = [each for each in found if each.verdict == "warn"]
    assert any(each.subject == "database" and "can be read by every user" in each.message for each in warned)
    assert any(".env can be read by every user" in each.message for each in warned)


@pytest.mark.parametrize(
    ("said", "verdict", "words"),
    [
        (
            {"events": "down", "events_down_because": "no TLS", "events_down_since": "2026-01-31T09:00:00Z"},
            "FAIL",
            "events are down since 2026-01-31T09:00:00Z: no TLS",
        ),
        ({"database": "down"}, "FAIL", "database is down"),
        (
            {"platform": "up", "platform_down_because": "no connection"},
            "warn",
            "platform is down: no connection",
        ),
        (
            {
                "events_refused_because": "the signature does not match",
                "events_refused": {"not signed": 9, "x": 3},
            },
            "FAIL",
            "rejects events, 3 so far: the signature does not match",
        ),
        (
            {
                "events_refused_because": "the signature does not match",
                "events_refused": {"not signed": 9, "x": 1},
            },
            "warn",
            "rejects events, 1 so far",
        ),
        ({"events_refused": {"not signed": 12}, "events_last_at": None}, "ok", "running"),
    ],
)
async def test_what_the_running_bot_says_of_itself_is_passed_on(
    patient: Patient, said: dict[str, object], verdict: str, words: str
) -> None:
    patient.said.update(said)
    found = (await patient.examined())["bot"]
    assert found[-1].verdict == verdict, found
    assert words in found[-1].message
    assert found[-1].fix or verdict == "ok"


async def test_replicas_are_told_by_their_heartbeats(patient: Patient) -> None:
    url = patient.environment["BOT_DATABASE_URL"]
    for seconds, verdict in ((5, "ok"), (40, "warn"), (-7200, "warn")):
        moment = written(datetime.now(UTC) - timedelta(seconds=seconds))
        write(url, "UPDATE replicas SET heartbeat_at = ?", moment)
        found = await patient.examined()
        assert found["bot"][0].verdict == verdict
    # A heartbeat of the future is of a machine whose clock is wrong.
    assert any(each.verdict == "FAIL" and REPLICA in each.message for each in found["clock"])

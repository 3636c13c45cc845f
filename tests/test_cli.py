"""The operator's commands, as an operator runs them: another process, a real database, what it prints and exits with."""

import asyncio
import base64
import json
import os
import resource
import secrets
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bot import cli_output
from bot.core.messages import Chat
from bot.core.oauth import TokenSet
from bot.core.people import UserKey
from bot.core.secrets import Secret
from bot.store import audit, inbox, users
from bot.store.ids import new_id
from bot.store.inbox import NewCall
from bot.store.keyring import Keyring
from bot.store.open_database import open_database, upgrade
from bot.store.transaction import Database
from tests.bot_process import Forker, strict_bot
from tests.store.examples import open_request, save_grant

ROOT = Path(__file__).resolve().parent.parent
NOW = datetime.now(UTC)
ANNA = UserKey("lark", "cli_1", "tenant_1", "ou_1a2b3c4d5e6f1a2b3c4d5e6f1a2b3c4d")
WEI = UserKey("lark", "cli_1", "tenant_1", "ou_1a99999999999999999999999999999d")


class Operator:
    """Somebody at a terminal, in a directory of their own."""

    def __init__(self, directory: Path, forker: Forker) -> None:
        self.directory = directory
        self.forker = forker
        self.url = f"sqlite+aiosqlite:///{directory}/bot.db"
        self.key = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
        self.environment: dict[str, str] = {"BOT_DATABASE_URL": self.url, "BOT_ENCRYPTION_KEYS": self.key}

    def __call__(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        inherited = {name: v for name, v in os.environ.items() if not name.startswith(("LARK_", "BOT_"))}
        return self.forker.run(
            strict_bot(*arguments),
            directory=self.directory,
            environment={**inherited, **self.environment, **environment},
        )

    def fill(self, fill: Callable[[Database], Awaitable[None]]) -> None:
        """Writes into the database as the bot would."""

        async def run() -> None:
            database = await open_database(self.url, Keyring([self.key]))
            try:
                await fill(database)
            finally:
                await database.close()

        asyncio.run(run())


@pytest.fixture
def bot(tmp_path: Path, forker: Forker) -> Operator:
    return Operator(tmp_path, forker)


@pytest.fixture
def busy_bot(bot: Operator) -> Operator:
    """Anna has granted something and waits for more; Wei is known."""
    upgrade(bot.url)
    bot.fill(history)
    return bot


async def history(database: Database) -> None:
    call = NewCall(
        new_id(NOW),
        ANNA,
        Chat("oc_1", "group"),
        "om_1",
        "doc",
        "private words",
        NOW,
        "en",
        None,
        NOW + timedelta(days=1),
    )
    tokens = TokenSet(Secret("access-token-1"), 7200, Secret("refresh-token-1"), 604_800, None)
    await database.write(lambda c: inbox.record(c, "ev_1", call, language="en", union_id="on_1", now=NOW))
    await database.write(lambda c: users.seen(c, WEI, language="zh", union_id=None, now=NOW))
    await database.write(lambda c: users.name_user(c, ANNA, "Anna \x1b[31mRed\n", NOW))
    await database.write(lambda c: users.name_user(c, WEI, "蓝薇", NOW))
    await database.write(lambda c: save_grant(c, ANNA, tokens, scopes=frozenset({"task:task:read"}), now=NOW))
    await database.write(
        lambda c: open_request(
            c,
            ANNA,
            scopes=frozenset({"docx:document:readonly", "offline_access"}),
            command="doc",
            ticket=Secret("ticket-" + "x" * 40),
            expires_at=NOW + timedelta(days=1),
            now=NOW,
        )
    )
    await database.write(lambda c: audit.write(c, "granted", user=ANNA, now=NOW, scopes=["task:task:read"]))


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """What it complained about; exactly one line, and nothing on standard output."""
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("bot: ")
    return line


# --- usage ---------------------------------------------------------------------------------------------------


def processor_time_of_children() -> float:
    """Seconds. Unlike the time on the clock, it hardly depends on what else the machine does."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def started(bot: Operator, *arguments: str) -> tuple[subprocess.CompletedProcess[str], float]:
    """Start Python from nothing, as at a terminal. Returns also the seconds of processor time that it took."""
    before = processor_time_of_children()
    done = subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=bot.directory,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done, processor_time_of_children() - before


def test_help_lists_every_command_and_answers_at_once(bot: Operator) -> None:
    took, bare = [], []
    for _ in range(5):
        bare.append(started(bot, "-c", "import argparse")[1])
        done, seconds = started(bot, "-m", "bot", "--help")
        took.append(seconds)
    assert done.returncode == 0
    commands = (
        "run",
        "sandbox",
        "doctor",
        "db",
        "status",
        "users",
        "requests",
        "calls",
        "audit",
        "errors",
        "stats",
        "explain",
        "export",
        "revoke",
        "forget",
        "completion",
    )
    names = (*commands, "keys")
    listed = done.stdout.split()
    assert all(f"\n    {name}" in done.stdout and name in listed for name in names)
    # Importing too much is what would make it slow.
    assert min(took) < 6 * min(bare)  # It takes 4; with aiohttp or SQLAlchemy alone it would take over 10.


def test_the_help_of_errors_says_what_its_status_may_be(bot: Operator) -> None:
    told = " ".join(bot("errors", "--help").stdout.split())
    assert "an HTTP status, a code, or a status such as failed or undeliverable" in told


def test_bot_run_help_lists_the_settings(bot: Operator) -> None:
    done = bot("run", "--help")
    assert "BOT_ENCRYPTION_KEYS" in done.stdout
    assert "LARK_APPLINK_URL" in done.stdout


def test_version(bot: Operator) -> None:
    assert bot("--version").stdout.startswith("bot ")


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("serve",),
        ("db",),
        ("db", "downgrade"),
        ("keys",),
        ("explain",),
        ("revoke",),
        ("status", "extra"),
        ("sandbox", "--port", "http"),
        ("sandbox", "--port", "65536"),
        ("sandbox", "--platform", "slack"),
        ("users", "--limit", "0"),
        ("users", "--status", "waiting"),
        ("calls", "--status", ","),
        ("requests", "--since", "yesteryear"),
        ("stats", "--until", "25:00"),
        ("explain", "x", "--since", "-1h"),
        ("completion",),
        ("completion", "cmd"),
        ("forget",),
        ("calls", "--js"),
        ("explain", "\udcff"),
        ("revoke", "\udcff"),
    ],
)
def test_wrong_usage_is_one_line_with_a_hint_and_exit_code_2(
    bot: Operator, arguments: tuple[str, ...]
) -> None:
    done = bot(*arguments)
    assert done.returncode == 2
    assert "--help`" in one_line(done)


def test_a_platform_without_an_emulator_is_refused_in_one_line(bot: Operator) -> None:
    done = bot("sandbox", "--platform", "slack", "--no-browser")
    assert done.returncode == 2
    assert "lark" in one_line(done)


def test_a_reader_that_has_seen_enough_is_no_trouble(busy_bot: Operator) -> None:
    command = f"{sys.executable} -m bot audit --json | head -c 1"
    environment = {**os.environ, **busy_bot.environment, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-c", command], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""


# --- configuration -------------------------------------------------------------------------------------------


def test_bot_run_without_settings_says_all_that_is_missing(bot: Operator) -> None:
    bot.environment = {}
    done = bot("run")
    assert done.returncode == 2
    assert [line.split()[1] for line in done.stderr.splitlines()] == [
        "LARK_APP_ID",
        "LARK_APP_SECRET",
        "BOT_ENCRYPTION_KEYS",
    ]


def test_a_dotenv_file_counts(bot: Operator) -> None:
    (bot.directory / ".env").write_text("BOT_DATABASE_URL=x.db\n", encoding="utf-8")
    bot.environment = {}
    done = bot("db", "check")
    assert done.returncode == 2
    assert "BOT_DATABASE_URL" in one_line(done)


@pytest.mark.parametrize("command", [("status",), ("db", "upgrade"), ("explain", "x"), ("keys", "rotate")])
def test_a_wrong_database_url_is_a_line_and_exit_code_2(bot: Operator, command: tuple[str, ...]) -> None:
    done = bot(*command, BOT_DATABASE_URL="postgres://bot:hush-hush/@localhost/bot")
    assert done.returncode == 2
    assert "%2F" in one_line(done)
    assert "hush-hush" not in done.stderr


def test_a_misspelt_variable_is_a_warning(busy_bot: Operator) -> None:
    done = busy_bot("users", BOT_DATABASE_URI="x")
    assert done.returncode == 0
    assert "Did you mean BOT_DATABASE_URL?" in done.stderr


# --- the database --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command", [("status",), ("users",), ("explain", "x"), ("db", "check"), ("keys", "rotate")]
)
def test_without_a_database_the_command_that_makes_one_is_named(
    bot: Operator, command: tuple[str, ...]
) -> None:
    done = bot(*command)
    assert done.returncode == 1
    assert "`bot db upgrade`" in one_line(done)
    assert not (bot.directory / "bot.db").exists()


def test_upgrading_makes_the_database_and_may_be_repeated(bot: Operator) -> None:
    assert bot("db", "check").returncode == 1
    assert bot("db", "upgrade").returncode == 0
    assert bot("db", "upgrade").returncode == 0
    assert bot("db", "check").returncode == 0
    assert bot("status").returncode == 0


@pytest.mark.parametrize("scheme", ["sqlite", "sqlite+aiosqlite"])
def test_a_plain_scheme_is_taken_as_ours(bot: Operator, scheme: str) -> None:
    url = f"{scheme}:///{bot.directory}/a folder/bot.db"
    (bot.directory / "a folder").mkdir()
    assert bot("db", "upgrade", BOT_DATABASE_URL=url).returncode == 0
    assert bot("db", "check", BOT_DATABASE_URL=url).returncode == 0


def test_nobody_else_on_the_machine_reads_a_database_that_was_made(bot: Operator) -> None:
    bot("db", "upgrade")
    file = bot.directory / "bot.db"
    assert oct(file.stat().st_mode & 0o777) == "0o600"
    file.chmod(0o640)
    bot("db", "upgrade")
    assert oct(file.stat().st_mode & 0o777) == "0o640", (
        "who may read it is the operator's decision from then on"
    )


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+asyncpg://bot:hush-hush@127.0.0.1:1/bot",
        "sqlite+aiosqlite:////nowhere/at/all/bot.db",
    ],
)
@pytest.mark.parametrize("command", [("db", "upgrade"), ("db", "check"), ("status",), ("keys", "rotate")])
def test_an_unreachable_database_is_one_line(bot: Operator, url: str, command: tuple[str, ...]) -> None:
    done = bot(*command, BOT_DATABASE_URL=url)
    assert done.returncode == 1
    assert "hush-hush" not in one_line(done)


def test_a_file_that_is_no_database_is_one_line(bot: Operator) -> None:
    (bot.directory / "bot.db").write_bytes(b"This is a shopping list. " * 100)
    for command in (("db", "check"), ("status",), ("db", "upgrade")):
        done = bot(*command)
        assert done.returncode == 1
        assert "BOT_DATABASE_URL" in one_line(done)


def test_bot_run_without_migrating_names_the_command_that_does(bot: Operator) -> None:
    app = {"LARK_APP_ID": "cli_1", "LARK_APP_SECRET": "x", "BOT_AUTO_MIGRATE": "false"}
    done = bot("run", **app)
    assert done.returncode == 1
    assert "`bot db upgrade`" in one_line(done)
    (bot.directory / "bot.db").write_bytes(b"This is a shopping list. " * 100)
    assert "BOT_DATABASE_URL" in one_line(bot("run", **app))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_bot_run_can_be_stopped_while_it_still_starts(bot: Operator, number: int) -> None:
    starting = subprocess.Popen(
        # The tests may have been started with nohup, which is inherited.
        ["env", "--default-signal=HUP", sys.executable, "-m", "bot", "run"],
        cwd=bot.directory,
        env=bot.environment | {"LARK_APP_ID": "cli_1", "LARK_APP_SECRET": "x", "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
    )
    while not (bot.directory / "bot.db").exists():  # it is being migrated
        time.sleep(0.001)
    starting.send_signal(number)
    _, errors = starting.communicate(timeout=10)
    assert (starting.returncode, b"Traceback" in errors) == (0, False), errors
    assert bot("db", "upgrade").returncode == 0


# --- keys ----------------------------------------------------------------------------------------------------


def test_a_new_key_is_printed_and_nothing_else(bot: Operator) -> None:
    bot.environment = {}
    first, second = bot("keys", "new"), bot("keys", "new")
    assert len(base64.urlsafe_b64decode(first.stdout.strip() + "=")) == 32
    assert first.stdout.count("\n") == 1
    assert first.stdout != second.stdout
    assert first.stderr == ""


def sealed_with(bot: Operator) -> set[str]:
    """The ids of the keys with which tokens and tickets are sealed."""
    with closing(sqlite3.connect(bot.directory / "bot.db")) as connection:
        rows = connection.execute(
            "SELECT access_token FROM grants UNION ALL SELECT ticket FROM authorization_requests"
        )
        return {text.split(".")[1] for (text,) in rows}


def test_rotating_seals_everything_with_the_first_key(busy_bot: Operator) -> None:
    before, new = sealed_with(busy_bot), busy_bot("keys", "new").stdout.strip()
    both = f"{new},{busy_bot.key}"
    done = busy_bot("keys", "rotate", BOT_ENCRYPTION_KEYS=both)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Re-encrypted" in done.stdout
    assert sealed_with(busy_bot).isdisjoint(before)
    assert busy_bot("keys", "rotate", BOT_ENCRYPTION_KEYS=new).returncode == 0


def test_rotating_without_the_old_key_is_refused(busy_bot: Operator) -> None:
    before, new = sealed_with(busy_bot), busy_bot("keys", "new").stdout.strip()
    done = busy_bot("keys", "rotate", BOT_ENCRYPTION_KEYS=new)
    assert done.returncode == 2
    assert "BOT_ENCRYPTION_KEYS" in one_line(done)
    assert sealed_with(busy_bot) == before


def test_rotating_needs_keys(busy_bot: Operator) -> None:
    done = busy_bot("keys", "rotate", BOT_ENCRYPTION_KEYS="")
    assert done.returncode == 2
    assert "BOT_ENCRYPTION_KEYS" in one_line(done)


# --- what operators ask --------------------------------------------------------------------------------------

QUESTIONS = [
    *(("status",), ("users",), ("requests",), ("calls",), ("audit",), ("errors",), ("stats",)),
    ("explain", ANNA.open_id),
]


@pytest.mark.parametrize("question", QUESTIONS)
def test_an_answer_fits_a_terminal_and_obeys_nobody(busy_bot: Operator, question: tuple[str, ...]) -> None:
    done = busy_bot(*question)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(cli_output.width(line) <= 100 for line in done.stdout.splitlines()), done.stdout
    assert done.stdout.replace("\n", "").isprintable()


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_question_has_an_answer_in_json(busy_bot: Operator, question: tuple[str, ...]) -> None:
    done = busy_bot(*question, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) or question == ("errors",)


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("form", [(), ("--json",)])
def test_no_answer_holds_a_secret_or_what_people_wrote(
    busy_bot: Operator, question: tuple[str, ...], form: tuple[str, ...]
) -> None:
    told = busy_bot(*question, *form).stdout
    assert not [
        each
        for each in ("access-token-1", "refresh-token-1", "ticket-x", "v1.", "private words")
        if each in told
    ]


@pytest.mark.parametrize(
    "question", [each for each in QUESTIONS if each[0] not in {"explain", "stats", "status"}]
)
def test_where_there_is_nothing_the_answer_says_so(bot: Operator, question: tuple[str, ...]) -> None:
    upgrade(bot.url)
    assert bot(*question).stdout == "none\n"
    assert bot(*question, "--json").stdout == "[]\n"


def test_looking_neither_waits_for_a_write_nor_holds_one_up(busy_bot: Operator) -> None:
    connection = sqlite3.connect(busy_bot.directory / "bot.db", isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    done = busy_bot("users")
    connection.execute("ROLLBACK")
    connection.close()
    assert (done.returncode, done.stderr) == (0, "")


def test_looking_needs_no_key(busy_bot: Operator) -> None:
    assert busy_bot("calls", BOT_ENCRYPTION_KEYS="").returncode == 0


def test_what_waits_and_for_what_is_told(busy_bot: Operator) -> None:
    assert "doc" in busy_bot("calls").stdout
    assert "docx:document:readonly" in busy_bot("requests").stdout
    assert "蓝薇" in busy_bot("users").stdout
    assert "granted" in busy_bot("audit").stdout


@pytest.mark.parametrize("name", [ANNA.open_id, str(ANNA), "ou_1a2b", "on_1"])
def test_a_person_is_found_by_any_of_their_names(busy_bot: Operator, name: str) -> None:
    story = json.loads(busy_bot("explain", name, "--json").stdout)
    assert story["user"]["user_key"] == str(ANNA)
    assert story["grant"]["scopes"] == ["task:task:read"]
    assert story["open_request"]["scopes"] == ["docx:document:readonly", "offline_access"]


def test_nobody_and_too_many_are_one_line_each(busy_bot: Operator) -> None:
    nobody, many = busy_bot("explain", "ou_nobody"), busy_bot("explain", "ou_1a")
    assert (nobody.returncode, many.returncode) == (1, 1)
    assert "`bot users`" in one_line(nobody)
    assert ANNA.open_id in one_line(many)


def test_a_list_that_is_cut_says_so(busy_bot: Operator) -> None:
    done = busy_bot("users", "--limit", "1", "--wide")
    assert "--limit" in done.stderr
    assert len(done.stdout.splitlines()) == 2


# --- tables --------------------------------------------------------------------------------------------------


def test_columns_are_aligned_also_under_chinese_names() -> None:
    rows: list[Mapping[str, object]] = [{"name": "蓝薇", "n": 1}, {"name": "Anna", "n": None}]
    assert cli_output.table(rows) == "name  n\n蓝薇  1\nAnna  -"


@pytest.mark.parametrize("width", [50, 72, 100, 160])
def test_a_table_that_is_too_wide_wraps_and_cuts_nothing(width: int) -> None:
    rows: list[Mapping[str, object]] = [
        {"id": "a" * 20 + "b" * 20, "words": "much to tell " * 10, "name": "很长的名字" * 20, "at": NOW}
    ]
    text = cli_output.table(rows, room=cli_output.Layout(width))
    assert all(cli_output.width(line) <= width for line in text.splitlines()), text
    assert "a" * 20 + "b" * 20 in text
    assert f"{NOW:%Y-%m-%d %H:%M:%S}Z" in text
    assert text.count("much") == text.count("tell") == 10
    assert sum(text.count(character) for character in "很长的名字") == 100


def test_a_requirement_reads_as_alternatives() -> None:
    assert cli_output.shown([["a:read", "a:write"], ["b"]]) == "(a:read or a:write) and b"

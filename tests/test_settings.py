"""The settings: what is accepted, what each problem says, and that nothing repeats a secret."""

import base64
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from bot import settings
from bot.core.errors import ConfigurationError
from bot.core.secrets import Secret

KEY = base64.urlsafe_b64encode(bytes(range(32))).decode()
ENOUGH = {"LARK_APP_ID": "cli_a", "LARK_APP_SECRET": "hush-hush", "BOT_ENCRYPTION_KEYS": KEY}


def load(**changed: str) -> settings.Settings:
    return settings.load({**ENOUGH, **changed})


def lark(**changed: str) -> settings.LarkSettings:
    loaded = load(**changed).lark
    assert loaded is not None
    return loaded


def problems_of(environ: dict[str, str]) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        settings.load(environ)
    return caught.value.problems


def test_three_variables_are_enough() -> None:
    loaded, own = load(), lark()
    assert own.app_id == "cli_a"
    assert own.app_secret == Secret("hush-hush")
    assert own.open_url == "https://open.larksuite.com"
    assert own.applink_url == "https://applink.larksuite.com"
    assert loaded.public_url == "http://localhost:8080"
    assert loaded.database_url == "sqlite+aiosqlite:///bot.db"
    assert loaded.authorization_ttl == timedelta(minutes=10)
    assert loaded.deferred_ttl == timedelta(days=1)
    assert (own.events, own.oauth, loaded.auto_migrate, loaded.admins) == ("websocket", "v2", True, ())
    assert loaded.warnings == ()


def test_the_brand_picks_the_origins_that_are_not_given() -> None:
    loaded = lark(LARK_BRAND="Feishu", LARK_OPEN_URL="http://127.0.0.1:9000")
    assert loaded.open_url == "http://127.0.0.1:9000"
    assert loaded.accounts_url == "https://accounts.feishu.cn"
    assert loaded.applink_url == "https://applink.feishu.cn"


@pytest.mark.parametrize("name", ["BOT_RETENTION_DAYS", "BOT_AUDIT_RETENTION_DAYS"])
def test_a_retention_is_whole_days(name: str) -> None:
    loaded = load()
    assert (loaded.retention, loaded.audit_retention) == (timedelta(days=30), timedelta(days=365))
    field = "retention" if name == "BOT_RETENTION_DAYS" else "audit_retention"
    for written, days in (("1", 1), (" 90 ", 90), ("36500", 36_500)):
        assert getattr(load(**{name: written}), field) == timedelta(days=days)
    for wrong in ("0", "-1", "36501", "1.5", "30d", "forever", "٣", "9" * 30):
        (line,) = problems_of({**ENOUGH, name: wrong})
        assert line.startswith(f"{name}: ")
        assert "whole days" in line


def test_the_metrics_port_is_another_port() -> None:
    assert load().metrics_port is None
    assert load(BOT_METRICS_PORT="").metrics_port is None
    assert load(BOT_METRICS_PORT="9090").metrics_port == 9090
    assert load(BOT_METRICS_PORT="0", BOT_PORT="0").metrics_port == 0
    for same in ({"BOT_METRICS_PORT": "8080"}, {"BOT_METRICS_PORT": "9090", "BOT_PORT": "9090"}):
        (line,) = problems_of({**ENOUGH, **same})
        assert line.startswith("BOT_METRICS_PORT is the port of BOT_PORT")
    for wrong in ("65536", "-1", "http", "9090 9091", "٣", "0x50"):
        (line,) = problems_of({**ENOUGH, "BOT_METRICS_PORT": wrong})
        assert line.startswith("BOT_METRICS_PORT: ")


def test_explicitly_empty_means_something_only_where_the_table_says_so() -> None:
    loaded = load(BOT_PUBLIC_URL="", LARK_APPLINK_URL="  ", BOT_PORT="", LARK_ENCRYPT_KEY="", BOT_ADMINS="")
    assert loaded.public_url is None
    assert loaded.lark is not None
    assert loaded.lark.applink_url is None
    assert loaded.port == 8080
    assert loaded.lark.encrypt_key is None
    assert loaded.admins == ()


def test_every_missing_variable_is_named_in_a_line_of_its_own() -> None:
    found = problems_of({"LARK_APP_SECRET": ""})
    assert [line.split()[0] for line in found] == ["LARK_APP_ID", "LARK_APP_SECRET", "BOT_ENCRYPTION_KEYS"]
    assert all("missing" in line and "\n" not in line for line in found)
    assert "`bot keys new`" in found[-1]


@pytest.mark.parametrize(
    ("name", "written", "says"),
    [
        ("LARK_BRAND", "slack", "lark or feishu"),
        ("LARK_OAUTH", "v4", "v3, v2 or v1"),
        ("LARK_EVENTS", "poll", "websocket or webhook"),
        ("BOT_LOG_FORMAT", "xml", "text or json"),
        ("BOT_LOG_LEVEL", "loud", "debug, info, warning, error or critical"),
        ("BOT_AUTO_MIGRATE", "1", "true or false"),
        ("BOT_PORT", "65536", "65535"),
        ("BOT_PORT", "http", "65535"),
        ("BOT_PORT", "٨٠٨٠", "65535"),
        ("BOT_DEFERRED_TTL", "0", "whole seconds, from 1"),
        ("BOT_DEFERRED_TTL", "1.5", "whole seconds, from 1"),
        ("BOT_DEFERRED_TTL", "10m", "whole seconds, from 1"),
        ("BOT_AUTHORIZATION_TTL", "-1", "whole seconds, from 1"),
        ("BOT_AUTHORIZATION_TTL", "9" * 40, "whole seconds, from 1"),
        ("BOT_TIME_ZONE", "Shanghai", "Asia/Shanghai"),
        ("BOT_TIME_ZONE", "UTC+8", "Asia/Shanghai"),
        ("BOT_TIME_ZONE", "../etc/passwd", "Asia/Shanghai"),
        ("BOT_TIME_ZONE", "Asia", "Asia/Shanghai"),
        ("BOT_ADMINS", "ou_a, Ada Meyer", "open_id"),
        ("BOT_ENCRYPTION_KEYS", "short", "`bot keys new`"),
        ("BOT_ENCRYPTION_KEYS", f"{KEY},{KEY[:-4]}", "key 2"),
        ("BOT_ENCRYPTION_KEYS", " , ", "`bot keys new`"),
        ("LARK_APP_SECRET", "two words", "control character"),
        ("LARK_APP_ID", "cli_\x1b[2J", "control character"),
        ("BOT_PUBLIC_URL", "http://bot.example.com", "https://"),
        ("BOT_PUBLIC_URL", "https://bot.example.com/", "Write https://bot.example.com."),
        ("BOT_PUBLIC_URL", "https://bot.example.com/bot", "Write https://bot.example.com."),
        ("BOT_PUBLIC_URL", "https://bot.example.com?x=1", "Write https://bot.example.com."),
        ("BOT_PUBLIC_URL", "bot.example.com", "https://bot.example.com"),
        ("BOT_PUBLIC_URL", "https://", "https://bot.example.com"),
        ("BOT_PUBLIC_URL", "https://me:hush-hush@bot.example.com", "https://bot.example.com"),
        ("BOT_PUBLIC_URL", "https://bot.example.com:port", "https://bot.example.com"),
        ("BOT_PUBLIC_URL", "https://bot example.com", "https://bot.example.com"),
        ("BOT_PUBLIC_URL", 'https://bot"example.com', "https://bot.example.com"),
        ("BOT_PUBLIC_URL", "ftp://localhost", "https://bot.example.com"),
        ("BOT_PUBLIC_URL", "http://localhost.example.com", "https://"),
        ("BOT_PUBLIC_URL", "http://bot.localhost", "https://"),
        ("BOT_PUBLIC_URL", "http://localhost.:8080", "https://"),
        ("LARK_OPEN_URL", "http://open.localhost:9000", "https://"),
        ("LARK_JSSDK_URL", "https://cdn.example", "https://host/path.js"),
        ("LARK_JSSDK_URL", "https://cdn.example/", "https://host/path.js"),
        ("LARK_JSSDK_URL", "https://cdn.example/sdk/", "https://host/path.js"),
        ("LARK_JSSDK_URL", "https://cdn.example/sdk.js;report-uri", "https://host/path.js"),
        ("LARK_JSSDK_URL", "https://cdn.example/sdk.js,https:", "https://host/path.js"),
        ("LARK_JSSDK_URL", "https://cdn.example/sdk'self'.js", "https://host/path.js"),
        ("LARK_JSSDK_URL", "http://cdn.example/sdk.js", "https://"),
        ("LARK_JSSDK_URL", "https://cdn.example/sdk.js#top", "sha384-…"),
        ("LARK_JSSDK_URL", "https://cdn.example/sdk.js#", "sha384-…"),
        ("LARK_JSSDK_URL", "https://cdn.example/sdk.js#md5-abc", "sha384-…"),
        ("BOT_DATABASE_URL", "postgresql+psycopg2://u:hush-hush@h/d", "Start it with postgresql+asyncpg://"),
        ("BOT_DATABASE_URL", "sqlite+pysqlite:///bot.db", "Start it with sqlite+aiosqlite://"),
        ("BOT_DATABASE_URL", "sqlite+aiosqlite://", "sqlite:///bot.db"),
        ("BOT_DATABASE_URL", "sqlite:///:memory:", "sqlite:///bot.db"),
        ("BOT_DATABASE_URL", "mysql://u:hush-hush@h/d", "postgresql://USER@HOST/NAME"),
        ("BOT_DATABASE_URL", "bot.db", "sqlite:///FILE"),
        ("BOT_DATABASE_URL", "postgres://bot:hush-hush@p@h/d", "%40"),
        ("BOT_DATABASE_URL", "postgres://bot:hush-hush/p@h/d", "%2F"),
        ("BOT_DATABASE_URL", "postgres://bot:hush-hush:p@h/d", "%3A"),
        ("BOT_DATABASE_URL", "postgres://bot:hush-hush#p@h/d", "%23"),
        ("BOT_DATABASE_URL", "postgres://bot:1?hush-hush@h/d", "%3F"),
        ("BOT_DATABASE_URL", "postgres://bot:1?hush-hush=@h/d", "%3F"),
        ("BOT_DATABASE_URL", "postgres://bot:hush-hush%p@h/d", "%25"),
        ("BOT_DATABASE_URL", "postgres://bot:hush-hush p@h/d", "%40"),
        ("BOT_DATABASE_URL", "postgres://bot:hush-hush@h:99999/d", "65535"),
        ("BOT_DATABASE_URL", "sqlite:///bot.db?mode=ro", "Remove the ?"),
        ("BOT_DATABASE_URL", "postgres://bot@h/d?pgbouncer=true", "session mode"),
        ("BOT_DATABASE_URL", "postgres://bot@h/d?sslmode=require&channel_binding=require", "verify-full"),
        ("BOT_DATABASE_URL", "postgres://bot@h/d?sslmode=on", "an invalid value of sslmode"),
        (
            "BOT_DATABASE_URL",
            "postgres://bot@h/d?connect_timeout=soon",
            "an invalid value of connect_timeout",
        ),
        ("BOT_DATABASE_URL", "postgres://bot@h/d?keepalives=1", "has keepalives, which"),
        ("BOT_DATABASE_URL", "postgres://bot@h/d?Hush-Hush=1", "an option, which"),
        ("LARK_APP_ID", '"cli_a"', "quotes around its value"),
        ("BOT_PUBLIC_URL", "'https://bot.example.com'", "quotes around its value"),
        ("LARK_APP_SECRET", "“hush-hush”", "quotes around its value"),
        ("BOT_PORT", "tcp://10.0.12.7:8080", "enableServiceLinks"),
        ("BOT_METRICS_PORT", "tcp://10.0.12.7:9090", "Service named 'bot-metrics'"),
        ("BOT_HOST", "udp://[fd00::1]:53", "enableServiceLinks"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_the_variable_and_how_to_fix_it(
    name: str, written: str, says: str
) -> None:
    (line,) = problems_of({**ENOUGH, name: written})
    assert line.startswith(name)
    assert says in line
    assert line.isprintable()
    assert "hush-hush" not in line


def test_a_script_can_be_named_with_its_integrity() -> None:
    for url in ("https://cdn.example/sdk.js", f"https://cdn.example/a/sdk.js?v=1#sha384-{'x' * 64}"):
        assert lark(LARK_JSSDK_URL=url).jssdk_url == url


@pytest.mark.parametrize(
    "origin",
    [
        "https://bot.example.com",
        "https://bot.example.com:8443",
        "http://localhost:1",
        "http://127.9.9.9",
        "http://[::1]:81",
    ],
)
def test_an_origin_is_https_or_loopback(origin: str) -> None:
    assert load(BOT_PUBLIC_URL=origin).public_url == origin


def test_an_origin_is_kept_as_browsers_write_it() -> None:
    assert load(BOT_PUBLIC_URL=" HTTPS://Bot.Example.COM ").public_url == "https://bot.example.com"
    assert load(BOT_PUBLIC_URL="https://bot.example.com:443").public_url == "https://bot.example.com"
    assert load(BOT_PUBLIC_URL="http://[::1]:80").public_url == "http://[::1]"
    assert load(BOT_PUBLIC_URL="https://bot.example.com:80").public_url == "https://bot.example.com:80"


def test_a_webhook_needs_the_encrypt_key() -> None:
    (line,) = problems_of({**ENOUGH, "LARK_EVENTS": "webhook"})
    assert line.startswith("LARK_ENCRYPT_KEY is missing")
    assert lark(LARK_EVENTS="webhook", LARK_ENCRYPT_KEY="k").encrypt_key == Secret("k")


DINGTALK = {"DINGTALK_CLIENT_ID": "dinga", "DINGTALK_CLIENT_SECRET": "hush-hush", "DINGTALK_CORP_ID": "dingc"}
DINGTALK_ENOUGH = {**DINGTALK, "BOT_ENCRYPTION_KEYS": KEY}


def test_either_platform_is_enough_and_both_can_be_served() -> None:
    alone = settings.load(DINGTALK_ENOUGH)
    assert alone.lark is None
    assert alone.dingtalk is not None
    assert (alone.dingtalk.client_id, alone.dingtalk.client_secret) == ("dinga", Secret("hush-hush"))
    assert alone.dingtalk.robot_code == "dinga"
    assert (alone.dingtalk.events, alone.dingtalk.card_template_id) == ("stream", None)
    assert alone.dingtalk.api_url == "https://api.dingtalk.com"
    assert alone.dingtalk.oapi_url == "https://oapi.dingtalk.com"
    assert alone.dingtalk.login_url == "https://login.dingtalk.com"
    assert load().dingtalk is None
    both = load(**DINGTALK, DINGTALK_ROBOT_CODE="dingr")
    assert both.lark is not None
    assert both.dingtalk is not None
    assert both.dingtalk.robot_code == "dingr"


@pytest.mark.parametrize(
    "others", [{}, ENOUGH, {"DINGTALK_EVENTS": "webhook"}], ids=["alone", "both", "webhook"]
)
def test_dingtalk_needs_an_address_that_browsers_reach(others: dict[str, str]) -> None:
    (problem,) = problems_of({**DINGTALK_ENOUGH, **others, "BOT_PUBLIC_URL": ""})
    assert problem.startswith("BOT_PUBLIC_URL is empty, and DingTalk")


@pytest.mark.parametrize("admins", ["0171262537", "manager4220", "a.b@corp", "ou_ada,sam-0107"])
def test_administrators_are_named_by_the_ids_of_either_platform(admins: str) -> None:
    assert settings.load({**DINGTALK_ENOUGH, "BOT_ADMINS": admins}).admins == tuple(admins.split(","))


@pytest.mark.parametrize("absent", [*DINGTALK, "LARK_APP_ID", "LARK_APP_SECRET"])
def test_a_platform_of_which_a_credential_is_missing_is_one_line(absent: str) -> None:
    given_all = {**ENOUGH, **DINGTALK}
    del given_all[absent]
    (line,) = problems_of(given_all)
    assert line.startswith(f"{absent} is missing. Copy it from ")


def test_without_any_credentials_both_ways_are_named() -> None:
    first, *_ = problems_of({"BOT_ENCRYPTION_KEYS": KEY, "DINGTALK_EVENTS": "webhook"})
    assert first.startswith("LARK_APP_ID is missing.")
    assert first.endswith("set DINGTALK_CLIENT_ID, DINGTALK_CLIENT_SECRET and DINGTALK_CORP_ID.")


@pytest.mark.parametrize(
    ("name", "written", "says"),
    [
        ("DINGTALK_EVENTS", "websocket", "stream or webhook"),
        ("DINGTALK_API_URL", "http://api.dingtalk.com", "https://"),
        ("DINGTALK_OAPI_URL", "https://oapi.dingtalk.com/", "Write https://oapi.dingtalk.com."),
        ("DINGTALK_LOGIN_URL", "login.dingtalk.com", "https://bot.example.com"),
        ("DINGTALK_JSAPI_URL", "https://cdn.example/", "https://host/path.js"),
        ("DINGTALK_CLIENT_SECRET", "two words hush-hush", "control character"),
        ("DINGTALK_CORP_ID", '"dingc"', "quotes around its value"),
    ],
)
def test_a_wrong_value_of_the_other_platform_is_one_line_too(name: str, written: str, says: str) -> None:
    (line,) = problems_of({**DINGTALK_ENOUGH, name: written})
    assert line.startswith(name)
    assert says in line
    assert "hush-hush" not in line


@pytest.mark.parametrize(
    ("given_enough", "left_over"),
    [(ENOUGH, "DINGTALK_EVENTS"), (DINGTALK_ENOUGH, "LARK_EVENTS"), (DINGTALK_ENOUGH, "LARK_ENCRYPT_KEY")],
)
def test_a_setting_of_a_platform_that_is_not_served_is_a_warning(
    given_enough: dict[str, str], left_over: str
) -> None:
    (line,) = settings.load({**given_enough, left_over: "webhook"}).warnings
    assert line.startswith(f"{left_over} is ignored")


def test_all_problems_are_told_at_once() -> None:
    found = problems_of({"LARK_BRAND": "x", "BOT_PORT": "x", "LARK_EVENTS": "webhook"})
    assert len(found) == 6


def test_several_keys_and_admins_are_separated_by_commas() -> None:
    loaded = load(BOT_ENCRYPTION_KEYS=f" {KEY} ,{KEY.rstrip('=')},", BOT_ADMINS="ou_a, ou_b")
    assert [each.reveal() for each in loaded.encryption_keys] == [KEY, KEY.rstrip("=")]
    assert loaded.admins == ("ou_a", "ou_b")


def test_a_misspelt_variable_is_a_warning_with_the_nearest_name() -> None:
    loaded = load(BOT_DATABASE_URI="x", LARK_ZZZZ="x", PATH="x")
    assert loaded.warnings == (
        "BOT_DATABASE_URI is not a setting, and is ignored. Did you mean BOT_DATABASE_URL?",
        "LARK_ZZZZ is not a setting, and is ignored.",
    )


def test_an_operators_command_asks_for_no_credentials_and_minds_no_other_mistake() -> None:
    loaded = settings.load_for_operator(
        {"LARK_BRAND": "nonsense", "BOT_DATABASE_URL": "sqlite+aiosqlite:///x.db"}
    )
    assert loaded.database_url == "sqlite+aiosqlite:///x.db"
    assert loaded.encryption_keys == ()
    with pytest.raises(ConfigurationError, match="BOT_DATABASE_URL"):
        settings.load_for_operator({"BOT_DATABASE_URL": "x.db"})


def test_service_links_of_kubernetes_are_one_warning() -> None:
    links = {
        f"BOT_{name}": "x"
        for name in (
            "SERVICE_HOST",
            "SERVICE_PORT",
            "PORT_8080_TCP",
            "PORT_8080_TCP_ADDR",
            "DB_PORT_5432_TCP_PROTO",
        )
    }
    (line,) = load(**links).warnings
    assert "Kubernetes" in line
    assert "enableServiceLinks: false" in line


def test_settings_show_no_secret() -> None:
    shown = repr(
        load(
            LARK_ENCRYPT_KEY="hush-hush",
            LARK_VERIFICATION_TOKEN="hush-hush",
            BOT_DATABASE_URL="postgresql+asyncpg://bot:hush-hush@localhost/bot",
        )
    )
    assert "hush-hush" not in shown
    assert KEY not in shown


def test_the_real_environment_wins_over_the_dotenv_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text(
        "LARK_APP_ID=cli_file\nLARK_APP_SECRET='a${HOME}$b'\nBOT_HOST\n", encoding="utf-8"
    )
    monkeypatch.setenv("LARK_APP_ID", "cli_real")
    monkeypatch.delenv("LARK_APP_SECRET", raising=False)
    found = settings.environment(tmp_path)
    assert found["LARK_APP_ID"] == "cli_real"
    assert found["LARK_APP_SECRET"] == "a${HOME}$b"
    assert "BOT_HOST" not in found


def test_without_a_dotenv_file_the_environment_is_all(tmp_path: Path) -> None:
    assert settings.environment(tmp_path) == dict(os.environ)


def test_a_dotenv_file_that_cannot_be_read_is_a_problem_in_one_line(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"BOT_HOST=\xff\xfe\n")
    with pytest.raises(ConfigurationError, match=r"^\.env cannot be read"):
        settings.environment(tmp_path)


def warnings_of(directory: Path) -> tuple[str, ...]:
    return settings.load_for_operator(settings.environment(directory)).warnings


@pytest.mark.parametrize(
    ("written", "mode", "says"),
    [
        ("LARK_APP_SECRET=s", 0o644, "read by every user"),
        (f"BOT_ENCRYPTION_KEYS={KEY}", 0o604, "read by every user"),
        ("BOT_DATABASE_URL=postgresql+asyncpg://bot:pw@db/bot", 0o666, "changed by every user"),
        ("LARK_ENCRYPT_KEY=k", 0o602, "changed by every user"),
    ],
)
def test_a_dotenv_file_with_a_secret_that_everybody_can_read_is_a_warning(
    tmp_path: Path, written: str, mode: int, says: str
) -> None:
    file = tmp_path / ".env"
    file.write_text(written, encoding="utf-8")
    file.chmod(mode)
    (line,) = warnings_of(tmp_path)
    assert line.startswith(".env can be ")
    assert says in line
    assert "chmod o-rwx .env" in line
    file.chmod(0o640)
    assert warnings_of(tmp_path) == ()


def test_a_dotenv_file_without_a_secret_may_be_read(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("BOT_PORT=1\n", encoding="utf-8")
    (tmp_path / ".env").chmod(0o644)
    assert warnings_of(tmp_path) == ()


def test_a_database_that_everybody_can_read_is_a_warning(tmp_path: Path) -> None:
    file = tmp_path / "bot.db"
    file.touch()
    file.chmod(0o644)
    url = f"sqlite+aiosqlite:///{file}"
    (line,) = settings.exposed_database(url)
    assert "bot.db can be read by every user" in line
    file.chmod(0o640)
    assert not [*settings.exposed_database(url)]
    file.unlink()
    assert not [*settings.exposed_database(url)]
    assert not [*settings.exposed_database("postgresql+asyncpg://bot@db/bot")]


@pytest.mark.parametrize(
    "name",
    [
        *("LARK_OPEN_URL", "LARK_ACCOUNTS_URL", "LARK_APPLINK_URL", "LARK_BRAND", "LARK_JSSDK_URL"),
        *("DINGTALK_API_URL", "DINGTALK_OAPI_URL", "DINGTALK_LOGIN_URL", "DINGTALK_JSAPI_URL"),
        *("BOT_PUBLIC_URL", "BOT_DATABASE_URL", "BOT_ADMINS"),
    ],
)
def test_a_dotenv_file_that_directs_a_secret_of_the_environment_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    values = {
        "BOT_DATABASE_URL": "sqlite+aiosqlite:///other.db",
        "LARK_JSSDK_URL": "https://other/x.js",
        "LARK_BRAND": "feishu",
        "BOT_ADMINS": "ou_other",
    }
    written = values.get(name, "https://other.example.com")
    (tmp_path / ".env").write_text(f"{name}={written}\n", encoding="utf-8")
    (tmp_path / ".env").chmod(0o600)
    monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("BOT_ENCRYPTION_KEYS", raising=False)
    monkeypatch.setenv("LARK_APP_SECRET", "s")
    (line,) = warnings_of(tmp_path)
    assert line.startswith(f"{name} comes from .env while LARK_APP_SECRET comes from the environment")
    # Both in one place: a person who can write the file already knows the secret.
    monkeypatch.delenv("LARK_APP_SECRET")
    assert warnings_of(tmp_path) == ()


PLATFORM_SECRETS = {
    "LARK_APP_SECRET": "hush-hush",
    "LARK_ENCRYPT_KEY": "hush-hush",
    "LARK_VERIFICATION_TOKEN": "hush-hush",
    "DINGTALK_CLIENT_SECRET": "hush-hush",
    "BOT_ENCRYPTION_KEYS": KEY,
    "BOT_DATABASE_URL": "postgresql://bot:hush-hush@db/bot",
}
"""A value for each secret."""


def with_file(name: str, file: Path | str) -> dict[str, str]:
    """Enough settings, with one secret in a file."""
    given_all = {**ENOUGH, **DINGTALK}
    given_all.pop(name, None)
    return {**given_all, f"{name}_FILE": str(file)}


def secret_values(loaded: settings.Settings) -> dict[str, str]:
    """Every secret of the settings, by the name of its variable."""
    found: dict[str, str] = {}
    for each in settings.TABLE:
        holder = next((h for h in (loaded.lark, loaded.dingtalk, loaded) if hasattr(h, each.field)), None)
        value = getattr(holder, each.field, None)
        if each.name in settings.SECRETS and value:
            keys = value if isinstance(value, tuple) else (value,)
            found[each.name] = ",".join(key.reveal() if isinstance(key, Secret) else key for key in keys)
    return found


def test_every_secret_can_be_in_a_file() -> None:
    assert PLATFORM_SECRETS.keys() == set(settings.SECRETS)
    secret_fields = {
        each.name
        for each in settings.TABLE
        if each.parse is settings._secret or each.field in {"encryption_keys", "database_url"}
    }
    assert secret_fields == set(settings.SECRETS)


@pytest.mark.parametrize("name", settings.SECRETS)
@pytest.mark.parametrize(
    "written", ["{}", "{}\n", "{}\r\n", "\ufeff{}\n\n"], ids=["bare", "newline", "Windows", "byte order mark"]
)
def test_a_secret_is_read_from_its_file(tmp_path: Path, name: str, written: str) -> None:
    (tmp_path / "secret").write_bytes(written.format(PLATFORM_SECRETS[name]).encode())
    (tmp_path / "secret").chmod(0o600)
    loaded = settings.load(with_file(name, tmp_path / "secret"))
    assert secret_values(loaded)[name] == PLATFORM_SECRETS[name]
    assert loaded.warnings == ()


def test_the_credentials_of_a_platform_may_all_be_in_files(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hush-hush\n")
    (tmp_path / "secret").chmod(0o600)
    given_all = {**ENOUGH, "LARK_APP_SECRET_FILE": str(tmp_path / "secret")}
    del given_all["LARK_APP_SECRET"]
    assert secret_values(settings.load(given_all))["LARK_APP_SECRET"] == "hush-hush"


@pytest.mark.parametrize("name", settings.SECRETS)
def test_a_secret_and_its_file_at_once_are_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text(PLATFORM_SECRETS[name])
    both = with_file(name, tmp_path / "secret") | {name: PLATFORM_SECRETS[name]}
    (line,) = problems_of(both)
    assert line == f"{name} and {name}_FILE are both set. Unset one of them."
    both[name] = " "
    assert settings.load(both)


@pytest.mark.parametrize("name", settings.SECRETS)
@pytest.mark.parametrize(
    ("prepare", "says"),
    [
        (lambda file: None, "No such file or directory"),
        (lambda file: file.mkdir(), "Is a directory"),
        (lambda file: file.touch(), "is empty"),
        (lambda file: file.write_text(" \n\n"), "is empty"),
        (lambda file: file.write_bytes(b"hush-hush\xff"), "UTF-8"),
        (lambda file: file.write_text("hush-hush" * 10_000), "too large"),
        (lambda file: file.symlink_to("/dev/zero"), "too large"),
        (lambda file: file.symlink_to(file), "symbolic links"),
    ],
    ids=["absent", "folder", "empty", "blank", "binary", "large", "endless", "circle"],
)
def test_a_file_without_a_secret_is_one_line_that_names_the_variable(
    tmp_path: Path, name: str, prepare: Callable[[Path], object], says: str
) -> None:
    prepare(tmp_path / "secret")
    (line,) = problems_of(with_file(name, tmp_path / "secret"))
    assert line.startswith(f"{name}_FILE: the file ")
    assert says in line
    assert "hush-hush" not in line


@pytest.mark.parametrize("name", settings.SECRETS)
def test_a_secret_in_place_of_the_name_of_its_file_is_not_repeated(name: str) -> None:
    for value in (PLATFORM_SECRETS[name], "hush-hush" * 1000, "hush-hush\0"):
        (line,) = problems_of(with_file(name, value))
        assert line.startswith(f"{name}_FILE: the file cannot be read (")
        assert value not in line
        assert "hush-hush" not in line


@pytest.mark.parametrize("written", ["two hush-hush words", '"hush-hush"', "one\nhush-hush"])
def test_a_wrong_value_in_a_file_is_one_line_that_names_the_variable(tmp_path: Path, written: str) -> None:
    (tmp_path / "secret").write_text(written)
    for name in settings.SECRETS:
        (line,) = problems_of(with_file(name, tmp_path / "secret"))
        assert line.startswith(f"{name}: ")
        assert "hush-hush" not in line


def test_only_a_secret_can_be_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "port").write_text("81")
    loaded = load(BOT_PORT_FILE=str(tmp_path / "port"), LARK_APP_SECRET_FIL="x")
    assert loaded.port == 8080
    assert [line.partition(",")[0] for line in loaded.warnings] == [
        "BOT_PORT_FILE is not a setting",
        "LARK_APP_SECRET_FIL is not a setting",
    ]


def test_an_operators_command_reads_only_the_files_that_it_needs(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("sqlite:///x.db\n")
    loaded = settings.load_for_operator(
        {"BOT_DATABASE_URL_FILE": str(tmp_path / "url"), "LARK_APP_SECRET_FILE": str(tmp_path / "none")}
    )
    assert loaded.database_url == "sqlite:///x.db"


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o606])
def test_a_file_of_a_secret_that_everybody_can_read_is_a_warning(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "app_secret"
    file.write_text("hush-hush")
    file.chmod(mode)
    (line,) = settings.load(with_file("LARK_APP_SECRET", file)).warnings
    assert line.startswith("app_secret can be ")
    assert "chmod o-rwx app_secret" in line
    file.chmod(0o640)
    assert settings.load(with_file("LARK_APP_SECRET", file)).warnings == ()


@pytest.mark.parametrize("name", ["LARK_OPEN_URL", "BOT_DATABASE_URL_FILE"])
def test_a_dotenv_file_that_directs_a_secret_from_a_file_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "url").write_text("sqlite:///other.db")
    (tmp_path / "url").chmod(0o600)
    value = str(tmp_path / "url") if name.endswith("_FILE") else "https://other.example.com"
    (tmp_path / ".env").write_text(f"{name}={value}\n", encoding="utf-8")
    for each in (*settings.SECRETS, name):
        monkeypatch.delenv(each, raising=False)
    monkeypatch.setenv("LARK_APP_SECRET_FILE", "/run/secrets/app_secret")
    (line,) = warnings_of(tmp_path)
    assert line.startswith(f"{name} comes from .env while LARK_APP_SECRET_FILE comes from the environment")


VARIABLES = st.sampled_from(
    [each.name for each in settings.TABLE] + [*settings.SECRET_FILES, "BOT_PUBLIC_URLS", "LARK_"]
)
VALUES = st.sampled_from(
    [
        "",
        "http://",
        "https://[",
        "https://a:b@c",
        "http://localhost:99999",
        "sqlite+aiosqlite://",
        "-1",
        "9" * 30,
        ",,",
    ]
)


@given(
    environ=st.dictionaries(VARIABLES, VALUES | st.text(max_size=40), max_size=8),
    whole=st.booleans(),
    secret=st.text(),
)
def test_no_environment_makes_it_fail(environ: dict[str, str], whole: bool, secret: str) -> None:
    given_all = {**ENOUGH, **environ} if whole else environ
    given_all["LARK_APP_SECRET"] = hidden = f"hidden{secret}hidden"
    for read in (settings.load, settings.load_for_operator):
        said, problems = outcome_of(lambda read=read: read(given_all))
        assert hidden not in said
        assert all(line and line.isprintable() for line in problems)


def outcome_of(read: Callable[[], object]) -> tuple[str, tuple[str, ...]]:
    """What can be seen of the settings, or the problems with them."""
    try:
        return repr(read()), ()
    except ConfigurationError as error:
        return repr(error), error.problems


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(written=st.binary(max_size=80) | st.text("AB_='\"\\$ \n#{}", max_size=60).map(str.encode))
def test_no_dotenv_file_makes_it_fail(tmp_path: Path, written: bytes) -> None:
    (tmp_path / ".env").write_bytes(written)
    _, problems = outcome_of(lambda: settings.environment(tmp_path))
    assert all(line.startswith(".env cannot be read") for line in problems)

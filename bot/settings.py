"""The settings: one table that defines the parsing, the errors, the help and the README's table.

Values come from the environment, else from a `.env` file in the working directory. A secret may come from a file that a
variable names (see `secret_files`). Error messages contain no secret.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import difflib
import os
import re
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal
from urllib.parse import SplitResult, urlsplit

from bot.core.database_url import read_database_url
from bot.core.errors import ConfigurationError
from bot.core.network import VARIABLES, Network, is_loopback, read_network
from bot.core.secrets import Secret
from bot.core.times import find_zone
from bot.secret_files import UnusableFileError, file_variable, files_to_protect, is_given, read_secret

Brand = Literal["lark", "feishu"]
TokenEndpointVersion = Literal["v3", "v2", "v1"]
Ingress = Literal["websocket", "webhook"]
DingTalkIngress = Literal["stream", "webhook"]
LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error", "critical"]


@dataclass(frozen=True)
class OperatorSettings:
    """The settings of commands that only read the database: no credentials of the app."""

    database_url: str = field(repr=False)
    """May contain a password."""
    encryption_keys: tuple[Secret, ...]
    """The first seals, all open. Never empty for `bot run`; may be empty for an operator's command."""
    log_format: LogFormat
    log_level: LogLevel
    warnings: tuple[str, ...]
    """One line for each unknown variable with a prefix of ours, and for each exposed secret."""


@dataclass(frozen=True)
class LarkSettings:
    """An app on Lark or Feishu."""

    app_id: str
    app_secret: Secret
    brand: Brand
    open_url: str
    accounts_url: str
    applink_url: str | None
    """None: cards link straight to the bot."""
    jssdk_url: str
    oauth: TokenEndpointVersion
    events: Ingress
    encrypt_key: Secret | None
    verification_token: Secret | None


@dataclass(frozen=True)
class DingTalkSettings:
    """An app on DingTalk."""

    client_id: str
    client_secret: Secret
    corp_id: str
    robot_code: str
    card_template_id: str | None
    """None: plain action cards."""
    events: DingTalkIngress
    api_url: str
    oapi_url: str
    login_url: str
    jsapi_url: str


@dataclass(frozen=True)
class Settings(OperatorSettings):
    """The settings of `bot run`."""

    lark: LarkSettings | None
    dingtalk: DingTalkSettings | None
    """At least one platform is configured."""
    public_url: str | None
    """None: no browser can reach the bot."""
    host: str
    port: int
    metrics_port: int | None
    """None: `/metrics`, `/healthz` and `/readyz` are served on `port`, like everything else."""
    admins: tuple[str, ...]
    """Empty: the app's owner, if the platform names one."""
    auto_migrate: bool
    authorization_ttl: timedelta
    deferred_ttl: timedelta
    retention: timedelta
    """How long what is settled is kept."""
    audit_retention: timedelta
    network: Network
    """Proxies and certificate authorities of outgoing connections."""
    time_zone: str
    """IANA name: the time zone of users whose own is unknown."""


# --- parsers: from the text of a variable to its value; a ValueError says how to fix it --------------------


def _text(value: str) -> str:
    if any(character.isspace() or not character.isprintable() for character in value):
        raise ValueError("contains a space or a control character. Copy it again without them.")
    return value


def _secret(value: str) -> Secret:
    return Secret(_text(value))


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value.lower() not in choices:
            raise ValueError(f"{_shown(value)} is unknown. Write {_or(choices)}.")
        return value.lower()

    return parse


def _switch(value: str) -> bool:
    return _one_of("true", "false")(value) == "true"


def _port(value: str) -> int:
    if not _is_number(value) or int(value) > 65535:
        raise ValueError(f"{_shown(value)} is not a port. Write a number from 0 (any free one) to 65535.")
    return int(value)


_LONGEST_DURATION = 1_000_000_000
"""Seconds, some 31 years. Adding more to a time could exceed the range of datetime."""


def _duration(value: str) -> timedelta:
    if not _is_number(value) or not 1 <= int(value) <= _LONGEST_DURATION:
        raise ValueError(f"{_shown(value)} is not a duration. Write whole seconds, from 1.")
    return timedelta(seconds=int(value))


_LONGEST_RETENTION = 36_500
"""Days. More could exceed the range of the databases' times."""


def _days(value: str) -> timedelta:
    if not _is_number(value) or not 1 <= int(value) <= _LONGEST_RETENTION:
        raise ValueError(
            f"{_shown(value)} is not a number of days. Write whole days, from 1 to {_LONGEST_RETENTION}."
        )
    return timedelta(days=int(value))


def _is_number(value: str) -> bool:
    return value.isascii() and value.isdigit() and len(value) <= 12


def _time_zone(value: str) -> str:
    if find_zone(value) is None:
        raise ValueError(f"{_shown(value)} is not a time zone. Write an IANA name, such as Asia/Shanghai.")
    return value


DEFAULT_PORTS = {"https": ":443", "http": ":80"}


def _origin(value: str) -> str:
    parts = _web_address(value, example="https://bot.example.com")
    if parts.path or parts.query or parts.fragment or value.endswith(("/", "?", "#")):
        raise ValueError(
            f"is not an origin: it continues after the host. Write {parts.scheme}://{parts.netloc}."
        )
    # Browsers omit the default port, and the origin they send is compared with this value.
    return f"{parts.scheme}://{parts.netloc.lower().removesuffix(DEFAULT_PORTS[parts.scheme])}"


_INTEGRITY = re.compile(r"sha(256|384|512)-[A-Za-z0-9+/]{43,86}={0,2}")


def _script_url(value: str) -> str:
    """Return the URL, with its integrity as the fragment if given. Both are copied into a header and into HTML."""
    example = "https://host/path.js, or https://host/path.js#sha384-…"
    parts = _web_address(value, example=example)
    if (
        not re.fullmatch(r"/[!-~]*[^/]", parts.path)
        or re.search(r"[;,'\"<>\\]", value)
        or not value.isascii()
    ):
        raise ValueError(f"is not the address of a script. Write it like {example}.")
    if "#" in value and not _INTEGRITY.fullmatch(parts.fragment):
        raise ValueError("has a fragment that is not an integrity (sha256-…, sha384-… or sha512-…).")
    return parts.geturl()


def _web_address(value: str, *, example: str) -> SplitResult:
    try:
        parts = urlsplit(_text(value))
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError(f"is not a web address. Write it like {example}.") from None
    if parts.scheme not in {"http", "https"} or not host or "@" in parts.netloc or parts.netloc.endswith(":"):
        raise ValueError(f"is not a web address with a host. Write it like {example}.")
    if not re.fullmatch(r"[A-Za-z0-9.\-]+|[0-9A-Fa-f:.]+", host):
        raise ValueError(f"has a host that no browser would accept. Write it like {example}.")
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError("is plain http, which only a loopback host may have. Write https://.")
    return parts


def _database_url(value: str) -> str:
    read_database_url(value)
    return value


def _encryption_keys(value: str) -> tuple[Secret, ...]:
    keys = [key.strip() for key in value.split(",") if key.strip()]
    if not keys:
        raise ValueError("contains no key. Make one with `bot keys new`.")
    for place, key in enumerate(keys, start=1):
        if not _is_key(key):
            raise ValueError(f"key {place} is not base64url of 32 bytes. Make one with `bot keys new`.")
    return tuple(Secret(key) for key in keys)


def _is_key(text: str) -> bool:
    if not re.fullmatch(r"[A-Za-z0-9_-]+=*", text):
        return False
    bare = text.rstrip("=")
    try:
        return len(base64.urlsafe_b64decode(bare + "=" * (-len(bare) % 4))) == 32
    except binascii.Error:
        return False


def _user_ids(value: str) -> tuple[str, ...]:
    ids = tuple(part.strip() for part in value.split(",") if part.strip())
    for each in ids:
        if not re.fullmatch(r"[A-Za-z0-9_.@\-]+", each):
            raise ValueError(
                f"{_shown(each)} is not the id of a user. Write an open_id (ou_…) of Lark or Feishu, or a user ID of "
                "DingTalk, with commas between several."
            )
    return ids


def _shown(value: str) -> str:
    """Return a value for an error message: shortened, with control characters escaped."""
    return repr(value if len(value) <= 60 else value[:59] + "…")


def _or(choices: Iterable[str]) -> str:
    *others, last = choices
    return f"{', '.join(others)} or {last}"


def _and(names: Iterable[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}"


# --- the table ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One variable. `default` is in the form in which it is written, by brand where it depends on the brand."""

    name: str
    field: str
    parse: Callable[[str], object]
    meaning: str
    """In Markdown, for the README and the help."""
    default: str | Mapping[Brand, str] | None = None
    default_description: str = ""
    required: bool = False
    """Whether `bot run` requires it. A setting of a platform is required only if that platform is served."""
    fix: str = ""
    """What to do when it is missing."""
    may_be_empty: bool = False
    """Whether an explicitly empty value means None. Otherwise empty is the same as absent."""
    when_absent: object = None
    """The value when there is no default."""


LARK: tuple[Setting, ...] = (
    Setting(
        name="LARK_APP_ID",
        field="app_id",
        parse=_text,
        meaning="The app's id, `cli_…`.",
        required=True,
        default_description="required to serve Lark or Feishu",
        fix="Copy it from the developer console, Credentials & Basic Info.",
    ),
    Setting(
        name="LARK_APP_SECRET",
        field="app_secret",
        parse=_secret,
        meaning="The app's secret.",
        required=True,
        default_description="required to serve Lark or Feishu",
        fix="Copy it from the developer console, Credentials & Basic Info.",
    ),
    Setting(
        name="LARK_BRAND",
        field="brand",
        parse=_one_of("lark", "feishu"),
        meaning="`lark` or `feishu`: the brand under which the app is registered; selects the three origins below.",
        default="lark",
    ),
    Setting(
        name="LARK_OPEN_URL",
        field="open_url",
        parse=_origin,
        meaning="Origin of OpenAPI.",
        default={"lark": "https://open.larksuite.com", "feishu": "https://open.feishu.cn"},
    ),
    Setting(
        name="LARK_ACCOUNTS_URL",
        field="accounts_url",
        parse=_origin,
        meaning="Origin of the authorization page.",
        default={"lark": "https://accounts.larksuite.com", "feishu": "https://accounts.feishu.cn"},
    ),
    Setting(
        name="LARK_APPLINK_URL",
        field="applink_url",
        parse=_origin,
        meaning="Origin of AppLinks, by which a card opens its link beside the chat. "
        "Explicitly empty: cards link straight to the bot.",
        default={"lark": "https://applink.larksuite.com", "feishu": "https://applink.feishu.cn"},
        may_be_empty=True,
    ),
    Setting(
        name="LARK_JSSDK_URL",
        field="jssdk_url",
        parse=_script_url,
        meaning="The client's JavaScript SDK, for the page that authorizes inside the client. "
        "With `#sha384-…` appended, browsers run only that exact file (Subresource Integrity).",
        default="https://lf1-cdn-tos.bytegoofy.com/goofy/lark/op/h5-js-sdk-1.5.16.js",
        default_description="the platform's",
    ),
    Setting(
        name="LARK_OAUTH",
        field="oauth",
        parse=_one_of("v3", "v2", "v1"),
        meaning="Version of the token endpoint: `v3` (accounts origin, `/oauth/v3/token`), "
        "`v2` (open origin, `/open-apis/authen/v2/oauth/token`) or `v1` (OIDC).",
        default="v2",
    ),
    Setting(
        name="LARK_EVENTS",
        field="events",
        parse=_one_of("websocket", "webhook"),
        meaning="`websocket` (long connection: events need no public address) "
        "or `webhook` (`POST /lark/events`).",
        default="websocket",
    ),
    Setting(
        name="LARK_ENCRYPT_KEY",
        field="encrypt_key",
        parse=_secret,
        meaning="Encrypt Key of the event subscription.",
        default_description="required with `webhook`",
    ),
    Setting(
        name="LARK_VERIFICATION_TOKEN",
        field="verification_token",
        parse=_secret,
        meaning="Verification Token of the event subscription; compared when it is set.",
    ),
)

DINGTALK: tuple[Setting, ...] = (
    Setting(
        name="DINGTALK_CLIENT_ID",
        field="client_id",
        parse=_text,
        meaning="The app's Client ID, `ding…`.",
        required=True,
        default_description="required to serve DingTalk",
        fix="Copy it from the developer console, Credentials & Basic Information.",
    ),
    Setting(
        name="DINGTALK_CLIENT_SECRET",
        field="client_secret",
        parse=_secret,
        meaning="The app's Client Secret.",
        required=True,
        default_description="required to serve DingTalk",
        fix="Copy it from the developer console, Credentials & Basic Information.",
    ),
    Setting(
        name="DINGTALK_CORP_ID",
        field="corp_id",
        parse=_text,
        meaning="The organization's CorpId, `ding…`.",
        required=True,
        default_description="required to serve DingTalk",
        fix="Copy it from the home page of the developer console.",
    ),
    Setting(
        name="DINGTALK_ROBOT_CODE",
        field="robot_code",
        parse=_text,
        meaning="The bot's code.",
        default_description="the Client ID",
    ),
    Setting(
        name="DINGTALK_CARD_TEMPLATE_ID",
        field="card_template_id",
        parse=_text,
        meaning="Interactive card template with a markdown text, a status line and up to three buttons. "
        "Unset: plain action cards.",
    ),
    Setting(
        name="DINGTALK_EVENTS",
        field="events",
        parse=_one_of("stream", "webhook"),
        meaning="`stream` (a connection that the bot opens: events need no public address) "
        "or `webhook` (`POST /dingtalk/events` and `/dingtalk/cards`).",
        default="stream",
    ),
    Setting(
        name="DINGTALK_API_URL",
        field="api_url",
        parse=_origin,
        meaning="Origin of the API.",
        default="https://api.dingtalk.com",
    ),
    Setting(
        name="DINGTALK_OAPI_URL",
        field="oapi_url",
        parse=_origin,
        meaning="Origin of the older API, for looking up users.",
        default="https://oapi.dingtalk.com",
    ),
    Setting(
        name="DINGTALK_LOGIN_URL",
        field="login_url",
        parse=_origin,
        meaning="Origin of the authorization page.",
        default="https://login.dingtalk.com",
    ),
    Setting(
        name="DINGTALK_JSAPI_URL",
        field="jsapi_url",
        parse=_script_url,
        meaning="The client's JavaScript API, for the page that authorizes inside the client. "
        "With `#sha384-…` appended, browsers run only that exact file (Subresource Integrity).",
        default="https://g.alicdn.com/dingding/dingtalk-jsapi/3.0.25/dingtalk.open.js",
        default_description="the platform's",
    ),
)

BOT: tuple[Setting, ...] = (
    Setting(
        name="BOT_PUBLIC_URL",
        field="public_url",
        parse=_origin,
        meaning="Origin under which browsers reach the bot. Explicitly empty: no browser can, "
        "authorization uses the device flow (Lark and Feishu only).",
        default="http://localhost:8080",
        may_be_empty=True,
    ),
    Setting(
        name="BOT_HOST",
        field="host",
        parse=_text,
        meaning="Address to listen on.",
        default="127.0.0.1",
    ),
    Setting(
        name="BOT_PORT",
        field="port",
        parse=_port,
        meaning="Port to listen on.",
        default="8080",
    ),
    Setting(
        name="BOT_METRICS_PORT",
        field="metrics_port",
        parse=_port,
        meaning="Port on which alone `/metrics`, `/healthz` and `/readyz` are served, at the same address.",
        default_description="served on `BOT_PORT`",
    ),
    Setting(
        name="BOT_DATABASE_URL",
        field="database_url",
        parse=_database_url,
        meaning="`sqlite:///FILE` or `postgresql://USER:PASSWORD@HOST/NAME?sslmode=verify-full`; "
        "`sqlite+aiosqlite://` and `postgresql+asyncpg://` are the same.",
        default="sqlite+aiosqlite:///bot.db",
    ),
    Setting(
        name="BOT_ENCRYPTION_KEYS",
        field="encryption_keys",
        parse=_encryption_keys,
        meaning="Comma-separated keys for secrets at rest: the first seals, all open. "
        "`bot keys new` makes one.",
        required=True,
        fix="Make a key with `bot keys new` and keep it.",
        when_absent=(),
    ),
    Setting(
        name="BOT_ADMINS",
        field="admins",
        parse=_user_ids,
        meaning="Comma-separated ids of users (`open_id`s on Lark and Feishu, user IDs on DingTalk): informed of what "
        "only an administrator can fix, and allowed to see the console.",
        default_description="Lark and Feishu: the app's owner. DingTalk: nobody",
        when_absent=(),
    ),
    Setting(
        name="BOT_AUTO_MIGRATE",
        field="auto_migrate",
        parse=_switch,
        meaning="`true` or `false`: whether `bot run` upgrades the database before it starts.",
        default="true",
    ),
    Setting(
        name="BOT_AUTHORIZATION_TTL",
        field="authorization_ttl",
        parse=_duration,
        meaning="Seconds from opening a link to coming back from it.",
        default="600",
    ),
    Setting(
        name="BOT_DEFERRED_TTL",
        field="deferred_ttl",
        parse=_duration,
        meaning="Seconds for which a suspended call, and the link on its card, wait.",
        default="86400",
    ),
    Setting(
        name="BOT_TIME_ZONE",
        field="time_zone",
        parse=_time_zone,
        meaning="Time zone of people whose own is not known: an IANA name.",
        default="UTC",
    ),
    Setting(
        name="BOT_RETENTION_DAYS",
        field="retention",
        parse=_days,
        meaning="Days for which settled calls and requests are kept.",
        default="30",
    ),
    Setting(
        name="BOT_AUDIT_RETENTION_DAYS",
        field="audit_retention",
        parse=_days,
        meaning="Days for which the audit log is kept; the database refuses to delete younger entries.",
        default="365",
    ),
    Setting(
        name="BOT_LOG_FORMAT",
        field="log_format",
        parse=_one_of("text", "json"),
        meaning="`text` or `json`, one line per record, on stderr.",
        default="text",
    ),
    Setting(
        name="BOT_LOG_LEVEL",
        field="log_level",
        parse=_one_of("debug", "info", "warning", "error", "critical"),
        meaning="`debug`, `info`, `warning`, `error` or `critical`.",
        default="info",
    ),
)

PLATFORMS: Mapping[str, tuple[Setting, ...]] = {"lark": LARK, "dingtalk": DINGTALK}
"""By the field of `Settings`."""

TABLE = (*LARK, *DINGTALK, *BOT)

_PREFIXES = ("LARK_", "DINGTALK_", "BOT_")


# --- loading -----------------------------------------------------------------------------------------------


SECRETS = (
    "LARK_APP_SECRET",
    "LARK_ENCRYPT_KEY",
    "LARK_VERIFICATION_TOKEN",
    "DINGTALK_CLIENT_SECRET",
    "BOT_ENCRYPTION_KEYS",
    "BOT_DATABASE_URL",
)
"""Variables that may contain a secret; a database URL can contain a password. Each can be read from a file instead."""

SECRET_FILES = tuple(file_variable(name) for name in SECRETS)

ROUTING_VARIABLES = (
    "LARK_OPEN_URL",
    "LARK_ACCOUNTS_URL",
    "LARK_APPLINK_URL",
    "LARK_BRAND",
    "LARK_JSSDK_URL",
    "DINGTALK_API_URL",
    "DINGTALK_OAPI_URL",
    "DINGTALK_LOGIN_URL",
    "DINGTALK_JSAPI_URL",
    "BOT_PUBLIC_URL",
    "BOT_DATABASE_URL",
    "BOT_DATABASE_URL_FILE",
    "BOT_ADMINS",
    *(each for name in sorted(set(VARIABLES.values())) for each in (name, name.lower())),
    "SSL_CERT_FILE",
)
"""Variables that decide where secrets, codes and tokens are sent, and who is an administrator."""


class Environment(dict[str, str]):
    """The variables, with a warning for each risk in their origin."""

    warnings: tuple[str, ...] = ()


def environment(directory: Path | None = None) -> Environment:
    """Return the environment, which overrides the `.env` file in the working directory."""
    file = (directory or Path.cwd()) / ".env"
    if not file.exists():
        return Environment(os.environ)
    from dotenv import dotenv_values  # noqa: PLC0415 - only those who have such a file wait for it

    try:
        # No interpolation: a secret may contain a dollar sign.
        written = dotenv_values(file, interpolate=False)
    except (OSError, UnicodeDecodeError) as error:
        problem = f".env cannot be read ({type(error).__name__}). Fix the file or remove it."
        raise ConfigurationError(problem) from None
    in_file = {name: value for name, value in written.items() if value is not None}
    found = Environment({**in_file, **os.environ})
    found.warnings = (*_exposed_secrets(file, in_file), *_redirected_secrets(in_file))
    return found


def _exposed_secrets(file: Path, in_file: Mapping[str, str]) -> Iterable[str]:
    if any(in_file.get(name) for name in SECRETS):
        yield from exposed(file)


def exposed(file: Path) -> Iterable[str]:
    """Yield a warning if every user of this machine can read or change a file that contains secrets."""
    try:
        mode = file.stat().st_mode
    except OSError:
        return
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        can = "changed" if mode & stat.S_IWOTH else "read"
        name = _printable(str(file.name))
        yield f"{name} can be {can} by every user of this machine. Run `chmod o-rwx {name}`."


def _redirected_secrets(in_file: Mapping[str, str]) -> Iterable[str]:
    """Yield a warning for each variable by which the file could send a secret of the environment elsewhere."""
    elsewhere = [
        name for name in (*SECRETS, *SECRET_FILES) if os.environ.get(name) and name not in ROUTING_VARIABLES
    ]
    if not elsewhere:
        return
    for name in ROUTING_VARIABLES:
        if in_file.get(name) and name not in os.environ:
            yield (
                f"{name} comes from .env while {elsewhere[0]} comes from the environment: anyone who can write .env "
                "decides where secrets are sent or who is an administrator. Set both in the same place."
            )


def exposed_database(database_url: str) -> Iterable[str]:
    """Yield a warning for each file of a SQLite database that every user of this machine can read or change.

    Recent writes are in the `-wal` file, whose mode is that of the database at the time it was created.
    """
    found = read_database_url(database_url)
    if found.dialect == "sqlite":
        file = found.url.partition("://")[2].partition("?")[0].removeprefix("/")
        for end in ("", "-wal", "-shm"):
            yield from exposed(Path(file + end))


def _warnings(environ: Mapping[str, str]) -> tuple[str, ...]:
    files = (line for file in files_to_protect(SECRETS, environ) for line in exposed(file))
    return (
        *unknown_variables(environ),
        *(environ.warnings if isinstance(environ, Environment) else ()),
        *files,
    )


def load(environ: Mapping[str, str]) -> Settings:
    """Return all settings. Raises ConfigurationError with every problem at once."""
    served = {name for name, table in PLATFORMS.items() if _given(table, environ, required=True)}
    problems: list[str] = []
    groups: dict[str, dict[str, Any]] = {}
    for name in [each for each in PLATFORMS if each in served] or ["lark"]:
        groups[name], found = _parse(PLATFORMS[name], environ, required=True)
        problems += found
    if not served:
        problems[0] += f" Or serve DingTalk: set {_and(each.name for each in DINGTALK if each.required)}."
    values, found = _parse(BOT, environ, required=True)
    problems += [*_lark_problems(groups.get("lark", {}), values), *_dingtalk_problems(groups, values), *found]
    problems += _port_problems(values)
    network, unusable = read_network(environ)
    problems += [*unusable, *_unusable_certificates(network.certificates)]
    if problems:
        raise ConfigurationError(*problems)
    unserved = (_not_served(PLATFORMS[name], environ) for name in PLATFORMS if name not in served)
    return Settings(
        **values,
        lark=LarkSettings(**groups["lark"]) if "lark" in groups else None,
        dingtalk=_dingtalk(groups["dingtalk"]) if "dingtalk" in groups else None,
        network=network,
        warnings=(*_warnings(environ), *(line for lines in unserved for line in lines)),
    )


def _dingtalk(values: dict[str, Any]) -> DingTalkSettings:
    return DingTalkSettings(**values | {"robot_code": values["robot_code"] or values["client_id"]})


def _lark_problems(lark: Mapping[str, Any], values: Mapping[str, Any]) -> Iterable[str]:
    """Yield the problems of settings that do not fit each other."""
    if lark.get("events") == "webhook" and "encrypt_key" in lark and lark["encrypt_key"] is None:
        yield (
            "LARK_ENCRYPT_KEY is missing, and LARK_EVENTS=webhook accepts only signed events. "
            "Copy it from the developer console, Events & Callbacks > Encryption Strategy."
        )
    if lark.get("oauth") == "v1" and "public_url" in values and values["public_url"] is None:
        yield (
            "LARK_OAUTH=v1 has no device flow, which an empty BOT_PUBLIC_URL requires. "
            "Set LARK_OAUTH to v2 or v3, or BOT_PUBLIC_URL to where browsers reach the bot."
        )


def _dingtalk_problems(served: Mapping[str, Any], values: Mapping[str, Any]) -> Iterable[str]:
    if "dingtalk" in served and "public_url" in values and values["public_url"] is None:
        yield (
            "BOT_PUBLIC_URL is empty, and DingTalk has no way to authorize without a page of the bot. "
            "Set it to where browsers reach the bot."
        )


def _port_problems(values: Mapping[str, Any]) -> Iterable[str]:
    port, metrics_port = values.get("port"), values.get("metrics_port")
    if metrics_port and metrics_port == port:
        yield f"BOT_METRICS_PORT is the port of BOT_PORT, {port}. Choose another one, or unset it to share the port."


def _given(table: Iterable[Setting], environ: Mapping[str, str], *, required: bool) -> list[str]:
    """Return the variables of a platform that are set: its credentials, or all others."""
    return [each.name for each in table if each.required is required and _is_set(each.name, environ)]


def _is_set(name: str, environ: Mapping[str, str]) -> bool:
    return is_given(name, environ) if name in SECRETS else bool(environ.get(name, "").strip())


def _not_served(table: Sequence[Setting], environ: Mapping[str, str]) -> Iterable[str]:
    """Yield a warning if a platform has settings but no credentials."""
    if given := _given(table, environ, required=False):
        credentials = _and(each.name for each in table if each.required)
        yield f"{given[0]} is ignored, because its platform is not served. Set {credentials} to serve it."


def _unusable_certificates(file: str | None) -> Iterable[str]:
    """Yield a problem if the authorities of SSL_CERT_FILE cannot be loaded; OpenSSL would ignore the file silently."""
    if file is None:
        return
    import ssl  # noqa: PLC0415 - only those who have such a file wait for it

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except ssl.SSLError:
        yield f"SSL_CERT_FILE: {_shown(file)} contains no certificate in PEM format. Name a file that does."
    except OSError as error:
        why = error.strerror or type(error).__name__
        yield f"SSL_CERT_FILE: {_shown(file)} cannot be read ({why}). Name a readable file, or unset it."


def load_for_operator(environ: Mapping[str, str]) -> OperatorSettings:
    """Return the settings of commands that only read the database; the app's credentials may be absent or wrong."""
    fields = {each.name for each in dataclasses.fields(OperatorSettings)}
    values, problems = _parse((each for each in BOT if each.field in fields), environ, required=False)
    if problems:
        raise ConfigurationError(*problems)
    return OperatorSettings(**values, warnings=_warnings(environ))


def _parse(
    table: Iterable[Setting], environ: Mapping[str, str], *, required: bool
) -> tuple[dict[str, Any], list[str]]:
    """Return the values by field, and a line for each problem; a field with a problem has no value."""
    values: dict[str, Any] = {}
    problems: list[str] = []
    brand: Brand = "feishu" if environ.get("LARK_BRAND", "").strip().lower() == "feishu" else "lark"
    for setting in table:
        try:
            written = _written(setting, environ)
        except UnusableFileError as error:
            problems.append(str(error))
            continue
        text = written.strip() if written is not None else ""
        if not text:
            default = setting.default if isinstance(setting.default, str | None) else setting.default[brand]
            if written is not None and setting.may_be_empty:
                values[setting.field] = None
                continue
            if setting.required and required:
                problems.append(f"{setting.name} is missing. {setting.fix}")
                continue
            if default is None:
                values[setting.field] = setting.when_absent
                continue
            text = default
        try:
            _require_usable(setting.name, text)
            values[setting.field] = setting.parse(text)
        except ValueError as error:
            problems.append(f"{setting.name}: {error}")
    return values, problems


def _written(setting: Setting, environ: Mapping[str, str]) -> str | None:
    if setting.name in SECRETS:
        return read_secret(setting.name, environ)
    return environ.get(setting.name)


_QUOTES = {'"': '"', "'": "'", "`": "`", "“": "”", "‘": "’"}
_SERVICE_LINK = re.compile(r"(tcp|udp|sctp)://[0-9A-Fa-f.:\[\]]+:[0-9]+")
_SERVICE_VARIABLE = re.compile(
    r"(BOT|LARK|DINGTALK)_([A-Z0-9_]+_)?(SERVICE_(HOST|PORT)(_[A-Z0-9_]+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)


def _require_usable(name: str, text: str) -> None:
    """Raise ValueError for values that no setting can have."""
    if len(text) > 1 and _QUOTES.get(text[0]) == text[-1]:
        raise ValueError("has quotes around its value. Write it without them.")
    if _SERVICE_LINK.fullmatch(text):
        raise ValueError(
            f"{text} comes from a Kubernetes Service named {name.removesuffix('_PORT').lower().replace('_', '-')!r}. "
            "Set enableServiceLinks: false in the pod, or rename the Service."
        )


def unknown_variables(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return a warning for each variable with a prefix of ours that is not a setting, most likely a typing error."""
    known = {setting.name for setting in TABLE} | set(SECRET_FILES)
    lines = []
    unknown = [name for name in sorted(environ) if name.startswith(_PREFIXES) and name not in known]
    if links := [name for name in unknown if _SERVICE_VARIABLE.fullmatch(name)]:
        lines.append(
            f"{links[0]}{' and others come' if len(links) > 1 else ' comes'} from a Kubernetes Service, and "
            "are ignored. Set enableServiceLinks: false in the pod to omit them."
        )
    for name in unknown:
        if name not in links:
            nearest = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)
            meant = f" Did you mean {nearest[0]}?" if nearest else ""
            lines.append(f"{_printable(name)} is not a setting, and is ignored.{meant}")
    return tuple(lines)


def _printable(name: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in name)


# --- documentation -----------------------------------------------------------------------------------------


def describe_default(setting: Setting) -> str:
    """Return the default column of the tables, in Markdown."""
    if setting.default_description:
        return setting.default_description
    if setting.required:
        return "required by `bot run`"
    match setting.default:
        case None:
            return ""
        case str(default):
            return f"`{default}`"
        case by_brand:
            return "by brand: " + ", ".join(f"`{origin}`" for origin in by_brand.values())


def _described(setting: Setting) -> str:
    if setting.name in SECRETS:
        return f"{setting.meaning} Or `{file_variable(setting.name)}`: the file that contains it."
    return setting.meaning


def markdown_table() -> str:
    """Return the table of the README."""
    rows = [f"| `{each.name}` | {_described(each)} | {describe_default(each)} |" for each in TABLE]
    return "\n".join(["| variable | meaning | default |", "|---|---|---|", *rows])


def help_table() -> str:
    """Return the table of `bot run --help`."""
    rows = []
    for each in TABLE:
        default = describe_default(each).replace("`", "")
        meaning = _described(each).replace("`", "")
        rows.append(f"  {each.name}{f'  ({default})' if default else ''}\n      {meaning}")
    return "\n".join(rows)

"""`bot doctor`: checks everything that the bot needs to serve users, one line a check, each with its fix."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal
from urllib.parse import urlsplit

from bot import settings
from bot.core.api import AppScopeMissing, Outcome, RateLimited, Refused, Unreachable
from bot.core.commands import Registry
from bot.core.errors import BotError, CommandMistake, ConfigurationError
from bot.core.network import is_loopback
from bot.core.scopes import OFFLINE_ACCESS, Clause, ScopeSet
from bot.core.unseen_characters import escape
from bot.lark import doctor_checks
from bot.lark.doctor_checks import Reachable
from bot.lark.outcomes import OTHER_BRAND, WRONG_BRAND
from bot.lark.platform import LarkPlatform
from bot.lark.v3_token_endpoint import V3_ENDPOINT_PATH
from bot.logs import redact
from bot.platforms import LARK, all_commands, own_commands
from bot.plugins import BrokenPlugin
from bot.settings import OperatorSettings, Settings
from bot.store import key_rotation
from bot.store.keyring import Keyring
from bot.store.opening import check_schema, read_without_keys
from bot.transport.http_client import HttpClient

TIMEOUT = 12.0
"""Seconds for one check; they run side by side."""
NOTABLE_SKEW = timedelta(seconds=30)
LARGEST_SKEW = timedelta(minutes=5)
"""Beyond this the webhook rejects signed events as coming from the future."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check. Only `FAIL` makes the exit code 1; `warn` is a risk, or a check that could not be made."""

    verdict: Literal["ok", "warn", "FAIL"]
    subject: str
    words: str
    fix: str = ""

    def __str__(self) -> str:
        line = f"{self.words}. {self.fix}" if self.fix else self.words
        return f"{self.verdict:<5} {self.subject:<16} {escape(redact(line))}"


Check = Awaitable[Sequence[Finding]]


def run(environ: Mapping[str, str]) -> int:
    """Print every finding and return the exit code."""
    findings = asyncio.run(examine(environ))
    for finding in findings:
        print(finding)  # noqa: T201 - the answer to an operator's command
    return 1 if any(finding.verdict == "FAIL" for finding in findings) else 0


async def examine(environ: Mapping[str, str]) -> list[Finding]:
    """Return every finding, in a fixed order. Makes only calls that read."""
    try:
        loaded = settings.load(environ)
    except ConfigurationError as error:
        return [*wrong_configuration(error), *await database_alone(environ)]
    found = [Finding("ok", "configuration", "every setting holds"), *warnings(loaded)]
    commands, broken = known_commands()
    found += broken
    http, platform = HttpClient(loaded.network), LARK.build(loaded)
    try:
        found += await side_by_side(database(loaded), reachability(loaded, http), credentials(loaded, http))
        found += proxies(loaded)
        found += public_url(loaded)
        found += client_script(loaded)
        if any(each.subject == "credentials" and each.verdict == "ok" for each in found):
            found += await side_by_side(
                bot_ability(platform),
                redirect_urls(loaded, platform),
                signing_in(loaded, http),
                scopes(platform, commands),
                events(loaded, http),
                administrators(loaded, platform),
            )
        else:
            rest = (
                "not checked without credentials: "
                "bot ability, redirect URLs, sign-in, scopes, events, administrators"
            )
            found.append(Finding("warn", "app", rest))
    finally:
        await platform.close()
        await http.close()
    return found


async def side_by_side(*checks: Check) -> list[Finding]:
    return [finding for findings in await asyncio.gather(*map(bounded, checks)) for finding in findings]


async def bounded(check: Check) -> Sequence[Finding]:
    try:
        return await asyncio.wait_for(check, TIMEOUT)
    except TimeoutError:
        return [Finding("FAIL", "network", f"no answer within {TIMEOUT:.0f} seconds")]


# --- what needs no network ---------------------------------------------------------------------------------


def wrong_configuration(error: ConfigurationError) -> list[Finding]:
    return [Finding("FAIL", "configuration", problem) for problem in error.problems]


async def database_alone(environ: Mapping[str, str]) -> Sequence[Finding]:
    """Check the database even though the app's settings are wrong."""
    try:
        return await bounded(database(settings.load_for_operator(environ)))
    except ConfigurationError:
        return []


def known_commands() -> tuple[Registry, list[Finding]]:
    """Return all commands; only the built-in ones, with a finding, if a package's command cannot be used."""
    try:
        return all_commands(LARK), []
    except BrokenPlugin as error:
        return own_commands(LARK), [trouble("commands", error)]


def warnings(loaded: OperatorSettings) -> list[Finding]:
    return [Finding("warn", "configuration", line) for line in loaded.warnings]


def public_url(loaded: Settings) -> list[Finding]:
    subject = "public URL"
    if loaded.public_url is None:
        return [Finding("ok", subject, "none: authorization goes by device flow")]
    here = urlsplit(loaded.public_url)
    if not is_loopback(here.hostname or ""):
        return [Finding("ok", subject, loaded.public_url)]
    if loaded.port not in {here.port, 0}:
        fix = f"Set BOT_PUBLIC_URL to http://localhost:{loaded.port}, or to where a proxy listens."
        return [Finding("warn", subject, f"{loaded.public_url}, but the bot listens on {loaded.port}", fix)]
    if is_loopback(urlsplit(loaded.open_url).hostname or ""):
        return [Finding("ok", subject, loaded.public_url)]
    words = f"{loaded.public_url} can be opened on this machine only, not from a phone"
    return [Finding("warn", subject, words, "Set BOT_PUBLIC_URL to an https origin for other people.")]


def client_script(loaded: Settings) -> list[Finding]:
    subject = "client script"
    if loaded.public_url is None:
        return [Finding("ok", subject, "none: no browser reaches the bot")]
    url, _, integrity = loaded.jssdk_url.partition("#")
    if integrity:
        return [Finding("ok", subject, f"{url}, checked by browsers")]
    fix = (
        "Append #sha384- and the hash of a copy that you trust to LARK_JSSDK_URL: "
        "openssl dgst -sha384 -binary FILE | openssl base64 -A"
    )
    return [Finding("warn", subject, f"{url} is run as it comes, whatever it is by then", fix)]


# --- the database ------------------------------------------------------------------------------------------


async def database(loaded: OperatorSettings) -> Sequence[Finding]:
    try:
        # In a thread, because it runs its own event loop.
        await asyncio.to_thread(check_schema, loaded.database_url)
    except BotError as error:
        return [trouble("database", error)]
    exposed = [Finding("warn", "database", line) for line in settings.exposed_database(loaded.database_url)]
    return [Finding("ok", "database", "reachable and migrated"), *exposed, await encryption_keys(loaded)]


def trouble(subject: str, error: BotError) -> Finding:
    message = str(error)
    return Finding(
        "FAIL", subject, message.rstrip("."), "" if error.hint.rstrip(".") in message else error.hint
    )


async def encryption_keys(loaded: OperatorSettings) -> Finding:
    if not loaded.encryption_keys:
        return Finding("FAIL", "encryption keys", "none are set")
    seal = Keyring([key.reveal() for key in loaded.encryption_keys])
    try:
        known = await asyncio.to_thread(
            read_without_keys, loaded.database_url, lambda c: key_rotation.keys_fit(c, seal)
        )
    except BotError as error:
        return trouble("encryption keys", error)
    words = "they open what is stored" if known else "nothing is sealed yet"
    return Finding("ok", "encryption keys", f"{len(loaded.encryption_keys)}, and {words}")


# --- the platform ------------------------------------------------------------------------------------------


def origins(loaded: Settings) -> list[str]:
    """Return the origins that the bot calls: two, or one when one host serves both."""
    return list(dict.fromkeys((loaded.open_url, loaded.accounts_url)))


def proxies(loaded: Settings) -> list[Finding]:
    """Report which origins are reached through which proxy, without its credentials."""
    if not loaded.network.proxies:
        return []
    found: dict[str, list[str]] = {}
    for origin in origins(loaded):
        proxy = loaded.network.proxy_for(origin)
        found.setdefault(f"through {proxy.url}" if proxy else "without a proxy", []).append(origin)
    words = "; ".join(f"{' and '.join(reached)} {how}" for how, reached in found.items())
    return [Finding("ok", "proxy", words)]


async def reachability(loaded: Settings, http: HttpClient) -> Sequence[Finding]:
    answers = await asyncio.gather(*(doctor_checks.check_reachable(http, each) for each in origins(loaded)))
    found = [
        unreachable(origin, answer)
        if isinstance(answer, Unreachable)
        else Finding("ok", "platform", f"{origin} answers")
        for origin, answer in zip(origins(loaded), answers, strict=True)
    ]
    match answers[0]:
        case Reachable(clock_ahead=None):
            found.append(Finding("warn", "clock", "cannot tell: the platform did not say the time"))
        case Reachable(clock_ahead=timedelta() as ahead):
            found.append(clock(ahead))
    return found


def unreachable(origin: str, trouble: Unreachable) -> Finding:
    """Report an unreachable origin. Reasons about certificates and proxies contain their own fix."""
    says = "certificate" in trouble.reason or "proxy" in trouble.reason
    fix = "" if says else "Fix the network, HTTPS_PROXY, or the address in the settings."
    return Finding("FAIL", "platform", f"{origin} is not reachable: {trouble.reason}", fix)


def clock(ahead: timedelta) -> Finding:
    off = abs(ahead)
    words = (
        f"{off.total_seconds():.0f} seconds {'ahead of' if ahead > timedelta() else 'behind'} the platform's"
    )
    if off > NOTABLE_SKEW:
        verdict: Literal["warn", "FAIL"] = "FAIL" if off > LARGEST_SKEW else "warn"
        return Finding(verdict, "clock", words, "Synchronize this machine's clock (NTP).")
    return Finding("ok", "clock", "agrees with the platform's")


async def credentials(loaded: Settings, http: HttpClient) -> Sequence[Finding]:
    problem = await doctor_checks.check_credentials(http, loaded.open_url, loaded.app_id, loaded.app_secret)
    if problem is None:
        return [Finding("ok", "credentials", f"{loaded.app_id} is accepted")]
    fix = "Compare LARK_APP_ID, LARK_APP_SECRET and LARK_BRAND with the developer console."
    if isinstance(problem, Unreachable | RateLimited):
        fix = ""
    return [Finding("FAIL", "credentials", describe_outcome(problem), fix)]


async def bot_ability(platform: LarkPlatform) -> Sequence[Finding]:
    found = await doctor_checks.read_bot_open_id(platform.call_as_app)
    if isinstance(found, str):
        return [Finding("ok", "bot ability", f"the bot is {found}")]
    fix = "Developer console: add the Bot ability, then create and publish a version."
    return [Finding("FAIL", "bot ability", describe_outcome(found), fix)]


async def redirect_urls(loaded: Settings, platform: LarkPlatform) -> Sequence[Finding]:
    subject = "redirect URLs"
    if loaded.public_url is None:
        return [Finding("ok", subject, "none needed: no browser reaches the bot")]
    needed = [f"{loaded.public_url}/oauth/lark/{page}" for page in ("callback", "client")]
    registered = await doctor_checks.read_redirect_urls(platform.call_as_app, platform.app_id)
    if not isinstance(registered, frozenset):
        fix = f"Check that Security Settings > Redirect URLs contains {' and '.join(needed)}."
        return [Finding("warn", subject, f"cannot tell: {describe_outcome(registered)}", fix)]
    absent = [url for url in needed if url not in registered]
    if absent:
        fix = f"Developer console, Security Settings > Redirect URLs: add {' and '.join(absent)}."
        return [Finding("FAIL", subject, f"{len(absent)} of 2 not registered", fix)]
    return [Finding("ok", subject, "both are registered")]


async def signing_in(loaded: Settings, http: HttpClient) -> Sequence[Finding]:
    subject, where = "sign-in", f"{loaded.accounts_url}{V3_ENDPOINT_PATH}"
    if loaded.public_url is None:
        return [Finding("ok", subject, "none: no browser reaches the bot")]
    found = await doctor_checks.has_v3_token_endpoint(
        http, loaded.accounts_url, loaded.app_id, loaded.app_secret
    )
    if found:
        return [Finding("ok", subject, f"codes are exchanged at {where}")]
    if found is None:
        return [Finding("warn", subject, f"cannot tell whether {where} is there")]
    words = f"{where} is not there, so anyone who obtains the code of another user's link can sign in with it"
    fix = "No setting of the bot changes that. Keep the callback's query out of the logs of proxies."
    return [Finding("warn", subject, words, fix)]


EXAMPLE_ARGUMENTS = ("", "https://example.larksuite.com/wiki/wikcnExample")
"""Arguments that cover every requirement: a link to a wiki needs more scopes than a document."""


async def scopes(platform: LarkPlatform, commands: Registry) -> Sequence[Finding]:
    subject = "scopes"
    try:
        needs = requirements(commands)
    except CommandMistake as error:
        return [trouble("commands", error)]
    wanted = frozenset(clause[0] for clause in needs) | {OFFLINE_ACCESS}
    enabled = await platform.enabled_scopes(fresh=True)
    if enabled is None:
        fix = f"Compare: {platform.console_link(wanted)}"
        return [Finding("warn", subject, "cannot tell: the app may not read its own scopes", fix)]
    absent = lacking(needs, enabled)
    found = [
        Finding(
            "FAIL", subject, f"{names} cannot run: {' or '.join(clause)} is not enabled for user identity"
        )
        for clause, names in absent.items()
    ]
    if found:
        link = platform.console_link(frozenset(clause[0] for clause in absent))
        found.append(Finding("FAIL", subject, f"{len(absent)} to enable", f"Enable and publish: {link}"))
    if OFFLINE_ACCESS not in enabled:
        fix = f"Enable it: {platform.console_link(frozenset({OFFLINE_ACCESS}))}"
        words = "offline_access is not enabled, so users must authorize again whenever a token expires"
        found.append(Finding("warn", subject, words, fix))
    return found or [
        Finding("ok", subject, "every scope that the commands need is enabled for user identity")
    ]


def requirements(commands: Registry) -> dict[Clause, str]:
    """Return each clause that a command needs, with the names of those commands."""
    found: dict[Clause, list[str]] = {}
    for command in commands.values():
        for arguments in EXAMPLE_ARGUMENTS:
            for clause in command.needs(arguments):
                users = found.setdefault(clause, [])
                if command.typed not in users:
                    users.append(command.typed)
    return {clause: ", ".join(users) for clause, users in found.items() if clause}


def lacking(needs: Mapping[Clause, str], enabled: ScopeSet) -> dict[Clause, str]:
    """Return the clauses of which no alternative is enabled."""
    return {clause: names for clause, names in needs.items() if enabled.isdisjoint(clause)}


async def events(loaded: Settings, http: HttpClient) -> Sequence[Finding]:
    problem = await doctor_checks.check_long_connection(
        http, loaded.open_url, loaded.app_id, loaded.app_secret
    )
    if isinstance(problem, Refused) and problem.code == WRONG_BRAND:
        other = "feishu" if loaded.brand == "lark" else "lark"
        return [
            Finding(
                "FAIL", "brand", f"{OTHER_BRAND} to {other}, and LARK_OPEN_URL and its like if they are set"
            )
        ]
    if loaded.events == "webhook":
        words = "webhook: the encrypt key is set"
        where = f"{loaded.public_url or 'https://…'}/lark/events"
        return [Finding("ok", "events", f"{words}; the request URL is {where}")]
    if problem is None:
        return [Finding("ok", "events", "websocket: the platform offers a long connection")]
    fix = "Developer console, Events & Callbacks: receive through a long connection (custom apps only)."
    return [Finding("FAIL", "events", f"no long connection: {describe_outcome(problem)}", fix)]


async def administrators(loaded: Settings, platform: LarkPlatform) -> Sequence[Finding]:
    if loaded.admins:
        return await asyncio.gather(*(administrator(each, platform) for each in loaded.admins))
    found = await platform.administrators()
    if found:
        return [Finding("ok", "administrators", f"{', '.join(found)} (the app's owner)")]
    words = "none: the app's owner cannot be read"
    return [Finding("warn", "administrators", words, "Set BOT_ADMINS to the open_ids of the administrators.")]


async def administrator(open_id: str, platform: LarkPlatform) -> Finding:
    """Check that an open_id of BOT_ADMINS is a user of this app; open_ids differ from app to app."""
    subject = "administrators"
    fix = "Set BOT_ADMINS to the open_id (ou_…) that the person has in this app."
    if not open_id.startswith("ou_"):
        return Finding("FAIL", subject, f"{open_id} is not an open_id", fix)
    match await doctor_checks.check_recipient(platform.call_as_app, open_id):
        case None:
            return Finding("ok", subject, open_id)
        case Refused(code=code) if code in doctor_checks.UNKNOWN_OPEN_ID_CODES:
            return Finding("FAIL", subject, f"{open_id} is not a user of this app ({code})", fix)
        case Refused() as refusal:
            fix = "Make the app available to this person, or name another one in BOT_ADMINS."
            return Finding(
                "FAIL", subject, f"{open_id} cannot be sent messages: {describe_outcome(refusal)}", fix
            )
        case problem:
            words = f"cannot tell whether {open_id} is a user of this app: {describe_outcome(problem)}"
            return Finding("warn", subject, words, fix)


def describe_outcome(outcome: Outcome) -> str:
    match outcome:
        case Unreachable(reason=reason):
            return reason
        case Refused(code=code, message=message):
            return f"{message or 'refused'} ({code})"
        case AppScopeMissing(requirement=requirement):
            return f"the app lacks {' and '.join(' or '.join(clause) for clause in requirement)}"
        case RateLimited():
            return "the platform asks to slow down"
        case _:
            return f"unexpected answer ({type(outcome).__name__})"

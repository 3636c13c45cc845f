"""The checks of `bot doctor` for an app on Lark or Feishu."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Literal

from bot.core.api import RateLimited, Refused, Unreachable
from bot.core.commands import Registry
from bot.core.errors import CommandMistake
from bot.core.scopes import OFFLINE_ACCESS, Clause, ScopeSet
from bot.findings import Finding, describe_outcome, error_finding, run_concurrently
from bot.lark import doctor_checks
from bot.lark.doctor_checks import Reachable
from bot.lark.outcomes import OTHER_BRAND, WRONG_BRAND
from bot.lark.platform import LarkPlatform
from bot.lark.v3_token_endpoint import V3_ENDPOINT_PATH
from bot.settings import LarkSettings, Settings
from bot.transport.http_client import HttpClient

NOTABLE_SKEW = timedelta(seconds=30)
LARGEST_SKEW = timedelta(minutes=5)
"""Beyond this, the webhook rejects signed events, because their timestamps are in the future."""


async def examine(
    loaded: Settings, own: LarkSettings, platform: LarkPlatform, commands: Registry, admins: Sequence[str]
) -> list[Finding]:
    """Return every finding about the app, in a fixed order. Changes nothing at the platform."""
    http = HttpClient(loaded.network)
    try:
        found = await run_concurrently(reachability(own, http), credentials(own, http))
        found += client_script(loaded, own)
        if any(each.subject == "credentials" and each.verdict == "ok" for each in found):
            found += await run_concurrently(
                bot_ability(platform),
                redirect_urls(loaded, platform),
                signing_in(loaded, own, http),
                scopes(platform, commands),
                events(loaded, own, http),
                administrators(admins, platform),
            )
        else:
            rest = (
                "not checked without credentials: "
                "bot ability, redirect URLs, sign-in, scopes, events, administrators"
            )
            found.append(Finding("warn", "app", rest))
    finally:
        await http.close()
    return found


def client_script(loaded: Settings, own: LarkSettings) -> list[Finding]:
    subject = "client script"
    if loaded.public_url is None:
        return [Finding("ok", subject, "none: no browser reaches the bot")]
    url, _, integrity = own.jssdk_url.partition("#")
    if integrity:
        return [Finding("ok", subject, f"{url}, checked by browsers")]
    fix = (
        "Append #sha384- and the hash of a copy that you trust to LARK_JSSDK_URL: "
        "openssl dgst -sha384 -binary FILE | openssl base64 -A"
    )
    return [Finding("warn", subject, f"browsers run {url} in whatever version it is served", fix)]


def origins(own: LarkSettings) -> list[str]:
    """Return the origins that the bot calls: two, or one when one host serves both."""
    return list(dict.fromkeys((own.open_url, own.accounts_url)))


async def reachability(own: LarkSettings, http: HttpClient) -> Sequence[Finding]:
    responses = await asyncio.gather(*(doctor_checks.check_reachable(http, each) for each in origins(own)))
    found = [
        unreachable(origin, response)
        if isinstance(response, Unreachable)
        else Finding("ok", "platform", f"{origin} responds")
        for origin, response in zip(origins(own), responses, strict=True)
    ]
    match responses[0]:
        case Reachable(clock_ahead=None):
            found.append(Finding("warn", "clock", "cannot tell: the platform's response has no usable date"))
        case Reachable(clock_ahead=timedelta() as ahead):
            found.append(clock(ahead))
    return found


def unreachable(origin: str, problem: Unreachable) -> Finding:
    """Report an unreachable origin. A reason about a certificate or a proxy already contains its fix."""
    has_fix = "certificate" in problem.reason or "proxy" in problem.reason
    fix = "" if has_fix else "Fix the network, HTTPS_PROXY, or the address in the settings."
    return Finding("FAIL", "platform", f"{origin} is not reachable: {problem.reason}", fix)


def clock(ahead: timedelta) -> Finding:
    off = abs(ahead)
    message = (
        f"{off.total_seconds():.0f} seconds {'ahead of' if ahead > timedelta() else 'behind'} the platform's"
    )
    if off > NOTABLE_SKEW:
        verdict: Literal["warn", "FAIL"] = "FAIL" if off > LARGEST_SKEW else "warn"
        return Finding(verdict, "clock", message, "Synchronize this machine's clock (NTP).")
    return Finding("ok", "clock", "agrees with the platform's")


async def credentials(own: LarkSettings, http: HttpClient) -> Sequence[Finding]:
    problem = await doctor_checks.check_credentials(http, own.open_url, own.app_id, own.app_secret)
    if problem is None:
        return [Finding("ok", "credentials", f"{own.app_id} is accepted")]
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


async def signing_in(loaded: Settings, own: LarkSettings, http: HttpClient) -> Sequence[Finding]:
    subject, where = "sign-in", f"{own.accounts_url}{V3_ENDPOINT_PATH}"
    if loaded.public_url is None:
        return [Finding("ok", subject, "none: no browser reaches the bot")]
    found = await doctor_checks.has_v3_token_endpoint(http, own.accounts_url, own.app_id, own.app_secret)
    if found:
        return [Finding("ok", subject, f"codes are exchanged at {where}")]
    if found is None:
        return [Finding("warn", subject, f"cannot tell whether {where} is there")]
    message = (
        f"{where} is not there, so anyone who obtains the code of another user's link can sign in with it"
    )
    fix = "No setting of the bot changes that. Keep the callback's query out of the logs of proxies."
    return [Finding("warn", subject, message, fix)]


EXAMPLE_ARGUMENTS = ("", "https://example.larksuite.com/wiki/wikcnExample")
"""Arguments that cover all requirements: a link to a wiki page needs more scopes than one to a document."""


async def scopes(platform: LarkPlatform, commands: Registry) -> Sequence[Finding]:
    subject = "scopes"
    try:
        needs = requirements(commands)
    except CommandMistake as error:
        return [error_finding("commands", error)]
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
        message = "offline_access is not enabled, so users must authorize again whenever a token expires"
        found.append(Finding("warn", subject, message, fix))
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


async def events(loaded: Settings, own: LarkSettings, http: HttpClient) -> Sequence[Finding]:
    problem = await doctor_checks.check_long_connection(http, own.open_url, own.app_id, own.app_secret)
    if isinstance(problem, Refused) and problem.code == WRONG_BRAND:
        other = "feishu" if own.brand == "lark" else "lark"
        return [
            Finding(
                "FAIL", "brand", f"{OTHER_BRAND} to {other}, and LARK_OPEN_URL and its like if they are set"
            )
        ]
    if own.events == "webhook":
        message = "webhook: the encrypt key is set"
        where = f"{loaded.public_url or 'https://…'}/lark/events"
        return [Finding("ok", "events", f"{message}; the request URL is {where}")]
    if problem is None:
        return [Finding("ok", "events", "websocket: the platform offers a long connection")]
    fix = "Developer console, Events & Callbacks: receive through a long connection (custom apps only)."
    return [Finding("FAIL", "events", f"no long connection: {describe_outcome(problem)}", fix)]


async def administrators(admins: Sequence[str], platform: LarkPlatform) -> Sequence[Finding]:
    if admins:
        return await asyncio.gather(*(administrator(each, platform) for each in admins))
    found = await platform.administrators()
    if found:
        return [Finding("ok", "administrators", f"{', '.join(found)} (the app's owner)")]
    message = "none: the app's owner cannot be read"
    return [
        Finding("warn", "administrators", message, "Set BOT_ADMINS to the open_ids of the administrators.")
    ]


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
            message = f"cannot tell whether {open_id} is a user of this app: {describe_outcome(problem)}"
            return Finding("warn", subject, message, fix)

"""The checks of `bot doctor` for an app on Lark or Feishu."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bot.core.api import Outcome, RateLimited, Refused, Unreachable
from bot.core.commands import Registry
from bot.core.errors import CommandMistake
from bot.core.scopes import OFFLINE_ACCESS, Clause, ScopeSet
from bot.core.unseen_characters import one_line
from bot.doctor_bot import FindSurroundings
from bot.doctor_platform import (
    PLATFORM_PATIENCE,
    RESTART,
    WEBHOOK,
    arrived,
    is_refusal,
    misrouted,
    reachability,
)
from bot.doctor_probes import MAX_SHOWN, Answer, Failure, network_to, probe
from bot.findings import LARGEST_SKEW, Finding, Verdict, describe_outcome, error_finding, run_concurrently
from bot.lark import doctor_checks
from bot.lark.app_info import GRANTED, read_text
from bot.lark.outcomes import OTHER_BRAND, WRONG_BRAND
from bot.lark.platform import LarkPlatform
from bot.lark.v3_token_endpoint import V3_ENDPOINT_PATH
from bot.settings import LarkSettings, Settings
from bot.transport.http_client import HttpClient

EVENTS_PATH = "/lark/events"
MESSAGES = "im.message.receive_v1"
OTHER_EVENTS = (
    "im.message.recalled_v1",
    "im.chat.access_event.bot_p2p_chat_entered_v1",
    "auth.user_access_token.revoked_v4",
)
CLICKS = "card.action.trigger"
PUBLISH = "Then create and publish a version (Version Management & Release): changes take effect with it."


@dataclass(frozen=True, slots=True)
class Context:
    """An app, and the settings with which it is served."""

    settings: Settings
    own: LarkSettings
    platform: LarkPlatform
    admins: Sequence[str]


async def examine(context: Context, commands: Registry, surroundings: FindSurroundings) -> list[Finding]:
    """Return every finding about the app, in a fixed order. Changes nothing at the platform."""
    settings, own, platform = context.settings, context.own, context.platform
    http = HttpClient(settings.network)
    try:
        found = await run_concurrently(
            {"platform": reachability(settings.network, origins(own)), "credentials": credentials(own, http)}
        )
        found += client_script(settings, own)
        if any(each.subject == "credentials" and each.verdict == "ok" for each in found):
            record = asyncio.create_task(doctor_checks.read_application(platform.call_as_app, own.app_id))
            try:
                found += await run_concurrently(
                    {
                        "installation": installation(platform, record),
                        "bot ability": bot_ability(platform),
                        "redirect URLs": redirect_urls(settings, platform, record),
                        "sign-in": signing_in(settings, own, http),
                        "scopes": scopes(platform, commands),
                        "app scopes": app_scopes(platform, record),
                        "events": events(settings, own, http),
                        "subscription": subscription(context, record),
                        "webhook": webhook(settings, own, surroundings),
                        "administrators": administrators(context.admins, platform),
                    }
                )
            finally:
                record.cancel()
                await asyncio.gather(record, return_exceptions=True)
        else:
            rest = (
                "not checked without credentials: installation, "
                "bot ability, redirect URLs, sign-in, scopes, events, administrators"
            )
            found.append(Finding("warn", "app", rest, "Fix the credentials first."))
            found += await run_concurrently({"webhook": webhook(settings, own, surroundings)})
    finally:
        await http.close()
    return found


def event_help(settings: Settings, own: LarkSettings) -> str:
    way = "receive through a long connection"
    if own.events == "webhook":
        way = f"send to the request URL {settings.public_url or 'https://…'}{EVENTS_PATH}"
    return (
        f"in the developer console, Events & Callbacks, {way}, and subscribe to {MESSAGES}; publish a version. Another "
        "program that runs with this app's credentials receives events in place of the bot."
    )


Application = Mapping[str, Any]
Record = asyncio.Task["Application | Outcome"]


async def known(record: Record) -> Application | Outcome:
    """Return the app's record, which several checks need. One that gives up leaves it to the others."""
    return await asyncio.shield(record)


def fields_of(record: Application | Outcome) -> Application:
    return record if isinstance(record, Mapping) else {}


def client_script(settings: Settings, own: LarkSettings) -> list[Finding]:
    subject = "client script"
    if settings.public_url is None:
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


APP_DISABLED = frozenset({99991662, 99991673})
"""Codes for an app that is disabled, or not enabled in the organization."""
NOT_INSTALLED = 212100
SECRET_OR_STATE = 10014
"""The code of the token endpoint for a wrong secret, and for an app that is disabled."""
FORBIDDEN = 403
"""The code of the long connection's endpoint for an app that is disabled. A wrong secret has another one there."""
ENABLE = "Enable the app in the organization's admin console, Workplace > App Management."
INSTALL = (
    "Create and publish a version of the app (Version Management & Release); the organization's administrator then "
    "approves it in the admin console."
)


async def credentials(own: LarkSettings, http: HttpClient) -> Sequence[Finding]:
    problem = await doctor_checks.check_credentials(http, own.open_url, own.app_id, own.app_secret)
    if problem is None:
        return [Finding("ok", "credentials", f"{own.app_id} is accepted")]
    if isinstance(problem, Refused) and problem.code == SECRET_OR_STATE:
        second = await doctor_checks.check_long_connection(http, own.open_url, own.app_id, own.app_secret)
        if isinstance(second, Refused) and second.code == FORBIDDEN:
            return [
                Finding("FAIL", "installation", f"the app is disabled: {describe_outcome(problem)}", ENABLE)
            ]
    fix = "Compare LARK_APP_ID, LARK_APP_SECRET and LARK_BRAND with the developer console."
    if isinstance(problem, Unreachable | RateLimited):
        fix = "Fix the connection first, or wait, and run `bot doctor` again."
    return [Finding("FAIL", "credentials", describe_outcome(problem), fix)]


ACTIVATION: Mapping[int, tuple[Verdict, str, str]] = {
    0: ("FAIL", "the app is not installed in the organization", INSTALL),
    1: ("FAIL", "the organization has disabled the app", ENABLE),
    3: ("warn", "the app is installed, but not enabled yet", ENABLE),
    4: ("warn", "a new version of the app awaits approval", INSTALL),
    5: ("FAIL", "the app's licence has expired", "Renew it in the admin console."),
    6: ("FAIL", "the organization's plan has expired", "Renew it in the admin console."),
}
"""What the bot's `activate_status` means, other than 2: enabled."""


async def installation(platform: LarkPlatform, record: Record) -> Sequence[Finding]:
    subject = "installation"
    listed, bot, app = await asyncio.gather(
        doctor_checks.read_scopes(platform.call_as_app),
        doctor_checks.read_bot(platform.call_as_app),
        known(record),
    )
    for each in (listed, bot, app):
        if isinstance(each, Refused) and each.code in {NOT_INSTALLED, *APP_DISABLED}:
            message, fix = "the app is disabled", ENABLE
            if each.code == NOT_INSTALLED:
                message, fix = "the app is not installed in the organization", INSTALL
            return [Finding("FAIL", subject, f"{message} ({each.code})", fix)]
    status = bot.get("activate_status") if isinstance(bot, Mapping) else None
    if type(status) is int and status in ACTIVATION:
        return [Finding(ACTIVATION[status][0], subject, *ACTIVATION[status][1:])]
    fields = fields_of(app)
    if fields.get("status") == 0 and type(fields["status"]) is int:
        return [Finding("FAIL", subject, "the app is disabled", ENABLE)]
    if fields.get("online_version_id") == "":
        return [Finding("FAIL", subject, "no version of the app is published", INSTALL)]
    if read_text(fields, "unaudit_version_id"):
        message = "installed, but a version with changes awaits approval"
        return [Finding("warn", subject, message, "The organization's administrator approves it.")]
    return [Finding("ok", subject, "the app is installed and enabled")]


async def bot_ability(platform: LarkPlatform) -> Sequence[Finding]:
    found = await doctor_checks.read_bot_open_id(platform.call_as_app)
    if isinstance(found, str):
        return [Finding("ok", "bot ability", f"the bot is {found}")]
    fix = "Developer console: add the Bot ability, then create and publish a version."
    return [Finding("FAIL", "bot ability", describe_outcome(found), fix)]


async def redirect_urls(settings: Settings, platform: LarkPlatform, record: Record) -> Sequence[Finding]:
    subject = "redirect URLs"
    if settings.public_url is None:
        return [Finding("ok", subject, "none needed: no browser reaches the bot")]
    needed = [f"{settings.public_url}/oauth/lark/{page}" for page in ("callback", "client")]
    registered = doctor_checks.redirect_urls_in(await known(record))
    if not isinstance(registered, frozenset):
        fix = f"Check that Security Settings > Redirect URLs contains {' and '.join(needed)}."
        return [Finding("warn", subject, f"cannot tell: {describe_outcome(registered)}", fix)]
    absent = [url for url in needed if url not in registered]
    found = []
    if absent:
        fix = f"Developer console, Security Settings > Redirect URLs: add {' and '.join(absent)}."
        found.append(Finding("FAIL", subject, f"{len(absent)} of 2 not registered", fix))
    if fields_of(await known(record)).get("allow_refresh_token") is False:
        fix = "Developer console, Security Settings: allow refreshing user_access_token."
        message = "users must authorize again whenever a token expires: the app may not refresh tokens"
        found.append(Finding("warn", "refresh", message, fix))
    return found or [Finding("ok", subject, "both are registered")]


async def signing_in(settings: Settings, own: LarkSettings, http: HttpClient) -> Sequence[Finding]:
    subject, where = "sign-in", f"{own.accounts_url}{V3_ENDPOINT_PATH}"
    if settings.public_url is None:
        return [Finding("ok", subject, "none: no browser reaches the bot")]
    found = await doctor_checks.has_v3_token_endpoint(http, own.accounts_url, own.app_id, own.app_secret)
    if found:
        return [Finding("ok", subject, f"codes are exchanged at {where}")]
    if found is None:
        fix = "Check the network, and run `bot doctor` again."
        return [Finding("warn", subject, f"cannot tell whether {where} is there", fix)]
    message = (
        f"{where} is not there, so anyone who obtains the code of another user's link can sign in with it"
    )
    fix = "No setting of the bot changes that. Keep the callback's query out of the logs of proxies."
    return [Finding("warn", subject, message, fix)]


# --- scopes ------------------------------------------------------------------------------------------------


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
            "FAIL",
            subject,
            f"{names} cannot run: {not_enabled(clause)} for user identity",
            f"Enable {clause[0]}: {platform.console_link(frozenset({clause[0]}))}",
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


def not_enabled(clause: Clause) -> str:
    """Say that none of a clause's alternatives is enabled."""
    if len(clause) == 1:
        return f"{clause[0]} is not enabled"
    if len(clause) == 2:
        return f"neither {clause[0]} nor {clause[1]} is enabled"
    return f"none of {', '.join(clause[:-1])} and {clause[-1]} is enabled"


@dataclass(frozen=True, slots=True)
class AppNeed:
    """A scope that the app needs for its own identity."""

    clause: Clause
    without: str
    """What does not work without any of them."""
    verdict: Verdict = "warn"


APP_NEEDS = (
    AppNeed(
        ("im:message.p2p_msg:readonly", "im:message.p2p_msg"),
        "the bot does not hear direct messages",
        "FAIL",
    ),
    AppNeed(
        (
            "im:message.group_at_msg:readonly",
            "im:message.group_at_msg",
            "im:message.group_at_msg.include_bot:readonly",
            "im:message.group_msg",
        ),
        "the bot does not hear who mentions it in a group",
    ),
    AppNeed(("im:message:send_as_bot", "im:message", "im:message:send"), "the bot cannot answer", "FAIL"),
    AppNeed(("im:message:send_as_bot", "im:message", "im:message:update"), "cards cannot be updated"),
    AppNeed(
        ("auth:user_access_token:read",), "the bot does not learn of grants that users revoke at the platform"
    ),
    AppNeed(
        ("application:application:self_manage", "admin:app.info:readonly"),
        "the bot cannot read its own settings, such as its owner",
    ),
)


async def app_scopes(platform: LarkPlatform, record: Record) -> Sequence[Finding]:
    """Check the scopes of the app's own identity: without them the bot neither hears nor answers."""
    subject = "app scopes"
    listed, app = await asyncio.gather(doctor_checks.read_scopes(platform.call_as_app), known(record))
    enabled = doctor_checks.app_scopes_in(listed, fields_of(app))
    if enabled is None:
        needed = frozenset(each.clause[0] for each in APP_NEEDS)
        problem = (
            listed if not isinstance(listed, list) else Refused(0, "the list does not tell identities apart")
        )
        fix = f"Compare: {platform.console_link(needed, 'tenant')}"
        return [Finding("warn", subject, f"cannot tell: {describe_outcome(problem)}", fix)]
    waiting = (
        {read_text(each, "scope_name") for each in listed if each.get("grant_status") != GRANTED}
        if isinstance(listed, list)
        else set()
    )
    found = []
    for need in APP_NEEDS:
        if enabled.isdisjoint(need.clause):
            applied = [each for each in need.clause if each in waiting]
            state = (
                f"{applied[0]} awaits approval"
                if applied
                else f"{need.clause[0]} is not enabled for app identity"
            )
            fix = f"Enable it: {platform.console_link(frozenset({need.clause[0]}), 'tenant')} {PUBLISH}"
            found.append(Finding(need.verdict, subject, f"{need.without}: {state}", fix))
    return found or [Finding("ok", subject, "the bot can hear and answer")]


# --- events ------------------------------------------------------------------------------------------------


async def events(settings: Settings, own: LarkSettings, http: HttpClient) -> Sequence[Finding]:
    problem = await doctor_checks.check_long_connection(http, own.open_url, own.app_id, own.app_secret)
    if isinstance(problem, Refused) and problem.code == WRONG_BRAND:
        other = "feishu" if own.brand == "lark" else "lark"
        message = f"{OTHER_BRAND} to {other}, and LARK_OPEN_URL and its like if they are set"
        return [Finding("FAIL", "brand", message, "Then run `bot doctor` again.")]
    if own.events == "webhook":
        message = "webhook: the encrypt key is set"
        where = f"{settings.public_url or 'https://…'}{EVENTS_PATH}"
        return [Finding("ok", "events", f"{message}; the request URL is {where}")]
    if problem is None:
        return [Finding("ok", "events", "websocket: the platform offers a long connection")]
    fix = "Developer console, Events & Callbacks: receive through a long connection (custom apps only)."
    return [Finding("FAIL", "events", f"no long connection: {describe_outcome(problem)}", fix)]


async def subscription(context: Context, record: Record) -> Sequence[Finding]:
    """Compare the developer console's settings of events and callbacks with what the bot expects."""
    subject, app = "subscription", await known(record)
    if not isinstance(app, Mapping):
        fix = f"In the developer console, Events & Callbacks: subscribe to {MESSAGES} and {CLICKS}."
        return [Finding("warn", subject, f"cannot tell: {describe_outcome(app)}", fix)]
    callbacks = doctor_checks.object_in(app, "callback_info") or doctor_checks.object_in(app, "callback")
    ways = doctor_checks.object_in(app, "event")
    found = [
        *misdirected(context, "events", ways.get("subscription_type"), ways.get("request_url")),
        *misdirected(context, "card callbacks", callbacks.get("callback_type"), callbacks.get("request_url")),
    ]
    subscribed = doctor_checks.texts_in(ways.get("subscribed_events"))
    if subscribed is None and (version := read_text(app, "online_version_id")):
        subscribed = await doctor_checks.read_subscribed_events(
            context.platform.call_as_app, context.own.app_id, version
        )
    found += unsubscribed(subscribed, doctor_checks.texts_in(callbacks.get("subscribed_callbacks")))
    if not found and subscribed is None:
        fix = f"Check that Events & Callbacks lists {MESSAGES} and {CLICKS}."
        return [Finding("warn", subject, "cannot tell: the platform does not list the events", fix)]
    return found or [Finding("ok", subject, "messages and clicks are sent to the bot")]


def misdirected(context: Context, what: str, way: Any, url: Any) -> Iterable[Finding]:
    """Report events that go elsewhere. Only what the platform says in known words counts."""
    subject, own, public = "subscription", context.own, context.settings.public_url
    if way not in {"webhook", "websocket"}:
        return
    expected = f"{public or 'https://…'}{EVENTS_PATH}"
    to = "a long connection" if own.events == "websocket" else f"the request URL {expected}"
    fix = f"Developer console, Events & Callbacks: choose {to} for {what}, or change LARK_EVENTS. {PUBLISH}"
    shown = one_line(url, MAX_SHOWN) if isinstance(url, str) and url else "no address"
    if way != own.events:
        where = shown if way == "webhook" else "a long connection"
        message = f"{what} go elsewhere: to {where}, although LARK_EVENTS={own.events}"
        yield Finding("FAIL", subject, message, fix)
    elif way == "webhook" and public is not None and url != expected:
        yield Finding("FAIL", subject, f"{what} go elsewhere: to {shown}, not to {expected}", fix)


def unsubscribed(events: ScopeSet | None, callbacks: ScopeSet | None) -> Iterable[Finding]:
    subject = "subscription"
    fix = "Developer console, Events & Callbacks: add it."
    if events is not None and MESSAGES not in events:
        message = f"the bot hears nothing: the app is not subscribed to {MESSAGES}"
        yield Finding("FAIL", subject, message, f"{fix} {PUBLISH}")
    elif events is not None and (absent := [each for each in OTHER_EVENTS if each not in events]):
        message = f"the app is not subscribed to {', '.join(absent)}"
        yield Finding("warn", subject, message, f"{fix} {PUBLISH}")
    if callbacks is not None and CLICKS not in callbacks:
        message = f"buttons of cards do nothing: the app is not subscribed to the callback {CLICKS}"
        yield Finding("FAIL", subject, message, f"{fix} {PUBLISH}")


async def webhook(settings: Settings, own: LarkSettings, surroundings: FindSurroundings) -> Sequence[Finding]:
    """Send the bot an encrypted and signed request through its public address, which it answers. Changes nothing."""
    if own.events != "webhook" or settings.public_url is None or own.encrypt_key is None:
        return []
    url, challenge = f"{settings.public_url}{EVENTS_PATH}", secrets.token_hex(16)
    token = own.verification_token.reveal() if own.verification_token else ""
    request = {"type": "url_verification", "challenge": challenge, "token": token}
    body, headers = doctor_checks.signed_request(own.encrypt_key, request, time.time())
    # Without the signature first, as the developer console does: the running bot counts wrong signatures as its trouble.
    answer = await post(settings, url, body, {})
    wrong = misrouted(url, answer, await surroundings())
    if wrong is not None or not isinstance(answer, Answer):
        return [wrong] if wrong else []
    if is_refusal(answer):
        return [await refused(settings, own, url)]
    is_quick = answer.seconds <= PLATFORM_PATIENCE
    signed = await post(settings, url, body, headers) if answers(answer, challenge) and is_quick else answer
    if isinstance(signed, Answer) and answers(signed, challenge):
        return [arrived(url, signed, "a signed and encrypted event")]
    if isinstance(signed, Answer) and is_refusal(signed):
        return [signature_lost(url, signed)]
    fix = "Make the proxy forward this path to the bot."
    return [Finding("FAIL", WEBHOOK, f"{url} is answered by something else: {answer.description}", fix)]


async def post(settings: Settings, url: str, body: bytes, headers: Mapping[str, str]) -> Answer | Failure:
    kind = {"Content-Type": "application/json; charset=utf-8"}
    return await probe(network_to(settings.network, url), "POST", url, headers={**kind, **headers}, body=body)


def answers(answer: Answer, challenge: str) -> bool:
    return answer.status == 200 and answer.fields.get("challenge") == challenge


async def refused(settings: Settings, own: LarkSettings, url: str) -> Finding:
    """Tell why the running bot rejects the request."""
    assert own.encrypt_key is not None
    # The bot rejects this in any case, but with another status if the signature is right.
    answer = await post(settings, url, *doctor_checks.signed_request(own.encrypt_key, None, time.time()))
    is_signature_right = isinstance(answer, Answer) and answer.status == 400
    name = "LARK_VERIFICATION_TOKEN" if is_signature_right else "LARK_ENCRYPT_KEY"
    message = f"the bot at {url} rejects {name}: it was started with another one"
    fix = f"{RESTART} Compare {name} with the developer console, Events & Callbacks > Encryption Strategy."
    return Finding("FAIL", WEBHOOK, message, fix)


def signature_lost(url: str, answer: Answer) -> Finding:
    """Tell why the bot accepts the key, but not what is signed with it."""
    if answer.clock_ahead is not None and abs(answer.clock_ahead) > LARGEST_SKEW:
        message = "the bot rejects events that this machine signs, because their clocks differ"
        return Finding("FAIL", WEBHOOK, message, "Synchronize the clocks of both (NTP).")
    message = f"signatures of events get lost on the way to {url}"
    return Finding("FAIL", WEBHOOK, message, "Make the proxy forward the headers and the body unchanged.")


# --- administrators ----------------------------------------------------------------------------------------


async def administrators(admins: Sequence[str], platform: LarkPlatform) -> Sequence[Finding]:
    if admins:
        return await asyncio.gather(*(administrator(each, platform) for each in admins))
    found = await platform.administrators()
    if found:
        owners = await asyncio.gather(*(administrator(each, platform) for each in found))
        return [replace(each, message=f"{each.message} (the app's owner)") for each in owners]
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
        case Refused(code=code) as refusal if doctor_checks.is_unknown_recipient(refusal):
            return Finding("FAIL", subject, f"{open_id} is not a user of this app ({code})", fix)
        case Refused() as refusal:
            fix = "Make the app available to this person, or name another one in BOT_ADMINS."
            return Finding(
                "FAIL", subject, f"{open_id} cannot be sent messages: {describe_outcome(refusal)}", fix
            )
        case problem:
            message = f"cannot tell whether {open_id} is a user of this app: {describe_outcome(problem)}"
            return Finding("warn", subject, message, fix)

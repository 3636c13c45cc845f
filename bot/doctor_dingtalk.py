"""The checks of `bot doctor` for an app on DingTalk."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bot.core.api import AppScopeMissing, Refused, Succeeded, Unreachable
from bot.dingtalk import doctor_checks
from bot.dingtalk.platform import DingTalkPlatform
from bot.doctor_bot import FindSurroundings, is_from_bot
from bot.doctor_platform import RESTART, WEBHOOK, arrived, is_refusal, misrouted, reachability
from bot.doctor_probes import Answer, network_to, probe
from bot.findings import LARGEST_SKEW, Finding, describe_outcome, run_concurrently
from bot.settings import DingTalkSettings, Settings

UNNAMED = "$:LWCP"
"""How ids begin that the platform gives instead of user IDs until the app is published."""
EVENTS_PATH, CARDS_PATH = "/dingtalk/events", "/dingtalk/cards"


@dataclass(frozen=True, slots=True)
class Context:
    """An app, and the settings with which it is served."""

    settings: Settings
    own: DingTalkSettings
    platform: DingTalkPlatform
    admins: Sequence[str]


def origins(own: DingTalkSettings) -> list[str]:
    """Return the origins that the bot calls, once each."""
    return list(dict.fromkeys((own.api_url, own.oapi_url, own.login_url)))


def event_help(settings: Settings, own: DingTalkSettings) -> str:
    way = "choose Stream mode"
    if own.events == "webhook":
        way = f"choose HTTP mode with the address {settings.public_url}{EVENTS_PATH}"
    return (
        f"for the robot in the developer console, {way}, and publish a version. Another program that runs with the "
        "credentials of this app receives messages in place of the bot."
    )


async def examine(context: Context, surroundings: FindSurroundings) -> list[Finding]:
    """Return every finding about the app, in a fixed order. Delivers nothing to anyone."""
    settings, own, platform = context.settings, context.own, context.platform
    found = await run_concurrently(
        {"platform": reachability(settings.network, origins(own)), "credentials": credentials(platform)}
    )
    found += client_script(own)
    if not any(each.subject == "credentials" and each.verdict == "ok" for each in found):
        rest = (
            "not checked without credentials: events, organization, sending, member look-ups, redirect URL, "
            "card template, administrators"
        )
        found.append(Finding("warn", "app", rest, "Fix the credentials first."))
        return found + await run_concurrently({WEBHOOK: webhook(context, surroundings)})
    found += await run_concurrently(
        {
            "events": events(own, platform),
            WEBHOOK: webhook(context, surroundings),
            "organization": organization(own, platform, surroundings),
            "sending": sending(platform),
            "member look-ups": lookups(platform),
            "redirect URL": redirect_url(settings, platform),
            "card template": template(own, platform),
            "administrators": administrators(context.admins, platform),
        }
    )
    return [*found, SCOPES]


SCOPES = Finding(
    "warn",
    "scopes",
    "the platform does not report which scopes the app has",
    "Add the scopes of the README's table in the developer console, Contact.User.Read among them.",
)


async def credentials(platform: DingTalkPlatform) -> Sequence[Finding]:
    problem = await platform.check_credentials()
    if problem is None:
        return [Finding("ok", "credentials", "DINGTALK_CLIENT_ID and DINGTALK_CLIENT_SECRET are accepted")]
    fix = "Copy DINGTALK_CLIENT_ID and DINGTALK_CLIENT_SECRET from the developer console."
    if isinstance(problem, Unreachable):
        fix = "Check DINGTALK_API_URL and the network."
    return [Finding("FAIL", "credentials", describe_outcome(problem), fix)]


def client_script(own: DingTalkSettings) -> list[Finding]:
    subject = "client script"
    url, _, integrity = own.jsapi_url.partition("#")
    if integrity:
        return [Finding("ok", subject, f"{url}, checked by browsers")]
    fix = (
        "Append #sha384- and the hash of a copy that you trust to DINGTALK_JSAPI_URL: "
        "openssl dgst -sha384 -binary FILE | openssl base64 -A"
    )
    return [Finding("warn", subject, f"browsers run {url} in whatever version it is served", fix)]


# --- events ------------------------------------------------------------------------------------------------


async def events(own: DingTalkSettings, platform: DingTalkPlatform) -> Sequence[Finding]:
    subject = "events"
    if own.events == "webhook":
        message = f"posted to {EVENTS_PATH}, if the robot is set to HTTP mode in the developer console"
        return [Finding("ok", subject, message)]
    problem = await platform.check_stream()
    if problem is None:
        return [Finding("ok", subject, "the platform opens a long connection")]
    return [Finding("FAIL", subject, problem, "Set the robot to Stream mode in the developer console.")]


async def webhook(context: Context, surroundings: FindSurroundings) -> Sequence[Finding]:
    """Send the bot a signed message through its public address, which it ignores. Changes nothing."""
    settings, own = context.settings, context.own
    if own.events != "webhook" or settings.public_url is None:
        return []
    url, cards = f"{settings.public_url}{EVENTS_PATH}", f"{settings.public_url}{CARDS_PATH}"
    body, headers = doctor_checks.signed_message(own.client_secret, time.time())
    answer, clicked = await asyncio.gather(
        probe(network_to(settings.network, url), "POST", url, headers=headers, body=body),
        probe(network_to(settings.network, url), "GET", cards),
    )
    around = await surroundings()
    wrong = misrouted(url, answer, around)
    if wrong is not None or not isinstance(answer, Answer):
        return [wrong] if wrong else []
    if is_refusal(answer):
        if answer.clock_ahead is not None and abs(answer.clock_ahead) > LARGEST_SKEW:
            message = "the bot rejects messages that this machine signs, because their clocks differ"
            return [Finding("FAIL", WEBHOOK, message, "Synchronize the clocks of both (NTP).")]
        message = f"the bot at {url} rejects messages signed with DINGTALK_CLIENT_SECRET: it was started with another one"
        return [Finding("FAIL", WEBHOOK, message, RESTART)]
    if not is_from_bot(answer) and answer.body.strip() != b"{}":
        fix = "Make the proxy forward this path to the bot."
        return [Finding("FAIL", WEBHOOK, f"{url} is answered by something else: {answer.description}", fix)]
    return [arrived(url, answer, "a signed message"), *card_webhook(context, cards, clicked)]


def card_webhook(context: Context, url: str, answer: object) -> Iterable[Finding]:
    """Report clicks on cards that do not reach the bot, which accepts only POST there."""
    if context.own.card_template_id is None:
        return
    if not isinstance(answer, Answer) or answer.status != 405 or not is_from_bot(answer):
        what = answer.description if isinstance(answer, Answer) else "nothing answers"
        fix = "Make the proxy forward every path, and forward it unchanged."
        yield Finding("FAIL", WEBHOOK, f"clicks on cards do not reach the bot at {url}: {what}", fix)


# --- the organization --------------------------------------------------------------------------------------


async def organization(
    own: DingTalkSettings, platform: DingTalkPlatform, surroundings: FindSurroundings
) -> Sequence[Finding]:
    """Check that the app belongs to the organization, and that the platform names those who write to it."""
    subject = "organization"
    problem = await platform.check_corp()
    if isinstance(problem, Refused):
        message = f"DINGTALK_CORP_ID is not the app's organization: {describe_outcome(problem)}"
        return [
            Finding("FAIL", subject, message, "Copy the CorpId from the home page of the developer console.")
        ]
    facts = (await surroundings()).facts
    sender = facts.last_sender.get(platform.app) if facts else None
    if sender is not None and sender.tenant_key == own.corp_id and sender.open_id.startswith(UNNAMED):
        message = "nobody can be served: the platform does not name the senders of messages"
        fix = "Publish a version of the app in the developer console, and make it available to its users."
        return [Finding("FAIL", subject, message, fix)]
    if problem is not None:
        message = f"cannot tell whether the app belongs to it: {describe_outcome(problem)}"
        return [Finding("warn", subject, message, "Compare DINGTALK_CORP_ID with the developer console.")]
    return [Finding("ok", subject, "the app belongs to it")]


async def sending(platform: DingTalkPlatform) -> Sequence[Finding]:
    """Check that the robot may send messages, with one to a user who does not exist."""
    subject = "sending"
    match await platform.check_sending():
        case None | Succeeded():
            return [Finding("ok", subject, "the robot may send messages")]
        case AppScopeMissing() as problem:
            fix = "Add the application permission qyapi_robot_sendmsg in the developer console, and publish a version."
            return [Finding("FAIL", subject, f"the bot cannot answer: {describe_outcome(problem)}", fix)]
        case Refused(unnamed_scope=True) as problem:
            fix = "Add the application permission qyapi_robot_sendmsg in the developer console, and publish a version."
            return [Finding("FAIL", subject, f"the bot cannot answer: {describe_outcome(problem)}", fix)]
        case Refused(message=message) as problem if "robotcode" in message.lower():
            fix = "Copy DINGTALK_ROBOT_CODE from the developer console, or unset it if it is the Client ID."
            return [Finding("FAIL", subject, f"the bot cannot answer: {describe_outcome(problem)}", fix)]
        case problem:
            fix = "Send the bot a message, and look at its log."
            return [Finding("warn", subject, f"cannot tell: {describe_outcome(problem)}", fix)]


async def lookups(platform: DingTalkPlatform) -> Sequence[Finding]:
    subject, problem = "member look-ups", await platform.check_lookups()
    if problem is None:
        return [Finding("ok", subject, "the app may look up members, and so verify who has authorized")]
    fix = (
        "Add the application permission qyapi_get_member: without it no authorization can be verified, so none is "
        "accepted."
    )
    return [Finding("FAIL", subject, describe_outcome(problem), fix)]


async def redirect_url(settings: Settings, platform: DingTalkPlatform) -> Sequence[Finding]:
    subject = "redirect URL"
    url = f"{settings.public_url}{platform.callback_path}"
    status = await platform.open_login_page(url)
    if isinstance(status, Unreachable):
        return [Finding("FAIL", subject, status.reason, "Check DINGTALK_LOGIN_URL and the network.")]
    if status >= 400:
        fix = f"Register {url} in the developer console, Security Settings."
        return [Finding("FAIL", subject, f"the login page does not open (HTTP {status})", fix)]
    message = f"the login page opens; only the developer console shows whether it accepts {url}"
    return [Finding("ok", subject, message)]


async def template(own: DingTalkSettings, platform: DingTalkPlatform) -> Sequence[Finding]:
    subject = "card template"
    if own.card_template_id is None:
        return [Finding("ok", subject, "none: plain action cards, which cannot be updated")]
    problem = await platform.check_template()
    if problem is None:
        return [Finding("ok", subject, "it exists and is published")]
    fix = "Publish the template in the card console, or unset DINGTALK_CARD_TEMPLATE_ID."
    if isinstance(problem, AppScopeMissing) or (isinstance(problem, Refused) and problem.unnamed_scope):
        fix = "Add the scope Card.Instance.Write to the app, or unset DINGTALK_CARD_TEMPLATE_ID."
    return [Finding("FAIL", subject, describe_outcome(problem), fix)]


async def administrators(admins: Sequence[str], platform: DingTalkPlatform) -> Sequence[Finding]:
    if admins:
        return await asyncio.gather(*(administrator(each, platform) for each in admins))
    fix = "Set BOT_ADMINS to their user IDs."
    message = "nobody is informed of what only an administrator can fix"
    return [Finding("warn", "administrators", message, fix)]


async def administrator(user_id: str, platform: DingTalkPlatform) -> Finding:
    """Check that an id of BOT_ADMINS is a member of the organization."""
    subject = "administrators"
    fix = "Set BOT_ADMINS to the person's user ID (员工 UserID), which the organization's directory shows."
    match await platform.check_member(user_id):
        case None:
            return Finding("ok", subject, user_id)
        case Refused(code=code) if code in doctor_checks.UNKNOWN_USER:
            return Finding("FAIL", subject, f"{user_id} is not a member of the organization ({code})", fix)
        case problem:
            message = f"cannot tell whether {user_id} is a member: {describe_outcome(problem)}"
            return Finding("warn", subject, message, fix)

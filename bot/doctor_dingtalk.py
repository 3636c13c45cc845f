"""The checks of `bot doctor` for an app on DingTalk."""

from __future__ import annotations

from collections.abc import Sequence

from bot.core.api import AppScopeMissing, Refused, Unreachable
from bot.dingtalk.platform import DingTalkPlatform
from bot.findings import Finding, describe_outcome, run_concurrently
from bot.settings import DingTalkSettings, Settings


def origins(own: DingTalkSettings) -> list[str]:
    """Return the origins that the bot calls, once each."""
    return list(dict.fromkeys((own.api_url, own.oapi_url, own.login_url)))


async def examine(
    loaded: Settings, own: DingTalkSettings, platform: DingTalkPlatform, admins: Sequence[str]
) -> list[Finding]:
    """Return every finding about the app, in a fixed order. Delivers nothing to anyone."""
    found = list(await credentials(platform))
    found += client_script(loaded, own)
    if found[0].verdict != "ok":
        rest = "not checked without credentials: events, member look-ups, redirect URL, card template"
        return [*found, Finding("warn", "app", rest)]
    found += await run_concurrently(
        events(own, platform),
        lookups(platform),
        redirect_url(loaded, platform),
        template(own, platform),
    )
    return [*found, *administrators(admins), SCOPES]


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


def client_script(loaded: Settings, own: DingTalkSettings) -> list[Finding]:
    subject = "client script"
    if loaded.public_url is None:
        fix = "Set BOT_PUBLIC_URL: DingTalk has no way to authorize without a page of the bot."
        return [Finding("FAIL", subject, "browsers cannot reach the bot, so nobody can authorize", fix)]
    url, _, integrity = own.jsapi_url.partition("#")
    if integrity:
        return [Finding("ok", subject, f"{url}, checked by browsers")]
    fix = (
        "Append #sha384- and the hash of a copy that you trust to DINGTALK_JSAPI_URL: "
        "openssl dgst -sha384 -binary FILE | openssl base64 -A"
    )
    return [Finding("warn", subject, f"browsers run {url} in whatever version it is served", fix)]


async def events(own: DingTalkSettings, platform: DingTalkPlatform) -> Sequence[Finding]:
    subject = "events"
    if own.events == "webhook":
        message = "posted to /dingtalk/events, if the robot is set to HTTP mode in the developer console"
        return [Finding("ok", subject, message)]
    problem = await platform.check_stream()
    if problem is None:
        return [Finding("ok", subject, "the platform opens a long connection")]
    return [Finding("FAIL", subject, problem, "Set the robot to Stream mode in the developer console.")]


async def lookups(platform: DingTalkPlatform) -> Sequence[Finding]:
    subject, problem = "member look-ups", await platform.check_lookups()
    if problem is None:
        return [Finding("ok", subject, "the app may look up members, and so verify who has consented")]
    fix = "Add the scope qyapi_get_member to the app: without it no consent can be verified, so none is accepted."
    return [Finding("FAIL", subject, describe_outcome(problem), fix)]


async def redirect_url(loaded: Settings, platform: DingTalkPlatform) -> Sequence[Finding]:
    subject = "redirect URL"
    if loaded.public_url is None:
        return []
    url = f"{loaded.public_url}{platform.callback_path}"
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


def administrators(admins: Sequence[str]) -> list[Finding]:
    if admins:
        return [Finding("ok", "administrators", f"{len(admins)} configured")]
    fix = "Set BOT_ADMINS to their user IDs."
    message = "nobody is informed of what only an administrator can fix"
    return [Finding("warn", "administrators", message, fix)]

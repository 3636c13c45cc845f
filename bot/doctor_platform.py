"""Checks of `bot doctor` that are the same for every platform: its hosts, and the webhook to which it posts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from urllib.parse import urlsplit

from bot.core.network import Network
from bot.core.response_values import parse_json_object
from bot.core.unseen_characters import one_line
from bot.doctor_bot import UNAVAILABLE, Surroundings, is_from_bot
from bot.doctor_probes import MAX_SHOWN, Answer, Failure, probe
from bot.findings import Finding, clock_finding

WEBHOOK = "webhook"
PLATFORM_PATIENCE = 3.0
"""Seconds after which a platform gives up on an event."""
RESTART = "Restart `bot run` with these settings."


async def reachability(network: Network, origins: Sequence[str]) -> Sequence[Finding]:
    """Request each origin of a platform, and compare the clocks."""
    answers = await asyncio.gather(*(probe(network, "GET", f"{each}/") for each in origins))
    found = [
        unreachable(origin, answer)
        if isinstance(answer, Failure)
        else Finding("ok", "platform", f"{origin} responds")
        for origin, answer in zip(origins, answers, strict=True)
    ]
    if isinstance(answers[0], Answer):
        found.append(clock_finding(answers[0].clock_ahead, "the platform's"))
    return found


def unreachable(origin: str, problem: Failure) -> Finding:
    fix = "Fix the network, HTTPS_PROXY, or the address in the settings."
    if problem.kind == "certificate":
        parts = urlsplit(origin)
        fix = f"`openssl s_client -connect {parts.hostname}:{parts.port or 443}` shows the certificate."
    return Finding("FAIL", "platform", f"{origin} is not reachable: {problem.reason}", fix)


# --- the webhook -------------------------------------------------------------------------------------------


def misrouted(url: str, answer: Answer | Failure, around: Surroundings) -> Finding | None:
    """Return why a request to the webhook did not reach it; None if it did, whatever its answer."""
    forward = f"Make the proxy forward POST requests for this path, unchanged, to {around.listens}."
    if isinstance(answer, Failure):
        if around.running:
            return Finding("FAIL", WEBHOOK, f"{url} does not answer: {answer.reason}", forward)
        return Finding("warn", WEBHOOK, f"not checked: {url} does not answer", around.start)
    if is_refusal(answer) or (answer.status == 200 and parse_json_object(answer.body) is not None):
        return None
    if answer.status in UNAVAILABLE and not around.running:
        message = f"not checked: nothing is behind {url} (HTTP {answer.status})"
        return Finding("warn", WEBHOOK, message, around.start)
    if is_from_bot(answer) and answer.status in {404, 405}:
        return Finding("FAIL", WEBHOOK, f"the running bot does not receive events at {url}", RESTART)
    if 300 <= answer.status < 400:
        target = one_line(answer.headers.get("Location", ""), MAX_SHOWN)
        fix = "Answer there without a redirect: the platform follows none."
        return Finding("FAIL", WEBHOOK, f"{url} redirects (HTTP {answer.status}) to {target}", fix)
    message = f"events do not reach the bot: {url} is answered by something else: {answer.description}"
    return Finding("FAIL", WEBHOOK, message, forward)


def is_refusal(answer: Answer) -> bool:
    """Whether the bot's webhook has rejected a request."""
    return 400 <= answer.status < 500 and answer.fields == {"msg": "refused"}


def arrived(url: str, answer: Answer, what: str) -> Finding:
    if answer.seconds > PLATFORM_PATIENCE:
        waits = f"the platform gives up after {PLATFORM_PATIENCE:.0f}"
        message = f"{url} answers after {answer.seconds:.1f} seconds, but {waits}"
        return Finding("FAIL", WEBHOOK, message, "Look at the proxy, and at how busy the bot's machine is.")
    return Finding("ok", WEBHOOK, f"{what} arrives at {url}")

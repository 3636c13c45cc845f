"""The checks of `bot doctor` for the running bot: its port, its public address, and whether it is ready."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from bot.core.network import DIRECT, is_loopback
from bot.core.unseen_characters import one_line
from bot.doctor_database import running
from bot.doctor_probes import MAX_SHOWN, Answer, Failure, listening_problem, local_origin, network_to, probe
from bot.findings import Finding, Verdict
from bot.settings import Settings
from bot.store.doctor_queries import Facts, SeenReplica

PUBLIC_URL, PORT, BOT = "public URL", "port", "bot"

BLOCKED = frozenset({401, 403, 404, 405})
"""Statuses with which a proxy keeps a path from the public."""
UNAVAILABLE = frozenset({502, 503, 504})
"""Statuses with which a proxy says that it does not reach the bot."""
RESULT_PATH = "/authorization/"
"""Where a callback without parameters redirects to."""
START = "Start `bot run`, then run `bot doctor` again."
FIX_DATABASE = "Fix the database first."


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the checks of the running bot need to know."""

    settings: Settings
    apps: Sequence[str]
    origins: Sequence[str]
    """Those of the platforms."""
    facts: Facts | None
    """None if the database cannot be read."""

    @property
    def running(self) -> list[SeenReplica]:
        return running(self.facts, self.apps)

    @property
    def not_running(self) -> str:
        """Why the bot may not answer, if no running one is known."""
        if self.facts is None:
            return "without the database, `bot doctor` cannot tell whether `bot run` is running"
        return "no `bot run` serves this database"

    @property
    def start(self) -> str:
        """What to do if no running bot is known."""
        return FIX_DATABASE if self.facts is None else START

    @property
    def may_run_here(self) -> bool:
        """Whether the bot may be running on this machine."""
        return self.facts is None or any(each.host == socket.gethostname() for each in self.running)

    @property
    def listens(self) -> str:
        return f"{self.settings.host}:{self.settings.port}"


FindSurroundings = Callable[[], Awaitable[Surroundings]]
"""Waits until the database has been read."""


# --- recognizing the bot -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Own:
    """A replica of this database that serves these apps."""

    replica: SeenReplica
    version: str


@dataclass(frozen=True, slots=True)
class Other:
    """A bot that is not known to be this one. `reason` completes "a bot answers"."""

    reason: str
    fix: str
    verdict: Verdict = "FAIL"


def recognize(answer: Answer, around: Surroundings) -> Own | Other | None:
    """Return whose `/healthz` has answered, or None if it is no bot's."""
    fields = answer.fields
    if answer.status != 200 or fields.get("status") != "alive":
        return None
    instance, version = shown(fields.get("instance")), shown(fields.get("version"))
    if not instance:
        fix = "Restart it with this release, which says who it is."
        return Other("of an earlier release, which does not say who it is", fix, "warn")
    if around.facts is None:
        reason = f"({instance}); without the database, `bot doctor` cannot tell whether it is this one"
        return Other(reason, FIX_DATABASE, "warn")
    replica = next((each for each in around.facts.replicas if each.id == instance), None)
    if replica is None:
        fix = "Fix BOT_PUBLIC_URL, or the proxy, if the bot of this database should answer, else BOT_DATABASE_URL."
        return Other(f"of another database ({instance})", fix)
    if absent := sorted(set(around.apps) - replica.apps):
        served = ", ".join(sorted(replica.apps)) or "no app"
        fix = "Give each bot its own address, or one bot the settings of both apps."
        return Other(f"that serves {served}, and not {', '.join(absent)} ({instance})", fix)
    return Own(replica, version)


def shown(value: object) -> str:
    return one_line(value[:200], MAX_SHOWN) if isinstance(value, str) else ""


def is_from_bot(answer: Answer) -> bool:
    """Whether an answer has the headers of every page of the bot. Proxies pass them on."""
    policy = answer.headers.get("Content-Security-Policy", "")
    return policy.startswith("default-src 'none'") and answer.headers.get("Referrer-Policy") == "no-referrer"


# --- the public address ------------------------------------------------------------------------------------


async def public_url(
    settings: Settings, callback_paths: Mapping[str, str], surroundings: FindSurroundings
) -> Sequence[Finding]:
    """Open the public address as a browser does. `callback_paths`: by platform."""
    public = settings.public_url
    if public is None:
        return [Finding("ok", PUBLIC_URL, "none: users authorize by device flow")]
    network = network_to(settings.network, public)
    health, *callbacks = await asyncio.gather(
        *(probe(network, "GET", f"{public}{path}") for path in ("/healthz", *callback_paths.values()))
    )
    around = await surroundings()
    found = judge_public(public, health, callbacks, around)
    broken = [
        judge_callback(f"{public}{path}", platform, answer)
        for (platform, path), answer in zip(callback_paths.items(), callbacks, strict=True)
        if not is_callback(answer)
    ]
    if found.verdict == "ok" and broken:
        return broken
    return [found] if found.verdict == "FAIL" else [found, *reach(public, around)]


def judge_public(
    public: str, health: Answer | Failure, callbacks: Sequence[Answer | Failure], around: Surroundings
) -> Finding:
    if isinstance(health, Failure):
        return unreachable_address(public, health, around)
    match recognize(health, around):
        case Own(replica=replica, version=version):
            release = f", version {version}" if version else ""
            return Finding("ok", PUBLIC_URL, f"{public} is answered by {replica.id}{release}")
        case Other(reason=reason, fix=fix, verdict=verdict):
            return Finding(verdict, PUBLIC_URL, f"{public} is answered by a bot {reason}", fix)
    if health.status in UNAVAILABLE:
        return proxy_alone(public, health, around)
    if 300 <= health.status < 400:
        target = one_line(health.headers.get("Location", ""), MAX_SHOWN)
        fix = (
            "Set BOT_PUBLIC_URL to the address that is reached without a redirect: the platform follows none."
        )
        return Finding("FAIL", PUBLIC_URL, f"{public} redirects (HTTP {health.status}) to {target}", fix)
    if health.status in BLOCKED and callbacks and all(map(is_callback, callbacks)):
        message = f"{public} is answered by a bot; its /healthz is not public, so which one is not known"
        return Finding("ok", PUBLIC_URL, message)
    fix = f"Make the proxy forward every path unchanged to {around.listens}, or fix BOT_PUBLIC_URL."
    return Finding("FAIL", PUBLIC_URL, f"{public} is answered by something else: {health.description}", fix)


def unreachable_address(public: str, failure: Failure, around: Surroundings) -> Finding:
    host, reason = urlsplit(public).hostname or "", failure.reason.partition(";")[0]
    message = f"{public} does not answer: {reason}"
    if failure.kind == "name":
        return Finding("FAIL", PUBLIC_URL, message, f"Add {host} to the DNS, or fix BOT_PUBLIC_URL.")
    if failure.kind == "certificate":
        fix = (
            f"Install a valid certificate for {host} where TLS ends: browsers and the platform reject this one too. "
            "If an authority of your own has signed it, set SSL_CERT_FILE to that authority's certificate."
        )
        return Finding("FAIL", PUBLIC_URL, message, fix)
    port = around.settings.port
    if is_local(public) and port not in {urlsplit(public).port, 0}:
        fix = f"Set BOT_PUBLIC_URL to http://localhost:{port}, or start the proxy that listens there."
        verdict: Verdict = "FAIL" if around.running else "warn"
        return Finding(verdict, PUBLIC_URL, f"{message}, and the bot listens on port {port}", fix)
    if not around.running:
        return Finding("warn", PUBLIC_URL, f"{message}, and {around.not_running}", around.start)
    fix = (
        f"Make the proxy, or the network, lead from there to {around.listens}. If only this network cannot reach its own "
        f"public address, open {public}/healthz from another one."
    )
    return Finding("FAIL", PUBLIC_URL, message, fix)


def proxy_alone(public: str, health: Answer, around: Surroundings) -> Finding:
    message = f"a proxy answers at {public}, but does not reach the bot (HTTP {health.status})"
    if not around.running:
        return Finding("warn", PUBLIC_URL, f"{message}; {around.not_running}", around.start)
    return Finding("FAIL", PUBLIC_URL, message, f"Make the proxy forward to {around.listens}.")


def is_callback(answer: Answer | Failure) -> bool:
    """Whether a bot has answered a request for its callback that has no parameters."""
    return isinstance(answer, Answer) and answer.headers.get("Location", "").startswith(RESULT_PATH)


def judge_callback(url: str, platform: str, answer: Answer | Failure) -> Finding:
    what = answer.reason if isinstance(answer, Failure) else answer.description
    message = f"nobody can come back from authorizing: {url} is answered by something else: {what}"
    fix = "Make the proxy forward every path, and forward it unchanged."
    if isinstance(answer, Answer) and is_from_bot(answer):
        message = f"the running bot does not serve {url}"
        fix = "Restart `bot run` with these settings."
    return Finding("FAIL", PUBLIC_URL, message, fix, platform)


def reach(public: str, around: Surroundings) -> Iterable[Finding]:
    """Warn about an address that only this machine can open, unless the platform is an emulator on it."""
    if is_local(public) and not all(map(is_local, around.origins)):
        message = f"{public} can be opened on this machine only, not from a phone"
        yield Finding("warn", PUBLIC_URL, message, "Set BOT_PUBLIC_URL to an https origin for other people.")


def is_local(url: str) -> bool:
    return is_loopback(urlsplit(url).hostname or "")


# --- the port ----------------------------------------------------------------------------------------------


async def own_port(settings: Settings, surroundings: FindSurroundings) -> Sequence[Finding]:
    """Check that the bot listens on its port, or could."""
    host, port = settings.host, settings.port
    if port == 0:
        return [Finding("ok", PORT, "any free one")]
    answer = await probe(DIRECT, "GET", f"{local_origin(host, port)}/healthz")
    problem = await asyncio.to_thread(listening_problem, host, port) if isinstance(answer, Failure) else None
    around = await surroundings()
    found = judge_port(f"{host}:{port}", answer, problem, around)
    here = socket.gethostname()
    if found.verdict == "FAIL" and around.running and all(each.host != here for each in around.running):
        # The bot runs on another machine, whose port may well be free.
        return [Finding("warn", PORT, f"on this machine, {found.message}", found.fix)]
    return [found]


def judge_port(
    where: str, answer: Answer | Failure, problem: OSError | None, around: Surroundings
) -> Finding:
    if isinstance(answer, Failure):
        return free_or_not(where, problem, around)
    port = where.rpartition(":")[2]
    fix = f"Stop it (`ss -ltnp 'sport = :{port}'` names it), or set BOT_PORT to another port."
    match recognize(answer, around):
        case Own(replica=replica):
            return Finding("ok", PORT, f"{replica.id} listens on {where}")
        case Other(verdict="FAIL", reason=reason):
            return Finding("FAIL", PORT, f"{where} is taken by a bot {reason}", fix)
        case Other(reason=reason, fix=remedy, verdict=verdict):
            # It may be this one, which must not be stopped.
            return Finding(verdict, PORT, f"{where} is answered by a bot {reason}", remedy)
    if is_from_bot(answer):
        return Finding("ok", PORT, f"a bot listens on {where}")
    return Finding("FAIL", PORT, f"{where} is taken by another program: {answer.description}", fix)


def free_or_not(where: str, problem: OSError | None, around: Surroundings) -> Finding:
    port = where.rpartition(":")[2]
    if problem is None:
        return Finding("ok", PORT, f"{where} is free for `bot run`")
    if problem.errno == errno.EADDRINUSE and around.may_run_here:
        fix = (
            f"See which one it is: `ss -ltnp 'sport = :{port}'`. If it is the bot, look at its log; if not, stop it, or "
            "set BOT_PORT to another port."
        )
        message = f"{where} is taken by a program that does not answer HTTP, perhaps the bot itself"
        return Finding("FAIL", PORT, message, fix)
    if problem.errno == errno.EADDRINUSE:
        fix = f"Stop it (`ss -ltnp 'sport = :{port}'` names it), or set BOT_PORT to another port."
        return Finding("FAIL", PORT, f"{where} is taken by another program, which does not answer HTTP", fix)
    if problem.errno == errno.EACCES:
        fix = "Set BOT_PORT to a port from 1024, behind a proxy, or grant CAP_NET_BIND_SERVICE."
        return Finding("FAIL", PORT, f"this user may not listen on {where}", fix)
    if isinstance(problem, socket.gaierror) or problem.errno == errno.EADDRNOTAVAIL:
        fix = "Set BOT_HOST to one of its addresses, such as 127.0.0.1, or to 0.0.0.0 for all of them."
        return Finding("FAIL", PORT, f"{where} is not an address of this machine", fix)
    return Finding(
        "FAIL", PORT, f"nothing can listen on {where}: {problem.strerror}", "Fix BOT_HOST or BOT_PORT."
    )


# --- the process -------------------------------------------------------------------------------------------


async def bot(settings: Settings, surroundings: FindSurroundings) -> Sequence[Finding]:
    """Report which replicas run, and what the one on this machine says about itself."""
    # With BOT_METRICS_PORT, health is served only there.
    port = settings.metrics_port or settings.port
    origin = local_origin(settings.host, port)
    health, ready = await asyncio.gather(
        *(probe(DIRECT, "GET", f"{origin}{path}") for path in ("/healthz", "/readyz"))
    )
    around = await surroundings()
    if around.facts is None:
        return []
    replicas = around.running
    if not replicas:
        return [Finding("warn", BOT, around.not_running, around.start)]
    names = ", ".join(f"{each.id} on {each.host}" for each in replicas[:5])
    more = f" and {len(replicas) - 5} more" if len(replicas) > 5 else ""
    found = [Finding("ok", BOT, f"{len(replicas)} running: {names}{more}")]
    if (
        isinstance(health, Answer)
        and isinstance(ready, Answer)
        and isinstance(recognize(health, around), Own)
    ):
        found += readiness(ready)
    return found


def readiness(ready: Answer) -> Iterable[Finding]:
    """Report what is down, and what is refused, as the bot's `/readyz` tells it."""
    fields = ready.fields
    for name, state in fields.items():
        what = one_line(name, 40)
        if f"{name}_down_because" in fields or state == "down":
            since, because = (
                shown(fields.get(f"{name}_down_since")),
                shown(fields.get(f"{name}_down_because")),
            )
            message = f"the running bot says that {what} {'are' if what.endswith('events') else 'is'} down"
            message += (f" since {since}" if since else "") + (f": {because}" if because else "")
            fix = "See the other checks; the bot's log says since when and why."
            yield Finding("FAIL" if state == "down" else "warn", BOT, message, fix)
        if because := shown(fields.get(f"{name}_refused_because")):
            count = refusals(fields.get(f"{name}_refused"))
            message = f"the running bot rejects {what}, {count} so far: {because}"
            fix = (
                "Compare its settings of events with the developer console. If they are the same, send the bot a message "
                "and run `bot doctor` again."
            )
            # One may be of a `bot doctor` with other settings.
            yield Finding("FAIL" if count > 1 else "warn", BOT, message, fix)
    if ready.status != 200 and all(state != "down" for state in fields.values()):
        yield Finding("FAIL", BOT, f"it is not ready (HTTP {ready.status})", "Its log says why.")


NOT_SIGNED = "not signed"
"""The reason for rejecting what strangers send."""


def refusals(counts: object) -> int:
    if not isinstance(counts, dict):
        return 0
    return sum(each for reason, each in counts.items() if type(each) is int and reason != NOT_SIGNED)

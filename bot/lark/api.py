"""HTTP to the platform: one pooled session, and the one place where an answer gets its meaning.

What is worth a retry, a card or a refresh is decided elsewhere, from the `Outcome` that `classify` makes.
"""

from __future__ import annotations

import base64
import json
import logging
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp
from aiohttp import hdrs

from bot.core.api import (
    ApiCall,
    AppScopeMissing,
    InsufficientScope,
    Json,
    Outcome,
    RateLimited,
    Refused,
    Succeeded,
    TokenRejected,
    Unreachable,
    Write,
)
from bot.core.events import Outage
from bot.core.network import STRAIGHT, Network
from bot.core.scopes import any_of
from bot.core.secrets import Secret
from bot.core.unseen_characters import one_line, tidy
from bot.lark.json_bounds import is_costly
from bot.lark.rate_limits import QUOTA_SPENT, is_limit, reads_like_limit, seconds_to_wait

log = logging.getLogger(__name__)

CONNECTIONS = 100
MAX_ANSWER_BYTES = 2 * 1024 * 1024
TIMEOUT = aiohttp.ClientTimeout(total=10, connect=6)
"""One attempt waits 10 seconds at most. Connecting has less of it, so that running out of time while still
connecting has an exception of its own: then the request certainly never left."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Whatever came back, unread."""

    status: int
    headers: Mapping[str, str]
    body: bytes | None
    """None when it was larger than `MAX_ANSWER_BYTES`, or costly to parse."""


class Http:
    """One pooled session. Opened by its first use, closed by `close`; may be used concurrently."""

    def __init__(self, network: Network = STRAIGHT, *, watched: bool = False) -> None:
        """`watched`: the log is told when a host cannot be reached, and when it can be again."""
        self._way, self._watched = Way(network), watched
        self.outages: dict[str, Outage] = {}
        """The hosts to which the last request did not get through."""
        self._session: aiohttp.ClientSession | None = None
        self.in_trouble = False
        """Whether the last API call had no usable answer."""

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def fetch(
        self,
        method: str,
        url: str,
        *,
        token: Secret | None = None,
        credentials: tuple[str, Secret] | None = None,
        query: Mapping[str, str] | None = None,
        body: Json = None,
        form: Mapping[str, str] | None = None,
    ) -> Answer | Unreachable:
        """One attempt: waits 10 seconds at most, follows no redirect and keeps no cookie.

        Nobody who reads the answer can find the token in it.
        """
        headers: dict[str, str] = {}
        data: bytes | Mapping[str, str] | None = form
        if token is not None:
            headers[hdrs.AUTHORIZATION] = f"Bearer {token.reveal()}"
        if credentials is not None:
            joined = f"{credentials[0]}:{credentials[1].reveal()}".encode()
            headers[hdrs.AUTHORIZATION] = f"Basic {base64.b64encode(joined).decode()}"
        if body is not None:
            headers[hdrs.CONTENT_TYPE] = "application/json; charset=utf-8"
            data = json.dumps(body, ensure_ascii=False).encode(errors="replace")
        try:
            async with self._opened().request(
                method,
                url,
                params=query or None,
                headers=headers,
                data=data,
                allow_redirects=False,
                middlewares=() if method in REPEATABLE else (send_once,),
                **self._way.to(url),
            ) as response:
                content = bounded(await read_bounded(response))
                if self.outages:
                    self._got_through(url)
                return Answer(response.status, response.headers, without_token(content, token))
        except NOTHING_SENT as problem:
            reason = describe(problem)
            self._did_not_get_through(url, reason)
            return Unreachable(reason, may_have_arrived=False)
        except (aiohttp.ClientError, OSError, TimeoutError) as problem:
            # A connection that breaks, a kept-alive one among them, does not tell how far the request came.
            return Unreachable(describe(problem), may_have_arrived=True)

    def _got_through(self, url: str) -> None:
        host = urlsplit(url).hostname or ""
        if self.outages.pop(host, None) and self._watched:
            log.info("the platform can be reached again", extra={"host": host})

    def _did_not_get_through(self, url: str, reason: str) -> None:
        host = urlsplit(url).hostname or ""
        before = self.outages.get(host)
        self.outages[host] = Outage(before.since if before else datetime.now(UTC), reason)
        if self._watched and (before is None or before.reason != reason):
            log.warning("the platform cannot be reached", extra={"host": host, "reason": reason})

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONNECTIONS),
                timeout=TIMEOUT,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={hdrs.USER_AGENT: "bot-that-asks"},
            )
        return self._session


def without_token(content: bytes | None, token: Secret | None) -> bytes | None:
    """A gateway that repeats the headers it was sent must not get a token into what people and operators read."""
    if content is None or token is None:
        return content
    return content.replace(token.reveal().encode(), b"***")


REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PATCH"})
"""The methods that need no `send_once`: they only read, or aiohttp never repeats them by itself."""


class Interrupted(aiohttp.ClientError):
    """The connection broke before there was an answer."""


async def send_once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keeps aiohttp from repeating a PUT or DELETE whose connection broke: it may have been carried out.

    RFC 9110 calls them idempotent; whoever deletes "the first row" twice sees it otherwise.
    """
    try:
        return await handler(request)
    except NOTHING_SENT:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as problem:
        raise Interrupted(describe(problem)) from problem


async def read_bounded(response: aiohttp.ClientResponse) -> bytes | None:
    length = response.content_length
    if length is not None and length <= MAX_ANSWER_BYTES and hdrs.CONTENT_ENCODING not in response.headers:
        return await response.read()
    chunks, size = [], 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > MAX_ANSWER_BYTES:
            return None
        chunks.append(chunk)
    return b"".join(chunks)


def bounded(content: bytes | None) -> bytes | None:
    return None if content is None or is_costly(content) else content


def describe(problem: Exception) -> str:
    """Words for logs and people: no URL in them, for those may hold what people searched for."""
    match problem:
        case aiohttp.ClientConnectorCertificateError():
            return rejected_certificate(problem.host, problem.certificate_error)
        case aiohttp.ClientConnectorSSLError():
            return f"no TLS with {problem.host} ({tls_reason(problem)})"
        case aiohttp.ClientProxyConnectionError():
            return f"no connection to the proxy {problem.host}:{problem.port}"
        case aiohttp.ClientHttpProxyError(status=status):
            proxy = problem.request_info.real_url
            why = "wants other credentials" if status == 407 else "does not let the bot through"
            return f"the proxy {proxy.host}:{proxy.port} {why} (HTTP {status})"
        case aiohttp.ClientConnectorError():
            return f"no connection to {problem.host}"
        case TimeoutError():
            return "no answer in time"
    return f"the connection broke ({type(problem).__name__})"


# --- the way to a host ----------------------------------------------------------------------------------

NOTHING_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.ClientHttpProxyError)
"""What goes wrong while connecting, at the proxy or beyond it: the request has certainly not left."""


class Way:
    """How aiohttp is told which proxy to take and whom to trust."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._trust: bool | ssl.SSLContext = True
        if network.certificates is not None:
            self._trust = ssl.create_default_context()
            # From 3.13 on Python refuses authorities whose own certificate lacks an extension, as those of many
            # companies do. These have been chosen by an operator.
            self._trust.verify_flags &= ~ssl.VERIFY_X509_STRICT
            self._trust.load_verify_locations(network.certificates)

    def to(self, url: str) -> dict[str, Any]:
        """Arguments for a request or a WebSocket."""
        proxy = self._network.proxy_for(url)
        if proxy is None:
            return {"ssl": self._trust}
        options: dict[str, Any] = {"ssl": self._trust, "proxy": proxy.url}
        if proxy.password is not None:
            credentials = aiohttp.encode_basic_auth(proxy.user, proxy.password.reveal())
            options["proxy_headers"] = {hdrs.PROXY_AUTHORIZATION: credentials}
        return options


NOT_TRUSTED = frozenset({2, 18, 19, 20, 21})
"""OpenSSL's codes for an authority that nobody here knows."""
NOT_YET_VALID, EXPIRED = 9, 10
WRONG_NAME = frozenset({62, 64})


def rejected_certificate(host: str, problem: Exception) -> str:
    """Which of the usual reasons it is, and what to do about it."""
    code = getattr(problem, "verify_code", None)
    if code in NOT_TRUSTED:
        return f"the certificate of {host} is not trusted; set SSL_CERT_FILE"
    if code in WRONG_NAME:
        return f"the certificate of {host} is for another name; compare the address, or look for what intercepts it"
    if code == EXPIRED:
        return f"the certificate of {host} has expired, or this machine's clock is wrong"
    if code == NOT_YET_VALID:
        return f"the certificate of {host} is not valid yet, or this machine's clock is wrong"
    return (
        f"the certificate of {host} is not accepted: {getattr(problem, 'verify_message', 'unknown reason')}"
    )


def tls_reason(problem: aiohttp.ClientConnectorSSLError) -> str:
    reason = getattr(problem.os_error, "reason", None)
    return str(reason or "the handshake failed").replace("_", " ").lower()


async def call(http: Http, origin: str, api_call: ApiCall, token: Secret) -> Outcome:
    """Makes an API call once. A write does not leave while the platform is down: nobody could tell what became of it."""
    if api_call.write is not None and http.in_trouble:
        probed = await attempt(http, origin, PROBE, token)
        if isinstance(probed, Unreachable):
            return Unreachable(probed.reason, may_have_arrived=False)
    return await attempt(http, origin, api_call, token)


PROBE = ApiCall("GET", "/open-apis/authen/v1/user_info")
"""Changes nothing, and needs no scope."""


async def call_as_user(http: Http, origin: str, api_call: ApiCall, token: Secret) -> Outcome:
    """`call` with a user's token: a refusal that names its scope in its message alone is one for want of that scope."""
    outcome = await call(http, origin, api_call, token)
    if isinstance(outcome, Refused) and (alternatives := scopes_in_message(outcome.message)):
        return InsufficientScope(any_of(*alternatives), outcome.log_id)
    return outcome


async def attempt(http: Http, origin: str, api_call: ApiCall, token: Secret) -> Outcome:
    if not api_call.path.startswith("/open-apis/"):
        # Without this, a path such as `@elsewhere.example/` would carry the token to another host.
        raise ValueError(f"Not the path of an OpenAPI: {api_call.path!r}")
    answer = await http.fetch(
        api_call.method, origin + api_call.path, token=token, query=api_call.query, body=api_call.body
    )
    outcome = answer if isinstance(answer, Unreachable) else meaning_of(answer, api_call.method)
    http.in_trouble = isinstance(outcome, Unreachable)
    return outcome


def meaning_of(answer: Answer, method: str) -> Outcome:
    if answer.body is None and is_limit(answer.status):
        return RateLimited(seconds_to_wait(answer.headers))
    if method == "GET" and answer.body is None:
        return Refused(0, TOO_LARGE, log_id_of(answer.headers))
    if method != "GET" and is_redirect(answer.status):
        # Whoever answers "look over there" may have carried it out (RFC 9110, 15.4.4).
        return Unreachable(f"a redirect (HTTP {answer.status})", may_have_arrived=True)
    if method == "GET" and is_file(answer):
        return Refused(answer.status, NO_JSON, log_id_of(answer.headers))
    return classify(answer.status, answer.headers, answer.body)


def is_redirect(status: int) -> bool:
    return 300 <= status < 400


def is_file(answer: Answer) -> bool:
    """Whether it is what was asked for, and no JSON: a download. A proxy's words of trouble are HTML or plain text."""
    kind = answer.headers.get(hdrs.CONTENT_TYPE, "").partition(";")[0].strip().lower()
    attached = answer.headers.get(hdrs.CONTENT_DISPOSITION, "").lower().startswith("attachment")
    return 200 <= answer.status < 300 and bool(attached or (kind and not SPOKEN.search(kind)))


SPOKEN = re.compile(r"json$|^text/(html|plain)$")
TOO_LARGE = "The answer is too large."
NO_JSON = "The answer is a file, which cannot be shown here."


# --- what an answer means -------------------------------------------------------------------------------
# https://open.feishu.cn/document/server-docs/api-call-guide/generic-error-code

INSUFFICIENT_SCOPE = 99991679
APP_SCOPE_MISSING = 99991672
TOKEN_NOT_VALID = 99991668
TOKEN_REJECTED = frozenset(
    {
        99991677,  # expired
        TOKEN_NOT_VALID,
        20005,  # user_info says it with HTTP 200
        1274011,  # search says it with HTTP 401
    }
)
WRONG_BRAND = 1000040351
"""What the question for a long connection is answered with at the other brand's host. Everything else may work there,
the app's credentials among it."""
OTHER_BRAND = "the app belongs to the other brand; change LARK_BRAND"
PLATFORM_FAILED = frozenset(
    {
        1,  # "system busy"
        20050,
        20072,
        190003,
        1470500,
        1470422,  # the same task is being created by an earlier request: its key gives the result in a moment
        1771001,
        1771005,
        1230003,
        1236019,
        1254291,  # write conflict, with HTTP 200
        1255040,
    }
)
TENANT_TOKEN_REJECTED = frozenset({99991661, 99991663, 99991664, 99991671, TOKEN_NOT_VALID})
"""What refuses a tenant token as such; with a user token most of them mean something else."""


def classify(status: int, headers: Mapping[str, str], body: bytes | None) -> Outcome:
    """The meaning of an answer, by its `code` and not by its HTTP status, which differs from API to API."""
    parsed = parse_object(body)
    if parsed is None:
        return without_code(status, headers, body)
    code = parsed.get("code")
    if is_limit(status, code):
        return RateLimited(seconds_to_wait(headers, code))
    if code == 0 and code is not False:
        return Succeeded(parsed, log_id_of(headers, parsed))
    if type(code) is not int:
        return without_code(status, headers, body)
    log_id, message = log_id_of(headers, parsed), text_of(parsed.get("msg"))
    if code in {INSUFFICIENT_SCOPE, APP_SCOPE_MISSING}:
        alternatives = named_scopes(parsed, message)
        if alternatives:
            kind = InsufficientScope if code == INSUFFICIENT_SCOPE else AppScopeMissing
            return kind(any_of(*alternatives), log_id)
        return Refused(code, message, log_id, parsed, unnamed_scope=code == INSUFFICIENT_SCOPE)
    if code in TOKEN_REJECTED and not (code == TOKEN_NOT_VALID and "not support" in message):
        return TokenRejected(code, log_id)
    if code in PLATFORM_FAILED or status >= 500:
        return Unreachable(f"the platform failed ({code})", may_have_arrived=True)
    if code != QUOTA_SPENT and reads_like_limit(headers, message):
        return RateLimited(seconds_to_wait(headers))
    return Refused(code, message, log_id, parsed)


def without_code(status: int, headers: Mapping[str, str], body: bytes | None) -> Outcome:
    """An answer that is not the platform's envelope: a proxy's page, a cut-off body, an unknown path."""
    if is_limit(status):
        return RateLimited(seconds_to_wait(headers))
    if is_redirect(status):
        return Refused(status, "The platform answered with a redirect.", log_id_of(headers))
    if status in {404, 405} and body is not None and not body.lstrip().startswith((b"<", b"{")):
        return Refused(status, one_line(body[:200].decode(errors="replace"), 200), log_id_of(headers))
    return Unreachable(f"not a usable answer (HTTP {status})", may_have_arrived=True)


def parse_object(body: bytes | None) -> dict[str, Any] | None:
    """The JSON object in `body`; None when it is no such thing, however it is broken."""
    try:
        parsed = json.loads(body or b"")
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


LONGEST_MESSAGE = 2000
"""Characters of a platform's message that are read: an answer may hold megabytes."""
MOST_ALTERNATIVES = 50
"""That a refusal may name; the platform documents no more for a whole link."""
SCOPE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127}")
BRACKET = re.compile(r"\[([^\]]+)\]")


def named_scopes(parsed: Mapping[str, Any], message: str) -> tuple[str, ...]:
    """The alternatives that a refusal names: permission violations, else the first bracket of the message.

    A violation names its scope as `subject`, in an older form of the answer as `scope`.
    """
    error = parsed.get("error")
    violations = error.get("permission_violations") if isinstance(error, dict) else None
    entries = violations if isinstance(violations, list) else []
    names = [entry.get("subject") or entry.get("scope") for entry in entries if isinstance(entry, dict)]
    found = scopes_among(names)
    if not found and (bracket := BRACKET.search(message)):
        found = scopes_among(name.strip() for name in bracket[1].split(","))
    return found[:MOST_ALTERNATIVES]


def scopes_among(names: Any) -> tuple[str, ...]:
    """Those that look like scopes, once each: anything else has no place in a link or on a card."""
    return tuple(dict.fromkeys(name for name in names if isinstance(name, str) and SCOPE.fullmatch(name)))


_NAME = r"[a-z]\w{0,62}(?::(?!(?:ou|on|oc|om|od|cli)_)[a-z]\w{0,62}(?:\.\w{1,62}){0,4}){1,3}(?![\w:/])"
_WANTING = r"requires?|required|needs?|needed|lacks?|lacking|missing|需要|缺少|未开通|未获得"
SCOPES_IN_WORDS = re.compile(
    # "ext=requires im:message.send_as_user scope", "ext=need scope: im:message.group_msg", "scope required: [a:b, c:d]"
    rf"(?:{_WANTING})[^.;。；]{{0,60}}?(?<![\w.:/@-])(?P<names>{_NAME}(?:\s*(?:,|、|\||\bor\b|\band\b|或|和)\s*{_NAME}){{0,49}})",
    re.ASCII,
)
ABOUT_SCOPES = re.compile(r"\bscopes?\b|\bpermissions?\b|\bprivileges?\b|权限", re.IGNORECASE)
NEAR = 40
"""Characters before and after, within which such a sentence says that it is about a scope."""


def scopes_in_message(message: str) -> tuple[str, ...]:
    """The scopes for want of which an API refuses that says so in its message alone, as the messaging APIs do (230027).

    Empty when the message names none: nobody can consent to a permission without a name.
    """
    found = SCOPES_IN_WORDS.search(message)
    if found is None or not ABOUT_SCOPES.search(message[max(0, found.start() - NEAR) : found.end() + NEAR]):
        return ()
    return scopes_among(re.findall(_NAME, found["names"], re.ASCII))[:MOST_ALTERNATIVES]


LONGEST_TOKEN = 16 * 1024
LONGEST_LIFE = 10 * 365 * 86400


def secret_in(fields: Mapping[str, Any], name: str) -> Secret | None:
    """A value fit for a header; a stray line break in one would surface as an exception later."""
    value = fields.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_TOKEN:
        return None
    return Secret(value) if value.isascii() and value.isprintable() and " " not in value else None


def seconds_in(fields: Mapping[str, Any], name: str) -> int | None:
    """A lifetime; None when it is none."""
    value = fields.get(name)
    return min(value, LONGEST_LIFE) if type(value) is int and value > 0 else None


def log_id_of(headers: Mapping[str, str], parsed: Mapping[str, Any] | None = None) -> str | None:
    """The id under which the platform's support finds a request."""
    found = headers.get("X-Tt-Logid") or headers.get("X-Request-Id")
    if found is None and parsed is not None and isinstance(error := parsed.get("error"), dict):
        found = error.get("log_id")
    return one_line(found) if isinstance(found, str) and found else None


def text_of(value: Any) -> str:
    return tidy(value[:LONGEST_MESSAGE]) if isinstance(value, str) else ""


# --- the typed catalogue of lark-oapi -------------------------------------------------------------------


def from_sdk_request(request: Any, *, write: Write | None = None, read: bool = False) -> ApiCall:
    """The plain call that a typed request of lark-oapi describes: its catalogue, without its transport.

    `write` and `read` say what the request does not: see `ApiCall`. Take it before the SDK has executed the request:
    then it would hold a token.
    """
    if request.files:
        raise ValueError("A file has no place in an ApiCall.")
    path = "/".join(
        quote(str(request.paths[segment[1:]]), safe="@") if segment.startswith(":") else segment
        for segment in request.uri.split("/")
    )
    body = None if request.body is None else plain(request.body)
    query: dict[str, str] = dict(request.queries)
    if len(query) < len(request.queries):
        raise ValueError("A query parameter that is repeated has no place in an ApiCall.")
    return ApiCall(request.http_method.name, path, query, body, write=write, read=read)


def plain(value: Any) -> Any:
    """A model of the SDK's, and whatever is in it, as JSON: fields that were not set are left out."""
    if isinstance(value, Mapping):
        return {name: plain(each) for name, each in value.items() if each is not None}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(each) for each in value]
    if value is None or isinstance(value, str | int | float):
        return value
    if not type(value).__module__.startswith("lark_oapi."):
        raise ValueError(f"A {type(value).__name__} has no place in an ApiCall.")
    return plain(vars(value))

"""The console: what the administrators of an app see of it, and two things that they can do there.

Every page is about the app of the signed-in operator, who is looked up among its administrators at each request, before
anything else is read. Rows of other apps are not found.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from bot.core.language import Words
from bot.core.people import UserKey
from bot.core.platform import Platform
from bot.core.scopes import Scope, ScopeSet
from bot.core.times import Zone, format_near_moment, zone_or
from bot.core.unseen_characters import tidy
from bot.core.words import console as words
from bot.flows import console
from bot.flows.bot import utc_now
from bot.flows.console import (
    CACHE_SECONDS,
    Event,
    Filter,
    Listing,
    Named,
    Overview,
    Overviews,
    Person,
    PlatformError,
)
from bot.web import login
from bot.web.account import signs_in_by_itself
from bot.web.app_keys import BOT, with_platform
from bot.web.console_charts import consent_chart, outcome_chart, quantile
from bot.web.pages import (
    CONSOLE_SESSION_ENDED_PAGE,
    CONSOLE_SIGN_IN_PAGE,
    NOT_AN_ADMINISTRATOR_PAGE,
    NOT_IN_CONSOLE_PAGE,
    Button,
    Page,
    show,
)
from bot.web.rendering import plain, render
from bot.web.security import CONTENT_SECURITY_POLICY_WITH_FORMS
from bot.web.session import (
    FLASH,
    FORM_TOKEN_FIELD,
    SESSION,
    Visitor,
    delete_cookie,
    flash,
    flashed,
    read_cookie,
    read_form,
    visitor_of,
)

OVERVIEWS = web.AppKey("overviews", Overviews)

PATH = "/console"
PEOPLE, PERSON, REQUESTS = f"{PATH}/people", f"{PATH}/person", f"{PATH}/requests"
CALLS, STORY, ERRORS, DONE = f"{PATH}/calls", f"{PATH}/story", f"{PATH}/errors", f"{PATH}/done"
ADMINISTRATORS, REVOKE, CHECK = f"{PATH}/scopes", f"{PATH}/revoke", f"{PATH}/check"

REVOKED, NOTHING_TO_REVOKE, CHECKED_NONE, CHECKED_SOME = "revoked", "nothing", "checked", "continued"
"""What was done, in the query and the flash cookie."""
DONE_WORDS = {
    REVOKED: words.REVOKED,
    NOTHING_TO_REVOKE: words.NOTHING_TO_REVOKE,
    CHECKED_NONE: words.CHECKED_NONE,
    CHECKED_SOME: words.CHECKED_SOME,
}

MAX_PARAMETER = 400
"""Characters of a parameter of the query."""
MAX_SEARCH = 100
OUTCOME_DAYS = 14
TOP_ROWS = 10
"""Rows of a table on the overview."""


# --- who may ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Times:
    """Formats times in the operator's zone."""

    zone: Zone
    now: datetime

    def near(self, moment: datetime) -> Words:
        return format_near_moment(moment, self.zone, self.zone.local(self.now).date())

    def exact(self, moment: datetime) -> str:
        return self.zone.local(moment).strftime("%Y-%m-%d %H:%M:%S")

    def clock(self, moment: datetime) -> str:
        return self.zone.local(moment).strftime("%H:%M:%S")

    def iso(self, moment: datetime) -> str:
        return moment.astimezone(UTC).isoformat(timespec="seconds")

    def age(self, moment: datetime) -> Words:
        seconds = (self.now - moment).total_seconds()
        if abs(seconds) < 1:
            return words.JUST_NOW
        return (words.AGO if seconds > 0 else words.AHEAD).format(time=words.duration(abs(seconds)))

    def span(self, begin: datetime, end: datetime) -> Words:
        return words.duration(max(0.0, (end - begin).total_seconds()))


@dataclass(frozen=True, slots=True)
class Operator:
    """A signed-in administrator of an app."""

    visitor: Visitor
    platform: Platform
    name: str | None
    times: Times

    @property
    def user(self) -> UserKey:
        return self.visitor.user

    @property
    def app(self) -> str:
        return self.visitor.user.app


PageHandler = Callable[[web.Request], Awaitable[web.Response]]
OperatorHandler = Callable[[web.Request, Operator], Awaitable[web.Response]]
FormHandler = Callable[[web.Request, Operator, Mapping[str, str]], Awaitable[web.Response]]


def for_administrators(handler: OperatorHandler) -> PageHandler:
    """Decorate the handler of a page: it is called for administrators only."""

    async def guarded(request: web.Request) -> web.Response:
        visitor = await visitor_of(request)
        if visitor is None:
            return signed_out(request)
        operator = await operator_of(request, visitor)
        if operator is None:
            return not_an_administrator(request, visitor)
        return await handler(request, operator)

    return guarded


def form_for_administrators(handler: FormHandler) -> PageHandler:
    """Decorate the handler of a posted form: it is called for administrators only, with the fields of the form."""

    async def guarded(request: web.Request) -> web.Response:
        form = await read_form(request)
        if form is None:
            return show(request, with_destination(CONSOLE_SESSION_ENDED_PAGE, PATH))
        operator = await operator_of(request, form.visitor)
        if operator is None:
            return not_an_administrator(request, form.visitor)
        return await handler(request, operator, form.fields)

    return guarded


async def operator_of(request: web.Request, visitor: Visitor) -> Operator | None:
    """Return the visitor as an operator, or None if they are not an administrator of their app at the moment."""
    bot = request.app[BOT]
    if not await bot.is_administrator(visitor.user):
        return None
    profile = await console.profile_of(bot, visitor.user)
    zone = zone_or(profile.time_zone if profile else None, bot.time_zone)
    name = profile.name if profile else None
    return Operator(visitor, bot.platform_of(visitor.user), name, Times(zone, utc_now()))


def signed_out(request: web.Request) -> web.Response:
    """Return the page that asks to sign in, and then leads back here. The client signs in without a click."""
    wanted = request.path_qs
    if not login.DESTINATION_PATTERN.fullmatch(wanted):
        wanted = request.path
    if signs_in_by_itself(request):
        return login.redirect(login.login_path(wanted))
    ended = read_cookie(request, SESSION) is not None
    return show(
        request, with_destination(CONSOLE_SESSION_ENDED_PAGE if ended else CONSOLE_SIGN_IN_PAGE, wanted)
    )


def with_destination(page: Page, wanted: str) -> Page:
    assert page.button is not None
    return replace(page, button=Button(page.button.label, login.login_path(wanted)))


def not_an_administrator(request: web.Request, visitor: Visitor) -> web.Response:
    return show(request, NOT_AN_ADMINISTRATOR_PAGE, request.app[BOT].platform_of(visitor.user))


def not_found(request: web.Request, operator: Operator) -> web.Response:
    return show(request, NOT_IN_CONSOLE_PAGE, operator.platform)


# --- pages -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Link:
    label: Words
    url: str
    current: bool = False


NAVIGATION = (
    (words.OVERVIEW, PATH, (PATH,)),
    (words.PEOPLE, PEOPLE, (PEOPLE, PERSON, DONE, REVOKE)),
    (words.REQUESTS, REQUESTS, (REQUESTS,)),
    (words.CALLS, CALLS, (CALLS, STORY)),
    (words.ERRORS, ERRORS, (ERRORS,)),
    (words.ADMINISTRATORS, ADMINISTRATORS, (ADMINISTRATORS, CHECK)),
)
"""Label, link, and the paths on which the link is marked."""


def page(
    request: web.Request, operator: Operator, template: str, title: Words, **values: Any
) -> web.Response:
    """Return a page of the console, with what was just done, which is shown once."""
    bot = request.app[BOT]
    done = flashed(request, operator.visitor)
    others = [each for each in bot.platforms.values() if each is not operator.platform]
    response = render(
        request,
        f"console/{template}.html",
        platform=operator.platform,
        headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY_WITH_FORMS},
        title=title,
        operator=operator,
        times=operator.times,
        navigation=[Link(label, url, request.path in paths) for label, url, paths in NAVIGATION],
        other_apps=[
            Link(each.display_name, with_platform(request, login.login_path(PATH), each)) for each in others
        ],
        done=DONE_WORDS.get(done) if done else None,
        token_field=FORM_TOKEN_FIELD,
        form_token=operator.visitor.form_token,
        **values,
    )
    if read_cookie(request, FLASH) is not None:
        delete_cookie(response, bot, FLASH)
    return response


def parameter(request: web.Request, name: str) -> str | None:
    """Return a parameter of the query, or None if it is missing, too long, or has invisible characters."""
    value = request.query.get(name, "")
    return value if 0 < len(value) <= MAX_PARAMETER and tidy(value) == value else None


def url(path: str, **parameters: str | None) -> str:
    given = {name: value for name, value in parameters.items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path


def with_query(target: str, query: str) -> str:
    """Return a URL, which may have a query, with a further part of it."""
    return f"{target}{'&' if '?' in target else '?'}{query}"


@dataclass(frozen=True, slots=True)
class Pager:
    newest: str | None
    older: str | None
    complete: bool


def pager(request: web.Request, listing: Listing, newest: str) -> Pager | None:
    """Return the links below a list, or None if it has one page. `newest`: the URL of the first one."""
    first = parameter(request, "after") is None
    if first and listing.older is None:
        return None
    older = None
    if listing.older is not None:
        older = with_query(newest, urlencode({"after": listing.older}))
    return Pager(None if first else newest, older, listing.complete)


@for_administrators
async def overview(request: web.Request, operator: Operator) -> web.Response:
    """`GET /console`"""
    zone = operator.times.zone
    today = zone.local(operator.times.now).date()
    days = [today - timedelta(days=OUTCOME_DAYS - 1 - each) for each in range(OUTCOME_DAYS + 1)]
    found = await request.app[OVERVIEWS].get(
        request.app[BOT], operator.app, tuple(zone.midnight(day) for day in days)
    )
    seconds = found.consents.seconds
    return page(
        request,
        operator,
        "overview",
        words.OVERVIEW,
        found=found,
        stages=words.STAGES,
        outcome_chart=outcome_chart(found, zone),
        consent_chart=consent_chart(seconds),
        median=optional_duration(quantile(seconds, 0.5)),
        ninth=optional_duration(quantile(seconds, 0.9)),
        top_scopes=found.grants.scopes[:TOP_ROWS],
        errors=group_errors(found)[:TOP_ROWS],
        error_total=error_total(found),
        failed_commands=found.errors.commands[:TOP_ROWS],
        capped_days=any(each.capped for each in found.outcomes),
        cache_seconds=CACHE_SECONDS,
    )


def optional_duration(seconds: float | None) -> Words | None:
    return None if seconds is None else words.duration(seconds)


def error_total(found: Overview) -> int:
    return sum(each.number for each in found.errors.platform)


ID_IN_PATH = re.compile(r"(?=[^/]*\d)[A-Za-z0-9_.@=-]{12,}|\d+")


def group_errors(found: Overview) -> list[PlatformError]:
    """Return the platform's errors with ids in paths as `…`, so that one reason is one row, the most frequent first."""
    groups: dict[tuple[str, str, int | None, str | None, str], PlatformError] = {}
    for each in found.errors.platform:
        path = "/".join("…" if ID_IN_PATH.fullmatch(part) else part for part in each.path.split("/"))
        key = (each.method, path, each.status, each.code, each.outcome)
        known = groups.get(key, replace(each, path=path, number=0))
        groups[key] = replace(known, number=known.number + each.number, latest=max(known.latest, each.latest))
    return sorted(groups.values(), key=lambda each: (-each.number, each.path))


@for_administrators
async def people(request: web.Request, operator: Operator) -> web.Response:
    """`GET /console/people`: all, or those who match `?search=`. The id of something else leads there."""
    wanted = tidy(request.query.get("search", "")).strip()[:MAX_SEARCH] or None
    if wanted is not None and parameter(request, "after") is None:
        named = await console.named_by(request.app[BOT], operator.app, wanted)
        if named is not None:
            return login.redirect(url_of(named))
    listing = await console.people(request.app[BOT], operator.app, wanted, parameter(request, "after"))
    return page(
        request,
        operator,
        "people",
        words.PEOPLE,
        listing=listing,
        search=wanted,
        pager=pager(request, listing, url(PEOPLE, search=wanted)),
    )


def url_of(named: Named) -> str:
    """Return the page that says most about what an id names."""
    if named.call is not None:
        return url(STORY, call=named.call)
    if named.request is not None:
        return url(CALLS, request=named.request)
    if named.api_calls is not None:
        return url(ERRORS, id=named.api_calls)
    return url(PERSON, user=str(named.user))


@for_administrators
async def person(request: web.Request, operator: Operator) -> web.Response:
    """`GET /console/person?user=`"""
    found = await person_in(request, operator)
    if found is None:
        return not_found(request, operator)
    grant = found.grant
    held = grant.scopes if grant is not None else frozenset()
    return page(
        request,
        operator,
        "person",
        name_of(found),
        person=found,
        described=await describe(operator.platform, held),
        history=[entry_of(each.action, each.detail, found.operators) for each in found.audit],
    )


async def person_in(request: web.Request, operator: Operator) -> Person | None:
    return await console.person(request.app[BOT], operator.app, parameter(request, "user"))


def name_of(found: Person) -> Words:
    name = plain(found.profile.name or "", 60)
    return Words(name, name) if name else words.UNKNOWN_NAME


DESCRIBING_TIMEOUT = 2.0
"""Seconds that a page waits for the platform's descriptions of scopes."""


async def describe(platform: Platform, scopes: ScopeSet) -> Mapping[Scope, Words]:
    """Return what the scopes allow; nothing if the platform does not say so in time."""
    try:
        async with asyncio.timeout(DESCRIBING_TIMEOUT):
            return await platform.describe_scopes(scopes) if scopes else {}
    except TimeoutError:
        return {}


@for_administrators
async def requests(request: web.Request, operator: Operator) -> web.Response:
    """`GET /console/requests`, with the filters `?status=&user=`."""
    return await filtered(request, operator, "requests", words.REQUESTS, words.REQUEST_STATUSES)


@for_administrators
async def calls(request: web.Request, operator: Operator) -> web.Response:
    """`GET /console/calls`, with the filters `?status=&user=&request=`."""
    return await filtered(request, operator, "calls", words.CALLS, words.CALL_STATUSES)


async def filtered(
    request: web.Request, operator: Operator, kind: str, title: Words, statuses: Mapping[str, Words]
) -> web.Response:
    """Show a list of calls or requests."""
    status = parameter(request, "status")
    status = status if status in statuses else None
    wanted = Filter(status, user_in(request), parameter(request, "request") if kind == "calls" else None)
    if wanted.user is not None and wanted.user.app != operator.app:
        return not_found(request, operator)
    read = console.calls if kind == "calls" else console.requests
    listing = await read(request.app[BOT], operator.app, wanted, parameter(request, "after"))
    kept = {"user": str(wanted.user) if wanted.user else None, "request": wanted.request}
    path = f"{PATH}/{kind}"
    chips = [Link(words.ALL, url(path, **kept), status is None)]
    chips += [Link(label, url(path, **kept, status=each), each == status) for each, label in statuses.items()]
    return page(
        request,
        operator,
        kind,
        title,
        listing=listing,
        chips=chips,
        wanted=wanted,
        without_person=url(path, status=status),
        pager=pager(request, listing, url(path, **kept, status=status)),
    )


def user_in(request: web.Request) -> UserKey | None:
    try:
        return UserKey.parse(parameter(request, "user") or "")
    except ValueError:
        return None


@for_administrators
async def story(request: web.Request, operator: Operator) -> web.Response:
    """`GET /console/story?call=`: what happened to a call."""
    found = await console.story(request.app[BOT], operator.app, parameter(request, "call"))
    if found is None:
        return not_found(request, operator)
    command = plain(f"/{found.call.command}", 40)
    entries = []
    previous = found.call.asked_at
    for event in found.events:
        entry = entry_of_event(event, found.operators)
        pause = (
            operator.times.span(previous, event.at) if (event.at - previous).total_seconds() >= 1 else None
        )
        entries.append((event, entry, pause))
        previous = event.at
    return page(
        request,
        operator,
        "story",
        Words(command, command),
        story=found,
        entries=entries,
    )


@for_administrators
async def errors(request: web.Request, operator: Operator) -> web.Response:
    """`GET /console/errors`: the calls to the platform that failed, or with `?id=` those with this log id."""
    bot, wanted = request.app[BOT], parameter(request, "id")
    if wanted is None:
        listing = await console.errors(bot, operator.app, parameter(request, "after"))
    else:
        listing = await console.errors_by_id(bot, operator.app, wanted)
    return page(
        request,
        operator,
        "errors",
        words.ERRORS,
        listing=listing,
        wanted=wanted,
        pager=pager(request, listing, ERRORS) if wanted is None else None,
    )


@for_administrators
async def done_for(request: web.Request, operator: Operator) -> web.Response:
    """`GET /console/done?user=`: the calls to the platform in a user's name."""
    user, bot = parameter(request, "user"), request.app[BOT]
    found = await console.done_for(bot, operator.app, user, parameter(request, "after"))
    if found is None:
        return not_found(request, operator)
    profile, listing = found
    return page(
        request,
        operator,
        "done",
        words.DONE_FOR,
        profile=profile,
        listing=listing,
        pager=pager(request, listing, url(DONE, user=user)),
    )


@for_administrators
async def administrators(request: web.Request, operator: Operator) -> web.Response:
    """`GET /console/scopes`: what the administrators have to enable, and who waits for it."""
    lane = await console.lane(request.app[BOT], operator.app)
    scopes = frozenset(scope for each in lane.waits for scope in each.scopes)
    return page(
        request,
        operator,
        "scopes",
        words.ADMINISTRATORS,
        lane=lane,
        described=await describe(operator.platform, scopes),
        links={each.id: operator.platform.console_link(each.scopes) for each in lane.waits},
    )


# --- what operators can do -------------------------------------------------------------------------------


@for_administrators
async def confirm_revocation(request: web.Request, operator: Operator) -> web.Response:
    """`GET /console/revoke?user=`: says what revoking does, and asks for a click."""
    found = await person_in(request, operator)
    if found is None:
        return not_found(request, operator)
    key = str(found.profile.user)
    effects = [*words.REVOKE_EFFECTS]
    if found.profile.user == operator.user:
        effects.append(words.REVOKE_SELF)
    return page(
        request,
        operator,
        "confirm",
        words.REVOKE_TITLE.format(name=name_of(found)),
        person=found.profile,
        effects=effects,
        action=REVOKE,
        fields={"user": key},
        confirm=words.REVOKE_CONFIRM,
        dangerous=True,
        back=url(PERSON, user=key),
    )


@form_for_administrators
async def revoke(request: web.Request, operator: Operator, fields: Mapping[str, str]) -> web.Response:
    """`POST /console/revoke`: does what `bot revoke` does."""
    bot = request.app[BOT]
    found = await console.person(bot, operator.app, fields.get("user"))
    if found is None:
        return not_found(request, operator)
    ended = await console.revoke(bot, operator.user, found.profile.user)
    done = REVOKED if ended.had_grant else NOTHING_TO_REVOKE
    return back(request, operator, url(PERSON, user=str(found.profile.user)), done)


@for_administrators
async def confirm_check(request: web.Request, operator: Operator) -> web.Response:
    """`GET /console/check`: says what checking does, and asks for a click."""
    return page(
        request,
        operator,
        "confirm",
        words.CHECK_TITLE,
        person=None,
        effects=words.CHECK_EFFECTS,
        action=CHECK,
        fields={},
        confirm=words.CHECK_CONFIRM,
        dangerous=False,
        back=ADMINISTRATORS,
    )


@form_for_administrators
async def check(request: web.Request, operator: Operator, fields: Mapping[str, str]) -> web.Response:
    """`POST /console/check`: does what *Check again* on the administrators' card does."""
    released = await console.check_scopes(request.app[BOT], operator.user)
    return back(request, operator, ADMINISTRATORS, CHECKED_SOME if released else CHECKED_NONE)


def back(request: web.Request, operator: Operator, target: str, done: str) -> web.Response:
    """Redirect to a page, which says what was done."""
    response = login.redirect(with_query(target, done))
    flash(response, request.app[BOT], done, operator.visitor)
    return response


PAGES: Mapping[str, PageHandler] = {
    PATH: overview,
    PEOPLE: people,
    PERSON: person,
    REQUESTS: requests,
    CALLS: calls,
    STORY: story,
    ERRORS: errors,
    DONE: done_for,
    ADMINISTRATORS: administrators,
    REVOKE: confirm_revocation,
    CHECK: confirm_check,
}
FORMS: Mapping[str, PageHandler] = {REVOKE: revoke, CHECK: check}


# --- entries of the audit log ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Detail:
    label: str | Words
    value: str | Words
    is_list: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """What happened, for a row of a history or a timeline. A detail may have no label."""

    label: str | Words
    tone: str
    details: tuple[Detail, ...]
    text: str | None
    """The detail as it is stored, if that is not JSON."""


HIDDEN_DETAILS = frozenset(
    {"attempt", "request", "generation", "asked_at", "generations", "where", "by", "token"}
)
"""Ids and counters that say nothing to a reader of the page, and what the action says already."""
CODES = frozenset({"reason", "outcome"})
"""Details that are one of the bot's outcomes and reasons."""
MAX_VALUES = 8

GOOD = frozenset({"call_succeeded", "request_granted", "grant_stored", "attempt_completed", "message_sent"})
BAD_ENDINGS = ("_failed", "_rejected", "_undeliverable", "_outcome_unknown")
CALM = frozenset({"call_suspended", "request_opened", "request_widened", "card_shown"})


def tone_of(what: str) -> str:
    if what in GOOD:
        return "good"
    if what.endswith(BAD_ENDINGS):
        return "bad"
    return "ask" if what in CALM else "plain"


def entry_of(what: str, detail: str | None, operators: Mapping[str, str | None]) -> Entry:
    """Return an entry of the audit log, or a row of the view `call_story`, in words."""
    label: str | Words = words.ACTIONS.get(what, what)
    parsed = parse_detail(detail)
    if parsed is None:
        return Entry(label, tone_of(what), (), detail)
    details = []
    for name, value in parsed.items():
        if name in HIDDEN_DETAILS or (name, value) == ("outcome", "answered"):
            continue
        if name == "command" and isinstance(value, str):
            details.append(Detail("", f"/{value}"))
            continue
        if name == "waits_for" and value in words.WAITS_FOR:
            details.append(Detail("", words.WAITS_FOR[value]))
            continue
        if isinstance(value, str) and name in CODES and (said := words.reason(value)) is not None:
            details.append(Detail(words.DETAILS[name], said))
            continue
        if name == "operator" and isinstance(value, str):
            value = operators.get(value) or value
        values = value if isinstance(value, list) else [value]
        shown = ", ".join(str(each) for each in flat(values))
        details.append(Detail(words.DETAILS.get(name, name), shown, isinstance(value, list)))
    return Entry(label, tone_of(what), tuple(details[:MAX_VALUES]), None)


def entry_of_event(event: Event, operators: Mapping[str, str | None]) -> Entry:
    """Return a row of the view `call_story` in words."""
    if event.what in {"asked", "card_shown"}:
        # Their details are the command and an id, which the page shows above.
        return Entry(words.ACTIONS[event.what], tone_of(event.what), (), None)
    kind = words.MESSAGE_KINDS.get(event.detail or "")
    if event.what.startswith("message_") and kind is not None:
        entry = Entry(words.ACTIONS.get(event.what, event.what), tone_of(event.what), (), None)
        results = [Detail("", kind)]
    else:
        entry, results = entry_of(event.what, event.detail, operators), []
    if event.result:
        said = result_of_api_call(event.result) if event.what == "api_call" else words.reason(event.result)
        results.append(Detail(words.RESULT, said or event.result))
    tone = "bad" if event.what == "api_call" and is_failure(event.result) else entry.tone
    return replace(entry, tone=tone, details=(*entry.details, *results))


API_RESULT = re.compile(r"(\w+)(?:, HTTP (\d+))?(?:, code (.+))?", re.DOTALL)
"""What the view `call_story` says of an API call: outcome, status and code."""


def result_of_api_call(result: str) -> Words | None:
    found = API_RESULT.fullmatch(result)
    if found is None or found[1] not in words.API_OUTCOMES:
        return None
    outcome, status, code = found.groups()
    said = words.API_OUTCOMES[outcome]
    if status:
        said += Words(f" · HTTP {status}", f" · HTTP {status}")
    if code and code != "0":
        said += Words(" · ", " · ") + words.CODE.format(code=plain(code, 40))
    return said


def is_failure(result: str | None) -> bool:
    return result is not None and not result.startswith(("succeeded", "insufficient_scope", "token_rejected"))


def flat(values: Iterable[Any]) -> list[Any]:
    """Return the values of nested lists, at most a few."""
    found: list[Any] = []
    for each in values:
        found += each if isinstance(each, list) else [each]
    return [*found[:MAX_VALUES], "…"] if len(found) > MAX_VALUES else found


def parse_detail(detail: str | None) -> dict[str, Any] | None:
    """Return a detail of the audit log, a list of scopes as `scopes`; None if it is plain text."""
    if detail is None:
        return {}
    try:
        parsed = json.loads(detail)
    except (ValueError, RecursionError):
        return None
    if isinstance(parsed, dict):
        return parsed
    return {"scopes": parsed} if isinstance(parsed, list) else None

"""What the console reads: right figures for one app, no rows of another, and a bounded cost at a million rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, insert, text

from bot.core.people import UserKey
from bot.store import console_queries as queries
from bot.store.console_queries import Filter, Listing
from bot.store.ids import new_id
from bot.store.schema import deferred_calls, scope_waits, users
from bot.store.transaction import Database
from tests.console_rows import lively
from tests.many_rows import fill

from .examples import ANNA, APP, NOW
from .test_plans import cost

OTHER_APP = "lark:cli_2"
MIDNIGHTS = tuple(
    NOW.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=day) for day in range(-13, 2)
)

Read = Callable[[Connection, str], Any]

READS: dict[str, Read] = {
    "grants": lambda c, app: queries.grant_figures(c, app, NOW),
    "consents": lambda c, app: queries.consent_figures(c, app, NOW - timedelta(days=30)),
    "outcomes": lambda c, app: queries.outcomes(c, app, MIDNIGHTS),
    "waiting": queries.waiting,
    "errors": lambda c, app: queries.error_figures(c, app, NOW - timedelta(days=11)),
    "people": queries.people,
    "people by name": lambda c, app: queries.find_people(c, app, "ada"),
    "people by id": lambda c, app: queries.find_people(c, app, "ou_0001"),
    "nobody": lambda c, app: queries.find_people(c, app, "nobody is called so"),
    "calls": lambda c, app: queries.calls(c, app, Filter()),
    "failed calls": lambda c, app: queries.calls(c, app, Filter("failed")),
    "calls that there are not": lambda c, app: queries.calls(c, app, Filter("outcome_unknown")),
    "requests": lambda c, app: queries.requests(c, app, Filter()),
    "expired requests": lambda c, app: queries.requests(c, app, Filter("expired")),
    "list of errors": queries.errors,
    "lane": queries.lane,
}


@pytest.fixture
async def people(database: Database) -> list[UserKey]:
    return await database.write(lambda c: lively(c, APP, "tenant_1", NOW, people=40))


def every_page(read: Callable[[Connection, str | None], Listing], c: Connection) -> list[Any]:
    """Return the rows of all pages, by following the cursors."""
    found: list[Any] = []
    listing = read(c, None)
    pages = 1
    while listing.older is not None:
        found += listing.rows
        listing = read(c, listing.older)
        pages += 1
        assert pages < 100
    return [*found, *listing.rows]


def number(c: Connection, table: str, where: str = "true") -> int:
    return int(c.execute(text(f"SELECT count(*) FROM {table} WHERE {where}")).scalar_one())


async def test_the_overview_counts_what_is_there(database: Database, people: list[UserKey]) -> None:
    def check(c: Connection) -> None:
        figures = queries.grant_figures(c, APP, NOW)
        assert (figures.people.number, figures.people.capped) == (40, False)
        assert figures.active == number(c, "grants", "status = 'active'")
        assert dict(figures.scopes)["offline_access"] == figures.active
        consents = queries.consent_figures(c, APP, NOW - timedelta(days=40))
        assert consents.examined.number == number(c, "authorization_requests")
        assert sum(consents.outcomes.values()) == consents.examined.number
        assert consents.outcomes["granted"] == len(consents.seconds)
        assert list(consents.reached) == sorted(consents.reached, reverse=True)
        assert list(consents.seconds) == sorted(consents.seconds)
        ended = queries.outcomes(c, APP, MIDNIGHTS)
        assert len(ended) == 14
        all_ended = sum(sum(each.numbers.values()) for each in ended)
        assert all_ended == len(
            [
                at
                for at in c.execute(text("SELECT settled_at FROM deferred_calls")).scalars()
                if MIDNIGHTS[0].strftime("%Y-%m-%d") <= str(at)[:10] <= NOW.strftime("%Y-%m-%d")
            ]
        )
        errors = queries.error_figures(c, APP, NOW - timedelta(days=40))
        assert sum(each.number for each in errors.platform) == number(
            c, "api_calls", "outcome NOT IN ('succeeded', 'insufficient_scope')"
        )
        assert {each.status for each in errors.commands} <= {"failed", "outcome_unknown"}

    await database.view(check)


async def test_a_grant_that_has_run_out_or_ended_is_not_in_force(
    database: Database, people: list[UserKey]
) -> None:
    def check(c: Connection) -> None:
        before = queries.grant_figures(c, APP, NOW).active
        assert queries.grant_figures(c, APP, NOW + timedelta(days=1)).active == before
        assert queries.grant_figures(c, APP, NOW + timedelta(days=6)).active == 0

    await database.view(check)


async def test_pages_follow_each_other_without_a_gap_or_a_repetition(
    database: Database, people: list[UserKey]
) -> None:
    def check(c: Connection) -> None:
        some = every_page(lambda c, after: queries.calls(c, APP, Filter(), after), c)
        assert [each.id for each in some] == sorted((each.id for each in some), reverse=True)
        assert len(some) == len({each.id for each in some}) == number(c, "deferred_calls")
        failed = every_page(lambda c, after: queries.calls(c, APP, Filter("failed"), after), c)
        assert len(failed) == number(c, "deferred_calls", "status = 'failed'")
        asked = every_page(lambda c, after: queries.requests(c, APP, Filter(), after), c)
        assert len({each.id for each in asked}) == number(c, "authorization_requests")
        refused = every_page(lambda c, after: queries.errors(c, APP, after), c)
        assert len({each.id for each in refused}) == number(
            c, "api_calls", "outcome NOT IN ('succeeded', 'insufficient_scope')"
        )
        one = people[3]
        made = every_page(lambda c, after: queries.done_for(c, one, after), c)
        assert len({each.id for each in made}) == number(c, "api_calls", f"user_key = '{one}'")

    await database.view(check)


async def test_people_of_the_same_moment_are_all_listed(database: Database) -> None:
    def write(c: Connection) -> None:
        rows = [
            {
                "user_key": replace(ANNA, open_id=f"ou_{each}"), "platform": "lark", "app_id": "cli_1",
                "tenant_key": "tenant_1", "open_id": f"ou_{each}", "created_at": NOW, "seen_at": NOW,
            }
            for each in range(120)
        ]  # fmt: skip
        c.execute(insert(users).inline(), rows)

    await database.write(write)
    found = await database.view(lambda c: every_page(lambda c, after: queries.people(c, APP, after), c))
    assert len({each.user for each in found}) == len(found) == 120


@pytest.mark.parametrize("wanted", ["ada", "ADA LOVE", "陈", "Åkesson", "åkesson", "Núñez", "NÚÑEZ"])
async def test_people_are_found_by_a_part_of_their_name(
    database: Database, people: list[UserKey], wanted: str
) -> None:
    listing = await database.view(lambda c: queries.find_people(c, APP, wanted))
    assert listing.rows
    assert all(wanted.lower() in (each.name or "").lower() for each in listing.rows)


@pytest.mark.parametrize("wanted", ["%", "_", "\\", "100%", "'", "ou", '"; DROP TABLE users; --', "a" * 100])
async def test_a_search_is_no_pattern(database: Database, people: list[UserKey], wanted: str) -> None:
    listing = await database.view(lambda c: queries.find_people(c, APP, wanted))
    assert [each for each in listing.rows if wanted.lower() not in (each.name or "").lower()] == []


async def test_people_are_found_by_their_id_and_its_beginning(
    database: Database, people: list[UserKey]
) -> None:
    for wanted in (people[7].open_id, people[7].open_id[:9], str(people[7])):
        listing = await database.view(lambda c, wanted=wanted: queries.find_people(c, APP, wanted))  # type: ignore[misc]
        assert people[7] in [each.user for each in listing.rows]


@pytest.mark.parametrize("cursor", ["", "~", "x~y", "99999999999999999~a", "1~", "-1~a", "1e3~b", "\u0661~a"])
async def test_a_cursor_that_is_none_begins_at_the_first_page(
    database: Database, people: list[UserKey], cursor: str
) -> None:
    first = await database.view(lambda c: queries.people(c, APP))
    assert await database.view(lambda c: queries.people(c, APP, cursor)) == first


async def test_a_story_is_told_in_order_and_ends_with_the_answer(
    database: Database, people: list[UserKey]
) -> None:
    def check(c: Connection) -> None:
        call = c.execute(
            text("SELECT id FROM deferred_calls WHERE consents = 1 AND status = 'succeeded' LIMIT 1")
        ).scalar_one()
        story = queries.story(c, APP, call)
        assert story is not None
        assert story.complete
        assert [each.at for each in story.events] == sorted(each.at for each in story.events)
        told = [each.what for each in story.events]
        assert told[0] == "asked"
        assert told[-1] == "message_sent"
        assert {
            "api_call",
            "call_suspended",
            "card_shown",
            "link_opened",
            "came_back",
            "call_released",
        } <= set(told)
        assert any(each.log_id for each in story.events)

    await database.view(check)


async def test_no_read_finds_a_row_of_another_app(database: Database, people: list[UserKey]) -> None:
    await database.write(lambda c: lively(c, OTHER_APP, "tenant_2", NOW, people=30))

    def check(c: Connection) -> None:
        mine = {name: repr(read(c, APP)) for name, read in READS.items()}
        theirs = {name: repr(read(c, OTHER_APP)) for name, read in READS.items()}
        assert [name for name, found in mine.items() if "cli_2" in found or "tenant_2" in found] == []
        assert [name for name, found in theirs.items() if "cli_1" in found or "tenant_1" in found] == []
        assert queries.grant_figures(c, OTHER_APP, NOW).people.number == 30
        foreign = next(iter(queries.people(c, OTHER_APP).rows)).user
        call = queries.calls(c, OTHER_APP, Filter()).rows[0].id
        assert queries.person(c, APP, str(foreign)) is None
        assert queries.profile(c, APP, str(foreign)) is None
        assert queries.story(c, APP, call) is None
        assert queries.calls(c, APP, Filter(user=foreign)).rows == ()
        assert queries.requests(c, APP, Filter(user=foreign)).rows == ()
        assert queries.find_people(c, APP, foreign.open_id).rows == ()

    await database.view(check)


async def test_the_lane_names_who_waits_for_which_scopes(database: Database, people: list[UserKey]) -> None:
    def write(c: Connection) -> None:
        for position, (scope, status) in enumerate(
            (("a:b", "waiting"), ("c:d", "waiting"), ("e:f", "enabled"))
        ):
            at = NOW - timedelta(hours=position)
            c.execute(
                insert(scope_waits).values(
                    id=new_id(at), platform="lark", app_id="cli_1", scopes=frozenset({scope}), status=status,
                    created_at=at, settled_at=at if status == "enabled" else None,
                )
            )  # fmt: skip
        for position, user in enumerate(people[:3]):
            c.execute(insert(deferred_calls).values(**a_waiting_call(user, position, "a:b")))

    await database.write(write)
    lane = await database.view(lambda c: queries.lane(c, APP))
    assert [sorted(each.scopes) for each in lane.waits] == [["c:d"], ["a:b"]]
    assert [each.calls for each in lane.waits] == [0, 3]
    assert {user for user, _ in lane.waits[1].people} == set(people[:3])
    waiting = await database.view(lambda c: queries.waiting(c, APP))
    assert (waiting.suspended["administrator"].number, waiting.scope_waits.number) == (3, 2)  # type: ignore[index]


def a_waiting_call(user: UserKey, position: int, scope: str) -> dict[str, Any]:
    at = NOW - timedelta(minutes=position)
    return {
        "id": new_id(at), "user_key": user, "chat_id": "oc", "chat_kind": "direct", "command": "search",
        "arguments": "", "asked_at": at, "received_at": at, "language": "en", "status": "suspended",
        "waits_for": "administrator", "needs": ((scope,),), "consents": 0, "attempts": 0, "runs_after": at,
        "expires_at": NOW + timedelta(days=1), "suspended_at": at, "confirmed": False, "claim": 0,
        "seal": "v1.a.b", "run_seal": "v1.a.b",
    }  # fmt: skip


@pytest.mark.parametrize(
    "written",
    ["not json", "[1, 2]", '{"a": "b"}', "[" * 5000, '["<b>"]', '"text"', ""],
    ids=["text", "numbers", "object", "deep", "markup", "string", "empty"],
)
async def test_a_row_that_another_program_has_spoiled_spoils_no_figure(
    database: Database, people: list[UserKey], written: str
) -> None:
    def spoil(c: Connection) -> None:
        c.execute(text("UPDATE grants SET scopes = :written WHERE status = 'active'"), {"written": written})
        c.execute(text("UPDATE deferred_calls SET needs = :written"), {"written": written})

    await database.write(spoil)
    await database.view(lambda c: [read(c, APP) for name, read in READS.items() if name != "consents"])
    await database.view(lambda c: [queries.person(c, APP, str(each)) for each in people[:5]])


# --- a million rows --------------------------------------------------------------------------------------

FEW, MANY, MILLION = 20_000, 60_000, 1_000_000


def fill_api_calls(c: Connection, first: int, last: int) -> None:
    """Insert calls to the platform over the eleven days before, one in three of which failed."""
    sqlite = c.dialect.name == "sqlite"
    begin = NOW - timedelta(days=11)
    numbered = (
        f"WITH RECURSIVE n(i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM n WHERE i < {last}) "
        if sqlite
        else ""
    )
    source = "n" if sqlite else f"generate_series({first}, {last}) AS n(i)"
    moment = (
        f"strftime('%Y-%m-%d %H:%M:%f000', '{begin:%Y-%m-%d %H:%M:%S}', (i * 0.9) || ' seconds')"
        if sqlite
        else f"timestamptz '{begin:%Y-%m-%d %H:%M:%S}+00' + i * interval '0.9 seconds'"
    )
    c.exec_driver_sql(
        "INSERT INTO api_calls (id, at, user_key, call_id, step, attempt, method, path, status, code, milliseconds, "
        f"outcome) {numbered}SELECT 'q' || i, {moment}, 'lark:cli_1:t:old' || i, 'c' || i, 0, 1, 'GET', "
        "'/v1/x/' || (i % 50), 200, '0', 100, CASE WHEN i % 3 = 1 THEN 'refused' ELSE 'succeeded' END "
        f"FROM {source}"
    )
    c.execute(text("ANALYZE"))


SOMEONE = UserKey.parse("lark:cli_1:t:old7")
OF_ONE: dict[str, Read] = {
    "person": lambda c, app: queries.person(c, app, str(SOMEONE)),
    "story": lambda c, app: queries.story(c, app, "c7"),
    "done": lambda c, app: queries.done_for(c, SOMEONE),
    "their calls": lambda c, app: queries.calls(c, app, Filter(user=SOMEONE)),
    "id of a call": lambda c, app: queries.named_by(c, app, "c77"),
    "id of a message": lambda c, app: queries.named_by(c, app, "om77"),
    "id of nothing": lambda c, app: queries.named_by(c, app, "no_such_id"),
    "errors by id": lambda c, app: queries.api_calls_by_id(c, app, "no_such_id"),
    "calls of a request": lambda c, app: queries.calls(c, app, Filter(request="r7")),
}


async def test_no_page_reads_more_because_more_is_stored(
    database: Database, request: pytest.FixtureRequest
) -> None:
    """The limits are reached with 20,000 rows already. With `--long` the second measure is of a million."""
    last = MILLION if request.config.getoption("--long") else MANY

    async def costs() -> dict[str, int]:
        return {
            name: await cost(database, lambda c, read=read: read(c, APP))  # type: ignore[misc]
            for name, read in (READS | OF_ONE).items()
        }

    def scan(c: Connection) -> object:
        return c.execute(text("SELECT sum(attempts) FROM deferred_calls")).scalar_one()

    await database.write(lambda c: fill(c, FEW, NOW))
    await database.write(lambda c: fill_api_calls(c, 1, FEW))
    few, scanned = await costs(), await cost(database, scan)
    await database.write(lambda c: fill(c, last, NOW, first=FEW + 1))
    await database.write(lambda c: fill_api_calls(c, FEW + 1, last))
    many, all_scanned = await costs(), await cost(database, scan)
    # The depth of the indexes grows a little. What reads all rows grows threefold.
    assert {name: (few[name], many[name]) for name in few if many[name] > 1.6 * few[name] + 200} == {}
    assert all_scanned > 2 * scanned, "The measure does not notice a scan."

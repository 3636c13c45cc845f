"""What `bot doctor` reads from the database, on both."""

from datetime import UTC, datetime, timedelta

from bot.core.people import UserKey
from bot.store import replicas, seen_events, users
from bot.store.doctor_queries import read_facts
from bot.store.transaction import Connection, Database

SAM = UserKey("lark", "cli_1", "t1", "ou_sam")


async def test_who_serves_it_and_when_events_arrived(database: Database) -> None:
    now = datetime.now(UTC)
    early, late = now - timedelta(hours=5), now - timedelta(hours=2)

    def arrange(c: Connection) -> None:
        for name, ago in (("live", 1), ("gone", 60), ("ahead", -7200)):
            replicas.heartbeat(c, name, "here", ["k1"], now - timedelta(seconds=ago))
        seen_events.record(c, "lark", "cli_1", "e1", early)
        users.seen(c, SAM, language=None, union_id=None, now=late)

    await database.write(arrange)
    facts = await database.read(lambda c: read_facts(c, ["lark:cli_1", "lark:cli_2"]))
    assert {each.id: each.is_live for each in facts.replicas} == {"live": True, "gone": False, "ahead": False}
    assert facts.last_heard.keys() == {"lark:cli_1"}
    assert timedelta(hours=1, minutes=59) < facts.last_heard["lark:cli_1"] < timedelta(hours=2, minutes=1)
    assert facts.last_sender == {"lark:cli_1": SAM}
    assert not facts.is_read_only
    # SQLite has this machine's clock.
    assert (facts.clock_ahead is None) == (database.dialect == "sqlite")
    assert abs(facts.clock_ahead or timedelta(0)) < timedelta(seconds=30)

"""When tokens are refreshed, which of two consents is kept, and when the use of a session is recorded."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from bot.core.grants import (
    REVOKED,
    REVOKED_AT_PLATFORM,
    REVOKED_HERE,
    Grant,
    GrantStatus,
    can_refresh,
    is_expired,
    is_overtaken,
    refresh_window,
    wants_refresh,
)
from bot.core.people import Session, UserKey
from bot.core.secrets import Secret

NOW = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
USER = UserKey("lark", "cli_1", "t1", "ou_1")
GRANT = Grant(
    user=USER,
    status=GrantStatus.ACTIVE,
    generation=1,
    access_token=Secret("a"),
    access_expires_at=NOW + timedelta(hours=2),
    refresh_token=Secret("r"),
    refresh_expires_at=NOW + timedelta(days=7),
    scopes=frozenset({"a"}),
    scopes_ever=frozenset({"a"}),
    authorized_at=NOW,
    issued_at=NOW,
    last_used_at=NOW,
    refresh_failures=0,
    refresh_after=None,
    refresh_lease_until=None,
)


EARLIER = replace(GRANT, authorized_at=NOW - timedelta(days=1))


@pytest.mark.parametrize(
    ("before", "current", "requested_after", "scopes", "overtaken"),
    [
        # Nothing was stored since.
        (None, None, timedelta(0), {"a"}, False),
        (GRANT, GRANT, timedelta(seconds=-1), {"b"}, False),
        # Another consent was stored: before the tokens were requested, at that moment, or later.
        (None, GRANT, timedelta(seconds=1), {"a"}, False),
        (EARLIER, GRANT, timedelta(seconds=1), {"a", "b"}, False),
        (EARLIER, GRANT, timedelta(0), {"a"}, True),
        (None, GRANT, timedelta(seconds=-1), {"a"}, True),
        # It has a scope that the new tokens lack, as far as the platform says.
        (EARLIER, GRANT, timedelta(seconds=1), {"b"}, True),
        (EARLIER, GRANT, timedelta(seconds=1), None, False),
        # The user was forgotten.
        (GRANT, None, timedelta(seconds=1), {"a"}, True),
    ],
)
def test_of_two_consents_the_newer_is_kept_unless_it_loses_scopes(
    before: Grant | None,
    current: Grant | None,
    requested_after: timedelta,
    scopes: set[str] | None,
    overtaken: bool,
) -> None:
    stated = None if scopes is None else frozenset(scopes)
    found = is_overtaken(before, current, requested_at=NOW + requested_after, scopes=stated)
    assert found is overtaken


@pytest.mark.parametrize(
    ("lifetime", "age", "wanted"),
    [
        # Five minutes ahead; of a short lifetime the last third.
        (timedelta(hours=2), timedelta(minutes=114), False),
        (timedelta(hours=2), timedelta(minutes=115), True),
        (timedelta(minutes=3), timedelta(seconds=119), False),
        (timedelta(minutes=3), timedelta(seconds=120), True),
        (timedelta(minutes=3), timedelta(hours=1), True),
    ],
)
def test_a_token_is_refreshed_ahead_of_its_end(lifetime: timedelta, age: timedelta, wanted: bool) -> None:
    grant = replace(GRANT, access_expires_at=NOW + lifetime)
    assert wants_refresh(grant, NOW + age) is wanted
    assert not wants_refresh(replace(grant, refresh_token=None), NOW + age)
    assert not wants_refresh(replace(grant, access_expires_at=None), NOW + age)


def test_a_token_expires_at_its_time() -> None:
    end = NOW + timedelta(hours=2)
    assert is_expired(GRANT, end)
    assert not is_expired(GRANT, end - timedelta(seconds=1))
    assert not is_expired(replace(GRANT, access_expires_at=None), end)


@pytest.mark.parametrize(
    ("grant", "possible"),
    [
        (GRANT, True),
        (replace(GRANT, refresh_expires_at=None), True),
        (replace(GRANT, refresh_token=None), False),
        (replace(GRANT, refresh_expires_at=NOW), False),
    ],
)
def test_a_grant_can_be_refreshed_while_its_refresh_token_is_valid(grant: Grant, possible: bool) -> None:
    assert can_refresh(grant, NOW) is possible


def test_grants_in_use_are_refreshed_ahead_of_need() -> None:
    window = refresh_window(NOW)
    assert window.access_expires_by - NOW == timedelta(minutes=5)
    assert NOW - window.busy_since == timedelta(hours=1)
    assert window.refresh_expires_by - NOW == timedelta(days=1)
    assert NOW - window.used_since == timedelta(days=14)


def test_only_a_revocation_makes_the_bot_forget_what_was_granted() -> None:
    assert {REVOKED_AT_PLATFORM} == REVOKED - REVOKED_HERE
    assert not {"expired", "token_lost", "app_stopped", "refresh_refused_20037"} & REVOKED


def test_the_use_of_a_session_is_recorded_once_a_minute() -> None:
    session = Session("digest", USER, NOW, NOW, NOW + timedelta(hours=8))
    assert session.is_use_recorded(NOW + timedelta(seconds=59))
    assert not session.is_use_recorded(NOW + timedelta(seconds=60))

"""What follows from each outcome."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from bot.core.api import (
    AppRejected,
    AppScopeMissing,
    BlockedByPolicy,
    InsufficientScope,
    NotAuthorized,
    RateLimited,
    Refused,
    Succeeded,
    TokenRejected,
    Unreachable,
    Write,
)
from bot.core.decisions import (
    AwaitAdministrator,
    Continue,
    GiveUp,
    GiveUpReason,
    OutcomeUnknown,
    Refresh,
    RetryAt,
    Situation,
    Suspend,
    after_call,
    is_certainly_not_done,
    may_send,
    needs_confirmation,
)
from bot.core.scopes import any_of

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
KEYED, UNKEYED = Write(timedelta(minutes=4)), Write(None)
LOST, REFUSED_CONNECTION = Unreachable("timeout", True), Unreachable("connection refused", False)

FACTS = Situation(
    now=NOW,
    declared=any_of("a", "b"),
    held=frozenset(),
    write=None,
    first_sent_at=None,
    refreshed=False,
    first_failed_at=None,
    attempts=1,
    consents=0,
    jitter=1.0,
)


def ago(**parts: float) -> datetime:
    return NOW - timedelta(**parts)


SECOND = NOW + timedelta(seconds=1)


@pytest.mark.parametrize(
    ("outcome", "facts", "decision"),
    [
        (InsufficientScope(any_of("b", "a")), {}, Suspend((("a", "b"),))),
        (AppScopeMissing(any_of("b", "a")), {}, AwaitAdministrator((("a", "b"),))),
        (NotAuthorized(), {}, Suspend((("a", "b"),))),
        (NotAuthorized(), {"declared": (), "consents": 3}, Suspend(())),
        (TokenRejected(99991677), {}, Refresh()),
        (RateLimited(30), {}, RetryAt(NOW + timedelta(seconds=35))),
        (RateLimited(None), {}, RetryAt(SECOND)),
        (LOST, {}, RetryAt(SECOND)),
        (REFUSED_CONNECTION, {"write": UNKEYED, "first_sent_at": NOW}, RetryAt(SECOND)),
        (LOST, {"write": KEYED, "first_sent_at": ago(minutes=1)}, RetryAt(SECOND)),
        (LOST, {"write": KEYED, "first_sent_at": ago(minutes=4)}, OutcomeUnknown()),
        (LOST, {"write": UNKEYED, "first_sent_at": NOW}, OutcomeUnknown()),
    ],
)
def test_each_outcome_has_its_decision(outcome, facts, decision):
    assert after_call(outcome, replace(FACTS, **facts)) == decision


@pytest.mark.parametrize(
    ("outcome", "facts", "why"),
    [
        (InsufficientScope(any_of("a")), {"consents": 3}, GiveUpReason.STILL_REFUSED),
        (InsufficientScope(any_of("a")), {"consents": 1, "held": frozenset("a")}, GiveUpReason.STILL_REFUSED),
        (TokenRejected(99991677), {"refreshed": True}, GiveUpReason.TOKEN_REFUSED),
        (AppRejected(), {}, GiveUpReason.APP_REJECTED),
        (BlockedByPolicy("log in with a passkey"), {"consents": 1}, GiveUpReason.BLOCKED_BY_POLICY),
        (RateLimited(61), {}, GiveUpReason.BUSY),
        (LOST, {"first_failed_at": ago(minutes=15)}, GiveUpReason.PLATFORM_FAILED),
        (RateLimited(5), {"first_failed_at": ago(minutes=15)}, GiveUpReason.BUSY),
    ],
)
def test_what_cannot_get_better_is_given_up_with_its_reason(outcome, facts, why):
    assert after_call(outcome, replace(FACTS, **facts)) == GiveUp(why, outcome)


def test_an_alternative_that_was_granted_without_effect_gives_way_to_the_next():
    facts = replace(FACTS, consents=1, held=frozenset("a"))
    assert after_call(InsufficientScope(any_of("a", "b")), facts) == Suspend((("b",),))


def test_answers_and_refusals_go_to_the_command():
    for outcome in (Succeeded({"code": 0}), Refused(1770002, "not found")):
        decision = after_call(outcome, FACTS)
        assert isinstance(decision, Continue)
    assert decision.result.refused == Refused(1770002, "not found")


def test_a_refusal_that_names_no_scope_asks_once_for_all_that_the_command_needs():
    unnamed = Refused(99991679, "no", unnamed_scope=True)
    held = replace(FACTS, held=frozenset("a"))
    assert after_call(unnamed, held) == Suspend(FACTS.declared)
    asked_before, nothing_declared = replace(held, consents=1), replace(FACTS, declared=())
    for facts in (asked_before, nothing_declared):
        decision = after_call(unnamed, facts)
        assert isinstance(decision, Continue)
        assert decision.result.refused == unnamed


@pytest.mark.parametrize(
    ("write", "first_sent_at", "allowed"),
    [
        (UNKEYED, None, True),
        (UNKEYED, ago(seconds=1), False),
        (KEYED, ago(minutes=3), True),
        (KEYED, ago(minutes=4), False),
    ],
)
def test_a_write_that_may_have_left_leaves_again_only_under_its_key(write, first_sent_at, allowed):
    assert may_send(write, first_sent_at, NOW) == allowed


@pytest.mark.parametrize(
    ("write", "asked_at", "wanted"),
    [
        (KEYED, ago(minutes=61), True),
        (UNKEYED, ago(hours=23), True),
        (KEYED, ago(minutes=59), False),
        (UNKEYED, ago(minutes=-5), False),
        (None, ago(hours=5), False),
    ],
)
def test_a_write_that_was_asked_for_over_an_hour_ago_is_confirmed_first(write, asked_at, wanted):
    assert needs_confirmation(write, asked_at, NOW) == wanted


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (LOST, False),
        (REFUSED_CONNECTION, True),
        (Succeeded({"code": 0}), False),
        (Refused(1770002, "not found"), False),
        (Refused(99991679, "no", unnamed_scope=True), True),
        (InsufficientScope(any_of("a")), True),
        (AppScopeMissing(any_of("a")), True),
        (TokenRejected(99991677), True),
        (RateLimited(None), True),
        (NotAuthorized(), True),
        (AppRejected(), True),
    ],
)
def test_a_write_may_be_sent_again_only_if_it_was_certainly_not_done(outcome, expected):
    assert is_certainly_not_done(outcome) is expected

"""Scope requirements, and what is asked for."""

import pytest

from bot.core.scopes import (
    OFFLINE_ACCESS,
    all_of,
    any_of,
    choose_scopes,
    is_met,
    missing,
    needs_after_refusal,
    with_always_asked,
)

READ, WRITE, WIDE = "task:task:read", "task:task:write", "task:task"


def scopes(*names: str) -> frozenset[str]:
    return frozenset(names)


@pytest.mark.parametrize(
    ("held", "lacking"),
    [
        (scopes(), (("a", "b"), ("c",))),
        (scopes("b"), (("c",),)),
        (scopes("a", "c"), ()),
        (scopes("x"), (("a", "b"), ("c",))),
    ],
)
def test_a_clause_is_met_by_any_one_of_its_alternatives(held, lacking):
    requirement = all_of(any_of("a", "b"), "c")
    assert missing(requirement, held) == lacking
    assert is_met(requirement, held) == (lacking == ())


@pytest.mark.parametrize(
    ("needs", "held", "enabled", "chosen", "unavailable"),
    [
        (any_of(READ, WRITE), scopes(), None, {READ}, ()),
        (any_of(READ, WRITE), scopes(), scopes(WRITE), {WRITE}, ()),
        (any_of(READ, WRITE), scopes(WRITE), scopes(READ, WRITE), {WRITE}, ()),
        (any_of(READ, WRITE), scopes(), scopes("other"), set(), ((READ, WRITE),)),
        (all_of(any_of("a", "b"), any_of("b", "c")), scopes(), scopes("b", "c"), {"b"}, ()),
        (all_of("a", "b"), scopes(), scopes("a"), {"a"}, (("b",),)),
    ],
)
def test_one_alternative_is_chosen_for_each_clause_among_those_that_the_app_has(
    needs, held, enabled, chosen, unavailable
):
    choice = choose_scopes(needs, held, enabled)
    assert (choice.scopes, choice.unavailable) == (chosen, unavailable)


def test_what_the_page_refused_is_avoided_while_there_is_another():
    assert choose_scopes(any_of(READ, WRITE), scopes(), None, avoided=scopes(READ)).scopes == {WRITE}
    assert choose_scopes(any_of(READ), scopes(), None, avoided=scopes(READ)).unavailable == ((READ,),)


def test_what_is_asked_for_already_is_taken_first():
    assert choose_scopes(any_of(READ, WRITE), scopes(), None, wanted=scopes(WRITE)).scopes == {WRITE}


@pytest.mark.parametrize(
    ("declared", "refused", "held", "reading", "exhausted", "needs"),
    [
        # The declared preference orders the refused alternatives.
        (any_of(READ, WRITE), any_of(WRITE, READ), scopes(), True, scopes(), ((READ, WRITE),)),
        # All that the requirement misses is asked for at once.
        (all_of(any_of("a", "b"), "c"), any_of("b", "a"), scopes(), True, scopes(), (("a", "b"), ("c",))),
        # What the platform does not accept is no alternative, whatever was declared.
        (any_of("a", "b"), any_of("b", "x"), scopes("a"), True, scopes(), (("b", "x"),)),
        # Nothing declared: read-only first for a reading call, else the narrower first.
        ((), any_of(WIDE, WRITE, READ), scopes(), True, scopes(), ((READ, WRITE, WIDE),)),
        # The platform's word beats our record of what is held.
        (any_of("a"), any_of("a"), scopes("a"), True, scopes(), (("a",),)),
        # What was granted and did not help is not asked for again.
        (any_of("a", "b"), any_of("a", "b"), scopes("a"), True, scopes("a"), (("b",),)),
        (any_of("a"), any_of("a"), scopes("a"), True, scopes("a"), ((),)),
        # A platform may name several clauses: each is asked for.
        (all_of("a", "c"), all_of("c", "d"), scopes(), True, scopes(), (("c",), ("d",), ("a",))),
        (all_of("a", "c"), all_of("c", "a"), scopes("a"), True, scopes("a"), (("c",), ())),
    ],
)
def test_what_to_wait_for_after_a_refusal(declared, refused, held, reading, exhausted, needs):
    assert needs_after_refusal(declared, refused, held, reading=reading, exhausted=exhausted) == needs


def test_offline_access_is_added_when_the_app_has_it_and_comes_last():
    always = scopes(OFFLINE_ACCESS)
    assert with_always_asked(scopes("a"), always, scopes("a", OFFLINE_ACCESS)) == {"a", OFFLINE_ACCESS}
    assert with_always_asked(scopes("a"), always, scopes("a")) == {"a"}
    assert with_always_asked(scopes("a"), always, None) == {"a", OFFLINE_ACCESS}
    assert with_always_asked(scopes("a"), always, None, scopes(OFFLINE_ACCESS)) == {"a"}
    assert with_always_asked(scopes("a"), scopes(), None) == {"a"}

"""OAuth without a network."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.oauth import (
    Approved,
    Denied,
    Malformed,
    TokenSet,
    digest,
    is_owner,
    kind_of,
    new_attempt,
    parse_callback,
    s256,
)
from bot.core.people import Identity, UserKey
from bot.core.requests import AttemptKind
from bot.core.secrets import Secret
from tests.arbitrary_input import texts


def test_the_challenge_is_that_of_rfc_7636():
    assert (
        s256("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk") == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    )


def test_an_attempt_has_a_state_that_is_kept_as_a_digest_and_a_verifier_of_43_characters():
    attempt = new_attempt(bytes(range(64)), pkce=True)
    assert attempt.state_digest == digest(attempt.state.reveal())
    assert attempt.verifier is not None
    assert len(attempt.verifier.reveal()) == 43
    assert attempt.challenge == s256(attempt.verifier.reveal())
    assert attempt.state.reveal() not in (attempt.state_digest, attempt.verifier.reveal())


def test_an_attempt_without_pkce_has_no_pair():
    attempt = new_attempt(bytes(64), pkce=False)
    assert (attempt.verifier, attempt.challenge) == (None, None)


@pytest.mark.parametrize("kind", AttemptKind)
def test_a_state_says_which_kind_of_attempt_it_belongs_to(kind):
    assert kind_of(new_attempt(bytes(range(64)), pkce=True, kind=kind).state) is kind


def test_too_little_entropy_is_refused():
    with pytest.raises(ValueError, match="64 random bytes"):
        new_attempt(bytes(32), pkce=True)


@pytest.mark.parametrize(
    ("query", "kind"),
    [
        ({"code": "c", "state": "s"}, Approved),
        ({"error": "access_denied", "state": "s"}, Denied),
        ({"code": "c"}, Malformed),
        ({"state": "s"}, Malformed),
        ({"code": "c", "error": "access_denied", "state": "s"}, Malformed),
        ({"code": "c" * 5000, "state": "s"}, Malformed),
        ({"code": "c", "state": "\ud800"}, Malformed),
        ({"code": "\x00", "state": "s"}, Malformed),
        ({"code": "c", "state": "s\r\n"}, Malformed),
        ({"error": "é", "state": "s"}, Malformed),
        ({"code": "a b/c+d=~!", "state": "s"}, Approved),
        ({}, Malformed),
    ],
)
def test_what_came_back_is_one_of_three_things(query, kind):
    assert isinstance(parse_callback(query), kind)


@given(st.dictionaries(st.sampled_from(["code", "state", "error", "x"]), texts | st.just("s" * 4097)))
def test_no_query_raises(query):
    found = parse_callback(query)
    assert isinstance(found, Approved | Denied | Malformed)
    if not isinstance(found, Malformed):
        digest(found.state.reveal())
        assert found.state.reveal().isascii()
    if isinstance(found, Approved):
        assert repr(found) == "Approved(state=***, code=***)"


@pytest.mark.parametrize(
    ("tenant", "open_id", "tokens_of", "owner"),
    [
        ("t", "ou_1", None, True),
        ("t", "ou_2", None, False),
        ("u", "ou_1", None, False),
        ("t", "ou_1", "t", True),
        ("t", "ou_1", "u", False),
    ],
)
def test_only_the_person_who_was_asked_is_the_owner(tenant, open_id, tokens_of, owner):
    asked = UserKey("lark", "cli_1", "t", "ou_1")
    tokens = TokenSet(Secret("token"), 7200, None, None, None, tokens_of)
    assert is_owner(asked, Identity(open_id, tenant), tokens) == owner

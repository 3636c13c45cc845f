"""Sealing: what the first key seals any of the ring opens, and only where it belongs."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.errors import CannotOpenSecret
from bot.core.secrets import Secret
from bot.store.keyring import Keyring, new_key

OLD, NEW = new_key(), new_key()


@given(st.text(), st.text())
def test_what_is_sealed_opens_again(secret: str, place: str) -> None:
    seal = Keyring([NEW])
    sealed = seal.seal(Secret(secret), place)
    assert seal.open(sealed, place) == Secret(secret)
    assert sealed.startswith(f"v1.{seal.key_ids[0]}.")


def test_no_two_seals_of_one_secret_are_alike() -> None:
    seal = Keyring([NEW])
    assert len({seal.seal(Secret("same"), "place") for _ in range(100)}) == 100


def test_a_ring_opens_what_an_older_key_sealed_and_seals_with_the_first() -> None:
    sealed = Keyring([OLD]).seal(Secret("token"), "place")
    ring = Keyring([NEW, OLD])
    assert ring.open(sealed, "place") == Secret("token")
    assert Keyring([NEW]).open(ring.seal(Secret("token"), "place"), "place") == Secret("token")


def test_a_sealed_secret_opens_only_unchanged_in_its_own_place_with_its_own_key() -> None:
    seal = Keyring([NEW])
    sealed = seal.seal(Secret("token"), "grants:access_token:anna")
    prefix, text = sealed.rsplit(".", 1)
    data = bytearray(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    data[-1] ^= 1
    changed = f"{prefix}.{base64.urlsafe_b64encode(data).rstrip(b'=').decode()}"
    for attempt in (
        lambda: seal.open(sealed, "grants:access_token:ben"),
        lambda: seal.open(changed, "grants:access_token:anna"),
        lambda: seal.open(sealed[:-9], "grants:access_token:anna"),
        lambda: seal.open(f"{prefix}.", "grants:access_token:anna"),
        lambda: seal.open("", "grants:access_token:anna"),
        lambda: seal.open("plain text", "grants:access_token:anna"),
        lambda: Keyring([OLD]).open(sealed, "grants:access_token:anna"),
    ):
        with pytest.raises(CannotOpenSecret) as raised:
            attempt()
        assert "token" not in str(raised.value).replace("access_token", "")


def test_a_key_may_be_padded_and_surrounded_by_blanks() -> None:
    assert Keyring([f" {NEW}= "]).key_ids == Keyring([NEW]).key_ids


@pytest.mark.parametrize(
    "key",
    ["", "short", "ä" * 43, "!" * 43, NEW[:-2], NEW + "AAAA"],
    ids=["empty", "short", "not ASCII", "not base64", "too short", "too long"],
)
def test_a_wrong_key_is_named_by_its_place_and_never_shown(key: str) -> None:
    with pytest.raises(ValueError, match="key 2") as raised:
        Keyring([NEW, key])
    assert not key or key not in str(raised.value)


def test_there_is_at_least_one_key() -> None:
    with pytest.raises(ValueError, match="no encryption key"):
        Keyring([])

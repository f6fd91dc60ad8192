"""Sealed texts: only the right key opens them, and no key opens what was changed."""

import secrets

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.accounts.keys import KeyRing
from core.accounts.sealing import Sealer, seal_with, unseal_with

OLD = "old-" * 8
NEW = "new-" * 8
SEALER = Sealer(KeyRing.read(OLD, "second factors"))
SECRET = secrets.token_urlsafe(32)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@settings(max_examples=30, deadline=None)
@given(TEXTS)
def test_what_was_sealed_comes_back(text: str) -> None:
    assert SEALER.unseal(SEALER.seal(text)) == text
    assert unseal_with(SECRET, seal_with(SECRET, text)) == text


def test_the_same_text_is_never_sealed_the_same_way() -> None:
    assert SEALER.seal("secret") != SEALER.seal("secret")
    assert seal_with(SECRET, "secret") != seal_with(SECRET, "secret")


def test_keys_can_be_changed() -> None:
    sealed = SEALER.seal("secret")
    rotated = Sealer(KeyRing.read(f"{NEW} {OLD}", "second factors"))
    assert rotated.unseal(sealed) == "secret"
    with pytest.raises(ValueError):
        SEALER.unseal(rotated.seal("secret"))
    with pytest.raises(ValueError):
        Sealer(KeyRing.read(NEW, "second factors")).unseal(sealed)


def test_neither_another_secret_nor_another_purpose_opens_it() -> None:
    with pytest.raises(ValueError):
        unseal_with(secrets.token_urlsafe(32), seal_with(SECRET, "secret"))
    with pytest.raises(ValueError):
        Sealer(KeyRing.read(OLD, "links")).unseal(SEALER.seal("secret"))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 96), st.sampled_from("AZaz09-_=.é"))
def test_a_changed_letter_is_noticed(place: int, letter: str) -> None:
    sealed = seal_with(SECRET, "secret")
    changed = sealed[:place] + letter + sealed[place + 1 :]
    if changed != sealed:
        with pytest.raises(ValueError):
            unseal_with(SECRET, changed)


@settings(max_examples=60, deadline=None)
@given(TEXTS)
def test_garbage_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        SEALER.unseal(text)
    with pytest.raises(ValueError):
        unseal_with(SECRET, text)

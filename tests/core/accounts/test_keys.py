"""Rings of keys: the first makes, all are accepted, and none is ever shown."""

import pytest

from core.accounts.keys import KeyRing

OLD = "old-" * 8
NEW = "new-" * 8


def test_a_new_key_goes_first_and_the_old_one_is_still_found() -> None:
    before = KeyRing.read(OLD, "tokens")
    after = KeyRing.read(f" {NEW}\n\t{OLD} ", "tokens")
    assert after.first.kid != before.first.kid
    assert after.find(before.first.kid) == before.first
    assert [key.kid for key in after] == [after.first.kid, before.first.kid]
    assert before.find(after.first.kid) is None


def test_each_purpose_has_keys_of_its_own() -> None:
    tokens, links = KeyRing.read(OLD, "tokens").first, KeyRing.read(OLD, "links").first
    assert tokens.secret != links.secret
    assert tokens.kid != links.kid
    assert len(tokens.secret) == 32
    assert len(tokens.kid) == 12


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "There is no key."),
        (" \n", "There is no key."),
        ("hunter2", "Key 1 of 1 is shorter than 32 characters."),
        (f"{OLD} {'x' * 31}", "Key 2 of 2 is shorter than 32 characters."),
    ],
)
def test_a_short_key_is_refused_by_its_place(text: str, sentence: str) -> None:
    with pytest.raises(ValueError) as refusal:
        KeyRing.read(text, "tokens")
    assert str(refusal.value) == sentence


def test_a_key_does_not_show_in_a_log() -> None:
    key = KeyRing.read(OLD, "tokens").first
    assert repr(key.secret) not in repr(key)
    assert key.kid in repr(key)

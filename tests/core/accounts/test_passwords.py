"""Which passwords are refused: what is on every list, and what people make of it."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.accounts.passwords import DECOY, is_common, is_outdated, verify_password
from tests.scripted_ai import WORDS

WELL_KNOWN = """
    password password1 password12 password123 password1! password! passw0rd p@ssw0rd p@ssword pa55word
    Password Password1 Password123 PASSWORD passwort motdepasse mypassword thepassword
    12345678 123456789 1234567890 0123456789 87654321 987654321 0987654321 123123123 12341234 11111111
    00000000 88888888 99999999 66666666 55555555 77777777 11112222 11223344 112233445566 12121212
    13131313 10203040 01234567 147258369 147852369 159753456 123654789 12344321 123454321 1234554321
    789456123 123321123 123456abc 12345678a 123456789a a12345678 a123456789 abc12345 abcd1234 abc123456
    abcdefgh abcdefghi abcdefg1 abcabcabc aaaaaaaa aaaaaaaaa aaaa1111 aabbccdd a1b2c3d4 a1b2c3d4e5
    1a2b3c4d 1q2w3e4r 1q2w3e4r5t 1qaz2wsx 1qazxsw2 zaq12wsx zaq1zaq1 qazwsxedc qazwsx123 q1w2e3r4
    q1w2e3r4t5 qwertyui qwertyuiop qwerty12 qwerty123 qwerty1234 qwerty12345 Qwerty123 qwer1234 1234qwer
    asdfghjk asdfghjkl asdfasdf asdf1234 zxcvbnm1 zxcvbnm123 poiuytrewq mnbvcxz1 qweasdzxc qwe123qwe
    iloveyou iloveyou1 iloveyou2 iloveu123 ilovegod lovelove loveme123 sweetheart babygirl babygirl1
    princess princess1 sunshine sunshine1 rainbow1 butterfly chocolate cookie123 flower123 angel123
    football football1 baseball baseball1 basketball softball volleyball hockey123 soccer123 liverpool
    liverpool1 chelsea1 arsenal1 barcelona manchester juventus1 realmadrid cowboys1 steelers yankees1
    superman superman1 batman123 spiderman starwars pokemon1 pokemon123 minecraft fortnite naruto123
    dragon123 monkey123 tiger123 master123 shadow123 shadow12 hunter123 killer123 ranger123 warrior1
    letmein1 letmein123 welcome1 welcome123 Welcome1 Welcome123! changeme changeme1 trustno1 whatever
    computer computer1 internet internet1 samsung1 samsung123 google123 facebook facebook1 linkedin
    admin123 admin1234 administrator adminadmin root1234 test1234 testtest testing1 user1234 guest123
    default1 secret123 access14 passpass pass1234 pass12345 master12 login123 hello123 helloworld
    michelle michelle1 jennifer jennifer1 jessica1 jordan23 michael1 charlie1 daniel123 ashley123
    andrew123 thomas123 joshua123 matthew1 anthony1 victoria elizabeth alexander christian nicholas
    patricia samantha benjamin jonathan veronica Summer2024 Winter2023 Spring2025 Autumn2022
    summer123 november december september 19871987 19901990 01011990 fuckyou1 fuckyou2 blink182
    slipknot metallica nirvana1 corvette mercedes porsche1 mustang1 harley123 freedom1 scooter1
    aloud123 aloud2026 audiobook audiobooks Audiobook1 aloudaloud
"""


def test_well_known_passwords_are_refused() -> None:
    passwords = WELL_KNOWN.split()
    assert len(passwords) > 250
    assert [password for password in passwords if not is_common(password)] == []


@pytest.mark.parametrize(
    "password",
    [
        "the rain in spain",
        "tea and toast",
        "a sentence for the bench",
        "four words for me",
        "read-aloud-admin",
        "correct horse battery staple",
        "Der Regen in Spanien",
        "дождь идёт весь день",
        "雨は一日中降り続きます",
        "v8$Kq2!mZr",
        "k7qm2hf9",
        "correct horse battery staple " * 4,
    ],
)
def test_an_ordinary_passphrase_is_taken(password: str) -> None:
    assert not is_common(password)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["password", "sunshine", "football", "princess", "jennifer", "computer", "audiobook"]),
    st.sampled_from([str.lower, str.upper, str.title]),
    st.sampled_from([{}, {"o": "0"}, {"a": "@"}, {"e": "3"}, {"s": "$"}, {"i": "1"}, {"a": "4", "o": "0"}]),
    st.sampled_from(["", "1", "12", "123", "1234", "!", "1!", "2", "99", "2026"]),
)
def test_a_usual_change_does_not_help(word: str, case: object, leet: dict[str, str], suffix: str) -> None:
    assert callable(case)
    assert is_common(case(word).translate(str.maketrans(leet)) + suffix)


@settings(max_examples=100, deadline=None)
@given(st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=2), st.integers(8, 128))
def test_repeating_it_does_not_help(group: str, length: int) -> None:
    assert is_common((group * length)[:length])


@settings(max_examples=100, deadline=None)
@given(st.integers(0), st.sampled_from([" ", "-", "."]))
def test_four_words_drawn_by_chance_are_always_taken(seed: int, joint: str) -> None:
    assert not is_common(joint.join(random.Random(seed).sample(sorted(set(WORDS)), 4)))


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=8, max_size=128))
def test_every_text_gets_an_answer(password: str) -> None:
    assert is_common(password) in (True, False)


async def test_nobody_is_refused_at_the_same_cost_as_somebody() -> None:
    assert not is_outdated(DECOY)
    assert not await verify_password("nobody has this password", None)

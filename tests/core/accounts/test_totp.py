"""Second factors: codes that work once, in their time; recovery codes; the picture for the phone."""

import base64
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote
from xml.etree import ElementTree

import pyotp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.accounts.totp import (
    find_recovery_code,
    find_step,
    hash_recovery_code,
    new_recovery_codes,
    new_secret,
    provisioning_uri,
    qr_code,
)

RFC_SECRET = base64.b32encode(b"12345678901234567890").decode()
AT = datetime(2026, 5, 4, 12, 0, 10, tzinfo=UTC)
STEP = int(AT.timestamp()) // 30


def _code(secret: str, at: datetime) -> str:
    return pyotp.TOTP(secret).at(at)


@pytest.mark.parametrize(
    ("seconds", "code"),
    [
        (59, "287082"),
        (1111111109, "081804"),
        (1111111111, "050471"),
        (1234567890, "005924"),
        (2000000000, "279037"),
        (20000000000, "353130"),
    ],
)
def test_the_codes_of_the_standard_are_right(seconds: int, code: str) -> None:
    assert find_step(RFC_SECRET, code, datetime.fromtimestamp(seconds, UTC), None) == seconds // 30


@pytest.mark.parametrize("off", [-1, 0, 1])
def test_a_clock_may_be_one_step_off(off: int) -> None:
    secret = new_secret()
    assert find_step(secret, _code(secret, AT + timedelta(seconds=30 * off)), AT, None) == STEP + off


@pytest.mark.parametrize("off", [-3, -2, 2, 3])
def test_a_code_of_another_time_is_refused(off: int) -> None:
    assert find_step(RFC_SECRET, _code(RFC_SECRET, AT + timedelta(seconds=30 * off)), AT, None) is None


def test_a_code_works_once_and_so_do_those_before_it() -> None:
    secret = new_secret()
    code, next_code = _code(secret, AT), _code(secret, AT + timedelta(seconds=30))
    used = find_step(secret, code, AT, None)
    assert used == STEP
    assert find_step(secret, code, AT, used) is None
    assert find_step(secret, _code(secret, AT - timedelta(seconds=30)), AT, used) is None
    assert find_step(secret, next_code, AT, used) == STEP + 1


def test_spaces_in_a_code_do_not_matter() -> None:
    code = _code(RFC_SECRET, AT)
    assert find_step(RFC_SECRET, f" {code[:3]} {code[3:]}\n", AT, None) == STEP


def test_only_six_ascii_digits_are_a_code() -> None:
    code = _code(RFC_SECRET, AT)
    arabic = "".join(chr(0x0660 + int(digit)) for digit in code)
    for wrong in ("", code[:5], code + "0", code[:5] + "O", f"-{code[1:]}", arabic, f"{code[:3]}-{code[3:]}"):
        assert find_step(RFC_SECRET, wrong, AT, None) is None


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=12))
def test_any_other_text_is_no_code(text: str) -> None:
    assert find_step(RFC_SECRET, text, AT, STEP + 1) is None


def test_secrets_have_160_bits_and_differ() -> None:
    assert len({base64.b32decode(new_secret()) for _ in range(20)}) == 20
    assert len(base64.b32decode(new_secret())) == 20


def test_an_app_can_read_the_address() -> None:
    secret = new_secret()
    read = pyotp.parse_uri(provisioning_uri(secret, "ada+books@example.com"))
    assert isinstance(read, pyotp.TOTP)
    assert (read.secret, read.name, read.issuer) == (secret, "ada+books@example.com", "Aloud")
    assert find_step(secret, read.at(AT), AT, None) == STEP


@pytest.mark.parametrize("account", ["ada@example.com", f"{'a' * 64}@{'b' * 180}.com"])
def test_the_qr_code_is_a_picture_with_a_quiet_zone_in_black_on_white(account: str) -> None:
    kind, _, text = qr_code(provisioning_uri(new_secret(), account)).partition(",")
    assert kind.startswith("data:image/svg+xml")
    svg = ElementTree.fromstring(unquote(text))
    pixels = int(svg.attrib["width"])
    assert pixels == int(svg.attrib["height"])
    modules = pixels / 4 - 8
    assert modules in range(21, 178, 4)
    assert 150 <= pixels <= 500
    ground, code = svg.iter("{http://www.w3.org/2000/svg}path")
    assert ground.attrib["fill"] == "#fff"
    assert code.attrib["stroke"] == "#000"
    assert code.attrib["d"].startswith("M4 4.5h7")


def test_recovery_codes_are_ten_readable_ones_of_80_bits() -> None:
    codes = new_recovery_codes()
    assert len(set(codes)) == 10
    for code in codes:
        groups = code.split("-")
        assert [len(group) for group in groups] == [4, 4, 4, 4]
        assert set("".join(groups)) <= set("0123456789abcdefghjkmnpqrstvwxyz")
    assert len(set("".join(new_recovery_codes(100))) - {"-"}) == 32


def test_a_recovery_code_is_found_however_it_was_typed() -> None:
    codes = new_recovery_codes()
    hashes = [hash_recovery_code(code) for code in codes]
    for code, known in zip(codes, hashes, strict=True):
        typed = code.upper().replace("-", " – ").replace("0", "O").replace("1", "l")
        assert find_recovery_code(code, hashes) == known
        assert find_recovery_code(f" {typed} ", hashes) == known
        assert find_recovery_code(code.replace("-", ""), hashes) == known
        assert code.replace("-", "") not in known


def test_another_code_is_not_found() -> None:
    hashes = tuple(hash_recovery_code(code) for code in new_recovery_codes())
    for wrong in ("", "-", *new_recovery_codes(3), hashes[0]):
        assert find_recovery_code(wrong, hashes) is None
    assert find_recovery_code(new_recovery_codes(1)[0], ()) is None

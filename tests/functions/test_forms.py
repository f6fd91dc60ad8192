"""What is read of a form, and what people are told of its fields."""

import azure.functions as func
import pytest

from core.errors import (
    InvalidError,
    MalformedRequestError,
    TooLargeError,
    UnsupportedMediaError,
)
from functions.accounts import RegisterRequest
from functions.forms import explain, faults, parse, read_form, read_form_with_file

BOUNDARY = "multipart/form-data; boundary=x"


def request(body: bytes, media_type: str) -> func.HttpRequest:
    return func.HttpRequest("POST", "http://localhost/form", headers={"Content-Type": media_type}, body=body)


def part(name: str, content: bytes) -> bytes:
    head = f'--x\r\nContent-Disposition: form-data; name="{name}"; filename="f"\r\n\r\n'.encode()
    return head + content + b"\r\n"


def test_each_field_that_is_wrong_is_told_in_a_sentence() -> None:
    with pytest.raises(InvalidError) as caught:
        parse(RegisterRequest, {"email": "nobody", "password": "short", "display_name": "x" * 81})
    assert faults(caught.value) == {
        "email": "An email address must have an @-sign.",
        "password": "Use at least 8 characters.",
        "display_name": "Use at most 80 characters.",
    }
    assert explain(caught.value) == "Please check what is marked below."


def test_of_a_field_sent_twice_the_first_counts() -> None:
    form = read_form(request(b"a=1&a=2&b=", "application/x-www-form-urlencoded; charset=utf-8"))
    assert form == {"a": "1", "b": ""}


@pytest.mark.parametrize(
    ("body", "media_type", "error"),
    [
        (b"a" * 20_000, "application/x-www-form-urlencoded", TooLargeError),
        (b"{}", "application/json", UnsupportedMediaError),
        (b"\xff", "application/x-www-form-urlencoded", MalformedRequestError),
        (b"&".join(b"a=1" for _ in range(30)), "application/x-www-form-urlencoded", MalformedRequestError),
    ],
)
def test_what_is_no_form_of_ours_is_refused(body: bytes, media_type: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        read_form(request(body, media_type))


def test_a_file_comes_with_the_fields_of_its_form() -> None:
    body = (
        b'--x\r\nContent-Disposition: form-data; name="csrf"\r\n\r\nabc\r\n'
        + part("picture", b"\x00--x\xff\r\n\r\n")
        + b"--x--\r\n"
    )
    assert read_form_with_file(request(body, BOUNDARY), "picture", 1000) == (
        {"csrf": "abc"},
        b"\x00--x\xff\r\n\r\n",
    )


def test_a_file_may_be_larger_than_all_fields_together() -> None:
    picture = bytes(range(256)) * 4000
    body = part("picture", picture) + b"--x--\r\n"
    assert read_form_with_file(request(body, BOUNDARY), "picture", 10**7) == ({}, picture)


def test_a_form_with_thousands_of_parts_is_not_taken_apart() -> None:
    body = b"".join(part("picture", b"") for _ in range(5000)) + b"--x--\r\n"
    with pytest.raises(MalformedRequestError):
        read_form_with_file(request(body, BOUNDARY), "picture", 10**6)


def test_a_file_that_is_too_large_is_refused_before_it_is_read() -> None:
    with pytest.raises(TooLargeError):
        read_form_with_file(request(bytes(2 * 10**6), BOUNDARY), "picture", 10**6)

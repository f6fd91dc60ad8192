"""Where a sign-in may lead."""

import pytest

from functions.page import local_path


@pytest.mark.parametrize(
    "wish",
    [
        "//example.com",
        "https://example.com",
        "javascript:alert(1)",
        "/\\example.com",
        "/\t/example.com",
        "",
        None,
    ],
)
def test_a_sign_in_never_leads_off_the_site(wish: str | None) -> None:
    assert local_path(wish) == "/"


def test_a_sign_in_leads_back_to_a_page_of_ours() -> None:
    assert local_path("/books/a-tale-1?x=1") == "/books/a-tale-1?x=1"

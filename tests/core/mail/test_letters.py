"""Every template in every language, and what hostile values and missing translations do to a letter."""

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import get_args

import pytest
from jinja2 import UndefinedError

from core.mail import Letter, Template, compose
from core.mail.letters import TEMPLATES

SITE = "https://aloud.example"
LINK = "https://aloud.example/somewhere?token=a-b_c&user=1"
NAME = {"name": "Ann O'Neil"}
WHEN = {**NAME, "when": "21 November 2026, 14:03 UTC"}
ORDER = {
    **WHEN,
    "number": "0A1B2C3D4E",
    "lines": "Emma: 12.99 USD\nPersuasion: 9.99 USD",
    "total": "22.98 USD",
}
FAILED = {name: value for name, value in ORDER.items() if name != "total"}
VALUES: dict[str, dict[str, str]] = {
    "verify-email": {**NAME, "link": LINK, "hours": "24"},
    "already-registered": {**NAME, "link": LINK},
    "registration-repeated": {"since": "21 November 2026, 13:03 UTC"},
    "reset-password": {**NAME, "link": LINK, "minutes": "30"},
    "confirm-new-email": {**NAME, "link": LINK, "hours": "24"},
    "email-taken": {},
    "email-changed": {**NAME, "new_address": "new@example.com"},
    "password-changed": WHEN,
    "mfa-enabled": WHEN,
    "mfa-disabled": WHEN,
    "google-linked": WHEN,
    "account-deleted": {**WHEN, "receipt_id": "01receipt", "kept": "Orders, for ten years, as the law asks."},
    "export-ready": {**NAME, "link": LINK, "days": "7"},
    "receipt": {**ORDER, "tax": "1.69 USD", "link": LINK},
    "order-failed": {**FAILED, "reason": "The card was declined.", "link": LINK},
    "order-refunded": {**ORDER, "link": LINK},
    "gift": {"giver": "Ann O'Neil", "lines": "Emma\nPersuasion", "message": "Enjoy!\nAnn", "link": LINK},
    "gift-refunded": {**NAME, "giver": "Bob", "lines": "Emma\nPersuasion"},
    "alert": {
        "title": "A book failed",
        "detail": "The cause.\nFile: a.mp3",
        "when": WHEN["when"],
        "target": "job 7",
        "link": LINK,
    },
}
LANGUAGES = sorted(path.name for path in TEMPLATES.iterdir() if path.is_dir())


class Page(HTMLParser):
    """The words, links and elements of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.tags: set[str] = set()
        self.loads: list[str] = []
        self.words = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name == "href" and tag == "a":
                self.links.add(value or "")
            elif name in ("src", "href", "background", "srcset"):
                self.loads.append(value or "")

    def handle_data(self, data: str) -> None:
        self.words += data


def links_of(text: str) -> set[str]:
    return set(re.findall(r"https?://\S+", text))


def letter(template: str, locale: str = "en", **values: str) -> Letter:
    return Letter.model_validate(
        {
            "id": "letter-1",
            "to": "ann@example.com",
            "template": template,
            "locale": locale,
            "values": {**VALUES[template], **values},
        }
    )


def test_the_values_of_every_template_are_declared_here() -> None:
    assert set(VALUES) == set(get_args(Template))
    assert "en" in LANGUAGES


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("template", VALUES)
def test_every_letter_says_the_same_in_both_forms(language: str, template: str) -> None:
    for form in ("txt", "html"):
        assert (TEMPLATES / language / f"{template}.{form}").is_file()
    mail = compose(letter(template, language), SITE + "/")
    assert (mail.id, mail.to) == ("letter-1", "ann@example.com")
    assert mail.subject
    assert "Subject:" not in mail.subject + mail.text
    assert mail.html is not None
    page = Page(mail.html)
    assert f'<html lang="{language}">' in mail.html
    assert links_of(mail.text) == page.links
    assert f"{SITE}/" in page.links
    assert not page.loads, "nothing is fetched from anywhere"
    for name, value in VALUES[template].items():
        assert all(line in mail.text for line in value.splitlines()), name
        assert all(line in page.words for line in value.splitlines()), name
    assert (LINK in page.links) == ("link" in VALUES[template])
    for value in VALUES[template]:
        without = {k: v for k, v in VALUES[template].items() if k != value}
        with pytest.raises(UndefinedError, match=value):
            compose(letter(template, language).model_copy(update={"values": without}), SITE)


def test_a_name_cannot_bring_markup() -> None:
    name = "<b onclick=x>A & \"B\"<a href='x'>"
    mail = compose(letter("password-changed", name=name), SITE)
    assert mail.html is not None
    page = Page(mail.html)
    assert "b" not in page.tags
    assert name in page.words
    assert name in mail.text, "text is not escaped"


@pytest.mark.parametrize(
    "name",
    ["Win now: https://evil.example", "www.evil.example", "ann@evil.example", "evil。example", "A" * 61],
)
def test_a_name_that_looks_like_a_link_is_not_repeated_to_a_stranger(name: str) -> None:
    mail = compose(letter("verify-email", name=name), SITE)
    assert "Hello,\n" in mail.text
    assert name not in mail.text
    assert name not in (mail.html or "")


@pytest.mark.parametrize("name", ["J. R. R. Tolkien", "J.R.R. Tolkien", "María-José", "क्‍ष", "李 雷"])
def test_names_of_people_are_greeted(name: str) -> None:
    assert f"Hello {name},\n" in compose(letter("verify-email", name=name), SITE).text


def test_a_value_cannot_add_lines_or_headers() -> None:
    name = "Ann\r\n\r\nYour account is closed, call 555\u2028now\x00\u202e"
    mail = compose(letter("password-changed", name=name), SITE)
    assert "Hello Ann Your account is closed, call 555 now,\n" in mail.text
    mail = compose(letter("alert", title="Down\r\nBcc: all@example.com\r\n\r\nSubject: other"), SITE)
    assert mail.subject == "Aloud: Down Bcc: all@example.com Subject: other"
    assert mail.text.startswith("Down Bcc:")


def test_numbers_are_counted_as_people_do() -> None:
    assert "for 1 hour." in compose(letter("verify-email", hours="1"), SITE).text
    assert "for 24 hours." in (compose(letter("verify-email"), SITE).html or "")


def test_a_letter_reads_the_same_each_time() -> None:
    """The mail service takes an id once, with one content."""
    assert compose(letter("verify-email"), SITE) == compose(letter("verify-email"), SITE)


@pytest.fixture
def bilingual(tmp_path: Path) -> Path:
    """The templates, and a second language that has one letter."""
    folder = tmp_path / "mail"
    shutil.copytree(TEMPLATES, folder)
    (folder / "de").mkdir()
    texts = {
        "letter.html": '{% extends "layout.html" %}{% block footer %}Zum Hören{% endblock %}',
        "reset-password.txt": "Subject: Neues Kennwort\n\nHallo {{ name }}: {{ link }} ({{ minutes }} min)\n",
        "reset-password.html": '{% extends language ~ "/letter.html" %}{% block action %}Los{% endblock %}',
        "alert.txt": "Subject: Alarm\n\nohne HTML\n",
    }
    for name, text in texts.items():
        (folder / "de" / name).write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("locale", ["de", "de-AT"])
def test_a_language_is_a_folder(bilingual: Path, locale: str) -> None:
    mail = compose(letter("reset-password", locale), SITE, bilingual)
    assert mail.subject == "Neues Kennwort"
    assert mail.text == f"Hallo Ann O'Neil: {LINK} (30 min)\n"
    assert mail.html is not None
    assert '<html lang="de">' in mail.html
    assert "Zum Hören" in mail.html
    assert LINK in Page(mail.html).links


@pytest.mark.parametrize(
    ("template", "locale"),
    [
        ("reset-password", "fr"),
        ("password-changed", "de"),
        ("alert", "de"),
        ("alert", ""),
        ("alert", "../en"),
        ("alert", "layout.html"),
        ("alert", "\x00"),
    ],
)
def test_what_is_not_translated_comes_in_english(bilingual: Path, template: str, locale: str) -> None:
    mail = compose(letter(template, locale), SITE, bilingual)
    english = compose(letter(template), SITE)
    assert mail == english

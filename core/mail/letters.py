"""Letters: what is to be written to whom, and how a mail is rendered from it.

A language is a folder of `web/mail`, with a `.txt` and a `.html` for each template.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict

from core.mail.sender import Mail

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent.parent.parent / "web" / "mail"

Template = Literal[
    "verify-email",
    "already-registered",
    "registration-repeated",
    "reset-password",
    "confirm-new-email",
    "email-taken",
    "email-changed",
    "password-changed",
    "mfa-enabled",
    "mfa-disabled",
    "google-linked",
    "account-deleted",
    "export-ready",
    "receipt",
    "order-failed",
    "order-refunded",
    "gift",
    "gift-refunded",
    "alert",
]

_FALLBACK = "en"
_PARAGRAPHS = frozenset({"detail", "kept", "lines", "message"})
_JOINERS = "\u200c\u200d"  # not printable, yet part of names in many scripts
_NAMES = frozenset({"name", "giver"})
_LONGEST_NAME = 60
_LIKE_A_LINK = re.compile(r"[/@:\\]|\w[.。]\w{2}")


class Letter(BaseModel):
    """What is to be written to whom; the templates say which values they take.

    On a queue it waits in plain text, so it holds no secret there: a letter with a link that opens something
    is made just before `compose`. It is the same at each try: the mail service takes an id once, with one
    content.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    to: str
    template: Template
    locale: str
    values: dict[str, str]


def compose(letter: Letter, site: str, folder: Path = TEMPLATES) -> Mail:
    """Render a letter in its language (`de-AT`, else `de`, else English); `site` is the site's address.

    Values are data: each is one line, but for those that hold paragraphs; and a name that looks like a link
    is left out, since anyone can register anyone's address under any name.
    Raises jinja2.UndefinedError where a value is missing, which is a bug of the caller.
    """
    environment = _environment(folder)
    language = _choose_language(folder, letter)
    values = {name: _clean(name, value) for name, value in letter.values.items()}
    values |= {"site": site.rstrip("/"), "language": language}
    text = environment.get_template(f"{language}/{letter.template}.txt").render(values)
    heading, _, body = text.partition("\n")
    subject = heading.removeprefix("Subject:").strip()
    html = environment.get_template(f"{language}/{letter.template}.html").render(values, subject=subject)
    return Mail(id=letter.id, to=letter.to, subject=subject, text=body.strip() + "\n", html=html)


def _choose_language(folder: Path, letter: Letter) -> str:
    known = {path.name for path in folder.iterdir()}
    for language in (letter.locale, letter.locale.partition("-")[0]):
        forms = (folder / language / f"{letter.template}.{form}" for form in ("txt", "html"))
        if language in known and all(form.is_file() for form in forms):
            return language
    return _FALLBACK


def _clean(name: str, value: str) -> str:
    if name in _PARAGRAPHS:
        return "\n".join(_to_one_line(line) for line in value.splitlines())
    line = _to_one_line(value)
    return "" if name in _NAMES and (len(line) > _LONGEST_NAME or _LIKE_A_LINK.search(line)) else line


def _to_one_line(text: str) -> str:
    """Without line breaks, control characters and marks that turn the direction of what follows."""
    line = " ".join(text.split())
    return "".join(c for c in line if c.isprintable() or c in _JOINERS)


@cache
def _environment(folder: Path) -> Environment:
    """Imported here, since few cold starts send a mail."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=select_autoescape(["html"], default=False, default_for_string=False),
        undefined=StrictUndefined,
    )

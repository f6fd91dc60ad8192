"""Books as files: rows of CSV, lines of JSON, OPF packages; read row by row, and written again."""

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal
from xml.etree import ElementTree

from core.catalog.isbn import normalise_isbn
from core.catalog.models import Book
from core.errors import MalformedRequestError

FileFormat = Literal["csv", "jsonl", "opf"]
_LISTS = ("authors", "narrators", "genres", "tags", "names")
_PLAIN = ("title", "subtitle", "description", "publisher", "isbn", "language", "release_date", "work_id")
COLUMNS = (*_PLAIN, *_LISTS, "series", "series_position", "price", "currency", "other_prices", "id")
_RISKY = re.compile(r"'*[=+\-@\t\r]")
_PART = re.compile(r"(?:\\[\\;]|[^;])+")
_FIELD_LIMIT = 64 * 1024
_DC = "{http://purl.org/dc/elements/1.1/}"
_OPF = "{http://www.idpf.org/2007/opf}"

Row = tuple[int, dict[str, Any] | str]
"""The line where a row begins, and what it says of a book, or what is wrong with it."""


def read_rows(content: bytes, form: FileFormat) -> Iterator[Row]:
    """Yield the rows of a file, those that cannot be read too. Raises MalformedRequestError."""
    if form == "opf":
        yield 1, _read_opf(content)
        return
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MalformedRequestError(f"The file is not UTF-8, from byte {error.start} on.") from None
    yield from _read_csv(text) if form == "csv" else _read_lines(text)


def _read_lines(text: str) -> Iterator[Row]:
    for number, line in enumerate(io.StringIO(text, newline=None), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            yield number, "This line is not JSON."
            continue
        yield number, value if isinstance(value, dict) else "This line is no JSON object."


def _read_csv(text: str) -> Iterator[Row]:
    csv.field_size_limit(_FIELD_LIMIT)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: Sequence[str] | None = None
    line = 1
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield line, f"This is no CSV: {error}."
            line = reader.line_num + 1
            continue
        begun, line = line, reader.line_num + 1
        if not any(cell.strip() for cell in cells):
            continue
        if header is None:
            header = [cell.strip().lower() for cell in cells]
            if "title" not in header or len(set(header)) < len(header):
                raise MalformedRequestError(f"The first line names the columns: {', '.join(COLUMNS)}.")
            continue
        if len(cells) != len(header):
            yield begun, f"This row has {len(cells)} cells, the first one {len(header)}."
            continue
        yield begun, _from_cells(dict(zip(header, map(_plain, cells), strict=True)))


def _plain(cell: str) -> str:
    """Take off what `_safe` puts before a cell."""
    return cell[1:] if cell[:1] == "'" and _RISKY.match(cell, 1) else cell


def _from_cells(cells: Mapping[str, str]) -> dict[str, Any]:
    said: dict[str, Any] = {}
    for name, cell in cells.items():
        if name in _LISTS:
            said[name] = _split(cell)
        elif name == "other_prices":
            said[name] = [
                dict(zip(("amount", "currency"), price.split(), strict=False)) for price in _split(cell)
            ]
        elif not cell.strip():
            said[name] = None
        elif name == "price":
            said[name] = {"amount": cell.strip(), "currency": cells.get("currency", "").strip() or "USD"}
        elif name == "series":
            said[name] = {"name": cell, "position": cells.get("series_position", "").strip() or None}
        elif name not in ("currency", "series_position"):
            said[name] = cell
    return {name: value for name, value in said.items() if name not in ("currency", "series_position")}


def _split(cell: str) -> list[str]:
    r"""Return the parts between semicolons; one that belongs to a part is written `\;`, a backslash `\\`."""
    return [re.sub(r"\\([\\;])", r"\1", part) for part in _PART.findall(cell) if part.strip()]


def _join(parts: Iterable[str]) -> str:
    return ";".join(re.sub(r"([\\;])", r"\\\1", part) for part in parts)


def _read_opf(content: bytes) -> dict[str, Any]:
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise MalformedRequestError("An OPF package has no DOCTYPE.")
    try:
        package = ElementTree.fromstring(content)  # noqa: S314 - entities were refused above
    except (ElementTree.ParseError, ValueError, LookupError):
        raise MalformedRequestError("The file is no XML.") from None
    said: dict[str, Any] = {"authors": [], "narrators": [], "genres": []}
    for element in package.iter():
        text = " ".join((element.text or "").split())
        name = element.tag.removeprefix(_DC) if isinstance(element.tag, str) else ""
        if element.tag == f"{_OPF}meta":
            _read_meta(element, said)
        elif not text or not str(element.tag).startswith(_DC):
            continue
        elif name == "creator":
            role = element.get(f"{_OPF}role", "aut")
            said["narrators" if role == "nrt" else "authors"].append(text)
        elif name == "contributor" and element.get(f"{_OPF}role") == "nrt":
            said["narrators"].append(text)
        elif name == "subject":
            said["genres"].append(text)
        elif name == "date":
            said.setdefault("release_date", text[:10])
        elif name == "identifier":
            said |= _isbn_of(text)
        elif name in ("title", "description", "publisher", "language"):
            said.setdefault(name, text)
    series, position = said.pop("series", None), said.pop("series_index", None)
    if series:
        said["series"] = {"name": series, "position": position}
    return said


def _read_meta(element: ElementTree.Element, said: dict[str, Any]) -> None:
    """Calibre keeps the series in `meta`."""
    name = (element.get("name") or "").removeprefix("calibre:")
    if name in ("series", "series_index") and element.get("content"):
        said.setdefault(name, element.get("content"))


def _isbn_of(text: str) -> dict[str, str]:
    """Of the many identifiers of a package, take what is an ISBN."""
    try:
        return {"isbn": normalise_isbn(text)}
    except ValueError:
        return {}


# Writing


def to_line(book: Book) -> str:
    """Return a book as a line of JSON, as the import takes it."""
    said = {
        **book.model_dump(
            mode="json", include={*_PLAIN, "genres", "tags", "names", "price", "other_prices", "series", "id"}
        ),
        "authors": [person.name for person in book.authors],
        "narrators": [person.name for person in book.narrators],
    }
    return json.dumps(said, ensure_ascii=False)


def header() -> str:
    """Return the first line of a CSV file."""
    return _csv_line(COLUMNS)


def to_cells(book: Book) -> str:
    """Return a book as a row of CSV, as the import takes it; what a spreadsheet would compute is quoted."""
    said: dict[str, Any] = book.model_dump(include={*_PLAIN, "id"})
    said |= {name: _join(getattr(book, name)) for name in ("genres", "tags", "names")}
    said["authors"] = _join(person.name for person in book.authors)
    said["narrators"] = _join(person.name for person in book.narrators)
    if book.series is not None:
        said |= {"series": book.series.name, "series_position": book.series.position}
    if book.price is not None:
        said |= {"price": book.price.amount, "currency": book.price.currency}
    said["other_prices"] = _join(f"{price.amount} {price.currency}" for price in book.other_prices)
    return _csv_line([_safe("" if said.get(name) is None else str(said[name])) for name in COLUMNS])


def _safe(cell: str) -> str:
    return f"'{cell}" if _RISKY.match(cell) else cell


def _csv_line(cells: Sequence[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(cells)
    return line.getvalue()

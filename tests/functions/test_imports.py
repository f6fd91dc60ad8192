"""Imports and exports: over the running app, and from the command line."""

import asyncio
import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

import aiohttp

from core.ids import new_id
from tests.aloud import ROOT, Aloud

IMPORT = "/api/v1/admin/import"
EXPORT = "/api/v1/admin/export"


async def settled(aloud: Aloud, import_id: str) -> dict[str, Any]:
    async with asyncio.timeout(60):
        while (shown := await aloud.get(f"{IMPORT}/{import_id}"))["status"] not in ("done", "failed"):
            await asyncio.sleep(0.1)
    return dict(shown)


async def start(aloud: Aloud, content: str, media_type: str, **query: str) -> dict[str, Any]:
    status, begun, headers = await aloud.call(
        "POST", IMPORT, data=content.encode(), headers={"Content-Type": media_type}, params=query
    )
    assert status == 202, begun
    assert headers["Location"] == f"{IMPORT}/{begun['id']}"
    return await settled(aloud, begun["id"])


async def test_good_rows_come_in_bad_ones_are_told_and_again_changes_nothing(aloud: Aloud) -> None:
    mark, good = new_id(), 36
    lines = [
        json.dumps({"title": f"{mark} {n}", "authors": ["Ann"], "price": {"amount": n}}) for n in range(good)
    ]
    bad = [
        "nonsense",
        json.dumps({"title": ""}),
        json.dumps({"title": "x", "isbn": "12"}),
        '{"title": "a", "x": 1}',
    ]
    for n, line in enumerate(bad):
        lines.insert(n * 9, line)
    content = "\n".join(lines)
    dry = await start(aloud, content, "application/jsonl", dry_run="true")
    assert (dry["created"], dry["bad"], dry["dry_run"]) == (good, 4, True)
    shown = await start(aloud, content, "application/jsonl")
    counts = {name: shown[name] for name in ("status", "total", "done", "created", "updated", "bad")}
    assert counts == {"status": "done", "total": 40, "done": 40, "created": good, "updated": 0, "bad": 4}
    assert [row["line"] for row in shown["bad_rows"]] == [n * 9 + 1 for n in range(4)]
    reasons = [row["reason"] for row in shown["bad_rows"]]
    assert reasons[0] == "This line is not JSON."
    assert [reason.partition(":")[0] for reason in reasons[1:]] == ["title", "isbn", "x"]
    again = await start(aloud, content, "application/jsonl")
    assert (again["created"], again["updated"], again["unchanged"]) == (0, 0, good)


async def test_a_row_changes_the_book_that_has_its_isbn(aloud: Aloud) -> None:
    status, book, _ = await aloud.call(
        "POST", "/api/v1/audiobooks", json={"title": "Before", "isbn": "9780545010221", "subtitle": "Stays"}
    )
    assert status == 201
    content = "title,isbn,price,currency,series,series_position\r\nAfter,0-545-01022-5,250,EUR,Rows,3\r\n"
    shown = await start(aloud, content, "text/csv")
    assert (shown["updated"], shown["bad"]) == (1, 0), shown
    after = await aloud.get(f"/api/v1/audiobooks/{book['id']}")
    assert (after["title"], after["subtitle"], after["price"]["amount"]) == ("After", "Stays", 250)
    assert after["series"]["position"] == 3


async def exported(aloud: Aloud, form: str) -> str:
    """Export all books, wait for the file and return what is in it."""
    status, begun, headers = await aloud.call("POST", EXPORT, json={"format": form})
    assert (status, headers["Location"]) == (202, f"{EXPORT}/{begun['id']}")
    async with asyncio.timeout(60):
        while (shown := await aloud.get(f"{EXPORT}/{begun['id']}"))["status"] not in ("done", "failed"):
            assert shown["url"] is None
            await asyncio.sleep(0.1)
    assert begun["id"] in [item["id"] for item in (await aloud.get(EXPORT))["items"]]
    async with aiohttp.ClientSession() as http, http.get(shown["url"]) as answer:
        assert f"aloud-books-{begun['created_at'][:10]}.{form}" in answer.headers["Content-Disposition"]
        content = (await answer.read()).decode()
    assert shown["done"] <= len(content.splitlines())
    return content


async def test_an_export_comes_in_again_as_the_same_books(aloud: Aloud) -> None:
    mark = new_id()
    said = {
        "title": f"=1+1 {mark}",
        "authors": ["Semi; colon", "-Back\\slash"],
        "tags": ["@tag"],
        "description": "Two\nlines",
        "price": {"amount": 250, "currency": "EUR"},
        "series": {"name": "'+Row", "position": 1.5},
    }
    status, book, _ = await aloud.call("POST", "/api/v1/audiobooks", json=said)
    assert status == 201, book
    content = await exported(aloud, "csv")
    header, *rows = csv.reader(io.StringIO(content, newline=""))
    (row,) = [row for row in rows if mark in row[0]]
    assert not any(cell[:1] in ("=", "+", "-", "@", "\t", "\r") for cell in row if cell)

    def file_of(row: list[str]) -> str:
        text = io.StringIO()
        csv.writer(text).writerows([header, row])
        return text.getvalue()

    shown = await start(aloud, file_of(row), "text/csv")
    assert (shown["unchanged"], shown["bad"]) == (1, 0), shown
    (line,) = [line for line in (await exported(aloud, "jsonl")).splitlines() if mark in line]
    shown = await start(aloud, line, "application/jsonl")
    assert (shown["unchanged"], shown["bad"]) == (1, 0), shown
    elsewhere = new_id()  # as a catalog that does not have the book would take the file
    shown = await start(aloud, file_of([*row[:-1], elsewhere]), "text/csv")
    assert (shown["created"], shown["bad"]) == (1, 0), shown
    copy = await aloud.get(f"/api/v1/audiobooks/{elsewhere}")
    for name in ("title", "authors", "tags", "description", "price", "series", "genres", "language"):
        assert copy[name] == book[name]
    assert (await aloud.call("POST", EXPORT, json={"format": "opf"}))[0] == 422
    bad = await start(aloud, json.dumps({"title": "x", "id": "../x"}), "application/jsonl")
    assert bad["bad_rows"][0]["reason"].startswith("id:")


async def test_a_file_that_is_none_is_refused(aloud: Aloud) -> None:
    for content, media_type, expected in (
        ("a,b\r\n1,2", "text/csv", 400),
        ("x", "text/plain", 415),
        ("", "text/csv", 400),
    ):
        status, _, _ = await aloud.call(
            "POST", IMPORT, data=content.encode(), headers={"Content-Type": media_type}
        )
        assert status == expected


async def test_the_command_line_imports_and_exports(tmp_path: Path, aloud: Aloud) -> None:
    """Beside a running Aloud, in its storage."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "storage.txt").write_text(aloud.connection_string)
    mark = new_id()
    source, target = tmp_path / "books.csv", tmp_path / "all.csv"
    source.write_text(f"title,authors\r\n=cmd {mark},Ann;Ben\r\n,Nobody\r\n")

    async def run(*arguments: str) -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "localhost",
            "--data",
            str(data),
            *arguments,
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, complaint = await process.communicate()
        return process.returncode or 0, (output + complaint).decode()

    code, said = await run("import", str(source))
    assert code == 0, said
    assert "line 3: title" in said
    assert "1 new, 0 changed, 0 unchanged, 1 bad" in said
    code, _ = await run("export", str(target))
    assert code == 0
    lines = target.read_text().splitlines()
    assert next(line for line in lines if mark in line).startswith(f"'=cmd {mark},")

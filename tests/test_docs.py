"""The docs say what the code does: tables, names, paths and links are compared with their source."""

import json
import os
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any, get_args
from unittest.mock import patch

import pytest
from pydantic_core import PydanticUndefined

from core.ai.models import SPEECH, TEXT
from core.catalog.models import ProcessingStatus
from core.settings import Settings
from localhost.environment import set_defaults

ROOT = Path(__file__).parent.parent
FOLDERS = ("docs", "core", "functions", "web", "localhost", "bench", "tests", "infra")
PAGES = sorted([*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))])
ADRS = sorted((ROOT / "docs/adr").glob("[0-9]*.md"))


def _read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def _section(text: str, heading: str) -> str:
    """The text under a heading, up to the next one of its level or above."""
    level = heading.split(" ", maxsplit=1)[0]
    _, found, rest = text.partition(f"\n{heading}\n")
    assert found, f"no heading {heading!r}"
    return re.split(rf"^#{{1,{len(level)}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def _rows(text: str) -> list[list[str]]:
    """The cells of every table row but headings and rulers."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines]
    rulers = [set(row[0]) == {"-"} for row in rows]
    return [
        row
        for row, is_ruler, is_above in zip(rows, rulers, [*rulers[1:], False], strict=True)
        if not is_ruler | is_above
    ]


def _names(text: str) -> list[str]:
    """What stands in backticks in the first column of the tables."""
    return [row[0].strip("`") for row in _rows(text)]


def _code(value: object) -> str:
    """A default as the docs write it."""
    if value is None or value == "":
        return ""
    if isinstance(value, bool):
        return f"`{json.dumps(value)}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _setting(field: Any) -> list[str]:
    default = "required" if field.default is PydanticUndefined else _code(field.default)
    return [f"`{field.alias}`", default, field.description]


def _model(name: str, *facts: object, ends: date | None) -> list[str]:
    shown = {None: "", True: "yes", False: "no"}
    return [
        f"`{name}`",
        *(shown[fact] if fact is None or isinstance(fact, bool) else str(fact) for fact in facts),
        ends.isoformat() if ends else "",
    ]


def _dollars(*amounts: int) -> str:
    return " / ".join(f"{amount / 1e6:g}" for amount in amounts) if any(amounts) else ""


def test_the_settings_are_all_described() -> None:
    page = _read("docs/settings.md")
    assert _rows(_section(page, "## The app")) == [_setting(f) for f in Settings.model_fields.values()]


def test_the_local_defaults_are_those_that_are_set() -> None:
    with patch.dict(os.environ, clear=True):
        set_defaults(7071, None, with_demo=True)
        found = dict(os.environ)
    found |= dict.fromkeys(("JWT_SIGNING_KEY", "DATA_KEY"), "made at the first start")
    shown = _rows(_section(_read("docs/settings.md"), "## What `python -m localhost` sets"))
    assert {row[0].strip("`"): row[1].strip("`") for row in shown} == found


def test_no_setting_is_read_or_named_that_is_not_described() -> None:
    known = set(re.findall(r"`(\w+)`", _read("docs/settings.md")))
    for folder in ("core", "functions", "localhost"):
        for path in (ROOT / folder).rglob("*.py"):
            read = re.findall(r"os\.environ(?:\.get\(|\[)\s*\"(\w+)\"", path.read_text(encoding="utf-8"))
            assert set(read) <= known, path
    for page in PAGES:
        named = re.findall(r"`([A-Z][A-Z0-9]*_[A-Z0-9_]+)`", page.read_text(encoding="utf-8"))
        assert set(named) <= known, page


def test_the_models_are_those_of_the_capability_table() -> None:
    page = _read("docs/ai.md")
    assert _rows(_section(page, "### Speech models")) == [
        _model(
            name,
            able.transport,
            able.audio_format,
            "text" if able.transport == "chat" else able.response_format,
            able.timestamps,
            able.tells_speakers,
            able.hints,
            able.max_seconds,
            able.max_output_tokens,
            _dollars(able.microdollars_per_minute),
            _dollars(able.microdollars_per_million_input, able.microdollars_per_million_output),
            ends=able.ends,
        )
        for name, able in SPEECH.items()
    ]
    assert _rows(_section(page, "### Text models")) == [
        _model(
            name,
            able.context_tokens,
            able.max_output_tokens,
            _dollars(able.microdollars_per_million_input, able.microdollars_per_million_output),
            ends=able.ends,
        )
        for name, able in TEXT.items()
    ]


def test_the_tables_containers_and_queues_are_those_of_the_code() -> None:
    page, wiring = _read("docs/data.md"), _read("core/wiring.py")
    assert sorted(_names(_section(page, "## Tables"))) == sorted(re.findall(r'\.table\("(\w+)"\)', wiring))
    containers = re.findall(r'\.container\("(\w+)"\)', wiring)
    assert sorted(_names(_section(page, "## Containers"))) == sorted(containers)
    queues = re.findall(r"queueTrigger (\S+)", _read("tests/functions.txt"))
    assert sorted(_names(_section(page, "## Queues"))) == sorted(queues)


def test_each_status_of_a_book_is_explained() -> None:
    named = _names(_section(_read("docs/flows.md"), "## The statuses of a book"))
    assert named == list(get_args(ProcessingStatus))


def test_the_choices_of_the_host_are_those_of_host_json() -> None:
    host = json.loads(_read("host.json"))
    chosen = {
        "functionTimeout": host["functionTimeout"],
        **host["extensions"]["queues"],
        **host["extensions"]["http"],
    }
    shown = _rows(_section(_read("docs/operations.md"), "## The host's settings"))
    assert {row[0].strip("`"): row[1].strip("`") for row in shown} == {
        n: str(v) or '""' for n, v in chosen.items()
    }


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", _read("Makefile"), re.MULTILINE))
    for page in ("README.md", "CONTRIBUTING.md"):
        named = re.findall(r"(?:^|`)make ([a-z]+)", _read(page), re.MULTILINE)
        assert named
        assert set(named) <= targets


def _map() -> Iterator[str]:
    """The paths of the README's map, which is indented as folders are."""
    block = _section(_read("README.md"), "## The map of the house").split("```")[1]
    parents: list[str] = []
    for line in block.splitlines()[1:]:
        depth = (len(line) - len(line.lstrip())) // 2
        name = re.split(r"\s{2,}", line.strip())[0]
        parents[depth:] = [name]
        yield "".join(parents)


def test_every_path_of_the_map_exists() -> None:
    paths = list(_map())
    assert "core/transcription/" in paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_internal_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", there.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, target


def test_decisions_are_numbered_listed_and_complete() -> None:
    assert [path.name[:4] for path in ADRS] == [f"{n:04d}" for n in range(1, len(ADRS) + 1)]
    index = _read("docs/adr/README.md")
    for path in ADRS:
        text = path.read_text(encoding="utf-8")
        title = text.splitlines()[0].removeprefix("# ")
        assert title.startswith(f"{int(path.name[:4])}. ")
        assert f"[{title}]({path.name})" in index
        assert re.search(r"^(Accepted|Superseded by \[.+\]), \d{4}-\d\d-\d\d$", text, re.MULTILINE), path.name
        for heading in ("## Context", "## Decision", "## Consequences", "## Refused"):
            assert f"\n{heading}\n" in text, (path.name, heading)


def test_the_changelog_has_a_place_for_what_comes_next() -> None:
    assert "\n## [Unreleased]\n" in _read("CHANGELOG.md")

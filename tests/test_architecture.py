"""The house keeps its shape: who imports whom, what is loaded at the start, which functions there are."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SHARED = {
    *("backoff", "caller", "currencies", "errors", "ids", "pictures", "redaction", "settings"),
    *("storage", "ai", "mail", "payments"),
}
ONE_WAY = {
    "accounts": {"operations"},
    "catalog": {"operations"},
    "commerce": {"catalog", "accounts", "operations"},
    "listening": {"catalog", "commerce", "operations"},
    "recommendations": {"accounts", "catalog", "commerce", "listening", "operations"},
    "transcription": {"catalog", "operations", "tasks"},
    "tasks": {"catalog", "operations"},
    "operations": set(),
}
ROOMS = set(ONE_WAY)
ONLY_IMPORTERS: dict[str, str | tuple[str, ...]] = {
    "azure.data": "core/storage",
    "azure.storage": "core/storage",
    "azure.identity": "core/storage",
    "openai": "core/ai",
    "argon2": "core/accounts",
    "jwt": "core/accounts",
    "pyotp": "core/accounts",
    "segno": "core/accounts",
    "zxcvbn_rs_py": "core/accounts",
    "PIL": "core/pictures.py",
    "azure.communication": "core/mail",
    "stripe": "core/payments",
    "av": "core/transcription",
    "jinja2": ("functions", "core/mail"),
    "azure.functions": "functions",
}


def _modules(*folders: str) -> list[Path]:
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    assert found
    return found


def _imports(path: Path) -> Iterator[str]:
    """Yield every module that a file imports, wherever in the file, as a full dotted name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written in full"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _begins(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


@pytest.mark.parametrize("path", _modules("core", "functions"), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_inward(path: Path) -> None:
    where = path.relative_to(ROOT).parts
    outer = {"core": ("functions", "function_app", "localhost", "tests", "bench", "azure.functions")}.get(
        where[0], ("function_app", "localhost", "tests", "bench")
    )
    for name in _imports(path):
        assert not any(_begins(name, package) for package in outer), f"{path.name} imports {name}"
        for package, home in ONLY_IMPORTERS.items():
            if _begins(name, package):
                assert str(path.relative_to(ROOT)).startswith(home), f"{path.name} imports {name}"


@pytest.mark.parametrize("path", _modules(*(f"core/{room}" for room in sorted(ROOMS))), ids=str)
def test_rooms_call_each_other_one_way_and_keep_their_store(path: Path) -> None:
    room = path.relative_to(ROOT).parts[1]
    for name in _imports(path):
        if not _begins(name, "core"):
            continue
        parts = name.split(".")
        if parts[1] in SHARED or parts[1] == room:
            continue
        assert parts[1] in ONE_WAY[room], f"{path.name} imports {name}"
        assert parts[2] in ("service", "models"), f"{path.name} reaches into {name}"


@pytest.mark.parametrize(
    "path", _modules(*(f"core/{part}" for part in ("storage", "ai", "mail", "payments"))), ids=str
)
def test_adapters_know_no_room(path: Path) -> None:
    for name in _imports(path):
        if _begins(name, "core"):
            assert name.split(".")[1] not in ROOMS | {"wiring"}, f"{path.name} imports {name}"


def test_only_the_wiring_sees_every_room() -> None:
    for path in (ROOT / "core").glob("*.py"):
        if path.name != "wiring.py":
            rooms = {name.split(".")[1] for name in _imports(path) if _begins(name, "core")} & ROOMS
            assert not rooms, f"{path.name} imports {rooms}"


def test_the_start_loads_nothing_heavy() -> None:
    """A cold start is paid by a shopper; what only some functions need is imported by them."""
    code = "import sys, function_app; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "azure.functions" in loaded
    assert (
        not {
            "openai",
            "av",
            "azure.identity",
            "azure.communication",
            "jinja2",
            "numpy",
            "PIL",
            "pyotp",
            "segno",
            "stripe",
        }
        & loaded
    )


def test_the_functions_are_the_expected_ones() -> None:
    """One import error would hide all of them; a route that is lost or won is noticed here."""
    code = (
        "import function_app\n"
        "for f in function_app.app.get_functions():\n"
        "    t = f.get_trigger().get_dict_repr()\n"
        "    what = t.get('route', t.get('queueName', t.get('path', t.get('schedule'))))\n"
        "    print(f.get_function_name(), t['type'], *t.get('methods', ()), what)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    expected = (ROOT / "tests/functions.txt").read_text()
    assert sorted(done.stdout.splitlines()) == expected.splitlines()

"""`python -m bench` measures, prints one table, and writes the same as JSON."""

import argparse
import asyncio
import importlib.metadata
import json
import os
import platform
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import accounts, checkout, imports, long_book, parallel, pipeline, routes, search, start, zips
from bench.rows import Row, show_table

RESULTS = Path(__file__).parent / "results" / "latest.json"
MEASUREMENTS: dict[str, Callable[[bool], AsyncIterator[Row]]] = {
    "imports": imports.measure,
    "start": start.measure,
    "routes": routes.measure,
    "accounts": accounts.measure,
    "parallel": parallel.measure,
    "long-book": long_book.measure,
    "pipeline": pipeline.measure,
    "search": search.measure,
    "zip": zips.measure,
    "checkout": checkout.measure,
}


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure Aloud on this machine.")
    parser.add_argument("--quick", action="store_true", help="no 20 h books, fewer repeats")
    parser.add_argument(
        "--only",
        action="append",
        choices=MEASUREMENTS,
        metavar="NAME",
        help=f"one of {', '.join(MEASUREMENTS)}",
    )
    return parser.parse_args(arguments)


async def run(names: Sequence[str], quick: bool) -> tuple[list[Row], list[str]]:
    """Return the rows of all measurements in order, and what went wrong in those that could not be done."""
    rows: list[Row] = []
    failures: list[str] = []
    for name in names:
        started = time.perf_counter()
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            async for row in MEASUREMENTS[name](quick):
                rows.append(row)
        except Exception as error:
            failures.append(f"{name} could not be measured: {type(error).__name__}: {error}")
        print(f"{name} took {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    return rows, failures


def describe_machine() -> dict[str, Any]:
    return {
        "system": platform.platform(),
        "processor": read_processor(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "azure-functions": importlib.metadata.version("azure-functions"),
    }


def read_processor() -> str:
    """The processor's name where the kernel tells it, else its family."""
    cpu_info = Path("/proc/cpuinfo")
    lines = cpu_info.read_text().splitlines() if cpu_info.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def main() -> int:
    """Exit with 0 whatever was measured, limits missed or not; with 1 if something could not be."""
    options = parse_arguments(sys.argv[1:])
    started, load = datetime.now(UTC), os.getloadavg()
    rows, failures = asyncio.run(run(options.only or list(MEASUREMENTS), options.quick))
    machine = describe_machine()
    seconds = (datetime.now(UTC) - started).total_seconds()
    loads = [round(load[0], 2), round(os.getloadavg()[0], 2)]
    document = {
        "started_at": started.isoformat(timespec="seconds"),
        "seconds": round(seconds),
        "quick": options.quick,
        "machine": machine,
        "load_average": {"before": loads[0], "after": loads[1]},
        "failures": failures,
        "rows": [row.as_json() for row in rows],
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")
    print(show_table(rows))
    print(
        f"\n{machine['cpus']} × {machine['processor']}, {machine['system']}, Python {machine['python']}; "
        f"{started:%Y-%m-%d}, {seconds:.0f} s{', --quick' if options.quick else ''}; "
        f"load average {loads[0]} before, {loads[1]} after"
    )
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

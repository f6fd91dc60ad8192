"""The peers' side of a comparison: PostgreSQL on a socket, and an app of `bench/peers` on it."""

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localhost.azurite import ROOT
from localhost.child import Child

PEERS = ROOT / "bench" / "peers"
PEER_PYTHON = Path(os.environ.get("BENCH_PEER_PYTHON", ROOT / ".venv-peers" / "bin" / "python"))
_PORT = "18099"
_SETTINGS = {
    "shared_buffers": "512MB",
    "work_mem": "32MB",
    "maintenance_work_mem": "512MB",
    "effective_cache_size": "4GB",
    "random_page_cost": "1.1",
    "jit": "off",
    "fsync": "off",
    "max_wal_size": "4GB",
}


@dataclass(frozen=True)
class Postgres:
    """A running PostgreSQL, reached by a socket in `folder`."""

    programs: Path
    folder: Path

    async def run(self, *arguments: object) -> None:
        """Run psql with these arguments; ends at the first error."""
        await _run([self.programs / "psql", "-h", self.folder, "-U", "bench", "-v", "ON_ERROR_STOP=1", "-q",
                    "postgres", *arguments])  # fmt: skip


def has_peer() -> bool:
    """Tell whether this machine has what the peers need."""
    return PEER_PYTHON.exists() and _find_programs() is not None


def _find_programs() -> Path | None:
    """Return the folder of PostgreSQL's programs, the newest where there are several."""
    return max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)


@asynccontextmanager
async def start_postgres(folder: Path) -> AsyncIterator[Postgres]:
    """Run an empty PostgreSQL with its data in `folder`, until the block ends."""
    programs = _find_programs()
    assert programs is not None
    data = folder / "postgres"
    data.mkdir()
    user: dict[str, Any] = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        user = {"user": "postgres", "group": "postgres"}
        folder.chmod(0o755)
        data.chmod(0o777)
    await _run(
        [programs / "initdb", "-D", data / "db", "-A", "trust", "-U", "bench", "-E", "UTF8",
         "--locale=C.UTF-8"],
        **user,
    )  # fmt: skip
    options = [option for name, value in _SETTINGS.items() for option in ("-c", f"{name}={value}")]
    server = await asyncio.create_subprocess_exec(
        programs / "postgres", "-D", data / "db", "-k", data, "-c", "listen_addresses=", *options,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL, **user,
    )  # fmt: skip
    try:
        postgres = Postgres(programs, data)
        for _ in range(100):
            with contextlib.suppress(RuntimeError):
                await postgres.run("-c", "SELECT 1")
                break
            await asyncio.sleep(0.1)
        yield postgres
    finally:
        server.terminate()
        await server.wait()


@asynccontextmanager
async def start_app(name: str, postgres: Postgres) -> AsyncIterator[str]:
    """Run an app of `bench/peers` in two processes, until the block ends; yield its address."""
    command = [str(PEER_PYTHON), "-m", "uvicorn", f"{name}:app", "--app-dir", str(PEERS), "--port", _PORT,
               "--workers", "2", "--no-access-log"]  # fmt: skip
    os.environ["PEER_DSN"] = f"postgresql://bench@/postgres?host={postgres.folder}"
    async with Child.start("the peer", command, re.compile(r"(Application startup) complete"), times=2):
        yield f"http://127.0.0.1:{_PORT}"


async def _run(command: Sequence[object], **user: Any) -> None:
    process = await asyncio.create_subprocess_exec(
        *map(str, command), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, **user
    )
    said, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{Path(str(command[0])).name} failed: {said.decode()[-300:]}")

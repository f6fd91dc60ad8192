"""Once the app answers: the demo accounts, the ready file, and the demo books of a first start."""

import asyncio
import json
import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import aiohttp
from azure.core.exceptions import ResourceExistsError
from azure.storage.blob.aio import BlobServiceClient

from localhost.azurite import STORAGE
from localhost.errors import LocalhostError
from localhost.logs import quiet_terminal

log = logging.getLogger("localhost")

BOOKS = Path(__file__).with_name("demo") / "books"
AUDIO_SUFFIXES = {".mp3", ".m4a", ".m4b", ".flac", ".ogg", ".opus", ".wav"}
UPLOADS = "uploads"
READY_SECONDS = 60


@dataclass(frozen=True)
class Account:
    email: str
    password: str


LISTENER = Account("listener@aloud.example", "read-aloud-listener")


def admin_account() -> Account:
    """The first address of ADMIN_EMAILS with ADMIN_PASSWORD, or the demo's well-known password."""
    email = os.environ["ADMIN_EMAILS"].split(",")[0].strip()
    return Account(email, os.environ.get("ADMIN_PASSWORD", "read-aloud-admin"))


async def wait_until_ready(base_url: str) -> None:
    """Return when /health/ready answers 200; LocalhostError with its last answer when it never does."""
    deadline = asyncio.get_running_loop().time() + READY_SECONDS
    async with aiohttp.ClientSession() as session:
        while True:
            async with session.get(f"{base_url}/health/ready") as response:
                if response.status == 200:
                    return
                answer = f"{response.status} {(await response.text())[:200]}"
            if asyncio.get_running_loop().time() > deadline:
                raise LocalhostError(
                    f"the app is not ready after {READY_SECONDS} s: /health/ready says {answer}"
                )
            await asyncio.sleep(0.2)


async def register(base_url: str, account: Account) -> None:
    """Make sure that the account exists."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{base_url}/api/v1/auth/register", json=asdict(account)) as response,
    ):
        if response.status not in (200, 201, 202, 409):
            text = (await response.text())[:200]
            raise LocalhostError(f"the account {account.email} was not made: {response.status} {text}")


def write_ready_file(path: Path, base_url: str, admin: Account) -> None:
    """Tell other programs where everything is; complete or not there at all."""
    document = {
        "base_url": base_url,
        "storage_connection_string": os.environ[STORAGE],
        "openai_base_url": os.environ.get("OPENAI_BASE_URL"),
        "admin": asdict(admin),
        "pid": os.getpid(),
    }
    unfinished = path.with_name(path.name + ".tmp")
    unfinished.write_text(json.dumps(document, indent=2), "utf-8")
    unfinished.replace(path)


async def drop_demo_books() -> list[str]:
    """Put the demo books into uploads/; returns the names of those that were not there."""
    dropped: list[str] = []
    async with BlobServiceClient.from_connection_string(os.environ[STORAGE]) as service:
        for path in sorted(BOOKS.glob("*")):
            if path.suffix.lower() not in AUDIO_SUFFIXES:
                continue
            content = await asyncio.to_thread(path.read_bytes)
            try:
                await service.get_blob_client(UPLOADS, path.name).upload_blob(content)
            except ResourceExistsError:
                continue
            dropped.append(path.name)
    return dropped


async def show_demo(base_url: str, admin: Account) -> None:
    """On a first start drop the demo books and follow them; always end with what to open."""
    if dropped := await drop_demo_books():
        from localhost.progress import follow

        log.info("dropped into %s/: %s", UPLOADS, ", ".join(dropped))
        with quiet_terminal():
            await follow(base_url, admin.email, admin.password, dropped)
    lines = [
        "",
        f"  Open      {base_url}",
        f"  Listener  {LISTENER.email} / {LISTENER.password}",
        f"  Admin     {admin.email} / {admin.password}",
        "  Stop      Ctrl-C",
        "",
    ]
    print("\n".join(lines), flush=True)

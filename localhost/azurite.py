"""Starts Azurite, the emulator of Azure Storage, from the repository's own node_modules."""

import asyncio
import fcntl
import re
import shutil
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

from localhost.child import Child
from localhost.errors import AzuriteError, ChildError

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = Path(__file__).with_name("azurite.cjs")
STORAGE = "AzureWebJobsStorage"
"""The setting in which the app finds its storage."""
SERVICES = ("blob", "queue", "table")
USUAL_PORTS = (10000, 10001, 10002)
ANY_PORTS = (0, 0, 0)
READY = re.compile(r"Azurite \w+ service is successfully listening at (\S+)")
MESSAGE = re.compile(r"message in (\S+) after (\d+)")
BLOB = re.compile(r"blob in (\S+)")
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
LOCK_SECONDS = 10
KEEP_ALIVE_SECONDS = "60"
"""Longer than the SDK keeps an idle connection: Azurite's own 5 s end one just as a request is sent on it."""


@dataclass(frozen=True)
class Azurite:
    """A running Azurite: one process with the blob, queue and table services on loopback."""

    connection_string: str
    child: Child
    has_usual_ports: bool

    def tell(self, of_message: Callable[[str, int], None], of_blob: Callable[[str], None]) -> None:
        """From now on tell of each message that is put or put back, and of each blob that is written.

        Called with a queue and in how many seconds the message is there; with a container.
        """

        def hear(line: str) -> bool:
            if found := MESSAGE.fullmatch(line):
                of_message(found[1], int(found[2]))
            elif found := BLOB.fullmatch(line):
                of_blob(found[1])
            return found is not None

        self.child.hear = hear

    def tell_nobody(self) -> None:
        """From now on keep messages and blobs to oneself."""
        self.tell(lambda _, __: None, lambda _: None)

    @classmethod
    @asynccontextmanager
    async def start(cls, *, data: Path = Path(".data"), ephemeral: bool = False) -> AsyncIterator[Self]:
        """Run Azurite until the block ends.

        Ephemeral: everything in memory, free ports. Else its files live in `data`/azurite and the ports are
        the usual ones unless they are taken. Raises AzuriteError with one line that says what to do.
        """
        node = find_node()
        if ephemeral:
            async with cls._run([node, str(SCRIPT), "--inMemoryPersistence"], ANY_PORTS) as azurite:
                yield azurite
            return
        folder = make_folder(data / "azurite")
        with (folder / "lock").open("w") as lock:
            await take_lock(lock, folder)
            ports = USUAL_PORTS if all(map(is_free, USUAL_PORTS)) else ANY_PORTS
            command = [node, str(SCRIPT), "--location", str(folder)]
            async with AsyncExitStack() as stack:
                try:
                    azurite = await stack.enter_async_context(cls._run(command, ports, lock.fileno()))
                except AzuriteError as error:
                    if ports == ANY_PORTS or "EADDRINUSE" not in str(error):
                        raise
                    # somebody has taken one since it was looked at
                    azurite = await stack.enter_async_context(cls._run(command, ANY_PORTS, lock.fileno()))
                yield azurite

    @classmethod
    @asynccontextmanager
    async def _run(cls, command: list[str], ports: tuple[int, ...], inherit: int = -1) -> AsyncIterator[Self]:
        options = ["--silent", "--skipApiVersionCheck", "--disableTelemetry"]
        for service, port in zip(SERVICES, ports, strict=True):
            options += [f"--{service}Port", str(port), f"--{service}KeepAliveTimeout", KEEP_ALIVE_SECONDS]
        child = Child.start("Azurite", [*command, *options], READY, times=len(SERVICES), inherit=inherit)
        with explaining_failure():
            running = await child.__aenter__()
        try:
            azurite = cls(build_connection_string(running.found), running, ports == USUAL_PORTS)
            azurite.tell_nobody()
            yield azurite
        finally:
            await child.__aexit__(None, None, None)


def build_connection_string(addresses: list[str]) -> str:
    """From the addresses of the blob, queue and table services; account and key are Azurite's public ones."""
    parts = ["DefaultEndpointsProtocol=http", f"AccountName={ACCOUNT}", f"AccountKey={KEY}"]
    parts += [
        f"{service.title()}Endpoint={address}/{ACCOUNT}"
        for service, address in zip(SERVICES, addresses, strict=True)
    ]
    return ";".join(parts) + ";"


def find_node() -> str:
    """The path of Node; AzuriteError when it or the npm packages are missing."""
    node = shutil.which("node")
    if node is None:
        raise AzuriteError("Node.js is not installed: install version 20 or newer (https://nodejs.org)")
    if not (ROOT / "node_modules" / "azurite").is_dir():
        raise AzuriteError("Azurite is not installed: run `make setup` (or `npm ci`)")
    return node


def make_folder(folder: Path) -> Path:
    """Create the data folder and prove that it can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "lock").touch()
    except OSError as error:
        raise AzuriteError(f"the data folder {folder} cannot be used: {error.strerror}") from error
    return folder.resolve()


async def take_lock(lock: IO[str], folder: Path) -> None:
    """Lock the data for this process and its Azurite: the lock ends when both have, however they end.

    Waits a little, since an Azurite whose parent was killed is still writing its data.
    """
    deadline = asyncio.get_running_loop().time() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if asyncio.get_running_loop().time() > deadline:
                raise AzuriteError(
                    f"the data folder {folder} is in use: stop the other run or choose another with --data"
                ) from None
            await asyncio.sleep(0.1)
        else:
            return


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@contextmanager
def explaining_failure() -> Iterator[None]:
    try:
        yield
    except ChildError as error:
        hint = "if its data is damaged, move the data folder away or run with --ephemeral"
        raise AzuriteError(f"{error} ({hint})") from error


@contextmanager
def noted_as_running(data: Path, connection_string: str) -> Iterator[None]:
    """Leave word in the data folder of where its storage is to be found, for as long as the block runs."""
    note = data / "storage.txt"
    note.write_text(connection_string, "utf-8")
    try:
        yield
    finally:
        note.unlink(missing_ok=True)


async def allow_origin(connection_string: str, origin: str) -> None:
    """Let pages of this origin, and of no other, write and read blobs by the links that they were given."""
    from azure.storage.blob import CorsRule
    from azure.storage.blob.aio import BlobServiceClient

    rule = CorsRule(
        [origin],
        ["GET", "HEAD", "PUT"],
        allowed_headers=["content-type", "range", "x-ms-*"],
        exposed_headers=["etag", "content-range"],
        max_age_in_seconds=3600,
    )
    async with BlobServiceClient.from_connection_string(connection_string) as service:
        await service.set_service_properties(cors=[rule])


def find_running(data: Path) -> str | None:
    """Return the connection string of the storage that runs on this folder; None if none answers."""
    note = data / "storage.txt"
    if not note.exists():
        return None
    connection_string = note.read_text("utf-8")
    endpoint = re.search(r"TableEndpoint=http://127\.0\.0\.1:(\d+)/", connection_string)
    return connection_string if endpoint and not is_free(int(endpoint[1])) else None

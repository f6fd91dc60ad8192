"""The whole product as a test sees it: `python -m localhost` in a process of its own, and a client for it."""

import asyncio
import email
import email.policy
import io
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Self

import aiohttp
from azure.core.exceptions import ResourceNotFoundError
from azure.core.pipeline.transport import AioHttpTransport
from azure.storage.blob import ContentSettings
from azure.storage.blob.aio import BlobServiceClient

ROOT = Path(__file__).parent.parent
FINAL = {"ready", "rejected", "transcription_failed", "cancelled"}
_TOKEN_SECONDS = 600
QUICK = {
    "AzureFunctionsJobHost__extensions__queues__visibilityTimeout": "00:00:01",
    # the host is told of each message; what it asks for besides is for leases that have run out
    "AzureFunctionsJobHost__extensions__queues__maxPollingInterval": "00:00:15",
    "BACKOFF_SECONDS": "0.8",
    "QUIET_SECONDS": "1",
    "MAX_ATTEMPTS": "3",
    "CATALOG_REFRESH_SECONDS": "0",
    "AUTO_PUBLISH": "true",
    "ALERT_MAIL_MINUTES": "0",
    "ADDRESS_ATTEMPTS": "500",
    "ATTEMPT_WINDOW_SECONDS": "60",
}


class Aloud:
    """A running Aloud: where it is, an admin's session, drops and jobs."""

    def __init__(self, ready: dict[str, Any], process: asyncio.subprocess.Process, log: Path) -> None:
        self.base_url: str = ready["base_url"]
        self.connection_string: str = ready["storage_connection_string"]
        self.openai_base_url: str = ready["openai_base_url"]
        self.admin_email: str = ready["admin"]["email"]
        self.admin_password: str = ready["admin"]["password"]
        self.pid: int = ready["pid"]
        self.process = process
        self.log = log
        self.http = aiohttp.ClientSession(self.base_url)
        self.blobs = BlobServiceClient.from_connection_string(
            self.connection_string,
            max_single_put_size=512 * 1024,
            max_block_size=512 * 1024,
            transport=AioHttpTransport(use_env_settings=False),
        )
        self._token: str | None = None
        self._token_until = 0.0

    @classmethod
    @asynccontextmanager
    async def start(
        cls, *arguments: str, openai_base_url: str | None = None, **settings: str
    ) -> AsyncIterator[Self]:
        """Run `python -m localhost --no-demo` (and --ephemeral, unless --data is given) for the block."""
        command = [sys.executable, "-m", "localhost", "--no-demo", *arguments]
        if "--data" not in arguments:
            command.append("--ephemeral")
        if openai_base_url is not None:
            command += ["--openai-base-url", openai_base_url]
        with tempfile.TemporaryDirectory() as folder:
            ready, log, own = Path(folder) / "ready.json", Path(folder) / "log", Path(folder) / "tmp"
            own.mkdir()
            with log.open("wb") as output:
                process = await asyncio.create_subprocess_exec(
                    *command,
                    "--ready-file",
                    str(ready),
                    cwd=ROOT,
                    env={**os.environ, "TMPDIR": str(own), **QUICK, **settings},
                    stdout=output,
                    stderr=output,
                )
            try:
                while not ready.exists():
                    if process.returncode is not None:
                        raise AssertionError(f"localhost ended early:\n{log.read_text()}")
                    await asyncio.sleep(0.05)
                aloud = cls(json.loads(ready.read_text()), process, log)
                try:
                    yield aloud
                finally:
                    await aloud.http.close()
                    await aloud.blobs.close()
            finally:
                if process.returncode is None:
                    process.send_signal(signal.SIGTERM)
                    await asyncio.wait_for(process.wait(), 30)
                    left = [path.name for path in own.iterdir()]
                    assert left == [], "a host that is asked to stop leaves nothing behind"

    async def upload(self, name: str, content: bytes | Path, content_type: str | None = None) -> None:
        """Drop a file into `uploads`, as any storage client would."""
        settings = ContentSettings(content_type=content_type) if content_type else None
        data = io.BytesIO(content if isinstance(content, bytes) else content.read_bytes())
        blob = self.blobs.get_blob_client("uploads", name)
        await blob.upload_blob(data, overwrite=True, content_settings=settings)

    async def token(self) -> str:
        """Sign in as the admin, again where that was a while ago, and return an access token."""
        if self._token is None or time.monotonic() > self._token_until:
            credentials = {"email": self.admin_email, "password": self.admin_password}
            async with self.http.post("/api/v1/auth/login", json=credentials) as answer:
                assert answer.status == 200, await answer.text()
                self._token = (await answer.json())["access_token"]
                self._token_until = time.monotonic() + _TOKEN_SECONDS
        return self._token

    async def call(
        self, method: str, path: str, *, token: str | None = None, **request: Any
    ) -> tuple[int, Any, Mapping[str, str]]:
        """Return status, body (parsed where it is JSON) and headers; as the admin unless told otherwise."""
        headers = dict(request.pop("headers", {}))
        token = await self.token() if token is None else token
        if token:
            headers["Authorization"] = f"Bearer {token}"
        request.setdefault("allow_redirects", False)
        async with self.http.request(method, path, headers=headers, **request) as answer:
            content: Any = await answer.read()
            if "json" in answer.content_type:
                content = json.loads(content)
            elif answer.content_type.startswith("text/"):
                content = content.decode()
            return answer.status, content, answer.headers

    async def get(self, path: str) -> Any:
        """Return the JSON of a GET by the admin, which has to succeed."""
        status, content, _ = await self.call("GET", path)
        assert status == 200, (path, status, content)
        return content

    async def job(self, blob_name: str) -> dict[str, Any] | None:
        """Return the newest job of a drop, if it has one."""
        for job in (await self.get("/api/v1/admin/jobs?limit=100"))["items"]:
            if job["blob_name"] == blob_name:
                return dict(job)
        return None

    async def wait_for(self, blob_name: str, *statuses: str, seconds: float = 60) -> dict[str, Any]:
        """Poll until a drop's newest job has one of the statuses, and return it."""
        async with asyncio.timeout(seconds):
            while (job := await self.job(blob_name)) is None:
                await asyncio.sleep(0.2)
            while job["status"] not in statuses:
                await asyncio.sleep(0.15)
                job = await self.get(f"/api/v1/admin/jobs/{job['id']}")
            return dict(job)

    async def settled(self, blob_name: str, seconds: float = 60) -> dict[str, Any]:
        """Wait until a drop's newest job is final, and return it."""
        return await self.wait_for(blob_name, *FINAL, seconds=seconds)

    async def book_of(self, blob_name: str) -> dict[str, Any]:
        """Return the book that a drop has become."""
        job = await self.job(blob_name)
        assert job is not None
        return dict(await self.get(f"/api/v1/audiobooks/{job['audiobook_id']}"))

    async def mails(self) -> list[str]:
        """Return the mails that were sent, as text."""
        container = self.blobs.get_container_client("mail")
        found = []
        with suppress(ResourceNotFoundError):
            async for name in container.list_blob_names():
                stream = await container.download_blob(name)
                found.append((await stream.readall()).decode())
        return found

    async def mail(self, to: str, holding: str, seconds: float = 30) -> str:
        """Wait for a mail to this address that holds this text, and return its plain part."""
        container = self.blobs.get_container_client("mail")
        async with asyncio.timeout(seconds):
            while True:
                with suppress(ResourceNotFoundError):
                    async for name in container.list_blob_names(name_starts_with=f"{to}/"):
                        content = await (await container.download_blob(name)).readall()
                        message = email.message_from_bytes(content, policy=email.policy.default)
                        plain = message.get_body(("plain",))
                        text = plain.get_content() if plain else ""
                        if holding in text:
                            return f"{message['Subject']}\n\n{text}"
                await asyncio.sleep(0.1)

    async def mailed_token(self, to: str, page: str) -> str:
        """Wait for a mail with a link to this page, and return the link's token."""
        mark = f"{page}?token="
        text = await self.mail(to, mark)
        return text.partition(mark)[2].split()[0]

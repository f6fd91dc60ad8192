"""Blobs: whole ones, ranges of them, conditional writes, copies inside the account, and links that expire."""

from __future__ import annotations

import asyncio
import re
import unicodedata
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.storage.blob import (
    BlobBlock,
    BlobProperties,
    BlobSasPermissions,
    ContentSettings,
    UserDelegationKey,
    generate_blob_sas,
)
from azure.storage.blob.aio import BlobClient, BlobServiceClient, ContainerClient

from core.errors import ConflictError, NotFoundError, StaleError, UnavailableError
from core.ids import now
from core.storage.failures import made_on_demand, named, translated


@dataclass(frozen=True)
class BlobFacts:
    """What the storage says of a blob; `size` in bytes, `digest` the MD5 where the writer gave one."""

    name: str
    etag: str
    size: int
    content_type: str
    modified: datetime
    digest: str | None


@dataclass(frozen=True)
class Link:
    """A URL for one blob that ends at `expires_at`."""

    url: str
    expires_at: datetime


def _facts(name: str, found: BlobProperties) -> BlobFacts:
    settings = found.content_settings
    digest = bytes(settings.content_md5).hex() if settings.content_md5 else None
    etag = str(found.etag).strip('"')
    return BlobFacts(name, etag, found.size, settings.content_type or "", found.last_modified, digest)


def attachment(file_name: str) -> str:
    """Return the header that makes a browser save a file, with a plain name for old ones (RFC 6266)."""
    letters = (
        letter for letter in unicodedata.normalize("NFKD", file_name) if not unicodedata.combining(letter)
    )
    plain = re.sub(r"[^A-Za-z0-9._ -]+", "_", "".join(letters))
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(file_name, safe='')}"


class Container:
    """One blob container; made on first write."""

    def __init__(self, name: str, service: Callable[[], BlobServiceClient]) -> None:
        self.name = name
        self._service = service
        self._delegation: tuple[UserDelegationKey, datetime] | None = None

    @property
    def _container(self) -> ContainerClient:
        return self._service().get_container_client(self.name)

    def _blob(self, name: str) -> BlobClient:
        return self._service().get_blob_client(self.name, name)

    async def facts(self, name: str) -> BlobFacts:
        """Return size, ETag and the like. Raises NotFoundError."""
        with translated(f"blob {self.name}/{name}"):
            found = await self._blob(name).get_blob_properties()
        return _facts(name, found)

    async def facts_under(self, prefix: str) -> AsyncIterator[BlobFacts]:
        """Yield what the storage says of the blobs that begin with `prefix`, in order of their names."""
        with translated(f"container {self.name}"):
            try:
                async for found in self._container.list_blobs(name_starts_with=prefix):
                    yield _facts(str(found.name), found)
            except ResourceNotFoundError:  # a container that is not made yet holds nothing
                return

    async def holds(self, name: str, etag: str) -> bool:
        """Tell whether a blob still is this version."""
        try:
            return (await self.facts(name)).etag == etag
        except NotFoundError:
            return False

    async def read(self, name: str) -> bytes:
        """Return a whole small blob. Raises NotFoundError."""
        content, _ = await self.read_with_etag(name)
        return content

    async def read_with_etag(self, name: str) -> tuple[bytes, str]:
        """Return a whole small blob and its ETag. Raises NotFoundError."""
        with translated(f"blob {self.name}/{name}"):
            stream = await self._blob(name).download_blob(max_concurrency=1)
            return await stream.readall(), stream.properties.etag.strip('"')

    async def read_if_changed(self, name: str, etag: str | None) -> tuple[bytes, str] | None:
        """Return a blob and its ETag, or None if it still has `etag`. Raises NotFoundError."""
        condition: dict[str, Any] = {}
        if etag is not None:
            condition = {"etag": f'"{etag}"', "match_condition": MatchConditions.IfModified}
        with translated(f"blob {self.name}/{name}"):
            try:
                stream = await self._blob(name).download_blob(max_concurrency=1, **condition)
                return await stream.readall(), stream.properties.etag.strip('"')
            except HttpResponseError as error:
                if error.status_code == 304:
                    return None
                raise

    async def blocks(self, name: str) -> AsyncIterator[bytes]:
        """Yield a blob that may be large in blocks of a few MB. Raises NotFoundError."""
        with translated(f"blob {self.name}/{name}"):
            stream = await self._blob(name).download_blob(max_concurrency=1)
            async for block in stream.chunks():
                yield block

    async def read_range(self, name: str, offset: int, length: int, etag: str) -> bytes:
        """Return `length` bytes from `offset` of exactly this version. Raises NotFoundError, StaleError."""
        with translated(f"blob {self.name}/{name}"):
            stream = await self._blob(name).download_blob(
                offset=offset,
                length=length,
                max_concurrency=1,
                etag=f'"{etag}"',
                match_condition=MatchConditions.IfNotModified,
            )
            return await stream.readall()

    async def write(
        self,
        name: str,
        content: Any,
        content_type: str,
        *,
        if_etag: str | None = None,
        if_absent: bool = False,
    ) -> str:
        """Write a blob (bytes, all of an open binary file, or the file at a path) and return its ETag.

        With `if_absent` or `if_etag` raises ConflictError or StaleError where the condition fails.
        """
        condition: dict[str, Any] = {"overwrite": True}
        if if_etag is not None:
            condition |= {"etag": f'"{if_etag}"', "match_condition": MatchConditions.IfNotModified}
        if if_absent:
            condition = {"overwrite": False}
        settings = ContentSettings(content_type=content_type)

        async def upload() -> Any:
            blob = self._blob(name)
            if isinstance(content, Path):
                with content.open("rb") as file:  # anew with each try: the one before has read it
                    return await blob.upload_blob(file, content_settings=settings, **condition)
            if not isinstance(content, bytes):
                content.seek(0)  # a first try, into a container that was not there, has read it
            return await blob.upload_blob(content, content_settings=settings, **condition)

        with translated(f"blob {self.name}/{name}"):
            answer = await made_on_demand(upload, self._container.create_container)
        return str(answer["etag"]).strip('"')

    async def stage(self, name: str, block: str, content: bytes) -> None:
        """Send a block of a blob, which nobody sees before `commit` names it; again replaces it.

        The ids of a blob's blocks have to be of one length. The storage forgets them after a week.
        """

        async def send() -> None:
            await self._blob(name).stage_block(block, content)

        with translated(f"blob {self.name}/{name}"):
            await made_on_demand(send, self._container.create_container)

    async def commit(
        self, name: str, blocks: Sequence[str], content_type: str, *, if_absent: bool = False
    ) -> None:
        """Make a blob of these blocks in this order; again changes nothing.

        Raises StaleError if a block is not there, and with `if_absent` ConflictError if there is a blob.
        """
        condition: dict[str, Any] = {"match_condition": MatchConditions.IfMissing} if if_absent else {}
        settings = ContentSettings(content_type=content_type)

        async def join() -> None:
            listed = [BlobBlock(block) for block in blocks]
            try:
                await self._blob(name).commit_block_list(listed, content_settings=settings, **condition)
            except HttpResponseError as error:
                if getattr(error, "error_code", None) != "InvalidBlockList":
                    raise
                raise named(StaleError, f"blocks of {self.name}/{name}") from error

        with translated(f"blob {self.name}/{name}"):
            await made_on_demand(join, self._container.create_container)

    async def copy_from(self, source: Container, source_name: str, name: str, source_etag: str) -> BlobFacts:
        """Copy one version of a blob inside the account, without its bytes passing through us.

        A copy that is there already stays as it is: names of copies are never used for other content.
        Raises NotFoundError or StaleError if that version is gone, UnavailableError while the storage is
        still copying.
        """
        blob = self._blob(name)
        if await self._copy_status(name) not in ("success", "pending"):
            link = await source.link(source_name, timedelta(hours=1))
            with suppress(ConflictError), translated(f"blob {source.name}/{source_name}"):
                await made_on_demand(
                    lambda: blob.start_copy_from_url(
                        link.url,
                        source_etag=f'"{source_etag}"',
                        source_match_condition=MatchConditions.IfNotModified,
                        match_condition=MatchConditions.IfMissing,
                    ),
                    self._container.create_container,
                )
        for pause in (0, 0.2, 0.5, 1, 2, 4):
            await asyncio.sleep(pause)
            status = await self._copy_status(name)
            if status == "success":
                return await self.facts(name)
        raise UnavailableError(f"The storage says {status} of the copy of the file.", retry_after=20)

    async def _copy_status(self, name: str) -> str | None:
        """Return how far the copy of a blob is, None if nobody has begun one."""
        with translated(f"blob {self.name}/{name}"):
            try:
                found = await self._blob(name).get_blob_properties()
            except ResourceNotFoundError:
                return None
        return str(found.copy.status)

    async def delete(self, name: str, if_etag: str | None = None) -> None:
        """Remove a blob, with `if_etag` only that version of it. Raises NotFoundError, StaleError."""
        condition: dict[str, Any] = {}
        if if_etag is not None:
            condition = {"etag": f'"{if_etag}"', "match_condition": MatchConditions.IfNotModified}
        with translated(f"blob {self.name}/{name}"):
            await self._blob(name).delete_blob(**condition)

    async def delete_prefix(self, prefix: str) -> None:
        """Remove every blob whose name begins with `prefix`, which may not be empty; none is fine."""
        if not prefix:
            raise ValueError("An empty prefix would remove every blob.")
        with suppress(NotFoundError):  # the container may not be there yet
            async for name in self.names(prefix):
                with suppress(NotFoundError):
                    await self.delete(name)

    async def names(self, prefix: str = "") -> AsyncIterator[str]:
        """Yield the names of the blobs that begin with `prefix`, in order."""
        with translated(f"container {self.name}"):
            try:
                async for name in self._container.list_blob_names(name_starts_with=prefix):
                    yield name
            except ResourceNotFoundError:  # a container that is not made yet holds nothing
                return

    async def link(
        self, name: str, life: timedelta, content_type: str | None = None, file_name: str | None = None
    ) -> Link:
        """Return a read-only link to one blob, which is served as `content_type` if that is given.

        With `file_name`, browsers save the blob under it instead of showing it.
        Signed by the account's key locally and by a user delegation key, over https alone, in the cloud.
        """
        return await self._sign(
            name,
            life,
            BlobSasPermissions(read=True),
            content_type=content_type,
            content_disposition=None if file_name is None else attachment(file_name),
        )

    async def write_link(self, name: str, life: timedelta) -> Link:
        """Return a link that writes one blob, whole or in blocks, and can do nothing else with it."""
        return await self._sign(name, life, BlobSasPermissions(create=True, write=True))

    async def _sign(self, name: str, life: timedelta, permission: BlobSasPermissions, **more: Any) -> Link:
        service = self._service()
        start = now() - timedelta(minutes=5)
        expiry = now() + life
        key = getattr(service.credential, "account_key", None)
        signed = (
            {"account_key": key, "protocol": None}
            if key
            else {"user_delegation_key": await self._delegation_key(), "protocol": "https"}
        )
        token = generate_blob_sas(
            str(service.account_name),
            self.name,
            name,
            permission=permission,
            start=start,
            expiry=expiry,
            **more,
            **signed,
        )
        return Link(f"{self._blob(name).url}?{token}", expiry)

    async def _delegation_key(self) -> UserDelegationKey:
        if self._delegation is None or self._delegation[1] < now() + timedelta(hours=2):
            expiry = now() + timedelta(hours=12)
            with translated("a delegation key"):
                key = await self._service().get_user_delegation_key(now() - timedelta(minutes=5), expiry)
            self._delegation = (key, expiry)
        return self._delegation[0]

"""Makes one book, or one private recording, of files that come one after another, after a quiet while."""

import logging

from pydantic import ValidationError

from core.backoff import Backoff
from core.errors import NotFoundError
from core.ids import now
from core.operations.service import Operations
from core.settings import Settings
from core.storage.blobs import BlobFacts, Container
from core.storage.queues import Queues
from core.transcription.drops import GATHER, MAX_PARTS, Dropped, Drops, Gathering, draft_at
from core.transcription.folders import folder_of, is_companion, natural_key
from core.transcription.metadata import title_from_name
from core.transcription.private_drops import PrivateDrops
from core.transcription.store import JobStore
from core.transcription.uploads import Uploads

_log = logging.getLogger("aloud.pipeline")


class Gather:
    def __init__(
        self,
        settings: Settings,
        store: JobStore,
        drops: Drops,
        queues: Queues,
        operations: Operations,
        uploads: Container,
        announced: Uploads,
        private: PrivateDrops,
    ) -> None:
        self._backoff = Backoff(settings)
        self._store = store
        self._drops = drops
        self._queues = queues
        self._operations = operations
        self._uploads = uploads
        self._announced = announced
        self._private = private

    async def run(self, body: str) -> None:
        """Look whether a folder or a book has been quiet. Raises only what nobody foresaw."""
        try:
            message = Gathering.model_validate_json(body)
        except ValidationError:
            _log.error("a message on %s cannot be read and is set aside", GATHER)
            await self.settle_poison(body)
            return
        await self._backoff.run(self._queues, GATHER, message, self._gather)

    async def settle_poison(self, body: str) -> None:
        """Tell a person of files that became no book; of a private recording not whose it is."""
        private = f'"{self._private.container}"' in body
        detail = "It is about a private recording." if private else body[:2000]
        await self._operations.raise_alert(
            "poison-message", "Dropped files could not be made into a book", detail, GATHER, now()
        )

    async def _gather(self, message: Gathering) -> None:
        """Begin a job for all files that are there, unless a newer one has its own message under way."""
        if message.container == self._private.container:
            await self._private.gather(message)
            return
        if message.audiobook_id is not None:
            files = await self._files_of_book(message.audiobook_id)
        else:
            files = await self._files_of_folder(message.path)
        if not files:
            _log.info("nothing is left of %s", message.path)
        elif max(file.facts.modified for file in files) > message.newest:
            _log.debug("%s has not been quiet", message.path)
        elif len(files) > MAX_PARTS:
            await self._operations.raise_alert(
                "folder-too-large",
                f"{message.path} has {len(files)} files; a book may have {MAX_PARTS}",
                "Drop it again in several folders.",
                message.path,
                message.newest,
            )
        else:
            source = await self._drops.claim(message.path, message.newest, message.audiobook_id)
            draft = draft_at(source, message.path, message.newest)
            if message.audiobook_id is not None:
                draft = draft.model_copy(update={"title": title_from_name(files[0].file_name)})
            await self._drops.begin(message.path, source, draft, files, message.traceparent)

    async def _files_of_folder(self, folder: str) -> list[Dropped]:
        found: list[BlobFacts] = []
        async for facts in self._uploads.facts_under(folder):
            if folder_of(facts.name) == folder and not is_companion(facts.name):
                found.append(facts)
        found.sort(key=lambda facts: natural_key(facts.name))
        return [Dropped(facts, facts.name.removeprefix(folder)) for facts in found]

    async def _files_of_book(self, book_id: str) -> list[Dropped]:
        files: list[Dropped] = []
        for row in await self._store.part_files(book_id):
            upload = await self._announced.of_drop(row.blob_name)
            try:
                facts = await self._uploads.facts(row.blob_name)
            except NotFoundError:
                _log.info("part %s of book %s is gone", row.part, book_id)
                continue
            if upload is None:
                files.append(Dropped(facts, row.blob_name))
            else:
                refusal = await self._announced.examine(upload, facts)
                files.append(Dropped(facts, upload.file_name, refusal))
        return files

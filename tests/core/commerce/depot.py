"""A shop whose books have files, and the ZIPs that are made of them."""

from typing import Any

from core.caller import Caller
from core.catalog.models import AudioPart, Book, MediaFile
from core.commerce.archive_store import Archive, ArchiveStore
from core.commerce.archives import PackBooks
from core.ids import new_id
from core.settings import Settings
from core.storage import Watch
from localhost.azurite import Azurite
from tests.core.catalog.conftest import make_book
from tests.core.commerce.conftest import SETTINGS, Shop

FORMS = ("json", "txt", "srt", "vtt")


def settings_of(azurite: Azurite, **more: str) -> Settings:
    return Settings.read({"AzureWebJobsStorage": azurite.connection_string, **SETTINGS, **more})


def somebody() -> Caller:
    return Caller(user_id=new_id(), session_id="", roles=frozenset({"listener"}))


class Depot(Shop):
    """One instance of the product, and the files of its books."""

    def __init__(self, settings: Settings, watch: Watch | None = None) -> None:
        super().__init__(settings, watch)
        self.library = self.services.commerce.library
        self.archives = self.services.commerce.archives
        self.files = self.account.container("archives")
        self.rows = ArchiveStore(self.users, self.files)

    async def fill(
        self, title: str, audio: bytes = b"sound", text: str | None = "words ", **fields: Any
    ) -> Book:
        """Put a book on the shelf with a recording, a cover and (unless text is None) transcripts."""
        folder = new_id()
        await self.media.write(f"{folder}/audio.mp3", audio, "audio/mpeg")
        await self.media.write(f"{folder}/cover/1024.jpg", b"cover", "image/jpeg")
        files: dict[str, Any] = {
            "parts": (AudioPart(blob=f"{folder}/audio.mp3", content_type="audio/mpeg", size=len(audio)),),
            "cover": MediaFile(blob=f"{folder}/cover/1024.jpg", content_type="image/jpeg", size=5),
        }
        if text is not None:
            files["transcript_prefix"] = f"{folder}/transcript-1"
            for form in FORMS:
                content = f"{form}: {text}".encode()
                await self.media.write(f"{folder}/transcript-1.{form}", content, "text/plain")
        book = make_book(title, **files, **fields)
        await self.catalog.create(book)
        return book

    async def give_to(self, user_id: str, book: Book) -> None:
        """Let a person own a book."""
        caller = Caller(user_id=user_id, session_id="", roles=frozenset({"listener"}))
        await self.give(caller, book)

    async def archive(self, caller: Caller, archive_id: str) -> Archive:
        found = await self.rows.find(caller.user_id, archive_id)
        assert found is not None
        return found.value

    async def step(self, caller: Caller, archive_id: str) -> Archive:
        """Do the next step of a ZIP, as its message asks; return what has become of it."""
        archive = await self.archive(caller, archive_id)
        work = PackBooks(user_id=caller.user_id, id=archive_id, step=archive.step)
        await self.archives.run(work.model_dump_json())
        return await self.archive(caller, archive_id)

    async def work_off(self, caller: Caller, archive_id: str) -> Archive:
        """Do all that is left of a ZIP, and return it as it is in the end."""
        while (archive := await self.step(caller, archive_id)).is_under_way:
            pass
        return archive

    async def make(self, caller: Caller, *books: Book) -> Archive:
        """Have a ZIP made and return it as it is in the end."""
        begun = await self.archives.begin([book.id for book in books], caller)
        return await self.work_off(caller, begun.id)

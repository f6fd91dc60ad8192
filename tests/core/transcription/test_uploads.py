"""How much may be uploaded, and by whom."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import pytest
import pytest_asyncio

from core.accounts.models import User
from core.caller import Caller, Origin, Role
from core.errors import ConflictError, ForbiddenError, ThrottledError
from core.ids import new_id, now
from core.settings import Settings
from core.transcription.drops import Gathering
from core.transcription.models import Step
from core.transcription.uploads import BookUpload, UploadRequest
from core.wiring import Services, build
from localhost.azurite import Azurite
from tests.audio import make_audio
from tests.instances import closing_all

ORIGIN = Origin(address="192.0.2.1", request_id="test")
BIG = UploadRequest(
    purpose="audiobook", filename="a.mp3", size_bytes=400_000, content_type="audio/mpeg; codecs=mp3"
)
Start = Callable[..., Services]


@pytest_asyncio.fixture
async def start(azurite: Azurite) -> AsyncIterator[Start]:
    def build_one(**settings: str) -> Services:
        given = {"AzureWebJobsStorage": azurite.connection_string, "JWT_SIGNING_KEY": "k" * 32, **settings}
        return build(Settings.read(given))

    async with closing_all(build_one) as start:
        yield start


def caller(*roles: Role) -> Caller:
    return Caller(user_id=new_id(), session_id="s", roles=frozenset({"listener", *roles}))


async def test_a_days_bytes_are_counted_before_they_come_on_all_instances(start: Start) -> None:
    instances = [start(UPLOAD_GB_PER_DAY="0.001") for _ in range(2)]
    person = caller("publisher")
    begun = await asyncio.gather(
        *(instance.uploads.begin(BIG, person, ORIGIN) for instance in instances * 3), return_exceptions=True
    )
    refused = [error for error in begun if isinstance(error, ThrottledError)]
    assert (len(begun) - len(refused), len(refused)) == (2, 4)
    assert all(0 < error.retry_after <= 86400 for error in refused)
    await instances[0].uploads.begin(BIG, caller("publisher"), ORIGIN)
    admin = caller("admin")
    for _ in range(3):
        await instances[0].uploads.begin(BIG, admin, ORIGIN)
    with pytest.raises(ForbiddenError):
        await instances[0].uploads.begin(BIG, caller(), ORIGIN)
    assert len((await instances[0].catalog.own(person, 10))[0]) == 2, "a refused one leaves no draft"


async def test_verified_listeners_are_publishers_where_that_is_set(start: Start) -> None:
    user = User(id=new_id(), email="a@example.com", display_name="A", created_at=now())
    verified = user.model_copy(update={"email_verified": True})
    usual, open_house = start().accounts.sessions, start(LISTENERS_PUBLISH="true").accounts.sessions
    assert usual.roles(verified) == ("listener",)
    assert open_house.roles(verified) == ("listener", "publisher")
    assert open_house.roles(user) == ("listener",)


@pytest.mark.parametrize("part", [None, 1])
async def test_a_book_that_is_written_again_by_the_same_link_counts_again(
    start: Start, part: int | None
) -> None:
    """Or one announcement would pay for any number of versions, each heard anew."""
    content = make_audio("bare mp3", 2, sounds=[(0.2, 1.8)], rate=16_000)
    services = start(UPLOAD_GB_PER_DAY=f"{len(content) * 2.5e-9}", QUIET_SECONDS="0")
    pipeline, publisher = services.transcription, caller("publisher")
    request = UploadRequest(
        purpose="audiobook",
        filename="a.mp3",
        size_bytes=len(content),
        content_type="audio/mpeg",
        part=part,
    )
    upload, _ = await services.uploads.begin(request, publisher, ORIGIN)
    assert isinstance(upload, BookUpload)
    drops, found = pipeline._targets["book"].drops, []
    for _ in range(3):
        await drops.write(upload.blob_name, content, "audio/mpeg")
        for _ in range(2):
            await pipeline.accept_drop("uploads", upload.blob_name)
            if part is not None:
                message = Gathering(
                    path=f"parts of {upload.audiobook_id}",
                    audiobook_id=upload.audiobook_id,
                    newest=now() + timedelta(seconds=1),
                )
                await services.gather.run(message.model_dump_json())
        job_id = (await services.catalog.book(upload.audiobook_id)).job_id
        assert job_id is not None
        await pipeline.run("ingest", Step(job_id=job_id))
        book = await services.catalog.book(upload.audiobook_id)
        found.append((book.processing_status, (book.processing_reason or "")[:14]))
    assert found == [("transcribing", ""), ("transcribing", ""), ("rejected", "You can upload")]
    assert [name async for name in drops.names(f"{upload.id}/")] == [], "what is refused takes no room"
    with pytest.raises(ConflictError, match="You can upload"):
        await services.uploads.verify(upload.id, publisher)


async def test_of_a_file_that_is_larger_than_announced_nothing_is_kept(start: Start) -> None:
    """A link cannot bound what is written by it."""
    services, person = start(), caller()
    request = UploadRequest(purpose="task", filename="a.mp3", size_bytes=1, content_type="audio/mpeg")
    upload, _ = await services.uploads.begin(request, person, ORIGIN)
    drops = services.transcription._targets["task"].drops
    await drops.write(upload.blob_name, bytes(100_000), "audio/mpeg")
    job = await services.transcription.accept_drop("tasks", upload.blob_name)
    assert job is not None
    await services.transcription.run("ingest", Step(job_id=job.id))
    assert [name async for name in drops.names(f"{person.user_id}/")] == []
    with pytest.raises(ConflictError, match="100000 bytes, 1 were announced"):
        await services.uploads.verify(upload.id, person)

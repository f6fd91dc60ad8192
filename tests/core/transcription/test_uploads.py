"""How much may be uploaded, and by whom."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from core.accounts.models import User
from core.caller import Caller, Origin, Role
from core.errors import ForbiddenError, ThrottledError
from core.ids import new_id, now
from core.settings import Settings
from core.transcription.uploads import UploadRequest
from core.wiring import Services, build
from localhost.azurite import Azurite

ORIGIN = Origin(address="192.0.2.1", request_id="test")
BIG = UploadRequest(
    purpose="audiobook", filename="a.mp3", size_bytes=400_000, content_type="audio/mpeg; codecs=mp3"
)
Start = Callable[..., Services]


@pytest_asyncio.fixture
async def start(azurite: Azurite) -> AsyncIterator[Start]:
    started: list[Services] = []

    def build_one(**settings: str) -> Services:
        given = {"AzureWebJobsStorage": azurite.connection_string, "JWT_SIGNING_KEY": "k" * 32, **settings}
        started.append(build(Settings.read(given)))
        return started[-1]

    yield build_one
    for services in started:
        await services.close()


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

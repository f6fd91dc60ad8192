"""Owners are told of what has changed about their accounts, wherever the process ends."""

from collections.abc import Awaitable, Callable
from contextlib import suppress

import pyotp
import pytest
from azure.core.exceptions import ResourceNotFoundError

from core.accounts.models import Proof, User
from core.errors import UnavailableError
from core.ids import new_id, now
from core.operations.models import Notice
from core.operations.service import Operations
from tests.core.accounts.conftest import PASSWORD, Build, Instance, caller, link_row, new_email, somewhere

pytestmark = pytest.mark.usefixtures("quick_hashes")

OTHER = "a stitch in time"


class GoneError(BaseException):
    """The process has ended."""


async def change_password(instance: Instance, user: User) -> None:
    speaker, _ = await instance.sign_in(user)
    await instance.recovery.change_password(speaker, Proof(password=PASSWORD), OTHER, somewhere())


async def reset_password(instance: Instance, user: User) -> None:
    await instance.recovery.reset_password(f"{user.id}.a-secret", OTHER, somewhere())


async def move(instance: Instance, user: User) -> None:
    await instance.recovery.confirm_email(f"{user.id}.another-secret", somewhere())


async def add_factor(instance: Instance, user: User) -> None:
    speaker = caller(user, "")
    setup = await instance.accounts.factors.set_up(speaker, Proof(password=PASSWORD), somewhere())
    await instance.accounts.factors.confirm(speaker, pyotp.TOTP(setup.secret).at(now()), somewhere())


async def lose_factor(instance: Instance, user: User) -> None:
    await instance.accounts.factors.reset(caller(user, ""), user.id, somewhere())


async def mailed(instance: Instance, user: User) -> list[str]:
    """Do what waits on both queues, and return the subjects of the mails to the address from before."""
    await instance.work_off()
    queue = instance.queue_of("notify")
    with suppress(ResourceNotFoundError):
        async for message in queue.receive_messages(messages_per_page=32):
            notice = Notice.model_validate_json(message.content)
            if notice.letter is not None and notice.letter.to == user.email:
                await instance.services.operations.send_notice(message.content)
                await queue.delete_message(message)
    mails = await instance.mails(user.email)
    return [line for mail in mails for line in mail.splitlines() if line.startswith("Subject:")]


@pytest.mark.parametrize(
    ("act", "subject"),
    [
        (change_password, "password"),
        (reset_password, "password"),
        (move, "address"),
        (add_factor, "code"),
        (lose_factor, "code"),
    ],
)
async def test_a_change_whose_process_ends_right_after_it_is_told_once(
    start: Build,
    monkeypatch: pytest.MonkeyPatch,
    act: Callable[[Instance, User], Awaitable[None]],
    subject: str,
) -> None:
    monkeypatch.setattr("core.accounts.notices._COMMIT_SECONDS", 0)
    instance = start()
    rows = (
        link_row("reset", email := new_email(), "a-secret"),
        link_row("email", new_email(), "another-secret"),
    )
    user = await instance.join(*rows, email=email)

    async def end(*_: object) -> None:
        raise GoneError

    with monkeypatch.context() as ending, pytest.raises(GoneError):
        ending.setattr(Operations, "post", end)
        await act(instance, user)
    (told,) = await mailed(instance, user)
    assert subject in told.lower()
    assert (
        await instance.rows(
            "users", "PartitionKey eq @id and RowKey ge 'notice_' and RowKey lt 'notice`'", id=user.id
        )
        == []
    )
    assert await mailed(instance, user) == [told]


async def test_a_change_that_did_not_come_to_pass_is_not_told(
    start: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.accounts.notices._COMMIT_SECONDS", 0)
    instance = start()
    user = await instance.join()

    async def end(*_: object, **__: object) -> None:
        raise GoneError

    with monkeypatch.context() as ending, pytest.raises(GoneError):
        ending.setattr(type(instance.store), "change_user", end)
        await lose_factor(instance, user)
    assert await mailed(instance, user) == []


async def test_a_queue_that_does_not_answer_right_after_a_change_keeps_nobody_from_it(
    start: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.accounts.notices._COMMIT_SECONDS", 0)
    instance = start()
    user = await instance.join()

    async def refuse(*_: object) -> None:
        raise UnavailableError(new_id())

    with monkeypatch.context() as away:
        away.setattr(Operations, "post", refuse)
        await change_password(instance, user)
    assert len(await mailed(instance, user)) == 1

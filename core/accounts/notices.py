"""Notices of what has changed about an account: its owner is told, wherever the process ends."""

from contextlib import suppress
from datetime import datetime

from core.accounts.models import Notice, Tell, User
from core.accounts.registration import QUEUE
from core.accounts.store import AccountStore
from core.errors import UnavailableError
from core.ids import now
from core.mail import Template
from core.operations.service import Operations
from core.storage.queues import Queues

_COMMIT_SECONDS = 120  # by then, a request that was cut off has either committed or never will


class Notices:
    def __init__(self, store: AccountStore, queues: Queues, operations: Operations) -> None:
        self._store = store
        self._queues = queues
        self._operations = operations

    async def prepare(self, user: User, template: Template, **values: str | datetime) -> Notice:
        """Return a notice to the address of this moment, to be written with the change that it tells of.

        A message goes out ahead of the change, and waits: if the change comes to pass, somebody is told.
        """
        letter = self._operations.write_letter(
            template, user.email, user.locale, name=user.display_name, **values
        )
        await self._queues.send(QUEUE, Tell(id=letter.id, at=now(), user_id=user.id), _COMMIT_SECONDS)
        return Notice(letter=letter)

    async def send(self, user_id: str, notice: Notice) -> None:
        """Hand a letter over after the change; where that fails, the message that waits does it."""
        with suppress(UnavailableError):
            await self._hand_over(user_id, notice)

    async def tell(self, work: Tell) -> None:
        """Hand the letter over that a message has waited with; most went long before, or never will."""
        notice = await self._store.notice(work.user_id, work.id)
        if notice is not None:
            await self._hand_over(work.user_id, notice)

    async def _hand_over(self, user_id: str, notice: Notice) -> None:
        await self._operations.post(notice.letter)  # the mail service takes an id once
        await self._store.remove_notice(user_id, notice)

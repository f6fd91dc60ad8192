"""What is held about a person: a copy of all of it, or its end.

Each room that holds something offers both as a `Holder`; the wiring joins them.
"""

import asyncio
import json
import tempfile
import zipfile
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from pydantic import BaseModel

from core.accounts.models import Erase, Export, MakeExport, Proof, User
from core.accounts.proofs import Proofs
from core.accounts.registration import QUEUE
from core.accounts.store import AccountStore
from core.accounts.throttles import Throttles
from core.caller import Caller, Origin
from core.errors import ConflictError, NotFoundError
from core.ids import derived_id, fingerprint, new_id, now
from core.mail import Letter
from core.operations.service import Operations
from core.storage.blobs import Container, Link
from core.storage.queues import Queues

EXPORT_DAYS = 7
_LINK_MINUTES = 15
_EXPORTS = 5
_COMMIT_SECONDS = 120  # by then, a request that was cut off has either committed or never will
_KEPT = (
    "The log of who did what, with network addresses, is kept, and so is what was sold, as the law on taxes "
    "wants it. Both have a number in place of you, and not the same one. Books that you have published are "
    "the shop's from now on, without your name as their publisher."
)


@dataclass(frozen=True)
class Holding:
    """A file of an export: its name, and its content or the blob that holds it."""

    name: str
    content: bytes | tuple[Container, str]


class Holder(Protocol):
    """A room that holds something about people."""

    def holdings(self, user_id: str) -> AsyncIterator[Holding]:
        """Yield everything that is held about a person."""

    async def erase(self, user_id: str) -> None:
        """Delete it. Is repeated until it has come through."""


class Receipt(BaseModel):
    """The answer to a wish to delete an account. The mail that says it is done names the same id."""

    receipt_id: str
    requested_at: datetime
    kept: str = _KEPT


class ExportView(BaseModel):
    """An export; once it is `ready`, with an address for some minutes. The file is there for days."""

    id: str
    status: str
    created_at: datetime
    size_bytes: int | None
    expires_at: datetime | None
    url: str | None = None
    url_expires_at: datetime | None = None


class Holdings:
    def __init__(
        self,
        store: AccountStore,
        throttles: Throttles,
        proofs: Proofs,
        pictures: Container,
        exports: Container,
        queues: Queues,
        operations: Operations,
        site: str,
    ) -> None:
        self._store = store
        self._throttles = throttles
        self._proofs = proofs
        self._pictures = pictures
        self._exports = exports
        self._queues = queues
        self._operations = operations
        self._site = site.rstrip("/")
        self.holders: Sequence[Holder] = ()

    # The end

    async def request_erasure(self, caller: Caller, proof: Proof, origin: Origin) -> Receipt:
        """End all sessions for good and queue the deletion of everything.

        The message goes out before the commit, and waits: whatever is cut off, either nothing has happened,
        or everything will. A wish that is repeated is the first one. Raises UnauthenticatedError for a bad
        proof, and ConflictError for an administrator, who may be the last one.
        """
        user = (await self._store.user(caller.user_id)).value
        await self._proofs.check(user, proof, origin)
        self._proofs.use_second_factor(user, proof.mfa_code)
        _check_may_leave(user)
        at = now()
        work = _erasure(user.id, at)
        await self._queues.send(QUEUE, work, _COMMIT_SECONDS)
        await self._operations.record("account.deletion-requested", user.id, user.id, origin, work.id)

        def end(user: User) -> User | None:
            if user.erasing_at is not None:
                return None
            _check_may_leave(user)
            return user.model_copy(update={"erasing_at": at, "epoch": user.epoch + 1})

        ended = await self._store.change_user(user.id, end)
        work = _erasure(user.id, ended.erasing_at or at)
        await self._queues.send(QUEUE, work)
        return Receipt(receipt_id=work.id, requested_at=work.at)

    async def erase(self, work: Erase) -> None:
        """Delete everything of a person and mail the receipt; the row `user` goes last: it can be repeated.

        A message whose request was cut off before it counted does nothing. One that comes when the person
        is gone, as the one that waits does, sees to what was still being written then.
        """
        found = await self._store.find_user(work.user_id)
        if found is None:
            for holder in self.holders:
                await holder.erase(work.user_id)
            await self._store.discard_rest(work.user_id)
            return
        if found.value.erasing_at != work.at:
            return
        user = found.value
        for holder in self.holders:
            await holder.erase(user.id)
        await self._pictures.delete_prefix(f"{user.id}/")
        await self._exports.delete_prefix(f"{user.id}/")
        await self._operations.deliver(
            Letter(
                id=work.id,
                to=user.email,
                template="account-deleted",
                locale=user.locale,
                values={
                    "name": user.display_name,
                    "receipt_id": work.id,
                    "when": f"{work.at:%d %B %Y, %H:%M} UTC",
                    "kept": _KEPT,
                },
            )
        )
        if user.google_subject is not None:
            await self._store.release_google(user.google_subject, user.id)
        await self._store.release(user.email, user.id)
        await self._store.forget_sign_ins(user.email)
        nowhere = Origin(address="", request_id=work.id)
        await self._operations.record("account.deleted", None, user.id, nowhere, work.id)
        await self._store.discard(user)

    # A copy

    async def request_export(self, caller: Caller, origin: Origin) -> ExportView:
        """Queue a copy of everything; one that is under way is the one that is meant."""
        await self._throttles.attempt(fingerprint("user", caller.user_id), "export", _EXPORTS)
        at = now()
        for export in await self._store.exports(caller.user_id):
            if export.status in ("waiting", "running"):
                if export.created_at < at - timedelta(seconds=_COMMIT_SECONDS):
                    await self._send(caller.user_id, export)
                return _view(export)
            if export.created_at < at - timedelta(days=EXPORT_DAYS):
                await self._store.delete_export(caller.user_id, export.id)
        export = Export(id=new_id(at), created_at=at)
        await self._operations.record(
            "account.export-requested", caller.user_id, caller.user_id, origin, export.id
        )
        await self._store.add_export(caller.user_id, export)
        await self._send(caller.user_id, export)
        return _view(export)

    async def _send(self, user_id: str, export: Export) -> None:
        await self._queues.send(QUEUE, MakeExport(id=export.id, at=export.created_at, user_id=user_id))

    async def exports(self, caller: Caller) -> list[ExportView]:
        """Return the caller's exports, the newest first."""
        found = await self._store.exports(caller.user_id)
        return [_view(export) for export in sorted(found, key=lambda export: export.id, reverse=True)]

    async def export(self, caller: Caller, export_id: str) -> ExportView:
        """Return an export, with a link while there is one. Raises NotFoundError."""
        export = await self._store.export(caller.user_id, export_id)
        view = _view(export)
        if view.status != "ready":
            return view
        link: Link = await self._exports.link(
            f"{caller.user_id}/{export_id}.zip",
            timedelta(minutes=_LINK_MINUTES),
            file_name=f"aloud-{export.created_at:%Y-%m-%d}.zip",
        )
        return view.model_copy(update={"url": link.url, "url_expires_at": link.expires_at})

    async def make_export(self, work: MakeExport) -> None:
        """Write the ZIP of an export and mail that it is there; a repeat after the end does nothing."""
        stored = await self._store.find_user(work.user_id)
        if stored is None or stored.value.erasing_at is not None:
            await self._exports.delete_prefix(f"{work.user_id}/")  # the account ended during an earlier try
            return
        user = stored.value
        try:
            export = await self._store.export(user.id, work.id)
        except NotFoundError:
            return
        if export.status not in ("waiting", "running"):
            return
        await self._mark(user.id, work.id, status="running")
        with tempfile.TemporaryFile() as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
                async for holding in self._holdings(user):
                    content = holding.content
                    if isinstance(content, tuple):
                        content = await content[0].read(content[1])
                    await asyncio.to_thread(archive.writestr, holding.name, content)
            size = file.tell()
            file.flush()  # the SDK asks the operating system for the length
            await self._exports.write(f"{user.id}/{work.id}.zip", file, "application/zip")
        await self._operations.deliver(
            Letter(
                id=work.id,
                to=user.email,
                template="export-ready",
                locale=user.locale,
                values={
                    "name": user.display_name,
                    "link": f"{self._site}/account",
                    "days": str(EXPORT_DAYS),
                },
            )
        )
        expires_at = now() + timedelta(days=EXPORT_DAYS)
        await self._mark(user.id, work.id, status="ready", size_bytes=size, expires_at=expires_at)

    async def give_up_export(self, work: MakeExport) -> None:
        """Say of an export that it has failed, so that its owner asks for another."""
        try:
            await self._mark(work.user_id, work.id, status="failed")
        except NotFoundError:
            return

    async def _mark(self, user_id: str, export_id: str, **fields: object) -> None:
        await self._store.change_export(user_id, export_id, lambda export: export.model_copy(update=fields))

    async def _holdings(self, user: User) -> AsyncIterator[Holding]:
        account = user.model_dump(mode="json", exclude={"password_hash", "second_factor", "epoch"})
        yield Holding("account.json", _json(account | {"second_factor": user.has_second_factor}))
        shown = {"id", "kind", "address", "device", "created_at", "renewed_at", "expires_at"}
        sessions = await self._store.sessions(user.id)
        yield Holding("sessions.json", _json([s.model_dump(mode="json", include=shown) for s in sessions]))
        if user.picture is not None:
            yield Holding("picture.webp", (self._pictures, f"{user.id}/{user.picture}"))
        for holder in self.holders:
            async for holding in holder.holdings(user.id):
                yield holding

    async def sweep_exports(self) -> None:
        """Delete the files of exports whose days are over."""
        oldest = now() - timedelta(days=EXPORT_DAYS)
        with suppress(NotFoundError):  # the container may not be there yet
            async for name in self._exports.names():
                with suppress(NotFoundError):
                    if (await self._exports.facts(name)).modified < oldest:
                        await self._exports.delete(name)


def _check_may_leave(user: User) -> None:
    if "admin" in user.roles:
        raise ConflictError("You are an administrator. Have another one take the role from you first.")


def _erasure(user_id: str, at: datetime) -> Erase:
    return Erase(id=derived_id(at, "erasure", user_id), at=at, user_id=user_id)


def _view(export: Export) -> ExportView:
    over = export.expires_at is not None and export.expires_at < now()
    return ExportView(**export.model_dump(exclude={"status"}), status="expired" if over else export.status)


def _json(content: object) -> bytes:
    return json.dumps(content, indent=2, ensure_ascii=False).encode()

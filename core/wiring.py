"""The composition root: the only file that sees every room. Nothing connects here; first use does."""

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from core.accounts.holdings import Holding
from core.accounts.service import Accounts
from core.accounts.store import AccountStore
from core.ai import Models, connect
from core.catalog.claims import IsbnClaims
from core.catalog.editing import Editing
from core.catalog.exporting import Exports
from core.catalog.follows import Follows
from core.catalog.importing import Imports
from core.catalog.index import CatalogPublisher, CatalogReader
from core.catalog.names import Names
from core.catalog.removal import Removal
from core.catalog.service import QUEUE, Catalog, CatalogNews
from core.catalog.shelves import Shelves
from core.catalog.stats import StatsStore
from core.catalog.store import COUNTED, BookStore, ChangeStore
from core.catalog.succession import Succession
from core.catalog.work import CatalogWork
from core.commerce.ownership import Ownership
from core.commerce.records import Records
from core.commerce.service import Commerce, CommerceTables
from core.commerce.store import CommerceStore
from core.listening.service import Listening
from core.listening.store import ListeningStore
from core.mail import Sender
from core.mail import connect as connect_mail
from core.operations.lifetimes import Lifetimes
from core.operations.service import Operations, OperationTables
from core.payments import Provider, SimulatedCharge
from core.payments import connect as connect_payments
from core.recommendations.service import Recommendations
from core.recommendations.store import CompanionStore
from core.settings import Settings
from core.storage import StorageAccount
from core.storage.tables import Table
from core.tasks.service import Tasks
from core.tasks.store import TaskStore
from core.transcription.assembling import Assemble
from core.transcription.books import BookTarget
from core.transcription.costs import Costs
from core.transcription.drops import Drops
from core.transcription.finishing import Finish
from core.transcription.gathering import Gather
from core.transcription.ingesting import Ingest
from core.transcription.private import Recordings, TaskTarget
from core.transcription.private_drops import PrivateDrops
from core.transcription.progress import Progress
from core.transcription.renewal import Renewal
from core.transcription.revising import Revisions
from core.transcription.service import Transcription
from core.transcription.steps import Steps
from core.transcription.store import JobStore
from core.transcription.target import Targets
from core.transcription.transcribing import Transcribe
from core.transcription.uploads import Uploads
from core.transcription.versions import VersionStore
from core.transcription.workshop import Workshop


@dataclass(frozen=True)
class Services:
    """Everything that the functions may call. `media_origin` is where browsers fetch audio from."""

    settings: Settings
    accounts: Accounts
    catalog: Catalog
    editing: Editing
    names: Names
    follows: Follows
    imports: Imports
    exports: Exports
    catalog_work: CatalogWork
    listening: Listening
    commerce: Commerce
    recommendations: Recommendations
    transcription: Transcription
    gather: Gather
    revisions: Revisions
    uploads: Uploads
    tasks: Tasks
    recordings: Recordings
    operations: Operations
    lifetimes: Lifetimes
    providers: Mapping[str, Provider]
    media_origin: str
    _account: StorageAccount
    _models: Models
    _sender: Sender

    async def close(self) -> None:
        """End all connections and threads."""
        self.transcription.close()
        await self.catalog.close()
        await self._models.close()
        await self._sender.close()
        for provider in set(self.providers.values()):
            await provider.close()
        await self._account.close()


class _TasksOfPerson:
    """What a person has transcribed in private: tasks and passages, with every version; and what was sent."""

    def __init__(self, tasks: Tasks, uploads: Uploads) -> None:
        self._tasks = tasks
        self._uploads = uploads

    async def holdings(self, user_id: str) -> AsyncIterator[Holding]:
        async for task_id, content in self._tasks.copies(user_id):
            yield Holding(f"tasks/{task_id}.json", content)

    async def erase(self, user_id: str) -> None:
        await self._tasks.erase(user_id)
        await self._uploads.erase(user_id)


class _BooksOfPerson:
    """What a publisher has brought, which stays without their name, and what all their work has cost."""

    def __init__(self, succession: Succession, versions: VersionStore, operations: Operations) -> None:
        self._succession = succession
        self._versions = versions
        self._budgets = operations.budgets

    async def holdings(self, user_id: str) -> AsyncIterator[Holding]:
        shown = {"id", "title", "visibility", "processing_status", "created_at"}
        books = [b.model_dump(mode="json", include=shown) async for b in self._succession.books(user_id)]
        if books:
            yield Holding("books.json", json.dumps(books, indent=2, ensure_ascii=False).encode())

    async def erase(self, user_id: str) -> None:
        async for book in self._succession.books(user_id):
            await self._versions.forget_author(book.id, user_id)
        await self._succession.leave(user_id)
        await self._budgets.forget(user_id)


class _FollowsOfPerson:
    """What the catalog holds about a person: whom they follow."""

    def __init__(self, follows: Follows) -> None:
        self._follows = follows

    async def holdings(self, user_id: str) -> AsyncIterator[Holding]:
        followed = [follow.model_dump(mode="json") async for follow in self._follows.of(user_id)]
        if followed:
            yield Holding("follows.json", json.dumps(followed, indent=2).encode())

    async def erase(self, user_id: str) -> None:
        await self._follows.erase(user_id)


class _ListeningOfPerson:
    """What the listening room holds about a person: positions, stretches of listening, their sums."""

    def __init__(self, listening: Listening) -> None:
        self._listening = listening

    async def holdings(self, user_id: str) -> AsyncIterator[Holding]:
        async for name, rows in self._listening.held(user_id):
            if rows:
                content = [row.model_dump(mode="json") for row in rows]
                yield Holding(f"{name}.json", json.dumps(content, indent=2, ensure_ascii=False).encode())

    async def erase(self, user_id: str) -> None:
        await self._listening.erase(user_id)


class _RecordsOfPerson:
    """What the shop holds about a person; of their orders, something stays."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def holdings(self, user_id: str) -> AsyncIterator[Holding]:
        async for name, rows in self._records.held(user_id):
            if rows:
                content = [row.model_dump(mode="json") for row in rows]
                yield Holding(f"{name}.json", json.dumps(content, indent=2, ensure_ascii=False).encode())

    async def erase(self, user_id: str) -> None:
        await self._records.leave(user_id)


class _ChargesOfPerson:
    """What the provider of play money has taken of a person, whether or not it is still offered."""

    def __init__(self, charges: Table) -> None:
        self._charges = charges

    async def holdings(self, user_id: str) -> AsyncIterator[Holding]:
        taken = [stored.value async for stored in self._charges.each(SimulatedCharge, user_id)]
        if taken:
            content = [charge.model_dump(mode="json") for charge in taken]
            yield Holding("charges.json", json.dumps(content, indent=2, ensure_ascii=False).encode())

    async def erase(self, user_id: str) -> None:
        await self._charges.erase(user_id)


class _CompanionsOfPerson:
    """Under which books a person is counted among those who own others with it."""

    def __init__(self, recommendations: Recommendations) -> None:
        self._recommendations = recommendations

    async def holdings(self, user_id: str) -> AsyncIterator[Holding]:
        shelf = await self._recommendations.held(user_id)
        if shelf is not None:
            yield Holding("companions.json", shelf.model_dump_json(indent=2).encode())

    async def erase(self, user_id: str) -> None:
        await self._recommendations.erase(user_id)


def build(settings: Settings, account: StorageAccount | None = None) -> Services:
    """Join the rooms on the settings' storage account, or on `account`, which is closed with the rest."""
    account = account or StorageAccount(settings)
    models = connect(settings, account.credential)
    queues = account.queues()
    uploads = account.container("uploads")
    media = account.container("media")

    sender = connect_mail(settings, account.container("mail"), account.credential)
    tables = OperationTables(
        alerts=account.table("alerts"),
        audit=account.table("audit"),
        controls=account.table("controls"),
        budgets=account.table("budgets"),
        poison=account.table("poison"),
    )
    operations = Operations(settings, account, tables, queues, sender)
    users, due = account.table("users"), account.table("due")
    people = AccountStore(account.table("accounts"), users)
    accounts = Accounts(
        settings,
        people,
        account.container("pictures"),
        account.container("exports"),
        account.table("attempts"),
        due,
        queues,
        operations,
    )
    book_rows, marks = account.table("books"), account.table("changes")
    changes, counts = ChangeStore(marks), ChangeStore(marks, COUNTED)
    books = BookStore(book_rows, changes)
    index = account.container("catalog")
    reader = CatalogReader(index, settings.catalog_refresh_seconds, lambda: queues.send(QUEUE, CatalogNews()))
    publisher = CatalogPublisher(index, books, changes, counts, reader)
    names = Names(account.table("names"), books, reader, queues, operations)
    follows = Follows(account.table("follows"), names)
    charges = account.table("charges")
    providers = connect_payments(settings, charges)
    private, recorded = account.container("private"), account.container("tasks")
    tasks = Tasks(settings, TaskStore(account.table("tasks"), private, recorded), queues, operations)
    shelves = Shelves(account.table("shelves"))
    catalog = Catalog(
        books,
        StatsStore(book_rows, counts),
        Ownership(CommerceStore(users)),
        shelves,
        names,
        reader,
        publisher,
        queues,
        media,
    )
    listening = Listening(ListeningStore(users, people.add), catalog)
    editing = Editing(catalog, IsbnClaims(account.table("unique"), books), media, operations)
    import_rows, files = account.table("imports"), account.container("imports")
    imports = Imports(import_rows, files, books, editing, queues, operations)
    exports = Exports(import_rows, files, books, queues, operations)
    jobs = JobStore(account.table("jobs"), account.container("work"))
    announced = Uploads(settings, account.table("uploads"), uploads, recorded, catalog, tasks, operations)
    workshop = Workshop()
    versions = VersionStore(account.table("transcripts"))
    revisions = Revisions(versions, catalog, workshop, media, operations)
    targets: Targets = {
        "book": BookTarget(settings, catalog, models, workshop, uploads, media, versions, revisions),
        "task": TaskTarget(tasks, recorded, private),
    }
    costs = Costs(operations, jobs, targets, models)
    progress = Progress(jobs, targets, costs)
    renewal = Renewal(settings, jobs, targets)
    finish = Finish(jobs, progress, costs, targets, renewal)
    steps = Steps(
        settings,
        jobs,
        queues,
        progress,
        operations,
        {
            "ingest": Ingest(settings, jobs, progress, workshop, targets, costs).run,
            "transcribe": Transcribe(jobs, progress, costs, workshop, targets, models).run,
            "assemble": Assemble(jobs, progress, workshop, targets).run,
            "enrich": finish.enrich,
            "index": finish.index,
        },
    )
    recordings = Recordings(jobs, progress, tasks, announced, private, workshop)
    tasks.forget = recordings.forget
    private_drops = PrivateDrops(settings, jobs, steps, progress, queues, tasks, announced, recorded)
    drops = Drops(settings, jobs, steps, queues, catalog, uploads, announced)
    transcription = Transcription(
        settings,
        jobs,
        steps,
        progress,
        workshop,
        costs,
        drops,
        renewal,
        targets,
        private_drops,
        operations,
    )
    commerce = Commerce(
        settings,
        CommerceTables(
            users=users,
            sales=account.table("sales"),
            vouchers=account.table("vouchers"),
            gifts=account.table("gifts"),
            events=account.table("events"),
            due=due,
        ),
        catalog,
        accounts,
        providers,
        media,
        account.container("archives"),
        queues,
        operations,
    )
    recommendations = Recommendations(
        settings,
        CompanionStore(account.table("companions")),
        catalog,
        accounts,
        commerce,
        listening,
        follows,
        queues,
        operations,
    )
    accounts.holdings.holders = [
        _FollowsOfPerson(follows),
        _ListeningOfPerson(listening),
        _TasksOfPerson(tasks, announced),
        _BooksOfPerson(Succession(catalog, shelves), versions, operations),
        _RecordsOfPerson(commerce.records),
        _CompanionsOfPerson(recommendations),
        _ChargesOfPerson(charges),  # the last: orders come to their end by what it has taken
    ]
    return Services(
        settings=settings,
        accounts=accounts,
        catalog=catalog,
        editing=editing,
        names=names,
        follows=follows,
        imports=imports,
        exports=exports,
        catalog_work=CatalogWork(
            settings,
            catalog,
            names,
            imports,
            exports,
            Removal(books, changes, media, transcription, operations),
            books,
            shelves,
            queues,
            operations,
        ),
        listening=listening,
        commerce=commerce,
        recommendations=recommendations,
        transcription=transcription,
        revisions=revisions,
        gather=Gather(settings, jobs, drops, queues, operations, uploads, announced, private_drops),
        uploads=announced,
        tasks=tasks,
        recordings=recordings,
        operations=operations,
        lifetimes=Lifetimes(models, operations),
        providers=providers,
        media_origin=account.blob_origin(),
        _account=account,
        _models=models,
        _sender=sender,
    )

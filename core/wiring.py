"""The composition root: the only file that sees every room. Nothing connects here; first use does."""

from dataclasses import dataclass

from core.accounts.service import Accounts
from core.accounts.store import AccountStore
from core.ai import Models, connect
from core.catalog.search import CatalogIndex
from core.catalog.service import Catalog
from core.catalog.store import BookStore
from core.mail import ContainerSender
from core.operations.service import Operations
from core.settings import Settings
from core.storage import StorageAccount
from core.transcription.service import Transcription
from core.transcription.steps import Steps
from core.transcription.store import JobStore


@dataclass(frozen=True)
class Services:
    """Everything that the functions may call. `media_origin` is where browsers fetch audio from."""

    settings: Settings
    accounts: Accounts
    catalog: Catalog
    transcription: Transcription
    operations: Operations
    media_origin: str
    _account: StorageAccount
    _models: Models

    async def close(self) -> None:
        """End all connections and threads."""
        self.transcription.close()
        await self._models.close()
        await self._account.close()


def build(settings: Settings) -> Services:
    """Join the rooms."""
    account = StorageAccount(settings)
    models = connect(settings)
    queues = account.queues()
    uploads = account.container("uploads")
    media = account.container("media")

    accounts = Accounts(settings, AccountStore(account.table("accounts"), account.table("users")))
    operations = Operations(
        settings,
        account,
        account.table("alerts"),
        queues,
        ContainerSender(account.container("mail"), settings.mail_from),
    )
    catalog = Catalog(
        BookStore(account.table("books")),
        CatalogIndex(account.container("catalog"), settings.catalog_refresh_seconds),
        media,
    )
    jobs = JobStore(account.table("jobs"), account.container("work"))
    steps = Steps(settings, jobs, queues, catalog, models, uploads, media)
    transcription = Transcription(settings, jobs, steps, catalog, operations, uploads)
    return Services(
        settings=settings,
        accounts=accounts,
        catalog=catalog,
        transcription=transcription,
        operations=operations,
        media_origin=account.blob_origin(),
        _account=account,
        _models=models,
    )

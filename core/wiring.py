"""The composition root: the only file that sees every room. Nothing connects here; first use does."""

from dataclasses import dataclass

from core.accounts.service import Accounts
from core.accounts.store import AccountStore
from core.ai import Models, connect
from core.catalog.search import CatalogIndex
from core.catalog.service import Catalog
from core.catalog.store import BookStore
from core.mail import Sender
from core.mail import connect as connect_mail
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
    _sender: Sender

    async def close(self) -> None:
        """End all connections and threads."""
        self.transcription.close()
        await self._models.close()
        await self._sender.close()
        await self._account.close()


def build(settings: Settings, account: StorageAccount | None = None) -> Services:
    """Join the rooms on the settings' storage account, or on `account`, which is closed with the rest."""
    account = account or StorageAccount(settings)
    models = connect(settings)
    queues = account.queues()
    uploads = account.container("uploads")
    media = account.container("media")

    sender = connect_mail(settings, account.container("mail"), account.credential)
    operations = Operations(
        settings, account, account.table("alerts"), account.table("audit"), queues, sender
    )
    accounts = Accounts(
        settings,
        AccountStore(account.table("accounts"), account.table("users")),
        account.container("pictures"),
        account.container("exports"),
        queues,
        operations,
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
        _sender=sender,
    )

"""The commerce room: its parts."""

from core.catalog.service import Catalog
from core.commerce.archive_store import ArchiveStore
from core.commerce.archives import Archives
from core.commerce.library import Library
from core.commerce.store import CommerceStore
from core.operations.service import Operations
from core.settings import Settings
from core.storage.blobs import Container
from core.storage.queues import Queues
from core.storage.tables import Table


class Commerce:
    """`library` and `archives`."""

    def __init__(
        self,
        settings: Settings,
        users: Table,
        catalog: Catalog,
        media: Container,
        archives: Container,
        queues: Queues,
        operations: Operations,
    ) -> None:
        self.library = Library(CommerceStore(users), catalog, media)
        self.archives = Archives(
            settings, ArchiveStore(users), catalog, self.library, media, archives, queues, operations
        )

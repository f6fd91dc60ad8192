"""The shop: carts, the checkout, orders; what people own, and their downloads."""

from collections.abc import Mapping

from core.accounts.service import Accounts
from core.catalog.service import Catalog
from core.commerce.archive_store import ArchiveStore
from core.commerce.archives import Archives
from core.commerce.cart import Carts
from core.commerce.checkout import Checkout
from core.commerce.library import Library
from core.commerce.orders import Orders
from core.commerce.post import Post
from core.commerce.records import Records
from core.commerce.store import CommerceStore
from core.commerce.taxes import TaxRates
from core.operations.service import Operations
from core.payments import Provider
from core.settings import Settings
from core.storage.blobs import Container
from core.storage.queues import Queues
from core.storage.tables import Table


class Commerce:
    """`cart`, `checkout`, `orders`, `library`, `archives` and `records`."""

    def __init__(
        self,
        settings: Settings,
        users: Table,
        sales: Table,
        catalog: Catalog,
        accounts: Accounts,
        providers: Mapping[str, Provider],
        media: Container,
        archives: Container,
        queues: Queues,
        operations: Operations,
    ) -> None:
        store = CommerceStore(users)
        rates = TaxRates.read(settings.tax_rates)
        post = Post(store, accounts, operations, settings.public_base_url)
        self.cart = Carts(store, catalog, rates)
        self.orders = Orders(settings, store, providers, post, queues, operations)
        self.checkout = Checkout(store, catalog, accounts, self.orders, providers, rates)
        self.library = Library(store, catalog, media)
        self.archives = Archives(
            settings, ArchiveStore(users), catalog, self.library, media, archives, queues, operations
        )
        self.records = Records(users, sales, self.orders, self.archives)

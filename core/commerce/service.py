"""The shop: carts, the checkout, orders; what people own, and their downloads."""

from collections.abc import Mapping
from dataclasses import dataclass

from core.accounts.service import Accounts
from core.catalog.service import Catalog
from core.commerce.archive_store import ArchiveStore
from core.commerce.archives import Archives
from core.commerce.cart import Carts
from core.commerce.checkout import Checkout
from core.commerce.gifts import Gifts
from core.commerce.library import Library
from core.commerce.orders import Orders
from core.commerce.post import Post
from core.commerce.records import Records
from core.commerce.store import CommerceStore
from core.commerce.taxes import TaxRates
from core.commerce.vouchers import Vouchers
from core.commerce.webhooks import Webhooks
from core.operations.service import Operations
from core.payments import Provider
from core.settings import Settings
from core.storage.blobs import Container
from core.storage.due import Due
from core.storage.queues import Queues
from core.storage.tables import Table


@dataclass(frozen=True)
class CommerceTables:
    """Where the shop keeps its rows: with people's own, and in tables of what is not one person's."""

    users: Table
    sales: Table
    vouchers: Table
    gifts: Table
    events: Table
    due: Table


class Commerce:
    """`cart`, `checkout`, `orders`, `vouchers`, `gifts`, `webhooks`, `library`, `archives`, `records`."""

    def __init__(
        self,
        settings: Settings,
        tables: CommerceTables,
        catalog: Catalog,
        accounts: Accounts,
        providers: Mapping[str, Provider],
        media: Container,
        archives: Container,
        queues: Queues,
        operations: Operations,
    ) -> None:
        store = CommerceStore(tables.users)
        rates = TaxRates.read(settings.tax_rates)
        vouchers = self.vouchers = Vouchers(tables.vouchers, accounts, operations)
        gifts = self.gifts = Gifts(settings, tables.gifts, store, accounts, queues, operations)
        post = Post(store, accounts, operations, vouchers, gifts, queues, settings.public_base_url)
        self.cart = Carts(store, catalog, rates)
        self.orders = Orders(
            settings,
            store,
            accounts,
            providers,
            post,
            gifts,
            vouchers,
            queues,
            Due(tables.due, "orders"),
            operations,
        )
        self.checkout = Checkout(store, catalog, accounts, self.orders, vouchers, gifts, providers, rates)
        self.webhooks = Webhooks(tables.events, providers, self.orders.settle)
        self.library = Library(store, catalog, media)
        self.archives = Archives(
            settings,
            ArchiveStore(tables.users, archives),
            catalog,
            self.library,
            media,
            archives,
            queues,
            operations,
        )
        self.records = Records(tables.users, tables.sales, self.orders, vouchers, gifts, self.archives)

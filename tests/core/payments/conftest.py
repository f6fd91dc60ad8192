"""Payment requests, and the providers on one storage."""

from collections.abc import AsyncIterator

import pytest_asyncio

from core.ids import new_id
from core.payments import PaymentRequest, Simulated
from core.settings import Settings
from core.storage import StorageAccount
from localhost.azurite import Azurite

KEY = "k" * 32


def a_request(method: str = "simulated", **fields: object) -> PaymentRequest:
    """Return a request of a new user for a new order."""
    given = {
        "user_id": new_id(),
        "order_id": new_id(),
        "amount": 1299,
        "currency": "USD",
        "email": "ada@example.com",
        "description": "Jane Eyre",
        "method": method,
        "return_url": "https://aloud.example/orders/1",
    }
    return PaymentRequest.model_validate(given | fields)


def settings_of(azurite: Azurite, **given: str) -> Settings:
    return Settings.read({"AzureWebJobsStorage": azurite.connection_string, "JWT_SIGNING_KEY": KEY, **given})


@pytest_asyncio.fixture(scope="session")
async def account(azurite: Azurite) -> AsyncIterator[StorageAccount]:
    account = StorageAccount(settings_of(azurite))
    yield account
    await account.close()


@pytest_asyncio.fixture(scope="session")
async def simulated(azurite: Azurite, account: StorageAccount) -> Simulated:
    return Simulated(account.table("charges"), settings_of(azurite))

"""Instances of the product on one storage, as many as a test wants, and what stands in that storage."""

import re
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pyotp
import pytest
import pytest_asyncio
from argon2 import PasswordHasher
from azure.core.exceptions import ResourceNotFoundError
from azure.core.pipeline.transport import AioHttpTransport
from azure.data.tables.aio import TableServiceClient
from azure.storage.queue import TextBase64DecodePolicy
from azure.storage.queue.aio import QueueClient, QueueServiceClient

from core.accounts.models import Claim, Link, LinkPurpose, Proof, Session, Tokens, User
from core.accounts.registration import QUEUE
from core.accounts.store import AccountStore
from core.accounts.tokens import hash_secret
from core.caller import Caller, Origin
from core.errors import NotFoundError
from core.ids import fingerprint, new_id, now
from core.operations.models import AuditEntry
from core.settings import Settings
from core.storage import StorageAccount, Watch
from core.storage.blobs import Container
from core.storage.tables import Insert, from_row
from core.wiring import build
from localhost.azurite import Azurite
from tests.google_issuer import GoogleIssuer
from tests.instances import closing_all

PASSWORD = "the rain in spain"
SETTINGS = {
    "JWT_SIGNING_KEY": "k" * 32,
    "ADDRESS_ATTEMPTS": "500",
    "ACCOUNT_ATTEMPTS": "500",
}


QUICK_HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
PASSWORD_HASH = QUICK_HASHER.hash(PASSWORD)


def new_email() -> str:
    return f"{new_id()}@example.com"


def somewhere() -> Origin:
    """Return an origin that nobody has used, so that tests do not throttle each other."""
    return Origin(address=new_id(), request_id=new_id(), device="a test")


async def files(container: Container, folder: str) -> list[str]:
    """Return the names of all blobs in a folder; a container that is not there yet has none."""
    with suppress(NotFoundError):
        return [name async for name in container.names(f"{folder}/")]
    return []


class Instance:
    """One instance of the product, and a look at its storage from outside."""

    def __init__(self, settings: Settings, watch: Watch | None = None) -> None:
        account = StorageAccount(settings, watch)
        self.services = build(settings, account)
        self.accounts = self.services.accounts
        self.registration = self.accounts.registration
        self.sessions = self.accounts.sessions
        self.recovery = self.accounts.recovery
        self.holdings = self.accounts.holdings
        self.users = account.table("users")
        self.attempts = account.table("attempts")
        self.store = AccountStore(account.table("accounts"), self.users)
        self.pictures = account.container("pictures")
        self.exports = account.container("exports")
        self._mail = account.container("mail")
        self._connection = settings.storage_connection
        self._tables: TableServiceClient | None = None
        self._queues: QueueServiceClient | None = None

    async def close(self) -> None:
        await self.services.close()
        for client in (self._tables, self._queues):
            if client is not None:
                await client.close()

    @property
    def tables(self) -> TableServiceClient:
        if self._tables is None:
            assert self._connection is not None
            self._tables = TableServiceClient.from_connection_string(
                self._connection.get_secret_value(), transport=AioHttpTransport(use_env_settings=False)
            )
        return self._tables

    @property
    def queue(self) -> QueueClient:
        return self.queue_of(QUEUE)

    def queue_of(self, name: str) -> QueueClient:
        if self._queues is None:
            assert self._connection is not None
            self._queues = QueueServiceClient.from_connection_string(
                self._connection.get_secret_value(), transport=AioHttpTransport(use_env_settings=False)
            )
        return self._queues.get_queue_client(name, message_decode_policy=TextBase64DecodePolicy())

    # A shorter way to where a test begins

    async def join(self, *rows: Insert, **fields: Any) -> User:
        """Return an account that was made two hours ago, with the password PASSWORD and these rows."""
        at = now() - timedelta(hours=2)
        name = {"email": new_email(), "display_name": "Ada", "email_verified": True}
        user = User(id=new_id(), created_at=at, password_hash=PASSWORD_HASH, **(name | fields))
        await self.users.transact(user.id, [Insert("user", user), *rows])
        claim = Claim(user_id=user.id, created_at=at)
        await self.store.accounts.insert(claim, fingerprint(user.email), "account")
        return user

    async def add_second_factor(self, user: User) -> tuple[pyotp.TOTP, list[str]]:
        """Switch a second factor on and return the app and the recovery codes; the code of now is unused."""
        speaker = caller(user, "")
        setup = await self.accounts.factors.set_up(speaker, Proof(password=PASSWORD), somewhere())
        app = pyotp.TOTP(setup.secret)
        code = app.at(now() - timedelta(seconds=30))
        codes = await self.accounts.factors.confirm(speaker, code, somewhere())
        return app, codes.recovery_codes

    async def log_in(self, email: str, password: str = PASSWORD, mfa_code: str | None = None) -> Tokens:
        return await self.sessions.log_in(email, password, mfa_code, somewhere())

    async def sign_in(self, user: User) -> tuple[Caller, str]:
        """Return who speaks in a new session of this user, and its refresh token."""
        tokens = await self.log_in(user.email)
        return self.sessions.caller_of_token(tokens.access_token), tokens.refresh_token

    # What has come of it

    async def user(self, user_id: str) -> User:
        return (await self.store.user(user_id)).value

    async def rows(self, table: str, condition: str, **parameters: str) -> list[dict[str, Any]]:
        """Return all rows of a table for which a condition holds; one that is not there yet has none."""
        found = self.tables.get_table_client(table).query_entities(condition, parameters=parameters)
        with suppress(ResourceNotFoundError):
            return [dict(row) async for row in found]
        return []

    async def people(self, email: str) -> list[str]:
        """Return the ids of all rows that have an address, whoever has claimed it."""
        found = await self.rows("users", "email eq @email and RowKey eq 'user'", email=email)
        return [str(row["id"]) for row in found]

    async def claim(self, email: str) -> Claim | None:
        found = await self.store.accounts.find(Claim, fingerprint(email), "account")
        return None if found is None else found.value

    async def age_claim(self, email: str) -> None:
        """Let two hours pass for the claim on an address, if there is one."""
        found = await self.store.accounts.find(Claim, fingerprint(email), "account")
        if found is not None:
            older = found.value.created_at - timedelta(hours=2)
            await self.store.accounts.replace(found, found.value.model_copy(update={"created_at": older}))

    async def log_of(self, user_id: str) -> list[AuditEntry]:
        """Return what the audit tells of a person, the oldest first."""
        rows = await self.rows("audit", "target eq @id", id=user_id)
        return sorted((from_row(AuditEntry, row) for row in rows), key=lambda entry: entry.id)

    async def mails(self, email: str) -> list[str]:
        """Return the mails that went to an address."""
        return [(await self._mail.read(name)).decode() for name in await files(self._mail, email)]

    async def mailed_token(self, email: str) -> str:
        """Return the token of the link in the one mail that went to an address."""
        (mail,) = await self.mails(email)
        found = re.search(r"token=([\w.]+)", mail)
        assert found is not None
        return found[1]

    async def work_off(self) -> None:
        """Do what waits on the queue of accounts, as the host would."""
        queue = self.queue
        with suppress(ResourceNotFoundError):
            async for message in queue.receive_messages(messages_per_page=32):
                await self.accounts.run(message.content)
                await queue.delete_message(message)


def link_row(purpose: LinkPurpose, email: str, secret: str) -> Insert:
    """Return the row of a link that was mailed to this address; its token is the user's id and the secret."""
    link = Link(
        work_id=new_id(),
        secret_hash=hash_secret(secret),
        email=email,
        epoch=1,
        expires_at=now() + timedelta(minutes=10),
    )
    return Insert(f"link_{purpose}", link)


def session_row(session_id: str) -> Insert:
    """Return the row of a session that is alive."""
    at = now()
    session = Session(
        id=session_id,
        family_key=new_id(),
        secret_hash=hash_secret(new_id()),
        epoch=1,
        kind="api",
        address="",
        device="",
        created_at=at,
        renewed_at=at,
        expires_at=at + timedelta(days=1),
    )
    return Insert(f"session_{session_id}", session)


def caller(user: User, session_id: str) -> Caller:
    return Caller(user_id=user.id, session_id=session_id, roles=frozenset(user.roles))


Build = Callable[..., Instance]


@pytest_asyncio.fixture
async def start(azurite: Azurite) -> AsyncIterator[Build]:
    """Return a function that starts an instance with these settings; all are closed after the test."""

    def build_one(watch: Watch | None = None, **settings: str) -> Instance:
        given = {"AzureWebJobsStorage": azurite.connection_string, **SETTINGS, **settings}
        return Instance(Settings.read(given), watch)

    async with closing_all(build_one) as start:
        yield start


@pytest_asyncio.fixture(scope="session")
async def google() -> AsyncIterator[GoogleIssuer]:
    async with GoogleIssuer.start() as issuer:
        yield issuer


@pytest.fixture
def quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Argon2 with less memory, for tests that are not about how hard a password is to guess."""
    monkeypatch.setattr("core.accounts.passwords._HASHER", QUICK_HASHER)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages that wait for their time are there at once: the test says when that time has come."""
    monkeypatch.setattr("core.accounts.holdings._COMMIT_SECONDS", 0)
    monkeypatch.setattr("core.accounts.registration.SWEEP_SECONDS", 0)
    monkeypatch.setattr("core.accounts.recovery.SWEEP_SECONDS", 0)

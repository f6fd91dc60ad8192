"""The accounts room: its parts, and the work that waits on its queue."""

import logging
from datetime import timedelta

from pydantic import TypeAdapter, ValidationError

from core.accounts.administration import Administration
from core.accounts.doors import Doors
from core.accounts.factors import SecondFactors
from core.accounts.forgetting import Forgetting
from core.accounts.google import GoogleTokens
from core.accounts.holdings import Holdings
from core.accounts.keys import KeyRing
from core.accounts.linking import Linking
from core.accounts.links import Links
from core.accounts.models import (
    AccountWork,
    Erase,
    MakeExport,
    Register,
    SendLink,
    SendNewEmailLink,
    Sweep,
    Tell,
)
from core.accounts.notices import Notices
from core.accounts.profiles import Profiles
from core.accounts.proofs import Proofs
from core.accounts.recovery import Recovery
from core.accounts.registration import QUEUE, Registration
from core.accounts.sealing import Sealer
from core.accounts.sessions import Sessions
from core.accounts.store import AccountStore
from core.accounts.throttles import Throttles
from core.accounts.tokens import AccessTokens, LinkSecrets
from core.backoff import Backoff
from core.ids import now
from core.operations.service import Operations
from core.settings import Settings
from core.storage.blobs import Container
from core.storage.due import Due
from core.storage.queues import Queues
from core.storage.tables import Table

_log = logging.getLogger("aloud.accounts")

_WORK: TypeAdapter[AccountWork] = TypeAdapter(AccountWork)


class Accounts:
    """`registration`, `sessions`, `recovery`, `factors`, `profiles`, `holdings` and `administration`.

    `throttles` count tries for other rooms too.
    """

    def __init__(
        self,
        settings: Settings,
        store: AccountStore,
        pictures: Container,
        exports: Container,
        attempts: Table,
        due: Table,
        queues: Queues,
        operations: Operations,
    ) -> None:
        site = settings.public_base_url
        keys = settings.jwt_signing_key.get_secret_value()
        data_key = settings.data_key.get_secret_value() if settings.data_key else keys
        google = (
            GoogleTokens(settings.google_client_id, settings.google_issuer, settings.google_jwks_url)
            if settings.google_client_id
            else None
        )
        sealer = Sealer(KeyRing.read(data_key, "second factors"))
        throttles = Throttles(store.accounts, attempts, settings)
        proofs = Proofs(throttles, sealer, google, operations)
        self._notices = notices = Notices(store, queues, operations)
        links = Links(store, LinkSecrets(KeyRing.read(keys, "links")), site)
        tokens = AccessTokens(
            KeyRing.read(keys, "access tokens"), site, timedelta(seconds=settings.access_token_seconds)
        )
        life = timedelta(days=settings.session_days)
        sign_ins, ended = Due(due, "sign-ins"), Due(due, "sessions")
        self._forgetting = Forgetting(store, throttles, operations, sign_ins, ended, life)
        self.throttles = throttles
        self._queues = queues
        self._operations = operations
        self._backoff = Backoff(settings)
        self.registration = Registration(settings, store, throttles, links, queues, operations)
        self.linking = Linking(store, self.registration, proofs, notices, google, operations)
        doors = Doors(store, throttles, self._forgetting, operations)
        self.sessions = Sessions(settings, store, throttles, doors, proofs, self.linking, tokens, operations)
        self.recovery = Recovery(store, throttles, proofs, links, notices, queues, operations)
        self.factors = SecondFactors(store, proofs, sealer, notices, operations)
        self.profiles = Profiles(store, pictures)
        self.holdings = Holdings(store, throttles, proofs, pictures, exports, queues, operations, site)
        self.administration = Administration(store, self.sessions.roles, operations)

    async def run(self, body: str) -> None:
        """Do what a message on the queue `accounts` asks for. Raises only what nobody foresaw."""
        try:
            work = _WORK.validate_json(body)
        except ValidationError:
            _log.error("a message on %s cannot be read and is set aside", QUEUE)
            await self._alert("a message that cannot be read", "unknown")
            return
        await self._backoff.run(self._queues, QUEUE, work, self._do)

    async def _do(self, work: AccountWork) -> None:
        match work:
            case Register():
                await self.registration.finish(work)
            case SendLink(purpose="verify"):
                await self.registration.send_link(work)
            case SendLink():
                await self.recovery.send_reset_link(work)
            case SendNewEmailLink():
                await self.recovery.send_new_email_link(work)
            case Sweep():
                await self.registration.sweep(work)
            case Tell():
                await self._notices.tell(work)
            case Erase():
                await self.holdings.erase(work)
            case MakeExport():
                await self.holdings.make_export(work)

    async def settle_poison(self, body: str) -> None:
        """Tell a person of work that could not be done; never of its content, which may hold a secret."""
        try:
            work = _WORK.validate_json(body)
        except ValidationError:
            await self._alert("a message that cannot be read", "unknown")
            return
        if isinstance(work, MakeExport):
            await self.holdings.give_up_export(work)
        await self._alert(f"the work {work.kind}", work.id)

    async def _alert(self, what: str, work_id: str) -> None:
        await self._operations.raise_alert(
            "poison-message",
            f"Accounts: {what} could not be done",
            f"Queue: {QUEUE}\nMessage: {work_id}\nThe log tells the cause.",
            work_id,
            now(),
        )

    async def sweep(self) -> None:
        """Forget what is over: counted tries, sessions, and files of exports."""
        await self.holdings.sweep_exports()
        await self._forgetting.sweep()

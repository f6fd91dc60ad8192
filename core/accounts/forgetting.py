"""What is forgotten at night: tries that are over, and sessions; what is due is read, not all accounts."""

from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict

from core.accounts.store import AccountStore
from core.accounts.throttles import Throttles
from core.ids import now
from core.operations.service import Operations
from core.storage.due import Due

_DAY = timedelta(days=1)
_DAYS_A_NIGHT = 31


class DueSignIn(BaseModel):
    """Row of `due`: an address with which a sign-in has failed."""

    model_config = ConfigDict(frozen=True)

    address_key: str


class DueSession(BaseModel):
    """Row of `due`: a session that has ended by then, unless it was renewed again."""

    model_config = ConfigDict(frozen=True)

    user_id: str
    session_id: str


class Forgetting:
    def __init__(
        self,
        store: AccountStore,
        throttles: Throttles,
        operations: Operations,
        sign_ins: Due,
        sessions: Due,
        life: timedelta,
    ) -> None:
        self._store = store
        self._throttles = throttles
        self._operations = operations
        self._sign_ins = sign_ins
        self._sessions = sessions
        self._life = life

    async def note_refusal(self, address_key: str) -> None:
        """Have the tries with an address forgotten; where one has succeeded, they go with the account."""
        await self._sign_ins.note(DueSignIn(address_key=address_key), address_key, now() + _DAY)

    async def sweep(self) -> None:
        """Forget what is over. What is cut off, or does not fit into a night, is due the next."""
        await self._throttles.sweep()
        await self._sign_ins.work_off(
            DueSignIn, now(), lambda due: self._throttles.forget_sign_ins(due.address_key)
        )
        await self._sweep_opened()
        await self._sessions.work_off(DueSession, now(), self._look_at)

    async def _sweep_opened(self) -> None:
        """Look at the sessions of the days that are just over, which the audit names, the oldest first."""
        last = _midnight(now() - self._life) - _DAY
        seen = await self._store.swept_sessions() or last - _DAYS_A_NIGHT * _DAY
        for _ in range(_DAYS_A_NIGHT):
            if seen >= last:
                return
            seen += _DAY
            async for entry in self._operations.entries_of("session.opened", seen, seen + _DAY):
                await self._look_at(DueSession(user_id=entry.target, session_id=entry.detail))
            await self._store.note_swept_sessions(seen)

    async def _look_at(self, due: DueSession) -> bool:
        """Forget a session that has ended; one that was renewed is due again when it should have."""
        found = await self._store.session(due.user_id, due.session_id)
        if found is None:
            return True
        session, user = found
        if session.value.is_alive_of(user.value):
            await self._sessions.note(due, due.session_id, session.value.expires_at + _DAY)
        else:
            await self._store.forget_session(session)
        return True


def _midnight(at: datetime) -> datetime:
    return at.replace(hour=0, minute=0, second=0, microsecond=0)

"""Who makes a request, as far as credentials prove it: what every room may ask about a person."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

Role = Literal["listener", "publisher", "admin"]


class Caller(BaseModel):
    """A signed-in person: `user_id`, the session that speaks, and the roles it had when it was made."""

    model_config = ConfigDict(frozen=True)

    user_id: str
    session_id: str
    roles: frozenset[Role]

    @property
    def is_admin(self) -> bool:
        return "admin" in self.roles


class Origin(BaseModel):
    """Where a request comes from, for the audit: network address, request id, and what device says it is."""

    model_config = ConfigDict(frozen=True)

    address: str
    request_id: str
    device: str = ""

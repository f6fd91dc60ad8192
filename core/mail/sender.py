"""What a mail is, and the one interface for sending it."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Mail:
    """A mail in plain text and, unless `html` is None, in HTML; sent twice under one `id` it is one mail."""

    id: str
    to: str
    subject: str
    text: str
    html: str | None = None

    def __post_init__(self) -> None:
        """A line break in a subject would begin another header."""
        object.__setattr__(self, "subject", " ".join(self.subject.split()))

    @property
    def domain(self) -> str:
        """What a log may say of the recipient."""
        return self.to.rpartition("@")[2]


class Sender(Protocol):
    async def send(self, mail: Mail) -> None:
        """Hand over a mail.

        Raises UnavailableError where it is to be sent again later, InvalidError where that would not help.
        """

    async def close(self) -> None:
        """End all connections."""

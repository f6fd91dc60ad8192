"""What people own, as it is stored."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict


class Owned(BaseModel):
    """Row `owned_{book}`: a book that a person has bought (`owned`), or is about to (`pending`).

    It comes and goes only together with a change of its order.
    """

    model_config = ConfigDict(frozen=True)

    book_id: str
    order_id: str
    state: Literal["pending", "owned"]
    acquired_at: datetime

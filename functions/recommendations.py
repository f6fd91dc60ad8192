"""Recommendations over HTTP: what others own together with a book, and what is chosen for a listener."""

from collections.abc import Sequence

import azure.functions as func
from pydantic import BaseModel, Field

from core.catalog.models import BookSummary
from core.recommendations.models import Reason, RecommendedBook
from functions.catalog import LimitQuery
from functions.http import API, Call, Payload, Reply, check_id, endpoint

blueprint = func.Blueprint()


class CompanionsQuery(Payload):
    """How many at most."""

    limit: int = Field(12, ge=1, le=20)


class CompanionList(BaseModel):
    """Books that at least three people own together with one, the most frequent first."""

    items: list[BookSummary]


class RecommendationList(BaseModel):
    """Books for me, each with the reason."""

    items: list[RecommendedBook]


@endpoint(
    blueprint, "GET", f"{API}/audiobooks/{{id}}/also-enjoyed", query=CompanionsQuery, reply=CompanionList
)
async def get_book_companions(call: Call[None, CompanionsQuery]) -> Reply:
    """List what listeners of this book also enjoyed.

    Public books that at least three people own together with it, the most frequent first; often none.
    """
    found = await call.services.recommendations.also_enjoyed(check_id(call.params["id"]), call.query.limit)
    return Reply(f'{{"items":[{",".join(found)}]}}')


@endpoint(
    blueprint,
    "GET",
    f"{API}/audiobooks/recommended",
    access="listener",
    query=LimitQuery,
    reply=RecommendationList,
)
async def browse_books_recommended(call: Call[None, LimitQuery]) -> Reply:
    """List books that I may like and do not have, each with the reason.

    The next of a series that I have begun, what others enjoyed who have what I finished, new books of people
    whom I follow, the genres that I hear most; then what is popular, and what is new.
    """
    found = await call.services.recommendations.for_listener(call.user.user_id, call.query.limit)
    return Reply(f'{{"items":[{",".join(with_reasons(found))}]}}')


def with_reasons(found: Sequence[tuple[str, Reason]]) -> list[str]:
    """Return books as JSON, with the reasons in them."""
    return [f'{card[:-1]},"reason":{reason.model_dump_json()}}}' for card, reason in found]

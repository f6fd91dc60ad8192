"""Listening over HTTP: where I am in my books, what I have heard."""

from typing import Annotated, Any

import azure.functions as func
from pydantic import BaseModel, Field

from core.listening.models import (
    BookInProgress,
    BookProgressEntry,
    HeardStretch,
    ProgressEntry,
    ProgressView,
    SessionStart,
    SessionUpdate,
    SessionView,
    show_progress,
)
from core.listening.progress import MAX_ENTRIES, Outcome
from core.listening.stats import ListeningStats
from functions.http import API, Call, Listing, Payload, Reply, check_id, endpoint

blueprint = func.Blueprint()


class ProgressBatch(Payload):
    """What a device that was offline has to tell, in any order."""

    items: Annotated[list[BookProgressEntry], Field(min_length=1, max_length=MAX_ENTRIES)]


class ProgressResult(BaseModel):
    """What has become of one item: the status that it would have had alone, and what is stored now."""

    audiobook_id: str
    status: int
    progress: ProgressView | None
    type: str | None = Field(None, description="As of a problem, where there was one.")
    detail: str | None = None


class ProgressResults(BaseModel):
    """A result for each item, in their order."""

    items: list[ProgressResult]


class BookInProgressList(BaseModel):
    """A page of books that were begun."""

    items: list[BookInProgress]
    next_cursor: str | None


class HeardList(BaseModel):
    """A page of what was heard."""

    items: list[HeardStretch]
    next_cursor: str | None


@endpoint(blueprint, "GET", f"{API}/progress/{{audiobook_id}}", access="listener", reply=ProgressView)
async def get_progress(call: Call[None, Any]) -> ProgressView:
    """Show where I am in a book; at zero, without `recorded_at`, where nothing was saved."""
    progress = call.services.listening.progress
    return await progress.show(call.user, check_id(call.params["audiobook_id"]))


async def _save(call: Call[ProgressEntry, Any]) -> ProgressView:
    book_id = check_id(call.params["audiobook_id"])
    return await call.services.listening.progress.save(call.user, book_id, call.body)


@endpoint(
    blueprint,
    "POST",
    f"{API}/progress/{{audiobook_id}}",
    access="listener",
    body=ProgressEntry,
    reply=ProgressView,
    failures=(409,),
)
async def begin_progress(call: Call[ProgressEntry, Any]) -> ProgressView:
    """Save where I am in a book: the same as PUT."""
    return await _save(call)


@endpoint(
    blueprint,
    "PUT",
    f"{API}/progress/{{audiobook_id}}",
    access="listener",
    body=ProgressEntry,
    reply=ProgressView,
    failures=(409,),
)
async def save_progress(call: Call[ProgressEntry, Any]) -> ProgressView:
    """Save where I am in a book.

    When that was is reckoned by the server's clock: as long before now as `recorded_at` is before `sent_at`.
    409 where something newer is stored, with both: `stored` and `sent`. A repeat changes nothing.
    """
    return await _save(call)


@endpoint(blueprint, "PUT", f"{API}/progress", access="listener", body=ProgressBatch, reply=ProgressResults)
async def save_progress_of_many(call: Call[ProgressBatch, Any]) -> ProgressResults:
    """Save where I am in several books, for devices that were offline.

    Each item is judged alone and has a result, as in a PUT of its own: 200, 403, 404 or 409.
    """
    outcomes = await call.services.listening.progress.save_all(call.user, call.body.items)
    return ProgressResults(items=[_show(outcome) for outcome in outcomes])


def _show(outcome: Outcome) -> ProgressResult:
    error = outcome.error
    return ProgressResult(
        audiobook_id=outcome.audiobook_id,
        status=error.status if error else 200,
        progress=show_progress(outcome.progress) if outcome.progress else None,
        type=f"/problems/{error.slug}" if error else None,
        detail=error.detail if error else None,
    )


async def _list_begun(call: Call[None, Listing], *, completed: bool) -> BookInProgressList:
    after = (str(call.after[0]), str(call.after[1])) if call.after else None
    progress = call.services.listening.progress
    items, following = await progress.begun(call.user, call.query.limit, after, completed=completed)
    return BookInProgressList(items=items, next_cursor=call.next_cursor(following))


@endpoint(
    blueprint, "GET", f"{API}/listening/current", access="listener", query=Listing, reply=BookInProgressList
)
async def list_books_begun(call: Call[None, Listing]) -> BookInProgressList:
    """List the books that I have begun and not completed, the last heard first."""
    return await _list_begun(call, completed=False)


@endpoint(
    blueprint,
    "GET",
    f"{API}/listening/completed",
    access="listener",
    query=Listing,
    reply=BookInProgressList,
)
async def list_books_completed(call: Call[None, Listing]) -> BookInProgressList:
    """List the books that I have completed, the last completed first."""
    return await _list_begun(call, completed=True)


@endpoint(blueprint, "GET", f"{API}/listening/history", access="listener", query=Listing, reply=HeardList)
async def list_listening_history(call: Call[None, Listing]) -> HeardList:
    """List what I have heard, stretch by stretch, the newest first."""
    after = str(call.after) if call.after else None
    sessions = call.services.listening.sessions
    items, following = await sessions.history(call.user, call.query.limit, after)
    return HeardList(items=items, next_cursor=call.next_cursor(following))


@endpoint(
    blueprint,
    "POST",
    f"{API}/listening/sessions",
    access="listener",
    body=SessionStart,
    reply=SessionView,
    status=201,
    failures=(404,),
)
async def begin_listening(call: Call[SessionStart, Any]) -> Reply:
    """Begin a stretch of listening; it counts by what is told of it afterwards."""
    session = await call.services.listening.sessions.start(call.user, call.body)
    return Reply(session, status=201)


@endpoint(
    blueprint,
    "PUT",
    f"{API}/listening/sessions/{{id}}",
    access="listener",
    body=SessionUpdate,
    reply=SessionView,
)
async def note_listening(call: Call[SessionUpdate, Any]) -> SessionView:
    """Say how much was heard since the stretch began, all in all.

    What counts grows at most by the time since the last update, times speed, and ends 24 hours after the
    stretch began. An update that is repeated or comes late counts nothing twice.
    """
    session_id = check_id(call.params["id"])
    return await call.services.listening.sessions.note(call.user, session_id, call.body)


@endpoint(blueprint, "GET", f"{API}/users/me/stats", access="listener", reply=ListeningStats)
async def get_own_stats(call: Call[None, Any]) -> ListeningStats:
    """Show what I have heard: in all, by month, by genre, and how many days in a row."""
    return await call.services.listening.sessions.stats(call.user.user_id)

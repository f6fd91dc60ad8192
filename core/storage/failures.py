"""Where a vendor's errors stop: Azure's exceptions become ours, and a missing container is made."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

from azure.core.exceptions import (
    HttpResponseError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
    ServiceRequestError,
    ServiceResponseError,
)

from core.errors import AloudError, ConflictError, NotFoundError, StaleError, UnavailableError

T = TypeVar("T")

_ABSENT_PLACES = ("TableNotFound", "ContainerNotFound", "QueueNotFound")
_CONFLICTS = {409: ConflictError, 404: NotFoundError, 412: StaleError}
_DETAILS: dict[type[AloudError], str] = {
    NotFoundError: "There is nothing with this id.",
    ConflictError: "There is one already, or it has just changed.",
    StaleError: "It was changed by someone else in the meantime.",
}


def named(kind: type[AloudError], what: str) -> AloudError:
    """Return an error whose detail may be shown to anyone; `what` is a note for the log."""
    error = kind(_DETAILS[kind])
    error.add_note(what)
    return error


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Raise our own errors in place of Azure's; `what` names the thing in a note for the log.

    NotFoundError, ConflictError, StaleError, or UnavailableError where the service is busy or away.
    Anything else is a bug of ours and passes as it is.
    """
    try:
        yield
    except (ResourceNotFoundError, ResourceExistsError, ResourceModifiedError) as error:
        kind = {
            ResourceNotFoundError: NotFoundError,
            ResourceExistsError: ConflictError,
            ResourceModifiedError: StaleError,
        }[type(error)]
        raise named(kind, what) from error
    except HttpResponseError as error:
        status = error.status_code or 0
        if status in _CONFLICTS:
            raise named(_CONFLICTS[status], what) from error
        if status >= 500 or status == 429:
            raise _away(f"status {status} for {what}") from error
        raise
    except (ServiceRequestError, ServiceResponseError) as error:
        raise _away(what) from error


def _away(what: str) -> UnavailableError:
    error = UnavailableError("The storage does not answer at the moment.")
    error.add_note(what)
    return error


async def made_on_demand(call: Callable[[], Awaitable[T]], create: Callable[[], Awaitable[object]]) -> T:
    """Run `call`; where its table, container or queue does not exist yet, make it and run `call` again."""
    try:
        return await call()
    except HttpResponseError as error:
        # the SDK does not always parse the code, but it always shows the answer's text
        if error.status_code != 404 or not any(code in str(error) for code in _ABSENT_PLACES):
            raise
        with suppress(ResourceExistsError):
            await create()
        return await call()

"""Instances of the product that tests start, and that are closed after them."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import ParamSpec, Protocol, TypeVar


class Closable(Protocol):
    async def close(self) -> None: ...


P = ParamSpec("P")
C = TypeVar("C", bound=Closable)


@asynccontextmanager
async def closing_all(start: Callable[P, C]) -> AsyncIterator[Callable[P, C]]:
    """Give `start` as a function that remembers what it has started; all of it is closed at the end."""
    started: list[C] = []

    def start_one(*args: P.args, **kwargs: P.kwargs) -> C:
        started.append(start(*args, **kwargs))
        return started[-1]

    try:
        yield start_one
    finally:
        for one in started:
            await one.close()

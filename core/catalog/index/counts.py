"""What has been counted at a revision: pages and orders of a list, and all who open it, share the numbers."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

from core.catalog.index.facets import Facets

T = TypeVar("T")

_TOTALS = 2048
_FACETS = 128


class Kept(Generic[T]):
    """Up to `most` values, from any thread; what has not been asked for longest is forgotten."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[Hashable, T] = OrderedDict()
        self._lock = Lock()

    def find(self, key: Hashable, count: Callable[[], T]) -> T:
        """Return the value of a key, counted where it is not known."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        value = count()
        with self._lock:
            self._values[key] = value
            if len(self._values) > self._most:
                self._values.popitem(last=False)
        return value


class Counts:
    """The memory of one instance, a few MB at most. Keys hold the revision, so nothing in it gets old."""

    def __init__(self) -> None:
        self.totals: Kept[int] = Kept(_TOTALS)
        self.facets: Kept[Facets] = Kept(_FACETS)

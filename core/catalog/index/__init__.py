"""The compiled read model: what is public in the catalog as one SQLite file on each instance.

A large base, compressed and rebuilt rarely, and small segments of changed books are immutable blobs; a
pointer names them and is swapped only to a greater revision. An instance fetches the base once and folds
each new segment into its own copy.
"""

from core.catalog.index.filters import Filters, Sort
from core.catalog.index.publish import CatalogPublisher
from core.catalog.index.query import Page
from core.catalog.index.refresh import CatalogReader

__all__ = ["CatalogPublisher", "CatalogReader", "Filters", "Page", "Sort"]

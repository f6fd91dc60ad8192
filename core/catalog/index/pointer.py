"""Which blobs make up the catalog at a revision, and which of them an instance still needs."""

from pydantic import BaseModel, ConfigDict

from core.catalog.index.schema import FORMAT

POINTER = f"{FORMAT}/pointer.json"
BASES = f"{FORMAT}/base-"
SEGMENTS = f"{FORMAT}/segment-"


class Base(BaseModel):
    """All public books up to a revision: a SQLite file, compressed. `size` in bytes, `digest` SHA-256."""

    model_config = ConfigDict(frozen=True)

    file: str
    revision: int
    books: int
    size: int
    digest: str | None


class Segment(BaseModel):
    """The books that changed after one revision, up to another: lines of JSON, compressed."""

    model_config = ConfigDict(frozen=True)

    file: str
    after: int
    revision: int
    books: int
    size: int
    digest: str


class Pointer(BaseModel):
    """The newest catalog: the base, then each segment after its revision, in order.

    `revision` grows with every swap, `content` only when books have changed: a new base of the same
    books concerns no instance that has them. Segments that the base contains stay a while for
    instances that are only a little behind.
    """

    model_config = ConfigDict(frozen=True)

    revision: int
    content: int
    base: Base
    segments: tuple[Segment, ...] = ()

    def path_from(self, content: int | None) -> tuple[Base | None, tuple[Segment, ...]]:
        """Return what leads from an instance's content (None: it has nothing) to this one's.

        The base is None where segments are enough.
        """
        if content is not None:
            later = tuple(segment for segment in self.segments if segment.revision > content)
            if content >= self.content or (later and later[0].after <= content):
                return None, later
        return self.base, tuple(s for s in self.segments if s.revision > self.base.revision)

    @property
    def fresh_books(self) -> int:
        """How many changed books a new instance has to fold into the base."""
        return sum(s.books for s in self.segments if s.revision > self.base.revision)

    @property
    def fresh_segments(self) -> int:
        return sum(s.revision > self.base.revision for s in self.segments)


def revision_of(name: str) -> int:
    """Return the revision in a base's or segment's name. Raises ValueError."""
    return int(name.partition("-")[2].partition("-")[0])

"""Shows libav the part of a long mp4's index that is needed: parsed, that of 20 hours takes over 100 MB."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.transcription.blocks import PatchedReader, Source

_SMALL_BYTES = 1_000_000
_LARGEST_BYTES = 64_000_000  # 60 hours have 38
_MOST_SAMPLES = 1_000_000
_MOST_BRIDGES = 1_000
_MARGIN_SECONDS = 3.0
_LONGEST_DURATION = 2**30  # of a sample; libav corrects what looks like an error
_MOST_BOXES = 1_000
# Of a sample table: what is rewritten, what can go, and all that may be in it.
_TABLES = {b"stts", b"stsc", b"stsz", b"stco", b"co64"}
_OPTIONAL = {b"sbgp", b"sgpd", b"free"}
_KNOWN = {b"stsd"} | _TABLES | _OPTIONAL

Numbers = NDArray[np.int64]


class _OddError(Exception):
    """The index is of a kind that is left to libav."""


@dataclass(frozen=True)
class _Box:
    """A box in a file's index: where it begins, where its content does, and where it ends."""

    kind: bytes
    start: int
    content: int
    end: int


def narrow(source: Source, start: float, end: float) -> Source:
    """Return a view of an mp4 for who wants what lies between two times of the listener's clock.

    Its index has that stretch with a margin, and the first and the last sample with their true times, so
    that length and beginning stay what they are. A file with a small index, or an odd one, is returned as
    it is.
    """
    try:
        index = _find_index(source)
        if not _SMALL_BYTES < index.end - index.start < _LARGEST_BYTES:
            return source
        source.seek(index.start)
        moov = source.read(index.end - index.start)
        box = _Box(b"moov", 0, index.content - index.start, len(moov))
        slim = _Rewriting(moov, start, end).rewrite(box)
    except (_OddError, struct.error, ValueError, IndexError, OverflowError):
        return source
    rest = len(moov) - len(slim)
    if rest < 8:
        return source
    return PatchedReader(source, index.start, slim + struct.pack(">I4s", rest, b"free"))


def _find_index(source: Source) -> _Box:
    size = source.seek(0, 2)
    at = 0
    for _ in range(_MOST_BOXES):
        source.seek(at)
        head = source.read(16)
        box = _box(head, 0, size - at)
        if box.kind == b"moov":
            return _Box(b"moov", at, at + box.content, at + box.end)
        at += box.end
    raise _OddError


def _box(data: bytes, at: int, rest: int) -> _Box:
    length, kind = struct.unpack_from(">I4s", data, at)
    content = at + 8
    if length == 1:
        (length,) = struct.unpack_from(">Q", data, content)
        content += 8
    elif length == 0:
        length = rest
    if not content - at <= length <= rest:
        raise _OddError
    return _Box(kind, at, content, at + length)


def _boxes(data: bytes, parent: _Box) -> Iterator[_Box]:
    at = parent.content
    while at < parent.end:
        box = _box(data, at, parent.end - at)
        yield box
        at = box.end


def _child(data: bytes, parent: _Box, *path: bytes) -> _Box | None:
    for kind in path:
        found = next((box for box in _boxes(data, parent) if box.kind == kind), None)
        if found is None:
            return None
        parent = found
    return parent


def _pack(kind: bytes, *contents: bytes) -> bytes:
    return struct.pack(">I4s", 8 + sum(map(len, contents)), kind) + b"".join(contents)


def _pack_table(kind: bytes, rows: Any, form: str) -> bytes:
    return _pack(kind, struct.pack(">II", 0, len(rows)), np.asarray(rows).astype(form).tobytes())


class _Rewriting:
    """Copies an index, and narrows the tables of its sound."""

    def __init__(self, moov: bytes, start: float, end: float) -> None:
        self._data = moov
        self._start = start
        self._end = end
        self._movie_scale = 0

    def rewrite(self, moov: _Box) -> bytes:
        self._movie_scale = self._scale(_child(self._data, moov, b"mvhd"))
        return _pack(b"moov", *(self._track(box) for box in _boxes(self._data, moov)))

    def _copy(self, box: _Box) -> bytes:
        return self._data[box.start : box.end]

    def _track(self, box: _Box) -> bytes:
        handler = _child(self._data, box, b"mdia", b"hdlr") if box.kind == b"trak" else None
        if handler is None or self._data[handler.content + 8 : handler.content + 12] != b"soun":
            return self._copy(box)
        scale = self._scale(_child(self._data, box, b"mdia", b"mdhd"))
        offset = self._edit_offset(_child(self._data, box, b"edts", b"elst"), scale)
        first, last = ((seconds * scale) + offset for seconds in (self._start, self._end))
        margin = _MARGIN_SECONDS * scale
        return self._down(box, (b"mdia", b"minf", b"stbl"), (first - margin, last + margin))

    def _down(self, box: _Box, path: tuple[bytes, ...], wanted: tuple[float, float]) -> bytes:
        """Copy a box down to its sample table, which is narrowed."""
        if not path:
            return self._narrow_table(box, wanted)
        return _pack(
            box.kind,
            *(
                self._down(child, path[1:], wanted) if child.kind == path[0] else self._copy(child)
                for child in _boxes(self._data, box)
            ),
        )

    def _scale(self, header: _Box | None) -> int:
        """Return the ticks of a second, from a header of the movie or of a track's media."""
        if header is None:
            raise _OddError
        at = header.content + (20 if self._data[header.content] == 1 else 12)
        (scale,) = struct.unpack_from(">I", self._data, at)
        if not scale:
            raise _OddError
        return int(scale)

    def _edit_offset(self, edits: _Box | None, scale: int) -> float:
        """Return how many ticks of a track come before what is heard first."""
        if edits is None:
            return 0
        version, count = self._data[edits.content], struct.unpack_from(">I", self._data, edits.content + 4)[0]
        form = ">QqI" if version == 1 else ">IiI"
        width = struct.calcsize(form)
        entries = [
            struct.unpack_from(form, self._data, edits.content + 8 + n * width)[:2]
            for n in range(min(count, 3))
        ]
        empty = 0.0
        if entries and entries[0][1] == -1:
            empty = entries.pop(0)[0] * scale / self._movie_scale
        if len(entries) > 1 or any(begin < 0 for _, begin in entries):
            raise _OddError
        return (entries[0][1] if entries else 0) - empty

    def _rows(self, box: _Box, form: str, columns: int) -> Any:
        """Return a table's rows, as they lie in the index."""
        (count,) = struct.unpack_from(">I", self._data, box.content + 4)
        found = np.frombuffer(self._data, form, count * columns, box.content + 8)
        return found.reshape(-1, columns) if columns > 1 else found

    def _narrow_table(self, table: _Box, wanted: tuple[float, float]) -> bytes:
        boxes = {box.kind: box for box in _boxes(self._data, table)}
        if not boxes.keys() <= _KNOWN or not {b"stsd", b"stts", b"stsc", b"stsz"} <= boxes.keys():
            raise _OddError
        sizes_box = boxes[b"stsz"]
        same_size, count = struct.unpack_from(">II", self._data, sizes_box.content + 4)
        if same_size or not count:
            raise _OddError
        sizes = np.frombuffer(self._data, ">u4", count, sizes_box.content + 12)
        clock = _Clock(self._rows(boxes[b"stts"], ">u4", 2), count)
        offsets = (
            self._rows(boxes[b"co64"], ">u8", 1) if b"co64" in boxes else self._rows(boxes[b"stco"], ">u4", 1)
        )
        places = _Places(self._rows(boxes[b"stsc"], ">u4", 3), offsets, sizes)
        first, last = clock.sample_at(wanted[0]), clock.sample_at(wanted[1])
        if last - first > _MOST_SAMPLES or clock.total > _MOST_BRIDGES * _LONGEST_DURATION:
            raise _OddError
        samples, times = _choose(clock, first, last)
        kept = samples.astype(np.int64)
        lasting = np.diff(np.append(times, clock.total))
        begins = np.concatenate(([0], np.flatnonzero(np.diff(lasting)) + 1))
        runs = np.column_stack((np.diff(np.append(begins, len(lasting))), lasting[begins]))
        return _pack(
            b"stbl",
            self._copy(boxes[b"stsd"]),
            _pack_table(b"stts", runs, ">u4"),
            _pack_table(b"stsc", np.array([[1, 1, 1]]), ">u4"),
            _pack(b"stsz", struct.pack(">III", 0, 0, len(kept)), sizes[kept].tobytes()),
            _pack_table(b"co64", places.of(kept), ">u8"),
        )


class _Clock:
    """When each sample is due, in ticks, from runs of samples of one length."""

    def __init__(self, runs: Any, count: int) -> None:
        lengths, deltas = runs[:, 0].astype(np.int64), runs[:, 1].astype(np.int64)
        if lengths.sum() != count or not deltas.all() or not lengths.all():
            raise _OddError
        self._deltas = deltas
        self._samples = np.concatenate(([0], np.cumsum(lengths)))
        self._ticks = np.concatenate(([0], np.cumsum(lengths * deltas)))
        self.count = count
        self.total = int(self._ticks[-1])

    def sample_at(self, tick: float) -> int:
        """Return the sample that is due at a time, the first or the last one beyond the ends."""
        at = min(max(0, int(tick)), self.total - 1)
        run = int(np.searchsorted(self._ticks, at, "right")) - 1
        return int(self._samples[run] + (at - self._ticks[run]) // self._deltas[run])

    def due(self, samples: Numbers) -> Numbers:
        run = np.searchsorted(self._samples, samples, "right") - 1
        ticks: Numbers = self._ticks[run] + (samples - self._samples[run]) * self._deltas[run]
        return ticks


class _Places:
    """Where each sample is in the file, from the chunks that samples lie in."""

    def __init__(self, runs: Any, offsets: Any, sizes: Any) -> None:
        chunks, self._each = runs[:, 0].astype(np.int64) - 1, runs[:, 1].astype(np.int64)
        lengths = np.diff(np.append(chunks, len(offsets)))
        if chunks[0] != 0 or (lengths <= 0).any() or not self._each.all() or (runs[:, 2] != 1).any():
            raise _OddError
        self._samples = np.concatenate(([0], np.cumsum(lengths * self._each)))
        if self._samples[-1] != len(sizes):
            raise _OddError
        self._chunks = chunks
        self._offsets = offsets
        self._sizes = sizes

    def of(self, samples: Numbers) -> Numbers:
        run = np.searchsorted(self._samples, samples, "right") - 1
        chunk = (samples - self._samples[run]) // self._each[run]
        begin = self._samples[run] + chunk * self._each[run]
        found: Numbers = self._offsets[self._chunks[run] + chunk].astype(np.int64)
        # What lies before a sample in its chunk; a stretch is summed up at once, what is apart from it alone.
        for part in np.split(np.arange(len(samples)), np.flatnonzero(np.diff(samples) != 1) + 1):
            low, high = int(begin[part[0]]), int(samples[part[-1]])
            sums = np.concatenate(([0], np.cumsum(self._sizes[low:high], dtype=np.int64)))
            found[part] += sums[samples[part] - low] - sums[begin[part] - low]
        return found


def _choose(clock: _Clock, first: int, last: int) -> tuple[Numbers, Numbers]:
    """Return which samples are kept, and when each is due: the stretch, the ends, and bridges to them."""
    anchors = np.unique(np.concatenate(([0], np.arange(first, last + 1), [clock.count - 1])))
    due = clock.due(anchors)
    samples: list[Numbers] = []
    times: list[Numbers] = []
    gaps = [int(at) for at in np.flatnonzero(np.diff(due) > _LONGEST_DURATION)]
    for begin, stop in pairwise([0, *(gap + 1 for gap in gaps), len(anchors)]):
        samples.append(anchors[begin:stop])
        times.append(due[begin:stop])
        if stop < len(anchors):
            bridge = np.arange(due[stop - 1] + _LONGEST_DURATION, due[stop], _LONGEST_DURATION)
            samples.append(np.full(len(bridge), anchors[stop - 1]))
            times.append(bridge)
    return np.concatenate(samples), np.concatenate(times)

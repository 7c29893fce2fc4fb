"""Cuts a step's items into chunks, whose shapes come from a short list where a GPU or a compiler wants few."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.integer[Any]]

CLASSES = 4  # lengths that padded chunks of a short list are rounded up to: quarters of the longest segment

# (Tokens of items, width of a row) -> how many rows hold them, each item in one row.
RowsNeeded = Callable[[IntArray, int], int]


class Cut(NamedTuple):
    """One chunk: which of the given items it encodes, and C, its number of rows; the rest of them is padding."""

    places: IntArray
    rows: int


class ChunkForm(NamedTuple):
    """The shape of a chunk: S segments of T tokens for each item, in R packed rows where items share rows."""

    segments: int
    tokens: int
    packed_rows: int | None


class Cutter(Protocol):
    """A way to cut items into chunks."""

    @property
    def forms(self) -> int:
        """The number of shapes that chunks may have; 0 = any."""
        ...

    def cut(self, rows: IntArray) -> list[Cut]:
        """Chunks that encode each of the item rows once."""
        ...

    def form(self, rows_C: IntArray) -> ChunkForm | None:
        """The shape of a chunk of these rows, padding included; None = as small as its items allow."""
        ...


@dataclass(frozen=True, slots=True)
class ByLength:
    """Chunks of items of similar length, each as wide as its longest item. `tokens_V`: None = in the given order."""

    sizes: Sequence[int]
    tokens_V: IntArray | None = None

    @property
    def forms(self) -> int:
        """See Cutter."""
        return 0

    def cut(self, rows: IntArray) -> list[Cut]:
        """See Cutter: each chunk has the largest size that the remaining items fill, the last one the smallest."""
        order = np.arange(len(rows))
        if self.tokens_V is not None:
            order = np.argsort(self.tokens_V[rows], kind="stable")
        return list(_in_sizes(order, self.sizes))

    def form(self, rows_C: IntArray) -> ChunkForm | None:
        """See Cutter: as small as the items allow."""
        return None


def _in_sizes(order: IntArray, sizes: Sequence[int], *, few: bool = False) -> Iterator[Cut]:
    """Chunks of the largest size that the remaining items fill, the last one of the smallest. `few`: one larger chunk
    instead of more than two of the next smaller size."""
    start = 0
    while start < len(order):
        left = len(order) - start
        taken = (size for size in sizes if size <= left or (few and _saves_chunks(size, left, sizes)))
        size = max(taken, default=min(sizes))
        yield Cut(order[start : start + size], size)
        start += size


def _saves_chunks(size: int, left: int, sizes: Sequence[int]) -> bool:
    """Whether `left` items take one chunk of `size`, or more than two of the next smaller size.

    Padding costs less than a chunk: a GPU computes a chunk about as fast as the host launches its kernels.
    """
    smaller = max((other for other in sizes if other < size), default=None)
    return left >= size or smaller is None or left > 2 * smaller


class Lengths(NamedTuple):
    """Lengths of each item row: all its tokens, its longest segment; and the most segments of any."""

    tokens_V: IntArray
    longest_V: IntArray
    segments: int

    @property
    def longest(self) -> int:
        """The longest segment of all items."""
        return max(1, int(self.longest_V.max(initial=1)))

    def budget(self, size: int) -> int:
        """Tokens of a chunk of `size`: of this number of segments that are half as long as the longest one."""
        return max(1, size * self.longest // 2)


class PaddedForms:
    """Padded chunks of few shapes: a length is rounded up to a quarter of the longest, and each length has its own
    number of items for each size, so that a chunk has about the same number of tokens whatever their length."""

    def __init__(self, sizes: Sequence[int], lengths: Lengths) -> None:
        self._segments, self._step = lengths.segments, -(-lengths.longest // CLASSES)
        self._class_V = np.clip(-(-lengths.longest_V // self._step), 1, CLASSES)
        self._sizes: dict[int, list[int]] = {length: [] for length in range(1, CLASSES + 1)}
        self._class_of: dict[int, int] = {}  # rows of a chunk -> its length: no two lengths have a number of rows
        for size, length in itertools.product(sorted(sizes), range(CLASSES, 0, -1)):
            rows = max(1, lengths.budget(size) // (lengths.segments * length * self._step))
            while rows in self._class_of and rows > 1:
                rows -= 1
            if self._class_of.setdefault(rows, length) == length:
                self._sizes[length].append(rows)

    @property
    def forms(self) -> int:
        """See Cutter."""
        return len(self._class_of)

    def cut(self, rows: IntArray) -> list[Cut]:
        """See Cutter. Items that fill no large chunk of their length are encoded with the next longer ones."""
        class_N = self._class_V[rows]
        lengths = [length for length, sizes in self._sizes.items() if sizes]
        longest = min(length for length in lengths if length >= class_N.max(initial=1))
        cuts: list[Cut] = []
        waiting: IntArray = np.zeros(0, np.int64)
        for shorter, length in zip([0, *lengths], lengths, strict=False):
            waiting = np.concatenate([waiting, np.flatnonzero((shorter < class_N) & (class_N <= length))])
            if length == longest:
                return [*cuts, *_in_sizes(waiting, self._sizes[length], few=True)]
            size = max(self._sizes[length])
            full = len(waiting) // size * size
            cuts += _in_sizes(waiting[:full], [size])
            waiting = waiting[full:]
        return cuts

    def form(self, rows_C: IntArray) -> ChunkForm:
        """See Cutter. A number of rows that is not in the list, as an earlier run's options may have made, is as long
        as its items need."""
        needed = int(self._class_V[rows_C].max(initial=1))
        return ChunkForm(self._segments, max(needed, self._class_of.get(len(rows_C), 0)) * self._step, None)


class PackedForms:
    """Chunks of few shapes whose items share rows: a chunk of each size has its number of rows and of items."""

    def __init__(self, sizes: Sequence[int], lengths: Lengths, *, width: int, rows_needed: RowsNeeded) -> None:
        """`width`: tokens of a row."""
        self._lengths, self._width, self._rows_needed = lengths, width, rows_needed
        with_tokens = lengths.tokens_V[lengths.tokens_V > 0]
        mean = float(with_tokens.mean()) if len(with_tokens) else 1.0
        widest = int(lengths.tokens_V.max(initial=1))
        rows = sorted({max(1, -(-max(lengths.budget(size), widest) // width)) for size in sizes})
        self._packed_rows = {max(1, round(each * width / mean)): each for each in rows}  # items of a chunk -> its rows

    @property
    def forms(self) -> int:
        """See Cutter."""
        return len(self._packed_rows)

    def cut(self, rows: IntArray) -> list[Cut]:
        """See Cutter: each chunk has the largest size that the remaining items fill, the last one the smallest that
        holds them."""
        tokens_N = np.maximum(self._lengths.tokens_V[rows], 1)
        sizes = sorted(self._packed_rows)
        cuts: list[Cut] = []
        start = 0
        while start < len(rows):
            left = len(rows) - start
            for size in reversed(sizes):
                taken = self._count_within(tokens_N[start : start + size], self._packed_rows[size])
                if taken < left or _saves_chunks(size, left, sizes):
                    break
            cuts.append(Cut(np.arange(start, start + taken), size))
            start += taken
        return cuts

    def form(self, rows_C: IntArray) -> ChunkForm | None:
        """See Cutter; None for a number of rows that is not in the list, as an earlier run's options may have made."""
        packed_rows = self._packed_rows.get(len(rows_C))
        if packed_rows is None:
            return None
        return ChunkForm(self._lengths.segments, self._lengths.longest, packed_rows)

    def _count_within(self, tokens_N: IntArray, packed_rows: int) -> int:
        """How many of the first items fit into this number of rows."""
        count = int(np.searchsorted(np.cumsum(tokens_N), packed_rows * self._width, side="right"))
        while (needed := self._rows_needed(tokens_N[:count], self._width)) > packed_rows:
            count -= max(1, count * (needed - packed_rows) // needed)
        return count

"""A file object over consecutive pieces, with random access; opens each piece when it is first read."""

from __future__ import annotations

import io
import os
from bisect import bisect_right
from collections.abc import Callable, Sequence
from io import BufferedIOBase
from itertools import accumulate
from typing import Any


class SpanFile(io.RawIOBase):
    """For one reader at a time. Keeps its pieces open until it is closed."""

    def __init__(self, sizes: Sequence[int], opened: Callable[[int], BufferedIOBase]) -> None:
        self._ends = list(accumulate(sizes))
        self._opened = opened
        self._held: dict[int, BufferedIOBase] = {}
        self._at = 0

    def hold(self, number: int, piece: BufferedIOBase) -> None:
        """Takes over a piece that is already open."""
        self._held[number] = piece

    def readable(self) -> bool:
        """Always true."""
        return True

    def seekable(self) -> bool:
        """Always true."""
        return True

    def tell(self) -> int:
        """The position of the next read."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Moves the position."""
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._ends[-1]}[whence]
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        """Fills the buffer as far as the file goes; never stops short at the end of a piece."""
        wanted, done = memoryview(buffer).cast("B"), 0
        while done < len(wanted) and self._at < self._ends[-1]:
            number = bisect_right(self._ends, self._at)
            begin = self._ends[number - 1] if number else 0
            end = min(len(wanted), done + self._ends[number] - self._at)
            piece = self._piece(number)
            piece.seek(self._at - begin)
            read = piece.readinto(wanted[done:end])
            if not read:
                raise EOFError(f"piece {number} ends before it should")
            self._at, done = self._at + read, done + read
        return done

    def close(self) -> None:
        """Closes the file and its pieces."""
        for piece in self._held.values():
            piece.close()
        self._held.clear()
        super().close()

    def _piece(self, number: int) -> BufferedIOBase:
        if number not in self._held:
            self._held[number] = self._opened(number)
        return self._held[number]

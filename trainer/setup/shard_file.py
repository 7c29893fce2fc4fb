"""Stores rows of half-precision numbers in one file, shard by shard: a kill loses only the shards being written.

NAME.f16 holds the numbers, NAME.done a line for each finished shard, with its checksum. A line is written once its
shard is on the disk. Places of no shard stay holes, which take up no space.
"""

from __future__ import annotations

import errno
import fcntl
import os
import random
import re
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from schemas.space import NoSpaceError, free_bytes, no_space, space_for
from trainer.checkpoint.parts import sync_to_disk

SAMPLED = 2  # shards of a complete file whose checksums are compared on opening, at random
_LINE = re.compile(rb"([0-9]{1,18}) ([0-9]{1,18}) ([0-9a-f]{8})")  # first place, end, checksum
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)  # file systems without locks: each process fills all shards


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """Item rows whose numbers are computed and written together."""

    row_R: NDArray[np.int64]
    runs: NDArray[np.int64]
    """(runs, 2): first place and end of each stretch of places that the item rows own, ascending"""

    @property
    def first(self) -> int:
        """The first place."""
        return int(self.runs[0, 0])

    @property
    def end(self) -> int:
        """The place after the last one."""
        return int(self.runs[-1, 1])

    @property
    def places(self) -> int:
        """The number of places that the item rows own."""
        return int((self.runs[:, 1] - self.runs[:, 0]).sum())


def mapped_tensor(numbers: np.memmap[Any, np.dtype[np.float16]]) -> Tensor:
    """A tensor over a file that is mapped to be read only; never write to it."""
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # torch has no such tensors
        return torch.from_numpy(numbers)


class ShardFile:
    """`places` x `width` half-precision numbers, filled by one process or several at once."""

    def __init__(self, path: Path, *, places: int, width: int) -> None:
        """`path`: without a suffix."""
        self.path, self._done = path.with_name(f"{path.name}.f16"), path.with_name(f"{path.name}.done")
        self._shape = (places, width)

    def complete(self, shards: Sequence[Shard]) -> bool:
        """Whether all shards are there, by the file's size, their lines and the checksums of a few."""
        if not self._done.exists() or not self._has_size():
            return False
        found = _records(self._done.read_bytes())
        if any((shard.first, shard.end) not in found for shard in shards):
            return False
        return all(
            self.intact(shard, found) for shard in random.SystemRandom().sample(shards, min(SAMPLED, len(shards)))
        )

    def mapped(self) -> Tensor:
        """The numbers (places, width), mapped into memory, as mapped_tensor does."""
        return mapped_tensor(self._map())

    @contextmanager
    def filling(self, shards: Sequence[Shard]) -> Iterator[Filling]:
        """Inside, the shards that are not there can be written. NoSpaceError where the disk has no room for them."""
        found = _records(self._done.read_bytes()) if self._done.exists() else {}
        needed = self._bytes(sum(shard.places for shard in shards if (shard.first, shard.end) not in found))
        if needed > free_bytes(self.path):
            raise NoSpaceError(no_space(self.path, needed))
        with space_for(self.path, needed):
            descriptor = os.open(self._done, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            try:
                self._reserve()
                yield Filling(self, descriptor, found)
            finally:
                os.close(descriptor)

    def intact(self, shard: Shard, records: Mapping[tuple[int, int], int]) -> bool:
        """Whether the shard's numbers have the checksum of its line."""
        numbers, checksum = self._map(), 0
        for first, end in shard.runs:
            checksum = zlib.crc32(numbers[first:end].data, checksum)
        return checksum == records.get((shard.first, shard.end))

    def write(self, shard: Shard, numbers: NDArray[np.float16]) -> bytes:
        """Write the shard's numbers (end - first, width) to the disk; the result is its line."""
        checksum = 0
        with self.path.open("r+b") as stream:
            for first, end in shard.runs:
                stretch = numbers[first - shard.first : end - shard.first].data
                stream.seek(self._bytes(int(first)))
                stream.write(stretch)
                checksum = zlib.crc32(stretch, checksum)
            stream.flush()
            os.fsync(stream.fileno())
        return b"%d %d %08x\n" % (shard.first, shard.end, checksum)

    def _reserve(self) -> None:
        """Give the file its size: what was cut off is a hole, whose checksum is wrong."""
        self.path.touch()
        if not self._has_size():
            os.truncate(self.path, self._bytes(self._shape[0]))
        sync_to_disk(self.path.parent)

    def _has_size(self) -> bool:
        return self.path.exists() and self.path.stat().st_size == self._bytes(self._shape[0])

    def _bytes(self, places: int) -> int:
        return 2 * places * self._shape[1]

    def _map(self) -> np.memmap[Any, np.dtype[np.float16]]:
        return np.memmap(self.path, np.float16, "r", shape=self._shape)


class Filling:
    """A ShardFile open to be filled. A process claims a shard by locking one byte of NAME.done, at the shard's first
    place; the kernel frees it when the process ends."""

    def __init__(self, file: ShardFile, descriptor: int, earlier: Mapping[tuple[int, int], int]) -> None:
        """`earlier`: the lines of shards whose checksums are still to be compared."""
        self._file, self._descriptor = file, descriptor
        self._unchecked = set(earlier)

    def claimed(self, shards: Sequence[Shard]) -> Iterator[tuple[Shard, bool]]:
        """Each shard once, with whether it is finished; one that is not belongs to this process until the next one is
        asked for.

        Those that other processes fill come last; where one of them ends before its shard, this process takes over.
        """
        left = list(shards)
        for wait in (False, True):
            busy = []
            for shard in left:
                if not self._lock(shard, wait=wait):
                    busy.append(shard)
                    continue
                try:
                    yield shard, self._finished(shard)
                finally:
                    with suppress(OSError):
                        self._call(fcntl.LOCK_UN, shard)
            left = busy

    def write(self, shard: Shard, numbers: NDArray[np.float16]) -> None:
        """Store a claimed shard: `numbers` (end - first, width)."""
        line = self._file.write(shard, numbers)
        cut_short = self._text()[-1:] not in (b"", b"\n")  # by a loss of power
        os.write(self._descriptor, b"\n" * cut_short + line)
        os.fsync(self._descriptor)

    def _finished(self, shard: Shard) -> bool:
        records, place = _records(self._text()), (shard.first, shard.end)
        if place in self._unchecked:
            self._unchecked.discard(place)
            return self._file.intact(shard, records)
        return place in records

    def _text(self) -> bytes:
        # By the one descriptor: closing another of this file would free the locks.
        return os.pread(self._descriptor, os.fstat(self._descriptor).st_size, 0)

    def _lock(self, shard: Shard, *, wait: bool) -> bool:
        try:
            self._call(fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), shard)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                return False
            if error.errno not in _NO_LOCKS:
                raise
        return True

    def _call(self, operation: int, shard: Shard) -> None:
        fcntl.lockf(self._descriptor, operation, 1, shard.first)


def _records(text: bytes) -> dict[tuple[int, int], int]:
    """(first place, end) -> checksum, of each complete line of NAME.done; the last one of a shard counts."""
    lines = (_LINE.fullmatch(line) for line in text.split(b"\n")[:-1])
    return {(int(line[1]), int(line[2])): int(line[3], 16) for line in lines if line}

"""The interface by which a packed directory's files are checked and read, and its form for local disks."""

from __future__ import annotations

import hashlib
import io
import os
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from io import BufferedIOBase, BufferedReader
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Protocol

import pyarrow.parquet as pq

from schemas.errors import ContractError, InputError
from schemas.manifest import LARGEST_MANIFEST, MANIFEST_FILE, FileEntry
from schemas.regular_file import check_inside, open_regular, read_bytes
from schemas.spans import Span
from trainer.data.span_file import SpanFile

AGAIN = "Pack again with jobs.pack"

Source = Path | BufferedReader  # one complete file
Opened = Callable[[str], AbstractContextManager[Any]]  # a batch file's path -> inside, its pq.ParquetFile
Verify = Literal["sizes", "sample", "full"]

SMALL_SAMPLE = 16 << 20  # bytes of batch files: 10 ms of hashing, however large the directory
_TENTH = 10  # the share of batch files that a larger sample has
_FOOTERS = 32  # of the files read last, each up to 1 MB in memory


class Files(Protocol):
    """The files of one packed directory. ContractError names a file that differs from the manifest.

    Every sum is checked at the latest when the bytes are read: of a row group each time, of other files once.
    """

    def check(self, entries: Iterable[FileEntry], verify: Verify) -> None:
        """Checks that all files exist with their sizes, and as many sums as `verify` says."""

    def complete(self, name: str) -> AbstractContextManager[Source]:
        """Inside, a complete file with the right sum, to be read or mapped."""

    def row_groups(self, wanted: Sequence[tuple[str, int]]) -> AbstractContextManager[Opened]:
        """Inside, a function that opens the file of each of these (path, row group): in this order, each once."""


class Piece(NamedTuple):
    """One span of a batch file."""

    path: str
    number: int


class LocalFiles:
    """Files on local disks, read in place."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._entries: dict[str, FileEntry] = {}
        self._right: set[str] = set()  # files whose sums were found right

    def check(self, entries: Iterable[FileEntry], verify: Verify) -> None:
        """See Files: sums of all files, or of a sample of the batch files."""
        self._entries = {entry.path: entry for entry in entries}
        for entry in self._entries.values():
            _check_size(self._folder, entry)
        if verify == "full":
            for path in self._entries:
                self._check_sum(path)
            return
        for piece in sample(self._entries.values(), verify):
            if self._entries[piece.path].spans:
                self._piece(*piece)
            else:
                self._check_sum(piece.path)

    @contextmanager
    def complete(self, name: str) -> Iterator[Source]:
        """See Files."""
        self._check_sum(name)
        yield self._folder / name

    @contextmanager
    def row_groups(self, wanted: Sequence[tuple[str, int]]) -> Iterator[Opened]:
        """See Files. One file is open at a time: a directory may hold more files than a process may open."""
        footers = Footers()

        @contextmanager
        def open_file(path: str) -> Iterator[pq.ParquetFile]:
            spans = self._entries[path].spans
            if not spans:  # of an older directory
                self._check_sum(path)
                footer = footers.of(path, lambda: (self._folder / path).open("rb"))
                with pq.ParquetFile(self._folder / path, metadata=footer) as file:
                    yield file
                return
            footer = footers.of(path, lambda: self._piece(path, len(spans) - 1))
            with opened_spans(spans, partial(self._piece, path), footer) as file:
                yield file

        yield open_file

    def _piece(self, path: str, number: int) -> io.BytesIO:
        """The bytes of one span; an error names the row group."""
        spans = self._entries[path].spans
        with (self._folder / path).open("rb") as stream:
            stream.seek(sum(span.bytes for span in spans[:number]))
            content = stream.read(spans[number].bytes)
        digest = hashlib.sha256(content).hexdigest()
        if digest != spans[number].sha256:
            where = f"{self._folder / path}, {part_name(spans, number)}"
            raise ContractError(other_sum(where, digest, spans[number].sha256))
        return io.BytesIO(content)

    def _check_sum(self, name: str) -> None:
        if name in self._right:
            return
        path, wanted = self._folder / name, self._entries[name].sha256
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if digest != wanted:
            raise ContractError(other_sum(path, digest, wanted))
        self._right.add(name)


class Footers:
    """The footers of the batch files read last: a directory may hold more than fit into memory."""

    def __init__(self) -> None:
        self._held: OrderedDict[str, pq.FileMetaData] = OrderedDict()

    def of(self, path: str, opened: Callable[[], BufferedIOBase]) -> pq.FileMetaData:
        """The footer of a file; `opened` gives its bytes where they are not held."""
        if path not in self._held:
            with opened() as end:
                self._held[path] = pq.read_metadata(end)
        self._held.move_to_end(path)
        while len(self._held) > _FOOTERS:
            self._held.popitem(last=False)
        return self._held[path]


@contextmanager
def opened_spans(
    spans: Sequence[Span],
    opened: Callable[[int], BufferedIOBase],
    footer: pq.FileMetaData,
    held: Mapping[int, BufferedIOBase] = MappingProxyType({}),
) -> Iterator[pq.ParquetFile]:
    """Inside, a Parquet file over spans, of which those `held` are open and the others open when they are read."""
    with SpanFile([span.bytes for span in spans], opened) as source:
        for number, piece in held.items():
            source.hold(number, piece)
        with pq.ParquetFile(source, metadata=footer) as file:
            yield file


def sample(entries: Iterable[FileEntry], verify: Verify) -> list[Piece]:
    """The spans of batch files whose sums `verify` checks at the start: those with the lowest sums, which is a choice
    at random, and the same in every run. A file without spans is one."""
    batch_files = [entry for entry in entries if entry.superblocks]
    every = sorted(
        (span.sha256, span.bytes, entry.path, number)
        for entry in batch_files
        for number, span in enumerate(entry_spans(entry))
    )
    total = sum(size for _, size, _, _ in every)
    most = {"sizes": SMALL_SAMPLE, "sample": max(SMALL_SAMPLE, total // _TENTH), "full": total}[verify]
    found: list[Piece] = []
    taken = 0
    for _, size, path, number in every:
        if taken + size <= most or not found:
            found.append(Piece(path, number))
            taken += size
    return found


def entry_spans(entry: FileEntry) -> Sequence[Span]:
    """The spans of a file; the entire file is one span where the manifest lists none, as older ones do."""
    return entry.spans or (Span(bytes=entry.bytes, sha256=entry.sha256),)


def local_manifest(folder: Path) -> bytes:
    """The text of the manifest; InputError where there is none."""
    file = folder / MANIFEST_FILE
    if not os.path.lexists(file):
        raise InputError(no_manifest(folder))
    return read_bytes(file, largest=LARGEST_MANIFEST, advice=AGAIN)


def no_manifest(where: object) -> str:
    """The message for a missing manifest."""
    return f"{where}: no {MANIFEST_FILE}, so this is no complete packed directory. Make one with jobs.pack"


def _check_size(folder: Path, entry: FileEntry) -> None:
    path = check_inside(folder, entry.path, advice=AGAIN)
    if not os.path.lexists(path):
        raise ContractError(missing(path))
    with open_regular(path, largest=sys.maxsize, advice=AGAIN) as stream:
        size = os.fstat(stream.fileno()).st_size
    if size != entry.bytes:
        raise ContractError(other_size(path, size, entry))


def missing(where: object) -> str:
    """The message for a missing file."""
    return f"{where}: the manifest lists this file, but it is missing. {AGAIN}"


def other_size(where: object, size: int, entry: FileEntry) -> str:
    """The message for a file of another size."""
    return f"{where}: {size} bytes, the manifest says {entry.bytes}. {AGAIN}"


def other_sum(where: object, found: str, wanted: str) -> str:
    """The message for bytes with another sha256."""
    return f"{where}: sha256 {found[:12]}…, the manifest says {wanted[:12]}…. {AGAIN}"


def part_name(spans: Sequence[Span], number: int) -> str:
    """The name of a span, for messages."""
    return "its footer" if number == len(spans) - 1 else f"row group {number}"

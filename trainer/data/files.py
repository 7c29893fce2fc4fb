"""The interface by which a packed directory's files are checked and read, and its form for local disks."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any, Protocol

import pyarrow.parquet as pq

from schemas.errors import ContractError, InputError
from schemas.manifest import LARGEST_MANIFEST, MANIFEST_FILE, FileEntry
from schemas.regular_file import check_inside, opened, read_bytes

AGAIN = "Pack again with jobs.pack"

Source = Path | BufferedReader  # one complete file
Opened = Callable[[str], AbstractContextManager[Any]]  # a batch file's path -> inside, its pq.ParquetFile


class Files(Protocol):
    """The files of one packed directory. ContractError names a file that differs from the manifest."""

    def check(self, entries: Iterable[FileEntry]) -> None:
        """Checks that all files exist, and as much of their sizes and sums as opening a directory reads."""

    def complete(self, name: str) -> AbstractContextManager[Source]:
        """Inside, a complete file with the right sum, to be read or mapped."""

    def row_groups(self, wanted: Sequence[tuple[str, int]]) -> AbstractContextManager[Opened]:
        """Inside, a function that opens the file of each of these (path, row group): in this order, each once."""


class LocalFiles:
    """Files on local disks, read in place; their sums are checked once, when the directory is opened."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def check(self, entries: Iterable[FileEntry]) -> None:
        """See Files: checks sizes and sums of all."""
        for entry in entries:
            _verify(self._folder, entry)

    @contextmanager
    def complete(self, name: str) -> Iterator[Source]:
        """See Files."""
        yield self._folder / name

    @contextmanager
    def row_groups(self, wanted: Sequence[tuple[str, int]]) -> Iterator[Opened]:
        """See Files. One file is open at a time: a directory may hold more files than a process may open."""
        footers: dict[str, pq.FileMetaData] = {}

        @contextmanager
        def open_file(path: str) -> Iterator[pq.ParquetFile]:
            with pq.ParquetFile(self._folder / path, metadata=footers.get(path)) as file:
                footers[path] = file.metadata
                yield file

        yield open_file


def local_manifest(folder: Path) -> bytes:
    """The text of the manifest; InputError where there is none."""
    file = folder / MANIFEST_FILE
    if not os.path.lexists(file):
        raise InputError(no_manifest(folder))
    return read_bytes(file, largest=LARGEST_MANIFEST, advice=AGAIN)


def no_manifest(where: object) -> str:
    """The message for a missing manifest."""
    return f"{where}: no {MANIFEST_FILE}, so this is no complete packed directory. Make one with jobs.pack"


def _verify(folder: Path, entry: FileEntry) -> None:
    path = check_inside(folder, entry.path, advice=AGAIN)
    if not os.path.lexists(path):
        raise ContractError(missing(path))
    with opened(path, largest=sys.maxsize, advice=AGAIN) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size != entry.bytes:
            raise ContractError(other_size(path, size, entry))
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if digest != entry.sha256:
        raise ContractError(f"{path}: sha256 {digest[:12]}…, the manifest says {entry.sha256[:12]}…. {AGAIN}")


def missing(where: object) -> str:
    """The message for a missing file."""
    return f"{where}: the manifest lists this file, but it is missing. {AGAIN}"


def other_size(where: object, size: int, entry: FileEntry) -> str:
    """The message for a file of another size."""
    return f"{where}: {size} bytes, the manifest says {entry.bytes}. {AGAIN}"

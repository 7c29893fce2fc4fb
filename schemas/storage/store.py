"""Store: the interface of every file system that feedloop uses. Keys are paths in it, with / between their parts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol


class Entry(NamedTuple):
    """A file of a store."""

    key: str
    bytes: int
    changed_us: int  # when it was written, in microseconds since 1970
    tag: str  # differs where the contents do, as far as the store reports; "" where it reports none


class Store(Protocol):
    """A file system. FileNotFoundError where a file to read is missing, InputError where it does not answer."""

    def head(self, key: str) -> Entry | None:
        """The file of this key; None where there is none."""

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """Bytes of a file: from `start` to its end, or `length` of them, fewer where it ends before."""

    def fetch(self, key: str, to: Path) -> None:
        """Copy the file to a local path."""

    def write(self, key: str, data: bytes | Path) -> None:
        """Create or replace the file atomically: no reader sees a part of it."""

    def create(self, key: str, data: bytes) -> None:
        """Create the file atomically; FileExistsError where there is one, so that one of two writers succeeds."""

    def remove(self, keys: list[str]) -> None:
        """Remove these files; missing ones are skipped."""

    def below(self, folder: str, after: str | None = None) -> Iterator[Entry]:
        """All files below a folder, by key; only keys after `after`, without listing the others."""

    def inside(self, folder: str) -> tuple[list[str], list[Entry]]:
        """The folders and the files directly in a folder, by key."""

    def remove_folder(self, folder: str) -> None:
        """Remove the folder and everything below it."""

"""Store: what feedloop asks of a file system, whatever it is. Keys are paths in it, with / between their parts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol


class Entry(NamedTuple):
    """A file of a store."""

    key: str
    bytes: int
    changed_us: int  # when it was written, in microseconds since 1970
    tag: str  # differs where the contents do, as far as the store tells; "" where it tells nothing


class Store(Protocol):
    """A file system. FileNotFoundError where a file to read is not there, InputError where it does not answer."""

    def head(self, key: str) -> Entry | None:
        """The file of this key; None where there is none."""

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """Bytes of a file: from `start` to its end, or `length` of them, fewer where it ends before."""

    def fetch(self, key: str, to: Path) -> None:
        """Copy the file to a path of this machine."""

    def write(self, key: str, data: bytes | Path) -> None:
        """Make or replace the file whole: no reader sees a part of it."""

    def create(self, key: str, data: bytes) -> None:
        """Make the file whole; FileExistsError where there is one, so that of two who try one succeeds."""

    def remove(self, keys: list[str]) -> None:
        """These files are gone; those that were not there are passed over."""

    def below(self, folder: str, after: str | None = None) -> Iterator[Entry]:
        """All files below a folder, by key; only keys behind `after`, without asking for the others."""

    def inside(self, folder: str) -> tuple[list[str], list[Entry]]:
        """The folders and the files that stand in a folder, by key."""

    def remove_folder(self, folder: str) -> None:
        """The folder and all below it are gone."""

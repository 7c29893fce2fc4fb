"""LocalStore: this machine's files by the Store interface. Keys are absolute paths."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

from schemas.storage.store import Entry


class LocalStore:
    """This machine's file system."""

    def head(self, key: str) -> Entry | None:
        """See Store."""
        return _entry(key) if os.path.isfile(key) else None

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """See Store."""
        with open(key, "rb") as stream:
            stream.seek(start)
            return stream.read(-1 if length is None else length)

    def fetch(self, key: str, to: Path) -> None:
        """See Store."""
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(key, to)

    def write(self, key: str, data: bytes | Path) -> None:
        """See Store."""
        _part_file(key, data).replace(key)

    def create(self, key: str, data: bytes) -> None:
        """See Store."""
        part = _part_file(key, data)
        try:
            os.link(part, key)  # as a rename that replaces nothing
        finally:
            part.unlink()

    def remove(self, keys: list[str]) -> None:
        """See Store."""
        for key in keys:
            Path(key).unlink(missing_ok=True)

    def below(self, folder: str, after: str | None = None) -> Iterator[Entry]:
        """See Store."""
        found = (f"{at}/{name}" for at, _, names in os.walk(folder) for name in names if not _unfinished(name))
        for key in sorted(found):
            if (after is None or key > after) and os.path.isfile(key):
                yield _entry(key)

    def inside(self, folder: str) -> tuple[list[str], list[Entry]]:
        """See Store."""
        found = sorted(os.path.join(folder, name) for name in os.listdir(folder)) if os.path.isdir(folder) else []
        return [key for key in found if os.path.isdir(key)], [_entry(key) for key in found if os.path.isfile(key)]

    def remove_folder(self, folder: str) -> None:
        """See Store."""
        if os.path.lexists(folder):
            shutil.rmtree(folder)


def _part_file(key: str, data: bytes | Path) -> Path:
    """A new file with these contents in the folder of the key's."""
    Path(key).parent.mkdir(parents=True, exist_ok=True)
    part = Path(key).with_name(f".{Path(key).name}.{uuid4().hex[:8]}.part")
    try:
        if isinstance(data, Path):
            shutil.copyfile(data, part)
        else:
            part.write_bytes(data)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return part


def _unfinished(name: str) -> bool:
    return name.startswith(".") and name.endswith(".part")


def _entry(key: str) -> Entry:
    found = os.stat(key)
    return Entry(key, found.st_size, found.st_mtime_ns // 1000, "")

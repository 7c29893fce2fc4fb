"""HadoopStore: HDFS, by a library that needs no Java."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

from schemas.errors import InputError
from schemas.storage.store import Entry

try:
    from hdfs_native.fsspec import HdfsFileSystem
except ImportError as error:
    MISSING: ImportError | None = error
else:
    MISSING = None


class HadoopStore:
    """One name node, such as hdfs://HOST:PORT."""

    def __init__(self, root: str) -> None:
        if MISSING is not None:
            raise InputError(f"{root}: HDFS needs the Python package hdfs-native ({MISSING}). Install it")
        host, _, port = root.partition("://")[2].partition(":")
        self._files: Any = HdfsFileSystem(host=host, port=int(port) if port else None)

    def head(self, key: str) -> Entry | None:
        """See Store."""
        try:
            found = self._files.info(f"/{key}")
        except FileNotFoundError:
            return None
        return _entry(found) if found["type"] == "file" else None

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """See Store."""
        with self._files.open(f"/{key}", "rb") as stream:
            stream.seek(start)
            return bytes(stream.read() if length is None else stream.read(length))

    def fetch(self, key: str, to: Path) -> None:
        """See Store."""
        to.parent.mkdir(parents=True, exist_ok=True)
        self._files.get_file(f"/{key}", str(to))

    def write(self, key: str, data: bytes | Path) -> None:
        """See Store."""
        part = self._whole(key, data)
        self._files.mv(part, f"/{key}", overwrite=True)

    def create(self, key: str, data: bytes) -> None:
        """See Store."""
        part = self._whole(key, data)
        try:
            self._files.mv(part, f"/{key}", overwrite=False)  # the name node lets one succeed
        except Exception as error:
            self._files.rm(part)
            if self.head(key) is None:
                raise
            raise FileExistsError(key) from error

    def remove(self, keys: list[str]) -> None:
        """See Store."""
        for key in keys:
            if self.head(key) is not None:
                self._files.rm(f"/{key}")

    def below(self, folder: str, after: str | None = None) -> Iterator[Entry]:
        """See Store."""
        if self._files.exists(f"/{folder}"):
            found = self._files.find(f"/{folder}", detail=True).values()
            yield from (entry for entry in sorted(map(_entry, found)) if after is None or entry.key > after)

    def inside(self, folder: str) -> tuple[list[str], list[Entry]]:
        """See Store."""
        if not self._files.exists(f"/{folder}"):
            return [], []
        found = self._files.ls(f"/{folder}", detail=True)
        folders = sorted(_key(each["name"]) for each in found if each["type"] == "directory")
        return folders, sorted(_entry(each) for each in found if each["type"] == "file")

    def remove_folder(self, folder: str) -> None:
        """See Store."""
        if self._files.exists(f"/{folder}"):
            self._files.rm(f"/{folder}", recursive=True)

    def _whole(self, key: str, data: bytes | Path) -> str:
        folder, _, name = f"/{key}".rpartition("/")
        part = f"{folder}/.{name}.{uuid4().hex[:8]}.part"
        self._files.makedirs(folder or "/", exist_ok=True)
        with self._files.open(part, "wb") as stream:
            stream.write(data.read_bytes() if isinstance(data, Path) else data)
        return part


def _key(name: str) -> str:
    return name.partition("://")[2].partition("/")[2] if "://" in name else name.lstrip("/")


def _entry(found: Any) -> Entry:
    changed = found.get("modification_time") or found.get("mtime") or 0
    return Entry(_key(found["name"]), found["size"], int(changed) * 1000, "")

"""HadoopStore: HDFS without Java; name services and Kerberos are configured by HADOOP_CONF_DIR, as for Hadoop."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from schemas.errors import InputError
from schemas.storage.store import Entry

try:
    from hdfs_native import Client, WriteOptions  # its fsspec layer truncates names at # ? and ;
except ImportError as error:
    MISSING: ImportError | None = error
else:
    MISSING = None

_AT_ONCE = 8 << 20  # bytes of a file in memory while it is sent


class HadoopStore:
    """One name node, such as hdfs://HOST:PORT."""

    def __init__(self, root: str) -> None:
        if MISSING is not None:
            raise InputError(f"{root}: HDFS needs the Python package hdfs-native ({MISSING}). Install it (extra hdfs)")
        self._root = root
        with self._answering():
            self._files: Any = Client(root)

    def head(self, key: str) -> Entry | None:
        """See Store."""
        with self._answering(key):
            found = self._info(f"/{key}")
        return None if found is None or found.isdir else _entry(found)

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """See Store."""
        with self._answering(key), self._files.read(f"/{key}") as stream:
            left = max(len(stream) - start, 0)  # a seek past the end panics
            wanted = left if length is None else min(left, length)
            return bytes(stream.read_range(start, wanted)) if wanted else b""

    def fetch(self, key: str, to: Path) -> None:
        """See Store."""
        to.parent.mkdir(parents=True, exist_ok=True)
        part = to.with_name(f".{to.name}.{uuid4().hex[:8]}.part")
        try:
            with self._answering(key), self._files.read(f"/{key}") as stream, part.open("wb") as copy:
                shutil.copyfileobj(stream, copy, _AT_ONCE)
            part.replace(to)
        finally:
            part.unlink(missing_ok=True)

    def write(self, key: str, data: bytes | Path) -> None:
        """See Store."""
        with self._answering(key), self._part_file(key, data) as part:
            self._files.rename(part, f"/{key}", True)

    def create(self, key: str, data: bytes) -> None:
        """See Store."""
        with self._answering(key), self._part_file(key, data) as part:
            try:
                self._files.rename(part, f"/{key}", False)  # the name node lets one succeed
            except Exception as error:
                if self.head(key) is None:
                    raise
                raise FileExistsError(f"{self._root}/{key}") from error

    def remove(self, keys: list[str]) -> None:
        """See Store."""
        for key in keys:
            with self._answering(key):
                if self.head(key) is not None:
                    self._files.delete(f"/{key}", False)

    def below(self, folder: str, after: str | None = None) -> Iterator[Entry]:
        """See Store."""
        _, found = self._listed(folder, recursive=True)
        yield from (entry for entry in found if after is None or entry.key > after)

    def inside(self, folder: str) -> tuple[list[str], list[Entry]]:
        """See Store."""
        return self._listed(folder, recursive=False)

    def _listed(self, folder: str, *, recursive: bool) -> tuple[list[str], list[Entry]]:
        with self._answering(folder):
            there = self._info(f"/{folder}")
            found = [*self._files.list_status(f"/{folder}", recursive)] if there is not None and there.isdir else []
        folders = sorted(_key(each.path) for each in found if each.isdir)
        return folders, sorted(_entry(each) for each in found if not each.isdir and not _unfinished(each.path))

    def _info(self, path: str) -> Any:
        try:
            return self._files.get_file_info(path)
        except FileNotFoundError:
            return None

    def remove_folder(self, folder: str) -> None:
        """See Store."""
        with self._answering(folder):
            if self._info(f"/{folder}") is not None:
                self._files.delete(f"/{folder}", True)

    @contextmanager
    def _part_file(self, key: str, data: bytes | Path) -> Iterator[str]:
        """Inside, a file with these contents in the folder of the key's; removed afterwards unless it was renamed."""
        folder, _, name = f"/{key}".rpartition("/")
        part = f"{folder}/.{name}.{uuid4().hex[:8]}.part"
        self._files.mkdirs(folder or "/", 0o755, True)
        try:
            with self._files.create(part, WriteOptions()) as stream:
                if isinstance(data, Path):
                    with data.open("rb") as local:
                        shutil.copyfileobj(local, stream, _AT_ONCE)
                else:
                    stream.write(data)
            yield part
        finally:
            if self._info(part) is not None:
                self._files.delete(part, False)

    @contextmanager
    def _answering(self, key: str = "") -> Iterator[None]:
        """Inside, errors of the library become errors that name the place."""
        try:
            yield
        except FileNotFoundError as error:
            raise FileNotFoundError(2, "there is no such file", f"{self._root}/{key}") from error
        except (FileExistsError, InputError):
            raise
        except (OSError, RuntimeError, ValueError) as error:
            reason = str(error).replace("\\n", "\n").splitlines()[0][:400]  # it includes the name node's stack
            raise InputError(
                f"{self._root}/{key}: {reason}. See that the name node answers there, that names hold no colon, and "
                "that HADOOP_CONF_DIR and HADOOP_USER_NAME are right for it"
            ) from error


def _unfinished(name: str) -> bool:
    last = name.rpartition("/")[2]
    return last.startswith(".") and last.endswith(".part")


def _key(name: str) -> str:
    return name.partition("://")[2].partition("/")[2] if "://" in name else name.lstrip("/")


def _entry(found: Any) -> Entry:
    return Entry(_key(found.path), found.length, int(found.modification_time) * 1000, "")

"""Reads the log of a Delta table that is a source of logs, without an engine: its columns, and a version's files."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError
from deltalake.fs import DeltaStorageHandler
from pyarrow.fs import PyFileSystem

from schemas.errors import InputError
from schemas.storage.place import Place

_PLAIN = re.compile(r"[\w/.=+-]*", re.ASCII)  # delta-rs decodes %20 in a path, and fails at other characters
_PHYSICAL = b"delta.columnMapping.physicalName"
_ELSEWHERE = ("/", "file:")  # beginnings of paths of files that are not below the table


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """A file of a version of a table."""

    name: str  # its path below the table
    path: str  # this path as written in the log
    bytes: int
    rows: int | None  # with the deleted ones; None: its writer kept no statistics
    partition: Mapping[str, Any]  # its values of the partition columns, which no file holds
    deleted: np.ndarray[Any, Any] = field(
        default_factory=lambda: np.zeros(0, np.int64), compare=False
    )  # numbers of rows


@dataclass(frozen=True, slots=True, kw_only=True)
class TableLog:
    """A table as it was in one version."""

    version: int
    schema: pa.Schema  # by the names in the table; `stored_name` gives those in its files
    files: tuple[StoredFile, ...]


def table_root(table: str) -> str:
    """The table's URL or absolute path."""
    place = Place.of(table)
    return str(place.path.absolute()) if place.is_local else place.text


def table_log(root: str, *, version: int | None = None) -> TableLog:
    """The table as it is now, or was in a version. InputError if there is no table, or none that can be read."""
    try:
        with _delta_rs_path(root) as place:
            table = DeltaTable(place, version=version)
            schema = pa.schema(table.schema().to_arrow())
            return TableLog(version=table.version(), schema=schema, files=tuple(_files(table)))
    except TableNotFoundError as error:
        raise InputError(f"{root}: no Delta table there. Name the folder that holds its _delta_log") from error
    except InputError as error:
        raise InputError(f"{root}: {error}") from error
    except Exception as error:  # each layer of delta-rs has exceptions of its own
        reason = str(error).splitlines()[0]
        raise InputError(f"{root}: the Delta table cannot be read ({reason}). Mend it, or write it again") from error


def open_file(root: str, name: str) -> pa.NativeFile:
    """Open the file `name` of a local or remote table."""
    if "://" not in root:
        return pa.OSFile(str(Path(root) / name))
    return PyFileSystem(DeltaStorageHandler(root)).open_input_file(name)


def stored_name(field: pa.Field) -> str:
    """The name of a field of the table's schema in the table's files."""
    return bytes((field.metadata or {}).get(_PHYSICAL, field.name.encode())).decode()


def _files(table: DeltaTable) -> Iterator[StoredFile]:
    actions = table.get_add_actions()
    paths, sizes, rows = (actions.column(name).to_pylist() for name in ("path", "size_bytes", "num_records"))
    partitions: list[dict[str, Any]] = [{}] * len(paths)
    if "partition" in actions.column_names:
        partitions = list(actions.column("partition").to_pylist())
    deleted, none = _deleted(table), np.zeros(0, np.int64)
    for path, size, count, partition in zip(paths, sizes, rows, partitions, strict=True):
        if "://" in path or path.startswith(_ELSEWHERE):
            raise InputError(f"its file {path} lies outside the table, as in a clone. Name the table that holds it")
        name = unquote(path)
        gone = deleted.pop(name, none)
        yield StoredFile(name=name, path=path, bytes=size, rows=count, partition=partition, deleted=gone)
    if deleted:
        raise InputError(f"its deleted rows are in files outside the table, such as {next(iter(deleted))}. Mend it")


def _deleted(table: DeltaTable) -> dict[str, np.ndarray[Any, Any]]:
    """The numbers of deleted rows, by the names of the files that have deletion vectors."""
    root, found = _path_of(table.table_uri), {}
    for batch in table.deletion_vectors():
        vectors = pa.array(batch.column("selection_vector"))
        for uri, vector in zip(batch.column("filepath").to_pylist(), vectors, strict=True):
            kept = np.asarray(vector.values).astype(bool)
            found[_path_of(uri).removeprefix(root).lstrip("/")] = np.flatnonzero(~kept)
    return found


def _path_of(uri: str) -> str:
    return unquote(urlsplit(uri).path) if "://" in uri else uri


@contextmanager
def _delta_rs_path(root: str) -> Iterator[str]:
    """A context with a path by which delta-rs finds the table, whatever characters its own path has."""
    if "://" in root or _PLAIN.fullmatch(root) or not Path(root).is_dir():
        yield root
        return
    with tempfile.TemporaryDirectory(prefix="feedloop-table-") as folder:
        for entry in Path(root).iterdir():
            (Path(folder) / entry.name).symlink_to(entry)
        yield folder

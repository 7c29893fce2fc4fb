"""Write: the immutable packed directory. Files first, the manifest last, then one rename: complete or absent."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.packing.assemble import Arrays
from schemas.cells import encoded
from schemas.errors import ContractError, InputError
from schemas.manifest import BATCH_FOLDER, EVALUATION_FOLDER, LARGEST_MANIFEST, MANIFEST_FILE, FileEntry, Manifest
from schemas.packed_batch import PACKED_BATCH
from schemas.regular_file import check_inside, read_bytes
from schemas.token_table import TOKEN_FOLDER, TokenTable, file_of

_PARQUET = {"compression": "zstd", "use_dictionary": False, "write_statistics": False}
BATCH_SCHEMA = pa.schema([(field.name, pa.binary()) for field in PACKED_BATCH])


@contextmanager
def directory_at(out: Path) -> Iterator[Path]:
    """Inside, a hidden folder beside `out` to build in; afterwards it is `out`, or, after an error, gone."""
    out = out.absolute()
    out.parent.mkdir(parents=True, exist_ok=True)
    _sweep(out)
    building = out.with_name(f".{out.name}.{uuid.uuid4().hex[:12]}.incomplete")
    for name in (BATCH_FOLDER, TOKEN_FOLDER, EVALUATION_FOLDER):
        (building / name).mkdir(parents=True)
    with _held(building):
        try:
            yield building
            _rename(building, out)
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise


def existing_manifest(out: Path) -> Manifest | None:
    """The manifest of a directory that stands at `out`; None if nothing is there. InputError for anything else."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    file = out / MANIFEST_FILE
    if not os.path.lexists(file):
        raise InputError(f"{out}: something stands here that is no packed directory. Name another --out, or remove it")
    try:
        manifest = Manifest.from_json(read_bytes(file, largest=LARGEST_MANIFEST), str(file))
        paths = [(check_inside(out, entry.path), entry) for entry in manifest.files]
    except ContractError as error:
        raise InputError(
            f"{out}: what stands here is of another version of feedloop, or damaged ({error}). Name another --out, or "
            "remove it"
        ) from error
    for path, entry in paths:
        if not path.is_file() or path.stat().st_size != entry.bytes:
            raise InputError(f"{path}: missing or changed since it was packed. Remove {out}, or name another --out")
    return manifest


def write_batches(path: Path, batches: Iterable[Arrays], *, superblock_batches: int) -> None:
    """A Parquet file of packed batches, one row group per superblock."""
    with pq.ParquetWriter(path, BATCH_SCHEMA, **_PARQUET) as writer:
        waiting: list[Arrays] = []
        for arrays in batches:
            waiting.append(arrays)
            if len(waiting) == superblock_batches:
                _write_superblock(writer, waiting)
                waiting = []
        if waiting:
            _write_superblock(writer, waiting)


def _write_superblock(writer: pq.ParquetWriter, batches: Sequence[Arrays]) -> None:
    cells = {field.name: [encoded(arrays[field.name]) for arrays in batches] for field in PACKED_BATCH}
    writer.write_table(pa.table(cells, BATCH_SCHEMA), row_group_size=len(batches))


def write_tokens(folder: Path, table: TokenTable) -> list[FileEntry]:
    """The token table, one .npy file per array."""
    entries = []
    for name, array in table.arrays().items():
        path = folder / file_of(name)
        np.save(path, array, allow_pickle=False)
        entries.append(entry_of(folder, path, rows=len(array)))
    return entries


def write_plain(path: Path, tables: Iterable[pa.RecordBatch], schema: pa.Schema) -> int:
    """A plain Parquet file, one row group per record batch; returns its rows."""
    rows = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in tables:
            writer.write_table(pa.Table.from_batches([batch]).cast(schema), row_group_size=batch.num_rows)
            rows += batch.num_rows
    return rows


def entry_of(folder: Path, path: Path, **more: Any) -> FileEntry:
    """What the manifest says of one file."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return FileEntry(path=path.relative_to(folder).as_posix(), sha256=digest, bytes=path.stat().st_size, **more)


def now() -> str:
    """The time that a manifest carries, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """The commit: drops files that the manifest does not list (of task attempts that lost), then writes it."""
    listed = {entry.path for entry in manifest.files}
    for path in folder.rglob("*"):
        if path.is_file() and path.relative_to(folder).as_posix() not in listed:
            path.unlink()
    with (folder / MANIFEST_FILE).open("w") as stream:
        stream.write(manifest.to_json())
        stream.flush()
        os.fsync(stream.fileno())


def _rename(building: Path, out: Path) -> None:
    try:
        building.rename(out)  # replaces an empty folder, nothing else
    except OSError as error:
        raise InputError(
            f"{out}: cannot be put in place ({error}). Name another --out, or remove what is there"
        ) from error


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Inside, the folder is locked: whoever can lock it knows that the run which built it has died."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems lock no folders; _sweep leaves those alone
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def _sweep(out: Path) -> None:
    """Remove the unfinished folders of earlier runs that have died."""
    for folder in out.parent.glob(f".{out.name}.*.incomplete"):
        handle = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue  # a living run holds it
        finally:
            os.close(handle)

"""Writes the files of a packed directory. On this machine one rename at the end makes it complete or absent."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyarrow import feather

from pipelines.packing.assemble import Arrays
from pipelines.packing.shard import IntArray
from pipelines.packing.spans import spans_of
from schemas.as_arrow import arrow_schema
from schemas.cells import npy_bytes
from schemas.errors import ContractError, InputError
from schemas.item_use import ITEM_USE_FOLDER
from schemas.manifest import BATCH_FOLDER, EVALUATION_FOLDER, LARGEST_MANIFEST, MANIFEST_FILE, FileEntry, Manifest
from schemas.packed_batch import PACKED_BATCH
from schemas.regular_file import check_inside, read_bytes
from schemas.storage.copies import published
from schemas.storage.place import Place
from schemas.token_table import ARRAYS, DTYPES, TOKEN_FOLDER, TokenTable, file_of
from schemas.trajectory import EVALUATION

_PARQUET = {"compression": "zstd", "use_dictionary": False, "write_statistics": False}
_ROW_GROUP = 10_000  # evaluation impressions
_STARTS = b"starts"
_PAD_LENGTH = {"segment_start_V1": 2, "token_start_S1": 1, "canonical_row_V": 1, "tokens_version_V": 1}  # zeros
_OFFSETS = ("segment_start_V1", "token_start_S1")
BATCH_SCHEMA = pa.schema([(field.name, pa.binary()) for field in PACKED_BATCH])


@contextmanager
def build_directory(out: Path) -> Iterator[Path]:
    """Inside, a hidden folder next to `out` to build in; then it is renamed to `out`, or removed after an error."""
    out = out.absolute()
    out.parent.mkdir(parents=True, exist_ok=True)
    _remove_dead_builds(out)
    build = hidden_sibling(out)
    for name in (BATCH_FOLDER, TOKEN_FOLDER, EVALUATION_FOLDER, ITEM_USE_FOLDER):
        (build / name).mkdir(parents=True)
    with locked(build):
        try:
            yield build
            _move_into_place(build, out)
        except BaseException:
            shutil.rmtree(build, ignore_errors=True)
            raise


def hidden_sibling(out: Path) -> Path:
    """A new hidden path next to `out`. Later runs remove a folder of such a name unless it is locked."""
    return out.with_name(f".{out.name}.{uuid.uuid4().hex[:12]}.incomplete")


def existing_manifest(out: Path) -> Manifest | None:
    """The manifest of the packed directory at `out`; None if nothing is there. InputError for anything else."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    file = out / MANIFEST_FILE
    if not os.path.lexists(file):
        raise InputError(f"{out}: exists, and is not a packed directory. Name another --out, or remove it")
    try:
        manifest = Manifest.from_json(read_bytes(file, largest=LARGEST_MANIFEST), str(file))
        paths = [(check_inside(out, entry.path), entry) for entry in manifest.files]
    except ContractError as error:
        raise InputError(
            f"{out}: its manifest is of another version of feedloop, or damaged ({error}). Name another --out, or "
            "remove it"
        ) from error
    for path, entry in paths:
        if not path.is_file() or path.stat().st_size != entry.bytes:
            raise InputError(f"{path}: missing or changed since it was packed. Remove {out}, or name another --out")
    return manifest


def write_batches(path: Path, batches: Iterable[Arrays], *, superblock_batches: int) -> None:
    """Write a Parquet file of packed batches, one row group per superblock."""
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
    cells = {field.name: [npy_bytes(arrays[field.name]) for arrays in batches] for field in PACKED_BATCH}
    writer.write_table(pa.table(cells, BATCH_SCHEMA), row_group_size=len(batches))


def write_ordered(path: Path, trajectories: pa.Table, starts: IntArray) -> None:
    """Write a shard in its order with the starts of its batches, for `read_ordered`."""
    table = trajectories.replace_schema_metadata({_STARTS: starts.astype(np.int64).tobytes()})
    feather.write_feather(table, str(path), compression="lz4")


def read_ordered(path: Path) -> tuple[pa.Table, IntArray]:
    """(trajectories in order, starts of batches) of a file from `write_ordered`."""
    table = feather.read_table(str(path), memory_map=False)
    return table, np.frombuffer(table.schema.metadata[_STARTS], np.int64)


def write_tokens(folder: Path, table: TokenTable) -> list[FileEntry]:
    """Write the token table, one .npy file per array."""
    return write_arrays(Place.of(folder), {file_of(name): array for name, array in table.arrays().items()})


def write_arrays(folder: Place, arrays: Mapping[str, NDArray[Any]]) -> list[FileEntry]:
    """Write one .npy file per array, by its path below the folder."""
    entries = []
    for name, array in arrays.items():
        with published(folder / name) as path:
            np.save(path, array, allow_pickle=False)
            entries.append(describe_file(path, name, rows=len(array)))
    return entries


def write_piece(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write what one task leaves for the driver: arrays by name, for np.load."""
    np.savez(path, **arrays)


def join_token_pieces(folder: Place, pieces: Sequence[Path], lengths: Mapping[str, int]) -> list[FileEntry]:
    """Write the files of `write_tokens` from pieces in order of their rows, one piece at a time in memory.

    `lengths`: total length of each array over the pieces. Each piece starts with its own pad.
    """
    entries = []
    for name in ARRAYS:
        pad = _PAD_LENGTH.get(name, 0)
        dtype, rows = np.dtype(DTYPES[name][0]), lengths[name] - pad * (len(pieces) - 1)
        with published(folder / file_of(name)) as path:
            with path.open("wb") as stream:
                end = 0
                for number, piece in enumerate(pieces):
                    with np.load(piece) as arrays:
                        array = arrays[name]
                    if number == 0:
                        dtype = array.dtype
                        header = {"descr": dtype.str, "fortran_order": False, "shape": (rows,)}
                        np.lib.format.write_array_header_1_0(stream, header)
                    array = array[pad if number else 0 :]
                    if name in _OFFSETS:
                        array = array + end
                        end = int(array[-1]) if len(array) else end
                    stream.write(np.ascontiguousarray(array, dtype).tobytes())
            entries.append(describe_file(path, file_of(name), rows=rows))
    return entries


def write_plain(path: Path, tables: Iterable[pa.RecordBatch], schema: pa.Schema) -> int:
    """Write a plain Parquet file, one row group per record batch; returns the number of rows."""
    rows = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in tables:
            writer.write_table(pa.Table.from_batches([batch]).cast(schema), row_group_size=batch.num_rows)
            rows += batch.num_rows
    return rows


def write_evaluation_file(path: Path, impressions: pa.Table) -> int:
    """Write a plain Parquet file of the table's EVALUATION columns; returns the number of rows."""
    chosen = impressions.select(EVALUATION.column_names).combine_chunks()
    return write_plain(path, chosen.to_batches(max_chunksize=_ROW_GROUP), arrow_schema(EVALUATION))


def entry_of(folder: Path, path: Path, **more: Any) -> FileEntry:
    """The manifest's entry of one file of a folder."""
    return describe_file(path, path.relative_to(folder).as_posix(), **more)


def describe_file(made: Path, name: str, **more: Any) -> FileEntry:
    """The manifest's entry of a local file under `name`; with `superblocks`, the spans of its row groups too."""
    if "superblocks" in more:
        more["spans"] = spans_of(made)
    with made.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return FileEntry(path=name, sha256=digest, bytes=made.stat().st_size, **more)


def now() -> str:
    """The present UTC time, in the manifest's form."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Commit: remove files that the manifest does not list (of failed task attempts), then write the manifest."""
    listed = {entry.path for entry in manifest.files}
    for path in folder.rglob("*"):
        if path.is_file() and path.relative_to(folder).as_posix() not in listed:
            path.unlink()
    with (folder / MANIFEST_FILE).open("w") as stream:
        stream.write(manifest.to_json())
        stream.flush()
        os.fsync(stream.fileno())


def _move_into_place(build: Path, out: Path) -> None:
    try:
        build.rename(out)  # replaces an empty folder, nothing else
    except OSError as error:
        raise InputError(f"{out}: cannot be created ({error}). Name another --out, or remove what is there") from error


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Inside, the folder is locked. A run that can lock it knows that the run which made it has died."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems cannot lock folders; _remove_dead_builds skips those
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def _remove_dead_builds(out: Path) -> None:
    """Remove the unfinished folders of earlier runs that have died."""
    for folder in out.parent.glob(f".{out.name}.*.incomplete"):
        handle = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue  # a live run holds the lock
        finally:
            os.close(handle)

"""Write: the files of a packed directory; on this machine the manifest last, then one rename: complete or absent."""

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
_OF_PAD = {"segment_start_V1": 2, "token_start_S1": 1, "canonical_row_V": 1, "tokens_version_V": 1}  # numbers, all 0
_OFFSETS = ("segment_start_V1", "token_start_S1")
BATCH_SCHEMA = pa.schema([(field.name, pa.binary()) for field in PACKED_BATCH])


@contextmanager
def directory_at(out: Path) -> Iterator[Path]:
    """Inside, a hidden folder beside `out` to build in; afterwards it is `out`, or, after an error, gone."""
    out = out.absolute()
    out.parent.mkdir(parents=True, exist_ok=True)
    _sweep(out)
    building = unfinished(out)
    for name in (BATCH_FOLDER, TOKEN_FOLDER, EVALUATION_FOLDER):
        (building / name).mkdir(parents=True)
    with held(building):
        try:
            yield building
            _rename(building, out)
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise


def unfinished(out: Path) -> Path:
    """A new name beside `out`; later runs remove a folder of such a name unless it is held."""
    return out.with_name(f".{out.name}.{uuid.uuid4().hex[:12]}.incomplete")


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
    cells = {field.name: [npy_bytes(arrays[field.name]) for arrays in batches] for field in PACKED_BATCH}
    writer.write_table(pa.table(cells, BATCH_SCHEMA), row_group_size=len(batches))


def write_ordered(path: Path, trajectories: pa.Table, starts: IntArray) -> None:
    """A shard in its order and the starts of its batches, for `read_ordered`."""
    table = trajectories.replace_schema_metadata({_STARTS: starts.astype(np.int64).tobytes()})
    feather.write_feather(table, str(path), compression="lz4")


def read_ordered(path: Path) -> tuple[pa.Table, IntArray]:
    """(trajectories in order, starts of batches) of a file by `write_ordered`."""
    table = feather.read_table(str(path), memory_map=False)
    return table, np.frombuffer(table.schema.metadata[_STARTS], np.int64)


def write_tokens(folder: Path, table: TokenTable) -> list[FileEntry]:
    """The token table, one .npy file per array."""
    entries = []
    for name, array in table.arrays().items():
        path = folder / file_of(name)
        np.save(path, array, allow_pickle=False)
        entries.append(entry_of(folder, path, rows=len(array)))
    return entries


def write_token_piece(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """The arrays of some rows of the token table, for `joined_tokens`."""
    np.savez(path, **arrays)


def joined_tokens(folder: Place, pieces: Sequence[Path], lengths: Mapping[str, int]) -> list[FileEntry]:
    """The files of `write_tokens`, of pieces that follow each other row by row; one piece at a time is in memory.

    `lengths`: of each array, summed over the pieces, each of which has a pad of its own.
    """
    entries = []
    for name in ARRAYS:
        of_pad = _OF_PAD.get(name, 0)
        dtype, rows = np.dtype(DTYPES[name][0]), lengths[name] - of_pad * (len(pieces) - 1)
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
                    array = array[of_pad if number else 0 :]
                    if name in _OFFSETS:
                        array = array + end
                        end = int(array[-1]) if len(array) else end
                    stream.write(np.ascontiguousarray(array, dtype).tobytes())
            entries.append(described(path, file_of(name), rows=rows))
    return entries


def write_plain(path: Path, tables: Iterable[pa.RecordBatch], schema: pa.Schema) -> int:
    """A plain Parquet file, one row group per record batch; returns its rows."""
    rows = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in tables:
            writer.write_table(pa.Table.from_batches([batch]).cast(schema), row_group_size=batch.num_rows)
            rows += batch.num_rows
    return rows


def write_evaluation_file(path: Path, impressions: pa.Table) -> int:
    """A plain Parquet file of EVALUATION's columns, which the table has among others; returns its rows."""
    chosen = impressions.select(EVALUATION.column_names).combine_chunks()
    return write_plain(path, chosen.to_batches(max_chunksize=_ROW_GROUP), arrow_schema(EVALUATION))


def entry_of(folder: Path, path: Path, **more: Any) -> FileEntry:
    """What the manifest says of one file of a folder."""
    return described(path, path.relative_to(folder).as_posix(), **more)


def described(made: Path, name: str, **more: Any) -> FileEntry:
    """What the manifest says of a file that was made here, under its name; with `superblocks`, of row groups too."""
    if "superblocks" in more:
        more["spans"] = spans_of(made)
    with made.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return FileEntry(path=name, sha256=digest, bytes=made.stat().st_size, **more)


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
def held(folder: Path) -> Iterator[None]:
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

"""Reads and writes news vectors in the Delta table EMBEDDINGS without Spark, and finds those that are up to date."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError
from numpy.typing import NDArray

from schemas.as_arrow import arrow_schema
from schemas.delta_uri import table_uri
from schemas.embedding import EMBEDDINGS
from schemas.errors import InputError
from schemas.storage.place import Place
from trainer.eval.catalogue import Catalogue, TextArray
from trainer.eval.lake_rows import delta_rows

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """The origin of vectors: source, checkpoint and version of the tokens."""

    source: str
    checkpoint: str
    checkpoint_sha256: str
    step: int
    item_tokens_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """The N news of a source, ascending by row, and the row and version of the tokens behind each vector."""

    row_N: IntArray
    id_N: TextArray
    canonical_N: IntArray
    version_N: IntArray
    """of the canonical row's tokens"""

    def at(self, mask_N: BoolArray) -> News:
        """The news that the mask shows."""
        return News(**{name: getattr(self, name)[mask_N] for name in ("row_N", "id_N", "canonical_N", "version_N")})

    @classmethod
    def of(cls, catalogue: Catalogue, tokens_version_V: NDArray[np.int32]) -> News:
        """All news of the catalogue's source; every item row if it has no ids."""
        row_N = np.flatnonzero(catalogue.news_id_V != "")
        if not len(row_N):
            row_N = np.arange(1, len(catalogue.news_id_V))
        canonical_N = catalogue.canonical_row_V[row_N].astype(np.int64)
        version_N = tokens_version_V[canonical_N].astype(np.int64)
        return cls(row_N=row_N, id_N=catalogue.news_id_V[row_N], canonical_N=canonical_N, version_N=version_N)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredVectors:
    """The vectors of one source and checkpoint in the table."""

    news: News
    vector_ND: Vectors


def stored_vectors(path: Path | Place, stamp: Stamp, news: News) -> StoredVectors | None:
    """The vectors of the stamp's checkpoint in the table at `path`; None if it has none, or those of another lake.

    InputError if they were made from newer tokens than the stamp's.
    """
    if not DeltaTable.is_deltatable(table_uri(path)):
        return None
    schema = arrow_schema(EMBEDDINGS)
    columns = {field.name: field.type for field in schema if field.name not in ("source", "checkpoint", "made_at")}
    table = delta_rows(path, columns, where=("source", stamp.source)).sort_by("item_row")
    if set(table["checkpoint_sha256"].unique().to_pylist()) != {stamp.checkpoint_sha256}:
        return None
    newest = int(table["item_tokens_version"].to_numpy().max())
    if newest > stamp.item_tokens_version:
        raise InputError(
            f"{path}: holds this checkpoint's vectors of item_tokens version {newest}, and --data was packed from "
            f"version {stamp.item_tokens_version}. Name a directory packed since, or another --out"
        )
    row_N, canonical_N, version_N = (
        table[name].to_numpy().astype(np.int64) for name in ("item_row", "canonical_row", "tokens_version")
    )
    ids = ["" if found is None else found for found in table["item_id"].to_pylist()]
    id_N = np.array(ids, object)
    at, mine = np.intersect1d(row_N, news.row_N, return_indices=True)[1:]
    if not np.array_equal(id_N[at], news.id_N[mine]):
        return None
    values = table["vector"].combine_chunks().flatten().to_numpy()
    held = News(row_N=row_N, id_N=id_N, canonical_N=canonical_N, version_N=version_N)
    return StoredVectors(news=held, vector_ND=values.reshape(len(row_N), -1))


def up_to_date(news: News, held: StoredVectors | None) -> BoolArray:
    """Mask (N,) of news whose stored vector was made from the same row at the same tokens_version."""
    current_N = np.zeros(len(news.row_N), np.bool_)
    if held is not None:
        mine, its = np.intersect1d(news.row_N, held.news.row_N, return_indices=True)[1:]
        same = news.canonical_N[mine] == held.news.canonical_N[its]
        current_N[mine] = same & (news.version_N[mine] == held.news.version_N[its])
    return current_N


def reusable_vectors(news: News, held: StoredVectors | None) -> tuple[IntArray, Vectors | None]:
    """(canonical rows whose stored vectors can be reused, ascending; these vectors)."""
    if held is None:
        return np.zeros(0, np.int64), None
    wanted_C, first_C = np.unique(news.canonical_N, return_index=True)
    known_K, its_K = np.unique(held.news.canonical_N, return_index=True)
    rows, c, k = np.intersect1d(wanted_C, known_K, return_indices=True)
    same = news.version_N[first_C[c]] == held.news.version_N[its_K[k]]
    return rows[same], held.vector_ND[its_K[k[same]]]


def table_of(news: News, vector_ND: Vectors, stamp: Stamp, made_at: datetime) -> pa.Table:
    """EMBEDDINGS rows."""
    count, width = vector_ND.shape
    offsets = np.arange(0, (count + 1) * width, width, dtype=np.int32)
    columns = {
        "source": [stamp.source] * count,
        "item_id": [found or None for found in news.id_N],
        "item_row": news.row_N,
        "canonical_row": news.canonical_N,
        "vector": pa.ListArray.from_arrays(offsets, np.ascontiguousarray(vector_ND, np.float32).reshape(-1)),
        "tokens_version": news.version_N,
        "checkpoint": [stamp.checkpoint] * count,
        "checkpoint_sha256": [stamp.checkpoint_sha256] * count,
        "step": np.full(count, stamp.step),
        "item_tokens_version": np.full(count, stamp.item_tokens_version),
        "made_at": [made_at] * count,
    }
    schema = arrow_schema(EMBEDDINGS)
    return pa.table([pa.array(columns[field.name], field.type) for field in schema], schema=schema)


def write_vectors(path: Path | Place, rows: pa.Table, source: str, *, replace_all: bool) -> None:
    """Writes rows in one commit. `replace_all`: removes all other rows of the source; else merges them by key."""
    try:
        if not DeltaTable.is_deltatable(table_uri(path)):
            write_deltalake(
                table_uri(path),
                rows,
                partition_by=list(EMBEDDINGS.partition_by),
                description=EMBEDDINGS.meaning,
                configuration={"delta.enableDeletionVectors": "false"},
            )
        elif replace_all:
            predicate = "source = '{}'".format(source.replace("'", "''"))
            write_deltalake(table_uri(path), rows, mode="overwrite", predicate=predicate)
        else:
            same = " AND ".join(f"stored.{name} = new.{name}" for name in EMBEDDINGS.key)
            merge = DeltaTable(table_uri(path)).merge(rows, same, source_alias="new", target_alias="stored")
            merge.when_matched_update_all().when_not_matched_insert_all().execute()
    except DeltaError as error:
        raise InputError(f"{path}: the vectors could not be written ({error}). Nothing has changed there") from error


def version_of(path: Path | Place) -> int:
    """The Delta version of the table at `path`."""
    return DeltaTable(table_uri(path)).version()

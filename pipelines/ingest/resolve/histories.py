"""Sixth step of ingest: stores each user's histories once, as slices of sequences.

A log repeats a user's clicks: all of them so far, or the last fifty. Histories that overlap become one sequence, and
each impression stores the offset and the length of its own. A stored sequence only grows at its end, for impressions
refer to its places: earlier clicks that are found later begin a sequence of their own. Histories that do not overlap
(re-ordered, corrected) are sequences of their own too, so every impression gets back exactly its logged history.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipelines.delta.merge import GONE, OLD, STORED
from pipelines.delta.table_ddl import literal
from pipelines.engine.scratch import Keep
from pipelines.histories import hash_of
from pipelines.ingest.batch.run_records import app_id, of_source
from pipelines.ingest.resolve.observations import text_of
from pipelines.ingest.resolve.overlaps import Placement, place_lists
from pipelines.lake.tables import Lake
from pipelines.lists import Bools, Ints, Lists, bounds_of
from schemas.impression import HISTORIES

_FOUND = "user_id string, clicks array<string>, old_hash bigint, length int, hash bigint, offset int"
_TYPES = (pa.string(), pa.list_(pa.string()), pa.int64(), pa.int32(), pa.int64(), pa.int32())
_NAMES = ("user_id", "clicks", "old_hash", "length", "hash", "offset")
_TEXT_BYTES = 8 << 20  # of texts that are processed together: about 500 MB of memory at most


def distinct_histories(lines: DataFrame) -> DataFrame:
    """Distinct (user_id, hash, text) of the histories of observations."""
    text = text_of(F.col("history")).alias("text")
    return lines.select("user_id", F.col("history_hash").alias("hash"), text).distinct()


def placed_histories(distinct: DataFrame, stored: DataFrame | None) -> DataFrame:
    """The places of each user's histories: the sequences to write for them, and offsets inside of sequences.

    `distinct` has (user_id, hash, text), `stored` is HISTORIES of one source. Keep the frame: it is costly, and
    `history_changes` and `history_offsets` both read it. One user is one row of a task.
    """
    history = F.struct("hash", "text")
    users = distinct.groupBy("user_id").agg(F.collect_list(history).alias("pieces"))
    if stored is None:
        users = users.withColumn("sequences", F.lit(None).cast("array<struct<hash:bigint,text:string>>"))
    else:
        texts = stored.select("user_id", F.col("sequence_hash").alias("hash"), text_of(F.col("clicks")).alias("text"))
        held = texts.join(distinct.select("user_id").distinct(), "user_id", how="left_semi")
        held = held.groupBy("user_id").agg(F.collect_list(history).alias("sequences"))
        users = users.join(held, "user_id", how="left")
    return users.select("user_id", "pieces", "sequences").mapInArrow(_placed, _FOUND)


def history_changes(found: DataFrame) -> DataFrame:
    """HISTORIES rows (without `source`) to write; `old`: key of the stored row that this one replaces, null = none."""
    old = F.when(F.col("old_hash").isNotNull(), F.struct("user_id", F.col("old_hash").alias("sequence_hash")))
    changes = found.where("clicks IS NOT NULL").withColumn(OLD, old)
    return changes.select("user_id", hash_of(F.col("clicks")).alias("sequence_hash"), "clicks", OLD)


def history_offsets(found: DataFrame) -> DataFrame:
    """(user_id, history_length, history_hash, history_offset) of histories that no sequence begins with."""
    names = {name: f"history_{name}" for name in ("length", "hash", "offset")}
    return found.where("clicks IS NULL").select("user_id", *names).withColumnsRenamed(names)


def with_offset(lines: DataFrame, offsets: DataFrame) -> DataFrame:
    """Adds `history_offset`, null for a history that a sequence begins with."""
    return lines.join(offsets, ["user_id", "history_length", "history_hash"], how="left")


def write_histories(lake: Lake, lines: DataFrame, source: str, batch: int, *, keep: Keep) -> DataFrame | None:
    """Extend stored sequences by the batch's histories, then append the new ones; returns the offsets of the histories
    that no sequence begins with, None if each begins one.

    In this order the next run finds all that a killed run left undone, for the append happens only once.
    """
    stored = of_source(lake, HISTORIES, source) if lake.exists(HISTORIES) else None
    found = keep(placed_histories(distinct_histories(lines), stored))
    changes = history_changes(found).withColumn("source", F.lit(source))
    if stored is not None:
        grown = changes.where(f"{OLD} IS NOT NULL").withColumn(GONE, F.lit(False))
        lake.change(HISTORIES, grown, where=f"{STORED}.source = {literal(source)}")
    new = changes.where(f"{OLD} IS NULL").drop(OLD)
    lake.append(HISTORIES, new, app_id=app_id(HISTORIES, source), app_version=batch)
    offsets = history_offsets(found)
    return None if offsets.isEmpty() else offsets


def _placed(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        pieces, sequences = _texts(batch["pieces"]), _texts(batch["sequences"])
        size = np.bincount(pieces.row, weights=pieces.bytes, minlength=batch.num_rows)
        size += np.bincount(sequences.row, weights=sequences.bytes, minlength=batch.num_rows)
        parts = np.cumsum(size).astype(np.int64) // _TEXT_BYTES
        for part in np.unique(parts):
            users = parts == part
            yield _rows_of_users(batch["user_id"], pieces.of(users), sequences.of(users))


class _Texts:
    """Histories of a batch of users: the user's place in it, hash and text of each."""

    def __init__(self, row: Ints, hash: pa.Array, text: pa.Array) -> None:
        self.row, self.hash, self.text = row, hash, text
        self.bytes = pc.binary_length(text).to_numpy(zero_copy_only=False)

    def of(self, users: Bools) -> _Texts:
        """The histories of some users, sorted by user and text: a list comes before all that begin with it."""
        which = np.flatnonzero(users[self.row])
        ended = pc.binary_join_element_wise(self.text.take(pa.array(which)), "", " ")  # a blank is less than any letter
        keys = pa.table({"row": self.row[which], "text": ended})
        order = which[pc.sort_indices(keys, [("row", "ascending"), ("text", "ascending")]).to_numpy()]
        return _Texts(self.row[order], self.hash.take(pa.array(order)), self.text.take(pa.array(order)))


def _texts(lists: pa.ListArray) -> _Texts:
    lengths = pc.fill_null(lists.value_lengths(), 0).to_numpy(zero_copy_only=False)
    every = lists.flatten()
    return _Texts(np.repeat(np.arange(len(lists)), lengths), every.field("hash"), every.field("text"))


def _rows_of_users(user_id: pa.Array, pieces: _Texts, sequences: _Texts) -> pa.RecordBatch:
    (logged, stored), names = _coded(pieces, sequences)
    found = place_lists(logged, stored)
    inner = np.flatnonzero(found.offset)
    clicks = _clicks(found, names)
    nothing = [pa.nulls(len(inner), kind) for kind in _TYPES[1:3]]
    rest = [pa.nulls(len(clicks), kind) for kind in _TYPES[3:]]
    grown = pa.array(np.maximum(found.grown, 0), mask=found.grown < 0)
    written = [user_id.take(pa.array(found.sequences.owner)), clicks, sequences.hash.take(grown), *rest]
    at = pa.array(inner)
    length, offset = (pa.array(values[inner].astype(np.int32)) for values in (logged.lengths, found.offset))
    offsets = [user_id.take(pa.array(logged.owner[inner])), *nothing, length, pieces.hash.take(at), offset]
    columns = [
        pa.concat_arrays([one.cast(kind), other.cast(kind)])
        for one, other, kind in zip(written, offsets, _TYPES, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, list(_NAMES))


def _coded(*texts: _Texts) -> tuple[list[Lists], pa.Array]:
    """The texts' ids as numbers, and the id of each number."""
    ids = [pc.split_pattern(each.text, " ") for each in texts]
    flat = pa.concat_arrays([each.flatten().cast(pa.string()) for each in ids])
    codes = flat.dictionary_encode()
    numbers = codes.indices.to_numpy().astype(np.int64)
    lists, begin = [], 0
    for each, split in zip(texts, ids, strict=True):
        lengths = split.value_lengths().to_numpy(zero_copy_only=False).astype(np.int64)
        own = numbers[begin : begin + lengths.sum()]
        begin += len(own)
        empty = each.bytes == 0  # an empty text is split into one empty piece, which is no id
        own = own[np.repeat(~empty, lengths)]
        lists.append(Lists(own, bounds_of(np.where(empty, 0, lengths)), each.row))
    return lists, codes.dictionary


def _clicks(found: Placement, names: pa.Array) -> pa.ListArray:
    flat = names.take(pa.array(found.sequences.flat))
    return pa.ListArray.from_arrays(pa.array(found.sequences.bounds.astype(np.int32)), flat)

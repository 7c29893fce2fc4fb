"""Joins impressions with their histories, which ingest stores once per user, for the stages after it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from pipelines.engine.expressions import distinct_of
from pipelines.lists import Ints, Lists, bounds_of, spread

_CLICKS = 1 << 22  # in the slices of one batch
_SLICES = "source string, user_id string, offset int, length int, clicks array<string>"
_USER = ["source", "user_id"]


def hash_of(clicks: Column) -> Column:
    """The hash by which impressions refer to their history and HISTORIES to its sequences."""
    return F.xxhash64(clicks)


def with_history(impressions: DataFrame, histories: DataFrame) -> DataFrame:
    """Impressions plus `history`, exactly as in the log; fails where HISTORIES lacks it."""
    offset = F.coalesce("history_offset", F.lit(0)).cast("int")
    slice = F.struct(offset.alias("offset"), F.col("history_length").cast("int").alias("length"))
    wanted = impressions.groupBy(*_USER).agg(distinct_of(slice).alias("slices"))
    held = histories.groupBy(*_USER).agg(F.collect_list("clicks").alias("sequences"))
    cut = wanted.join(held, _USER).select(*_USER, "slices", "sequences").mapInArrow(_cut, _SLICES)
    found = cut.select(
        *(F.col(name).alias(f"_{name}") for name in (*_USER, "offset", "length")),
        hash_of(F.col("clicks")).alias("_hash"),
        F.col("clicks").alias("_clicks"),
    )
    same = [F.col(name) == F.col(f"_{name}") for name in _USER]
    same += [offset == F.col("_offset"), F.col("history_length") == F.col("_length")]
    impression = F.concat_ws(" ", "source", "impression_id", "user_id")
    lost = F.raise_error(F.concat(F.lit("table histories lacks the history of impression "), impression))
    return (
        impressions.join(found, [*same, F.col("history_hash") == F.col("_hash")], how="left")
        .withColumn("history", F.coalesce("_clicks", lost.cast("array<string>")))
        .drop(*found.columns)
    )


def _cut(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Each user's slices of each of the user's sequences, each content of a slice once."""
    for batch in batches:
        sequences, slices = batch["sequences"].flatten(), batch["slices"].flatten()
        held, user = _owned(sequences, batch["sequences"]), _rows(batch["slices"])
        offset, length = (slices.field(name).to_numpy() for name in ("offset", "length"))
        users = bounds_of(np.bincount(held.owner, minlength=batch.num_rows))
        many = np.diff(users)[user]  # each slice is cut from each sequence of its user
        which, of = spread(users[user], many), np.repeat(np.arange(len(user)), many)
        fits = offset[of] + length[of] <= held.lengths[which]
        which, of = which[fits], of[fits]
        keys = np.rec.fromarrays((of, held.hashes(which, offset[of].astype(np.int64), length[of].astype(np.int64))))
        once = np.unique(keys, return_index=True)[1]
        which, of = which[once], of[once]
        for part in np.array_split(np.arange(len(of)), 1 + int(length[of].sum()) // _CLICKS):
            yield _slices(batch, user[of[part]], offset[of[part]], length[of[part]], held.bounds[which[part]])


def _owned(sequences: pa.ListArray, of_user: pa.ListArray) -> Lists:
    flat = sequences.flatten().dictionary_encode().indices.to_numpy().astype(np.int64)
    return Lists(flat, bounds_of(sequences.value_lengths().to_numpy().astype(np.int64)), _rows(of_user))


def _rows(lists: pa.ListArray) -> Ints:
    """The row of each element."""
    return np.repeat(np.arange(len(lists)), lists.value_lengths().to_numpy())


def _slices(batch: pa.RecordBatch, user: Ints, offset: Ints, length: Ints, begin: Ints) -> pa.RecordBatch:
    at = spread(begin + offset, length.astype(np.int64))
    clicks = batch["sequences"].flatten().flatten().take(pa.array(at))
    columns = [
        batch["source"].take(pa.array(user)),
        batch["user_id"].take(pa.array(user)),
        pa.array(offset.astype(np.int32)),
        pa.array(length.astype(np.int32)),
        pa.ListArray.from_arrays(pa.array(bounds_of(length).astype(np.int32)), clicks),
    ]
    return pa.RecordBatch.from_arrays(columns, [*_USER, "offset", "length", "clicks"])

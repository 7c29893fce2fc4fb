"""Tasks: what one task does with its shard or its rows; thin shells around the numpy functions beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, Row, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from pipelines.engine.groups import per_group, per_row
from pipelines.packing.assemble import Arrays, assemble, facts_of
from pipelines.packing.budget import TokenCounts
from pipelines.packing.ordering import Recipe, items_in_time_order, ordered
from pipelines.packing.shard import Shard
from pipelines.packing.sharding import hour_of, in_time_order
from pipelines.packing.write import read_ordered, write_batches, write_evaluation_file, write_ordered
from schemas.manifest import BATCH_FOLDER, EVALUATION_FOLDER
from schemas.trajectory import EVALUATION

LISTED = ("targets", "weights", "items", "trajectories")  # of each batch, as the manifest lists them
SUMMED = ("clicks", "item_occurrences", "items_per_target_sample")  # of all batches of a file
_WRITTEN = pa.schema(
    [
        ("shard", pa.int32()),
        ("variant", pa.int32()),
        ("path", pa.string()),
        ("item_row", pa.list_(pa.int32())),
        *((name, pa.list_(pa.float64() if name == "weights" else pa.int64())) for name in LISTED),
        *((name, pa.int64()) for name in SUMMED),
    ]
)
_KEPT = ("variant", "click_row", "prefix", "candidate_row", "weight", "logged")  # of an ordered shard


def order_shards(sharded: DataFrame, recipe: Recipe, folder: Path, tokens_V: TokenCounts | None = None) -> list[Row]:
    """(shard, batches, items_in_time_order, path) of each shard, whose trajectories lie in order in that file of
    `folder`: the costly part, done once.
    """

    def order_one(table: pa.Table) -> pa.Table:
        number = table["shard"][0].as_py()
        table = in_time_order(table)
        shard = Shard.from_arrow(table)
        order, starts = ordered(shard, recipe, number, tokens_V)
        path = f"ordered-{number:05d}-{_unique()}.arrow"
        write_ordered(folder / path, table.select(_KEPT).take(order), starts)
        found = {"batches": len(starts) - 1, "items_in_time_order": items_in_time_order(shard, recipe, tokens_V)}
        return pa.table({"shard": pa.array([number], pa.int32()), "path": [path]} | {n: [v] for n, v in found.items()})

    found = "shard int, path string, batches long, items_in_time_order long"
    columns = sharded.select("shard", "fingerprint", "time", *_KEPT)
    return _once(per_group(columns, ["shard"], order_one, found).collect())


def write_shards(
    spark: SparkSession, paths: Mapping[int, Path], folder: Path, first_batch: Mapping[int, int], *, superblock: int
) -> DataFrame:
    """One Parquet file of `folder` per shard, which lies in order at its path; (path, facts, distinct items) of each.

    `superblock`: batches of a row group.
    """
    rows = [(shard, str(path), first_batch[shard]) for shard, path in sorted(paths.items())]
    shards = spark.createDataFrame(rows, "shard int, path string, first_batch long")
    write = partial(_write_shard, folder=folder, superblock=superblock)
    return per_row(shards, len(rows), "shard", write, from_arrow_schema(_WRITTEN))


def _write_shard(row: pa.Table, *, folder: Path, superblock: int) -> pa.Table:
    number, ordered_path, first_batch = (row[name][0].as_py() for name in ("shard", "path", "first_batch"))
    table, starts = read_ordered(Path(ordered_path))
    shard = Shard.from_arrow(table)
    path = f"{BATCH_FOLDER}/shard-{number:05d}-{_unique()}.parquet"
    listed: dict[str, list[float]] = {name: [] for name in LISTED}
    summed = dict.fromkeys(SUMMED, 0)

    def batches() -> Iterator[Arrays]:
        for index, (start, stop) in enumerate(pairwise(starts)):
            arrays = assemble(shard, int(start), int(stop), batch_id=first_batch + index)
            facts = facts_of(arrays)
            for name in LISTED:
                listed[name].append(facts[name])
            for name in SUMMED:
                summed[name] += int(facts[name])
            yield arrays

    write_batches(folder / path, batches(), superblock_batches=superblock)
    rows = np.unique(np.concatenate([shard.click_row, shard.candidate_row])).astype(np.int32)
    found: dict[str, Any] = {"shard": number, "variant": table["variant"][0].as_py(), "path": path}
    return pa.Table.from_pylist([found | {"item_row": rows.tolist()} | listed | summed], _WRITTEN)


def write_evaluation(evaluation: DataFrame, folder: Path, *, rows_per_file: int) -> list[Row]:
    """The impressions as Parquet files whose names stand in time order; (file, path, rows) of each.

    Which file holds an impression depends on the data alone; the last file is the only one with fewer rows.
    """
    per_hour = evaluation.groupBy(hour_of("time").alias("hour")).agg(F.count("*").alias("impressions"))
    earlier = Window.partitionBy(F.lit(0)).orderBy("hour").rowsBetween(Window.unboundedPreceding, -1)
    before = per_hour.select("hour", F.coalesce(F.sum("impressions").over(earlier), F.lit(0)).alias("before"))
    in_hour = Window.partitionBy("hour").orderBy("time", "impression_id", "user_id")
    placed = evaluation.withColumn("hour", hour_of("time")).join(before, "hour", "inner")
    placed = placed.withColumn("place", F.col("before") + F.row_number().over(in_hour) - 1)
    placed = placed.withColumn("file", F.floor(F.col("place") / rows_per_file).cast("int"))

    def write(table: pa.Table) -> pa.Table:
        number = table["file"][0].as_py()
        path = f"{EVALUATION_FOLDER}/impressions-{number:05d}-{_unique()}.parquet"
        rows = write_evaluation_file(folder / path, table)
        return pa.table({"file": pa.array([number], pa.int32()), "path": [path], "rows": [rows]})

    columns = placed.select("file", "place", *EVALUATION.column_names)
    found = per_group(columns, ["file"], write, "file int, path string, rows long", order=["place"])
    return _once(found.collect())


def _once(rows: list[Row]) -> list[Row]:
    """The rows by their first column, of which each value stands once: no group was cut in two."""
    found = sorted(rows, key=lambda row: int(row[0]))
    assert all(earlier[0] < later[0] for earlier, later in pairwise(found)), "the engine cut a group in two"
    return found


def _unique() -> str:
    """Names this try of the task: a second try, or a speculative twin, never writes over the first one's file."""
    return uuid4().hex

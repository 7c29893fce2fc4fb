"""The work of one engine task on its shard or rows: thin wrappers of this package's numpy functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame, Row, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from pipelines.engine.groups import per_group, per_row
from pipelines.packing.assemble import Arrays, assemble, facts_of
from pipelines.packing.budget import TokenCounts
from pipelines.packing.item_use import held_in_shard, rows_in_evaluation
from pipelines.packing.orders import Recipe, items_in_time_order, order_and_cut
from pipelines.packing.shard import Shard
from pipelines.packing.sharding import hour_of, in_time_order
from pipelines.packing.spans import spans_of
from pipelines.packing.write import (
    describe_file,
    read_ordered,
    write_batches,
    write_evaluation_file,
    write_ordered,
    write_piece,
)
from schemas.manifest import BATCH_FOLDER, EVALUATION_FOLDER, FileEntry
from schemas.storage.copies import fetched, published
from schemas.storage.place import Place
from schemas.trajectory import EVALUATION

LISTED = ("targets", "weights", "items", "trajectories")  # counts of each batch in the manifest
SUMMED = ("clicks", "item_occurrences", "items_per_target_sample")  # counts summed over the batches of a file
_WRITTEN = pa.schema(
    [
        ("shard", pa.int32()),
        ("variant", pa.int32()),
        ("path", pa.string()),
        ("sha256", pa.string()),
        ("bytes", pa.int64()),
        ("span_bytes", pa.list_(pa.int64())),
        ("span_sha256", pa.list_(pa.string())),
        ("use", pa.string()),
        *((name, pa.list_(pa.float64() if name == "weights" else pa.int64())) for name in LISTED),
        *((name, pa.int64()) for name in SUMMED),
    ]
)
_KEPT = ("variant", "click_row", "prefix", "candidate_row", "weight", "logged")  # of an order_and_cut shard


def order_shards(sharded: DataFrame, recipe: Recipe, folder: Place, tokens_V: TokenCounts | None = None) -> list[Row]:
    """(shard, batches, items_in_time_order, path) of each shard. The file at `path` in `folder` holds its trajectories
    in order. This is the costly part, done once.
    """

    def order_one(table: pa.Table) -> pa.Table:
        number = table["shard"][0].as_py()
        table = in_time_order(table)
        shard = Shard.from_arrow(table)
        order, starts = order_and_cut(shard, recipe, number, tokens_V)
        path = f"order_and_cut-{number:05d}-{_unique()}.arrow"
        with published(folder / path) as at:
            write_ordered(at, table.select(_KEPT).take(order), starts)
        found = {"batches": len(starts) - 1, "items_in_time_order": items_in_time_order(shard, recipe, tokens_V)}
        return pa.table({"shard": pa.array([number], pa.int32()), "path": [path]} | {n: [v] for n, v in found.items()})

    found = "shard int, path string, batches long, items_in_time_order long"
    columns = sharded.select("shard", "fingerprint", "time", *_KEPT)
    return _once(per_group(columns, ["shard"], order_one, found).collect())


def write_shards(
    spark: SparkSession,
    paths: Mapping[int, Place],
    folder: Place,
    first_batch: Mapping[int, int],
    *,
    superblock: int,
    work: Place,
) -> list[Row]:
    """Write one Parquet file of `folder` per shard, whose ordered trajectories are at its path; returns (entry, facts,
    file of its item use in `work`) of each.

    `superblock`: batches of a row group.
    """
    rows = [(shard, str(path), first_batch[shard]) for shard, path in sorted(paths.items())]
    shards = spark.createDataFrame(rows, "shard int, path string, first_batch long")
    write = partial(_write_shard, folder=folder, superblock=superblock, work=work)
    return _once(per_row(shards, len(rows), "shard", write, from_arrow_schema(_WRITTEN)).collect())


def _write_shard(row: pa.Table, *, folder: Place, superblock: int, work: Place) -> pa.Table:
    number, ordered_path, first_batch = (row[name][0].as_py() for name in ("shard", "path", "first_batch"))
    with fetched(Place(ordered_path)) as at:
        table, starts = read_ordered(at)
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

    with published(folder / path) as at:
        write_batches(at, batches(), superblock_batches=superblock)
        spans = spans_of(at)
        cut = {"span_bytes": [span.bytes for span in spans], "span_sha256": [span.sha256 for span in spans]}
        written = _written(at, path) | cut
    use = _write_use(work, f"use-{number:05d}", held_in_shard(shard.click_row, shard.candidate_row)._asdict())
    found: dict[str, Any] = {"shard": number, "variant": table["variant"][0].as_py(), "use": use} | written
    return pa.Table.from_pylist([found | listed | summed], _WRITTEN)


def _write_use(work: Place, name: str, arrays: Mapping[str, NDArray[Any]]) -> str:
    path = f"{name}-{_unique()}.npz"
    with published(work / path) as at:
        write_piece(at, arrays)
    return path


def write_evaluation(evaluation: DataFrame, folder: Place, *, rows_per_file: int, work: Place) -> list[Row]:
    """Write the impressions as Parquet files, numbered by time; returns (file, rows, its entry, file of its item use in
    `work`) of each.

    The file of an impression depends on the data alone. Only the last file has fewer rows.
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
        with published(folder / path) as at:
            rows = write_evaluation_file(at, table)
            use = _write_use(work, f"evaluation-use-{number:05d}", {"rows": rows_in_evaluation(table)})
            made = {"file": pa.array([number], pa.int32()), "rows": [rows], "use": [use]}
            return pa.table(made | {name: [value] for name, value in _written(at, path).items()})

    columns = placed.select("file", "place", *EVALUATION.column_names)
    found = "file int, rows long, use string, path string, sha256 string, bytes long"
    return _once(per_group(columns, ["file"], write, found, order=["place"]).collect())


def entry(row: Row, **more: Any) -> FileEntry:
    """The manifest's entry of a file that a task wrote, from the task's row."""
    return FileEntry(path=row["path"], sha256=row["sha256"], bytes=row["bytes"], **more)


def _written(made: Path, name: str) -> dict[str, Any]:
    found = describe_file(made, name)
    return {"path": found.path, "sha256": found.sha256, "bytes": found.bytes}


def _once(rows: list[Row]) -> list[Row]:
    """The rows, sorted by their first column. Its values must be distinct: the engine must not split a group."""
    found = sorted(rows, key=lambda row: int(row[0]))
    assert all(earlier[0] < later[0] for earlier, later in pairwise(found)), "the engine split a group"
    return found


def _unique() -> str:
    """A name for this attempt of the task: a retry or a speculative copy never overwrites the file of another."""
    return uuid4().hex

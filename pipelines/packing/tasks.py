"""Tasks: what one Spark task does with its shard or its rows; thin shells around the numpy functions beside them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark import TaskContext
from pyspark.sql import DataFrame, Row
from pyspark.sql.pandas.types import from_arrow_schema, to_arrow_schema

from pipelines.packing.assemble import FACTS, Arrays, assemble, facts_of
from pipelines.packing.ordering import Recipe, items_in_time_order, ordered
from pipelines.packing.shard import IntArray, Shard
from pipelines.packing.sharding import in_time_order
from pipelines.packing.write import write_batches, write_plain
from schemas.as_spark import spark_schema
from schemas.manifest import BATCH_FOLDER, EVALUATION_FOLDER
from schemas.trajectory import EVALUATION

_WRITTEN = pa.schema(
    [
        ("shard", pa.int32()),
        ("variant", pa.int32()),
        ("path", pa.string()),
        ("item_row", pa.list_(pa.int32())),
        *((name, pa.list_(pa.float64() if name == "weights" else pa.int64())) for name in FACTS),
    ]
)
_TASK_COLUMNS = ("shard", "variant", "fingerprint", "time", "click_row", "prefix", "candidate_row", "weight", "logged")


def order_shards(sharded: DataFrame, recipe: Recipe, tokens_V: IntArray | None = None) -> DataFrame:
    """(shard, batches, items_in_time_order, order, starts) of each shard: the costly part, kept for `write_shards`."""
    told = None if tokens_V is None else sharded.sparkSession.sparkContext.broadcast(tokens_V)

    def order_one(key: tuple[Any, ...], table: pa.Table) -> pa.Table:
        number = key[0].as_py()
        shard = Shard.from_arrow(in_time_order(table))
        tokens = None if told is None else told.value
        order, starts = ordered(shard, recipe, number, tokens)
        counts = {"batches": [len(starts) - 1], "items_in_time_order": [items_in_time_order(shard, recipe, tokens)]}
        cells = {"order": [order.astype(np.int32).tobytes()], "starts": [starts.astype(np.int32).tobytes()]}
        return pa.table({"shard": pa.array([number], pa.int32())} | counts | cells)

    grouped = sharded.select(*_TASK_COLUMNS).groupBy("shard")
    found = "shard int, batches long, items_in_time_order long, order binary, starts binary"
    return grouped.applyInArrow(order_one, found)


def write_shards(
    sharded: DataFrame, orders: DataFrame, folder: Path, first_batch: Mapping[int, int], *, superblock_batches: int
) -> list[Row]:
    """One Parquet file per shard; returns (path, facts of each batch, distinct items) of each, by shard."""

    def write(key: tuple[Any, ...], table: pa.Table, order: pa.Table) -> pa.Table:
        number = key[0].as_py()
        places, starts = (np.frombuffer(order[name][0].as_py(), np.int32) for name in ("order", "starts"))
        shard = Shard.from_arrow(in_time_order(table).take(places))
        path = f"{BATCH_FOLDER}/shard-{number:05d}-{_attempt()}.parquet"
        facts: dict[str, list[float]] = {name: [] for name in FACTS}

        def batches() -> Iterator[Arrays]:
            for index, (start, stop) in enumerate(pairwise(starts)):
                arrays = assemble(shard, int(start), int(stop), batch_id=first_batch[number] + index)
                for name, value in facts_of(arrays).items():
                    facts[name].append(value)
                yield arrays

        write_batches(folder / path, batches(), superblock_batches=superblock_batches)
        rows = np.unique(np.concatenate([shard.click_row, shard.candidate_row])).astype(np.int32)
        variant = table["variant"][0].as_py()
        row = {"shard": number, "variant": variant, "path": path, "item_row": rows.tolist()} | facts
        return pa.Table.from_pylist([row], _WRITTEN)

    grouped = sharded.select(*_TASK_COLUMNS).groupBy("shard").cogroup(orders.groupBy("shard"))
    written = grouped.applyInArrow(write, from_arrow_schema(_WRITTEN))
    return sorted(written.collect(), key=lambda row: int(row["shard"]))


def write_evaluation(evaluation: DataFrame, folder: Path) -> tuple[str, int]:
    """All evaluation impressions as one Parquet file in time order; returns (path, rows)."""

    def write(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        path = f"{EVALUATION_FOLDER}/impressions-{_attempt()}.parquet"
        rows = write_plain(folder / path, batches, evaluation_schema)
        yield pa.RecordBatch.from_pydict({"path": [path], "rows": [rows]})

    evaluation_schema = to_arrow_schema(spark_schema(EVALUATION))
    ordered_rows = evaluation.repartition(1).sortWithinPartitions("time", "impression_id", "user_id")
    (row,) = ordered_rows.select(*EVALUATION.column_names).mapInArrow(write, "path string, rows long").collect()
    return row["path"], row["rows"]


def _attempt() -> str:
    """Names this try of the task: a second try, or a speculative twin, never writes over the first one's file."""
    context = TaskContext.get()
    assert context is not None, "runs inside a Spark task"
    return f"{context.taskAttemptId():08d}"

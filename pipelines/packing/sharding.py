"""Divides trajectories into shards, the work of one task each: by time range, by items, or at random.

A trajectory's shard depends on the data alone, never on Spark's partitions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import IntegerType, StructField, StructType

from pipelines.engine.groups import per_group
from pipelines.packing.graph import Graph
from pipelines.packing.sampled_key import SampledKey
from pipelines.packing.shard import IntArray, Shard

ShardBy = Literal["time", "items", "random"]

_SAMPLED_SHARE = 0.1  # of the trajectories train the sampled key, up to
_MOST_SAMPLED = 50_000
_CELL_TRAJECTORIES = 20_000  # assigned to shards by one task, approximately
_MAX_LOAD = 1.25  # of a time range, relative to a full shard; an hour above it is split by content
_MOST_SHARDS = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """The approximate size of one shard. Both numbers bound the memory and the time of its task."""

    trajectories: int
    pins: int  # clicks and candidates

    def of(self, trajectories: IntArray, pins: IntArray) -> Any:
        """The load as a multiple of a full shard."""
        return np.maximum(trajectories / self.trajectories, pins / self.pins)


@dataclass(frozen=True, slots=True)
class Range:
    """The hours from `first_hour` up to the next range, and their shards."""

    first_hour: int
    first_shard: int
    parts: int  # shards; more than one if a single hour is too large for one


def with_fingerprint(trajectories: DataFrame) -> DataFrame:
    """Adds `fingerprint`, a content hash that orders trajectories of one time, and replaces a null `variant` by 0."""
    content = F.xxhash64("click_row", "prefix", "candidate_row", "weight", "logged")
    return trajectories.withColumns({"fingerprint": content, "variant": F.coalesce("variant", F.lit(0))})


def with_shard(trajectories: DataFrame, *, by: ShardBy, load: Load, seed: int) -> DataFrame:
    """Adds `shard`, numbered from 0 over all variants. Every variant is divided by the same rule."""
    hours = per_hour(trajectories.where("variant = 0")).collect()
    columns = [np.array([row[name] for row in hours], np.int64) for name in ("hour", "trajectories", "pins")]
    if by == "time":
        ranges = time_ranges(*columns, load=load)
        shards = ranges[-1].first_shard + ranges[-1].parts
        placed = trajectories.withColumn("shard", _shard_of(ranges))
    else:
        _, counts, pins = columns
        shards = max(1, int(np.ceil(load.of(counts.sum(), pins.sum()))))
        if by == "random":
            placed = trajectories.withColumn("shard", _random_number(seed, shards))
        else:
            placed = _by_items(trajectories, shards=shards, count=int(counts.sum()), seed=seed)
    return placed.withColumn("shard", (F.col("variant") * shards + F.col("shard")).cast("int"))


def per_hour(trajectories: DataFrame) -> DataFrame:
    """(hour since 1970, trajectories, pins) of every hour with trajectories."""
    pins = F.size("click_row") + F.aggregate("candidate_row", F.lit(0), lambda sum_, each: sum_ + F.size(each))
    return trajectories.groupBy(hour_of("time").alias("hour")).agg(
        F.count("*").alias("trajectories"), F.sum(pins).alias("pins")
    )


def time_ranges(hours: IntArray, trajectories: IntArray, pins: IntArray, *, load: Load) -> list[Range]:
    """Consecutive hours joined into shards of even load; an hour above the maximum load is split by content."""
    order = np.argsort(hours)
    loads = load.of(trajectories[order], pins[order])
    even = loads.sum() / max(1, np.ceil(loads.sum()))
    found: list[Range] = []
    held, next_shard = np.inf, 0
    for hour, more in zip(hours[order].tolist(), loads.tolist(), strict=True):
        if held >= even or held + more > _MAX_LOAD:
            parts = int(np.ceil(more)) if more > _MAX_LOAD else 1
            found.append(Range(hour, next_shard, parts))
            held, next_shard = 0.0, next_shard + parts
        held += more
    return found


def _shard_of(ranges: Sequence[Range]) -> Column:
    """The shard of each row: its range by time, and the part of the range by content."""
    starts, first, parts = (F.array(*(F.lit(getattr(each, name)) for each in ranges)) for name in Range.__slots__)
    place = F.size(F.filter(starts, lambda start: start <= hour_of("time")))
    return F.element_at(first, place) + F.pmod(F.xxhash64("fingerprint"), F.element_at(parts, place))


def _by_items(trajectories: DataFrame, *, shards: int, count: int, seed: int) -> DataFrame:
    share = min(_SAMPLED_SHARE, _MOST_SAMPLED / count)
    in_sample = _random_number(seed + 1, _MOST_SHARDS) < round(share * _MOST_SHARDS)
    sample = trajectories.where(in_sample & (F.col("variant") == 0)).toArrow()
    if sample.num_rows < 2 * shards:
        return trajectories.withColumn("shard", _random_number(seed, shards))  # too few to learn from
    key = SampledKey.learn(Graph.from_shard(Shard.from_arrow(in_time_order(sample))), shards=shards, seed=seed)

    def assign(cell: pa.Table) -> pa.Table:
        cell = in_time_order(cell)
        found = key.assign(Graph.from_shard(Shard.from_arrow(cell)))
        return cell.append_column("shard", pa.array(found.astype(np.int32)))

    fields = StructType([*trajectories.schema, StructField("shard", IntegerType())])
    cells = trajectories.withColumn("cell", _random_number(seed + 2, -(-count // _CELL_TRAJECTORIES)))
    return per_group(cells, ["variant", "cell"], lambda cell: assign(cell.drop_columns(["cell"])), fields)


def in_time_order(table: pa.Table) -> pa.Table:
    """The rows by time, then by the fingerprint of their content, so that neither row order nor user ids matter.
    Trajectories that agree in both are interchangeable.
    """
    time = table["time"].cast(pa.int64()).to_numpy()
    return table.take(np.lexsort((table["fingerprint"].to_numpy(), time)))


def _random_number(seed: int, below: int) -> Column:
    """A random integer from 0 to below - 1, drawn by hash of the content."""
    return F.pmod(F.xxhash64(F.lit(seed).cast("long"), "fingerprint"), F.lit(below)).cast("int")


def hour_of(time: str) -> Column:
    """Hours since 1970 of a timestamp column."""
    return F.floor(F.unix_seconds(time) / 3600)

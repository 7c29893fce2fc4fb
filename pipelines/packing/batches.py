"""Batches: the trajectories of a source -> batch files of a directory that is being built, and what they hold."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyspark import StorageLevel
from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from pipelines.packing import tasks
from pipelines.packing.budget import Budget, superblock_size
from pipelines.packing.config import PackingConfig
from pipelines.packing.ordering import Recipe
from pipelines.packing.shard import IntArray
from pipelines.packing.sharding import Load, with_fingerprint, with_shard
from pipelines.packing.write import entry_of
from schemas.manifest import FileEntry, Superblock

_SUMMED = ("trajectories", "targets", "clicks", "item_occurrences", "items_per_target_sample")


def pack_batches(
    folder: Path, trajectories: DataFrame, items: DataFrame, config: PackingConfig
) -> tuple[list[FileEntry], dict[str, int]]:
    """One file per shard, as the manifest lists them, and the counts of all; each shard is ordered once."""
    load = Load(trajectories=config.shard_trajectories, pins=config.shard_pins)
    by = "random" if config.order == "random" else config.shard_by
    sharded = with_shard(with_fingerprint(trajectories), by=by, load=load, seed=config.seed)
    if by == "items":  # assigned once, for what follows reads it three times
        sharded = sharded.persist(StorageLevel.DISK_ONLY)
    budget = Budget(trajectories=config.batch_trajectories, items=config.batch_items)
    tokens_V = None
    if config.batch_tokens:
        budget = Budget(trajectories=budget.trajectories, items=budget.items, tokens=config.batch_tokens)
        tokens_V = _tokens(items)
    recipe = Recipe(
        order=config.order,
        budget=budget,
        superblock=_superblock(_batches_at_least(sharded, config.batch_trajectories), config),
        mixing=config.mixing,
        seed=config.seed,
    )
    orders = tasks.order_shards(sharded, recipe, tokens_V).persist(StorageLevel.DISK_ONLY)
    try:
        told = orders.select("shard", "batches", "items_in_time_order").collect()
        batches = {row["shard"]: row["batches"] for row in told}
        first_batch = dict(
            zip(sorted(batches), accumulate([0, *(batches[shard] for shard in sorted(batches))]), strict=False)
        )
        size = _superblock(sum(batches.values()), config)
        written = tasks.write_shards(sharded, orders, folder, first_batch, superblock_batches=size)
    finally:
        orders.unpersist()
        sharded.unpersist()
    files = [_entry(folder, row, first_batch, size) for row in written]
    more = {
        "distinct_items_time_order": sum(row["items_in_time_order"] for row in told),
        "superblocks": sum(len(entry.superblocks) for entry in files),
        "variants": config.variants,
    }
    return files, _counts(written) | more


def _superblock(batches: int, config: PackingConfig) -> int:
    """Of so many batches: each epoch reads one variant."""
    return superblock_size(batches // config.variants, wanted=config.superblock_batches)


def _batches_at_least(sharded: DataFrame, batch_trajectories: int) -> int:
    """How many there will be if no other budget cuts them shorter."""
    per_shard = sharded.groupBy("shard").agg(F.ceil(F.count("*") / batch_trajectories).alias("batches"))
    return int(per_shard.agg(F.sum("batches")).collect()[0][0])


def _tokens(items: DataFrame) -> IntArray:
    """Tokens of each item row, all segments together; 0 for the pad."""
    summed = F.aggregate("segment_tokens", F.lit(0), lambda sum_, segment: sum_ + F.size(segment))
    table: pa.Table = items.select("item_row", summed.alias("tokens")).toArrow()
    tokens_V = np.zeros(len(table) + 1, np.int64)
    tokens_V[table["item_row"].to_numpy()] = table["tokens"].to_numpy()
    return tokens_V


def _entry(folder: Path, row: Row, first_batch: Mapping[int, int], size: int) -> FileEntry:
    superblocks = _superblocks(row, first_batch[row["shard"]], size)
    return entry_of(folder, folder / row["path"], rows=len(row["targets"]), superblocks=superblocks)


def _superblocks(row: Row, first_batch: int, size: int) -> tuple[Superblock, ...]:
    """The row groups of one shard's file."""
    count = len(row["targets"])
    return tuple(
        Superblock(
            batches=tuple(range(first_batch + start, first_batch + min(start + size, count))),
            targets=tuple(row["targets"][start : start + size]),
            weights=tuple(row["weights"][start : start + size]),
            items=tuple(row["items"][start : start + size]),
            trajectories=sum(row["trajectories"][start : start + size]),
            variant=row["variant"],
        )
        for start in range(0, count, size)
    )


def _counts(written: list[Row]) -> dict[str, int]:
    """Of all variants together, but for `distinct_items`."""
    counts = {name: sum(sum(row[name]) for row in written) for name in _SUMMED}
    distinct = len(np.unique(np.concatenate([np.array(row["item_row"], np.int32) for row in written])))
    return counts | {
        "batches": sum(len(row["targets"]) for row in written),
        "distinct_items": distinct,
        "distinct_items_per_epoch": sum(sum(row["items"]) for row in written),
    }

"""Packs the trajectories of a source into the batch files of a new directory, and counts what they hold."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from pipelines.engine.scratch import Keep
from pipelines.packing import tasks
from pipelines.packing.budget import Budget
from pipelines.packing.budget import superblock_size as sized
from pipelines.packing.config import PackingConfig
from pipelines.packing.item_use import Piece
from pipelines.packing.orders import Recipe
from pipelines.packing.sharding import Load, with_fingerprint, with_shard
from pipelines.packing.token_files import RowTokens
from schemas.manifest import FileEntry, Superblock
from schemas.spans import Span
from schemas.storage.place import Place


def pack_batches(
    folder: Place, trajectories: DataFrame, config: PackingConfig, *, work: Place, keep: Keep
) -> tuple[list[FileEntry], dict[str, int], list[Piece]]:
    """One file per shard, as the manifest lists them, their total counts, and the files in `work` of what each holds of
    the item rows. Each shard is ordered once.

    `folder` already holds the token table. `work` holds files that one task leaves for another; all tasks reach it.
    """
    load = Load(trajectories=config.shard_trajectories, pins=config.shard_pins)
    by = "random" if config.order == "random" else config.shard_by
    sharded = with_shard(with_fingerprint(trajectories), by=by, load=load, seed=config.seed)
    if by == "items":
        sharded = keep(sharded)  # read twice, and assigning shards is costly
    recipe = _recipe(sharded, config)
    ordered = tasks.order_shards(sharded, recipe, work, RowTokens(folder) if config.batch_tokens else None)
    first_batch = dict(
        zip((row["shard"] for row in ordered), accumulate([0, *(row["batches"] for row in ordered)]), strict=False)
    )
    size = _superblock(sum(row["batches"] for row in ordered), config)
    paths = {row["shard"]: work / row["path"] for row in ordered}
    spark = trajectories.sparkSession
    rows = tasks.write_shards(spark, paths, folder, first_batch, superblock=size, work=work)
    files = [_entry(row, first_batch, size) for row in rows]
    more = {
        "distinct_items_time_order": sum(row["items_in_time_order"] for row in ordered),
        "superblocks": sum(len(entry.superblocks) for entry in files),
        "variants": config.variants,
    }
    return files, _counts(rows) | more, [Piece(row["use"], row["variant"]) for row in rows]


def _recipe(sharded: DataFrame, config: PackingConfig) -> Recipe:
    budget = Budget(trajectories=config.batch_trajectories, items=config.batch_items)
    if config.batch_tokens:
        budget = budget._replace(tokens=config.batch_tokens)
    superblock = _superblock(_batches_at_least(sharded, config.batch_trajectories), config)
    return Recipe(order=config.order, budget=budget, superblock=superblock, mixing=config.mixing, seed=config.seed)


def _superblock(batches: int, config: PackingConfig) -> int:
    """Batches per superblock, given the number of batches of all variants: an epoch reads one variant."""
    return sized(batches // config.variants, wanted=config.superblock_batches)


def _batches_at_least(sharded: DataFrame, batch_trajectories: int) -> int:
    """The number of batches if no other budget cuts them shorter."""
    per_shard = sharded.groupBy("shard").agg(F.ceil(F.count("*") / batch_trajectories).alias("batches"))
    return int(per_shard.agg(F.sum("batches")).collect()[0][0])


def _entry(row: Row, first_batch: Mapping[int, int], size: int) -> FileEntry:
    superblocks = _superblocks(row, first_batch[row["shard"]], size)
    cut = zip(row["span_bytes"], row["span_sha256"], strict=True)
    spans = tuple(Span(bytes=length, sha256=sha256) for length, sha256 in cut)
    return tasks.entry(row, rows=len(row["targets"]), superblocks=superblocks, spans=spans)


def _superblocks(row: Row, first_batch: int, size: int) -> tuple[Superblock, ...]:
    """The superblocks of one shard's file: its row groups."""
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
    """Totals over all variants."""
    counts = {name: sum(row[name] for row in written) for name in tasks.SUMMED}
    counts |= {name: sum(sum(row[name]) for row in written) for name in ("trajectories", "targets")}
    return counts | {
        "batches": sum(len(row["targets"]) for row in written),
        "distinct_items_per_epoch": sum(sum(row["items"]) for row in written),
    }

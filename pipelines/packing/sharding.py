"""Sharding: trajectories -> shards by time range, one task's work each; boundaries depend on the data alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F


def per_hour(trajectories: DataFrame) -> DataFrame:
    """(hour since 1970, trajectories) of every hour that has some."""
    return trajectories.groupBy(_hour().alias("hour")).agg(F.count("*").alias("trajectories"))


def shard_starts(hours: Sequence[int], trajectories: Sequence[int], *, shard_trajectories: int) -> list[int]:
    """The first hour of each shard, ascending. Whole hours only, so that shards are near the size, not at it."""
    order = np.argsort(hours)
    sizes = np.asarray(trajectories, np.int64)[order]
    shard = (np.cumsum(sizes) - sizes) // shard_trajectories
    first = np.unique(shard, return_index=True)[1]
    return [int(hour) for hour in np.asarray(hours, np.int64)[order][first]]


def with_shard(trajectories: DataFrame, starts: Sequence[int]) -> DataFrame:
    """Adds `shard`, and `fingerprint`: a hash of the content that orders trajectories of one time."""
    begun = F.filter(F.array(*map(F.lit, starts)), lambda start: start <= _hour())
    content = F.xxhash64("click_row", "prefix", "candidate_row", "weight", "logged")
    return trajectories.withColumns({"shard": F.size(begun) - 1, "fingerprint": content})


def _hour() -> Column:
    return F.floor(F.unix_seconds("time") / 3600)

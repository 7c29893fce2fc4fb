from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession

from pipelines.packing.sharding import Load, Range, ShardBy, per_hour, time_ranges, with_fingerprint, with_shard
from tests.builders import rows

COLUMNS = (
    "number int, time timestamp, click_row array<int>, prefix array<int>, candidate_row array<array<int>>, "
    "weight array<float>, logged array<boolean>, variant int"
)


def frame_of(
    spark: SparkSession, users: list[tuple[datetime, *tuple[int, ...]]], *, variant: int | None = None
) -> DataFrame:
    """(time, the news that the user clicked) of each; candidates are the clicked news and the next row."""
    data = [
        (
            n,
            time,
            rows,
            [0] * len(rows),
            [[row, row + 1] for row in rows],
            [1.0] * len(rows),
            [True] * len(rows),
            variant,
        )
        for n, (time, *rows) in enumerate(users)
    ]
    return spark.createDataFrame(data, COLUMNS)


def at(hour: int) -> datetime:
    return datetime(1970, 1, 2, tzinfo=UTC) + timedelta(hours=hour, minutes=59)


def ranges(hours: list[int], counts: list[int], *, most: int) -> list[Range]:
    columns = (np.array(each, np.int64) for each in (hours, counts, counts))
    return time_ranges(*columns, load=Load(trajectories=most, pins=1000))


def test_shards_begin_at_hours_and_are_about_as_full_as_each_other() -> None:
    assert ranges([13, 10, 11, 12], [1, 4, 5, 2], most=6) == [Range(10, 0, 1), Range(11, 1, 1), Range(13, 2, 1)]
    assert ranges([10, 11, 12, 13], [3, 3, 3, 3], most=10) == [Range(10, 0, 1), Range(12, 1, 1)]
    assert ranges([10, 11], [1, 1], most=6) == [Range(10, 0, 1)]


def test_an_hour_that_is_too_full_is_split_by_content() -> None:
    assert ranges([10, 11, 12], [3, 30, 3], most=6) == [Range(10, 0, 1), Range(11, 1, 5), Range(12, 6, 1)]


def test_pins_fill_a_shard_too() -> None:
    hours, few, many = (np.array(each, np.int64) for each in ([10, 11], [1, 1], [600, 500]))
    assert len(time_ranges(hours, few, many, load=Load(trajectories=100, pins=1000))) == 2


def test_trajectories_go_to_the_shard_of_their_hour(spark: SparkSession) -> None:
    frame = frame_of(spark, [(at(0), 1), (at(1), 2), (at(1), 3), (at(5), 4)])
    assert rows(per_hour(frame)) == [(24, 1, 3), (25, 2, 6), (29, 1, 3)]
    placed = with_shard(with_fingerprint(frame), by="time", load=Load(trajectories=3, pins=1000), seed=1)
    assert rows(placed, "number", "shard", "variant") == [(0, 0, 0), (1, 0, 0), (2, 0, 0), (3, 1, 0)]


@pytest.mark.parametrize("by", ["time", "items", "random"])
def test_every_trajectory_has_one_shard_however_spark_cut_them(spark: SparkSession, by: ShardBy) -> None:
    rng = np.random.default_rng(1)
    users = [(at(int(rng.integers(0, 40))), int(rng.integers(1, 50))) for _ in range(400)]
    both = frame_of(spark, users).unionByName(frame_of(spark, users, variant=1))
    found = []
    for partitions in (1, 3):
        placed = with_shard(
            with_fingerprint(both.repartition(partitions)), by=by, load=Load(trajectories=100, pins=10_000), seed=1
        )
        found.append(sorted(rows(placed, "variant", "number", "shard")))
    assert found[0] == found[1]
    assert [(variant, number) for variant, number, _ in found[0]] == [(v, n) for v in (0, 1) for n in range(400)]
    for variant in (0, 1):
        shards = [shard for v, _, shard in found[0] if v == variant]
        assert min(shards) == variant * (max(shards) + 1) // 2
        assert len(set(shards)) in (4, 5)
        assert max(map(shards.count, shards)) < 150, by


def test_the_sampled_key_puts_users_of_the_same_news_together(spark: SparkSession) -> None:
    rng = np.random.default_rng(2)
    own = [(1 + 100 * (n % 4) + rng.integers(0, 20, 3)).tolist() for n in range(2000)]
    users = [(at(int(rng.integers(0, 40))), *rows) for rows in own]
    placed = with_shard(
        with_fingerprint(frame_of(spark, users)), by="items", load=Load(trajectories=500, pins=100_000), seed=1
    )
    shards = np.array([shard for _, shard in sorted(rows(placed, "number", "shard"))])
    together = [np.bincount(shards[n::4], minlength=4).max() / 500 for n in range(4)]
    assert min(together) > 0.8

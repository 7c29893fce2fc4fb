from __future__ import annotations

from datetime import UTC, datetime

from pyspark.sql import SparkSession

from pipelines.packing.sharding import per_hour, shard_starts, with_shard
from tests.builders import rows


def test_shards_begin_at_hours_and_stay_near_the_size() -> None:
    assert shard_starts([13, 10, 11, 12], [1, 4, 5, 2], shard_trajectories=6) == [10, 12]
    assert shard_starts([10, 11], [100, 1], shard_trajectories=6) == [10, 11]
    assert shard_starts([10, 11], [1, 1], shard_trajectories=6) == [10]
    assert shard_starts([], [], shard_trajectories=6) == []


def test_trajectories_go_to_the_shard_of_their_hour(spark: SparkSession) -> None:
    times = [datetime(1970, 1, 2, hour, 59, tzinfo=UTC) for hour in (0, 1, 1, 5)]
    data = [(number, time, [1], [0], [[1]], [1.0], [True]) for number, time in enumerate(times)]
    columns = "number int, time timestamp, click_row array<int>, prefix array<int>, candidate_row array<array<int>>"
    frame = spark.createDataFrame(data, f"{columns}, weight array<float>, logged array<boolean>")
    assert rows(per_hour(frame)) == [(24, 1), (25, 2), (29, 1)]
    assert rows(with_shard(frame, [24, 26]), "number", "shard") == [(0, 0), (1, 0), (2, 0), (3, 1)]

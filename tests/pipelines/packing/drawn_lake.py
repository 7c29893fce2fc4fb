"""A lake with random tables as input of packing, without the stages before it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from pyspark.sql import SparkSession

from pipelines.lake.tables import Lake
from schemas.as_spark import spark_schema
from schemas.news import ITEM_TOKENS
from schemas.storage.place import Place
from schemas.trajectory import EVALUATION, TRAJECTORIES

START = datetime(2026, 3, 2, tzinfo=UTC)
ITEMS, USERS = 40, 60


def drawn_lake(spark: SparkSession, folder: Path | Place) -> Lake:
    """Random trajectories of two days in two variants, evaluation impressions of the next, and another source's."""
    lake = Lake(spark, str(folder))
    rng = np.random.default_rng(3)
    users = []
    for _ in range(USERS):
        clicks = [int(row) for row in rng.integers(1, ITEMS + 1, rng.integers(1, 6))]
        listed = [[row, *map(int, rng.integers(1, ITEMS + 1, 2))] for row in clicks]
        time = START + timedelta(hours=int(rng.integers(0, 48)))
        users.append((clicks, list(range(len(clicks))), listed, [1.0] * len(clicks), [True] * len(clicks), time))
    rows = [("p", f"u{n}", 0, time, *arrays, None) for n, (*arrays, time) in enumerate(users)]
    second = [(*row[:6], [[each[0]] for each in row[6]], *row[7:-1], 1) for row in rows]
    found = spark.createDataFrame([*rows, *second, ("q", *rows[0][1:])], spark_schema(TRAJECTORIES))
    lake.overwrite(TRAJECTORIES, found.repartition(3))
    later = START + timedelta(days=2)
    others = ([0.0, 1.5], [3, 4], [1, 2], False, ["j"], False)
    evaluated = [("p", f"i{n}", "u1", later, [1], [2, 3], ["n2", "n3"], [True, False], *others) for n in range(4)]
    evaluated.append(("p", "i4", "u1", later, [1], [0, 3], ["unknown", "n3"], None, *others))  # unlabelled
    lake.overwrite(EVALUATION, spark.createDataFrame(evaluated, spark_schema(EVALUATION)))
    items = [
        ("p", f"n{n}", n, n, "t", 1, "k", [0], [[101, 1000 + n, 102]], 1, [3], [[]], [[]]) for n in range(1, ITEMS + 1)
    ]
    other = ("q", "m1", ITEMS + 1, ITEMS + 1, "t", 1, "other", [0], [[7, 90000, 8, 9]], 1, [4], [[]], [[]])
    items.append(other)  # of another tokenizer
    lake.overwrite(ITEM_TOKENS, spark.createDataFrame(items, spark_schema(ITEM_TOKENS)).repartition(2))
    tokens = {"tokenizer": "t", "tokenizer_sha256": "0" * 64, "vocabulary": 30522, "pad_id": 0}
    tokens |= {"special_tokens": 2, "tokens_per_segment": 8, "segments_per_item": 1, "fields": ["title"]}
    made = {"p": {"tokens": tokens | {"select": "text"}, "near_duplicates": None, "sha256": ["k"]}}
    lake.note(ITEM_TOKENS, "made_from", json.dumps({"sources": made}))
    lake.note(EVALUATION, "made_from.p", json.dumps({"config": {"variants": 2}}))
    return lake

from __future__ import annotations

import pytest
from pyspark.sql import SparkSession

from pipelines.checks import same_rows, unique_key
from schemas.errors import ContractError
from schemas.raw_log import INGEST_RUNS


def test_a_unique_key_passes_and_a_repeated_one_is_shown(spark: SparkSession) -> None:
    frame = spark.createDataFrame([("x", 1), ("x", 2)], "source string, batch long")
    assert unique_key(frame, INGEST_RUNS) is frame
    with pytest.raises(ContractError, match=r"table ingest_runs: 2 rows share the key \{'source': 'x', 'batch': 2\}"):
        unique_key(frame.unionByName(frame.where("batch = 2")), INGEST_RUNS)


def test_a_join_that_adds_rows_is_told(spark: SparkSession) -> None:
    frame = spark.range(3)
    assert same_rows(frame, spark.range(3), "news of clicks") is frame
    with pytest.raises(ContractError, match="news of clicks: 2 rows went in and 3 came out"):
        same_rows(frame, spark.range(2), "news of clicks")

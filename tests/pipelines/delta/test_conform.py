from __future__ import annotations

import pytest
from pyspark.sql import SparkSession

from pipelines.delta.conform import conform
from pipelines.session import is_embedded
from schemas.errors import ContractError
from schemas.impression import HISTORIES
from schemas.raw_log import INGEST_RUNS
from tests.builders import rows


def test_columns_come_out_in_contract_order_and_types(spark: SparkSession) -> None:
    frame = spark.sql("SELECT 1 AS other, array('n1') AS clicks, 7 AS sequence_hash, 'u1' AS user_id, 'p' AS source")
    conformed = conform(frame, HISTORIES)
    assert conformed.dtypes == [
        ("source", "string"),
        ("user_id", "string"),
        ("sequence_hash", "bigint"),
        ("clicks", "array<string>"),
    ]
    assert rows(conformed) == [("p", "u1", 7, ["n1"])]


def test_missing_columns_are_named(spark: SparkSession) -> None:
    with pytest.raises(ContractError, match=r"table ingest_runs: the frame has no \['files', 'lines'"):
        conform(spark.sql("SELECT 'p' AS source, 1 AS batch"), INGEST_RUNS)


def test_a_type_that_cannot_be_cast_is_named(spark: SparkSession) -> None:
    if is_embedded(spark):
        pytest.skip("this engine finds out when it meets a row")
    frame = spark.sql("SELECT 'p' AS source, 'u' AS user_id, 1 AS sequence_hash, 5 AS clicks")
    with pytest.raises(ContractError, match=r"table histories.*'clicks': 'int'"):
        conform(frame, HISTORIES)

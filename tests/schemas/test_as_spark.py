from __future__ import annotations

from pyspark.sql import types as t

from schemas.as_spark import spark_schema, spark_type
from schemas.impression import IMPRESSIONS


def test_contract_types_become_spark_types() -> None:
    assert spark_type("long") == t.LongType()
    inner = t.ArrayType(t.IntegerType(), containsNull=False)
    assert spark_type("array<array<int>>") == t.ArrayType(inner, containsNull=False)


def test_a_schema_keeps_order_and_nullability() -> None:
    schema = spark_schema(IMPRESSIONS)
    assert tuple(schema.names) == IMPRESSIONS.column_names
    assert [field.name for field in schema if field.nullable] == [
        "clicked",
        "sighting_id",
        "sighting_time",
        "history_offset",
    ]

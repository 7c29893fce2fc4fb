"""Table -> StructType: the one place where contracts meet pyspark."""

from __future__ import annotations

from pyspark.sql import types as t

from schemas.table import Table, element_type

_SCALARS: dict[str, t.DataType] = {
    "binary": t.BinaryType(),
    "boolean": t.BooleanType(),
    "date": t.DateType(),
    "double": t.DoubleType(),
    "float": t.FloatType(),
    "int": t.IntegerType(),
    "long": t.LongType(),
    "string": t.StringType(),
    "timestamp": t.TimestampType(),
}


def spark_type(dtype: str) -> t.DataType:
    """The Spark type of a contract type. Array elements are never null."""
    element = element_type(dtype)
    return _SCALARS[dtype] if element is None else t.ArrayType(spark_type(element), containsNull=False)


def spark_schema(table: Table) -> t.StructType:
    """The table's columns as a StructType, in contract order."""
    return t.StructType([t.StructField(c.name, spark_type(c.dtype), c.nullable) for c in table.columns])

"""Table -> Arrow schema: the one place where contracts meet pyarrow."""

from __future__ import annotations

import pyarrow as pa

from schemas.table import Table, element_type

_SCALARS = {
    "binary": pa.binary(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "double": pa.float64(),
    "float": pa.float32(),
    "int": pa.int32(),
    "long": pa.int64(),
    "string": pa.string(),
    "timestamp": pa.timestamp("us", "UTC"),
}


def arrow_type(dtype: str) -> pa.DataType:
    """The Arrow type of a contract type."""
    element = element_type(dtype)
    return _SCALARS[dtype] if element is None else pa.list_(arrow_type(element))


def arrow_schema(table: Table) -> pa.Schema:
    """The columns in contract order. Array elements stay nullable, as in the Delta tables that Spark makes."""
    return pa.schema([pa.field(c.name, arrow_type(c.dtype), c.nullable) for c in table.columns])

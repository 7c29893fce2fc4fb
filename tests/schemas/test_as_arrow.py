"""Contracts as Arrow schemas."""

from __future__ import annotations

import pyarrow as pa

from schemas.as_arrow import arrow_schema, arrow_type
from schemas.embedding import EMBEDDINGS


def test_contract_types_become_arrow_types() -> None:
    assert arrow_type("long") == pa.int64()
    assert arrow_type("array<array<int>>") == pa.list_(pa.list_(pa.int32()))


def test_a_schema_keeps_order_and_nullability() -> None:
    schema = arrow_schema(EMBEDDINGS)
    assert tuple(schema.names) == EMBEDDINGS.column_names
    assert [field.name for field in schema if field.nullable] == ["item_id"]

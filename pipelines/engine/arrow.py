"""Streams the rows of a frame to the driver as Arrow batches, so that it never holds them all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame

from pipelines.delta.delta_errors import NullError


def batches_of(frame: DataFrame) -> Iterator[pa.RecordBatch]:
    """The frame's batches as its session's server sends them. Only for a frame of Spark Connect.

    pyspark itself offers only all rows at once or one row at a time; its client offers batches.
    """
    connected: Any = frame
    client = connected._session.client
    for found in client.to_table_as_iterator(connected._plan.to_proto(client), connected._plan.observations):
        if isinstance(found, pa.RecordBatch):
            yield found
        elif isinstance(found, pa.Table):
            yield from found.to_batches()


def typed(batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The batches cast to the schema's types. NullError where a column has a null and may have none."""
    for batch in batches:
        for column, field in zip(batch.columns, schema, strict=True):
            if not field.nullable and column.null_count:
                raise NullError(field.name)
        columns = [column.cast(field.type) for column, field in zip(batch.columns, schema, strict=True)]
        yield pa.RecordBatch.from_arrays(columns, schema=schema)

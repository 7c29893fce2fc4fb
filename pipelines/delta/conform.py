"""Casts a stage's rows to exactly its contract's columns, in their order and types, before they are written."""

from __future__ import annotations

from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from schemas.errors import ContractError
from schemas.table import Table


def conform(frame: DataFrame, table: Table) -> DataFrame:
    """The columns of `table` in contract order, cast to its types; other columns are dropped."""
    missing = [name for name in table.column_names if name not in frame.columns]
    if missing:
        raise ContractError(
            f"table {table.name}: the frame has no {missing}, its columns are {frame.columns}. "
            "Add them in the stage that writes this table, or change its contract in schemas/"
        )
    try:
        rows = frame.select([F.col(column.name).cast(column.dtype).alias(column.name) for column in table.columns])
        assert rows.schema  # Spark Connect analyses a frame only on request
    except AnalysisException as error:
        found = {name: kind for name, kind in frame.dtypes if name in table.column_names}
        raise ContractError(
            f"table {table.name}: columns {found} cannot become the contract's types ({error.getCondition()}). "
            "Cast them in the stage that writes this table"
        ) from error
    return rows

"""What the lake asks of an engine: how rows come into a Delta table, in one commit each."""

from __future__ import annotations

from typing import Protocol

from pyspark.sql import DataFrame, SparkSession

from pipelines.commits import Changes, Mark
from pipelines.engine.embedded_writer import EmbeddedWriter
from pipelines.engine.spark_writer import SparkWriter
from pipelines.merging import Merge
from pipelines.session import is_embedded
from schemas.table import Table


class Writer(Protocol):
    """Every write is one commit with its mark. That its app has not written before is the lake's to see."""

    def append(self, table: Table, path: str, rows: DataFrame, mark: Mark) -> None:
        """Add the rows; columns that the table lacks become columns of it."""

    def overwrite(self, table: Table, path: str, rows: DataFrame, where: str | None, mark: Mark) -> None:
        """Replace all rows, or those for which `where` holds, which must hold for the new rows too; columns that the
        table lacks become columns of it.
        """

    def merge(self, table: Table, path: str, rows: DataFrame, how: Merge, mark: Mark) -> Changes:
        """Update the stored rows that match, insert the others."""

    def change(self, table: Table, path: str, rows: DataFrame, where: str, mark: Mark) -> Changes:
        """Replace or delete the stored rows that `old` names by its key; `where`: only these can be meant."""


def writer_of(spark: SparkSession) -> Writer:
    """The writer of the session's engine."""
    return EmbeddedWriter() if is_embedded(spark) else SparkWriter()

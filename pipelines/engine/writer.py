"""What the lake asks of an engine: how rows come into a Delta table, in one commit each."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from pyspark.sql import DataFrame, SparkSession

from pipelines.delta.commits import Changes, Mark
from pipelines.delta.merge import Merge
from pipelines.engine.embedded_writer import EmbeddedWriter
from pipelines.engine.scratch import Keep
from pipelines.engine.spark_writer import SparkWriter
from pipelines.engine.staged import Staged
from pipelines.session import is_embedded
from schemas.table import Table


class Writer(Protocol):
    """Every write is one commit with its mark. That its app has not written before is the lake's to see."""

    def append(
        self, table: Table, path: str, rows: DataFrame | Staged, mark: Mark, times: DataFrame | None = None
    ) -> int:
        """Add the rows and return how many; columns that the table lacks become columns of it. `times`: as the lake's
        own `append`.
        """

    def staged(self, table: Table, path: str, rows: DataFrame, keep: Keep) -> AbstractContextManager[Staged]:
        """Inside, the rows, which have the table's columns, are computed, and `append` can add them; no version of the
        table has them before.
        """

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

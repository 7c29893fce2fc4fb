"""The lake's interface to an engine: writes of rows to a Delta table, in one commit each."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from pyspark.sql import DataFrame, SparkSession

from pipelines.delta.commits import Changes, Mark
from pipelines.delta.merge import Merge
from pipelines.engine.data_files import Staged
from pipelines.engine.embedded_writer import EmbeddedWriter
from pipelines.engine.scratch import Keep
from pipelines.engine.spark_writer import SparkWriter
from pipelines.session import is_embedded
from schemas.table import Table


class Writer(Protocol):
    """Every write is one commit with its mark. The lake checks that the mark's app has not written before."""

    def append(
        self, table: Table, path: str, rows: DataFrame | Staged, mark: Mark, times: DataFrame | None = None
    ) -> int:
        """Add the rows and return their number; new columns are added to the table. `times`: as in the lake's
        `append`.
        """

    def staged(self, table: Table, path: str, rows: DataFrame, keep: Keep) -> AbstractContextManager[Staged]:
        """Inside, the rows, which have the table's columns, are computed, and `append` can add them; no version of the
        table contains them before.
        """

    def overwrite(self, table: Table, path: str, rows: DataFrame, where: str | None, mark: Mark) -> None:
        """Replace all rows, or those for which `where` holds; it must hold for the new rows too. New columns are added
        to the table.
        """

    def merge(self, table: Table, path: str, rows: DataFrame, how: Merge, mark: Mark) -> Changes:
        """Update the stored rows that match, insert the others."""

    def change(self, table: Table, path: str, rows: DataFrame, where: str, mark: Mark) -> Changes:
        """Replace or delete the stored rows that `old` names by its key; `where`: all of them satisfy it."""


def writer_of(spark: SparkSession) -> Writer:
    """The writer of the session's engine."""
    return EmbeddedWriter() if is_embedded(spark) else SparkWriter()

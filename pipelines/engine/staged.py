"""Rows that are computed, and that a table's next commit may add."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import DataFrame

from pipelines.engine.data_files import DataFiles


@dataclass(slots=True)
class Staged:
    """The rows as they stay; where the engine has written them as files of the table, these, which await a commit."""

    frame: DataFrame
    files: DataFiles | None = None
    committing: bool = False  # from here on only the table's log tells whether it holds the files

"""Rows that are computed and await a table's next commit."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import DataFrame

from pipelines.engine.data_files import DataFiles


@dataclass(slots=True)
class Staged:
    """The computed rows; and, where the engine has written them as files of the table, these files."""

    frame: DataFrame
    files: DataFiles | None = None
    committing: bool = False  # once set, only the table's log shows whether the table contains the files

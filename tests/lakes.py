"""A small table of tests and rows for it."""

from __future__ import annotations

from typing import Any

from pyspark.sql import DataFrame

from pipelines.lake.tables import Lake
from schemas.table import Check, Column, Table

LANGUAGE = Column("language", "string", "where it's spoken")
WORD = Column("word", "string", "the word")
USES = Column("uses", "array<long>", "counts")
WORDS = Table(
    name="words",
    meaning="a table of tests",
    columns=(LANGUAGE, WORD, USES),
    key=("word",),
    partition_by=("language",),
)
SHORT = Check("short_word", "length(word)  <= 3 AND language IN ('en', 'de')")


def words(lake: Lake, *values: tuple[Any, ...], more: str = "") -> DataFrame:
    """Rows of WORDS; `more` names the further columns that they hold."""
    return lake.spark.createDataFrame([*values], "language string, word string, uses array<int>" + more)

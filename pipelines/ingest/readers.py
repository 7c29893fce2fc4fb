"""First step of ingest: log files -> RAW_LOG rows, each line with its bytes unchanged and its place."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines.ingest.mapping import JSONL
from pipelines.ingest.places import row_of_file, with_places
from pipelines.ingest.rows import delta_rows, ebnerd_rows, parquet_rows
from pipelines.ingest.sources import LogFile
from pipelines.session import named_files

Reader = Callable[[SparkSession, list[LogFile]], DataFrame]


def raw_lines(spark: SparkSession, files: list[LogFile]) -> DataFrame:
    """(file, position, line, format) of the lines of `files`, which have one format, that no run has read.

    Run it inside `session.whole_files`: a file must be one partition for `position` to be its line number. A line feed,
    a carriage return or both end a line. Lines that came after the file was looked at are left to the next run.
    """
    lines = _reader(files[0])(spark, files).select("file", "position", "line", "format")
    return lines.coalesce(spark.sparkContext.defaultParallelism)  # few files out, however many came in


def _reader(file: LogFile) -> Reader:
    if file.format == "ebnerd":
        return ebnerd_rows
    kind = JSONL if file.mapping is None else file.mapping.format
    return {JSONL: _text_lines, "parquet": parquet_rows, "delta": delta_rows}[kind]


def _text_lines(spark: SparkSession, files: list[LogFile]) -> DataFrame:
    columns = (
        F.col("_metadata.file_path").alias("_path"),
        row_of_file().alias("position"),
        F.col("value").cast("binary").alias("line"),
        F.lit(files[0].lines_format).alias("format"),
    )
    readers = named_files(spark, [file.path for file in files])
    lines = [reader.text(names).select(*columns) for reader, names in readers]
    return with_places(reduce(DataFrame.union, lines), files)

"""First step of ingest: log files -> RAW_LOG rows, each line with its bytes unchanged and its place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import reduce
from pathlib import Path

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines.ingest.json_arrays import elements, is_array
from pipelines.ingest.mapping import JSONL
from pipelines.ingest.places import row_of_file, with_places
from pipelines.ingest.rows import delta_rows, ebnerd_rows, parquet_rows
from pipelines.ingest.sources import LogFile
from pipelines.session import named_files

_RECORDS = 10_000  # of an array, in one batch
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
    return {JSONL: _json_lines, "parquet": parquet_rows, "delta": delta_rows}[kind]


def _json_lines(spark: SparkSession, files: list[LogFile]) -> DataFrame:
    arrays = [file for file in files if is_array(file.path)]
    if not arrays:
        return _text_lines(spark, files)
    others = [file for file in files if file not in arrays]
    records = _array_lines(spark, arrays)
    return records.unionByName(_text_lines(spark, others).select(*records.columns)) if others else records


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


def _array_lines(spark: SparkSession, files: list[LogFile]) -> DataFrame:
    """The records of files that are one JSON array each."""
    told = [(file.name, str(file.path.absolute()), file.skip, file.lines) for file in files]
    named = spark.createDataFrame(told, "file string, path string, skip long, lines long")
    return named.mapInArrow(_records, "file string, position long, line binary").withColumn(
        "format", F.lit(files[0].lines_format)
    )


def _records(files: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """In a worker: the records of each file from `skip` on and before `lines`."""
    for told in (file for batch in files for file in batch.to_pylist()):
        lines = elements(Path(told["path"]))[: told["lines"]]
        for first in range(told["skip"], len(lines), _RECORDS):
            some = lines[first : first + _RECORDS]
            columns = {
                "file": pa.array([told["file"]] * len(some)),
                "position": pa.array(range(first, first + len(some)), pa.int64()),
                "line": pa.array(some, pa.binary()),
            }
            yield pa.RecordBatch.from_arrays(list(columns.values()), list(columns))

"""Where a row stood: Spark's paths -> names below the folder, without the rows that another run reads."""

from __future__ import annotations

from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines.ingest.sources import LogFile
from pipelines.session import located
from schemas.errors import InputError

_ROW_BITS = (1 << 33) - 1  # monotonically_increasing_id: partition above bit 33, row of the partition below


def row_of_file() -> Column:
    """The number of a row in its file, inside `session.whole_files`: there, a file is one partition."""
    return F.monotonically_increasing_id().bitwiseAND(F.lit(_ROW_BITS))


def with_places(rows: DataFrame, files: list[LogFile]) -> DataFrame:
    """Rows with `file` for their `_path`, without those that were read before or came after the file was looked at.

    A row of a file that is none of `files` is an error: dropped, its line would be lost without a word.
    """
    paths = [spark_path(rows.sparkSession, file) for file in files]
    if len(set(paths)) < len(paths):
        twice = [file.name for file, path in zip(files, paths, strict=True) if paths.count(path) > 1]
        raise InputError(f"{' and '.join(twice[:2])} are one file. Take one of the two names out of the folder")
    places = rows.sparkSession.createDataFrame(
        [(path, file.name, file.skip, file.lines) for path, file in zip(paths, files, strict=True)],
        "_path string, file string, _skip long, _lines long",
    )
    unknown = F.concat(F.lit("Spark read rows of a file that it was not asked for: "), F.col("_path"))
    within = (F.col("position") >= F.col("_skip")) & (F.col("position") < F.col("_lines"))
    wanted = F.when(F.col("file").isNull(), F.raise_error(unknown).cast("boolean")).otherwise(within)
    return rows.join(F.broadcast(places), "_path", how="left").where(wanted)


def spark_path(spark: SparkSession, file: LogFile) -> str:
    """The file's path as `_metadata.file_path` has it: what Hadoop makes of it, for its escapes are not Python's."""
    jvm: Any = spark._jvm
    path = f"{file.table}/{file.name}" if file.table else str(file.path)
    return str(jvm.org.apache.hadoop.fs.Path(located(path)).toUri().toString())

"""Where a row stood: Spark's paths -> names below the folder, without the rows that another run reads."""

from __future__ import annotations

from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines.ingest.sources import LogFile

_ROW_BITS = (1 << 33) - 1  # monotonically_increasing_id: partition above bit 33, row of the partition below


def row_of_file() -> Column:
    """The number of a row in its file, inside `session.whole_files`: there, a file is one partition."""
    return F.monotonically_increasing_id().bitwiseAND(F.lit(_ROW_BITS))


def with_places(rows: DataFrame, files: list[LogFile]) -> DataFrame:
    """Rows with `file` for their `_path`, without those that were read before or came after the file was looked at."""
    spark = rows.sparkSession
    places = spark.createDataFrame(
        [(_spark_path(spark, file), file.name, file.skip, file.lines) for file in files],
        "_path string, file string, _skip long, _lines long",
    )
    within = (F.col("position") >= F.col("_skip")) & (F.col("position") < F.col("_lines"))
    return rows.join(F.broadcast(places), "_path", how="inner").where(within)


def _spark_path(spark: SparkSession, file: LogFile) -> str:
    """The file's path as `_metadata.file_path` has it: what Hadoop makes of it, for its escapes are not Python's."""
    jvm: Any = spark._jvm
    path = f"{file.table}/{file.name}" if "://" in file.table else f"file:{file.path.absolute()}"
    return str(jvm.org.apache.hadoop.fs.Path(path).toUri().toString())

"""First step of ingest: log files -> RAW_LOG rows, each line with its bytes unchanged and its place."""

from __future__ import annotations

from pathlib import PurePosixPath

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines.ingest.sources import LogFile
from pipelines.session import literally

_ROW_BITS = (1 << 33) - 1  # monotonically_increasing_id: partition above bit 33, row of the partition below


def raw_lines(spark: SparkSession, files: list[LogFile]) -> DataFrame:
    """(file, position, line) of every line of `files`, which lie in one folder, plain or gzip.

    Run it inside `session.whole_files`: a file must be one partition for `position` to be its line number. Only
    line feeds end a line, so a carriage return stays in its bytes.
    """
    folder = PurePosixPath(files[0].name).parent
    prefix = "" if str(folder) == "." else f"{folder}/"
    encoded = F.replace(F.col("_metadata.file_name"), F.lit("+"), F.lit("%2B"))  # else a plus is decoded as a blank
    return (
        spark.read.option("lineSep", "\n")
        .text([literally(file.path) for file in files])
        .select(
            F.concat(F.lit(prefix), F.url_decode(encoded)).alias("file"),
            F.monotonically_increasing_id().bitwiseAND(F.lit(_ROW_BITS)).alias("position"),
            F.col("value").cast("binary").alias("line"),
        )
        .coalesce(spark.sparkContext.defaultParallelism)  # few files out, however many came in
    )

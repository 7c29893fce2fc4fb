"""Rows of Parquet and Delta logs -> RAW_LOG lines: each row one JSON line of our own fields, and nothing else of it."""

from __future__ import annotations

from pathlib import Path

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines.ingest.formats import EBNERD_COLUMNS, EBNERD_HISTORY
from pipelines.ingest.mapping import FIELDS, LISTS, LogMapping
from pipelines.ingest.places import row_of_file, with_places
from pipelines.ingest.sources import LogFile
from pipelines.ingest.table_source import table_frame
from pipelines.session import literally

_ISO = "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX"
_PLACE = ("_path", "position")


def parquet_rows(spark: SparkSession, files: list[LogFile]) -> DataFrame:
    """The rows of Parquet files by their mapping."""
    read = spark.read.parquet(*(literally(file.path) for file in files))
    return with_places(_as_lines(read, _mapping(files), files[0].lines_format), files)


def delta_rows(spark: SparkSession, files: list[LogFile]) -> DataFrame:
    """The rows of files of a Delta table by their mapping; rows that the table has deleted are none."""
    read = table_frame(spark, files)
    return with_places(_as_lines(read, _mapping(files), files[0].lines_format), files)


def ebnerd_rows(spark: SparkSession, files: list[LogFile]) -> DataFrame:
    """EB-NeRD's impressions, each with its user's history; gender, postcode, age and all else stay behind."""
    frames = [_ebnerd_folder(spark, file) for file in files]
    rows = frames[0]
    for more in frames[1:]:
        rows = rows.unionByName(more)
    return rows


def _ebnerd_folder(spark: SparkSession, file: LogFile) -> DataFrame:
    read = spark.read.parquet(literally(file.path))
    columns = {name: F.col(column) for name, column in EBNERD_COLUMNS.items()}
    shown = read.select(*_place(), *(column.alias(name) for name, column in columns.items()))
    history = _histories(spark, file.path.with_name("history.parquet"))
    joined = shown.join(history, "user_id", how="left")
    lines = _as_lines(joined.withColumn("history", F.coalesce("history", F.array())), LogMapping(), file.lines_format)
    return with_places(lines, [file])


def _histories(spark: SparkSession, path: Path) -> DataFrame:
    """One history for each user, so that a join adds no row: the longest, of equally long ones the greatest."""
    told = spark.read.parquet(literally(path))
    columns = [F.col(column).alias(name) for name, column in EBNERD_HISTORY.items()]
    longest = F.max(F.struct(F.size("history").alias("length"), F.col("history")))
    return told.select(*columns).groupBy("user_id").agg(longest["history"].alias("history"))


def _mapping(files: list[LogFile]) -> LogMapping:
    assert files[0].mapping is not None, "rows are read by a mapping"
    return files[0].mapping


def _place() -> list[Column]:
    return [F.col("_metadata.file_path").alias("_path"), row_of_file().alias("position")]


def _as_lines(rows: DataFrame, mapping: LogMapping, format: str) -> DataFrame:
    """(_path, position, line, format): the mapped columns under our own names, as JSON."""
    place = [F.col(name) for name in _PLACE] if set(_PLACE) <= set(rows.columns) else _place()
    told = rows.select(
        *place,
        *(F.col(column).alias(name) for name, column in mapping.columns.items()),
        *(F.col(extra.column).cast("string").alias(name) for name, extra in mapping.extra.items()),
    )
    kind = dict(told.dtypes)["time"]
    fields = {name: _text(name, mapping) for name in FIELDS if name in told.columns}
    fields = {"history": F.array().cast("array<string>")} | fields
    fields["time"] = _time_text(kind, mapping.time_zone)
    record = F.struct(*(column.alias(name) for name, column in fields.items()), *mapping.extra)
    line = F.to_json(record).cast("binary").alias("line")
    return told.select(*_PLACE, line, F.lit(format).alias("format"))


def _text(name: str, mapping: LogMapping) -> Column:
    if name in LISTS and not mapping.is_list(name):
        return F.when(F.col(name).isNotNull(), F.array(F.col(name).cast("string")))
    return F.col(name).cast("array<string>" if name in LISTS else "string")


def _time_text(kind: str, zone: str) -> Column:
    """The time as ISO with its offset where the column holds times; else as it is told."""
    if kind == "timestamp":
        return F.date_format("time", _ISO)
    if kind == "timestamp_ntz":
        return F.date_format(F.to_utc_timestamp(F.col("time").cast("timestamp"), zone), _ISO)
    return F.col("time").cast("string")

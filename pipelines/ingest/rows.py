"""Rows of Parquet and Delta logs -> RAW_LOG lines: each row one JSON line of our own fields, and nothing else of it.

Rows are read by pyarrow, in Spark's workers: it knows more types than Spark does (nanoseconds, lists of a fixed size),
and what stands in columns that nobody reads does not matter to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines.ingest.columns import AWARE, LOCAL, columns_of, parquet_names
from pipelines.ingest.formats import EBNERD, EBNERD_HISTORY, ebnerd_paths
from pipelines.ingest.mapping import FIELDS, LogMapping
from pipelines.ingest.places import row_of_file, with_places
from pipelines.ingest.scan import PathsOf
from pipelines.ingest.sources import LogFile
from pipelines.ingest.table_source import table_frame

_ISO = "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX"
_EVERY_ROW = 1 << 62
_FILES = "file string, path string, skip long, lines long"


def parquet_rows(spark: SparkSession, files: list[LogFile]) -> DataFrame:
    """The rows of Parquet files by their mapping."""
    mapping = _mapping(files)
    rows = _read(spark, files, lambda _: mapping.paths, mapping, _kinds(files[0], mapping))
    return _as_lines(rows, mapping, files[0].lines_format)


def delta_rows(spark: SparkSession, files: list[LogFile]) -> DataFrame:
    """The rows of files of a Delta table by their mapping; rows that the table has deleted are none."""
    mapping = _mapping(files)
    names = dict.fromkeys(path[0] for path in mapping.paths.values())
    place = [F.col("_metadata.file_path").alias("_path"), row_of_file().alias("position")]
    record = F.struct(*(F.col(quoted(name)) for name in names)).alias("_record")
    rows = table_frame(spark, files).select(*place, record)
    kinds = "_path string, position long, " + _schema(_kinds(files[0], mapping))
    read = rows.mapInArrow(partial(_mapped, mapping=mapping), kinds)
    return with_places(_as_lines(read, mapping, files[0].lines_format), files)


def ebnerd_rows(spark: SparkSession, files: list[LogFile]) -> DataFrame:
    """EB-NeRD's impressions, each with its user's history; gender, postcode, age and all else stay behind."""
    frames = [_ebnerd_folder(spark, file) for file in files]
    rows = frames[0]
    for more in frames[1:]:
        rows = rows.unionByName(more)
    return rows


def quoted(name: str) -> str:
    """The name of a column as Spark reads it, whatever it holds."""
    return "`" + name.replace("`", "``") + "`"


def _ebnerd_folder(spark: SparkSession, file: LogFile) -> DataFrame:
    kinds = {name: kind for name, kind in _kinds(file, EBNERD).items() if name != "history"}
    shown = _read(spark, [file], ebnerd_paths, EBNERD, kinds)
    joined = shown.join(_histories(spark, file), "user_id", how="left")
    return _as_lines(joined.withColumn("history", F.coalesce("history", F.array())), EBNERD, file.lines_format)


def _histories(spark: SparkSession, file: LogFile) -> DataFrame:
    """One history for each user, so that a join adds no row: the longest, of equally long ones the greatest."""
    kinds = {"user_id": "string", "history": "array<string>"}
    history = [(file.name, str(file.path.with_name("history.parquet").absolute()), 0, _EVERY_ROW)]
    told = _rows_of(spark, history, lambda _: EBNERD_HISTORY, EBNERD, kinds)
    longest = F.max(F.struct(F.size("history").alias("length"), F.col("history")))
    return told.groupBy("user_id").agg(longest["history"].alias("history"))


def _read(
    spark: SparkSession, files: list[LogFile], paths_of: PathsOf, mapping: LogMapping, kinds: dict[str, str]
) -> DataFrame:
    """The rows that no run has read and that were there when the file was looked at."""
    told = [(file.name, str(file.path.absolute()), file.skip, file.lines) for file in files]
    return _rows_of(spark, told, paths_of, mapping, kinds)


def _rows_of(
    spark: SparkSession, files: list[tuple[str, str, int, int]], paths_of: PathsOf, mapping: LogMapping, kinds: Any
) -> DataFrame:
    read = partial(parquet_batches, paths_of=paths_of, mapping=mapping, names=tuple(kinds))
    return spark.createDataFrame(files, _FILES).mapInArrow(read, f"file string, position long, {_schema(kinds)}")


def parquet_batches(
    files: Iterable[pa.RecordBatch], *, paths_of: PathsOf, mapping: LogMapping, names: tuple[str, ...]
) -> Iterator[pa.RecordBatch]:
    """In a worker: the rows of each file from `skip` on and before `lines`, where they stood and the fields `names`."""
    for told in (file for batch in files for file in batch.to_pylist()):
        with Path(told["path"]).open("rb") as stream:
            file = pq.ParquetFile(stream)
            paths = paths_of(file.schema_arrow.names)
            position = 0
            for batch in file.iter_batches(columns=parquet_names(paths)):
                first, end = max(told["skip"] - position, 0), min(told["lines"] - position, len(batch))
                if first < end:
                    rows = columns_of(batch.slice(first, end - first), paths, mapping)
                    place = {
                        "file": pa.array([told["file"]] * len(rows)),
                        "position": pa.array(range(position + first, position + end), pa.int64()),
                    }
                    yield _with(place, rows, names)
                position += len(batch)


def _mapped(batches: Iterable[pa.RecordBatch], *, mapping: LogMapping) -> Iterator[pa.RecordBatch]:
    """In a worker: rows of a table that Spark has read."""
    for batch in batches:
        record = batch.column(2)
        inner = pa.RecordBatch.from_arrays(record.flatten(), [field.name for field in record.type])
        place = {name: batch.column(name) for name in ("_path", "position")}
        yield _with(place, columns_of(inner, mapping.paths, mapping), tuple(mapping.paths))


def _with(place: Mapping[str, pa.Array], rows: pa.RecordBatch, names: tuple[str, ...]) -> pa.RecordBatch:
    """One batch of both; a field that the rows lack is null."""
    fields = {name: rows.column(name) if name in rows.schema.names else _no_list(len(rows)) for name in names}
    columns = {**place, **fields}
    return pa.RecordBatch.from_arrays(list(columns.values()), list(columns))


def _no_list(length: int) -> pa.Array:
    return pa.nulls(length, pa.list_(pa.string()))


def _mapping(files: list[LogFile]) -> LogMapping:
    assert files[0].mapping is not None, "rows are read by a mapping"
    return files[0].mapping


def _kinds(file: LogFile, mapping: LogMapping) -> dict[str, str]:
    """The type of each field as `columns_of` gives it."""
    kinds = {name: "array<string>" if mapping.is_list(name) else "string" for name in mapping.paths}
    return kinds | {"time": dict(file.types)["time"]}


def _schema(kinds: Mapping[str, str]) -> str:
    return ", ".join(f"{quoted(name)} {kind}" for name, kind in kinds.items())


def _as_lines(rows: DataFrame, mapping: LogMapping, format: str) -> DataFrame:
    """The places of the rows, `line` and `format`: the fields under our own names, as JSON."""
    place = [name for name in ("file", "_path", "position") if name in rows.columns]
    fields: dict[str, Column] = {"history": F.array().cast("array<string>")}
    fields |= {name: F.col(name) for name in FIELDS if name in rows.columns}
    if mapping.clicked_as == "id" and "clicked" in fields:
        fields["clicked"] = F.when(F.col("clicked").isNotNull(), F.array("clicked"))
    fields["time"] = _time_text(dict(rows.dtypes)["time"], mapping.time_zone)
    record = F.struct(*(column.alias(name) for name, column in fields.items()), *mapping.extra)
    return rows.select(*place, F.to_json(record).cast("binary").alias("line"), F.lit(format).alias("format"))


def _time_text(kind: str, zone: str) -> Column:
    """The time as ISO with its offset where the column holds times; else as it is written."""
    if kind == AWARE:
        return F.date_format("time", _ISO)
    if kind == LOCAL:
        return F.date_format(F.to_utc_timestamp(F.col("time").cast("timestamp"), zone), _ISO)
    return F.col("time")

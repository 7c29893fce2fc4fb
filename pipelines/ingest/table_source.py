"""A Delta table as a source of logs: the files of its current version, and their rows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import StructType

from pipelines.ingest.columns import TEXT, check_columns, empty_batch, time_kind
from pipelines.ingest.known import Known
from pipelines.ingest.mapping import LogMapping
from pipelines.ingest.places import spark_path
from pipelines.ingest.sources import Found, LogFile
from pipelines.making import literal
from pipelines.session import located
from schemas.errors import InputError

_UNKNOWN = -1  # rows of a file whose writer kept no statistics
_ROWS = (
    "coalesce(CAST(get_json_object(stats, '$.numRecords') AS LONG) - coalesce(deletionVector.cardinality, 0L), "
    f"{_UNKNOWN})"
)
_ELSEWHERE = ("/", "file:")  # how the path of a file begins that is not below the table


def find_in_table(spark: SparkSession, table: str, mapping: LogMapping, known: Mapping[str, Known]) -> Found:
    """What the lake lacks of the table's current version, never what else lies there. InputError if that is empty."""
    root = table.rstrip("/") if "://" in table else str(Path(table).absolute())
    log = _log(spark, root)
    if not log.tableExists():
        raise InputError(f"{table}: no Delta table there. Name the folder that holds its _delta_log")
    kind = _time_kind(spark.read.format("delta").load(located(root)), table, mapping)
    snapshot = log.unsafeVolatileSnapshot()
    listed = DataFrame(snapshot.allFiles().toDF(), spark).selectExpr("path", "size", f"{_ROWS} AS rows").collect()
    strange = [row["path"] for row in listed if "://" in row["path"] or row["path"].startswith(_ELSEWHERE)]
    if strange:
        raise InputError(
            f"{table}: its file {strange[0]} lies outside of it, as a clone's do. Name the table that holds it"
        )
    files = [
        LogFile(
            path=Path(root) / unquote(row["path"]),
            name=unquote(row["path"]),
            format="mapped",
            lines_format=mapping.of_rows(typed_time=kind != TEXT).as_format,
            bytes=row["size"],
            lines=row["rows"],
            first_line_sha256=hashlib.sha256(row["path"].encode()).hexdigest(),  # nor writes one anew
            whole_lines=True,
            mapping=mapping,
            types=(("time", kind),),
            table=root,
            table_version=snapshot.version(),
        )
        for row in listed
    ]
    if not files:
        raise InputError(f"{table}: the Delta table has no rows in its current version")
    new = sorted((file for file in files if file.name not in known), key=lambda file: file.name)
    return Found(files=[file for file in _with_rows(spark, new) if file.lines])


def table_frame(spark: SparkSession, files: list[LogFile]) -> DataFrame:
    """The rows of these files of a table, as of the version in which they were listed.

    Spark's own reader takes no list of files: it would read the whole table to add one file's rows. Delta's frame of
    some of a snapshot's files (what OPTIMIZE reads by) also leaves out deleted rows and knows partition columns.
    """
    jvm: Any = spark._jvm
    none = jvm.scala.Option.empty()
    log = _log(spark, files[0].table)
    snapshot = log.getSnapshotAt(files[0].table_version, none, none)
    wanted = ", ".join(literal(file.name) for file in files)
    chosen = snapshot.allFiles().filter(f"url_decode(replace(path, '+', '%2B')) IN ({wanted})").collectAsList()
    return DataFrame(
        log.createDataFrame(snapshot, jvm.org.apache.spark.api.python.PythonUtils.toSeq(chosen), False, none), spark
    )


def _with_rows(spark: SparkSession, files: list[LogFile]) -> list[LogFile]:
    """The files with their numbers of rows, counted where the table's log does not tell them."""
    uncounted = [file for file in files if file.lines == _UNKNOWN]
    if not uncounted:
        return files
    rows = table_frame(spark, uncounted).groupBy(F.col("_metadata.file_path").alias("path")).count()
    counts = {row["path"]: row["count"] for row in rows.collect()}
    return [
        replace(file, lines=counts.get(spark_path(spark, file), 0)) if file.lines == _UNKNOWN else file
        for file in files
    ]


def _log(spark: SparkSession, root: str) -> Any:
    jvm: Any = spark._jvm
    return jvm.org.apache.spark.sql.delta.DeltaLog.forTable(spark._jsparkSession, located(root))


def _time_kind(rows: DataFrame, table: str, mapping: LogMapping) -> str:
    """What becomes of the column that holds the time, once every column that is read was found."""
    names = dict.fromkeys(path[0] for path in mapping.paths.values())
    absent = [name for name in names if name not in rows.columns]
    if absent:
        raise InputError(
            f"{table}: has no column {absent[0]}; its columns are {', '.join(rows.columns)}. Names are compared "
            "exactly. Mend the mapping"
        )
    read = StructType([field for field in rows.schema if field.name in names])
    try:
        empty = empty_batch(to_arrow_schema(read))
        check_columns(empty, mapping.paths, mapping)
    except InputError as error:
        raise InputError(f"{table}: {error}") from error
    return time_kind(empty, mapping.paths["time"], mapping)

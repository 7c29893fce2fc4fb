"""Delta's log of one table, read on the driver: the version, its properties and columns, what a commit tells of itself.

Delta's public way to these is a Spark job per question; the log itself answers in milliseconds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pyspark.sql import SparkSession

from pipelines.session import located


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A table at one version, without its rows."""

    version: int
    id: str  # given by Delta when the table was made; no other table has it
    properties: dict[str, str]
    columns: tuple[str, ...]


def snapshot(spark: SparkSession, path: str, *, version: int | None = None) -> Snapshot:
    """The table's latest version, or the one asked for."""
    jvm = java(spark)
    none = getattr(jvm, "scala.None$").__getattr__("MODULE$")
    log = jvm.org.apache.spark.sql.delta.DeltaLog.forTable(spark._jsparkSession, located(path))
    found = log.update(False, none, none)
    if version is not None:
        log.history().checkVersionExists(version, none, True, False)  # refuses with the versions that there are
        found = log.getSnapshotAt(version, none, none, none)
    metadata = found.metadata()
    properties = dict(jvm.scala.jdk.javaapi.CollectionConverters.asJava(metadata.configuration()))
    return Snapshot(found.version(), metadata.id(), properties, tuple(metadata.schema().fieldNames()))


def commit_info(spark: SparkSession, path: str, version: int) -> dict[str, Any] | None:
    """What the commit tells of itself: operation, operationMetrics, userMetadata. None if its file is gone."""
    file = hadoop_path(spark, f"{path}/_delta_log/{version:020}.json")
    files = file_system(spark, file)
    if not files.exists(file):
        return None
    actions = (json.loads(line) for line in _lines(spark, files.open(file)))
    return next((action["commitInfo"] for action in actions if "commitInfo" in action), {})


def in_sql(path: str) -> str:
    """The table at the path as SQL names it."""
    return f"delta.`{located(path)}`"


def remove(spark: SparkSession, path: str) -> None:
    """The table's folder is gone, and Delta has forgotten it."""
    folder = hadoop_path(spark, path)
    file_system(spark, folder).delete(folder, True)
    java(spark).org.apache.spark.sql.delta.DeltaLog.clearCache()  # it may still hold the removed table's snapshot


def remove_log_without_commit(spark: SparkSession, path: str) -> None:
    """The log's folder is gone where it holds no commit; one that another run makes meanwhile cannot be lost."""
    log = hadoop_path(spark, f"{path}/_delta_log")
    files = file_system(spark, log)
    for found in files.listStatus(log):
        # Files that were not yet renamed to a commit, and an empty folder beside them.
        if found.isDirectory() or found.getPath().getName().startswith("."):
            files.delete(found.getPath(), False)
    files.delete(log, False)  # not with what is in it: that would be a commit, and is refused
    java(spark).org.apache.spark.sql.delta.DeltaLog.clearCache()


def java(spark: SparkSession) -> Any:
    """The session's JVM."""
    jvm = spark.sparkContext._jvm
    assert jvm is not None, "a session has a JVM"
    return jvm


def hadoop_path(spark: SparkSession, path: str) -> Any:
    """The path as Hadoop's file systems take it: a folder here, or a URL."""
    return java(spark).org.apache.hadoop.fs.Path(located(path))


def file_system(spark: SparkSession, path: Any) -> Any:
    """The file system on which the Hadoop path lies."""
    return path.getFileSystem(spark.sparkContext._jsc.hadoopConfiguration())


def read_text(spark: SparkSession, path: str) -> str | None:
    """The text of a file, on this machine or behind a URL; None where there is none."""
    file = hadoop_path(spark, path)
    files = file_system(spark, file)
    return "\n".join(_lines(spark, files.open(file))) if files.exists(file) else None


def _lines(spark: SparkSession, stream: Any) -> Iterator[str]:
    io = java(spark).java.io
    reader = io.BufferedReader(io.InputStreamReader(stream, "UTF-8"))
    try:
        while (line := reader.readLine()) is not None:
            yield line
    finally:
        reader.close()

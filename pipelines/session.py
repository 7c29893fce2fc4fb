"""Shared by sessions of both engines: settings such as Delta and UTC, paths in Spark's form, errors for users."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deltalake.exceptions import DeltaError
from py4j.protocol import Py4JError, Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from pipelines.java import how_java_ended
from schemas.errors import InputError
from schemas.space import is_no_space

SPARK_ERRORS = (PySparkException, Py4JJavaError)  # raised by Spark and Delta, when planning and when running
DELTA_CLASS = "io.delta.sql.DeltaSparkSessionExtension"
ZONE = "spark.sql.session.timeZone"
SHUFFLE_PARTITIONS = ("spark.sql.shuffle.partitions", "spark.sql.adaptive.coalescePartitions.initialPartitionNum")
_PARTITION_BYTES = 96 << 20  # of a shuffle in a local run: between 64 and 128 MB they sort without spilling in 2 GB

_OUT_OF_MEMORY = (
    "Where nobody killed it, the system did, out of memory: give Java less (FEEDLOOP_DRIVER_MEMORY=2g), or the machine "
    "more. Nothing half-written is left: run the job again"
)

_GONE = re.compile(  # the messages of Spark and of Sail
    r"(?:FAILED_READ_FILE\.FILE_NOT_EXIST\] .*? file |Failed to fetch metadata for file )(\S+?)[.:]? "
)

ALWAYS = {
    "spark.sql.extensions": DELTA_CLASS,
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    ZONE: "UTC",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",  # the older INT96 has no zone: others misread it
    "spark.sql.parquet.compression.codec": "zstd",
    "spark.executorEnv.TOKENIZERS_PARALLELISM": "false",  # tokenizers' own threads fight with Spark's
}
_ENGINE = "feedloop.engine"  # the session's setting that names its engine
CONNECT_MODE = "SPARK_CONNECT_MODE_ENABLED"  # the variable by which pyspark's functions choose between both frames


def mark_embedded(spark: SparkSession) -> None:
    """Mark the session as one of the embedded engine, for `is_embedded`."""
    spark.conf.set(_ENGINE, "embedded")


def is_embedded(spark: SparkSession) -> bool:
    """Whether the session is one of the embedded engine. Here, so that Spark's workers need not load an engine."""
    return spark.conf.get(_ENGINE, None) == "embedded"


@contextmanager
def sized_for(spark: SparkSession, shuffled_bytes: int) -> Iterator[None]:
    """Inside, a local session sizes its shuffles for this number of bytes; a cluster keeps its own settings."""
    master = spark.conf.get("spark.master", None) or ""
    local = master.startswith("local")
    wanted = max(cores_of(master), -(-shuffled_bytes // _PARTITION_BYTES)) if local else 0
    with with_settings(spark, dict.fromkeys(SHUFFLE_PARTITIONS, str(wanted)) if local else {}):
        yield


@contextmanager
def with_settings(spark: SparkSession, settings: dict[str, str]) -> Iterator[None]:
    """Inside, the session has these settings; afterwards its former ones."""
    before = {name: spark.conf.get(name, None) for name in settings}
    try:
        for name, value in settings.items():
            spark.conf.set(name, value)
        yield
    finally:
        for name, found in before.items():
            if found is None:
                spark.conf.unset(name)
            else:
                spark.conf.set(name, found)


def spark_uri(path: str | Path) -> str:
    """The path in the form for Spark and Hadoop: a URL unchanged, and a path without a scheme as a `file:` URI.

    A path without a scheme lies on `fs.defaultFS`, which is HDFS wherever a Hadoop configuration says so.
    """
    text = str(path)
    if text.startswith("s3://"):  # Hadoop knows it only by its own client's name
        return f"s3a://{text.removeprefix('s3://')}"
    if "://" in text or text.startswith("file:/"):
        return text
    there = Path(text).absolute()
    if ".." in there.parts:  # Hadoop drops the folder before it, which is wrong where that is a link
        there = there.parent.resolve() / there.name
    return f"file:{there}"


@contextmanager
def plain_errors() -> Iterator[None]:
    """Inside, an error of Spark or Delta is raised as one InputError with its innermost reason."""
    try:
        yield
    except DeltaError as error:
        if is_no_space(error):
            raise
        message = f"delta-rs could not do it: {error}. Nothing half-written is left: run the job again"
        raise InputError(message) from error
    except (*SPARK_ERRORS, Py4JError, ConnectionError) as error:
        if ended := how_java_ended(wait=not isinstance(error, SPARK_ERRORS)):
            raise InputError(f"Spark's Java process ended {ended} while it worked. {_OUT_OF_MEMORY}") from error
        if not isinstance(error, SPARK_ERRORS):
            raise
        if is_no_space(error):
            raise  # the job's command line knows the paths, and names the full one
        if gone := _GONE.search(str(error)):
            raise InputError(
                f"{gone.group(1)}: this file is gone. ./feedloop maintain removes what only old versions hold, after "
                "its retention: name a later --as-of, or, if this was a run without it, run it again"
            ) from error
        if "Python worker exited unexpectedly" in str(error):
            raise InputError(f"a Python worker of Spark ended while it worked. {_OUT_OF_MEMORY}") from error
        reasons = re.findall(r"Caused by: (.+)", str(error)) or [str(error).strip().splitlines()[0]]
        raise InputError(
            f"Spark could not do it: {reasons[-1]}. Nothing half-written is left: mend it and run the job again "
            "(FEEDLOOP_SPARK_LOG=FILE keeps Spark's own log)"
        ) from error


def cores_of(master: str) -> int:
    """The cores of a local master: local is one, local[*] all."""
    asked = re.match(r"local\[(\d+|\*)", master)
    cores = "1" if asked is None else asked.group(1)
    return len(os.sched_getaffinity(0)) if cores == "*" else int(cores)

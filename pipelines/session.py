"""What every session has, whatever runs it: Delta, UTC, paths as Spark takes them, errors as users read them."""

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

SPARK_ERRORS = (PySparkException, Py4JJavaError)  # what Spark and Delta raise, before or after they planned the work
DELTA_CLASS = "io.delta.sql.DeltaSparkSessionExtension"
ZONE = "spark.sql.session.timeZone"
SHUFFLE_PARTITIONS = ("spark.sql.shuffle.partitions", "spark.sql.adaptive.coalescePartitions.initialPartitionNum")
_PARTITION_BYTES = 96 << 20  # of a shuffle in a local run: between 64 and 128 MB they sort without spilling in 2 GB

_OUT_OF_MEMORY = (
    "Where nobody killed it, the system did, out of memory: give Java less (FEEDLOOP_DRIVER_MEMORY=2g), or the machine "
    "more. Nothing half-written is left: run the job again"
)

_GONE = re.compile(  # as Spark says it, and as Sail does
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
_ENGINE = "feedloop.engine"  # a setting of the session, by which code finds out on what it runs
CONNECT_MODE = "SPARK_CONNECT_MODE_ENABLED"  # the variable by which pyspark's functions know whose frames they make


def mark_embedded(spark: SparkSession) -> None:
    """From now on `is_embedded` knows the session as one of the embedded engine."""
    spark.conf.set(_ENGINE, "embedded")


def is_embedded(spark: SparkSession) -> bool:
    """Whether the session is one of the embedded engine. Stands here, for Spark's workers need no engine loaded."""
    return spark.conf.get(_ENGINE, None) == "embedded"


@contextmanager
def sized_for(spark: SparkSession, shuffled_bytes: int) -> Iterator[None]:
    """Inside, a local session cuts its shuffles for this many bytes; a cluster's own settings are left alone."""
    master = spark.conf.get("spark.master", None) or ""
    local = master.startswith("local")
    wanted = max(cores_of(master), -(-shuffled_bytes // _PARTITION_BYTES)) if local else 0
    with with_settings(spark, dict.fromkeys(SHUFFLE_PARTITIONS, str(wanted)) if local else {}):
        yield


@contextmanager
def with_settings(spark: SparkSession, settings: dict[str, str]) -> Iterator[None]:
    """Inside, the session has these settings; afterwards those that it had."""
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
    """The path as Spark and Hadoop must be told it: a URL as it is, and what has no scheme as a `file:` URI.

    A path without a scheme lies on `fs.defaultFS`, which is HDFS wherever a Hadoop configuration says so.
    """
    text = str(path)
    if text.startswith("s3://"):  # Hadoop has no other name for it than that of its own client
        return f"s3a://{text.removeprefix('s3://')}"
    if "://" in text or text.startswith("file:/"):
        return text
    there = Path(text).absolute()
    if ".." in there.parts:  # Hadoop takes the folder before it away; where that is a link, it is another folder
        there = there.parent.resolve() / there.name
    return f"file:{there}"


@contextmanager
def plain_errors() -> Iterator[None]:
    """Inside, what Spark or Delta cannot do comes out as one InputError with its innermost reason."""
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
    """Of a local master: local is one, local[*] all."""
    asked = re.match(r"local\[(\d+|\*)", master)
    cores = "1" if asked is None else asked.group(1)
    return len(os.sched_getaffinity(0)) if cores == "*" else int(cores)

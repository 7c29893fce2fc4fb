"""Opens what a job of the Spark half starts from: its lake, on a cluster after a check of the executors; its source."""

from __future__ import annotations

from pyspark.sql import SparkSession

from pipelines.engine.agreement import check_agreement
from pipelines.lake.tables import Lake
from schemas.errors import InputError
from schemas.storage.place import Place


def open_lake(spark: SparkSession, lake: Place, *reads: Place | None) -> Lake:
    """The lake. `reads`: other places that tasks read. InputError where executors differ from this process or do not
    reach what the job names.

    Tasks access a lake behind a URL through Spark's own Java, by settings of its own: Spark reports what fails there.
    """
    tables = Lake(spark, lake)
    root = Place.of(tables.root)
    check_agreement(spark, [*([root] if root.is_local else []), *reads])
    return tables


def checked_source(source: str) -> str:
    """The source, if it can name a partition; InputError otherwise."""
    if not source.strip():
        raise InputError("--source is empty: name the publisher that the data comes from")
    return source

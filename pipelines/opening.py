"""A job's lake, opened: on a cluster once driver and executors were found to agree."""

from __future__ import annotations

from pyspark.sql import SparkSession

from pipelines.engine.agreement import check_agreement
from pipelines.tables import Lake
from schemas.storage.place import Place


def open_lake(spark: SparkSession, lake: Place, *reads: Place | None) -> Lake:
    """The lake. `reads`: other places that tasks read. InputError where executors are not as this process is, or do
    not reach what the job names.

    Of a lake behind a URL tasks read and write in Spark's own Java, by settings of its own: it says itself what fails.
    """
    tables = Lake(spark, lake)
    root = Place.of(tables.root)
    check_agreement(spark, [*([root] if root.is_local else []), *reads])
    return tables

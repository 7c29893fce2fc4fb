"""Finds out whether tasks run on the driver's machine. Not in choice.py: tasks load this without an engine."""

from __future__ import annotations

from pyspark.sql import SparkSession
from pyspark.sql.connect.session import SparkSession as Connected

from pipelines.session import is_embedded


def on_one_machine(spark: SparkSession) -> bool:
    """Whether driver and executors are certain to share temporary files."""
    if is_embedded(spark):
        return True
    connected: object = spark
    return not isinstance(connected, Connected) and (spark.conf.get("spark.master", None) or "").startswith("local")

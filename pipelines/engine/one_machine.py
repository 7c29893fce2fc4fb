"""Whether a session's tasks run where the driver does. Apart from choice.py: tasks load this, and no engine."""

from __future__ import annotations

from pyspark.sql import SparkSession
from pyspark.sql.connect.session import SparkSession as Connected

from pipelines.session import is_embedded


def on_one_machine(spark: SparkSession) -> bool:
    """Whether driver and executors are certain to see the same temporary files."""
    if is_embedded(spark):
        return True
    connected: object = spark
    return not isinstance(connected, Connected) and (spark.conf.get("spark.master", None) or "").startswith("local")

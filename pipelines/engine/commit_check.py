"""Checks that Spark can commit to a table on S3 while others write: Delta's own log store there loses commits."""

from __future__ import annotations

from pyspark.sql import SparkSession

from pipelines.engine.s3 import LOG_STORE, LOG_STORE_CLASS_SETTING, LOG_STORE_JAR, LOG_STORE_SETTING
from pipelines.session import is_embedded
from schemas.errors import InputError

_UNSAFE = "S3SingleDriverLogStore"  # Delta's own, also where a session names it
_MANAGED = "spark.databricks.clusterUsageTags.clusterId"  # Databricks has its own commit service


def check_commits(spark: SparkSession, root: str) -> None:
    """InputError for a lake on S3 where the session's log store can lose one of two simultaneous commits."""
    if not root.startswith("s3://") or is_embedded(spark) or spark.conf.get(_MANAGED, None) is not None:
        return
    named = spark.conf.get(LOG_STORE_SETTING, None) or spark.conf.get(LOG_STORE_CLASS_SETTING, None)
    if named is None or named.endswith(_UNSAFE):
        raise InputError(
            f"{root}: two Spark processes that write a Delta table on S3 lose commits of one another without a word, "
            f"for Delta's own log store there ({_UNSAFE}) does not ask whether a commit is there already. Start Spark, "
            f"or the Connect server, with feedloop's: --conf {LOG_STORE_SETTING}={LOG_STORE}, and {LOG_STORE_JAR} "
            "with the other files of build/jars by --jars (./feedloop setup collects them). Or use --engine embedded"
        )

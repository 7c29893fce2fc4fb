"""Whether Spark can commit to a table on S3 beside others: Delta's own way to write its log there loses commits."""

from __future__ import annotations

from pyspark.sql import SparkSession

from pipelines.session import is_embedded
from schemas.errors import InputError

_LOG_STORES = ("spark.delta.logStore.s3a.impl", "spark.delta.logStore.s3.impl", "spark.delta.logStore.class")
_MANAGED = "spark.databricks.clusterUsageTags.clusterId"  # Databricks has its own commit service


def check_commits(spark: SparkSession, root: str) -> None:
    """InputError for a lake on S3 where the session names no log store of which one of two writers wins."""
    if not root.startswith("s3://") or is_embedded(spark):
        return
    if all(spark.conf.get(name, None) is None for name in (*_LOG_STORES, _MANAGED)):
        raise InputError(
            f"{root}: two Spark processes that write a Delta table on S3 lose commits of one another without a word, "
            "for Delta's own log store there does not ask whether a commit is there already. Use --engine embedded, or "
            f"give Spark a log store that does, by {_LOG_STORES[0]}, such as io.delta.storage.S3DynamoDBLogStore"
        )

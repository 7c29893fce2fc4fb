"""Places a lake in a schema of Spark's catalogue (Hive, Unity) and registers its tables there by name.

feedloop reads and writes them by their paths, as everywhere. The names are for queries: schema.impressions.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from pipelines.delta.table_ddl import literal
from pipelines.session import is_embedded, spark_uri
from schemas.errors import InputError
from schemas.storage.place import Place
from schemas.table import Table

_MANAGED = "__unitystorage"  # Unity's folders of tables that cannot be opened by path
_TEMPORARY = "feedloop-spark-"  # folders that are removed when our process ends
_MAKE = "Make it with CREATE SCHEMA {schema} LOCATION '…', a folder that all machines share or a URL"


def lake_location(spark: SparkSession, lake: str | Path | Place) -> str | Path | Place:
    """The lake as given; for a schema, its LOCATION. InputError where feedloop cannot keep tables there."""
    place = Place.of(lake)
    schema = place.schema
    if schema is None:
        return lake
    if is_embedded(spark):
        raise InputError(
            f"{place}: the embedded engine has no catalogue. Run the job on Spark (--engine spark, spark-submit or "
            "--remote) with one, or name the folder or URL where the schema's tables lie"
        )
    location = _location(spark, schema)
    if _MANAGED in location:
        raise InputError(
            f"{place}: its tables lie in storage that Unity Catalog manages ({location}), and it lets nobody open "
            "those by path. Name an external location as --lake, and make external tables of it: CREATE TABLE … "
            "USING delta LOCATION '…'"
        )
    if _TEMPORARY in location:
        raise InputError(
            f"{place}: lies in {location}, which ends with the process that made it. {_MAKE.format(schema='NAME')}"
        )
    return Place.of(location)


def registrar(spark: SparkSession, lake: str | Path | Place) -> Callable[[Table, str], None]:
    """A function that registers the table at a path in the lake's schema, once; without a schema it does nothing."""
    schema = Place.of(lake).schema
    done: set[str] = set()

    def register(table: Table, path: str) -> None:
        if schema is None or table.name in done:
            return
        name = f"{_quoted(schema)}.`{table.name}`"
        spark.sql(f"CREATE TABLE IF NOT EXISTS {name} USING delta LOCATION {literal(spark_uri(path))}")
        at = spark.sql(f"DESCRIBE DETAIL {name}").select("location").first()
        if at is None or Place.of(at[0]) != Place.of(path):
            raise InputError(
                f"{schema}.{table.name}: this name is another table's, at {at and at[0]}, and ours lies at {path}. "
                "Drop it (an external table's files stay) or name another schema"
            )
        done.add(table.name)

    return register


def _location(spark: SparkSession, schema: str) -> str:
    try:
        rows = spark.sql(f"DESCRIBE SCHEMA EXTENDED {_quoted(schema)}").collect()
    except PySparkException as error:
        if "SCHEMA_NOT_FOUND" not in (error.getCondition() or str(error)):
            raise
        raise InputError(
            f"catalog:{schema}: Spark's catalogue has no such schema. {_MAKE.format(schema=schema)}. A catalogue that "
            "outlives this process is a setting: spark.sql.catalogImplementation=hive, spark.sql.catalog.NAME"
        ) from error
    found = {row[0]: row[1] for row in rows}
    location = found.get("Location") or found.get("RootLocation")
    if not location:
        raise InputError(f"catalog:{schema}: has no LOCATION. {_MAKE.format(schema='NAME')}")
    return str(location)


def _quoted(schema: str) -> str:
    return ".".join(f"`{part}`" for part in schema.split("."))

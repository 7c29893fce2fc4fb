"""Writes and commits rows by Apache Spark and Delta, in SQL and options that Spark Connect supports too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from uuid import uuid4

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines.delta.commits import Changes, Mark, latest_commits
from pipelines.delta.log import open_table
from pipelines.delta.merge import GONE, INCOMING, OLD, STORED, Merge
from pipelines.delta.table_ddl import literal
from pipelines.engine.data_files import Staged
from pipelines.engine.scratch import Keep
from pipelines.session import spark_uri, with_settings
from schemas.table import Table

_SETTINGS = {
    "txnAppId": "spark.databricks.delta.write.txnAppId",
    "txnVersion": "spark.databricks.delta.write.txnVersion",
    "userMetadata": "spark.databricks.delta.commitInfo.userMetadata",
}
_FILE_SIZES = [f"spark.databricks.delta.optimize.{name}FileSize" for name in ("min", "max")]
_FEW = 50_000  # rows of some KB that every task can hold: the stored rows are then not shuffled


class SparkWriter:
    """Implements `writer.Writer`."""

    def append(
        self, table: Table, path: str, rows: DataFrame | Staged, mark: Mark, times: DataFrame | None = None
    ) -> int:
        """Add the rows and return their number; new columns are added to the table. `times`: as in the lake's
        `append`.
        """
        del table, times
        rows = rows if isinstance(rows, DataFrame) else rows.frame
        before = open_table(path).version()
        writer = rows.write.format("delta").mode("append").option("mergeSchema", True)
        writer.options(**_options(mark)).save(spark_uri(path))
        since = latest_commits(path, open_table(path).version() - before)
        return next((each.changes.inserted for each in since if each.app == (mark.app_id, mark.app_version)), 0)

    @contextmanager
    def staged(self, table: Table, path: str, rows: DataFrame, keep: Keep) -> Iterator[Staged]:
        """Inside, the rows are stored, and `append` can add them."""
        del table, path
        yield Staged(keep(rows))

    def overwrite(self, table: Table, path: str, rows: DataFrame, where: str | None, mark: Mark) -> None:
        """Replace all rows, or those for which `where` holds; new columns are added to the table."""
        del table
        writer = rows.write.format("delta").mode("overwrite").option("mergeSchema", True)
        writer = writer if where is None else writer.option("replaceWhere", where)
        writer.options(**_options(mark)).save(spark_uri(path))

    def merge(self, table: Table, path: str, rows: DataFrame, how: Merge, mark: Mark) -> Changes:
        """Update the stored rows that match, insert the others."""
        del table  # Delta knows it
        same = [f"{STORED}.{_name(name)} = {INCOMING}.{_name(name)}" for name in how.key]
        update = "" if how.update_when is None else f" AND ({how.update_when})"
        clauses = [
            f"WHEN MATCHED{update} THEN UPDATE SET {_assigned(how.set_on_match.items())}",
            f"WHEN NOT MATCHED THEN INSERT ({', '.join(map(_name, how.values))}) "
            f"VALUES ({', '.join(f'{INCOMING}.{_name(name)}' for name in how.values)})",
        ]
        return _merged(path, rows, [*same, *([] if how.where is None else [f"({how.where})"])], clauses, mark)

    def change(self, table: Table, path: str, rows: DataFrame, where: str, mark: Mark) -> Changes:
        """Replace or delete the stored rows that `old` names by its key.

        Without rows to insert, Delta joins by a broadcast of the incoming rows; otherwise it sorts all stored ones.
        """
        del table
        count = rows.count()
        if count == 0:
            return Changes()
        few = F.broadcast(rows) if count <= _FEW else rows
        old = rows.select(f"{OLD}.*").columns
        same = [f"{STORED}.{_name(name)} = {INCOMING}.{OLD}.{_name(name)}" for name in old]
        values = ((n, f"{INCOMING}.{_name(n)}") for n in rows.columns if n not in (OLD, GONE))
        clauses = [
            f"WHEN MATCHED AND {INCOMING}.{GONE} THEN DELETE",
            f"WHEN MATCHED THEN UPDATE SET {_assigned(values)}",
        ]
        return _merged(path, few, [*same, f"({where})"], clauses, mark)


def compact_by_spark(
    spark: SparkSession,
    path: str,
    partitions: Mapping[str, Sequence[str]],
    order: Sequence[str],
    mark: Mark,
    *,
    small_bytes: int,
) -> None:
    """Merge small files of these partitions (column -> values), or rewrite all of them in this order."""
    inside = (f"{_name(n)} IN ({', '.join(map(literal, values))})" for n, values in partitions.items())
    by = f" ZORDER BY ({', '.join(map(_name, order))})" if order else ""
    sizes = dict.fromkeys(_FILE_SIZES, str(small_bytes))
    with _marked(spark, mark), with_settings(spark, sizes):
        spark.sql(f"OPTIMIZE delta.`{spark_uri(path)}` WHERE {' AND '.join(inside)}{by}").collect()


def _merged(path: str, rows: DataFrame, conditions: Sequence[str], clauses: Sequence[str], mark: Mark) -> Changes:
    spark, view = rows.sparkSession, f"incoming_{uuid4().hex}"
    rows.createOrReplaceTempView(view)
    into = f"MERGE INTO delta.`{spark_uri(path)}` AS {STORED} USING {view} AS {INCOMING} ON {' AND '.join(conditions)}"
    try:
        with _marked(spark, mark):
            found = spark.sql(" ".join([into, *clauses])).collect()
    finally:
        spark.catalog.dropTempView(view)
    if not found:  # a replay
        return Changes()
    return Changes(*(found[0][f"num_{kind}_rows"] for kind in ("inserted", "updated", "deleted")))


@contextmanager
def _marked(spark: SparkSession, mark: Mark) -> Iterator[None]:
    """Inside, a MERGE, which takes no options, stores the mark in its commit."""
    with with_settings(spark, {_SETTINGS[name]: value for name, value in _options(mark).items()}):
        yield


def _options(mark: Mark) -> dict[str, str]:
    """The options of a DataFrame's writer."""
    pair = {} if mark.app_id is None else {"txnAppId": mark.app_id, "txnVersion": str(mark.app_version)}
    text = mark.user_metadata()
    return pair if text is None else pair | {"userMetadata": text}


def _assigned(values: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{_name(name)} = {value}" for name, value in values)


def _name(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"

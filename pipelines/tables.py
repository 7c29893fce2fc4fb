"""The lake: reads and writes contract tables as Delta; the only place that knows their paths and formats."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from delta.tables import DeltaTable
from pyspark.sql import Column, DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from pipelines.conform import conform
from schemas.errors import InputError
from schemas.table import Table

STORED, INCOMING = "stored", "incoming"  # how MERGE expressions name the two sides
_MADE_BY = {
    "raw_log": "ingest",
    "rejects": "ingest",
    "impressions": "ingest",
    "histories": "ingest",
    "ingest_runs": "ingest",
    "news": "prepare_news",
    "item_tokens": "prepare_news",
    "trajectories": "build_trajectories",
    "evaluation": "build_trajectories",
}
_NOTE = "feedloop."  # prefix of our own table properties
_TXN = "spark.databricks.delta.write."


class Lake:
    """The Delta tables below one root: a folder, or a URL that Spark can write to."""

    def __init__(self, spark: SparkSession, root: str) -> None:
        self.spark = spark
        self.root = root.rstrip("/") if "://" in root else str(Path(root).resolve())
        if "://" not in root and Path(root).exists() and not Path(root).is_dir():
            raise InputError(f"{root}: the lake must be a folder, and this is a file. Name another place")

    def path(self, table: Table) -> str:
        """Where the table lies."""
        return f"{self.root}/{table.name}"

    def exists(self, table: Table) -> bool:
        """Whether the table has been made."""
        return DeltaTable.isDeltaTable(self.spark, self.path(table))

    def version(self, table: Table) -> int:
        """The table's current Delta version."""
        self._require(table)
        latest = DeltaTable.forPath(self.spark, self.path(table)).history(1).select("version").first()
        assert latest is not None, "a Delta table has at least one version"
        return int(latest["version"])

    def read(self, table: Table, *, version: int | None = None) -> DataFrame:
        """The table's rows, now or as of a version."""
        self._require(table)
        reader = self.spark.read.format("delta")
        return (reader if version is None else reader.option("versionAsOf", version)).load(self.path(table))

    def table_id(self, table: Table) -> str:
        """The id that Delta gave the table when it was made; no other table has it."""
        return str(self._detail(table)["id"])

    def notes(self, table: Table) -> dict[str, str]:
        """What stages noted about the table: how its rows were made."""
        found = self._detail(table)["properties"].items()
        return {name.removeprefix(_NOTE): value for name, value in found if name.startswith(_NOTE)}

    def note(self, table: Table, name: str, value: str) -> None:
        """Note something about the table, in a commit of its own unless it is noted already."""
        if self.notes(table).get(name) != value:
            pair = " = ".join(literal(text) for text in (_NOTE + name, value))
            self.spark.sql(f"ALTER TABLE delta.`{self.path(table)}` SET TBLPROPERTIES ({pair})")

    def _detail(self, table: Table) -> Row:
        self._require(table)
        detail = DeltaTable.forPath(self.spark, self.path(table)).detail().select("id", "properties").first()
        assert detail is not None, "a Delta table has its detail"
        return detail

    def create(self, table: Table) -> bool:
        """Make the table, empty, if it is missing; says whether it was."""
        if self.exists(table):
            return False
        making = DeltaTable.createIfNotExists(self.spark).location(self.path(table)).comment(table.meaning)
        for column in table.columns:  # Delta has no NOT NULL inside arrays, so their elements stay nullable there
            making = making.addColumn(column.name, column.dtype, nullable=column.nullable, comment=column.meaning)
        # Readers that are not Spark refuse tables with deletion vectors.
        making.partitionedBy(*table.partition_by).property("delta.enableDeletionVectors", "false").execute()
        return True

    def append(self, table: Table, frame: DataFrame, *, app_id: str, app_version: int) -> None:
        """Add rows once: a second call with the same or a smaller version of `app_id` changes nothing."""
        with self._made(table):
            (
                conform(frame, table)
                .write.format("delta")
                .mode("append")
                .option("txnAppId", app_id)
                .option("txnVersion", app_version)
                .save(self.path(table))
            )

    def overwrite(self, table: Table, frame: DataFrame, *, where: str | None = None) -> None:
        """Replace all rows, or those for which `where` holds, in one commit."""
        with self._made(table):
            writer = conform(frame, table).write.format("delta").mode("overwrite")
            (writer if where is None else writer.option("replaceWhere", where)).save(self.path(table))

    def merge(
        self,
        table: Table,
        frame: DataFrame,
        *,
        set_on_match: Mapping[str, str | Column] | None,
        app_id: str,
        app_version: int,
        update_when: str | Column | None = None,
        delete_when: str | Column | None = None,
    ) -> None:
        """MERGE by the table's key, once per version of `app_id`: update or delete what matches, insert the rest.

        Expressions say `stored.x` and `incoming.x`. Columns of `frame` beyond the contract may serve `delete_when`;
        a row whose key is new is inserted in any case.
        """
        with self._made(table) as new:
            if new:  # nothing can match: the same rows at half the price
                self.append(table, frame, app_id=app_id, app_version=app_version)
                return
            extra = [name for name in frame.columns if name not in table.column_names]
            incoming = frame.select(*(F.col(name).cast(kind) for name, kind in _types(table)), *extra)
            same_key = " AND ".join(f"{STORED}.{name} = {INCOMING}.{name}" for name in table.key)
            merging = DeltaTable.forPath(self.spark, self.path(table)).alias(STORED)
            building = merging.merge(incoming.alias(INCOMING), same_key)
            if delete_when is not None:
                building = building.whenMatchedDelete(delete_when)
            if set_on_match is not None:
                building = building.whenMatchedUpdate(update_when, dict(set_on_match))
            values: dict[str, str | Column] = {name: f"{INCOMING}.{name}" for name in table.column_names}
            with self._transaction(app_id, app_version):
                building.whenNotMatchedInsert(values=values).execute()

    def _require(self, table: Table) -> None:
        if not self.exists(table):
            job = _MADE_BY.get(table.name, table.name)
            raise InputError(f"{self.path(table)}: no table {table.name} there. Make it with ./feedloop {job}")

    @contextmanager
    def _made(self, table: Table) -> Iterator[bool]:
        """Inside, the table exists (True if it was made for this write); a failed first write leaves no table."""
        new = self.create(table)
        try:
            yield new
        except BaseException:
            if new:
                self._remove(table)
            raise

    def _remove(self, table: Table) -> None:
        jvm, context = self.spark.sparkContext._jvm, self.spark.sparkContext._jsc
        assert jvm is not None, "a session has a JVM"
        path = jvm.org.apache.hadoop.fs.Path(self.path(table))
        path.getFileSystem(context.hadoopConfiguration()).delete(path, True)
        jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()  # it may still hold the removed table's snapshot

    @contextmanager
    def _transaction(self, app_id: str, app_version: int) -> Iterator[None]:
        """Inside, a MERGE carries the pair that makes its replay a no-op."""
        self.spark.conf.set(_TXN + "txnAppId", app_id)
        self.spark.conf.set(_TXN + "txnVersion", str(app_version))
        try:
            yield
        finally:
            self.spark.conf.unset(_TXN + "txnAppId")
            self.spark.conf.unset(_TXN + "txnVersion")


def named(source: str) -> str:
    """The source, if it can name a partition. InputError otherwise."""
    if not source.strip():
        raise InputError("--source is empty: name the publisher that the data comes from")
    return source


def _types(table: Table) -> list[tuple[str, str]]:
    return [(column.name, column.dtype) for column in table.columns]


def literal(text: str) -> str:
    """The text as a literal of Spark SQL."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"

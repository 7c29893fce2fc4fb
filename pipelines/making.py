"""A contract's table: made empty with its rules, or, where an older version of feedloop made it, brought up to them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from delta.tables import DeltaTable
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines.conform import conform
from pipelines.delta_log import Snapshot, in_sql, remove_log_without_commit, snapshot
from pipelines.session import located
from schemas.embedding import EMBEDDINGS
from schemas.errors import ContractError, InputError
from schemas.impression import ALIASES, HISTORIES, IMPRESSIONS
from schemas.news import CORPUS_STATISTICS, ITEM_TOKENS, NEAR_DUPLICATES, NEWS
from schemas.raw_log import INGEST_FILES, INGEST_RUNS, RAW_LOG, REJECTS
from schemas.table import Table
from schemas.trajectory import EVALUATION, TRAJECTORIES

TABLES_OF = {  # job -> the tables that it makes
    "ingest": (RAW_LOG, REJECTS, INGEST_FILES, IMPRESSIONS, ALIASES, HISTORIES, INGEST_RUNS),
    "prepare_news": (NEWS, CORPUS_STATISTICS, ITEM_TOKENS, NEAR_DUPLICATES),
    "build_trajectories": (TRAJECTORIES, EVALUATION),
    "export_embeddings": (EMBEDDINGS,),
}
TABLES = tuple(table for made in TABLES_OF.values() for table in made)
_CONSTRAINT = "delta.constraints."
_DELETION_VECTORS = "delta.enableDeletionVectors"


def job_of(table: Table) -> str:
    """The job that makes the table."""
    return next((job for job, made in TABLES_OF.items() if table in made), table.name)


def make(spark: SparkSession, table: Table, path: str) -> None:
    """The table at `path`, empty and with its rules, in one commit.

    CHECK constraints are properties here, which is how Delta stores them: ALTER TABLE would check each one by a scan.
    """
    try:
        _make(spark, table, path)
    except AnalysisException as error:
        if "DELTA_TABLE_NOT_FOUND" not in str(error):
            raise
        remove_log_without_commit(spark, path)  # what a full disk or a kill left of an earlier first commit
        _make(spark, table, path)


def _make(spark: SparkSession, table: Table, path: str) -> None:
    making = DeltaTable.createIfNotExists(spark).location(located(path)).comment(table.meaning)
    for column in table.columns:  # Delta has no NOT NULL inside arrays, so their elements stay nullable there
        making = making.addColumn(column.name, column.dtype, nullable=column.nullable, comment=column.meaning)
    for check in table.checks:
        making = making.property(_CONSTRAINT + check.name.lower(), check.sql)
    making.partitionedBy(*table.partition_by).property(_DELETION_VECTORS, _vectors(table)).execute()


def bring_up_to_date(spark: SparkSession, table: Table, path: str) -> None:
    """Give the table at `path` what its contract has and it lacks: nullable columns, constraints, properties.

    Costs a look at the log where nothing is lacking. A new constraint is checked by Delta against all rows, once.
    """
    for statement in _lacking(table, path, snapshot(spark, path)):
        try:
            spark.sql(f"ALTER TABLE {in_sql(path)} {statement}")
        except AnalysisException as error:
            if "DELTA_NEW_CHECK_CONSTRAINT_VIOLATION" not in str(error):
                raise
            raise ContractError(
                f"{path}: the table holds rows that break a rule of its contract ({statement}). {_made_anew(table)}"
            ) from error


def with_contract_columns(frame: DataFrame, table: Table, path: str) -> DataFrame:
    """The stored rows with every column of the contract: null where the table is older than the column."""
    missing = [column for column in table.columns if column.name not in frame.columns]
    _refuse_required(table, path, [column.name for column in missing if not column.nullable])
    return frame.withColumns({c.name: F.lit(None).cast(c.dtype) for c in missing}) if missing else frame


def shaped(frame: DataFrame, table: Table, *, keep_others: bool) -> tuple[DataFrame, list[str]]:
    """The frame in the contract's columns and types, its other columns behind them if asked for; their names."""
    others = [name for name in frame.columns if name not in table.column_names]
    contract = conform(frame, table)
    if not (keep_others and others):
        return contract, others
    return frame.select(*(F.col(c.name).cast(c.dtype).alias(c.name) for c in table.columns), *others), others


def _lacking(table: Table, path: str, found: Snapshot) -> Iterator[str]:
    missing = [column for column in table.columns if column.name not in found.columns]
    _refuse_required(table, path, [column.name for column in missing if not column.nullable])
    if missing:
        columns = (f"`{c.name}` {c.dtype} COMMENT {literal(c.meaning)}" for c in missing)
        yield f"ADD COLUMNS ({', '.join(columns)})"
    if found.properties.get(_DELETION_VECTORS, "false") != _vectors(table):
        yield f"SET TBLPROPERTIES ('{_DELETION_VECTORS}' = '{_vectors(table)}')"
    for check in table.checks:
        held = found.properties.get(_CONSTRAINT + check.name.lower())
        if held is not None and _bare(held) != _bare(check.sql):  # the rule has changed since
            yield f"DROP CONSTRAINT `{check.name}`"
            held = None
        if held is None:
            yield f"ADD CONSTRAINT `{check.name}` CHECK ({check.sql})"


def _refuse_required(table: Table, path: str, columns: list[str]) -> None:
    if columns:
        raise InputError(
            f"{path}: this table lacks {columns}, which every row of {table.name} has by now: an older feedloop made "
            f"it. {_made_anew(table)}"
        )


def _made_anew(table: Table) -> str:
    job = job_of(table)
    names = [made.name for made in TABLES_OF.get(job, (table,))]
    return f"Name a new --lake, or move this lake's {', '.join(names)} away, and run ./feedloop {job}"


def _bare(expression: str) -> str:
    """The expression as it can be compared: Delta writes the spaces between its words anew."""
    return re.sub(r"\s", "", expression)


def _vectors(table: Table) -> str:
    return str(table.deletion_vectors).lower()


def literal(text: str) -> str:
    """The text as a literal of Spark SQL."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"

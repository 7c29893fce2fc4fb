"""Creates a contract's table with its rules, brings an older feedloop's table up to it, and casts rows to it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from deltalake import DeltaTable, Field, Schema
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines.delta.delta_errors import broken_rule
from pipelines.delta.log import RULE, Snapshot, open_table, snapshot
from pipelines.delta.reading import delta_frame
from pipelines.session import is_embedded, spark_uri
from schemas.delta_uri import table_uri
from schemas.embedding import EMBEDDINGS
from schemas.erasure import ERASURES, SUPPRESSIONS
from schemas.errors import ContractError, InputError
from schemas.impression import ALIASES, HISTORIES, IMPRESSIONS
from schemas.news import CORPUS_STATISTICS, ITEM_TOKENS, NEAR_DUPLICATES, NEWS
from schemas.raw_log import INGEST_FILES, INGEST_RUNS, RAW_LOG, REJECTS
from schemas.storage.files import remove_folder
from schemas.storage.place import Place
from schemas.table import Column, Table, element_type
from schemas.trajectory import EVALUATION, TRAJECTORIES

TABLES_OF = {  # job -> the tables that it creates
    "ingest": (RAW_LOG, REJECTS, INGEST_FILES, IMPRESSIONS, ALIASES, HISTORIES, INGEST_RUNS),
    "prepare_news": (NEWS, CORPUS_STATISTICS, ITEM_TOKENS, NEAR_DUPLICATES),
    "build_trajectories": (TRAJECTORIES, EVALUATION),
    "export_embeddings": (EMBEDDINGS,),
    "forget": (SUPPRESSIONS, ERASURES),
}
TABLES = tuple(table for made in TABLES_OF.values() for table in made)
_DELETION_VECTORS = "delta.enableDeletionVectors"
_WRITER_OF_RULES = 3  # the first writer version that keeps a table's constraints
_LOG_NAMES = {"int": "integer"}  # contract type -> its name in Delta's log, where they differ


def job_of(table: Table) -> str:
    """The job that creates the table."""
    return next((job for job, made in TABLES_OF.items() if table in made), table.name)


def create_table(table: Table, path: str) -> None:
    """Create the table at `path`, empty, and add its rules in further commits."""
    made = DeltaTable.create(
        table_uri(path),
        schema=Schema.from_json(json.dumps({"type": "struct", "fields": [_field(c) for c in table.columns]})),
        partition_by=list(table.partition_by) or None,
        description=table.meaning,
        configuration={_DELETION_VECTORS: "false"},
        mode="ignore",  # another run may have created it meanwhile
    )
    if made.version() == 0 and table.checks:
        _set_rules(path, _rules(table))


@contextmanager
def removed_on_failure(new: bool, path: str) -> Iterator[bool]:
    """Inside, rows are written to the table at `path`; gives `new`. A failure removes a new table that is empty."""
    version = snapshot(path).version
    try:
        yield new
    except BaseException:
        # Where the version has moved, another run has written here meanwhile.
        if new and snapshot(path).version == version:
            remove_folder(Place.of(path))
        raise


def bring_up_to_date(spark: SparkSession, table: Table, path: str) -> None:
    """Add to the table at `path` what its contract has and it lacks: nullable columns, rules, properties.

    Reads only the log where nothing is lacking. A new rule is checked against all rows, once.
    """
    found = snapshot(path)
    missing = [column for column in table.columns if column.name not in found.columns]
    _refuse_required(table, path, [column.name for column in missing if not column.nullable])
    if missing:
        open_table(path).alter.add_columns([Field.from_json(json.dumps(_field(column))) for column in missing])
    rules = _lacking_rules(table, found)
    if rules:
        _check_rows(spark, table, path, rules)
        _set_rules(path, rules)
    if _has_vectors(found) and not table.deletion_vectors:
        open_table(path).alter.set_table_properties({_DELETION_VECTORS: "false"})
    # Only Spark writes such vectors, and it enables them for readers in the same commit.
    if table.deletion_vectors and not _has_vectors(found) and not is_embedded(spark):
        spark.sql(f"ALTER TABLE delta.`{spark_uri(path)}` SET TBLPROPERTIES ('{_DELETION_VECTORS}' = 'true')")


def _rules(table: Table) -> dict[str, str]:
    return {RULE + check.name.lower(): check.sql for check in table.checks}


def _set_rules(path: str, rules: dict[str, str]) -> None:
    """Set these CHECK constraints: as properties, which is how Delta stores them, in Spark's own SQL."""
    if open_table(path).protocol().min_writer_version < _WRITER_OF_RULES:
        # Only this makes writers keep constraints. It would write the rule itself in SQL that Spark cannot parse.
        open_table(path).alter.add_constraint({next(iter(rules)).removeprefix(RULE): "1 = 1"})
    open_table(path).alter.set_table_properties(rules, raise_if_not_exists=False)


def _lacking_rules(table: Table, found: Snapshot) -> dict[str, str]:
    """The rules of the contract that the table lacks or holds in an older form."""
    held = {name: _without_spaces(sql) for name, sql in found.properties.items()}
    return {name: sql for name, sql in _rules(table).items() if held.get(name) != _without_spaces(sql)}


def _check_rows(spark: SparkSession, table: Table, path: str, rules: dict[str, str]) -> None:
    broken = broken_rule(delta_frame(spark, path), rules)
    if broken is not None:
        raise ContractError(
            f"{path}: the table holds rows that break a rule of its contract "
            f"({broken.removeprefix(RULE)}: {rules[broken]}). {_advice_to_rebuild(table)}"
        )


def _has_vectors(found: Snapshot) -> bool:
    return found.properties.get(_DELETION_VECTORS, "false") == "true"


def _field(column: Column) -> dict[str, Any]:
    """The column in the form of Delta's log. Delta has no NOT NULL inside arrays: their elements stay nullable."""
    return {
        "name": column.name,
        "type": _type(column.dtype),
        "nullable": column.nullable,
        "metadata": {"comment": column.meaning},
    }


def _type(dtype: str) -> str | dict[str, Any]:
    element = element_type(dtype)
    if element is None:
        return _LOG_NAMES.get(dtype, dtype)
    return {"type": "array", "elementType": _type(element), "containsNull": True}


def with_contract_columns(frame: DataFrame, table: Table, path: str) -> DataFrame:
    """The stored rows with every column of the contract, in its order, then others. A column that is newer than the
    table is null.
    """
    stored = frame.columns
    missing = [column for column in table.columns if column.name not in stored]
    _refuse_required(table, path, [column.name for column in missing if not column.nullable])
    nulls = frame.withColumns({c.name: F.lit(None).cast(c.dtype) for c in missing}) if missing else frame
    ordered = [*table.column_names, *(name for name in stored if name not in table.column_names)]
    return nulls if stored == ordered else nulls.select(*(F.col(f"`{name}`") for name in ordered))


def to_contract(frame: DataFrame, table: Table, *, keep_others: bool) -> tuple[DataFrame, list[str]]:
    """The frame in the contract's columns and types, with `keep_others` followed by its other columns; their names."""
    others = [name for name in frame.columns if name not in table.column_names]
    contract = conform(frame, table)
    if not (keep_others and others):
        return contract, others
    return frame.select(*(F.col(c.name).cast(c.dtype).alias(c.name) for c in table.columns), *others), others


def _refuse_required(table: Table, path: str, columns: list[str]) -> None:
    if columns:
        raise InputError(
            f"{path}: this table lacks {columns}, which every row of {table.name} has by now: an older feedloop made "
            f"it. {_advice_to_rebuild(table)}"
        )


def _advice_to_rebuild(table: Table) -> str:
    job = job_of(table)
    names = [made.name for made in TABLES_OF.get(job, (table,))]
    return f"Name a new --lake, or move this lake's {', '.join(names)} away, and run ./feedloop {job}"


def _without_spaces(expression: str) -> str:
    """The expression in a comparable form: Delta changes the spaces between its words."""
    return re.sub(r"\s", "", expression)


def literal(text: str) -> str:
    """The text as a literal of Spark SQL."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def conform(frame: DataFrame, table: Table) -> DataFrame:
    """The columns of `table` in contract order, cast to its types; other columns are dropped."""
    missing = [name for name in table.column_names if name not in frame.columns]
    if missing:
        raise ContractError(
            f"table {table.name}: the frame has no {missing}, its columns are {frame.columns}. "
            "Add them in the stage that writes this table, or change its contract in schemas/"
        )
    try:
        rows = frame.select([F.col(column.name).cast(column.dtype).alias(column.name) for column in table.columns])
        assert rows.schema  # Spark Connect analyses a frame only on request
    except AnalysisException as error:
        found = {name: kind for name, kind in frame.dtypes if name in table.column_names}
        raise ContractError(
            f"table {table.name}: columns {found} cannot become the contract's types ({error.getCondition()}). "
            "Cast them in the stage that writes this table"
        ) from error
    return rows

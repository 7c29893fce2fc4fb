"""A contract's table: made with its rules, and brought up to them where it is older."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pyspark.sql import SparkSession

from pipelines.delta.log import snapshot
from pipelines.delta.table_ddl import TABLES, conform, create_table
from pipelines.lake.tables import Lake
from pipelines.session import is_embedded
from schemas.errors import ContractError, InputError
from schemas.impression import HISTORIES
from schemas.raw_log import INGEST_RUNS
from schemas.table import Check, Column, Table
from tests.builders import rows
from tests.lakes import LANGUAGE, SHORT, USES, WORD, WORDS, words

STRICT = replace(WORDS, checks=(SHORT, Check("used", "cardinality(uses) > 0")), deletion_vectors=True)


def constraints(lake: Lake, table: Table) -> dict[str, str]:
    """Its CHECK constraints as Delta holds them."""
    found = snapshot(lake.path(table)).properties.items()
    return {name.removeprefix("delta.constraints."): sql for name, sql in found if "constraints" in name}


def vectors(lake: Lake, table: Table) -> str:
    return snapshot(lake.path(table)).properties["delta.enableDeletionVectors"]


def marks(lake: Lake) -> str:
    """Whether the engine marks rows as deleted where the contract asks for it: only Spark does."""
    return "false" if is_embedded(lake.spark) else "true"


def test_a_table_is_made_with_its_rules_once(lake: Lake) -> None:
    assert [lake.create(STRICT) for _ in range(2)] == [True, False]
    assert sorted(constraints(lake, STRICT)) == ["short_word", "used"]
    assert vectors(lake, STRICT) == marks(lake)


def test_a_table_made_without_its_rules_gets_them_at_the_next_write(lake: Lake) -> None:
    """As where an older feedloop made it."""
    create_table(replace(WORDS, deletion_vectors=False), lake.path(WORDS))
    lake.append(STRICT, words(lake, ("en", "a", [1])), app_id="test", app_version=1)
    assert (sorted(constraints(lake, STRICT)), vectors(lake, STRICT)) == (["short_word", "used"], marks(lake))
    with pytest.raises(ContractError, match="break the rule used of table words"):
        lake.append(STRICT, words(lake, ("en", "b", [])), app_id="test", app_version=2)


def test_a_rule_that_has_changed_replaces_the_old_one(lake: Lake) -> None:
    lake.create(STRICT)
    looser = replace(WORDS, checks=(Check("short_word", "length(word) <= 9"),))
    lake.append(looser, words(lake, ("en", "longer", [1])), app_id="test", app_version=1)
    assert constraints(lake, looser)["short_word"].replace(" ", "") == "length(word)<=9"
    assert (rows(lake.read(looser), "word"), vectors(lake, looser)) == ([("longer",)], "false")


def test_rows_that_break_a_new_rule_are_an_error_with_the_way_out(lake: Lake) -> None:
    lake.overwrite(WORDS, words(lake, ("en", "longer", [1])))
    with pytest.raises(ContractError, match=r"holds rows that break a rule of its contract.*short_word.*move this"):
        lake.create(STRICT)


def test_an_older_table_gets_the_contracts_new_nullable_column(lake: Lake) -> None:
    lake.overwrite(WORDS, words(lake, ("en", "a", [1])))
    newer = replace(WORDS, columns=(LANGUAGE, Column("kind", "string", "the writer's", nullable=True), WORD, USES))
    assert rows(lake.read(newer), "word", "kind") == [("a", None)]
    lake.append(newer, words(lake, ("en", "b", [1], "noun"), more=", kind string"), app_id="test", app_version=1)
    assert rows(lake.read(newer), "word", "kind") == [("a", None), ("b", "noun")]
    assert rows(lake.read(newer, version=1), "word", "kind") == [("a", None)]


def test_an_older_table_without_a_required_column_names_the_job_that_makes_it_anew(lake: Lake) -> None:
    raw_log = next(table for table in TABLES if table.name == "raw_log")
    older = replace(raw_log, columns=tuple(column for column in raw_log.columns if column.name != "format"))
    lake.create(older)
    for use in (lake.read, lake.create):
        with pytest.raises(InputError, match=r"lacks \['format'\].*move this lake's raw_log,.*run \./feedloop ingest$"):
            use(raw_log)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_contract_can_be_made_with_its_rules(lake: Lake, table: Table) -> None:
    assert lake.create(table)
    assert set(constraints(lake, table)) == {check.name for check in table.checks}
    version = lake.version(table)
    assert not lake.create(table)
    assert lake.version(table) == version <= 3, "a rule must not be made again"
    assert lake.read(table).columns == list(table.column_names)


def test_columns_come_out_in_contract_order_and_types(spark: SparkSession) -> None:
    frame = spark.sql("SELECT 1 AS other, array('n1') AS clicks, 7 AS sequence_hash, 'u1' AS user_id, 'p' AS source")
    conformed = conform(frame, HISTORIES)
    assert conformed.dtypes == [
        ("source", "string"),
        ("user_id", "string"),
        ("sequence_hash", "bigint"),
        ("clicks", "array<string>"),
    ]
    assert rows(conformed) == [("p", "u1", 7, ["n1"])]


def test_missing_columns_are_named(spark: SparkSession) -> None:
    with pytest.raises(ContractError, match=r"table ingest_runs: the frame has no \['files', 'lines'"):
        conform(spark.sql("SELECT 'p' AS source, 1 AS batch"), INGEST_RUNS)


def test_a_type_that_cannot_be_cast_is_named(spark: SparkSession) -> None:
    if is_embedded(spark):
        pytest.skip("this engine finds out when it meets a row")
    frame = spark.sql("SELECT 'p' AS source, 'u' AS user_id, 1 AS sequence_hash, 5 AS clicks")
    with pytest.raises(ContractError, match=r"table histories.*'clicks': 'int'"):
        conform(frame, HISTORIES)

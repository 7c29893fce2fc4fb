from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from pipelines.tables import Lake
from schemas.errors import ContractError, InputError
from schemas.news import NEWS
from schemas.table import Column, Table
from tests.builders import rows

WORDS = Table(
    name="words",
    meaning="a table of tests",
    columns=(
        Column("language", "string", "where it is spoken"),
        Column("word", "string", "the word"),
        Column("uses", "array<long>", "counts"),
    ),
    key=("word",),
    partition_by=("language",),
)


@pytest.fixture
def lake(spark: SparkSession, tmp_path: Path) -> Lake:
    return Lake(spark, str(tmp_path / "away" / ".." / "my lake (1)+%20"))


def words(lake: Lake, *told: tuple[Any, ...]) -> DataFrame:
    return lake.spark.createDataFrame([*told], "language string, word string, uses array<int>")


def test_an_append_counts_once_per_version(lake: Lake) -> None:
    for version, word in ((1, "a"), (1, "again"), (2, "b"), (1, "late")):
        lake.append(WORDS, words(lake, ("en", word, [1])), app_id="test", app_version=version)
    assert rows(lake.read(WORDS), "word", "uses") == [("a", [1]), ("b", [1])]
    assert rows(lake.read(WORDS, version=1), "word") == [("a",)]
    assert lake.version(WORDS) == 2


def test_overwrite_replaces_all_rows_or_those_named(lake: Lake) -> None:
    lake.overwrite(WORDS, words(lake, ("en", "a", [1]), ("de", "b", [2])))
    lake.overwrite(WORDS, words(lake, ("de", "c", [3])), where="language = 'de'")
    assert rows(lake.read(WORDS), "word") == [("a",), ("c",)]
    lake.overwrite(WORDS, words(lake, ("en", "d", [])))
    assert rows(lake.read(WORDS), "word") == [("d",)]


def merge(lake: Lake, version: int, frame: DataFrame, **how: Any) -> None:
    how = {"set_on_match": {"uses": "concat(stored.uses, incoming.uses)"}} | how
    lake.merge(WORDS, frame, app_id="test", app_version=version, **how)


def test_merge_updates_what_matches_and_inserts_the_rest_once_per_version(lake: Lake) -> None:
    merge(lake, 1, words(lake, ("en", "a", [1]), ("en", "b", [1])))
    for _ in range(2):
        merge(lake, 2, words(lake, ("en", "a", [2]), ("de", "c", [2])))
    assert rows(lake.read(WORDS), "word", "uses") == [("a", [1, 2]), ("b", [1]), ("c", [2])]
    assert lake.spark.conf.get("spark.databricks.delta.write.txnAppId", "none") == "none"


def test_merge_can_update_or_delete_under_a_condition(lake: Lake) -> None:
    lake.overwrite(WORDS, words(lake, ("en", "a", [1]), ("en", "b", [1])))
    merge(lake, 1, words(lake, ("en", "a", [5]), ("en", "b", [6])), update_when="incoming.uses[0] > 5")
    assert rows(lake.read(WORDS), "word", "uses") == [("a", [1]), ("b", [1, 6])]
    gone = words(lake, ("en", "a", []), ("en", "z", [])).selectExpr("*", "word = 'a' AS gone")
    merge(lake, 2, gone, set_on_match=None, delete_when="incoming.gone")
    assert rows(lake.read(WORDS), "word") == [("b",), ("z",)]


def test_a_null_where_the_contract_has_none_is_refused_and_no_table_is_left(lake: Lake) -> None:
    with pytest.raises(Exception, match=r"NOT NULL"):
        lake.append(WORDS, words(lake, ("en", None, [1])), app_id="test", app_version=1)
    assert not lake.exists(WORDS)
    assert not Path(lake.path(WORDS)).exists()
    lake.append(WORDS, words(lake, ("en", "a", [1])), app_id="test", app_version=1)
    assert rows(lake.read(WORDS), "word") == [("a",)]


def test_a_frame_without_the_columns_leaves_no_table(lake: Lake) -> None:
    with pytest.raises(ContractError, match="uses"):
        lake.overwrite(WORDS, words(lake).drop("uses"))
    assert not lake.exists(WORDS)


def test_deletion_vectors_are_off_and_files_lie_by_partition(lake: Lake) -> None:
    lake.overwrite(WORDS, words(lake, ("en", "a", [1])))
    detail = lake.spark.sql(f"DESCRIBE DETAIL delta.`{lake.path(WORDS)}`").first()
    assert detail is not None
    assert (detail["partitionColumns"], detail["properties"]["delta.enableDeletionVectors"]) == (["language"], "false")


def test_a_missing_table_names_the_job_that_makes_it(lake: Lake) -> None:
    for look in (lake.version, lake.read):
        with pytest.raises(InputError, match=r"no table news there\. Make it with \./feedloop prepare_news"):
            look(NEWS)


def test_a_file_is_no_lake(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="must be a folder"):
        Lake(spark, str(tmp_path / "file"))

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines.conform import conform
from pipelines.histories import hash_of
from pipelines.ingest.dedupe import per_impression, row_changes, united_row
from pipelines.ingest.parse import keep_told, with_told
from pipelines.tables import INCOMING, STORED, Lake
from schemas.impression import IMPRESSIONS
from tests.builders import json_line, raw_logs, rows


def impressions(spark: SparkSession, *lines: str, batch: int = 1) -> DataFrame:
    return keep_told(with_told(raw_logs(spark, *lines, batch=batch), "jsonl")).transform(per_impression)


def shown_and_clicked(frame: DataFrame) -> list[tuple[Any, ...]]:
    return rows(frame, "impression_id", "shown", "clicked")


def test_a_replayed_line_counts_once(spark: SparkSession) -> None:
    found = impressions(spark, json_line("1"), json_line("1"), json_line("2"))
    assert rows(found, "impression_id", "lines") == [("1", 2), ("2", 1)]


def test_an_impression_is_one_source_id_user_and_time(spark: SparkSession) -> None:
    found = impressions(spark, json_line(), json_line(user_id="u2"), json_line(time="2026-03-02T09:15:32Z"))
    assert found.count() == 3


def test_a_click_told_later_joins_the_earlier_one(spark: SparkSession) -> None:
    lines = [json_line(shown=["n5", "n3", "n4"], clicked=clicked) for clicked in (["n5"], [], ["n4"])]
    assert shown_and_clicked(impressions(spark, *lines)) == [("i1", ["n5", "n3", "n4"], [True, False, True])]


def test_unlabelled_stays_unlabelled_until_a_line_has_marks(spark: SparkSession) -> None:
    unlabelled = json_line(without=("clicked",))
    assert shown_and_clicked(impressions(spark, unlabelled, unlabelled)) == [("i1", ["n3", "n4"], None)]
    assert shown_and_clicked(impressions(spark, unlabelled, json_line(clicked=[]))) == [
        ("i1", ["n3", "n4"], [False, False])
    ]


def test_shown_lists_that_differ_are_united_by_id(spark: SparkSession) -> None:
    lines = (json_line(shown=["n9", "n3"], clicked=["n9"]), json_line(shown=["n4", "n3"], clicked=["n3"]))
    assert shown_and_clicked(impressions(spark, *lines)) == [("i1", ["n3", "n4", "n9"], [True, False, True])]


def test_of_several_histories_the_longest_stays(spark: SparkSession) -> None:
    found = impressions(spark, json_line(history=["n1"]), json_line(history=["n7", "n1", "n2"]), json_line())
    longest = hash_of(F.array(*(F.lit(n) for n in ("n7", "n1", "n2"))))
    assert rows(found.select("history_length", F.col("history_hash") == longest)) == [(3, True)]


VARIANTS = (
    json_line(shown=["n9", "n3"], clicked=["n9"], history=["n1"]),
    json_line(shown=["n4", "n3"], clicked=["n3"], history=["n1", "n2"]),
    json_line(shown=["n4", "n3"], without=("clicked",), history=["n2", "n1"]),
    json_line(shown=["n3", "n4"], clicked=[], history=[]),
)


def test_uniting_rows_one_by_one_gives_the_same_row_in_every_order(spark: SparkSession) -> None:
    columns = ("shown", "clicked", "history_length", "history_hash")
    at_once = rows(impressions(spark, *VARIANTS), *columns)
    single = {line: impressions(spark, line).localCheckpoint() for line in VARIANTS}
    for order in list(permutations(VARIANTS))[::5]:
        united = single[order[0]]
        for line in order[1:]:
            pair = united.alias(STORED).crossJoin(single[line].alias(INCOMING))
            united = pair.select(*(F.expr(f"{STORED}.{key}") for key in IMPRESSIONS.key), *_named(united_row()))
        assert rows(united, *columns) == at_once


def test_a_row_that_tells_nothing_new_is_no_change(spark: SparkSession) -> None:
    stored = impressions(spark, *VARIANTS[:2]).alias(STORED)
    for line, changes in ((VARIANTS[0], False), (json_line(shown=["n3"], clicked=[]), False), (VARIANTS[3], False)):
        pair = stored.crossJoin(impressions(spark, line).alias(INCOMING))
        assert rows(pair.select(row_changes())) == [(changes,)]
    new_click = impressions(spark, json_line(shown=["n4"], clicked=["n4"])).alias(INCOMING)
    assert rows(stored.crossJoin(new_click).select(row_changes())) == [(True,)]


def test_merge_unites_stored_and_incoming(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(spark, str(tmp_path))
    for batch, line in enumerate(VARIANTS, start=1):
        told = impressions(spark, line, batch=batch)
        lake.merge(
            IMPRESSIONS, told, set_on_match=united_row(), update_when=row_changes(), app_id="test", app_version=batch
        )
    at_once = conform(impressions(spark, *VARIANTS), IMPRESSIONS)
    assert rows(lake.read(IMPRESSIONS)) == rows(at_once)
    assert rows(at_once, "first_batch") == [(1,)]


def _named(row: dict[str, Any]) -> list[Any]:
    return [value.alias(name) for name, value in row.items()]


@pytest.mark.parametrize("column", ["first_batch", "date"])
def test_contract_columns_are_all_there(spark: SparkSession, column: str) -> None:
    assert column in impressions(spark, json_line()).columns

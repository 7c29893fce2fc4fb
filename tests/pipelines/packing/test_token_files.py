from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines.packing.build_folder import work_folder
from pipelines.packing.token_files import RowTokens, pack_tokens
from pipelines.packing.tokens import COLUMNS, token_table
from pipelines.packing.write import build_directory, write_tokens
from schemas.errors import ContractError, InputError
from schemas.manifest import FileEntry, Tokens
from schemas.storage.place import Place
from schemas.token_table import TOKEN_FOLDER
from tests.pipelines.packing.drawn import ITEMS, NEWS, OTHERS, draw

ALL = ITEMS + OTHERS


@pytest.fixture(scope="module")
def items(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> DataFrame:
    folder = draw(tmp_path_factory.mktemp("drawn"), users=2, impressions=1)
    return spark.read.parquet((folder / "item_tokens").as_uri())


def made(out: Path, items: DataFrame, *, rows: int = 10, news: dict[str, Any] = NEWS) -> tuple[Tokens, list[FileEntry]]:
    with build_directory(out) as folder, work_folder(Place.of(folder)) as work:
        return pack_tokens(Place.of(folder), items, news, "p", work=work, rows_per_task=rows)


@pytest.mark.parametrize("rows", [1, 10, 25, 1000])  # 25: the last task's rows are all that it may hold
def test_pieces_give_the_files_that_the_complete_table_gives(tmp_path: Path, items: DataFrame, rows: int) -> None:
    tokens, entries = made(tmp_path / "pieces", items, rows=rows)
    emptied = [
        F.when(F.col("source") == "p", F.col(name)).otherwise(F.array()).alias(name) if "segment" in name else name
        for name in COLUMNS
    ]
    complete = token_table(items.select(*emptied).toArrow(), vocabulary=30522)
    (tmp_path / "complete" / TOKEN_FOLDER).mkdir(parents=True)
    assert entries == write_tokens(tmp_path / "complete", complete)
    assert tokens.rows == complete.rows == ALL + 1
    assert len(complete.keyword_position_R) > 0


def test_tokens_of_rows_are_looked_up(tmp_path: Path, items: DataFrame) -> None:
    made(tmp_path / "packed", items)
    sums = items.select("item_row", F.aggregate("segment_full_tokens", F.lit(0), lambda a, b: a + b), "source")
    wanted = {row[0]: row[1] if row[2] == "p" else 0 for row in sums.collect()}
    rows = np.array([5, 3, ALL, 1, ITEMS, 3])
    assert RowTokens(Place.of(tmp_path / "packed"))[rows].tolist() == [wanted[row] for row in rows.tolist()]


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("canonical_row", 999, r"tokens of source 'p' were made by other settings"),
        ("canonical_row", ITEMS + 1, r"tokens of source 'p' were made by other settings"),
        ("tokenizer_sha256", "older", r"tokens of source 'p' were made by other settings"),
        ("segment_tokens", [[], []], r"token_start_S1 does not rise"),
    ],
)
def test_items_that_cannot_be_are_refused(tmp_path: Path, items: DataFrame, column: str, value: Any, said: str) -> None:
    changed = F.array(F.array().cast("array<int>")) if column == "segment_tokens" else F.lit(value)
    wrong = items.withColumn(column, F.when(F.col("item_row") == 7, changed).otherwise(F.col(column)))
    with pytest.raises(InputError, match=said):
        made(tmp_path / "packed", wrong)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("row", [8, 200])
def test_rows_with_a_gap_or_twice_are_refused(tmp_path: Path, items: DataFrame, row: int) -> None:
    moved = F.when(F.col("item_row") == 7, row).otherwise(F.col("item_row"))
    wrong = items.withColumn("canonical_row", moved).withColumn("item_row", moved)
    with pytest.raises(ContractError, match=r"rows of its \d+ items are not 1 to .*prepare_news"):
        made(tmp_path / "packed", wrong)
    with pytest.raises(ContractError, match="rows of its 0 items are not"):
        made(tmp_path / "packed", items.limit(0))


def test_an_item_that_stands_for_another_stands_for_itself(tmp_path: Path, items: DataFrame) -> None:
    folded = F.when(F.col("item_row") == 7, 8).when(F.col("item_row") == 8, 9).otherwise(F.col("item_row"))
    with pytest.raises(
        ContractError, match="canonical_row of 0 items is the row of no item, and that of 1 is an item with another"
    ):
        made(tmp_path / "packed", items.withColumn("canonical_row", folded))
    lost = F.when(F.col("source") == "q", 999).otherwise(F.col("item_row"))
    with pytest.raises(
        ContractError,
        match=f"canonical_row of {OTHERS} items is the row of no item, and that of 0 is an item with another",
    ):
        made(tmp_path / "packed", items.withColumn("canonical_row", lost))


def test_a_source_without_a_note_is_refused(tmp_path: Path, items: DataFrame) -> None:
    with pytest.raises(InputError, match="tokens of source 'p' were made by other settings"):
        made(tmp_path / "packed", items, news={})

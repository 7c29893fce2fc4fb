"""Both engines pack the same bytes, and the driver holds neither items nor impressions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from pyspark.sql import DataFrame, Row, SparkSession

from pipelines.packing import tasks
from pipelines.packing.config import PackingConfig
from pipelines.packing.write import build_directory
from pipelines.session import is_embedded
from schemas.storage.place import Place
from schemas.trajectory import EVALUATION
from tests.engines import finish
from tests.pipelines.packing.drawn import contents, draw, pack_drawn, start
from trainer.data.evaluation import read_evaluation

CONFIG = PackingConfig(source="p", batch_trajectories=4, batch_items=30, shard_trajectories=60, variants=2)
OPTIONS = {
    "time": replace(CONFIG, batch_tokens=150),
    "items": replace(CONFIG, shard_by="items", order="shp_kway", mixing=0.2),
    "random": replace(CONFIG, shard_by="random", order="minhash"),
}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw(tmp_path_factory.mktemp("drawn"))


@pytest.fixture(scope="module")
def others(spark: SparkSession, drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result of the other engine for each of OPTIONS."""
    folder = tmp_path_factory.mktemp("others")
    finish(start("spark" if is_embedded(spark) else "embedded", drawn, folder, OPTIONS))
    return folder


@pytest.mark.parametrize("name", OPTIONS)
def test_both_engines_pack_the_same_bytes(
    spark: SparkSession, drawn: Path, others: Path, tmp_path: Path, name: str
) -> None:
    packed = pack_drawn(spark, drawn, tmp_path / "ours", OPTIONS[name])
    ours, theirs = contents(tmp_path / "ours"), contents(others / name)
    assert sorted(ours) == sorted(theirs)
    assert [path for path in ours if ours[path] != theirs[path]] == []
    assert packed.counts["trajectories"] == 600
    assert len(ours) == len(packed.files) - 1  # all but Petastorm's


def test_impressions_lie_in_files_of_bounded_rows_in_time_order(
    spark: SparkSession, drawn: Path, tmp_path: Path
) -> None:
    frame = spark.read.parquet((drawn / "evaluation").as_uri())
    with build_directory(tmp_path / "packed") as folder:
        at = Place.of(folder)
        found = tasks.write_evaluation(frame.repartition(3), at, rows_per_file=40, work=Place.of(tmp_path))
    assert [row["rows"] for row in found] == [40, 40, 10]  # a file's rows are cut amid those of one time
    paths = sorted((tmp_path / "packed" / "evaluation").iterdir())
    assert [path.name for path in paths] == [Path(row["path"]).name for row in found]
    rows = [row for path, count in zip(paths, (40, 40, 10), strict=True)
            for row in read_evaluation(path, count, items=126).to_pylist()]  # fmt: skip
    wanted = pq.read_table(drawn / "evaluation").to_pylist()
    assert rows == sorted(wanted, key=lambda row: (row["time"], row["impression_id"], row["user_id"]))
    assert list(rows[0]) == list(EVALUATION.column_names)


@pytest.fixture
def collected(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many values each collect() or toArrow() brought to the driver."""
    kind, sizes = type(spark.range(1)), []
    collect, to_arrow = kind.collect, kind.toArrow

    def noted(frame: DataFrame) -> list[Row]:
        rows = collect(frame)
        sizes.append(sum(len(cell) if isinstance(cell, list) else 1 for row in rows for cell in row))
        return rows

    def noted_arrow(frame: DataFrame) -> Any:
        table = to_arrow(frame)
        sizes.append(table.nbytes)
        return table

    monkeypatch.setattr(kind, "collect", noted)
    monkeypatch.setattr(kind, "toArrow", noted_arrow)
    return sizes


def test_what_the_driver_collects_does_not_grow_with_items_and_impressions(
    spark: SparkSession, tmp_path: Path, collected: list[int]
) -> None:
    sizes = []
    for name, items in (("few", 120), ("many", 4800)):
        tables = draw(tmp_path / name, users=100, impressions=items, items=items)
        packed = pack_drawn(spark, tables, tmp_path / f"{name} packed", CONFIG)
        assert packed.counts["evaluation_impressions"] == items
        assert packed.tokens.rows == items + 6
        sizes.append(sum(collected))
        collected.clear()
    distinct = np.unique(pq.read_table(tmp_path / "many/trajectories")["click_row"].combine_chunks().flatten())
    assert sizes[1] - sizes[0] < len(distinct)

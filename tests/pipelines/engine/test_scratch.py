"""Frames that are computed once: in a folder of any name, gone afterwards, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from pipelines.engine.scratch import scratch
from tests.builders import rows


@pytest.mark.parametrize("name", [None, "plain", "my lake (1)+é", "a%20b", "x[1]*"])
def test_what_is_kept_stays_as_it_was_and_leaves_nothing(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    below = None if name is None else tmp_path / name
    with scratch(None if below is None else str(below)) as keep:
        kept = keep(spark.range(3).withColumns({"drawn": F.rand(), "list": F.array(F.col("id"))}))
        assert rows(kept) == rows(kept)
        nothing = keep(kept.where("id > 9"))
        assert (nothing.columns, rows(nothing)) == (["id", "drawn", "list"], [])
        assert below is None or len(list(below.rglob("*.parquet"))) >= 1
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path.name for path in tmp_path.iterdir()] == ([] if name is None else [name])

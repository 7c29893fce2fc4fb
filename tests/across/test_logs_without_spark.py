"""Spark marks rows as deleted, delta-rs leaves them out: users' clicks are read from tables with deletion vectors."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyspark.sql import SparkSession

from pipelines.lake.tables import Lake
from pipelines.maintain.flow import MaintenanceConfig, maintain_lake
from schemas.embedding import EMBEDDINGS
from schemas.impression import HISTORIES
from tests.engines import running
from trainer.eval.lake_rows import delta_rows
from trainer.serve.embeddings import News, Stamp, stored_vectors, table_of, write_vectors


def test_rows_that_spark_marked_as_deleted_are_not_read(tmp_path: Path) -> None:
    rows = [("s", f"u{number}", number, [f"n{number}"]) for number in range(20)]
    with running("spark") as spark:
        lake = Lake(spark, str(tmp_path))
        frame = spark.createDataFrame(rows, "source string, user_id string, sequence_hash long, clicks array<string>")
        lake.append(HISTORIES, frame.coalesce(1), app_id="test", app_version=1)
        files = sorted(tmp_path.rglob("part-*.parquet"))
        spark.sql(f"DELETE FROM delta.`{lake.path(HISTORIES)}` WHERE sequence_hash IN (3, 7)")
    assert sorted(tmp_path.rglob("part-*.parquet")) == files  # marked, not written anew
    found = delta_rows(tmp_path / HISTORIES.name, {"user_id": pa.string()}, where=("source", "s"))
    assert sorted(found["user_id"].to_pylist()) == sorted(f"u{n}" for n in range(20) if n not in (3, 7))


def test_spark_reads_and_cares_for_vectors_that_were_written_without_it(spark: SparkSession, tmp_path: Path) -> None:
    row_N = np.array([1, 2])
    ids = np.array(["a", "b"], object)
    news = News(row_N=row_N, id_N=ids, canonical_N=row_N, version_N=np.ones(2, np.int64))
    stamp = Stamp(source="s", checkpoint="run/step-1", checkpoint_sha256="aa", step=1, item_tokens_version=0)
    for value in (0.5, 1.5):
        vectors = np.full((2, 3), value, np.float32)
        rows = table_of(news, vectors, stamp, datetime(2026, 1, 1, tzinfo=UTC))
        write_vectors(tmp_path / EMBEDDINGS.name, rows, "s", replace_all=value == 0.5)
    lake = Lake(spark, str(tmp_path))
    assert maintain_lake(lake, MaintenanceConfig())[EMBEDDINGS.name]["after"]["rows"] == 2
    found = lake.read(EMBEDDINGS).orderBy("item_row").select("item_id", "vector").collect()
    assert [(row["item_id"], row["vector"]) for row in found] == [("a", [1.5] * 3), ("b", [1.5] * 3)]
    again = stored_vectors(tmp_path / EMBEDDINGS.name, stamp, news)
    assert again is not None
    assert again.vector_ND.tolist() == [[1.5] * 3] * 2

"""The Spark half on a bucket by Apache Spark, alone and in turns with the embedded engine: what the latter makes on a disk."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.make_sample import make_sample
from pipelines.tables import Lake
from schemas.impression import ALIASES, HISTORIES, IMPRESSIONS
from schemas.manifest import MANIFEST_FILE, Manifest
from schemas.news import ITEM_TOKENS, NEWS
from schemas.raw_log import INGEST_RUNS, RAW_LOG, REJECTS
from schemas.storage.copies import publish
from schemas.storage.files import below, read
from schemas.storage.place import Place
from schemas.trajectory import EVALUATION, TRAJECTORIES
from tests.builders import rows
from tests.engines import Engine, finish, started

TABLES = (RAW_LOG, REJECTS, INGEST_RUNS, IMPRESSIONS, ALIASES, HISTORIES, NEWS, ITEM_TOKENS, TRAJECTORIES, EVALUATION)
OF_THE_RUN = {"arrived_at", "arrived_on", "tokenizer_sha256", "finished_at", "path"}  # when, and where from


def looped(root: Place, engines: tuple[Engine, ...]) -> None:
    """Logs and news to packed batches, each job a process of the next engine; all places lie below `root`."""
    lake, sample = ["--lake", f"{root}/lake"], f"{root}/sample"
    steps = [
        ["ingest", "--logs", sample],
        ["ingest", "--logs", sample],
        ["prepare_news", "--news", sample],
        ["build_trajectories"],
        ["maintain"],
        ["pack", "--out", f"{root}/packed", "--batch-trajectories", "8"],
    ]
    for (job, *options), engine in zip(steps, cycle(engines), strict=False):
        finish(started(engine, f"jobs.{job}", *lake, *options, "--engine", engine))


def sums(packed: Place) -> list[str]:
    """The sha256 of every file but petastorm's schema, which is a pickle; a file's name is its writer's choice."""
    manifest = Manifest.from_json(read(packed / MANIFEST_FILE, largest=1 << 30).decode(), str(packed))
    return sorted(entry.sha256 for entry in manifest.files if not entry.path.endswith("_common_metadata"))


@pytest.fixture(scope="module")
def on_a_disk(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("disk")
    make_sample(out=folder / "sample", size="tiny", seed=3)
    looped(Place.of(folder), ("embedded",))
    return Place.of(folder)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("engines", [("spark",), ("spark", "embedded"), ("embedded", "spark")], ids="-".join)
def test_spark_makes_on_a_bucket_what_the_embedded_engine_makes_on_a_disk(
    spark: SparkSession,
    bucket: str,
    on_a_disk: Place,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    engines: tuple[Engine, ...],
) -> None:
    monkeypatch.chdir(tmp_path)
    there = Place.of(bucket) / "below/a=b"
    publish(on_a_disk.path / "sample", there / "sample")
    looped(there, engines)
    assert not [*tmp_path.iterdir()], "nothing is made where the jobs were started"
    assert {name.partition("/")[0] for name, _ in below(there)} == {"sample", "lake", "packed"}
    here, stored = Lake(spark, str(on_a_disk / "lake")), Lake(spark, str(there / "lake"))
    for table in TABLES:
        names = [name for name in table.column_names if name not in OF_THE_RUN]
        assert rows(here.read(table), *names) == rows(stored.read(table), *names), table.name
    assert sums(there / "packed") == sums(on_a_disk / "packed")

"""The Spark half on S3 and on HDFS, by each engine and by both in turns: what the embedded one makes on a disk."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import cycle
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from transformers import BertConfig, BertModel

from jobs.make_sample import make_sample
from pipelines.lake.tables import Lake
from schemas.impression import ALIASES, HISTORIES, IMPRESSIONS
from schemas.manifest import MANIFEST_FILE, Manifest
from schemas.news import ITEM_TOKENS, NEWS
from schemas.raw_log import INGEST_RUNS, RAW_LOG, REJECTS
from schemas.storage.copies import publish
from schemas.storage.files import below, read
from schemas.storage.place import Place
from schemas.trajectory import EVALUATION, TRAJECTORIES
from tests.builders import rows
from tests.conftest import REPOSITORY
from tests.engines import Engine, finish, started

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
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


def trained(root: Place, plm: Path, cache: Path) -> dict[str, object]:
    """The figures of a short training on the packed batches below `root`, whose run lies there, too."""
    own = ["--store", cache / "frozen", "--cache-dir", cache, "--device", "cpu", "--run.epochs", 1]
    model = ["--encoder.plm", plm, "--encoder.frozen-layers", 1, "--encoder.vector-width", 16]
    words = [sys.executable, "-m", "jobs.train", "--data", f"{root}/packed", "--out", f"{root}/run", *own, *model]
    done = subprocess.run([*map(str, words)], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    return {name: summary[name] for name in ("targets", "encoded", "loss")}


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


def same_as(on_a_disk: Place, there: Place, spark: SparkSession, engines: tuple[Engine, ...]) -> None:
    publish(on_a_disk.path / "sample", there / "sample")
    looped(there, engines)
    assert {name.partition("/")[0] for name, _ in below(there)} == {"sample", "lake", "packed"}
    here, stored = Lake(spark, str(on_a_disk / "lake")), Lake(spark, str(there / "lake"))
    for table in TABLES:
        names = [name for name in table.column_names if name not in OF_THE_RUN]
        assert rows(here.read(table), *names) == rows(stored.read(table), *names), table.name
    assert sums(there / "packed") == sums(on_a_disk / "packed")


@pytest.mark.parametrize("engines", [("spark",), ("spark", "embedded"), ("embedded", "spark")], ids="-".join)
def test_a_bucket(spark: SparkSession, bucket: str, on_a_disk: Place, engines: tuple[Engine, ...]) -> None:
    same_as(on_a_disk, Place.of(bucket) / "below/a=b", spark, engines)


@pytest.mark.parametrize("engines", [("embedded",), ("spark",)], ids="-".join)
def test_hdfs(spark: SparkSession, name_node: str, on_a_disk: Place, engines: tuple[Engine, ...]) -> None:
    same_as(on_a_disk, Place.of(name_node) / engines[0] / "a=b", spark, engines)


def test_a_training_from_hdfs(name_node: str, on_a_disk: Place, tmp_path: Path) -> None:
    there = Place.of(name_node) / "training"
    publish(on_a_disk.path / "packed", there / "packed", last=[MANIFEST_FILE])
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=30522, **shape)).save_pretrained(tmp_path / "plm")
    on_disk = trained(on_a_disk, tmp_path / "plm", tmp_path / "cache-1")
    assert trained(there, tmp_path / "plm", tmp_path / "cache-2") == on_disk
    assert any(name.startswith("run/checkpoint/") for name, _ in below(there))

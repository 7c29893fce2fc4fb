"""What earlier code wrote is read, added to and gone on with: a lake, a packed directory and a run with its checkpoint.

The archives in tests/data/stored stay as they are; tests/data/stored/make.py makes them.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from jobs.build_trajectories import build_trajectories
from jobs.evaluate import evaluate
from jobs.export_embeddings import export_embeddings
from jobs.ingest import ingest
from jobs.inspect_batches import inspect_batches
from jobs.maintain import maintain
from jobs.pack import pack
from jobs.prepare_news import prepare_news
from jobs.train import train
from tests.conftest import REPOSITORY
from tests.data.stored.make import DATA, LAKE, MODEL, STOPPED_AT, exported, summary_of
from tests.data.stored.publisher import FORGOTTEN
from trainer.data.backends import BACKENDS, BackendName
from trainer.data.directory import PackedDirectory

STORED = REPOSITORY / "tests" / "data" / "stored"
DIGEST = "667e849303e75152bbf8ed8114cd11a953fd9bcad399eaeb9b7d7953f23f2bd0"
"""of every array in packed-3"""
CHECKPOINTS = ("checkpoint-4", "checkpoint-5")
ADDED_TO = (
    *("raw_log", "rejects", "ingest_files", "ingest_runs", "impressions", "aliases"),
    *("news", "item_tokens", "corpus_statistics", "near_duplicates", "embeddings", "suppressions", "erasures"),
)
"""tables whose rows stay when others come"""
MADE_ANEW = ("histories", "trajectories", "evaluation")
"""tables whose rows change with others: a longer history holds a shorter one, and both are in one row"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where archives are unpacked, and the working directory: they hold relative paths."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def unpack(*names: str) -> None:
    for name in names:
        with tarfile.open(STORED / f"{name}.tar.xz") as archive:
            archive.extractall(filter="data")


def rows(spark: SparkSession, table: str, *columns: str) -> list[str]:
    """Each row as text, in order; columns by name, all of them where none is named."""
    found = spark.read.format("delta").load(str(Path("lake", table).absolute()))
    names = sorted(columns or found.columns)
    return sorted(repr(tuple(row)) for row in found.select(*names).collect())


def all_rows(spark: SparkSession) -> dict[str, list[str]]:
    return {table: rows(spark, table) for table in (*ADDED_TO, *MADE_ANEW)}


@pytest.fixture
def lake(spark: SparkSession, folder: Path) -> dict[str, list[str]]:
    """The rows of every table of the stored lake, which is unpacked."""
    unpack("lake")
    tables = sorted(path.parent.name for path in folder.glob("lake/*/_delta_log"))
    assert tables == sorted((*ADDED_TO, *MADE_ANEW))
    found = all_rows(spark)
    assert all(found.values()), "each table of the stored lake holds rows"
    return found


def test_what_an_older_lake_holds_is_not_made_again(spark: SparkSession, lake: dict[str, list[str]]) -> None:
    read = summary_of(ingest, *LAKE, "--logs", "publisher")
    assert (read["new_files"], read["lines"]) == (0, 0)
    assert summary_of(prepare_news, *LAKE, "--news", "publisher")["new_items"] == 0
    assert all_rows(spark) == lake


def test_an_older_lake_is_added_to(spark: SparkSession, lake: dict[str, list[str]]) -> None:
    made = summary_of(build_trajectories, *LAKE, "--window", 6)
    assert (made["targets"], made["trajectories"], made["evaluation_impressions"]) == (64, 13, 17)
    first = rows(spark, "trajectories")
    shutil.copytree("later", "publisher", dirs_exist_ok=True)
    shutil.copy("publisher/logs/2026-03-03.jsonl", "publisher/logs/again.jsonl")
    read = summary_of(ingest, *LAKE, "--logs", "publisher")
    assert (read["new_files"], read["impressions"], read["replayed"], read["suppressed"]) == (2, 17, 18, 2)
    for table in ADDED_TO:
        assert set(lake[table]) <= set(rows(spark, table)), table
    assert len(rows(spark, "impressions")) == len(lake["impressions"]) + 17
    assert not any(FORGOTTEN in row for row in rows(spark, "impressions", "user_id"))
    summary_of(build_trajectories, *LAKE, "--window", 6, "--to", "2026-03-05")
    assert rows(spark, "trajectories") == first, "histories and impressions say what they said before"
    made = summary_of(build_trajectories, *LAKE, "--window", 6)
    packed = summary_of(pack, *LAKE, "--out", "packed")
    assert made["targets"] == packed["targets"] == summary_of(inspect_batches, "--data", "packed")["targets"] == 87


def test_an_older_lake_is_replayed_and_maintained(spark: SparkSession, lake: dict[str, list[str]]) -> None:
    summary_of(ingest, *LAKE, "--replay")
    replayed = all_rows(spark)
    changed = [table for table in lake if replayed[table] != lake[table]]
    assert changed == ["ingest_runs"], "it counts the lines of a forgotten user no more, and nothing else is new"
    assert set(summary_of(maintain, *LAKE)["tables"]) == {*lake}
    assert all_rows(spark) == replayed


def test_an_older_packed_directory_is_read_by_both_readers(folder: Path) -> None:
    unpack("packed-3")
    directory = PackedDirectory.open(folder / "packed")
    evaluation = json.dumps(directory.evaluation().to_pylist(), default=str, sort_keys=True)
    as_bytes: Mapping[str, NDArray[Any]] = {"evaluation": np.frombuffer(evaluation.encode(), np.uint8)}
    others = [directory.token_table().arrays(), as_bytes]
    for name in get_args(BackendName):
        superblocks = BACKENDS[name](directory, range(len(directory.superblocks)))
        assert digest([*(batch for block in superblocks for batch in block), *others]) == DIGEST, name


def digest(parts: Iterable[Mapping[str, NDArray[Any]]]) -> str:
    """The sha256 of all arrays: names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for part in parts:
        for name in sorted(part):
            array = np.ascontiguousarray(part[name])
            digest.update(f"{name} {array.dtype.str} {array.shape} ".encode() + array.tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize("reader", get_args(BackendName))
def test_an_older_packed_directory_is_trained_from(folder: Path, reader: str) -> None:
    unpack("packed-3", "checkpoint-4")
    found = summary_of(train, *DATA, "--out", "new", *MODEL, "--run.reader", reader)
    assert (found["complete"], found["steps"], found["targets"]) == (True, 39, 3 * 64)
    assert losses("new")[1] == pytest.approx(recorded()["loss"]["1"], abs=1e-5)


def recorded() -> dict[str, Any]:
    return dict(json.loads(Path("recorded.json").read_text()))


def losses(out: str) -> dict[int, float]:
    """Step -> the loss that the run's metrics.jsonl states."""
    lines = map(json.loads, Path(out, "metrics.jsonl").read_text().splitlines())
    return {line["step"]: line["loss"] for line in lines}


@pytest.mark.parametrize("checkpoint", CHECKPOINTS)
def test_a_run_goes_on_from_an_older_checkpoint(folder: Path, checkpoint: str) -> None:
    unpack("packed-3", checkpoint)
    assert max(losses("run")) == STOPPED_AT
    found = summary_of(train, *DATA, "--out", "run", *MODEL, "--resume", "auto")
    assert found["gone_on_from"] == f"run/checkpoint/step-{STOPPED_AT:08d}"
    assert (found["complete"], found["steps"], found.get("passed_over")) == (True, 39, None)
    unbroken = {int(step): loss for step, loss in recorded()["loss"].items()}
    after = losses("run")
    assert after.keys() == unbroken.keys()
    assert after[STOPPED_AT + 1] == pytest.approx(unbroken[STOPPED_AT + 1], abs=1e-5)
    assert after == pytest.approx(unbroken, abs=1e-3)  # processors round differently, and steps add that up


@pytest.mark.parametrize("checkpoint", CHECKPOINTS)
def test_a_new_run_continues_an_older_checkpoint(folder: Path, checkpoint: str) -> None:
    unpack("packed-3", checkpoint)
    cold = summary_of(train, *DATA, "--out", "cold", *MODEL)
    found = summary_of(train, *DATA, "--out", "next", *MODEL, "--init-from", "run/checkpoint")
    position = json.loads(Path(found["checkpoint"], "state.json").read_text())["position"]
    assert (position["step"], position["first_step"]) == (39, STOPPED_AT)
    assert found["encoded"] < cold["encoded"]


@pytest.mark.parametrize("checkpoint", CHECKPOINTS)
def test_an_older_checkpoint_is_evaluated_and_exported(folder: Path, checkpoint: str) -> None:
    unpack("lake", "packed-3", checkpoint)
    given = (*DATA, *LAKE, "--checkpoint", "run/checkpoint")
    evaluated = summary_of(evaluate, *given)
    assert evaluated["step"] == STOPPED_AT
    assert evaluated["methods"]["model"]["auc"] == pytest.approx(recorded()["auc"], abs=1e-6)
    found = summary_of(export_embeddings, *given, "--out", "export")
    assert (found["news"], found["encoded"]) == (36, 0), "the lake's table holds this checkpoint's vectors"
    assert np.allclose(exported(folder / "export"), recorded()["vectors"], atol=1e-5)
    summary_of(export_embeddings, *DATA, "--checkpoint", "run/checkpoint", "--out", "anew")
    assert np.allclose(exported(folder / "anew"), recorded()["vectors"], atol=1e-5)

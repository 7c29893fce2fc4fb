"""The full loop where nothing but a bucket is shared: the same tables, batches, weights and figures as on a disk."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from transformers import BertConfig, BertModel

from jobs.build_trajectories import build_trajectories
from jobs.cli.command_line import Job, run
from jobs.evaluate import evaluate
from jobs.export_embeddings import export_embeddings
from jobs.ingest import ingest
from jobs.maintain import maintain
from jobs.make_sample import make_sample
from jobs.pack import pack
from jobs.prepare_news import prepare_news
from jobs.recommend import recommend
from jobs.report import report
from jobs.train import train
from pipelines.lake.tables import Lake
from schemas.impression import IMPRESSIONS
from schemas.manifest import MANIFEST_FILE, Manifest
from schemas.storage.copies import publish
from schemas.storage.files import read
from schemas.storage.place import Place
from tests.builders import rows

LARGEST = 1 << 30


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    make_sample(out=folder / "sample", size="tiny", seed=3)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=30522, **shape)).save_pretrained(folder / "plm")
    return folder


def looped(sample: Path, root: Place, cache: Path, summary_of: Any) -> dict[str, Any]:
    """Every job from raw logs to a page, all of whose places lie below `root`; their summaries."""
    publish(sample / "sample", root / "sample")
    lake, packed, kept = f"{root}/lake", f"{root}/packed", f"{root}/run"
    data = ["--data", packed, "--cache-dir", cache]
    small = [
        "--encoder.plm",
        sample / "plm",
        "--encoder.frozen-layers",
        1,
        "--encoder.vector-width",
        16,
        "--run.epochs",
        1,
    ]
    logged = [ingest, "--lake", lake, "--logs", f"{root}/sample"]
    steps: dict[str, list[Any]] = {
        "ingest": logged,
        "again": logged,
        "news": [prepare_news, "--lake", lake, "--news", f"{root}/sample"],
        "trajectories": [build_trajectories, "--lake", lake],
        "maintain": [maintain, "--lake", lake],
        "pack": [pack, "--lake", lake, "--out", packed, "--batch-trajectories", 8],
        "train": [train, *data, "--out", kept, "--store", cache / "frozen", "--device", "cpu", *small],
        "evaluate": [
            evaluate,
            *data,
            "--checkpoint",
            f"{kept}/checkpoint",
            "--lake",
            lake,
            "--store",
            cache / "frozen",
            "--device",
            "cpu",
        ],
        "export": [
            *(
                export_embeddings,
                *data,
                "--checkpoint",
                f"{kept}/checkpoint",
                "--out",
                f"{root}/export",
                "--device",
                "cpu",
            ),
            *("--store", cache / "frozen"),
        ],
        "recommend": [recommend, "--export", f"{root}/export", "--lake", lake, "--user", "u00001"],
        "report": [report, "--run", kept, "--lake", lake, *data],
    }
    return {name: summary_of(job, *words) for name, (job, *words) in steps.items()}


def test_the_loop_on_a_bucket_makes_what_it_makes_on_a_disk(
    sample: Path,
    spark: Any,
    bucket: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def summary_of(job: Job, *words: object) -> dict[str, Any]:
        code = run(job, [*map(str, words)])
        said = capsys.readouterr()
        assert code == 0, said.err
        return dict(json.loads(said.out.splitlines()[-1]))

    disk, there = Place.of(tmp_path / "disk"), Place.of(bucket) / "below/a=b"
    on_disk = looped(sample, disk, tmp_path / "cache-1", summary_of)
    on_bucket = looped(sample, there, tmp_path / "cache-2", summary_of)
    assert os.listdir() == [], "nothing is made where the jobs were started"

    def figures(found: dict[str, Any]) -> dict[str, Any]:
        return {
            "ingest": {name: found["ingest"][name] for name in ("lines", "impressions", "merged", "rejected")},
            "again": found["again"]["lines"],
            "pack": {name: value for name, value in found["pack"].items() if isinstance(value, int | float)},
            "train": {name: found["train"][name] for name in ("targets", "encoded", "loss")},
            "evaluate": found["evaluate"]["methods"],
            "recommend": found["recommend"],
        }

    assert figures(on_bucket) == figures(on_disk)
    assert rows(Lake(spark, str(there / "lake")).read(IMPRESSIONS)) == rows(
        Lake(spark, str(disk / "lake")).read(IMPRESSIONS)
    )
    assert sums(there / "packed") == sums(disk / "packed")
    page = read(there / "run/report.html", largest=LARGEST).decode()
    assert f"{on_disk['ingest']['lines']:,} lines in" in page
    assert str(tmp_path) not in page.replace(str(tmp_path / "cache-2"), ""), "the page names places, not copies of them"


def sums(packed: Place) -> list[str]:
    """The sha256 of every file but petastorm's schema, which is a pickle; a file's name is its writer's choice."""
    manifest = Manifest.from_json(read(packed / MANIFEST_FILE, largest=LARGEST).decode(), str(packed))
    return sorted(entry.sha256 for entry in manifest.files if not entry.path.endswith("_common_metadata"))

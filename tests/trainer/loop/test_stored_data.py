"""Training from data behind a URL equals training from disk: the same losses, also stopped and resumed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from jobs.cli.command_line import run
from jobs.evaluate import evaluate
from jobs.export_embeddings import export_embeddings
from jobs.inspect_batches import inspect_batches
from jobs.train import train
from schemas.errors import InputError
from schemas.storage.place import Place
from tests.packed import packed_directory, tiny_plm
from tests.trainer.data.stored import cache_in, kept, uploaded
from trainer.config import TrainConfig
from trainer.encode.policies import PlannerConfig
from trainer.loop.metrics_log import RunLog
from trainer.model.text_encoder import TextEncoderConfig
from trainer.optimise.optimiser import OptimiserConfig
from trainer.run_config import RunConfig


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    return TrainConfig(
        run=RunConfig(epochs=2, batches_per_step=2, seed=4, log_every_steps=1, save_every_steps=2, keep_checkpoints=9),
        encoder=TextEncoderConfig(plm=tiny_plm(tmp_path / "plm"), frozen_layers=1, vector_width=8, pooling_width=8),
        planner=PlannerConfig(policy="cached", warm_up_steps=3, max_age_steps=4, chunk_sizes=(16, 4)),
        optimiser=OptimiserConfig(encoder_learning_rate=1e-3, learning_rate=1e-2),
    )


@pytest.fixture
def local(tmp_path: Path) -> Path:
    return packed_directory(tmp_path / "packed", config={"source": "p"})


def losses(run_folder: Path) -> list[tuple[int, float]]:
    lines = map(json.loads, (run_folder / "metrics.jsonl").read_text().splitlines())
    return [(line["step"], line["loss"]) for line in lines]


def weights(found: dict[str, Any] | None) -> dict[str, torch.Tensor]:
    assert found is not None
    return load_file(next(Path(found["checkpoint"]).rglob("model.safetensors")))


@pytest.mark.parametrize("reader", ["petastorm", "arrow"])
def test_trained_stopped_and_resumed_from_a_url_as_from_disk(
    local: Path, config: TrainConfig, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: Any
) -> None:
    place, cache = uploaded(local, bucket), cache_in(tmp_path, 20_000)
    config = replace(config, run=replace(config.run, reader=reader))
    here = train(data=Place.of(local), out=Place.of(tmp_path / "here"), config=config)
    record = RunLog.record

    def stops(self: RunLog, *given: Any, **more: Any) -> None:
        record(self, *given, **more)
        if self.totals.steps == 7:
            raise InputError("stopped here")

    monkeypatch.setattr(RunLog, "record", stops)
    with pytest.raises(InputError, match="stopped here"):
        train(data=place, out=Place.of(tmp_path / "there"), config=config, read=cache)
    monkeypatch.setattr(RunLog, "record", record)
    there = train(data=place, out=Place.of(tmp_path / "there"), config=config, read=cache, resume="auto")
    assert losses(tmp_path / "here") == losses(tmp_path / "there")
    ours, theirs = weights(here), weights(there)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert there is not None
    assert there["data_wait_seconds"] > 0
    assert not list(Path().glob("s3:*"))
    assert (tmp_path / "cache" / "frozen").is_dir()
    assert kept(cache)


def test_other_jobs_read_a_url_as_they_read_a_folder(
    local: Path, config: TrainConfig, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    place, cache = uploaded(local, bucket), cache_in(tmp_path)
    found = train(data=Place.of(local), out=Place.of(tmp_path / "run"), config=config)
    assert found is not None
    checkpoint = Path(found["checkpoint"])
    results = [evaluate(checkpoint=Place.of(checkpoint), data=data, read=cache) for data in (Place.of(local), place)]
    assert results[0] is not None
    assert results[1] is not None
    assert results[0].pop("data") == str(local.resolve())
    assert results[1].pop("data") == str(place)
    assert results[0] == results[1]
    exports = [
        export_embeddings(
            checkpoint=Place.of(checkpoint), data=data, out=Place.of(tmp_path / f"export-{n}"), read=cache
        )
        for n, data in enumerate((Place.of(local), place))
    ]
    assert exports[0]["news"] == exports[1]["news"]
    vectors = [(tmp_path / f"export-{n}" / "index.faiss").read_bytes() for n in range(2)]
    assert vectors[0] == vectors[1]
    options = ["--data", str(place), "--cache-dir", str(cache.cache_dir), "--cache-bytes", "30000"]
    assert run(inspect_batches, options) == 0
    assert (tmp_path / "packed.png").is_file()

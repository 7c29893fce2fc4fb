"""run.streams: 0 becomes the number of processes when a run begins; a resumed run keeps what it began with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.packed import packed_directory
from tests.trainer.loop.test_trainer import config as config
from tests.trainer.loop.test_trainer import ready
from trainer.checkpoint.files import ResumeError
from trainer.checkpoint.retention import FOLDER
from trainer.config import TrainConfig
from trainer.loop.session import TrainingSession
from trainer.loop.trainer import Trainer
from trainer.ranks.process_group import Ranks
from trainer.run_config import RunConfig
from trainer.setup.automatic import resolve_for_device

CPU = torch.device("cpu")


def with_run(config: TrainConfig, **options: int) -> TrainConfig:
    return replace(config, run=replace(config.run, **options))  # type: ignore[arg-type]


def resolved(config: TrainConfig, *, world: int, begun: Path | None = None) -> int:
    return resolve_for_device(config, CPU, Ranks(0, world), begun=begun).run.streams


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return packed_directory(tmp_path / "packed")


def trained(config: TrainConfig, data: Path, out: Path, *, stop_at: int | None = None) -> Path:
    out.mkdir(exist_ok=True)
    trainer = Trainer(ready(config, data))
    session = TrainingSession(trainer, out, asked_to_stop=lambda: trainer.step == stop_at)
    session.resume()
    session.fit()
    return out


@pytest.mark.parametrize(
    ("named", "per_step", "world", "taken"), [(0, 8, 4, 4), (0, 2, 4, 2), (0, 8, 1, 1), (8, 8, 4, 8)]
)
def test_a_new_run_has_a_stream_for_each_process_that_has_a_batch_in_every_step(
    config: TrainConfig, named: int, per_step: int, world: int, taken: int
) -> None:
    chosen = with_run(config, batches_per_step=per_step, streams=named)
    assert resolved(chosen, world=world) == taken
    shared = replace(chosen, planner=replace(chosen.planner, share_encoding=True))
    assert resolved(shared, world=world) == (named or 1)  # one cache: neighbouring batches share items


def test_a_resumed_run_keeps_its_streams_with_any_number_of_processes(
    config: TrainConfig, data: Path, tmp_path: Path
) -> None:
    of_two = with_run(config, epochs=1, batches_per_step=4, streams=2)
    out = trained(of_two, data, tmp_path / "out", stop_at=2)
    for world in (1, 4):
        assert resolved(with_run(of_two, streams=0), world=world, begun=out / FOLDER) == 2
    again = Trainer(ready(with_run(of_two, streams=4), data))
    with pytest.raises(ResumeError, match=r"run\.streams was 2 and is 4"):
        TrainingSession(again, out).resume()
    state = next((out / FOLDER).rglob("state.json"))
    assert json.loads(state.read_text())["config"]["run"]["streams"] == 2


def test_a_run_of_several_streams_stopped_in_their_middle_takes_the_same_steps(
    config: TrainConfig, data: Path, tmp_path: Path
) -> None:
    chosen = with_run(config, epochs=2, batches_per_step=3, streams=2, log_every_steps=1)
    unbroken = trained(chosen, data, tmp_path / "unbroken")
    stopped = trained(chosen, data, tmp_path / "stopped", stop_at=3)
    trained(chosen, data, stopped)
    of_both = [
        [(line["step"], line["loss"]) for line in map(json.loads, (out / "metrics.jsonl").open())]
        for out in (unbroken, stopped)
    ]
    assert of_both[0] == of_both[1]
    assert len(of_both[0]) == 8


def test_a_config_of_an_older_run_has_one_stream(config: TrainConfig) -> None:
    stored = config.to_dict()
    del stored["run"]["streams"]
    assert TrainConfig.from_dict(stored).run.streams == 1
    assert TrainConfig.from_dict(with_run(config, streams=2).to_dict()).run.streams == 2


@pytest.mark.parametrize(("streams", "advice"), [(5, "at most as many"), (-1, "use 0 or more"), (2000, "1024 at most")])
def test_impossible_numbers_of_streams_raise_an_error_that_names_the_option(streams: int, advice: str) -> None:
    with pytest.raises(ValueError, match=rf"run\.streams is {streams}.*{advice}"):
        RunConfig(batches_per_step=4 if streams < 2000 else 4000, streams=streams)

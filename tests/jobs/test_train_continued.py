"""--init-from as a user of daily runs sees it: what is printed, what a resumed run needs, what is refused."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.train import train
from schemas.storage.place import Place
from tests.packed import packed_directory
from tests.trainer.loop.test_staleness import config_of
from trainer.checkpoint.files import ResumeError, load_state
from trainer.config import TrainConfig


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    config = config_of(tmp_path, rate=1e-3)
    encoder = replace(config.encoder, frozen_layers=1, projection_start="principal")
    return replace(config, encoder=encoder, run=replace(config.run, epochs=1, drift_every_steps=0, tensorboard=False))


def test_a_second_day_counts_on_and_resumes_without_the_first(
    config: TrainConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    today = Place.of(packed_directory(tmp_path / "packed-1", items=30))
    tomorrow = Place.of(packed_directory(tmp_path / "packed-2", items=40))
    first = train(data=today, out=Place.of(tmp_path / "run-1"), config=config)
    assert first is not None
    before = Place.of(tmp_path / "run-1" / "checkpoint")
    second = train(data=tomorrow, out=Place.of(tmp_path / "run-2"), config=config, init_from=before, resume="auto")
    assert second is not None
    said = " ".join(capsys.readouterr().err.split())
    assert (
        f"begins with {before}/step-00000012; since then 10 new items, 0 with other tokens; counts steps on from 12 "
        in said
    )
    assert second["looked_up"] > first["looked_up"]
    position = load_state(Path(second["checkpoint"]))["position"]
    assert (position["step"], position["first_step"]) == (12, 12)
    shutil.rmtree(tmp_path / "run-1")
    again = train(data=tomorrow, out=Place.of(tmp_path / "run-2"), config=config, init_from=before, resume="auto")
    assert again is not None
    assert again["checkpoint"] == second["checkpoint"]
    with pytest.raises(ResumeError, match=r"run-1/checkpoint: no state\.json, so this is no checkpoint"):
        train(data=tomorrow, out=Place.of(tmp_path / "run-3"), config=config, init_from=before, resume="auto")


def test_another_model_is_refused_and_other_rows_are_not(config: TrainConfig, tmp_path: Path) -> None:
    data = Place.of(packed_directory(tmp_path / "packed", items=30))
    train(data=data, out=Place.of(tmp_path / "run"), config=config)
    before = Place.of(tmp_path / "run" / "checkpoint")
    wider = replace(config, encoder=replace(config.encoder, pooling_width=16, row_tokens=16))
    with pytest.raises(ResumeError, match=r"another: encoder\.pooling_width was 8 and is 16$"):
        train(data=data, out=Place.of(tmp_path / "wider"), config=wider, init_from=before)
    shared = replace(config, encoder=replace(config.encoder, row_tokens=16))
    assert train(data=data, out=Place.of(tmp_path / "shared"), config=shared, init_from=before) is not None

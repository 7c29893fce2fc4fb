"""Judging: fresh vectors, the same figures from several ranks, and what is said where something is missing."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import distributed as dist
from torch.multiprocessing.spawn import start_processes

from schemas.errors import InputError
from tests.packed import BASELINES, packed_directory, tiny_plm
from tests.trainer.eval.test_baselines import catalogue
from tests.trainer.loop.test_trainer import ready
from trainer.checkpoint.files import Checkpoint
from trainer.checkpoint.retention import load_chosen
from trainer.checkpoint.selection import choices_of
from trainer.config import TrainConfig
from trainer.data.validation import validation_of
from trainer.eval import ranking
from trainer.model import item_vectors
from trainer.eval.baselines import EvaluationInputs
from trainer.eval.evaluate import Scored, judgement, model_auc, scored
from trainer.loop.session import TrainingSession
from trainer.loop.trainer import Trainer
from trainer.loop.warm_start import begin_from
from trainer.model.text_encoder import TextEncoderConfig
from trainer.ranks.process_group import ALONE, Ranks
from trainer.run_config import RunConfig
from trainer.setup.prepare import Prepared, load_weights


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("judging")
    packed_directory(folder / "labelled")
    return packed_directory(folder / "packed", unlabelled=6)


@pytest.fixture(scope="module")
def config(data: Path) -> TrainConfig:
    plm = tiny_plm(data.parent / "plm")
    return TrainConfig(
        run=RunConfig(reader="arrow"),
        encoder=TextEncoderConfig(plm=plm, frozen_layers=1, vector_width=8, pooling_width=8),
    )


@pytest.fixture(scope="module")
def saved(config: TrainConfig, data: Path) -> Checkpoint:
    """Some steps of training, so that the model is another than the untrained one."""
    trainer = Trainer(ready(config, data))
    keeping = TrainingSession(trainer, data.parent / "run", asked_to_stop=lambda: trainer.step == 3)
    keeping.go_on()
    keeping.fit()
    return load_chosen(keeping.save())


def small_chunks(config: TrainConfig, data: Path, saved: Checkpoint, ranks: Ranks) -> Scored:
    torch.set_num_threads(1)
    item_vectors.CHUNK_ROWS, ranking.CHUNK_IMPRESSIONS, ranking._CHUNK_SHOWN = 4, 3, 17
    return scored(ready(config, data), saved, ranks, predict=True)


def _rank(rank: int, world: int, folder: Path, *rest: object) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world)
    found = small_chunks(*rest, Ranks(rank, world))  # type: ignore[arg-type]
    (folder / f"{rank}.pickle").write_bytes(pickle.dumps((found.scores, found.recall, found.predicted_X)))
    dist.destroy_process_group()


def test_two_ranks_score_as_one_process_does(
    config: TrainConfig, data: Path, saved: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name in ((item_vectors, "CHUNK_ROWS"), (ranking, "CHUNK_IMPRESSIONS"), (ranking, "_CHUNK_SHOWN")):
        monkeypatch.setattr(module, name, getattr(module, name))  # restores what small_chunks sets
    alone = small_chunks(config, data, saved, ALONE)
    start_processes(_rank, args=(2, tmp_path, config, data, saved), nprocs=2, start_method="spawn")
    for rank in range(2):
        scores, recall, predicted = pickle.loads((tmp_path / f"{rank}.pickle").read_bytes())
        assert scores.keys() == alone.scores.keys()
        assert all(np.array_equal(scores[name], alone.scores[name]) for name in scores)
        assert recall == alone.recall
        assert np.array_equal(predicted, alone.predicted_X)


def test_vectors_are_encoded_now_and_none_is_taken_from_training(
    config: TrainConfig, data: Path, saved: Checkpoint
) -> None:
    whole = scored(ready(config, data), saved, ALONE, predict=False)
    weights = Checkpoint(tensors={"model": saved.tensors["model"]}, state=saved.state)
    without_table = scored(ready(config, data), weights, ALONE, predict=False)
    assert np.array_equal(whole.scores["model"], without_table.scores["model"])
    assert any(part.startswith("table") for part in saved.tensors)


def test_every_method_is_judged_and_what_is_missing_is_said(config: TrainConfig, data: Path, saved: Checkpoint) -> None:
    prepared = ready(config, data)
    found = scored(prepared, saved, ALONE, predict=False)
    told = judgement(
        prepared, saved, found, EvaluationInputs(catalogue=catalogue(*[("a", "b"), ("a", "c"), ("d", "")] * 10))
    )
    summary = told.summary
    assert list(summary["methods"]) == ["model", *BASELINES]
    assert summary["methods"]["model"]["auc"] == pytest.approx(
        model_auc(prepared, prepared.directory.evaluation()), abs=1e-6
    )
    assert sorted(summary["paired"]) == sorted(BASELINES)
    assert (summary["impressions"], summary["skipped"], summary["unlabelled"], summary["step"]) == (20, 0, 6, 3)
    assert summary["split"] == {"evaluate_from": "2026-03-07", "first": "2026-03-07", "last": "2026-03-08"}
    assert summary["negatives"] == "shown"
    assert sum(part["impressions"] for part in summary["slices"]["history length"]) == 20
    assert [part["slice"] for part in summary["slices"]["new users"]] == ["new", "known"]
    assert summary["left_out"] == ["6 impressions without click marks: --predictions FILE tells their order"]
    assert told.examples is not None
    assert len(told.examples) == 20
    assert told.predictions is None
    bare = judgement(prepared, saved, found, EvaluationInputs()).summary
    assert bare["methods"] == {name: told for name, told in summary["methods"].items() if name != "category"}
    assert bare["left_out"][0] == "category match and examples: nobody knows categories and titles without --lake"
    assert json.loads(json.dumps(summary)) == summary


def test_a_checkpoint_of_another_directory_is_doubted(config: TrainConfig, data: Path, saved: Checkpoint) -> None:
    prepared = ready(config, data.with_name("labelled"))
    found = scored(prepared, saved, ALONE, predict=False)
    alarms = judgement(prepared, saved, found, EvaluationInputs()).summary["alarms"]
    assert any("another packed directory" in alarm for alarm in alarms)


def test_predictions_rank_unknown_news_last(config: TrainConfig, data: Path, saved: Checkpoint) -> None:
    prepared = ready(config, data)
    lines = judgement(prepared, saved, scored(prepared, saved, ALONE, predict=True), EvaluationInputs()).predictions
    assert lines is not None
    told = list(lines)
    assert [line.split()[0] for line in told] == [str(n) for n in (*range(20, 26), *range(75, 81))]
    ranks = [json.loads(line.split()[1]) for line in told]
    assert all(sorted(own) == [1, 2, 3, 4, 5, 6] and own[0] == 6 for own in ranks)
    assert ranks[:6] == ranks[:5:-1]


def test_nothing_to_predict_is_an_error(config: TrainConfig, data: Path, saved: Checkpoint) -> None:
    with pytest.raises(InputError, match=r"every evaluation impression carries click marks.*--unlabelled"):
        scored(ready(config, data.with_name("labelled")), saved, ALONE, predict=True)


def test_impressions_without_marks_alone_can_be_predicted_and_not_judged(
    config: TrainConfig, data: Path, saved: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = ready(config, data)
    table = prepared.directory.evaluation()
    monkeypatch.setattr(type(prepared.directory), "evaluation", lambda _: table.slice(20))
    with pytest.raises(InputError, match=r"none of the 6 evaluation impressions carries click marks.*--predictions"):
        scored(prepared, saved, ALONE, predict=False)
    told = judgement(prepared, saved, scored(prepared, saved, ALONE, predict=True), EvaluationInputs())
    assert told.summary["methods"] == {}
    assert "nothing is judged" in told.summary["left_out"][0]
    assert told.predictions is not None
    assert len(list(told.predictions)) == 12


def test_impressions_of_one_class_alone_cannot_be_judged(
    config: TrainConfig, data: Path, saved: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = ready(replace(config), data)
    found = scored(prepared, saved, ALONE, predict=False)
    one_class = replace(found, judged=replace(found.judged, clicked_X=np.zeros_like(found.judged.clicked_X)))
    with pytest.raises(InputError, match=r"no order to judge.*earlier --evaluate-from"):
        judgement(prepared, saved, one_class, EvaluationInputs())


def judged_epochs(config: TrainConfig, data: Path, out: Path, **run: Any) -> TrainingSession:
    """A run whose epochs choose a checkpoint."""
    out.mkdir(exist_ok=True)
    trainer = Trainer(ready(replace(config, run=replace(config.run, epochs=2, early_stop_epochs=9, **run)), data))
    keeping = TrainingSession(trainer, out)
    keeping.go_on()
    keeping.fit()
    return keeping


def summary_of(prepared: Prepared, saved: Checkpoint) -> dict[str, Any]:
    found = scored(prepared, saved, ALONE, predict=False)
    return judgement(prepared, saved, found, EvaluationInputs(None, None)).summary


@pytest.mark.parametrize("validate", ["user:0.3", "time:0.5"])
def test_what_chose_a_checkpoint_is_not_in_its_figures(
    config: TrainConfig, data: Path, tmp_path: Path, validate: str
) -> None:
    keeping = judged_epochs(config, data, tmp_path / "run", validate=validate)
    assert keeping.choice is not None
    saved = load_chosen(tmp_path / "run" / "checkpoint")
    assert choices_of(saved) == [keeping.choice]
    summary = summary_of(ready(config, data), saved)
    assert summary["chose"] == keeping.choice.impressions > 0
    assert summary["impressions"] + summary["chose"] == 20
    assert any(f"that chose the checkpoint ({validate})" in sentence for sentence in summary["left_out"])
    best = keeping.summary()["best"]
    validation, _ = validation_of(ready(config, data).directory.evaluation(), validate)
    prepared = ready(config, data)
    load_weights(prepared.model, saved)
    assert best["auc"] == pytest.approx(model_auc(prepared, validation))
    elsewhere = packed_directory(tmp_path / "later", seed=3)  # its impressions are of the same users and times
    assert summary_of(ready(config, elsewhere), saved)["chose"] == summary["chose"]


def test_a_choice_that_was_not_recorded_is_refused_on_its_data_and_an_alarm_on_others(
    config: TrainConfig, data: Path, tmp_path: Path
) -> None:
    judged_epochs(config, data, tmp_path / "run")
    saved = load_chosen(tmp_path / "run" / "checkpoint")
    kept = {name: value for name, value in saved.state["keeping"].items() if name not in ("chosen_by", "validation")}
    older = replace(saved, state={**saved.state, "keeping": kept})
    with pytest.raises(
        InputError, match=r"all 20 labelled evaluation impressions chose this checkpoint.*run\.validate"
    ):
        summary_of(ready(config, data), older)
    elsewhere = packed_directory(tmp_path / "later", seed=3)
    alarms = summary_of(ready(config, elsewhere), older)["alarms"]
    assert any("an older feedloop chose the checkpoint" in alarm for alarm in alarms)


def test_who_begins_from_a_chosen_checkpoint_remembers_what_chose_it(
    config: TrainConfig, data: Path, tmp_path: Path
) -> None:
    first = judged_epochs(config, data, tmp_path / "run")
    start = begin_from(ready(config, data), tmp_path / "run" / "checkpoint")
    trainer = Trainer(ready(config, data), ALONE, start["chosen_by"])
    keeping = TrainingSession(trainer, tmp_path / "second", asked_to_stop=lambda: trainer.step == 2)
    keeping.go_on()
    keeping.fit()
    assert choices_of(load_chosen(tmp_path / "second" / "checkpoint")) == [first.choice]


def test_where_other_impressions_choose_from_now_on_the_best_so_far_is_forgotten(
    config: TrainConfig, data: Path, tmp_path: Path
) -> None:
    first = judged_epochs(config, data, tmp_path / "run", validate="user:0.3")
    changed = replace(config, run=replace(config.run, epochs=3, early_stop_epochs=9, validate="time:0.5"))
    keeping = TrainingSession(Trainer(ready(changed, data)), tmp_path / "run")
    keeping.go_on()
    keeping.fit()
    assert keeping.summary()["best"]["step"] == keeping.summary()["steps"]
    assert choices_of(load_chosen(tmp_path / "run" / "checkpoint")) == [first.choice, keeping.choice]

"""Evaluation: fresh vectors, the same figures from several ranks, and sentences on what is missing."""

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
from trainer.checkpoint.retention import load_resolved_checkpoint
from trainer.checkpoint.selection import choices_of
from trainer.config import TrainConfig
from trainer.data.validation import validation_of
from trainer.eval import ranking
from trainer.eval.baselines import EvaluationInputs
from trainer.eval.evaluate import Scored, evaluate_scores, model_auc, score_checkpoint
from trainer.loop.session import TrainingSession
from trainer.loop.trainer import Trainer
from trainer.loop.warm_start import begin_from
from trainer.model import item_vectors
from trainer.model.text_encoder import TextEncoderConfig
from trainer.ranks.process_group import ALONE, Ranks
from trainer.run_config import RunConfig
from trainer.setup.prepare import Prepared, load_weights


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluating")
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
    """Some steps of training, so that the model differs from the untrained one."""
    trainer = Trainer(ready(config, data))
    session = TrainingSession(trainer, data.parent / "run", asked_to_stop=lambda: trainer.step == 3)
    session.resume()
    session.fit()
    path = session.save()
    session.wait_until_saved()
    return load_resolved_checkpoint(path)


def small_chunks(config: TrainConfig, data: Path, saved: Checkpoint, ranks: Ranks) -> Scored:
    torch.set_num_threads(1)
    item_vectors.CHUNK_ROWS, ranking.CHUNK_IMPRESSIONS, ranking._CHUNK_SHOWN = 4, 3, 17
    return score_checkpoint(ready(config, data), saved, ranks, predict=True)


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
    with_table = score_checkpoint(ready(config, data), saved, ALONE, predict=False)
    weights = Checkpoint(tensors={"model": saved.tensors["model"]}, state=saved.state)
    without_table = score_checkpoint(ready(config, data), weights, ALONE, predict=False)
    assert np.array_equal(with_table.scores["model"], without_table.scores["model"])
    assert any(part.startswith("table") for part in saved.tensors)


def test_every_method_is_evaluated_and_missing_data_is_reported(
    config: TrainConfig, data: Path, saved: Checkpoint
) -> None:
    prepared = ready(config, data)
    found = score_checkpoint(prepared, saved, ALONE, predict=False)
    result = evaluate_scores(
        prepared, saved, found, EvaluationInputs(catalogue=catalogue(*[("a", "b"), ("a", "c"), ("d", "")] * 10))
    )
    summary = result.summary
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
    assert summary["left_out"] == ["6 impressions without click marks: --predictions FILE writes their order"]
    assert result.examples is not None
    assert len(result.examples) == 20
    assert result.predictions is None
    bare = evaluate_scores(prepared, saved, found, EvaluationInputs()).summary
    assert bare["methods"] == {name: method for name, method in summary["methods"].items() if name != "category"}
    assert bare["left_out"][0] == "category match and examples: categories and titles need --lake"
    assert json.loads(json.dumps(summary)) == summary


def test_a_checkpoint_of_another_directory_is_doubted(config: TrainConfig, data: Path, saved: Checkpoint) -> None:
    prepared = ready(config, data.with_name("labelled"))
    found = score_checkpoint(prepared, saved, ALONE, predict=False)
    alarms = evaluate_scores(prepared, saved, found, EvaluationInputs()).summary["alarms"]
    assert any("another packed directory" in alarm for alarm in alarms)


def test_predictions_rank_unknown_news_last(config: TrainConfig, data: Path, saved: Checkpoint) -> None:
    prepared = ready(config, data)
    lines = evaluate_scores(
        prepared, saved, score_checkpoint(prepared, saved, ALONE, predict=True), EvaluationInputs()
    ).predictions
    assert lines is not None
    written = list(lines)
    assert [line.split()[0] for line in written] == [str(n) for n in (*range(20, 26), *range(75, 81))]
    ranks = [json.loads(line.split()[1]) for line in written]
    assert all(sorted(own) == [1, 2, 3, 4, 5, 6] and own[0] == 6 for own in ranks)
    assert ranks[:6] == ranks[:5:-1]


def test_nothing_to_predict_is_an_error(config: TrainConfig, data: Path, saved: Checkpoint) -> None:
    with pytest.raises(InputError, match=r"every evaluation impression carries click marks.*--unlabelled"):
        score_checkpoint(ready(config, data.with_name("labelled")), saved, ALONE, predict=True)


def test_impressions_without_marks_alone_can_be_predicted_and_not_evaluated(
    config: TrainConfig, data: Path, saved: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = ready(config, data)
    table = prepared.directory.evaluation()
    monkeypatch.setattr(type(prepared.directory), "evaluation", lambda _: table.slice(20))
    with pytest.raises(InputError, match=r"none of the 6 evaluation impressions carries click marks.*--predictions"):
        score_checkpoint(prepared, saved, ALONE, predict=False)
    result = evaluate_scores(
        prepared, saved, score_checkpoint(prepared, saved, ALONE, predict=True), EvaluationInputs()
    )
    assert result.summary["methods"] == {}
    assert "nothing is evaluated" in result.summary["left_out"][0]
    assert result.predictions is not None
    assert len(list(result.predictions)) == 12


def test_impressions_of_one_class_alone_cannot_be_evaluated(
    config: TrainConfig, data: Path, saved: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = ready(replace(config), data)
    found = score_checkpoint(prepared, saved, ALONE, predict=False)
    one_class = replace(found, labelled=replace(found.labelled, clicked_X=np.zeros_like(found.labelled.clicked_X)))
    with pytest.raises(InputError, match=r"no order to evaluate.*earlier --evaluate-from"):
        evaluate_scores(prepared, saved, one_class, EvaluationInputs())


def chosen_by_epochs(config: TrainConfig, data: Path, out: Path, **run: Any) -> TrainingSession:
    """A run whose epochs choose a checkpoint."""
    out.mkdir(exist_ok=True)
    trainer = Trainer(ready(replace(config, run=replace(config.run, epochs=2, early_stop_epochs=9, **run)), data))
    session = TrainingSession(trainer, out)
    session.resume()
    session.fit()
    return session


def summary_of(prepared: Prepared, saved: Checkpoint) -> dict[str, Any]:
    found = score_checkpoint(prepared, saved, ALONE, predict=False)
    return evaluate_scores(prepared, saved, found, EvaluationInputs(None, None)).summary


@pytest.mark.parametrize("validate", ["user:0.3", "time:0.5"])
def test_impressions_that_chose_a_checkpoint_are_not_in_its_figures(
    config: TrainConfig, data: Path, tmp_path: Path, validate: str
) -> None:
    session = chosen_by_epochs(config, data, tmp_path / "run", validate=validate)
    assert session.choice is not None
    saved = load_resolved_checkpoint(tmp_path / "run" / "checkpoint")
    assert choices_of(saved) == [session.choice]
    summary = summary_of(ready(config, data), saved)
    assert summary["chose"] == session.choice.impressions > 0
    assert summary["impressions"] + summary["chose"] == 20
    assert any(f"that chose the checkpoint ({validate})" in sentence for sentence in summary["left_out"])
    best = session.summary()["best"]
    validation, _ = validation_of(ready(config, data).directory.evaluation(), validate)
    prepared = ready(config, data)
    load_weights(prepared.model, saved)
    assert best["auc"] == pytest.approx(model_auc(prepared, validation))
    elsewhere = packed_directory(tmp_path / "later", seed=3)  # its impressions are of the same users and times
    assert summary_of(ready(config, elsewhere), saved)["chose"] == summary["chose"]


def test_an_unrecorded_choice_is_an_error_on_its_data_and_an_alarm_on_others(
    config: TrainConfig, data: Path, tmp_path: Path
) -> None:
    chosen_by_epochs(config, data, tmp_path / "run")
    saved = load_resolved_checkpoint(tmp_path / "run" / "checkpoint")
    kept = {name: value for name, value in saved.state["keeping"].items() if name not in ("chosen_by", "validation")}
    older = replace(saved, state={**saved.state, "keeping": kept})
    with pytest.raises(
        InputError, match=r"all 20 labelled evaluation impressions chose this checkpoint.*run\.validate"
    ):
        summary_of(ready(config, data), older)
    elsewhere = packed_directory(tmp_path / "later", seed=3)
    alarms = summary_of(ready(config, elsewhere), older)["alarms"]
    assert any("an older feedloop chose the checkpoint" in alarm for alarm in alarms)


def test_a_run_from_a_chosen_checkpoint_keeps_its_choices(config: TrainConfig, data: Path, tmp_path: Path) -> None:
    first = chosen_by_epochs(config, data, tmp_path / "run")
    prepared = ready(config, data)
    trainer = Trainer(prepared, ALONE, begin_from(prepared, tmp_path / "run" / "checkpoint"))
    session = TrainingSession(trainer, tmp_path / "second", asked_to_stop=lambda: trainer.step == 2)
    session.resume()
    session.fit()
    assert choices_of(load_resolved_checkpoint(tmp_path / "second" / "checkpoint")) == [first.choice]


def test_where_other_impressions_choose_from_now_on_the_best_so_far_is_forgotten(
    config: TrainConfig, data: Path, tmp_path: Path
) -> None:
    first = chosen_by_epochs(config, data, tmp_path / "run", validate="user:0.3")
    changed = replace(config, run=replace(config.run, epochs=3, early_stop_epochs=9, validate="time:0.5"))
    session = TrainingSession(Trainer(ready(changed, data)), tmp_path / "run")
    session.resume()
    session.fit()
    assert session.summary()["best"]["step"] == session.summary()["steps"]
    assert choices_of(load_resolved_checkpoint(tmp_path / "run" / "checkpoint")) == [first.choice, session.choice]

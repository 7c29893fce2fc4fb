"""TrainingSession: when a run saves, evaluates and ends early; watching a run never changes it."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from jobs.cli.training import run_folder
from schemas.errors import InputError
from tests.packed import packed_directory
from tests.trainer.loop.test_staleness import config_of
from tests.trainer.loop.test_trainer import start
from trainer.checkpoint.files import ResumeError, load_checkpoint
from trainer.checkpoint.retention import Checkpoints, resolve_checkpoint
from trainer.config import TrainConfig, changed_options, split_changes
from trainer.cost.memory import OutOfMemoryError
from trainer.encode.policies import Policy
from trainer.eval.evaluate import NO_CHOICE
from trainer.loop.advice import DRIFT_ADVICE, memory_advice, rate_advice
from trainer.loop.session import TrainingSession, outline
from trainer.loop.trainer import Trainer
from trainer.optimise.optimiser import NonFiniteError
from trainer.run_config import RunConfig


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return packed_directory(tmp_path / "packed", trajectories=48)


def config(folder: Path, **run: int) -> TrainConfig:
    options = {"batches_per_step": 2, "log_every_steps": 4, "save_every_steps": 5, "epochs": 3, **run}
    return replace(config_of(folder, dropout=0.1, rate=1e-2), run=RunConfig(**options))  # type: ignore[arg-type]


def train_session(
    config: TrainConfig, data: Path, out: Path, *, stop_at: int | None = None
) -> tuple[Trainer, TrainingSession]:
    out.mkdir(exist_ok=True)
    trainer = start(config, data)
    session = TrainingSession(trainer, out, asked_to_stop=lambda: trainer.step == stop_at)
    session.resume()
    session.fit()
    return trainer, session


def logged_losses(out: Path) -> list[tuple[int, float]]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["loss"]) for line in lines]


@pytest.mark.parametrize("stop_at", [1, 4, 7, 18])
def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(data: Path, tmp_path: Path, stop_at: int) -> None:
    unbroken, _ = train_session(config(tmp_path), data, tmp_path / "unbroken")
    _, first = train_session(config(tmp_path), data, tmp_path / "run", stop_at=stop_at)
    assert first.stopped
    assert not first.summary()["complete"]
    second, session = train_session(config(tmp_path, log_every_steps=4, keep_checkpoints=9), data, tmp_path / "run")
    assert session.summary()["complete"]
    assert logged_losses(tmp_path / "run") == logged_losses(tmp_path / "unbroken")
    assert second.step == unbroken.step == 18 == session.summary()["steps"]
    ours, theirs = unbroken.model.state_dict(), second.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_line_that_a_kill_cut_short_is_written_again(data: Path, tmp_path: Path) -> None:
    train_session(config(tmp_path), data, tmp_path / "unbroken")
    train_session(config(tmp_path), data, tmp_path / "run", stop_at=7)
    with (tmp_path / "run" / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 8, "loss": 1.0}\n{"step": 12, "lo')
    train_session(config(tmp_path), data, tmp_path / "run")
    assert logged_losses(tmp_path / "run") == logged_losses(tmp_path / "unbroken")


def test_a_damaged_newest_checkpoint_is_passed_over_and_the_run_ends_as_if_unbroken(data: Path, tmp_path: Path) -> None:
    unbroken, _ = train_session(config(tmp_path), data, tmp_path / "unbroken")
    train_session(config(tmp_path, keep_checkpoints=2), data, tmp_path / "run", stop_at=7)
    newest = tmp_path / "run" / "checkpoint" / "step-00000007"
    (newest / "model.safetensors").write_bytes(b"")
    second, session = train_session(config(tmp_path, keep_checkpoints=1), data, tmp_path / "run")
    assert [str(newest) in why for why in session.passed_over] == [True]
    assert session.summary()["passed_over"] == session.passed_over
    assert logged_losses(tmp_path / "run") == logged_losses(tmp_path / "unbroken")
    ours, theirs = unbroken.model.state_dict(), second.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize(
    ("epochs", "stops"),
    [((1, 3), (None, 9)), ((2, 3), (7, 9)), ((1, 2, 4), (None, 9, 14))],
    ids=["after its end", "on its way", "twice"],
)
def test_an_extended_run_keeps_its_schedule_and_resumes_to_the_bit(
    data: Path, tmp_path: Path, epochs: tuple[int, ...], stops: tuple[int | None, ...]
) -> None:
    for count, stop_at in zip(epochs, stops, strict=True):
        train_session(config(tmp_path, epochs=count), data, tmp_path / "killed", stop_at=stop_at)
        train_session(
            config(tmp_path, epochs=count),
            data,
            tmp_path / "unbroken",
            stop_at=None if count == epochs[-1] else stop_at,
        )
    second, session = train_session(config(tmp_path, epochs=epochs[-1]), data, tmp_path / "killed")
    assert second.changed == []  # this resume is of the same config
    changes = [(change.step, change.options) for change in session.changes]
    pairs = itertools.pairwise(epochs)
    assert [options for _, options in changes] == [(f"run.epochs was {a} and is {b}",) for a, b in pairs]
    assert session.summary()["complete"]
    assert (second.position.epoch, second.step) == (epochs[-1], 6 * epochs[-1])
    assert logged_losses(tmp_path / "killed") == logged_losses(tmp_path / "unbroken")
    stretches = second.optimiser.schedule.stretches
    assert [first for first, _ in stretches] == [0, *(step for step, _ in changes)]
    assert [steps for _, steps in stretches] == [6 * count for count in epochs]
    newest = [
        load_checkpoint(Checkpoints(tmp_path / run / "checkpoint", keep=2).newest()) for run in ("killed", "unbroken")
    ]  # type: ignore[arg-type]
    assert newest[0].state["optimiser"]["stretches"] == [list(stretch) for stretch in stretches]
    for part, tensors in newest[0].tensors.items():
        assert all(torch.equal(tensor, newest[1].tensors[part][name]) for name, tensor in tensors.items()), part


def test_a_run_is_made_longer_but_not_shorter(data: Path, tmp_path: Path) -> None:
    train_session(config(tmp_path, epochs=2), data, tmp_path / "run", stop_at=3)
    with pytest.raises(ResumeError, match=r"run\.epochs was 2 and is 1, and a run can only be made longer"):
        train_session(config(tmp_path, epochs=1), data, tmp_path / "run")


def test_a_run_that_ended_early_resumes_when_it_may_wait_longer(data: Path, tmp_path: Path) -> None:
    still = replace(config_of(tmp_path), run=RunConfig(batches_per_step=2, epochs=9, early_stop_epochs=2))
    trainer, session = train_session(still, data, tmp_path / "run")
    assert (trainer.position.epoch, session.ended_early) == (3, True)
    longer = replace(still, run=replace(still.run, early_stop_epochs=4))
    trainer, session = train_session(longer, data, tmp_path / "run")
    assert (trainer.position.epoch, session.ended_early) == (5, True)
    blind = replace(still, run=replace(still.run, early_stop_epochs=0))
    trainer, session = train_session(blind, data, tmp_path / "run")
    assert (trainer.position.epoch, session.ended_early) == (9, False)


@pytest.mark.parametrize("policy", ["cached", "accumulated"])
def test_a_run_resumes_with_what_a_message_advises(data: Path, tmp_path: Path, policy: Policy) -> None:
    before = config(tmp_path)
    before = replace(before, planner=replace(before.planner, policy=policy))
    now = before
    for message in (memory_advice(before), rate_advice(before), DRIFT_ADVICE, NO_CHOICE):
        of_this_run = message.partition("start again")[0]
        names = re.findall(r"\b(run|planner|optimiser)\.([a-z_]+)", of_this_run.replace("-", "_"))
        assert names
        for part, name in names:
            now = replace(now, **{part: replace(getattr(now, part), **{name: OTHER[name]})})
    assert split_changes(before, now)[1] == []
    train_session(before, data, tmp_path / "run", stop_at=7)
    trainer, session = train_session(now, data, tmp_path / "run")
    assert session.summary()["complete"]
    assert len(session.changes[0].options) == len(trainer.changed) > 3


OTHER: dict[str, object] = {
    "kept_chunks": 0,
    "auto_chunk": True,
    "chunk_sizes": (4,),
    "encoder_learning_rate": 1e-5,
    "learning_rate": 1e-4,
    "drift_every_steps": 0,
    "early_stop_epochs": 0,
}


def test_checkpoints_are_written_as_configured(data: Path, tmp_path: Path) -> None:
    train_session(config(tmp_path, keep_checkpoints=9), data, tmp_path / "run")
    assert Checkpoints(tmp_path / "run" / "checkpoint", keep=9).steps() == [5, 6, 11, 12, 17, 18]
    train_session(config(tmp_path, save_every_steps=0, keep_checkpoints=9), data, tmp_path / "epochs")
    assert Checkpoints(tmp_path / "epochs" / "checkpoint", keep=9).steps() == [6, 12, 18]


def test_epochs_without_a_better_auc_end_the_run_and_the_best_is_kept(data: Path, tmp_path: Path) -> None:
    still = replace(
        config_of(tmp_path), run=RunConfig(batches_per_step=2, epochs=9, early_stop_epochs=2, keep_checkpoints=1)
    )
    trainer, session = train_session(still, data, tmp_path / "run")
    assert (trainer.position.epoch, session.ended_early) == (3, True)  # the first is the best, two are no better
    assert session.summary()["best"]["step"] == 6
    assert resolve_checkpoint(tmp_path / "run" / "checkpoint").name == "step-00000006"
    again, session = train_session(still, data, tmp_path / "run")
    assert (again.step, session.ended_early) == (trainer.step, True)  # ended is ended


def test_evaluating_changes_nothing(data: Path, tmp_path: Path) -> None:
    blind, _ = train_session(config(tmp_path), data, tmp_path / "blind")
    evaluated, session = train_session(config(tmp_path, early_stop_epochs=9), data, tmp_path / "evaluated")
    assert session.summary()["best"]["auc"] > 0
    assert logged_losses(tmp_path / "blind") == logged_losses(tmp_path / "evaluated")
    ours, theirs = blind.model.state_dict(), evaluated.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_loss_that_is_not_finite_names_the_last_good_checkpoint(data: Path, tmp_path: Path) -> None:
    train_session(config(tmp_path), data, tmp_path / "run", stop_at=5)
    trainer = start(config(tmp_path), data)
    session = TrainingSession(trainer, tmp_path / "run")
    session.resume()
    with torch.no_grad():
        next(trainer.model["head"].parameters()).fill_(float("nan"))
    with pytest.raises(NonFiniteError, match=r"step 5, .*loss is nan.*last good checkpoint is .*step-00000005"):
        session.fit()
    assert load_checkpoint(tmp_path / "run" / "checkpoint" / "step-00000005").state["position"]["step"] == 5


def test_a_gradient_that_is_not_finite_leaves_everything_as_it_was(data: Path, tmp_path: Path) -> None:
    trainer = start(config(tmp_path), data)
    head = next(p for p in trainer.model["head"].parameters() if p.requires_grad)
    head.register_hook(lambda gradient: gradient * float("inf"))
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    trainer.take_step(next(iter(trainer.epoch_steps())))
    with pytest.raises(NonFiniteError, match="gradient is not finite"):
        trainer.check_finite()
    assert all(torch.equal(tensor, before[name]) for name, tensor in trainer.model.state_dict().items())
    assert not trainer.table.vector_VD.any()


def test_an_outline_is_what_the_run_does(data: Path, tmp_path: Path) -> None:
    _, session = train_session(config(tmp_path), data, tmp_path / "run")
    expected, done = outline(start(config(tmp_path), data)), session.summary()
    assert {name: expected[name] for name in ("steps", "epochs", "targets")} == {
        name: done[name] for name in ("steps", "epochs", "targets")
    }
    assert expected["device"] == "cpu"


def test_what_differs_is_named_unless_it_changes_nothing(tmp_path: Path) -> None:
    mine, other = config(tmp_path), config(tmp_path, seed=7, keep_checkpoints=5, log_every_steps=1)
    assert changed_options(mine, other) == ["run.seed was 1 and is 7"]


def test_two_runs_never_share_a_folder(data: Path, tmp_path: Path) -> None:
    trainer = start(config(tmp_path), data)
    with (
        run_folder(tmp_path / "run", trainer),
        pytest.raises(InputError, match="train of this run is running already"),
        run_folder(tmp_path / "run", trainer),
    ):
        pass


class _Full:
    """A text encoder on a device that holds at most `graphs` graphs of chunks."""

    def __init__(self, trainer: Trainer, graphs: int) -> None:
        self.encode, self.graphs, self.held = trainer.table._encode, graphs, 0
        trainer.table._encode = self

    def __call__(self, tensors: Mapping[str, torch.Tensor], /) -> torch.Tensor:
        output_CD = self.encode(tensors)
        if output_CD.requires_grad:
            if self.held == self.graphs:
                self.held = 0
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nMore words")
            self.held += 1
            output_CD.register_hook(self._freed)
        return output_CD

    def backward(self, vector_CD: torch.Tensor, gradient_CD: torch.Tensor, *, last: bool) -> None:
        self.encode.backward(vector_CD, gradient_CD, last=last)

    def _freed(self, gradient_CD: torch.Tensor) -> None:
        self.held -= 1


def test_full_memory_raises_an_error_that_says_what_to_lower(data: Path, tmp_path: Path) -> None:
    trainer = start(config(tmp_path), data)
    _Full(trainer, graphs=1)
    with pytest.raises(OutOfMemoryError, match=r"step 0: .*2 GiB\.\. Resume with .*kept_chunks \(now all.*\[16, 4\]"):
        trainer.take_step(next(iter(trainer.epoch_steps())))
    assert (trainer.step, trainer.optimiser.taken) == (0, 0)


def test_auto_chunk_takes_the_same_steps_in_less_memory(data: Path, tmp_path: Path) -> None:
    free, _ = train_session(config(tmp_path), data, tmp_path / "free")
    (tmp_path / "full").mkdir()
    trainer = start(replace(free.config, run=replace(free.config.run, auto_chunk=True)), data)
    _Full(trainer, graphs=1)
    TrainingSession(trainer, tmp_path / "full").fit()
    assert trainer.table.kept_chunks == 1
    assert logged_losses(tmp_path / "full") == logged_losses(tmp_path / "free")
    ours, theirs = free.model.state_dict(), trainer.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)

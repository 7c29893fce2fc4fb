"""A run that continues another: it encodes what an unbroken run would, with its moments, vectors and step count."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.packed import packed_directory
from tests.trainer.loop.test_staleness import config_of
from tests.trainer.loop.test_trainer import ready, start
from tests.trainer.loop.test_warm_start import kept, with_tokens
from trainer.checkpoint.files import Checkpoint, ResumeError, load_checkpoint, save_checkpoint
from trainer.config import TrainConfig
from trainer.encode.plan import NEVER
from trainer.encode.policies import Policy
from trainer.loop.session import TrainingSession
from trainer.loop.trainer import Trainer
from trainer.loop.warm_start import WarmStart, begin_from
from trainer.optimise.optimiser import NonFiniteError
from trainer.ranks.process_group import ALONE

DONE = 9  # steps of the run that is continued


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    config = config_of(tmp_path, dropout=0.1, rate=1e-3)
    planner = replace(config.planner, warm_up_steps=3, max_age_steps=6)
    return replace(config, planner=planner, run=replace(config.run, drift_every_steps=0))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return packed_directory(tmp_path / "today", items=30)


def advance(trainer: Trainer, steps: int) -> list[float]:
    """Loss sums of the next steps of the present epoch."""
    trainer.model.train()
    taken = zip(range(steps), trainer.epoch_steps(packed_steps=steps), strict=True)
    return [float(trainer.take_step(step)) for _, step in taken]


@pytest.fixture
def earlier(config: TrainConfig, data: Path) -> Trainer:
    trainer = start(config, data)
    advance(trainer, DONE)
    return trainer


def continuing(config: TrainConfig, data: Path, checkpoint: Path) -> tuple[Trainer, WarmStart]:
    prepared = ready(config, data)
    warm = begin_from(prepared, checkpoint)
    return Trainer(prepared, ALONE, warm), warm


def as_lists(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def test_the_first_step_encodes_what_the_unbroken_run_would(
    config: TrainConfig, data: Path, earlier: Trainer, tmp_path: Path
) -> None:
    trainer, warm = continuing(config, data, kept(earlier.checkpoint(), tmp_path / "checkpoint"))
    first = next(iter(trainer.epoch_steps(packed_steps=1))).plan
    rows = np.asarray(first.rows_N)
    unbroken = start(config, data).planner
    unbroken.load_state_dict(earlier.planner.state_dict())
    expected = unbroken.plan(DONE, [rows])
    assert first.step == expected.step == DONE
    assert [(c.seed, as_lists(c.rows_C)) for c in first.encode] == [
        (c.seed, as_lists(c.rows_C)) for c in expected.encode
    ]
    assert as_lists(first.age_L) == as_lists(expected.age_L)
    cold = next(iter(start(config, data).epoch_steps(packed_steps=1))).plan
    assert cold.encoded == len(rows) > first.encoded + 5
    assert first.looked_up == len(rows) - first.encoded <= len(warm.row_R)


def test_what_the_first_step_looks_up_are_the_checkpoints_vectors(
    config: TrainConfig, data: Path, earlier: Trainer, tmp_path: Path
) -> None:
    saved = earlier.checkpoint()
    trainer, _ = continuing(config, data, kept(saved, tmp_path / "checkpoint"))
    step = next(iter(trainer.epoch_steps(packed_steps=1)))
    placed, _ = step.to(trainer.device)
    trainer.table.refresh(placed)
    leaf_ND = trainer.table.read(placed).detach()
    looked_up = np.setdiff1d(step.plan.rows_N, step.plan.change.encoded)
    assert len(looked_up) > 5
    slots = np.searchsorted(step.plan.rows_N, looked_up)
    table = saved.tensors["table-0"]
    places = np.searchsorted(table["row_R"].numpy(), looked_up)
    assert table["row_R"][places].tolist() == looked_up.tolist()
    assert torch.equal(leaf_ND[slots], table["vector_RD"][places])


def moments_of(trainer: Trainer) -> dict[str, Tensor]:
    groups = trainer.optimiser.state_dict()["groups"]
    return {
        f"{name}/{index}/{moment}": tensor
        for name, group in groups.items()
        for index, found in group["state"].items()
        for moment, tensor in found.items()
    }


def test_moments_go_on_and_the_schedule_begins_again(
    config: TrainConfig, data: Path, earlier: Trainer, tmp_path: Path
) -> None:
    trainer, _ = continuing(config, data, kept(earlier.checkpoint(), tmp_path / "checkpoint"))
    before, now = moments_of(earlier), moments_of(trainer)
    assert before.keys() == now.keys()
    assert all(torch.equal(tensor, now[name]) for name, tensor in before.items())
    assert any(name.endswith("/step") and float(tensor) == DONE for name, tensor in now.items())
    assert (trainer.optimiser.taken, trainer.step) == (0, 0)
    assert trainer.optimiser.schedule == start(config, data).optimiser.schedule


def test_rows_with_other_tokens_and_new_rows_are_encoded_first(
    config: TrainConfig, earlier: Trainer, tmp_path: Path
) -> None:
    fresh = earlier.planner.state_dict().last_encode_V
    row = int(np.argmax(fresh))
    older = with_tokens(earlier.checkpoint(), row, tokens=1, version=-1)
    tomorrow = packed_directory(tmp_path / "tomorrow", items=40)
    trainer, warm = continuing(config, tomorrow, kept(older, tmp_path / "checkpoint"))
    now = trainer.planner.state_dict().last_encode_V
    young = (fresh != NEVER) & (DONE - fresh <= config.planner.max_age_steps)
    young[row] = False
    assert warm.row_R.tolist() == np.flatnonzero(young).tolist()
    assert (now[:31][young] == fresh[young]).all()
    assert (now[:31][~young] == NEVER).all()
    assert (now[31:] == NEVER).all()


def test_each_rank_begins_with_the_freshest_vectors(
    config: TrainConfig, data: Path, earlier: Trainer, tmp_path: Path
) -> None:
    saved = earlier.checkpoint()
    table = saved.tensors["table-0"]
    both, only_first = table["row_R"][:2].tolist()
    ours_R, theirs_R = table["last_encode_R"].clone(), table["last_encode_R"].clone()
    ours_R[0], ours_R[1], theirs_R[0] = 3, DONE - 2, DONE - 1
    of_second = torch.arange(len(ours_R)) != 1
    second = {**table, "last_encode_R": theirs_R, "vector_RD": table["vector_RD"] + 1}
    tensors = {
        "table-0": {**table, "last_encode_R": ours_R},
        "planner-1": saved.tensors["planner-0"],
        "table-1": {name: tensor[of_second] for name, tensor in second.items()},
        "random-1": saved.tensors["random-0"],
    }
    two = replace(saved, tensors={**saved.tensors, **tensors}, state={**saved.state, "ranks": 2})
    trainer, _ = continuing(config, data, kept(two, tmp_path / "checkpoint"))
    assert trainer.planner.state_dict().last_encode_V[[both, only_first]].tolist() == [DONE - 1, DONE - 2]
    assert torch.equal(trainer.table.vector_VD[both], table["vector_RD"][0] + 1)
    assert torch.equal(trainer.table.vector_VD[only_first], table["vector_RD"][1])


@pytest.mark.parametrize("policy", ["once", "cached", "accumulated", "carried"])
def test_a_continued_run_resumes_to_the_bit_and_can_be_continued(
    config: TrainConfig, data: Path, earlier: Trainer, tmp_path: Path, policy: Policy
) -> None:
    before = kept(earlier.checkpoint(), tmp_path / "checkpoint")
    config = replace(config, planner=replace(config.planner, policy=policy))
    unbroken, _ = continuing(config, data, before)
    losses = advance(unbroken, 7)
    stopped, warm = continuing(config, data, before)
    assert len(warm.row_R) > 0 or policy in ("once", "accumulated")
    assert advance(stopped, 3) == losses[:3]
    save_checkpoint(stopped.checkpoint(), tmp_path / "stopped")
    resumed = start(config, data)
    resumed.restore(load_checkpoint(tmp_path / "stopped"))
    assert (resumed.step, resumed.position.plan_step) == (3, DONE + 3)
    assert advance(resumed, 4) == losses[3:]
    third, warm = continuing(config, data, tmp_path / "stopped")
    assert third.position.plan_step == warm.first_step == DONE + 3
    advance(third, 2)


def test_gradients_that_wait_stay_behind(config: TrainConfig, data: Path, tmp_path: Path) -> None:
    for policy in ("accumulated", "carried"):
        planner = replace(config.planner, policy=policy, accumulate_steps=4)
        of_policy = replace(config, planner=planner)
        trainer = start(of_policy, data)
        advance(trainer, 6)
        saved = trainer.checkpoint()
        assert saved.tensors["table-0"]["waiting_QD"].any()
        continued, _ = continuing(of_policy, data, kept(saved, tmp_path / policy))
        state = continued.planner.state_dict()
        assert continued.table.waiting_VD is not None
        assert not continued.table.waiting_VD.any()
        assert (state.window, state.window_start) == ((), 6)
        assert state.waiting_since_V is None or (state.waiting_since_V == NEVER).all()
        steps = list(continued.epoch_steps(packed_steps=4))
        if policy == "accumulated":
            assert steps[0].plan.looked_up == 0
            assert [step.plan.update_encoder for step in steps] == [False, False, False, True]


@pytest.mark.parametrize(
    ("encoder", "run"),
    [
        ({"row_tokens": 16}, {}),
        ({"attention_dropout": 0.0}, {}),
        ({"projection_start": "principal"}, {}),
        ({}, {"precision": "bfloat16"}),
    ],
    ids=["row_tokens", "attention_dropout", "projection_start", "precision"],
)
def test_options_that_leave_the_weights_their_meaning_may_differ(
    config: TrainConfig, data: Path, earlier: Trainer, tmp_path: Path, encoder: dict[str, Any], run: dict[str, Any]
) -> None:
    other = replace(config, encoder=replace(config.encoder, **encoder), run=replace(config.run, **run))
    trainer, warm = continuing(other, data, kept(earlier.checkpoint(), tmp_path / "checkpoint"))
    assert len(warm.row_R) > 5
    weights = trainer.model.state_dict()
    assert all(torch.equal(weights[name], tensor) for name, tensor in earlier.model.state_dict().items())
    assert all(np.isfinite(advance(trainer, 2)))


def changed(saved: Checkpoint, part: str, **tensors: Tensor) -> Checkpoint:
    return replace(saved, tensors={**saved.tensors, part: {**saved.tensors[part], **tensors}})


def test_vectors_and_moments_of_another_shape_are_refused_by_name(
    config: TrainConfig, data: Path, earlier: Trainer, tmp_path: Path
) -> None:
    saved = earlier.checkpoint()
    last_encode_R = saved.tensors["table-0"]["last_encode_R"]
    rows = len(last_encode_R)
    wrong = [
        changed(saved, "table-0", vector_RD=torch.zeros(rows, 9)),
        changed(saved, "table-0", vector_RD=torch.zeros(rows - 1, 8)),
        changed(saved, "table-0", last_encode_R=last_encode_R[1:]),
        changed(saved, "table-0", last_encode_R=last_encode_R + DONE),
        changed(saved, "optimiser", **{"head/0/exp_avg": torch.zeros(2)}),
        changed(saved, "optimiser", **{"head/99/exp_avg": torch.zeros(2)}),
        replace(saved, tensors={**saved.tensors, "optimiser": {"x": torch.zeros(1)}}),
        replace(saved, state={**saved.state, "position": {**saved.state["position"], "first_step": 2**31 - 10}}),
    ]
    for number, checkpoint in enumerate(wrong):
        place = kept(checkpoint, tmp_path / f"wrong-{number}")
        with pytest.raises(ResumeError, match=f"{place}: "):
            continuing(config, data, place)


def test_the_lines_of_a_continued_run_count_its_own_steps(
    config: TrainConfig, data: Path, earlier: Trainer, tmp_path: Path
) -> None:
    trainer, _ = continuing(config, data, kept(earlier.checkpoint(), tmp_path / "checkpoint"))
    lines: list[dict[str, Any]] = []
    (tmp_path / "run").mkdir()
    session = TrainingSession(trainer, tmp_path / "run", on_line=lines.append)
    session.resume()
    session.fit()
    total = trainer.total_steps
    assert [line["step"] for line in lines] == [*range(10, total, 10), total]
    assert session.summary()["checkpoint"].endswith(f"step-{total:08d}")
    again = TrainingSession(start(config, data), tmp_path / "run")
    again.resume()
    assert again._trainer.position.plan_step == DONE + total


def test_a_loss_that_is_not_finite_is_reported_by_the_runs_own_step(
    config: TrainConfig, data: Path, earlier: Trainer, tmp_path: Path
) -> None:
    trainer, _ = continuing(config, data, kept(earlier.checkpoint(), tmp_path / "checkpoint"))
    advance(trainer, 2)
    trainer.check_finite()
    with torch.no_grad():
        next(trainer.model["head"].parameters()).fill_(float("nan"))
    advance(trainer, 1)
    with pytest.raises(NonFiniteError, match="step 2, epoch 0, "):
        trainer.check_finite()

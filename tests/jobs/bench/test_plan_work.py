from __future__ import annotations

import numpy as np
import pytest

from jobs.bench.plan_work import work_of
from trainer.encode.plan import Plan
from trainer.encode.planner import planner_of
from trainer.encode.policies import PlannerConfig, Policy

LENGTHS = np.array([1, 4, 6, 10])


def plans_of(policy: Policy, *asked: list[int]) -> list[Plan]:
    config = PlannerConfig(policy=policy, chunk_sizes=(2,), accumulate_steps=2)
    planner = planner_of(config, rows=4, seed=1, cost_V=LENGTHS)
    return [planner.plan(step, [np.array(rows)]) for step, rows in enumerate(asked)]


@pytest.mark.parametrize(("kept", "replayed"), [(None, 0), (1, 20), (0, 32)])
def test_padding_and_replays_are_computed_and_not_useful(kept: int | None, replayed: int) -> None:
    work = work_of(plans_of("once", [1, 2, 3, 3]), LENGTHS, lambda lengths: float(lengths.sum()), kept_chunks=kept)
    assert work.real_tokens == 4 + 6 + 10
    assert work.useful_flops == 3 * work.real_tokens
    assert work.computed_tokens == 2 * 6 + 2 * 10 + replayed  # chunks of 4 and 6 tokens, of 10 and a padded row
    assert work.hardware_flops == 3 * (2 * 6 + 2 * 10) + replayed


def test_what_an_earlier_step_encoded_is_replayed_when_its_gradient_goes_home() -> None:
    plans = plans_of("accumulated", [1, 2], [1, 3])
    work = work_of(plans, LENGTHS, lambda lengths: float(lengths.sum()), kept_chunks=None)
    assert work.real_tokens == 4 + 6 + 10
    assert work.useful_flops == 3 * work.real_tokens
    assert work.computed_tokens == 2 * 6 + 2 * 10 + 2 * 6

"""Live rows hold every row that a later step looks up, whatever it asks for; the others make no difference."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from trainer.encode.live_rows import live_rows
from trainer.encode.plan import NEVER, MaxAgeChange, Plan, PlannerState
from trainer.encode.planner import make_planner
from trainer.encode.policies import PlannerConfig, Policy

ROWS, STEPS, MAX_AGE, LOWERED = 60, 40, 6, 3


def config(policy: Policy) -> PlannerConfig:
    return PlannerConfig(
        policy=policy,
        max_age_steps=MAX_AGE,
        warm_up_steps=1,
        accumulate_steps=4,
        chunk_sizes=(8,),
        carry_max_age_steps=9,
    )


def plans(policy: Policy) -> tuple[list[Plan], list[PlannerState], list[MaxAgeChange]]:
    """The plans of a run whose age limit is lowered half-way, and the planner's state before each."""
    planner, rng, states = make_planner(config(policy), rows=ROWS, seed=3), np.random.default_rng(5), []
    changes = [MaxAgeChange(STEPS // 2, LOWERED)]
    planner.lower_max_age(changes)
    found = []
    for step in range(STEPS):
        states.append(planner.state_dict())
        found.append(planner.plan(step, [rng.integers(1, ROWS, 12)], last=step % 10 == 9))
    return found, states, changes


def looked_up(plan: Plan) -> set[int]:
    encoded = {int(row) for chunk in plan.encode for row in chunk.item_rows}
    return {int(row) for row in plan.rows_N[: plan.read_rows]} - encoded


@pytest.mark.parametrize("policy", get_args(Policy))
def test_what_later_steps_look_up_is_live(policy: Policy) -> None:
    found, states, _ = plans(policy)
    used = 0
    for step in range(STEPS):
        live = live_rows(policy, states[step], step=step, max_age_steps=MAX_AGE if step < STEPS // 2 else LOWERED)
        assert (np.diff(live) > 0).all()
        since: set[int] = set()
        for plan in found[step:]:
            assert looked_up(plan) - since <= set(live.tolist())
            used += len(looked_up(plan) - since)
            since |= {int(row) for chunk in plan.encode for row in chunk.item_rows}
    assert bool(used) == (policy in ("cached", "accumulated", "carried"))


@pytest.mark.parametrize("policy", ["cached", "accumulated", "carried"])
def test_a_planner_that_knows_only_live_rows_plans_the_same(policy: Policy) -> None:
    found, states, changes = plans(policy)
    forgotten = 0
    for step in (1, 7, 13, 20, 26, 33):
        state = states[step].copy()
        live = live_rows(policy, state, step=step, max_age_steps=MAX_AGE if step < STEPS // 2 else LOWERED)
        other = np.setdiff1d(np.arange(ROWS), live)
        forgotten += int((state.last_encode_V[other] != NEVER).sum())
        state.last_encode_V[other] = NEVER
        planner = make_planner(config(policy), rows=ROWS, seed=3)
        planner.lower_max_age(changes)
        planner.load_state_dict(state)
        rng = np.random.default_rng(5)
        asked = [rng.integers(1, ROWS, 12) for _ in range(STEPS)]
        for later in range(step, STEPS):
            plan = planner.plan(later, [asked[later]], last=later % 10 == 9)
            assert looked_up(plan) == looked_up(found[later])
            assert [chunk.rows_C.tolist() for chunk in plan.encode] == [c.rows_C.tolist() for c in found[later].encode]
            assert plan.age_L.tolist() == found[later].age_L.tolist()
    assert forgotten > 0

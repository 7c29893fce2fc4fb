"""StepBatch: merging, and the shapes of the naive policies."""

from __future__ import annotations

import numpy as np
import pytest

from tests.packed import Trajectory, batches_of, random_trajectory
from trainer.data.batch import StepBatch, check_batch, cut_samples, merge, per_occurrence, per_target

Target = tuple[tuple[int, ...], tuple[int, ...], float]


def targets_of(batch: StepBatch) -> list[Target]:
    """What each target sees: (visible clicks, candidates, weight), as item rows."""
    found = []
    for user, place in zip(*np.nonzero(batch.weight_BP), strict=True):
        seen = batch.click_mask_BL[user] & (np.arange(batch.click_mask_BL.shape[1]) < batch.prefix_BP[user, place])
        clicks = batch.ask_M[batch.click_slot_BL[user][seen]]
        candidates = batch.ask_M[batch.target_slot_BPK[user, place][batch.target_mask_BPK[user, place]]]
        found.append((tuple(clicks.tolist()), tuple(candidates.tolist()), float(batch.weight_BP[user, place])))
    return found


def expected(trajectories: list[Trajectory]) -> list[Target]:
    return [
        (tuple(clicks[:seen]), tuple(candidates), 1.0)
        for clicks, lists, prefix in trajectories
        for candidates, seen in zip(lists, prefix, strict=True)
        if candidates
    ]


@pytest.fixture
def trajectories() -> list[Trajectory]:
    rng = np.random.default_rng(3)
    return [random_trajectory(rng, items=20) for _ in range(13)]


def steps(trajectories: list[Trajectory]) -> list[StepBatch]:
    return [check_batch(arrays, "test", rows=1000) for arrays in batches_of(trajectories, size=4)]


def test_a_packed_batch_gives_each_target_its_clicks_and_candidates(trajectories: list[Trajectory]) -> None:
    assert [t for batch in steps(trajectories) for t in targets_of(batch)] == expected(trajectories)


def test_context_positions_leave_the_target_axis(trajectories: list[Trajectory]) -> None:
    for batch in steps(trajectories):
        assert batch.weight_BP.shape[1] == (batch.weight_BP > 0).sum(axis=1).max()


def test_merging_keeps_every_target_in_order(trajectories: list[Trajectory]) -> None:
    assert targets_of(merge(steps(trajectories))) == expected(trajectories)


def test_one_sample_per_target_keeps_prefix_and_candidates(trajectories: list[Trajectory]) -> None:
    batch = per_target(merge(steps(trajectories)))
    assert batch.weight_BP.shape == (len(expected(trajectories)), 1)
    assert targets_of(batch) == expected(trajectories)


def test_occurrences_request_an_item_once_per_occurrence(trajectories: list[Trajectory]) -> None:
    batch = per_occurrence(merge(steps(trajectories)))
    asked = sum(len(clicks) + sum(map(len, lists)) for clicks, lists, _ in trajectories)
    assert len(batch.ask_M) == asked
    assert targets_of(batch) == expected(trajectories)
    slots = np.r_[batch.click_slot_BL[batch.click_mask_BL], batch.target_slot_BPK[batch.target_mask_BPK]]
    assert sorted(slots) == list(range(asked))


def test_cut_samples_lose_no_target(trajectories: list[Trajectory]) -> None:
    parts = cut_samples(per_target(merge(steps(trajectories))), samples=5)
    assert [len(part.weight_BP) for part in parts[:-1]] == [5] * (len(parts) - 1)
    assert [t for part in parts for t in targets_of(per_occurrence(part))] == expected(trajectories)

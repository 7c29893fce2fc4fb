"""The order of batches is a pure function of seed, epoch, batches per step, steps done, rank and world."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.data.position import Order, Place, epoch_line, epoch_steps, steps_per_epoch, superblocks_of

SIZES = st.dictionaries(st.integers(0, 40), st.integers(1, 5), min_size=1, max_size=8)


@given(SIZES, st.integers(0, 9), st.integers(0, 3), st.integers(1, 7), st.integers(1, 4))
def test_ranks_share_every_batch_once_and_only_the_last_step_is_short(
    sizes: dict[int, int], seed: int, epoch: int, group: int, world: int
) -> None:
    ranks = [
        epoch_steps(sizes, Order(seed=seed, batches_per_step=group, rank=rank, world=world), epoch)
        for rank in range(world)
    ]
    steps = [[place for rank in range(world) for place in ranks[rank][n]] for n in range(len(ranks[0]))]
    everything = {Place(block, index) for block, size in sizes.items() for index in range(size)}
    assert sum(map(len, steps)) == len(everything)
    assert {place for step in steps for place in step} == everything
    assert all(len(step) == group for step in steps[:-1])
    assert len(steps) == steps_per_epoch(sizes, Order(seed=seed, batches_per_step=group))


@given(SIZES, st.integers(0, 9), st.integers(1, 7), st.integers(0, 40))
def test_starting_later_gives_the_rest_of_the_same_steps(
    sizes: dict[int, int], seed: int, group: int, first: int
) -> None:
    order = Order(seed=seed, batches_per_step=group)
    assert epoch_steps(sizes, order, 2, first_step=first) == epoch_steps(sizes, order, 2)[first:]


def test_a_superblock_stays_together_and_epochs_differ() -> None:
    order = Order(seed=1, batches_per_step=2)
    sizes = dict.fromkeys(range(20), 3)
    lines = [epoch_line(sizes, order, epoch) for epoch in range(2)]
    assert lines[0] != lines[1]
    for line in lines:
        assert [place.index for place in line] == [0, 1, 2] * 20
        assert superblocks_of([line]) == [line[start].superblock for start in range(0, 60, 3)]


def test_a_rank_outside_the_world_is_refused() -> None:
    with pytest.raises(ValueError, match="rank 2 is not in a world of 2"):
        Order(seed=1, batches_per_step=1, rank=2, world=2)

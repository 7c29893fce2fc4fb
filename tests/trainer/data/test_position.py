"""The order of batches is a pure function of seed, epoch, batches per step and streams; ranks only divide it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from trainer.data.position import Blocks, Line, Order, epoch_line, steps_per_epoch

SIZES = st.lists(st.integers(1, 5), min_size=1, max_size=40)
SEED, EPOCH, GROUP, STREAMS, WORLD = (st.integers(*ends) for ends in ((0, 9), (0, 3), (1, 9), (1, 6), (1, 6)))


def blocks_of(sizes: list[int], costs: list[int] | None = None) -> Blocks:
    """Superblocks 3, 5, 7, ... of these sizes."""
    numbers = 3 + 2 * np.arange(len(sizes))
    return Blocks(number_B=numbers, size_B=np.array(sizes), cost_B=np.array(costs or sizes))


def pairs(line: Line) -> list[tuple[int, int]]:
    return list(zip(line.superblock_N.tolist(), line.index_N.tolist(), strict=True))


@given(SIZES, SEED, EPOCH, GROUP, STREAMS, WORLD)
def test_ranks_share_every_batch_once_and_only_the_last_step_is_short(
    sizes: list[int], seed: int, epoch: int, group: int, streams: int, world: int
) -> None:
    blocks, order = blocks_of(sizes), Order(seed=seed, batches_per_step=group, streams=streams, world=world)
    line = epoch_line(blocks, order, epoch)
    everything = [
        (number, i) for number, size in zip(blocks.number_B.tolist(), sizes, strict=True) for i in range(size)
    ]
    assert sorted(pairs(line)) == everything
    assert [everything[batch] for batch in line.batch_N] == pairs(line)
    steps = list(line.steps())
    assert [n for step in steps for n in step] == list(range(len(everything)))
    assert all(len(step) == group for step in steps[:-1])
    assert len(steps) == steps_per_epoch(blocks, order)
    ranks = [list(line.steps(rank=rank)) for rank in range(world)]
    assert [sorted(n for own in dealt for n in own) for dealt in zip(*ranks, strict=True)] == [
        step.tolist() for step in steps
    ]


@given(SIZES, SEED, EPOCH, GROUP, STREAMS, WORLD)
def test_what_a_step_holds_does_not_depend_on_the_number_of_ranks(
    sizes: list[int], seed: int, epoch: int, group: int, streams: int, world: int
) -> None:
    alone = Order(seed=seed, batches_per_step=group, streams=streams)
    one, many = (epoch_line(blocks_of(sizes), order, epoch) for order in (alone, replace(alone, world=world)))
    assert one.batch_N.tolist() == many.batch_N.tolist()


@given(SIZES, SEED, EPOCH, GROUP, WORLD)
def test_one_stream_is_the_order_of_older_runs(sizes: list[int], seed: int, epoch: int, group: int, world: int) -> None:
    """Superblocks joined end to end in the drawn order; rank r takes batches r, r + W, ... of a step."""
    drawn = np.random.default_rng([seed, epoch]).permutation(len(sizes))
    joined = [(3 + 2 * int(block), index) for block in drawn for index in range(sizes[block])]
    line = epoch_line(blocks_of(sizes), Order(seed=seed, batches_per_step=group, world=world), epoch)
    assert pairs(line) == joined
    for rank in range(world):
        dealt = [[joined[n] for n in step] for step in line.steps(rank=rank)]
        assert dealt == [joined[start : start + group][rank::world] for start in range(0, len(joined), group)]


@given(SIZES, SEED, GROUP, STREAMS)
def test_every_step_takes_the_same_number_from_each_stream(
    sizes: list[int], seed: int, group: int, streams: int
) -> None:
    """A rank for each stream: its batches are those of its stream."""
    order = Order(seed=seed, batches_per_step=group, streams=streams, world=streams)
    for step in list(epoch_line(blocks_of(sizes), order, 0).steps())[:-1]:
        taken = np.bincount(order.rank_of(step), minlength=streams)
        assert taken.max() - taken.min() <= 1


@pytest.mark.parametrize(
    ("streams", "world", "batches"),
    [(4, 2, [4, 4]), (1, 4, [2, 2, 2, 2]), (2, 4, [2, 2, 2, 2]), (3, 2, [4, 4]), (4, 6, [2, 2, 1, 1, 1, 1])],
)
def test_ranks_get_equal_shares_of_a_step_for_any_number_of_streams(
    streams: int, world: int, batches: list[int]
) -> None:
    order = Order(seed=1, batches_per_step=8, streams=streams, world=world)
    line = epoch_line(blocks_of([4] * 24), order, 0)
    for step in line.steps():
        assert sorted(np.bincount(line.rank_N[step], minlength=world).tolist(), reverse=True) == batches


@given(SIZES, SEED, GROUP, STREAMS, WORLD, st.integers(0, 40))
def test_starting_later_gives_the_rest_of_the_same_steps(
    sizes: list[int], seed: int, group: int, streams: int, world: int, first: int
) -> None:
    line = epoch_line(blocks_of(sizes), Order(seed=seed, batches_per_step=group, streams=streams, world=world), 2)
    rest, full = ([step.tolist() for step in line.steps(first_step=n, rank=0)] for n in (first, 0))
    assert rest == full[first:]
    needed = line.last_places(first_step=first, rank=0)
    assert list(needed) == list(dict.fromkeys(int(line.superblock_N[n]) for step in rest for n in step))
    assert all(line.superblock_N[last] == block for block, last in needed.items())
    assert all(n <= needed[int(line.superblock_N[n])] for step in rest for n in step)


def test_a_superblock_stays_together_and_epochs_differ() -> None:
    for streams in (1, 4):
        order = Order(seed=1, batches_per_step=4, streams=streams, world=streams)
        lines = [epoch_line(blocks_of([3] * 20), order, epoch) for epoch in range(2)]
        assert pairs(lines[0]) != pairs(lines[1])
        for line in lines:
            for stream in range(streams):
                own = [pair for pair, rank in zip(pairs(line), line.rank_N, strict=True) if rank == stream]
                assert [index for _, index in own] == [0, 1, 2] * (20 // streams)
                assert own == [(own[start][0], index) for start in range(0, len(own), 3) for index in range(3)]


@pytest.mark.parametrize("world", [2, 4, 8])
def test_each_rank_needs_its_share_of_the_superblocks(world: int) -> None:
    """All of them among them once; where their number is not a multiple, those left over are cut for all ranks."""
    order = Order(seed=1, batches_per_step=world, streams=world, world=world)
    for count, shared in ((64, 0), (67, 3)):
        line = epoch_line(blocks_of([6] * count), order, 0)
        needed = [set(line.last_places(rank=rank)) for rank in range(world)]
        assert len(set().union(*needed)) == count
        assert all(64 // world <= len(own) <= 64 // world + shared for own in needed)
        readings = sum(map(len, needed))
        assert count <= readings <= 64 + (3 * world if shared else 0)


def slowest(line: Line, cost_N: NDArray[np.float64], world: int) -> float:
    """Mean over steps: the slowest rank's cost / the mean one's."""
    dealt = [np.bincount(line.rank_N[step], cost_N[step], world) for step in line.steps()]
    return float(np.mean([costs.max() / costs.mean() for costs in dealt]))


def test_superblocks_of_similar_cost_are_read_at_the_same_time() -> None:
    costs = np.random.default_rng(3).integers(1000, 3000, 256).tolist()
    order = Order(seed=1, batches_per_step=4, streams=4, world=4)
    similar, drawn = (epoch_line(blocks_of([6] * 256, known), order, 0) for known in (costs, [1] * 256))
    even, uneven = (slowest(line, np.array(costs)[(line.superblock_N - 3) // 2], 4) for line in (similar, drawn))
    assert even < 1.06 < 1.25 < uneven


def test_other_superblocks_meet_in_each_epoch() -> None:
    costs = np.random.default_rng(3).integers(1000, 3000, 256).tolist()
    order = Order(seed=1, batches_per_step=4, streams=4, world=4)
    meetings = []
    for epoch in range(2):
        line = epoch_line(blocks_of([6] * 256, costs), order, epoch)
        met = (sorted(line.superblock_N[step].tolist()) for step in line.steps())
        meetings.append({(a, b) for blocks in met for a in blocks for b in blocks if a < b})
    assert len(meetings[0] & meetings[1]) < 0.1 * len(meetings[0])


def test_a_rank_outside_the_world_is_refused() -> None:
    with pytest.raises(ValueError, match="rank 2 is not in a world of 2"):
        Order(seed=1, batches_per_step=1, rank=2, world=2)
    with pytest.raises(ValueError, match="streams is 0: use 1 or more"):
        Order(seed=1, batches_per_step=1, streams=0)

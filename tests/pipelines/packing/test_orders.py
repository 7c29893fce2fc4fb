"""Every order of `pack` is a permutation, repeats with its seed, and improves on its baseline;
a shard's order is complete, cut within budget and seeded per shard, and sharding keeps most of the saving."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.packing.budget import Budget
from pipelines.packing.config import OrderName
from pipelines.packing.graph import Graph
from pipelines.packing.orders import ORDERS, Leaves, Recipe, items_in_time_order, order_and_cut, shuffle_share
from pipelines.packing.quality import distinct_items
from pipelines.packing.shard import IntArray
from tests.pipelines.packing.graphs import fixed, graphs, items_of, topical
from tests.pipelines.packing.test_budget import Clicks, shard_of, trajectories

LEAVES = Leaves(batch=32, superblock=4)


def cost(graph: Graph, order: IntArray) -> int:
    return int(distinct_items(graph, order, fixed(len(order), LEAVES.batch)).sum())


def test_the_option_offers_each_order() -> None:
    assert get_args(OrderName) == tuple(ORDERS)


@pytest.mark.parametrize("name", ORDERS)
@given(graph=graphs, batch=st.integers(1, 9), superblock=st.integers(1, 3), seed=st.integers(0, 9))
def test_every_trajectory_stands_once(name: str, graph: Graph, batch: int, superblock: int, seed: int) -> None:
    leaves = Leaves(batch=batch, superblock=superblock)
    order = ORDERS[name](graph, leaves, seed)
    assert np.sort(order).tolist() == list(range(graph.trajectories))
    assert order.tolist() == ORDERS[name](graph, leaves, seed).tolist()


def test_they_rank_as_they_should() -> None:
    graph = topical(1600)
    found = {name: cost(graph, order(graph, LEAVES, 1)) for name, order in ORDERS.items()}
    assert found["shp_kway"] < found["shp"] < 0.6 * found["random"]
    assert found["shp_balanced"] < 0.65 * found["random"]
    assert max(found["length"], found["minhash"]) < 0.98 * found["random"]


def test_another_seed_makes_other_blocks() -> None:
    graph = topical(800)
    blocks = [
        {frozenset(part) for part in ORDERS["shp_balanced"](graph, LEAVES, seed).reshape(-1, LEAVES.batch).tolist()}
        for seed in (1, 2)
    ]
    assert len(blocks[0] & blocks[1]) < 5


@given(size=st.integers(0, 50), share=st.floats(0, 1), seed=st.integers(0, 9))
def test_mixing_moves_no_more_than_its_share(size: int, share: float, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(size)
    found = shuffle_share(order, share=share, seed=seed)
    assert np.sort(found).tolist() == list(range(size))
    assert (found != order).sum() <= round(share * size)


def test_mixing_trades_reuse_for_chance() -> None:
    graph = topical(1600)
    order = ORDERS["shp_balanced"](graph, LEAVES, 1)
    costs = [cost(graph, shuffle_share(order, share=share, seed=1)) for share in (0, 0.25, 0.5, 1)]
    assert costs == sorted(costs)
    assert costs[0] == cost(graph, order)
    assert costs[-1] == pytest.approx(cost(graph, ORDERS["random"](graph, LEAVES, 1)), rel=0.03)


@given(
    users=trajectories,
    order=st.sampled_from(sorted(ORDERS)),
    most=st.tuples(st.integers(1, 6), st.integers(1, 15), st.integers(1, 60)),
    mixing=st.sampled_from([0.0, 0.3, 1.0]),
    number=st.integers(0, 3),
)
def test_every_trajectory_once_and_every_budget_kept(
    users: list[Clicks], order: str, most: tuple[int, int, int], mixing: float, number: int
) -> None:
    budget = Budget(trajectories=most[0], items=most[1], tokens=most[2])
    tokens_V = np.arange(13)
    recipe = Recipe(order=order, budget=budget, superblock=2, mixing=mixing, seed=1)
    found, starts = order_and_cut(shard_of(users), recipe, number, tokens_V)
    assert np.sort(found).tolist() == list(range(len(users)))
    graph = Graph.from_shard(shard_of(users))
    for start, stop in itertools.pairwise(starts):
        items = set().union(*(items_of(graph, u) for u in found[start:stop]))
        assert 1 <= stop - start <= budget.trajectories
        assert stop - start == 1 or (len(items) <= budget.items and sum(items) <= budget.tokens)
    assert [each.tolist() for each in order_and_cut(shard_of(users), recipe, number, tokens_V)] == [
        found.tolist(),
        starts.tolist(),
    ]


def test_shards_draw_apart() -> None:
    users: list[Clicks] = [[(row % 30 + 1, [])] for row in range(100)]
    recipe = Recipe(order="random", budget=Budget(trajectories=10), superblock=2, mixing=0.0, seed=1)
    first, second = (order_and_cut(shard_of(users), recipe, number)[0].tolist() for number in (0, 1))
    assert first != second


def test_time_order_is_cut_by_the_same_budgets() -> None:
    users: list[Clicks] = [[(1, []), (2, [])], [(3, [])], [(1, [])], [(3, []), (4, [])]]
    recipe = Recipe(order="shp", budget=Budget(trajectories=2), superblock=2, mixing=1.0, seed=1)
    assert items_in_time_order(shard_of(users), recipe) == len({1, 2, 3}) + len({1, 3, 4})
    narrow = Recipe(order="shp", budget=Budget(trajectories=4, items=3), superblock=2, mixing=1.0, seed=1)
    assert items_in_time_order(shard_of(users), narrow) == len({1, 2, 3}) + len({3, 4})  # {1} fits, {3, 4} does not


def saving(graph: Graph, orders: list[IntArray], batch: int) -> float:
    """Share of random order's items that these shards' orders save."""
    random = np.random.default_rng(0).permutation(graph.trajectories)
    base = distinct_items(graph, random, fixed(len(random), batch)).sum()
    return float(1 - sum(distinct_items(graph, each, fixed(len(each), batch)).sum() for each in orders) / base)


@pytest.mark.parametrize("batch", [64, 256])
def test_eight_shards_keep_four_fifths_of_the_saving(shared_data: Path, batch: int) -> None:
    with np.load(shared_data / "packing" / "mindsmall_50k.npz") as arrays:
        by_time = np.argsort(arrays["last_slot"], kind="stable")
        graph = Graph.from_rows(arrays["indptr"], arrays["indices"].astype(np.int64)).subgraph(by_time)
    leaves = Leaves(batch=batch, superblock=21)
    unsharded = saving(graph, [ORDERS["shp"](graph, leaves, 1)], batch)
    parts = np.array_split(np.arange(graph.trajectories), 8)
    sharded = saving(graph, [part[ORDERS["shp"](graph.subgraph(part), leaves, 1)] for part in parts], batch)
    assert sharded >= 0.8 * unsharded

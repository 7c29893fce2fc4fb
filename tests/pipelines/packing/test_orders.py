"""Every order of `pack` is a permutation, repeats with its seed, and improves on its baseline."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.packing.config import OrderName
from pipelines.packing.graph import Graph
from pipelines.packing.orders import ORDERS, Leaves, shuffle_share
from pipelines.packing.quality import distinct_items
from pipelines.packing.shard import IntArray
from tests.pipelines.packing.graphs import fixed, graphs, topical

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

"""Ordering: a shard's trajectories -> their order and where it is cut, by the recipe of the run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.packing.budget import Budget, TokenCounts, cut
from pipelines.packing.graph import Graph
from pipelines.packing.orders import ORDERS, Leaves, mixed
from pipelines.packing.quality import distinct_items
from pipelines.packing.shard import IntArray, Shard


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What decides the batches of a shard, beside its trajectories."""

    order: str  # of ORDERS
    budget: Budget
    superblock: int  # batches
    mixing: float
    seed: int


def ordered(
    shard: Shard, recipe: Recipe, number: int, tokens_V: TokenCounts | None = None
) -> tuple[IntArray, IntArray]:
    """(order, starts of batches) of shard `number`, whose trajectories stand in time order.

    The number seeds the draws: two shards, and two variants of one, draw apart.
    """
    graph = Graph.of_shard(shard)
    seed = recipe.seed * 1_000_003 + number
    leaves = Leaves(batch=recipe.budget.trajectories, superblock=recipe.superblock)
    order = ORDERS[recipe.order](graph, leaves, seed)
    order = mixed(order, share=recipe.mixing, seed=seed)
    return order, cut(graph, order, recipe.budget, tokens_V)


def items_in_time_order(shard: Shard, recipe: Recipe, tokens_V: TokenCounts | None = None) -> int:
    """Distinct items, summed over batches, if the shard were cut as it came: what the recipe's order is judged by."""
    graph = Graph.of_shard(shard)
    order = np.arange(graph.trajectories)
    return int(distinct_items(graph, order, cut(graph, order, recipe.budget, tokens_V)).sum())

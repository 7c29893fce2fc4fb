"""Orders a shard's trajectories and cuts them into batches, by the recipe of the run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.packing.budget import Budget, TokenCounts, cut_batches
from pipelines.packing.graph import Graph
from pipelines.packing.orders import ORDERS, Leaves, shuffle_share
from pipelines.packing.quality import distinct_items
from pipelines.packing.shard import IntArray, Shard


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The settings that, with its trajectories, decide a shard's batches."""

    order: str  # of ORDERS
    budget: Budget
    superblock: int  # batches
    mixing: float
    seed: int


def order_and_cut(
    shard: Shard, recipe: Recipe, number: int, tokens_V: TokenCounts | None = None
) -> tuple[IntArray, IntArray]:
    """(order, starts of batches) of shard `number`, whose trajectories are in time order.

    The number is part of the random seed, so that shards and variants of a shard draw independently.
    """
    graph = Graph.from_shard(shard)
    seed = recipe.seed * 1_000_003 + number
    leaves = Leaves(batch=recipe.budget.trajectories, superblock=recipe.superblock)
    order = ORDERS[recipe.order](graph, leaves, seed)
    order = shuffle_share(order, share=recipe.mixing, seed=seed)
    return order, cut_batches(graph, order, recipe.budget, tokens_V)


def items_in_time_order(shard: Shard, recipe: Recipe, tokens_V: TokenCounts | None = None) -> int:
    """Distinct items, summed over the batches of the shard in time order: the baseline of the recipe's order."""
    graph = Graph.from_shard(shard)
    order = np.arange(graph.trajectories)
    return int(distinct_items(graph, order, cut_batches(graph, order, recipe.budget, tokens_V)).sum())

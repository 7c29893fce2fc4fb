"""The rules that order a shard's trajectories, and how the recipe of a run applies one and cuts batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.packing.budget import Budget, TokenCounts, cut_batches
from pipelines.packing.compiled import compiled, hash63
from pipelines.packing.exchange import refine_kway
from pipelines.packing.graph import Graph, Pins, items_of
from pipelines.packing.grouping import social_hash_order
from pipelines.packing.quality import distinct_items
from pipelines.packing.shard import IntArray, Shard

_SIGNATURE = 4  # hash functions of minhash


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaves:
    """The sizes that an order aims at: trajectories of a batch, batches of a superblock."""

    batch: int
    superblock: int


# A shard's graph, its trajectories in time order -> the order (B,).
Order = Callable[[Graph, Leaves, int], IntArray]


def random_order(graph: Graph, _: Leaves, seed: int) -> IntArray:
    """A random permutation, as without packing: the baseline of every other order."""
    return np.random.default_rng(seed).permutation(graph.trajectories)


def time_order(graph: Graph, _leaves: Leaves, _seed: int) -> IntArray:
    """The order of the shard: users read news of one time together."""
    return np.arange(graph.trajectories)


def length_order(graph: Graph, _leaves: Leaves, _seed: int) -> IntArray:
    """Fewest distinct items first: shows what grouping gains from lengths alone."""
    return np.argsort(graph.lengths, kind="stable")


def minhash_order(graph: Graph, _: Leaves, seed: int) -> IntArray:
    """Sorted by the smallest hashes of their items: similar trajectories often share them (Broder, 1997)."""
    signature = _signatures(graph.pins, _SIGNATURE, seed)
    order: IntArray = np.lexsort(signature[::-1])
    return order


def shp(graph: Graph, leaves: Leaves, seed: int) -> IntArray:
    """Social-hash bisection: fewest items with a cache."""
    return social_hash_order(
        graph, np.arange(graph.trajectories), batch=leaves.batch, superblock=leaves.superblock, seed=seed
    )


def shp_balanced(graph: Graph, leaves: Leaves, seed: int) -> IntArray:
    """Few items in batches of even size: bisection with even sides, then k-way refinement within superblocks."""
    tree = social_hash_order(
        graph, np.arange(graph.trajectories), batch=leaves.batch, superblock=leaves.superblock, even=True, seed=seed
    )
    return refine_kway(graph, tree, batch=leaves.batch, span=leaves.superblock, even=True)


def shp_kway(graph: Graph, leaves: Leaves, seed: int) -> IntArray:
    """Fewest items without a cache between batches: bisection, then k-way refinement over all batches."""
    return refine_kway(graph, shp(graph, leaves, seed), batch=leaves.batch)


ORDERS: dict[str, Order] = {
    "random": random_order,
    "time": time_order,
    "length": length_order,
    "minhash": minhash_order,
    "shp": shp,
    "shp_balanced": shp_balanced,
    "shp_kway": shp_kway,
}


def shuffle_share(order: IntArray, *, share: float, seed: int) -> IntArray:
    """`order` with this share of its trajectories, drawn at random, shuffled among their places.

    Trades reuse for independence of the batches: 0 leaves the order as it is, 1 is a random order.
    """
    rng = np.random.default_rng([seed, 1])
    places = rng.permutation(len(order))[: round(share * len(order))]
    found = np.array(order)
    found[places] = order[rng.permutation(places)]
    return found


@compiled
def _signatures(pins: Pins, functions: int, seed: int) -> NDArray[np.int64]:
    smallest = np.full((functions, len(pins.start) - 1), np.iinfo(np.int64).max)
    for b in range(len(pins.start) - 1):
        for item in items_of(pins, b):
            for function in range(functions):
                smallest[function, b] = min(smallest[function, b], hash63(seed, item, function))
    return smallest


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

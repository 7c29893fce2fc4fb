"""K-way refinement after the bisection: swaps trajectories between any two batches by the exact change in items."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.packing.compiled import compiled
from pipelines.packing.graph import Graph, Pins, items_of
from pipelines.packing.shard import IntArray

_MAX_IMBALANCE = 0.03  # deviation of a batch's pins from the mean, relative to it; or the deviation before
_MIN_SWAPPED_SHARE = 0.005  # a pass that swaps a smaller share of the trajectories is the last
MOST_BYTES = 512 << 20  # of the two tables of holders per item and batch


class Batches(NamedTuple):
    """The current assignment, changed in place by swaps. The holders are stored twice: one table is fast for an item in
    all batches, the other for all items of a batch."""

    by_item: NDArray[Any]  # (items, batches): trajectories of the batch that hold the item
    by_batch: NDArray[Any]  # (batches, items): the same
    pins: IntArray  # of each batch
    member: IntArray  # (places,) trajectories
    place: IntArray  # (trajectories,)
    size: int  # places of a batch
    even: bool  # batches stay as even as they are


class Offer(NamedTuple):
    """A trajectory, its batch, and the other batch that lacks fewest of its items."""

    u: int
    own: int
    other: int  # -1: leaving its batch saves nothing
    saved: int  # items, by this move alone


def refine_kway(
    graph: Graph, order: IntArray, *, batch: int, span: int | None = None, passes: int = 2, even: bool = False
) -> IntArray:
    """`order` after swaps between batches of `batch` trajectories, each of which lowers the sum of distinct items.

    Swaps stay within each `span` consecutive batches; within superblocks they keep the items that a cache reuses.
    None is all batches, or the number that MOST_BYTES allows. `even` keeps the pins of batches as even as they are.
    """
    count = max(1, -(-len(order) // batch))
    itemsize = 1 if batch < 256 else 2
    span = min(count if span is None else span, max(2, MOST_BYTES // (2 * itemsize * max(1, graph.items))))
    found = np.array(order, np.int64)
    for low in range(0, len(order), span * batch):
        part = found[low : low + span * batch]
        if len(part) > batch:
            inside = graph.subgraph(part)
            batches = _make_batches(inside, batch, np.dtype(f"uint{8 * itemsize}"), even=even)
            _swap_passes(inside.pins, batches, passes)
            found[low : low + span * batch] = part[batches.member]
    return found


def _make_batches(graph: Graph, size: int, dtype: np.dtype[Any], *, even: bool) -> Batches:
    """The batches of the graph's own order."""
    by_batch = np.zeros((-(-graph.trajectories // size), graph.items), dtype)
    _count_holders(graph.pins, by_batch, size)
    place = np.arange(graph.trajectories)
    pins = np.bincount(place // size, weights=graph.lengths).astype(np.int64)
    return Batches(np.ascontiguousarray(by_batch.T), by_batch, pins, place.copy(), place.copy(), size, even)


@compiled
def _count_holders(pins: Pins, by_batch: NDArray[Any], size: int) -> None:
    for u in range(len(pins.start) - 1):
        for item in items_of(pins, u):
            by_batch[u // size, item] += 1


@compiled
def _swap_passes(pins: Pins, batches: Batches, passes: int) -> None:
    """Swap each trajectory with the best partner in the batch that lacks fewest of its items."""
    trajectories = len(batches.member)
    lacking = np.empty(len(batches.pins), np.uint16)
    holder = np.full(pins.items, -1, np.int64)  # the last offered trajectory that holds the item
    for _ in range(passes):
        swaps = 0
        for u in range(trajectories):
            offer = _best_offer(pins, batches, u, lacking, holder)
            if offer.other < 0:
                continue
            v, _ = _best_partner(pins, batches, offer, holder)
            if v >= 0:
                swaps += 1
                _move(pins, batches, u, offer.own, offer.other)
                _move(pins, batches, v, offer.other, offer.own)
                batches.place[u], batches.place[v] = batches.place[v], batches.place[u]
                batches.member[batches.place[u]], batches.member[batches.place[v]] = u, v
        if swaps < _MIN_SWAPPED_SHARE * trajectories:
            break


@compiled
def _best_offer(pins: Pins, batches: Batches, u: int, lacking: NDArray[np.uint16], holder: IntArray) -> Offer:
    """The offer of u to its best batch. Work arrays: `lacking` per batch, `holder` per item."""
    own = batches.place[u] // batches.size
    alone = 0  # items that only u holds in its batch
    lacking[:] = 0
    for item in items_of(pins, u):
        held = batches.by_item[item]
        for other in range(len(held)):
            lacking[other] += np.uint16(held[other] == 0)
        alone += int(held[own] == 1)
        holder[item] = u
    lacking[own] = 65535
    if alone == 0:
        return Offer(u, own, -1, 0)
    best = int(np.argmin(lacking))
    return Offer(u, own, best, alone - int(lacking[best]))


@compiled
def _best_partner(pins: Pins, batches: Batches, offer: Offer, holder: IntArray) -> tuple[int, int]:
    """(trajectory, saved items): the swap for the offered trajectory that saves most, counted exactly; -1 without."""
    u, own, other = offer.u, offer.own, offer.other
    mean = batches.pins.mean()
    off_own = max(_MAX_IMBALANCE * mean, abs(batches.pins[own] - mean))
    off_other = max(_MAX_IMBALANCE * mean, abs(batches.pins[other] - mean))
    best, best_saved = -1, 0
    for v in batches.member[other * batches.size : (other + 1) * batches.size]:
        more = (pins.start[v + 1] - pins.start[v]) - (pins.start[u + 1] - pins.start[u])
        uneven = abs(batches.pins[own] + more - mean) > off_own or abs(batches.pins[other] - more - mean) > off_other
        if batches.even and uneven:
            continue
        saved = offer.saved
        for item in items_of(pins, v):
            if holder[item] == u:  # both hold it: v brings back what u's leaving would save
                saved -= int(batches.by_batch[own, item] == 1)
            else:
                saved += int(batches.by_batch[other, item] == 1) - int(batches.by_batch[own, item] == 0)
        if saved > best_saved:
            best, best_saved = v, saved
    return best, best_saved


@compiled
def _move(pins: Pins, batches: Batches, u: int, own: int, other: int) -> None:
    batches.pins[own] -= pins.start[u + 1] - pins.start[u]
    batches.pins[other] += pins.start[u + 1] - pins.start[u]
    for item in items_of(pins, u):
        batches.by_item[item, own] -= 1
        batches.by_item[item, other] += 1
        batches.by_batch[own, item] -= 1
        batches.by_batch[other, item] += 1

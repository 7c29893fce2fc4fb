"""Exchange: the k-way pass after the bisection: swaps between any two of many batches, counted exactly."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.packing.compiled import compiled
from pipelines.packing.graph import Graph, Pins
from pipelines.packing.shard import IntArray

_UNEVEN = 0.03  # a batch may stray from the mean of pins by this much of it, or as far as before
_SWAPPED_AT_LEAST = 0.005  # of the trajectories, or the pass was the last
MOST_BYTES = 512 << 20  # of counts: of each item in each batch, twice


class Batches(NamedTuple):
    """Who stands where; swaps change it. The counts stand twice: to score all batches, and to judge pairs."""

    by_item: NDArray[Any]  # (items, batches): trajectories of the batch that hold the item
    by_batch: NDArray[Any]  # (batches, items)
    pins: IntArray  # of each batch
    member: IntArray  # (places,) trajectories
    place: IntArray  # (trajectories,)
    size: int  # places of a batch
    even: bool  # batches stay as even as they are


class Offer(NamedTuple):
    """A trajectory that would leave its batch for the one that lacks least of it."""

    u: int
    own: int
    other: int
    saved: int  # items, by this move alone


def exchanged(
    graph: Graph, order: IntArray, *, batch: int, span: int | None = None, passes: int = 2, even: bool = False
) -> IntArray:
    """`order` with trajectories swapped between batches of `batch`, wherever the sum of distinct items falls.

    Swaps stay within each `span` consecutive batches: within superblocks, what a cache finds again is not touched.
    None is all batches, or as many as MOST_BYTES of counts allow. `even` keeps the pins of batches as even as they are.
    """
    count = max(1, -(-len(order) // batch))
    itemsize = 1 if batch < 256 else 2
    span = min(count if span is None else span, max(2, MOST_BYTES // (2 * itemsize * max(1, graph.items))))
    found = np.array(order, np.int64)
    for low in range(0, len(order), span * batch):
        part = found[low : low + span * batch]
        if len(part) > batch:
            inside = graph.taken(part)
            batches = _batches(inside, batch, np.dtype(f"uint{8 * itemsize}"), even=even)
            _exchange(inside.pins, batches, passes)
            found[low : low + span * batch] = part[batches.member]
    return found


def _batches(graph: Graph, size: int, dtype: np.dtype[Any], *, even: bool) -> Batches:
    """As the trajectories stand."""
    by_batch = np.zeros((-(-graph.trajectories // size), graph.items), dtype)
    _count(graph.pins, by_batch, size)
    standing = np.arange(graph.trajectories)
    pins = np.bincount(standing // size, weights=graph.lengths).astype(np.int64)
    return Batches(np.ascontiguousarray(by_batch.T), by_batch, pins, standing.copy(), standing.copy(), size, even)


@compiled
def _count(pins: Pins, by_batch: NDArray[Any], size: int) -> None:
    for u in range(len(pins.start) - 1):
        for item in pins.item[pins.start[u] : pins.start[u + 1]]:
            by_batch[u // size, item] += 1


@compiled
def _exchange(pins: Pins, batches: Batches, passes: int) -> None:
    """Offer each trajectory to the batch that lacks least of it, against whoever there saves most by the swap."""
    trajectories = len(batches.member)
    lacking = np.empty(len(batches.pins), np.uint16)
    holder = np.full(pins.items, -1, np.int64)  # the trajectory offered last that holds the item
    for _ in range(passes):
        swaps = 0
        for u in range(trajectories):
            offer = _offered(pins, batches, u, lacking, holder)
            if offer.other < 0:
                continue
            v, _ = _partner(pins, batches, offer, holder)
            if v >= 0:
                swaps += 1
                _move(pins, batches, u, offer.own, offer.other)
                _move(pins, batches, v, offer.other, offer.own)
                batches.place[u], batches.place[v] = batches.place[v], batches.place[u]
                batches.member[batches.place[u]], batches.member[batches.place[v]] = u, v
        if swaps < _SWAPPED_AT_LEAST * trajectories:
            break


@compiled
def _offered(pins: Pins, batches: Batches, u: int, lacking: NDArray[np.uint16], holder: IntArray) -> Offer:
    """The best batch for u; other = -1 where its leaving would save nothing."""
    own = batches.place[u] // batches.size
    alone = 0  # items that only u holds in its batch
    lacking[:] = 0
    for item in pins.item[pins.start[u] : pins.start[u + 1]]:
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
def _partner(pins: Pins, batches: Batches, offer: Offer, holder: IntArray) -> tuple[int, int]:
    """(who, saved items): whose swap for the offered one saves most items, counted exactly; -1: nobody's."""
    u, own, other = offer.u, offer.own, offer.other
    mean = batches.pins.mean()
    off_own = max(_UNEVEN * mean, abs(batches.pins[own] - mean))
    off_other = max(_UNEVEN * mean, abs(batches.pins[other] - mean))
    best, best_saved = -1, 0
    for v in batches.member[other * batches.size : (other + 1) * batches.size]:
        more = (pins.start[v + 1] - pins.start[v]) - (pins.start[u + 1] - pins.start[u])
        uneven = abs(batches.pins[own] + more - mean) > off_own or abs(batches.pins[other] - more - mean) > off_other
        if batches.even and uneven:
            continue
        saved = offer.saved
        for item in pins.item[pins.start[v] : pins.start[v + 1]]:
            if holder[item] == u:  # both hold it: u's leaving saves nothing where v brings it
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
    for item in pins.item[pins.start[u] : pins.start[u + 1]]:
        batches.by_item[item, own] -= 1
        batches.by_item[item, other] += 1
        batches.by_batch[own, item] -= 1
        batches.by_batch[other, item] += 1

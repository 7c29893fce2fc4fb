"""Exchange: the k-way pass after the bisection: swaps between any two of many batches, counted exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.packing.compiled import compiled
from pipelines.packing.graph import Graph
from pipelines.packing.shard import IntArray

_UNEVEN = 0.03  # a batch may stray from the mean of pins by this much of it, or as far as before
_SWAPPED_AT_LEAST = 0.005  # of the trajectories, or the pass was the last
MOST_BYTES = 512 << 20  # of counts: of each item in each batch, twice


def exchanged(
    graph: Graph, order: IntArray, *, batch: int, span: int | None = None, passes: int = 2, even: bool = False
) -> IntArray:
    """`order` with trajectories swapped between batches of `batch`, wherever the sum of distinct items falls.

    Swaps stay within each `span` consecutive batches: within superblocks, what a cache finds again is not touched.
    None is all batches, or as many as MOST_BYTES of counts allow. `even` keeps the pins of batches as even as they are.
    """
    batches = max(1, -(-len(order) // batch))
    itemsize = 1 if batch < 256 else 2
    span = min(batches if span is None else span, max(2, MOST_BYTES // (2 * itemsize * max(1, graph.items))))
    found = np.array(order, np.int64)
    for low in range(0, len(order), span * batch):
        part = found[low : low + span * batch]
        if len(part) <= batch:
            continue
        inside = graph.taken(part)
        by_batch = np.zeros((-(-len(part) // batch), inside.items), f"uint{8 * itemsize}")
        _count(inside.start, inside.item, by_batch, batch)
        by_item = np.ascontiguousarray(by_batch.T)  # the same counts twice: to score all batches, and to judge pairs
        found[low : low + span * batch] = part[
            _exchanged(inside.start, inside.item, by_item, by_batch, batch, passes, even)
        ]
    return found


@compiled
def _count(start: IntArray, item: IntArray, by_batch: NDArray[Any], batch: int) -> None:
    """How many trajectories of each batch hold each item."""
    for u in range(len(start) - 1):
        for at in range(start[u], start[u + 1]):
            by_batch[u // batch, item[at]] += 1


@compiled
def _exchanged(
    start: IntArray, item: IntArray, by_item: NDArray[Any], by_batch: NDArray[Any], batch: int, passes: int, even: bool
) -> IntArray:
    """Places -> trajectories, which stand in order before: each is offered to the batch that lacks least of it."""
    trajectories = len(start) - 1
    batches = len(by_batch)
    member = np.arange(trajectories)
    place = np.arange(trajectories)
    pins = np.zeros(batches, np.int64)
    for u in range(trajectories):
        pins[u // batch] += start[u + 1] - start[u]
    lacking = np.empty(batches, np.uint16)
    offered = np.full(by_batch.shape[1], -1, np.int64)
    for each_pass in range(passes):
        swaps = 0
        for u in range(trajectories):
            own = place[u] // batch
            saved = 0  # items that only u holds in its batch
            lacking[:] = 0
            for at in range(start[u], start[u + 1]):
                held = by_item[item[at]]
                for other in range(batches):
                    lacking[other] += np.uint16(held[other] == 0)
                saved += int(by_batch[own, item[at]] == 1)
                offered[item[at]] = each_pass * trajectories + u
            lacking[own] = 65535
            other = int(np.argmin(lacking))
            if saved == 0:
                continue
            v, _ = _partner(
                start, item, by_batch, member, pins, offered, u, own, other, saved - int(lacking[other]), batch, even
            )
            if v >= 0:
                swaps += 1
                _move(start, item, by_item, by_batch, pins, u, own, other)
                _move(start, item, by_item, by_batch, pins, v, other, own)
                place[u], place[v] = place[v], place[u]
                member[place[u]], member[place[v]] = u, v
        if swaps < _SWAPPED_AT_LEAST * trajectories:
            break
    return member


@compiled
def _partner(
    start: IntArray, item: IntArray, by_batch: NDArray[Any], member: IntArray, pins: IntArray, offered: IntArray,
    u: int, own: int, other: int, moved: int, batch: int, even: bool,
) -> tuple[int, int]:  # fmt: skip
    """(who of batch `other`, saved items): the best swap for `u` of batch `own`; -1: none. `moved`: u's move alone."""
    mark = offered[item[start[u]]]
    mean = pins.mean()
    worst_own = max(_UNEVEN * mean, abs(pins[own] - mean))
    worst_other = max(_UNEVEN * mean, abs(pins[other] - mean))
    best, best_saved = -1, 0
    for v in member[other * batch : (other + 1) * batch]:
        more = (start[v + 1] - start[v]) - (start[u + 1] - start[u])
        if even and (abs(pins[own] + more - mean) > worst_own or abs(pins[other] - more - mean) > worst_other):
            continue
        saved = moved
        for at in range(start[v], start[v + 1]):
            if offered[item[at]] == mark:  # both hold it: u's leaving saves nothing where v brings it
                saved -= int(by_batch[own, item[at]] == 1)
            else:
                saved += int(by_batch[other, item[at]] == 1) - int(by_batch[own, item[at]] == 0)
        if saved > best_saved:
            best, best_saved = v, saved
    return best, best_saved


@compiled
def _move(
    start: IntArray, item: IntArray, by_item: NDArray[Any], by_batch: NDArray[Any], pins: IntArray,
    u: int, own: int, other: int,
) -> None:  # fmt: skip
    pins[own] -= start[u + 1] - start[u]
    pins[other] += start[u + 1] - start[u]
    for at in range(start[u], start[u + 1]):
        by_item[item[at], own] -= 1
        by_item[item[at], other] += 1
        by_batch[own, item[at]] -= 1
        by_batch[other, item[at]] += 1

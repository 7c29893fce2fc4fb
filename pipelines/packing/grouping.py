"""Grouping: an order of trajectories in which neighbours share items, by social-hash recursive bisection (SHP).

A packed batch encodes each of its items once, so an epoch encodes the sum over batches of distinct items: the cut of a
hypergraph. SHP halves the trajectories again and again, down to single batches, and at each halving swaps pairs across
as long as the two sides come to share fewer items. The leaves, from left to right, are the batches; so neighbouring
batches share items too, which a cache of vectors and a superblock profit from.

Source: Kabiljo et al., Social Hash Partitioner, VLDB 2017 (probabilistic fanout, section 3), bisected as in Dhulipala
et al., KDD 2016. Ours are whole numbers throughout (the same order on every machine), subtrees of whole superblocks,
and swaps that keep both sides even.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.packing.compiled import compiled, hashed
from pipelines.packing.graph import Graph
from pipelines.packing.shard import IntArray

_ONE = 1 << 20  # gains are whole numbers, in 2^-20 of an item
_Q = 0.7  # an item that c others on a side hold is worth q^c there: the smoothing of SHP
_WORTH = np.array([round(_ONE * _Q**count) for count in range(39)] + [0], np.int32)
_LEAST_GAIN = round(_ONE * 1e-4)  # of a swap
_ACCEPTED = int(0.8 * 2**63)  # of hashed()'s 63 bits: not all good swaps at once, for they were judged one by one
_ITERATIONS = 20
_SWAPPED_AT_LEAST = 0.005  # of the trajectories, or the halving is done
_CLASSES = 8  # of length, when sides are kept even: swaps between classes move pins, swaps within one hardly do
_UNEVEN = 0.02  # a side may stray from its share of pins by this much of the smaller side's


def social_hash_order(
    graph: Graph, first: IntArray, *, batch: int, superblock: int, even: bool = False, seed: int = 0
) -> IntArray:
    """Trajectories (B,) in tree order: each `batch` of them, from the start on, is a leaf.

    `first` is the order to start from: in time order, halves begin with what is read together. Whole superblocks, of
    `superblock` batches, are split off before they are split themselves, so that each is a subtree. `even` keeps the
    pins of both sides near their share, so that batches do not sort themselves by length.
    """
    order = np.array(first, np.int64)
    holders, number = np.zeros(graph.items, np.int32), np.full(graph.items, -1, np.int32)
    open_parts = [(0, len(order))]
    while open_parts:
        low, high = open_parts.pop()
        left = _left_size(high - low, batch=batch, superblock=superblock)
        if left == high - low:
            continue
        part = order[low:high]
        shared = _shared_pins(graph.start, graph.item, part, holders, number)
        on_right = _halved(*shared, graph.pins[part], part, left, even, seed + low)
        order[low:high] = np.concatenate([part[~on_right], part[on_right]])
        open_parts += [(low, low + left), (low + left, high)]
    return order


def _left_size(trajectories: int, *, batch: int, superblock: int) -> int:
    """How many of them stand on the left: half the batches, whole superblocks if there are several; all, if one is."""
    batches = -(-trajectories // batch)
    unit = superblock if batches > superblock else 1
    units = -(-batches // unit)
    return min(trajectories, -(-units // 2) * unit * batch)


@compiled
def _halved(
    pin_start: IntArray, pin: NDArray[np.int32], shared: int, length: IntArray,
    part: IntArray, left: int, even: bool, seed: int,
) -> NDArray[np.bool_]:  # fmt: skip
    """Which of `part` stand on the right, after swaps; its first `left` stand on the left before."""
    on_right = np.arange(len(part)) >= left
    held = np.zeros((2, shared), np.int32)
    for u in range(len(part)):
        for at in range(pin_start[u], pin_start[u + 1]):
            held[int(on_right[u]), pin[at]] += 1
    share = length.sum() * left / len(part)
    surplus = length[:left].sum() - share  # pins that the left side has over its share
    allowed = _UNEVEN * min(share, length.sum() - share) if even else np.inf
    length_class = _classes(length, _CLASSES if even else 1)
    for iteration in range(_ITERATIONS):
        gain = _gains(pin_start, pin, on_right, held)
        queue, queue_start = _queues(gain, on_right, length_class)
        swaps, surplus = _swap(
            gain, queue, queue_start, on_right, held, pin_start, pin, part, length, surplus, allowed, seed, iteration
        )
        if swaps < _SWAPPED_AT_LEAST * len(part):
            break
    return on_right


@compiled
def _shared_pins(
    start: IntArray, item: IntArray, part: IntArray, holders: NDArray[np.int32], number: NDArray[np.int32]
) -> tuple[IntArray, NDArray[np.int32], int]:
    """The pins of `part` whose item at least two of it hold, items numbered anew: others cost the same anywhere.

    `holders` is all 0 and `number` all -1, before and after.
    """
    pins = 0
    for u in part:
        pins += start[u + 1] - start[u]
        for at in range(start[u], start[u + 1]):
            holders[item[at]] += 1
    pin_start = np.zeros(len(part) + 1, np.int64)
    pin = np.empty(pins, np.int32)
    shared = 0
    count = 0
    for place in range(len(part)):
        for at in range(start[part[place]], start[part[place] + 1]):
            if holders[item[at]] > 1:
                if number[item[at]] < 0:
                    number[item[at]] = shared
                    shared += 1
                pin[count] = number[item[at]]
                count += 1
        pin_start[place + 1] = count
    for u in part:
        for at in range(start[u], start[u + 1]):
            holders[item[at]] = 0
            number[item[at]] = -1
    return pin_start, pin[:count], shared


@compiled
def _classes(length: IntArray, classes: int) -> IntArray:
    """Equally many trajectories in each class, shortest first."""
    found = np.empty(len(length), np.int64)
    by_length = np.argsort(length, kind="mergesort")
    for place in range(len(length)):
        found[by_length[place]] = place * classes // len(length)
    return found


@compiled
def _gains(
    pin_start: IntArray, pin: NDArray[np.int32], on_right: NDArray[np.bool_], held: NDArray[np.int32]
) -> IntArray:
    """What each move across would save: the sum over its items of q^(others here) - q^(those there)."""
    last = len(_WORTH) - 1
    saved = np.empty(held.shape, np.int32)
    for side in range(2):
        for item in range(held.shape[1]):
            here, there = held[side, item], held[1 - side, item]
            saved[side, item] = _WORTH[min(max(here - 1, 0), last)] - _WORTH[min(there, last)]
    gain = np.zeros(len(on_right), np.int64)
    for u in range(len(on_right)):
        side = int(on_right[u])
        for at in range(pin_start[u], pin_start[u + 1]):
            gain[u] += saved[side, pin[at]]
    return gain


@compiled
def _queues(gain: IntArray, on_right: NDArray[np.bool_], length_class: IntArray) -> tuple[IntArray, IntArray]:
    """Trajectories by side, class and falling gain; and where each queue begins: (side * classes + class)."""
    classes = length_class.max() + 1
    queue_start = np.zeros(2 * classes + 1, np.int64)
    for u in range(len(gain)):
        queue_start[int(on_right[u]) * classes + length_class[u] + 1] += 1
    queue_start = np.cumsum(queue_start)
    free = queue_start.copy()
    queue = np.empty(len(gain), np.int64)
    for u in np.argsort(-gain, kind="mergesort"):
        number = int(on_right[u]) * classes + length_class[u]
        queue[free[number]] = u
        free[number] += 1
    return queue, queue_start


@compiled
def _best_pair(
    gain: IntArray, queue: IntArray, head: IntArray, queue_start: IntArray, length: IntArray,
    surplus: float, allowed: float,
) -> tuple[int, int]:  # fmt: skip
    """The queues (left, right) whose heads gain most by a swap that leaves the sides even, or more even; or -1, -1."""
    classes = len(head) // 2
    best, best_gain = (-1, -1), _LEAST_GAIN
    if abs(surplus) > allowed:
        best_gain = -(1 << 62)  # evenness first, whatever it costs
    for left in range(classes):
        if head[left] == queue_start[left + 1]:
            continue
        x = queue[head[left]]
        for right in range(classes, 2 * classes):
            if head[right] == queue_start[right + 1]:
                continue
            y = queue[head[right]]
            after = abs(surplus - length[x] + length[y])
            if gain[x] + gain[y] > best_gain and (after <= allowed or after < abs(surplus)):
                best, best_gain = (left, right), gain[x] + gain[y]
    return best


@compiled
def _swap(
    gain: IntArray, queue: IntArray, queue_start: IntArray, on_right: NDArray[np.bool_], held: NDArray[np.int32],
    pin_start: IntArray, pin: NDArray[np.int32], part: IntArray, length: IntArray,
    surplus: float, allowed: float, seed: int, iteration: int,
) -> tuple[int, float]:  # fmt: skip
    """Swap pairs, best first, until none gains; (swaps, the left side's surplus of pins afterwards)."""
    head = queue_start[:-1].copy()
    swaps = 0
    while True:
        left, right = _best_pair(gain, queue, head, queue_start, length, surplus, allowed)
        if left < 0:
            return swaps, surplus
        x, y = queue[head[left]], queue[head[right]]
        head[left] += 1
        head[right] += 1
        if abs(surplus) <= allowed and hashed(seed, part[x], iteration) >= _ACCEPTED:
            continue
        swaps += 1
        surplus += length[y] - length[x]
        on_right[x], on_right[y] = True, False
        for at in range(pin_start[x], pin_start[x + 1]):
            held[0, pin[at]] -= 1
            held[1, pin[at]] += 1
        for at in range(pin_start[y], pin_start[y + 1]):
            held[1, pin[at]] -= 1
            held[0, pin[at]] += 1

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

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.packing.compiled import compiled, hashed
from pipelines.packing.graph import Graph, Pins
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


class Part(NamedTuple):
    """Trajectories to be halved, and what their left half is to be."""

    member: IntArray  # trajectories; the first `left` of them begin on the left
    length: IntArray  # pins of each
    length_class: IntArray
    left: int
    share: float  # pins of the left side, if both are even
    allowed: float  # pins that the left side may have more, or fewer


class Sides(NamedTuple):
    """Where a halving stands; swaps change it."""

    on_right: NDArray[np.bool_]
    held: NDArray[np.int32]  # (2, items): trajectories of each side that hold each item


class Offers(NamedTuple):
    """Trajectories in queues by side and class of length, those that gain most by a move across first."""

    gain: IntArray
    queue: IntArray
    start: IntArray  # queue `side * classes + class` begins there


def social_hash_order(
    graph: Graph, first: IntArray, *, batch: int, superblock: int, even: bool = False, seed: int = 0
) -> IntArray:
    """Trajectories (B,) in tree order: each `batch` of them, from the start on, is a leaf.

    `first` is the order to start from: in time order, halves begin with what is read together. Whole superblocks, of
    `superblock` batches, are split off before they are split themselves, so that each is a subtree. `even` keeps the
    pins of both sides near their share, so that batches do not sort themselves by length.
    """
    order, lengths = np.array(first, np.int64), graph.lengths
    holders, number = np.zeros(graph.items, np.int32), np.full(graph.items, -1, np.int32)
    open_parts = [(0, len(order))]
    while open_parts:
        low, high = open_parts.pop()
        left = _left_size(high - low, batch=batch, superblock=superblock)
        if left == high - low:
            continue
        part = _part(order[low:high], lengths, left, even=even)
        on_right = _halved(part, _shared_pins(graph.pins, part.member, holders, number), seed + low)
        order[low:high] = np.concatenate([part.member[~on_right], part.member[on_right]])
        open_parts += [(low, low + left), (low + left, high)]
    return order


def _left_size(trajectories: int, *, batch: int, superblock: int) -> int:
    """How many of them stand on the left: half the batches, whole superblocks if there are several; all, if one is."""
    batches = -(-trajectories // batch)
    unit = superblock if batches > superblock else 1
    units = -(-batches // unit)
    return min(trajectories, -(-units // 2) * unit * batch)


def _part(member: IntArray, lengths: IntArray, left: int, *, even: bool) -> Part:
    length = lengths[member]
    share = float(length.sum() * left / len(member))
    allowed = _UNEVEN * min(share, length.sum() - share) if even else np.inf
    length_class = np.zeros(len(member), np.int64)  # as many of each class, shortest first
    length_class[np.argsort(length, kind="stable")] = np.arange(len(member)) * (_CLASSES if even else 1) // len(member)
    return Part(member.copy(), length, length_class, left, share, float(allowed))


@compiled
def _shared_pins(pins: Pins, member: IntArray, holders: NDArray[np.int32], number: NDArray[np.int32]) -> Pins:
    """The pins of `member` whose item at least two of it hold, items numbered anew: others cost the same anywhere.

    `holders` is all 0 and `number` all -1, before and after.
    """
    total = 0
    for u in member:
        total += pins.start[u + 1] - pins.start[u]
        for item in pins.item[pins.start[u] : pins.start[u + 1]]:
            holders[item] += 1
    start = np.zeros(len(member) + 1, np.int64)
    found = np.empty(total, np.int32)
    shared = 0
    count = 0
    for place in range(len(member)):
        u = member[place]
        for item in pins.item[pins.start[u] : pins.start[u + 1]]:
            if holders[item] > 1:
                if number[item] < 0:
                    number[item] = shared
                    shared += 1
                found[count] = number[item]
                count += 1
        start[place + 1] = count
    for u in member:
        for item in pins.item[pins.start[u] : pins.start[u + 1]]:
            holders[item] = 0
            number[item] = -1
    return Pins(start, found[:count], shared)


@compiled
def _halved(part: Part, pins: Pins, seed: int) -> NDArray[np.bool_]:
    """Which of the part stand on the right, after swaps."""
    sides = Sides(np.arange(len(part.member)) >= part.left, np.zeros((2, pins.items), np.int32))
    for u in range(len(part.member)):
        for item in pins.item[pins.start[u] : pins.start[u + 1]]:
            sides.held[int(sides.on_right[u]), item] += 1
    for iteration in range(_ITERATIONS):
        offers = _offers(_gains(pins, sides), sides.on_right, part.length_class)
        if _swap(offers, sides, pins, part, hashed(seed, iteration, 0)) < _SWAPPED_AT_LEAST * len(part.member):
            break
    return sides.on_right


@compiled
def _gains(pins: Pins, sides: Sides) -> IntArray:
    """What each move across would save: the sum over its items of q^(others here) - q^(those there)."""
    last = len(_WORTH) - 1
    saved = np.empty((2, pins.items), np.int32)
    for side in range(2):
        for item in range(pins.items):
            here, there = sides.held[side, item], sides.held[1 - side, item]
            saved[side, item] = _WORTH[min(max(here - 1, 0), last)] - _WORTH[min(there, last)]
    gain = np.zeros(len(sides.on_right), np.int64)
    for u in range(len(gain)):
        side = int(sides.on_right[u])
        for item in pins.item[pins.start[u] : pins.start[u + 1]]:
            gain[u] += saved[side, item]
    return gain


@compiled
def _offers(gain: IntArray, on_right: NDArray[np.bool_], length_class: IntArray) -> Offers:
    classes = length_class.max() + 1
    start = np.zeros(2 * classes + 1, np.int64)
    for u in range(len(gain)):
        start[int(on_right[u]) * classes + length_class[u] + 1] += 1
    start = np.cumsum(start)
    free = start.copy()
    queue = np.empty(len(gain), np.int64)
    for u in np.argsort(-gain, kind="mergesort"):
        number = int(on_right[u]) * classes + length_class[u]
        queue[free[number]] = u
        free[number] += 1
    return Offers(gain, queue, start)


@compiled
def _swap(offers: Offers, sides: Sides, pins: Pins, part: Part, seed: int) -> int:
    """Swap pairs across, best first, until none gains; returns how many were swapped."""
    head = offers.start[:-1].copy()
    surplus = -part.share  # pins that the left side has over its share
    for u in range(len(part.length)):
        surplus += 0 if sides.on_right[u] else part.length[u]
    swaps = 0
    while True:
        left, right = _best_pair(offers, head, part, surplus)
        if left < 0:
            return swaps
        x, y = offers.queue[head[left]], offers.queue[head[right]]
        head[left] += 1
        head[right] += 1
        if abs(surplus) <= part.allowed and hashed(seed, part.member[x], 0) >= _ACCEPTED:
            continue
        swaps += 1
        surplus += part.length[y] - part.length[x]
        sides.on_right[x], sides.on_right[y] = True, False
        for item in pins.item[pins.start[x] : pins.start[x + 1]]:
            sides.held[0, item] -= 1
            sides.held[1, item] += 1
        for item in pins.item[pins.start[y] : pins.start[y + 1]]:
            sides.held[1, item] -= 1
            sides.held[0, item] += 1


@compiled
def _best_pair(offers: Offers, head: IntArray, part: Part, surplus: float) -> tuple[int, int]:
    """The queues (left, right) whose heads gain most by a swap that leaves the sides even, or more even; or -1, -1."""
    classes = len(head) // 2
    best, best_gain = (-1, -1), _LEAST_GAIN
    if abs(surplus) > part.allowed:
        best_gain = -(1 << 62)  # evenness first, whatever it costs
    for left in range(classes):
        if head[left] == offers.start[left + 1]:
            continue
        x = offers.queue[head[left]]
        for right in range(classes, 2 * classes):
            if head[right] == offers.start[right + 1]:
                continue
            y = offers.queue[head[right]]
            after = abs(surplus - part.length[x] + part.length[y])
            gain = offers.gain[x] + offers.gain[y]
            if gain > best_gain and (after <= part.allowed or after < abs(surplus)):
                best, best_gain = (left, right), gain
    return best

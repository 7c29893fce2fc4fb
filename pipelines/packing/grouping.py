"""Orders trajectories so that neighbours share items, by recursive bisection: the social hash partitioner (SHP).

A packed batch encodes each of its distinct items once, so an epoch encodes the sum of distinct items over its batches:
the total fanout of a hypergraph whose vertices are trajectories and whose hyperedges are items. SHP bisects the
trajectories recursively, down to single batches. Each bisection starts from the given order and swaps pairs of
trajectories between its two sides for as long as that lowers the number of items on both sides. The leaves of the tree,
from left to right, are the batches. Neighbouring batches share items too, which superblocks and a cache of vectors use.

Source: Kabiljo et al., Social Hash Partitioner, VLDB 2017 (probabilistic fanout, section 3); bisection as in Dhulipala
et al., KDD 2016. Differences: gains are integers, so that every machine finds the same order; each superblock is a
subtree; swaps can keep the pins of both sides even.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.packing.compiled import compiled, hash63
from pipelines.packing.graph import Graph, Pins, items_of
from pipelines.packing.shard import IntArray

_GAIN_UNIT = 1 << 20  # gains are integers, in 2^-20 of an item
_Q = 0.7  # a trajectory pays q^c for an item that c others on its side hold: the smoothed fanout of SHP
_Q_POWERS = np.array([round(_GAIN_UNIT * _Q**count) for count in range(39)] + [0], np.int32)
_MIN_SWAP_GAIN = round(_GAIN_UNIT * 1e-4)
_MAX_ROUNDS = 20
_MIN_SWAPPED_SHARE = 0.005  # a round that swaps a smaller share of the trajectories is the last
_ACCEPT_BELOW = int(0.8 * 2**63)  # of hash63: a round skips 1 swap of 5, for each gain assumes that nothing else moves
_LENGTH_CLASSES = 8  # with even sides: swaps within a class hardly move pins, swaps between classes even them out
_MAX_IMBALANCE = 0.02  # with even sides: deviation from a side's share of pins, relative to the smaller share


class Part(NamedTuple):
    """The trajectories of one bisection, and the target sizes of its left side."""

    member: IntArray  # trajectories; the first `left_size` of them start on the left
    length: IntArray  # pins of each member
    length_class: IntArray  # of each member, 0 is shortest
    left_size: int  # members
    left_pins: float  # pins of the left side if all members were of mean length
    tolerance: float  # allowed deviation from left_pins


class Sides(NamedTuple):
    """The current state of a bisection, changed in place by swaps."""

    on_right: NDArray[np.bool_]  # of each member
    holders: NDArray[np.int32]  # (2, items): members of the left and of the right side that hold each item


class Queues(NamedTuple):
    """Members by side and length class, each queue by falling gain."""

    gain: IntArray  # of each member, for a move to the other side
    member: IntArray  # the queues, one after another
    start: IntArray  # where queue `side * classes + class` begins


def social_hash_order(
    graph: Graph, first: IntArray, *, batch: int, superblock: int, even: bool = False, seed: int = 0
) -> IntArray:
    """Trajectories (B,) in the order of the tree's leaves: each `batch` of them, from the start on, is a leaf.

    `first` is the initial order: in time order, a bisection starts with trajectories of similar times on each side.
    A superblock of `superblock` batches is one subtree. `even` keeps the pins of both sides near their share, so that
    batches do not sort themselves by length.
    """
    order, lengths = np.array(first, np.int64), graph.lengths
    holders, number = np.zeros(graph.items, np.int32), np.full(graph.items, -1, np.int32)
    open_parts = [(0, len(order))]
    while open_parts:
        low, high = open_parts.pop()
        left_size = _left_size(high - low, batch=batch, superblock=superblock)
        if left_size == high - low:
            continue  # a leaf
        part = _make_part(order[low:high], lengths, left_size, even=even)
        on_right = _bisect(part, _shared_pins(graph.pins, part.member, holders, number), seed + low)
        order[low:high] = np.concatenate([part.member[~on_right], part.member[on_right]])
        open_parts += [(low, low + left_size), (low + left_size, high)]
    return order


def _left_size(trajectories: int, *, batch: int, superblock: int) -> int:
    """Trajectories of the left side: half of the superblocks or, within one superblock, half of the batches, rounded
    up; all trajectories if they fill at most one batch."""
    batches = -(-trajectories // batch)
    unit = superblock if batches > superblock else 1
    units = -(-batches // unit)
    return min(trajectories, -(-units // 2) * unit * batch)


def _make_part(member: IntArray, lengths: IntArray, left_size: int, *, even: bool) -> Part:
    length = lengths[member]
    left_pins = float(length.sum() * left_size / len(member))
    tolerance = _MAX_IMBALANCE * min(left_pins, length.sum() - left_pins) if even else np.inf
    length_class = np.zeros(len(member), np.int64)  # classes of equal size
    rank = np.arange(len(member))
    length_class[np.argsort(length, kind="stable")] = rank * (_LENGTH_CLASSES if even else 1) // len(member)
    return Part(member.copy(), length, length_class, left_size, left_pins, float(tolerance))


@compiled
def _shared_pins(pins: Pins, member: IntArray, holders: NDArray[np.int32], number: NDArray[np.int32]) -> Pins:
    """The members' pins of items that at least two members hold, items renumbered from 0. No swap changes what the
    other items cost.

    `holders` (all 0) and `number` (all -1) are work arrays over all items, restored on return.
    """
    total = 0
    for u in member:
        total += len(items_of(pins, u))
        for item in items_of(pins, u):
            holders[item] += 1
    start = np.zeros(len(member) + 1, np.int64)
    shared = np.empty(total, np.int32)
    items = 0
    count = 0
    for place in range(len(member)):
        for item in items_of(pins, member[place]):
            if holders[item] > 1:
                if number[item] < 0:
                    number[item] = items
                    items += 1
                shared[count] = number[item]
                count += 1
        start[place + 1] = count
    for u in member:
        for item in items_of(pins, u):
            holders[item] = 0
            number[item] = -1
    return Pins(start, shared[:count], items)


@compiled
def _bisect(part: Part, pins: Pins, seed: int) -> NDArray[np.bool_]:
    """Whether each member ends on the right, after rounds of swaps. `pins` are those of `_shared_pins`."""
    sides = Sides(np.arange(len(part.member)) >= part.left_size, np.zeros((2, pins.items), np.int32))
    for u in range(len(part.member)):
        for item in items_of(pins, u):
            sides.holders[int(sides.on_right[u]), item] += 1
    for iteration in range(_MAX_ROUNDS):
        queues = _make_queues(_move_gains(pins, sides), sides.on_right, part.length_class)
        swaps = _swap_pairs(queues, sides, pins, part, hash63(seed, iteration, 0))
        if swaps < _MIN_SWAPPED_SHARE * len(part.member):
            break
    return sides.on_right


@compiled
def _move_gains(pins: Pins, sides: Sides) -> IntArray:
    """Gain of each member's move to the other side: the sum over its items of q^(other holders here) - q^(holders
    there), in _GAIN_UNIT."""
    last = len(_Q_POWERS) - 1
    item_gain = np.empty((2, pins.items), np.int32)
    for side in range(2):
        for item in range(pins.items):
            here, there = sides.holders[side, item], sides.holders[1 - side, item]
            item_gain[side, item] = _Q_POWERS[min(max(here - 1, 0), last)] - _Q_POWERS[min(there, last)]
    gain = np.zeros(len(sides.on_right), np.int64)
    for u in range(len(gain)):
        side = int(sides.on_right[u])
        for item in items_of(pins, u):
            gain[u] += item_gain[side, item]
    return gain


@compiled
def _make_queues(gain: IntArray, on_right: NDArray[np.bool_], length_class: IntArray) -> Queues:
    """A stable counting sort of the members, which come by falling gain, into their queues."""
    classes = length_class.max() + 1
    start = np.zeros(2 * classes + 1, np.int64)
    for u in range(len(gain)):
        start[int(on_right[u]) * classes + length_class[u] + 1] += 1
    start = np.cumsum(start)
    end = start.copy()
    member = np.empty(len(gain), np.int64)
    for u in np.argsort(-gain, kind="mergesort"):
        queue = int(on_right[u]) * classes + length_class[u]
        member[end[queue]] = u
        end[queue] += 1
    return Queues(gain, member, start)


@compiled
def _swap_pairs(queues: Queues, sides: Sides, pins: Pins, part: Part, seed: int) -> int:
    """Swap the best pair of queue heads until no pair gains; returns the number of swaps."""
    head = queues.start[:-1].copy()
    surplus = -part.left_pins  # pins of the left side above its share
    for u in range(len(part.length)):
        surplus += 0 if sides.on_right[u] else part.length[u]
    swaps = 0
    while True:
        left, right = _best_pair(queues, head, part, surplus)
        if left < 0:
            return swaps
        x, y = queues.member[head[left]], queues.member[head[right]]
        head[left] += 1
        head[right] += 1
        if abs(surplus) <= part.tolerance and hash63(seed, part.member[x], 0) >= _ACCEPT_BELOW:
            continue
        swaps += 1
        surplus += part.length[y] - part.length[x]
        _move_across(x, sides, pins)
        _move_across(y, sides, pins)


@compiled
def _best_pair(queues: Queues, head: IntArray, part: Part, surplus: float) -> tuple[int, int]:
    """The queues (left, right) whose heads gain most by a swap after which the sides are even, or more even than now;
    (-1, -1) if there is none."""
    classes = len(head) // 2
    best, best_gain = (-1, -1), _MIN_SWAP_GAIN
    if abs(surplus) > part.tolerance:
        best_gain = -(1 << 62)  # evenness first, at any cost
    for left in range(classes):
        if head[left] == queues.start[left + 1]:
            continue
        x = queues.member[head[left]]
        for right in range(classes, 2 * classes):
            if head[right] == queues.start[right + 1]:
                continue
            y = queues.member[head[right]]
            after = abs(surplus - part.length[x] + part.length[y])
            gain = queues.gain[x] + queues.gain[y]
            if gain > best_gain and (after <= part.tolerance or after < abs(surplus)):
                best, best_gain = (left, right), gain
    return best


@compiled
def _move_across(u: int, sides: Sides, pins: Pins) -> None:
    side = int(sides.on_right[u])
    sides.on_right[u] = side == 0
    for item in items_of(pins, u):
        sides.holders[side, item] -= 1
        sides.holders[1 - side, item] += 1

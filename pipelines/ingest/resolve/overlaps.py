"""Joins lists that are slices of one sequence: a user's last clicks are logged again and again, and stored once.

Lists that overlap, the end of one with the beginning of another, are joined, the longest overlap first, until no
overlap is left: a shortest common superstring, or nearly so. The result depends on the lists alone, not on their order
or time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.lists import Bools, Ints, Lists, bounds_of, concatenated, equal, find_sublists, spread

_TRIES = 8  # beginnings that are tried for one end


@dataclass(frozen=True)
class Placement:
    """Where each list is found: from `offset` on, in a stored sequence or in one of `sequences`.

    `grown`: the stored sequence that each of `sequences` begins with and replaces; -1 = none.
    """

    offset: Ints
    sequences: Lists
    grown: Ints


def place_lists(pieces: Lists, stored: Lists) -> Placement:
    """Places the distinct lists of each owner inside of the owner's stored sequences, which may grow at their ends, or
    inside of new ones.

    `pieces` are sorted by owner, and a list comes directly before those that begin with it.
    """
    every = np.arange(len(pieces.owner))
    held, offset = find_sublists(pieces, every, stored)
    left = every[held < 0]
    nested = _begins_next(pieces, left)
    apart = left[~nested]
    near = np.flatnonzero(np.isin(stored.owner, pieces.owner[apart]))
    chains = _chained(concatenated(stored.take(near), pieces.take(apart)), len(near))
    changed = np.flatnonzero(~chains.untouched)
    made = chains.sequences(changed)
    grown = np.full(len(changed), -1)
    grown[chains.first[changed] < len(near)] = near[chains.first[changed][chains.first[changed] < len(near)]]
    inside, shift = _inside_another(made, grown < 0)
    number = np.searchsorted(changed, chains.number[len(near) :])
    offset[apart] = chains.begin[len(near) :] + shift[number]
    found = np.where(inside < 0, np.arange(len(changed)), inside)[number]
    assert equal(pieces, apart, made, found, offset[apart]).all(), "a history is no slice of its own sequence"
    last = np.flatnonzero(~nested)
    offset[left] = offset[left[last[np.searchsorted(last, np.arange(len(left)))]]]
    kept = np.flatnonzero(inside < 0)
    return Placement(offset, made.take(kept), grown[kept])


def _begins_next(pieces: Lists, which: Ints) -> Bools:
    """For each of these lists, whether the next one begins with it."""
    begins = np.zeros(len(which), bool)
    one, following = which[:-1], which[1:]
    shorter = (pieces.lengths[one] <= pieces.lengths[following]) & (pieces.owner[one] == pieces.owner[following])
    at = np.flatnonzero(shorter)
    begins[at] = equal(pieces, one[at], pieces, following[at], np.zeros(len(at), np.int64))
    return begins


@dataclass(frozen=True)
class _Chains:
    """Chains of overlapping lists: each chain is one sequence."""

    nodes: Lists
    first: Ints  # the first list of each chain
    untouched: Bools  # chains of a stored sequence alone
    order: Ints  # the lists, chain after chain
    number: Ints  # the chain of each list
    begin: Ints  # the place of each list in its chain
    overlap: Ints  # of each list with the one before it

    def sequences(self, which: Ints) -> Lists:
        """The sequences of these chains."""
        order = self.order[np.isin(self.number[self.order], which)]
        more = self.nodes.lengths[order] - self.overlap[order]
        flat = self.nodes.flat[spread(self.nodes.bounds[order] + self.overlap[order], more)]
        lengths = np.bincount(self.number[order], weights=more, minlength=len(self.first)).astype(np.int64)[which]
        return Lists(flat, bounds_of(lengths), self.nodes.owner[self.first[which]])


def _chained(nodes: Lists, stored: int) -> _Chains:
    """The lists in chains; the first `stored` of them can only begin a chain."""
    follower, overlap = _followers(nodes, stored)
    count = len(nodes.owner)
    firsts = np.setdiff1d(np.arange(count), follower)
    order: list[int] = []
    number, begin = [0] * count, [0] * count
    after, over, length = follower.tolist(), overlap.tolist(), nodes.lengths.tolist()
    for chain, node in enumerate(firsts.tolist()):
        place = 0
        while True:
            order.append(node)
            number[node], begin[node] = chain, place
            if after[node] < 0:
                break
            place += length[node] - over[after[node]]
            node = after[node]
    untouched = (firsts < stored) & (follower[firsts] < 0)
    ordered, numbers, begins = (np.array(values, np.int64) for values in (order, number, begin))
    return _Chains(nodes, firsts, untouched, ordered, numbers, begins, overlap)


def _followers(nodes: Lists, stored: int) -> tuple[Ints, Ints]:
    """The list that follows each one, -1 if none does; and the overlap of each with the list before it."""
    count = len(nodes.owner)
    follower, overlap = np.full(count, -1), np.zeros(count, np.int64)
    has_before = np.arange(count) < stored
    first_of, last_of = list(range(count)), list(range(count))  # of the chain that ends, or begins, with a list
    heads = np.arange(stored, count)
    heads = heads[np.argsort(-nodes.lengths[heads], kind="stable")]
    for size, ends in _possible(nodes, stored):
        ends = ends[follower[ends] < 0]
        begins = heads[: np.searchsorted(-nodes.lengths[heads], -size)]  # longer lists
        begins = begins[~has_before[begins]]
        if not len(ends) or not len(begins):
            continue
        keys = nodes.hashes(begins, 0, size)
        order = np.lexsort((begins, keys))
        begins, keys = begins[order].tolist(), keys[order]
        wanted = nodes.hashes(ends, nodes.lengths[ends] - size, size)
        low, high = np.searchsorted(keys, wanted), np.searchsorted(keys, wanted, side="right")
        met = low < high
        free: dict[int, int] = {}  # the first of equal beginnings that may still be free
        for end, group, stop in zip(ends[met].tolist(), low[met].tolist(), high[met].tolist(), strict=True):
            place = free.get(group, group)
            while place < stop and has_before[begins[place]]:
                place += 1
            free[group] = place
            for begin in begins[place : min(stop, place + _TRIES)]:
                if not has_before[begin] and last_of[begin] != end:  # the latter would close a ring
                    follower[end], overlap[begin], has_before[begin] = begin, size, True
                    first, last = first_of[end], last_of[begin]
                    last_of[first], first_of[last] = last, first
                    break
    free_of = dict(zip(nodes.owner[heads[::-1]].tolist(), heads[::-1].tolist(), strict=True))
    for end in np.flatnonzero(nodes.lengths[:stored] == 0).tolist():  # every list begins with it
        begin = free_of.get(int(nodes.owner[end]), -1)
        if begin >= 0 and not has_before[begin]:
            follower[end], has_before[begin] = begin, True
    return follower, overlap


def _possible(nodes: Lists, stored: int) -> list[tuple[int, Ints]]:
    """Sizes that an overlap can have, the largest first, each with the lists whose end may overlap by it.

    Such an end begins with a number that a list of the same owner begins with.
    """
    heads = np.arange(stored, len(nodes.owner))
    heads = heads[nodes.lengths[heads] > 0]
    most = np.full(len(nodes.owner), int(nodes.lengths[heads].max(initial=1)) - 1)
    most[stored:] = np.minimum(most[stored:], nodes.lengths[stored:] - 1)  # only a stored list can overlap entirely
    most = np.clip(most, 0, nodes.lengths)
    mask = np.uint64((1 << (16 * len(heads)).bit_length()) - 1)
    begun = np.zeros(int(mask) + 1, bool)  # by bits of a hash: some may be marked wrongly, none is missed
    begun[nodes.single[nodes.bounds[heads]] & mask] = True
    place = spread(nodes.bounds[1:] - most, most)
    likely = begun[nodes.single[place] & mask]
    lists = np.repeat(np.arange(len(nodes.owner)), most)[likely]
    size = nodes.bounds[1:][lists] - place[likely]
    narrow = size.astype(np.uint16) if size.max(initial=0) < 1 << 16 else size  # 16 bits are sorted in one pass
    lists = lists[np.argsort(narrow, kind="stable")]
    ends = np.cumsum(np.bincount(size))
    sizes = np.flatnonzero(np.diff(ends, prepend=0))
    return [(int(one), lists[ends[one - 1] : ends[one]]) for one in sizes[::-1]]


def _inside_another(sequences: Lists, new: Bools) -> tuple[Ints, Ints]:
    """For each `new` sequence another one that contains it and is itself inside of no other, -1 if there is none; and
    the offset there.
    """
    lengths = sequences.lengths
    several = np.bincount(sequences.owner, minlength=1)[sequences.owner] > 1
    which = np.flatnonzero(new & several)

    def longer(one: Ints, other: Ints) -> Bools:
        return np.asarray((lengths[other] > lengths[one]) | ((lengths[other] == lengths[one]) & (other < one)))

    inside, shift = np.full(len(lengths), -1), np.zeros(len(lengths), np.int64)
    inside[which], shift[which] = find_sublists(sequences, which, sequences, longer)
    while (deep := np.flatnonzero((inside >= 0) & (inside[inside] >= 0))).size:
        shift[deep] += shift[inside[deep]]
        inside[deep] = inside[inside[deep]]
    return inside, shift

"""Stores lists of numbers end to end and finds lists inside others: numpy only, in time linear in their size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Hashes = NDArray[np.uint64]
Bools = NDArray[np.bool_]

_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2^64
_INVERSE = pow(_BASE, -1, 1 << 64)


@dataclass(frozen=True)
class Lists:
    """List n is flat[bounds[n]:bounds[n + 1]] and belongs to owner[n]; only lists of one owner are compared."""

    flat: Ints
    bounds: Ints
    owner: Ints

    @cached_property
    def lengths(self) -> Ints:
        """The number of elements of each list."""
        return np.diff(self.bounds)

    def take(self, which: Ints) -> Lists:
        """These lists alone, in this order."""
        lengths = self.lengths[which]
        flat = self.flat[spread(self.bounds[which], lengths)]
        return Lists(flat, bounds_of(lengths), self.owner[which])

    def hashes(self, which: Ints, begin: Ints | int, length: Ints | int) -> Hashes:
        """A hash of `length` numbers of each of these lists, from `begin` on; it depends on the owner."""
        at = self.bounds[which] + begin
        inside = (self._sums[at + length] - self._sums[at]) * self._powers[1][np.broadcast_to(begin, at.shape)]
        both: Hashes = inside ^ mixed(-1 - self.owner[which])  # no number is negative
        return both

    @cached_property
    def single(self) -> Hashes:
        """A hash of each number, which depends on the owner."""
        both: Hashes = self._mixed ^ np.repeat(mixed(-1 - self.owner), self.lengths)
        return both

    @cached_property
    def _mixed(self) -> Hashes:
        return mixed(self.flat)

    @cached_property
    def _powers(self) -> tuple[Hashes, Hashes]:
        longest = int(self.lengths.max(initial=0)) + 1
        return _powers_of(_BASE, longest), _powers_of(_INVERSE, longest)

    @cached_property
    def _sums(self) -> Hashes:
        """Prefix sums of the numbers, each times the power of its position in its list: differences are hashes."""
        inside = np.arange(len(self.flat)) - np.repeat(self.bounds[:-1], self.lengths)
        sums = np.zeros(len(self.flat) + 1, np.uint64)
        np.cumsum(self._mixed * self._powers[0][inside], out=sums[1:])
        return sums


def _powers_of(base: int, count: int) -> Hashes:
    powers = np.full(count + 1, base, np.uint64)
    powers[0] = 1
    return np.cumprod(powers, dtype=np.uint64)


def concatenated(one: Lists, other: Lists) -> Lists:
    """The lists of both, one's before the other's."""
    lengths = np.concatenate((one.lengths, other.lengths))
    return Lists(np.concatenate((one.flat, other.flat)), bounds_of(lengths), np.concatenate((one.owner, other.owner)))


def bounds_of(lengths: Ints) -> Ints:
    """The begins of lists of these lengths that are stored end to end, and the end of the last one."""
    bounds = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=bounds[1:])
    return bounds


def spread(begins: Ints, lengths: Ints) -> Ints:
    """All positions of ranges with these begins and lengths, one range after another."""
    bounds = bounds_of(lengths)
    places: Ints = np.arange(bounds[-1]) + np.repeat(begins - bounds[:-1], lengths)
    return places


def mixed(numbers: Ints) -> Hashes:
    """Each number, its bits spread over all 64."""
    bits: Hashes = numbers.astype(np.uint64) + np.uint64(_BASE)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    bits = bits ^ (bits >> np.uint64(31))
    return bits


def equal(one: Lists, ones: Ints, other: Lists, others: Ints, begin: Ints) -> Bools:
    """Whether each list of `ones` is contained in its list of `others` from `begin` on."""
    lengths = one.lengths[ones]
    same = one.flat[spread(one.bounds[ones], lengths)] == other.flat[spread(other.bounds[others] + begin, lengths)]
    faults = np.concatenate((np.zeros(1, np.int64), np.cumsum(~same)))
    bounds = bounds_of(lengths)
    return np.asarray(faults[bounds[1:]] == faults[bounds[:-1]])


def find_sublists(
    sought: Lists, which: Ints, held: Lists, allowed: Callable[[Ints, Ints], Bools] | None = None
) -> tuple[Ints, Ints]:
    """For each of these lists of `sought`, a list of `held` that contains it (-1 if there is none), and where.

    It is the first such place among lists that are `allowed` (sought, held). Each list is looked up by its first
    numbers, up to the greatest power of two in its length: a match of these is nearly always a match of the full list.
    """
    found, begin = np.full(len(which), -1), np.zeros(len(which), np.int64)
    owned = np.flatnonzero(np.isin(held.owner, sought.owner[which]))
    size = np.frexp(sought.lengths[which])[1] - 1  # of none: -1
    for power in np.unique(size):
        if power < 0:  # every list contains an empty one
            empty = np.flatnonzero(size < 0)
            order = np.argsort(held.owner[owned], kind="stable")
            place = np.searchsorted(held.owner[owned][order], sought.owner[which[empty]])
            there = place < len(owned)
            there[there] = held.owner[owned][order][place[there]] == sought.owner[which[empty]][there]
            found[empty[there]] = owned[order][place[there]]
            continue
        ours = np.flatnonzero(size == power)
        found[ours], begin[ours] = _of_size(sought, which[ours], held, owned, size=1 << int(power), allowed=allowed)
    return found, begin


def _of_size(
    sought: Lists, which: Ints, held: Lists, owned: Ints, *, size: int, allowed: Callable[[Ints, Ints], Bools] | None
) -> tuple[Ints, Ints]:
    """`find_sublists` for lists of at least `size` numbers, by the first `size` of each."""
    counts = np.maximum(held.lengths[owned] - size + 1, 0)
    lists, begins = np.repeat(owned, counts), spread(np.zeros(len(owned), np.int64), counts)
    keys = held.hashes(lists, begins, size)
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    wanted, full = sought.hashes(which, 0, size), sought.hashes(which, 0, sought.lengths[which])
    place, end = np.searchsorted(keys, wanted), np.searchsorted(keys, wanted, side="right")
    found, begin = np.full(len(which), -1), np.zeros(len(which), np.int64)
    open_ = np.flatnonzero(place < end)
    while len(open_):
        here, at = lists[order[place[open_]]], begins[order[place[open_]]]
        lengths = sought.lengths[which[open_]]
        fits = at + lengths <= held.lengths[here]
        fits[fits] = held.hashes(here[fits], at[fits], lengths[fits]) == full[open_[fits]]
        if allowed is not None:
            fits &= allowed(which[open_], here)
        fits[fits] = equal(sought, which[open_[fits]], held, here[fits], at[fits])
        found[open_[fits]], begin[open_[fits]] = here[fits], at[fits]
        open_ = open_[~fits]
        place[open_] += 1
        open_ = open_[place[open_] < end[open_]]
    return found, begin

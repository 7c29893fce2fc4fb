"""Joining overlapping lists: each list is found again, and repeated last clicks cost little more than the clicks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.ingest.resolve import overlaps
from pipelines.ingest.resolve.overlaps import Placement, place_lists
from pipelines.lists import Lists, bounds_of

Users = list[list[list[int]]]
some_lists = st.lists(st.lists(st.integers(0, 3), max_size=7), max_size=6)


def lists_of(users: Sequence[Sequence[Sequence[int]]]) -> Lists:
    every = [(owner, one) for owner, lists in enumerate(users) for one in lists]
    flat = np.array([number for _, one in every for number in one], np.int64)
    lengths, owners = ([which(entry) for entry in every] for which in (lambda e: len(e[1]), lambda e: e[0]))
    return Lists(flat, bounds_of(np.array(lengths, np.int64)), np.array(owners, np.int64))


def distinct(users: Users) -> Users:
    return [[list(one) for one in sorted({tuple(one) for one in lists})] for lists in users]


def after(stored: Users, found: Placement) -> list[list[list[int]]]:
    """Each user's sequences once the changes are written."""
    held: list[tuple[int, list[int]] | None] = [(owner, one) for owner, lists in enumerate(stored) for one in lists]
    made = found.sequences
    for place, grown in enumerate(found.grown.tolist()):
        sequence = made.flat[made.bounds[place] : made.bounds[place + 1]].tolist()
        if grown >= 0:
            before = held[grown]
            assert before is not None, "two sequences take the place of one"
            assert before == (made.owner[place], sequence[: len(before[1])])
            held[grown] = None
        held.append((int(made.owner[place]), sequence))
    return [[one for entry in held if entry and entry[0] == user for one in [entry[1]]] for user in range(len(stored))]


@given(users=st.lists(st.tuples(some_lists, some_lists), min_size=1, max_size=3))
def test_every_list_is_a_slice_of_a_sequence_of_its_owner(users: list[tuple[list[list[int]], list[list[int]]]]) -> None:
    pieces, stored = distinct([logged for logged, _ in users]), distinct([held for _, held in users])
    found = place_lists(lists_of(pieces), lists_of(stored))
    sequences = after(stored, found)
    offset = iter(found.offset.tolist())
    for user, lists in enumerate(pieces):
        for one in lists:
            at = next(offset)
            assert any(held[at : at + len(one)] == one for held in sequences[user])
        assert len(sequences[user]) == len({tuple(held) for held in sequences[user]})
    again = place_lists(lists_of(pieces), lists_of(sequences))
    assert not len(again.sequences.owner), "what is stored is looked for, and found"


def sliding(users: int, views: int, last: int) -> Lists:
    """The last clicks of each user, in the order of their numbers and not of time; a click is repeated now and then."""
    rng = np.random.default_rng(1)
    logged: Users = []
    for _ in range(users):
        clicks = rng.integers(0, 400, views + last)
        logged.append([clicks[at : at + last].tolist() for at in range(views)])
    return lists_of(distinct(logged))


def test_the_last_fifty_clicks_of_each_view_are_stored_as_the_clicks() -> None:
    found = place_lists(sliding(5, 2000, 50), lists_of([[]]))
    assert len(found.sequences.owner) == 5
    assert len(found.sequences.flat) == 5 * 2049


def test_the_work_grows_with_the_clicks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted in hashes that are computed: pairs of lists would be a hundred times as many for ten times the lists."""
    counted = [0]
    real = Lists.hashes

    def counting(lists: Lists, which: np.ndarray, *rest: object) -> object:
        counted[0] += len(which)
        return real(lists, which, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(overlaps.Lists, "hashes", counting)
    costs = []
    for views in (500, 5000):
        counted[0] = 0
        place_lists(sliding(1, views, 50), lists_of([[]]))
        costs.append(counted[0])
    assert costs[1] <= 13 * costs[0]

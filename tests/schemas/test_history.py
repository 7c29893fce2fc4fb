"""The hash and the lookup of a history, in plain Python."""

from __future__ import annotations

import pytest

from schemas.errors import ContractError
from schemas.history import hash_of_history, history_of


def test_a_history_is_the_prefix_whose_hash_an_impression_holds() -> None:
    stored = [["a", "b", "c"], ["b", "a"], ["b", "c", "a", "d"]]
    assert history_of(stored, 2, hash_of_history(["b", "a"])) == ["b", "a"]
    assert history_of(stored, 2, hash_of_history(["b", "c"])) == ["b", "c"]
    assert history_of(stored, 3, hash_of_history(["a", "b", "c"])) == ["a", "b", "c"]
    assert history_of([], 0, hash_of_history([])) == []


def test_a_history_is_the_slice_at_the_offset_that_an_impression_holds() -> None:
    stored = [["b", "c"], ["a", "b", "c", "d"]]
    assert history_of(stored, 2, hash_of_history(["c", "d"]), 2) == ["c", "d"]
    assert history_of(stored, 2, hash_of_history(["b", "c"]), None) == ["b", "c"]
    with pytest.raises(ContractError, match="lacks a history of 2 clicks"):
        history_of(stored, 2, hash_of_history(["c", "d"]), 1)


def test_a_history_that_is_not_stored_is_an_error() -> None:
    for length, wanted in ((2, ["c", "b"]), (3, ["a", "b"])):
        with pytest.raises(ContractError, match=f"lacks a history of {length} clicks"):
            history_of([["a", "b"]], length, hash_of_history(wanted))
